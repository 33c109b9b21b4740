/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_CATALOG_H
#define DB_CATALOG_H

/*
 * What spaces, indexes and functions there are: an immutable picture made from the system spaces,
 * replaced as a whole after each change.
 *
 *      _space (280)  id, owner, name, engine, field_count, flags {incarnation,
 *                    constraint, foreign_key, view, temporary,
 *                    is_local, run_triggers, and what db/body_options.h
 *                    tells}, format: see format.h
 *      _index (288)  space id, index id, name, type 'tree' or 'hash',
 *                    options {unique, func, func_name, is_multikey, condition, covers, building},
 *                    parts [{field (from 0), type, is_nullable, path, sort_order, exclude_null}]
 *      _func (296)   id, owner, name, body, options {isolation, readonly, transaction, setuid, module,
 *                    args, returns, timeout_ms, memory, rows_max, comment, is_deterministic, version,
 *                    time, revision}, former [[version, owner, body, options] ..]
 *
 * Of others the picture holds the rows as they are (records), for those above to make something of:
 *
 *      _sequence (284)  id, owner, name, options
 *      _user (305)      id, owner, name, type 'user' or 'role', auth, flags
 *      _priv (312)      grantee, object type, object id, grantor, privileges
 *      _trigger (328)   id, owner, name, space id, body, options
 *      _module (336)    id, owner, name, version, manifest
 *      _watch (339)     id, owner, name, space id, options
 *
 * And of some nothing, since they are read when they are needed:
 *
 *      _sequence_data (285)  sequence id, value
 *      _module_file (337)    module id, path, content
 *      _migration (338)      module name, number, name, time, digest, body
 *      _watch_position (340) watch id, position, revision: db/watch.h
 *
 * The first fields are Tarantool's; system spaces can be read as any other and are written by
 * db/ddl.h only, but for _sequence_data and _watch_position.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/key.h"
#include "db/condition.h"
#include "db/expression.h"
#include "db/field_path.h"
#include "db/format.h"
#include "txn/txn.h"

struct catalog;

enum {
    SPACE_ID_SPACE = 280,
    SPACE_ID_SEQUENCE = 284,
    SPACE_ID_SEQUENCE_DATA = 285,
    SPACE_ID_INDEX = 288,
    SPACE_ID_FUNC = 296,
    SPACE_ID_REDIS = 304,
    SPACE_ID_USER = 305,
    SPACE_ID_PRIV = 312,
    SPACE_ID_TRIGGER = 328,
    SPACE_ID_MODULE = 336,
    SPACE_ID_MODULE_FILE = 337,
    SPACE_ID_MIGRATION = 338,
    SPACE_ID_WATCH = 339,
    SPACE_ID_WATCH_POSITION = 340,
    SPACE_ID_REDIS_1 = 344,       /* the second of the numbered databases of Redis, and so on */
    SPACE_ID_REDIS_ELEMENT = 359, /* what large collections are spread over */
    SPACE_ID_REDIS_LIBRARY = 360, /* of Redis functions */
    REDIS_DATABASES = 16,
    SPACE_ID_USER_MIN = 512,
    INDEX_MAX = 32,
    INDEX_PARTS_MAX = 16,
    SPACE_FIELDS_MAX = 1024,
    NAME_SIZE_MAX = 255
};

/* The space of Redis's numbered database n, and whether a space is one of those that Redis's data
 * lies in: their rows are no tuples. */
static inline uint32_t space_id_redis(unsigned n)
{
    return n == 0 ? SPACE_ID_REDIS : SPACE_ID_REDIS_1 + n - 1;
}

static inline bool space_id_is_redis(uint32_t id)
{
    return id == SPACE_ID_REDIS || (id >= SPACE_ID_REDIS_1 && id <= SPACE_ID_REDIS_ELEMENT);
}

struct field_def {
    const char *name; /* zero-terminated, owned by the catalog */
    uint32_t name_size;
    enum field_type kind;
    enum key_type type; /* what a part over it demands when it says nothing */
    const char *type_name;
    bool nullable;
    const char *value; /* the default, MessagePack, or NULL */
    uint32_t value_size;
    struct expression value_func; /* the default's, and what is always in it; text NULL: none */
    struct expression generated;
};

struct index_part {
    uint32_t field; /* from 0; of a functional index a value of what the function returns */
    enum key_type type;
    bool nullable;
    bool descending;        /* the bytes of the part are inverted */
    bool exclude_null;      /* a tuple with nil here is not in the index */
    struct field_path path; /* below the field; with [*] each element gives a key */
};

enum index_type { INDEX_TREE, INDEX_HASH };

struct index {
    uint32_t id; /* 0 is the primary */
    const char *name;
    enum index_type type;
    bool unique;
    bool building; /* writers maintain it, and nobody reads it yet */
    bool again;    /* likewise, in the place of the one of its number, which readers have */
    bool plain;    /* each tuple has one key, made of whole fields */
    uint32_t part_count;
    struct index_part parts[INDEX_PARTS_MAX];
    uint32_t multikey_part; /* the first part with [*], all of which go over one array; part_count
                               when there is none */
    /* Keys come from a function of the tuple; func->text is NULL when they don't. */
    struct expression func;
    const char *func_name; /* of _func, or NULL when the text was given */
    bool func_multikey;    /* it returns a list of keys */
    /* Only tuples for which it holds are in the index: in Lua, or terms. Neither: all are. */
    struct expression condition;
    struct condition terms;
    uint32_t cover_count; /* fields that the definition includes; any row is as near */
    const uint32_t *covers;
    struct txn_index scan; /* how transactions see it */
    struct space *space;
};

/* What must hold for each tuple: in Lua, or terms. */
enum { CONSTRAINT_TUPLE = UINT32_MAX };
struct constraint {
    const char *name;
    uint32_t field;         /* whose value it is about: not asked of nil; else CONSTRAINT_TUPLE */
    struct expression text; /* its text is NULL: the terms */
    struct condition terms;
};

/* A reference to rows of a space by a unique key. */
enum { FOREIGN_FIELDS_MAX = INDEX_PARTS_MAX };
enum foreign_action { FOREIGN_RESTRICT, FOREIGN_CASCADE, FOREIGN_SET_NULL };
struct foreign_key {
    const char *name;
    struct space *child, *parent; /* parent NULL: its definition is lost */
    uint32_t parent_id;
    enum foreign_action on_delete, on_update; /* of the row; of the key that is referred to */
    uint32_t count;
    uint32_t child_fields[FOREIGN_FIELDS_MAX], parent_fields[FOREIGN_FIELDS_MAX];
    struct index *parent_index; /* unique, over the parent's fields; NULL: there is none yet */
    struct index *child_index;  /* that begins with the child's fields, likewise */
    struct foreign_key *next;   /* with the same parent */
};
struct sequence_def;

struct space {
    uint32_t id;
    uint32_t owner; /* a user's id */
    const char *name;
    const char *engine;
    const struct body_options *options; /* of its engine, all of them; NULL: that has none */
    bool system;
    bool temporary;          /* its rows last until the database is closed */
    bool local;              /* they are this server's own affair */
    bool quiet;              /* its triggers are there and don't run */
    bool calls_out;          /* a write may run triggers: its own or others' (db/trigger.h) */
    uint32_t trigger_events; /* that it has enabled triggers of: bits */
    uint32_t field_count;    /* of format */
    struct field_def *fields;
    const uint32_t *accepts;     /* for each field: see format.h */
    uint32_t required_count;     /* up to the last field that is not nullable */
    uint32_t exact_count;        /* of fields in each tuple; 0: any number */
    uint32_t shaped_count;       /* up to the last field with a default or that is generated */
    bool value_funcs, generated; /* whether any field has one */
    uint32_t constraint_count;
    struct constraint *constraints;
    uint32_t foreign_key_count;
    struct foreign_key *foreign_keys;
    struct foreign_key *referrers; /* foreign keys that lead here */
    uint32_t index_count;
    struct index *indexes[INDEX_MAX]; /* [0] the primary, when index_count > 0; in order of id */
    struct index *building;           /* one more that writers maintain, or NULL */
    uint32_t again_id;                /* of the index that is being made again; 0: none is */
    struct space *coming;   /* what it is being altered to: what is written fits both; or NULL */
    const char *definition; /* of one that is coming: the row of _space that it is made of */
    uint32_t definition_size;
    const struct sequence_def
        *sequence; /* whose numbers the primary key's field gets for nil, or NULL */
    uint32_t sequence_id, sequence_field; /* 0: none; from 0 */
    struct head *head;
    struct row
        *row; /* in _space, and the version this was made from: what transactions depend on */
    const struct version *row_version;
};

struct func {
    uint32_t id;
    uint32_t owner;
    const char *name;
    const char *body; /* Lua source, zero-terminated */
    size_t body_size;
    const char *options; /* MessagePack map */
    bool readonly;
    bool transaction; /* true: one transaction from its start */
    bool setuid;      /* runs with its owner's rights */
    bool level_given; /* else the session's default */
    enum txn_level level;
    uint64_t version_ts;                   /* changes when it is replaced */
    uint32_t version;                      /* counts that, from 1 */
    uint64_t timeout_ms, memory, rows_max; /* of a call; 0: no limit of its own */
};

static inline bool func_is_limited(const struct func *func)
{
    return (func->timeout_ms | func->memory | func->rows_max) != 0;
}

/* By name or id; NULL when there is none. */
struct space *catalog_space(const struct catalog *catalog, const char *name, size_t size);
struct space *catalog_space_by_id(const struct catalog *catalog, uint32_t id);
struct func *catalog_func(const struct catalog *catalog, const char *name, size_t size);

/* All of them, in order of id. */
uint32_t catalog_space_count(const struct catalog *catalog);
struct space *catalog_space_at(const struct catalog *catalog, uint32_t n);
uint32_t catalog_func_count(const struct catalog *catalog);
struct func *catalog_func_at(const struct catalog *catalog, uint32_t n);
uint64_t catalog_version(const struct catalog *catalog);

/* Rows of system spaces, in order of their keys: tuples that belong to the catalog. */
enum catalog_kind {
    CATALOG_SEQUENCE,
    CATALOG_USER,
    CATALOG_PRIV,
    CATALOG_TRIGGER,
    CATALOG_MODULE,
    CATALOG_WATCH,
    CATALOG_REDIS_LIBRARY,
    CATALOG_KINDS
};
struct catalog_record {
    const char *tuple; /* MessagePack array */
    uint32_t size;
};
uint32_t catalog_record_count(const struct catalog *catalog, enum catalog_kind kind);
const struct catalog_record *catalog_record_at(const struct catalog *catalog,
                                               enum catalog_kind kind, uint32_t n);

/* The record whose third field is the name, or NULL. Of kinds that have names: not of _priv. */
const struct catalog_record *catalog_record(const struct catalog *catalog, enum catalog_kind kind,
                                            const char *name, size_t size);

/* The kind that a system space's rows are of, or -1. */
int catalog_kind_of(uint32_t space_id);

struct index *space_index(const struct space *space, const char *name, size_t size);
struct index *space_index_by_id(const struct space *space, uint32_t id);

/* The number of the field called so, or -1. */
int64_t space_field(const struct space *space, const char *name, size_t size);

#endif
