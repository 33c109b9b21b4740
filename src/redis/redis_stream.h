/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_STREAM_H
#define REDIS_REDIS_STREAM_H

/*
 * A stream is always spread. The key's row keeps what every writer changes; so all writers tag it
 * first, then look at the rest at a snapshot of after that (redis_open_for_update), and one stream's
 * writers go one after the other. Readers need nothing but a snapshot.
 *
 *   key's row  [last id (2), entries added, largest deleted id (2), length, groups, first id (2)]; of
 *              entries that were deleted there is still something in the tree, before the first one
 *   'e'        an entry: key = id, 8 bytes of milliseconds and 8 of sequence, big-endian; value = an
 *              array of strings, field, value, field, value ..
 *   'G'        a group: key = its name; value = [last id (2), entries read, pending, consumers];
 *              entries read is nil when it is not known
 *   'n'        a consumer: key = group, name; value = [seen, active, pending, nil, nil], times in ms
 *              since 1970, active nil when it never was
 *   'p'        an entry that a group has given out: key = group, id; value = [consumer, time, count,
 *              nil, nil]
 *   'q'        the same in order of consumers: key = group, consumer, id; value = nil
 *
 * A group or consumer in a key is four bytes of size, big-endian, and its name: names of one prefix do
 * not mix. But the consumer of an 'n', which ends its key, is the name alone: they are shown in
 * order of their bytes. No value is an array of two to four with an integer in second place
 * (redis_spread.h).
 */
#include "redis/redis_spread.h"

enum { STREAM_ENTRY = REDIS_ELEMENT, STREAM_GROUP = 'G', STREAM_CONSUMER = 'n' };
enum { STREAM_PENDING = 'p', STREAM_PENDING_OF = 'q', STREAM_ID_SIZE = 16 };

struct stream_id {
    uint64_t ms, seq;
};

static const struct stream_id STREAM_ID_MAX = {UINT64_MAX, UINT64_MAX};

struct stream {
    struct redis_call *call;
    const struct redis_slice *name;
    struct redis_key key;
    bool exists;
    uint64_t id, expire_ms;
    struct stream_id last, deleted; /* deleted: the largest that was */
    struct stream_id first;         /* of all entries; nothing when there are none */
    uint64_t added, length, groups;
};

/* What a group or a consumer keeps. */
struct stream_group {
    struct redis_slice name;
    struct stream_id last;
    int64_t read; /* -1: not known */
    uint64_t pending, consumers;
};
struct stream_consumer {
    struct redis_slice name;
    uint64_t seen_ms, active_ms; /* active 0: never */
    uint64_t pending;
};
struct stream_pending {
    struct stream_id id;
    struct redis_slice consumer;
    uint64_t time_ms, count;
};

/* redis_stream.c. Each returns 0 or an error; `_find` gives *found.
 *
 * Opens the stream under a name, which need not exist. */
int redis__stream_open(struct redis_call *call, const struct redis_slice *name, bool update,
                       struct stream *out);
/* Makes one that does not exist; it is there with the next save. */
int redis__stream_make(struct stream *stream);
int redis__stream_save(struct stream *stream);

int redis__stream_id_compare(struct stream_id left, struct stream_id right);
void redis__stream_id_encode(char out[STREAM_ID_SIZE], struct stream_id id);
struct stream_id redis__stream_id_decode(const char *key);
void redis__stream_id_reply(struct redis_sink *sink, struct stream_id id);
/* False at the end of all ids. */
bool redis__stream_id_next(struct stream_id *id);
bool redis__stream_id_before(struct stream_id *id);

/* argv[n] as an id. `seq` is what a missing sequence means; special: "-" and "+" as well. */
int redis__stream_id_arg(const struct redis_call *call, unsigned n, uint64_t seq, bool special,
                         struct stream_id *out);
/* A bound of an interval, perhaps exclusive. */
int redis__stream_bound_arg(const struct redis_call *call, unsigned n, bool upper,
                            struct stream_id *out);

/* Entries from `from` to `to`, both included. */
int redis__stream_entries(struct stream *stream, struct stream_id from, struct stream_id to,
                          bool backward, struct redis_elements *out);
/* The first entry at or after (at or before) an id. ERROR_END: none. */
int redis__stream_entry_near(struct stream *stream, struct stream_id id, bool backward,
                             struct stream_id *found);
int redis__stream_entry_delete(struct stream *stream, struct stream_id id, bool *found);
/* After entries up to `id` were deleted, the first one among them: finds out which is the first now. */
int redis__stream_first_find(struct stream *stream, struct stream_id id);
/* Replies [id, [field, value ..]]; the value is an entry's row. */
void redis__stream_entry_reply(struct redis_sink *sink, struct stream_id id,
                               struct redis_slice value);
/* Replies up to count entries (0: all) as an array; *last is the last one's id. */
int redis__stream_range_reply(struct stream *stream, struct stream_id from, struct stream_id to,
                              bool backward, uint64_t count);

int redis__stream_group_find(struct stream *stream, const struct redis_slice *name, bool *found,
                             struct stream_group *out);
int redis__stream_group_put(struct stream *stream, const struct stream_group *group);
int redis__stream_consumer_find(struct stream *stream, const struct redis_slice *group,
                                const struct redis_slice *name, bool *found,
                                struct stream_consumer *out);
int redis__stream_consumer_put(struct stream *stream, const struct redis_slice *group,
                               const struct stream_consumer *consumer);
/* The consumer, made when it is new (*made). It is counted in the group; who calls puts both. */
int redis__stream_consumer_get(struct stream *stream, struct stream_group *group,
                               const struct redis_slice *name, bool *made,
                               struct stream_consumer *out);

int redis__stream_pending_find(struct stream *stream, const struct redis_slice *group,
                               struct stream_id id, bool *found, struct stream_pending *out);
int redis__stream_pending_put(struct stream *stream, const struct redis_slice *group,
                              const struct stream_pending *pending);
int redis__stream_pending_delete(struct stream *stream, const struct redis_slice *group,
                                 const struct stream_pending *pending);
/* Pending entries of a group, or of one consumer, from an id to another. _next: ERROR_END. */
struct stream_pendings {
    struct stream *stream;
    const struct redis_slice *group, *consumer;
    struct redis_elements elements;
    size_t prefix;
};
int redis__stream_pendings_open(struct stream_pendings *pendings, struct stream *stream,
                                const struct redis_slice *group, const struct redis_slice *consumer,
                                struct stream_id from, struct stream_id to);
int redis__stream_pendings_next(struct stream_pendings *pendings, struct stream_pending *out);

int redis__stream_consumer_delete(struct stream *stream, const struct redis_slice *group,
                                  const struct redis_slice *name);

/* Consumers of a group in order. */
int redis__stream_consumers_open(struct stream *stream, const struct redis_slice *group,
                                 struct redis_elements *out);
int redis__stream_consumers_next(struct redis_elements *elements, const struct redis_slice *group,
                                 struct stream_consumer *out);
int redis__stream_groups_next(struct redis_elements *elements, struct stream_group *out);

/* Whether an entry from `from` on was deleted while earlier ones are there: then a number of entries
 * does not follow from an id. */
int redis__stream_gap(struct stream *stream, struct stream_id from, bool *gap);

/* How many entries a group has not been given; STREAM_UNKNOWN: not known. And how many it has read
 * when it has read up to `id`; -1: not known. */
#define STREAM_UNKNOWN INT64_MIN
int redis__stream_lag(struct stream *stream, const struct stream_group *group, int64_t *out);
int redis__stream_read_estimate(struct stream *stream, struct stream_id id, int64_t *out);

/* ERROR_NO_GROUP: "No such consumer group 'g' for key name 'k'". */
int redis__stream_no_group(const struct redis_slice *group, const struct redis_slice *key);

#endif
