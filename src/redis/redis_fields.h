/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_FIELDS_H
#define REDIS_REDIS_FIELDS_H

/*
 * Hashes and sets: byte strings that are different from each other, each with a value (a hash's
 * fields) or without (a set's members).
 *
 *   packed   a hash: field, value, field, value; a set: its members. All of them packed items.
 *            A set of integers alone is in order, and is what Redis calls an intset; one that had
 *            another member once has at least one that is packed as a str.
 *   spread   a row of kind 'e' for each, whose key is the field's bytes. Its value is nil (a set), the
 *            value as a packed item, or an array of that and the time when the field expires, in
 *            milliseconds since 1970.
 *            kind 'n', without a key, of a hash that has or had fields that expire: an array of the
 *            number of its database and its name. So who deletes an expired field finds the hash.
 *            Who gives a hash another name calls redis_fields_renamed.
 *
 * Fields that expire are always spread. One whose time has come is absent by comparison; the row stays
 * until redis_fields_expire, and the hash as long as there is a row.
 *
 * A command opens one, reads and changes what it will, and closes it: that writes a packed one, and
 * ends the key when nothing is left. The slices that it gives stay as they are until then.
 */
#include "redis/redis_packed.h"
#include "redis/redis_spread.h"

struct redis_fields {
    struct redis_call *call;
    const struct redis_slice *name;
    struct redis_key key;
    struct redis_value value; /* type REDIS_TYPE_NONE: there is none, yet */
    int type;
    unsigned width; /* items for each: 2, or 1 of a set */
    bool writing, changed;
    struct redis_packer packer; /* of a packed one that is written: as it is going to be */
    int64_t added;              /* of a spread one: how many rows more than there were */
    bool shrunk;
    struct redis_slice last; /* the row that was deleted last, when `shrunk` */
};

struct redis_field {
    bool present;
    struct redis_item value; /* of a hash; do not copy, it may point into itself */
    uint64_t expire_ms;      /* 0: never */
};

/* Opens what is under `name` (which stays the caller's), to read it or to change it. `type` is
 * REDIS_TYPE_HASH or REDIS_TYPE_SET. Errors as redis_open. */
int redis_fields_open(struct redis_fields *fields, struct redis_call *call,
                      const struct redis_slice *name, int type);
int redis_fields_open_for_update(struct redis_fields *fields, struct redis_call *call,
                                 const struct redis_slice *name, int type);

/* A new one, that takes the place of whatever is under the name when it is closed. */
int redis_fields_create(struct redis_fields *fields, struct redis_call *call,
                        const struct redis_slice *name, int type);

static inline bool redis_fields_exist(const struct redis_fields *fields)
{
    return fields->value.type != REDIS_TYPE_NONE;
}

/* How many, without those that have expired. */
int redis_fields_length(struct redis_fields *fields, int64_t *out);

int redis_fields_get(struct redis_fields *fields, const struct redis_slice *field,
                     struct redis_field *out);

/* Adds or changes one. `value`: NULL for a set. `expire_ms`: 0 for never. *created (may be NULL): it
 * was not there before. */
int redis_fields_set(struct redis_fields *fields, const struct redis_slice *field,
                     const struct redis_slice *value, uint64_t expire_ms, bool *created);

/* *removed (may be NULL): it was there. `field` stays as it is until the close. */
int redis_fields_remove(struct redis_fields *fields, const struct redis_slice *field,
                        bool *removed);

/* After changes. *ended (may be NULL): the key was there and is no more. */
int redis_fields_close(struct redis_fields *fields, bool *ended);

/* Deletes the key with all of it. */
int redis_fields_delete(struct redis_fields *fields);

/* A walk over all of one that is not being changed. */
struct redis_fields_walk {
    struct redis_fields *fields;
    const char *at;
    uint32_t left;
    struct redis_elements elements;
    struct redis_item field; /* do not copy, as above */
    struct redis_field value;
};

/* `after` NULL: from the beginning; else behind this field, of a spread one. */
int redis_fields_walk_open(struct redis_fields_walk *walk, struct redis_fields *fields,
                           const struct redis_slice *after);

/* The next one is in walk->field and walk->value: 0, ERROR_END, or what the transaction says. */
int redis_fields_walk_next(struct redis_fields_walk *walk);

/* Whether a packed set has integers alone. */
bool redis_fields_integers(const struct redis_value *value);

/* The hash `value` has the name `name` in call->database from now on. To be called by whoever has put
 * or copied a spread hash under a name. */
int redis_fields_renamed(struct redis_call *call, const struct redis_slice *name,
                         const struct redis_value *value);

/* For those who delete what has expired: `row`, a row of the elements that is due at call->now_ms. In a
 * transaction of its own that has done nothing. Sets call->database to the hash's. *expired: it was a
 * field whose time had come, and is gone. */
int redis_fields_expire(struct redis_call *call, const void *row_key, size_t size, bool *expired);

#endif
