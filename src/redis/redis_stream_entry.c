/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands on the entries of streams: XADD, XLEN, XRANGE, XREVRANGE, XDEL, XTRIM, XSETID.
 *
 * Trimming "about" so much (~) takes entries in whole lots of stream-node-max-entries, as Redis takes
 * whole nodes: so clients see the same lengths, and most additions trim nothing.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"
#include "redis/redis_commands.h"
#include "redis/redis_stream.h"

/* -------------------------------------------------------------------------------------- trimming */

enum trim { TRIM_NONE, TRIM_MAXLEN, TRIM_MINID };

struct add_options {
    enum trim trim;
    bool about, nomkstream;
    bool limit_given;
    uint64_t maxlen, limit;
    struct stream_id minid;
    unsigned next; /* the first argument behind the options */
};

static int trim_option(struct redis_call *call, unsigned *n, struct add_options *options)
{
    bool maxlen = redis_word(call, *n, "maxlen");
    enum trim trim = maxlen ? TRIM_MAXLEN : TRIM_MINID;
    int64_t number;
    if (options->trim != TRIM_NONE && options->trim != trim)
        return diag_set(
            ERROR_INVALID,
            "syntax error, MAXLEN and MINID options at the same time are not compatible");
    options->trim = trim;
    options->about = false;
    bool sign = *n + 2 < call->argc && call->argv[*n + 1].size == 1 &&
                (call->argv[*n + 1].data[0] == '~' || call->argv[*n + 1].data[0] == '=');
    if (sign)
        options->about = call->argv[++*n].data[0] == '~';
    ++*n;
    if (!maxlen)
        return redis__stream_id_arg(call, *n, 0, false, &options->minid);
    int rc = redis_integer_arg(call, *n, &number);
    if (!rc && number < 0)
        rc = diag_set(ERROR_INVALID, "The MAXLEN argument must be >= 0.");
    options->maxlen = (uint64_t)number;
    return rc;
}

static int limit_option(struct redis_call *call, unsigned *n, struct add_options *options)
{
    int64_t number;
    int rc = redis_integer_arg(call, ++*n, &number);
    if (!rc && number < 0)
        rc = diag_set(ERROR_INVALID, "The LIMIT argument must be >= 0.");
    options->limit_given = true;
    options->limit = (uint64_t)number;
    return rc;
}

/* What XADD was given for an id. */
struct add_id {
    bool automatic, automatic_seq; /* "*", "ms-*" */
    struct stream_id id;
};

static int add_id_parse(struct redis_call *call, unsigned n, struct add_id *out)
{
    const struct redis_slice *arg = &call->argv[n];
    *out = (struct add_id){.automatic = arg->size == 1 && arg->data[0] == '*'};
    if (out->automatic)
        return 0;
    out->automatic_seq = arg->size > 2 && memcmp(arg->data + arg->size - 2, "-*", 2) == 0;
    struct redis_slice argv[1] = {*arg};
    struct redis_call part = {.argv = argv, .argc = 1};
    if (out->automatic_seq)
        argv[0].size -= 2;
    return redis__stream_id_arg(&part, 0, 0, false, &out->id);
}

/* Reads the options of XADD (up to the id, which is read too) or XTRIM from argv[2] on. */
static int options_parse(struct redis_call *call, struct add_id *id, struct add_options *options)
{
    bool adds = id != NULL;
    *options = (struct add_options){.trim = TRIM_NONE};
    unsigned n = 2;
    int rc = 0;
    for (; !rc && n < call->argc; n++) {
        bool more = n + 1 < call->argc;
        if (adds && call->argv[n].size == 1 && call->argv[n].data[0] == '*')
            break;
        if (more && (redis_word(call, n, "maxlen") || redis_word(call, n, "minid")))
            rc = trim_option(call, &n, options);
        else if (more && redis_word(call, n, "limit"))
            rc = limit_option(call, &n, options);
        else if (adds && redis_word(call, n, "nomkstream"))
            options->nomkstream = true;
        else if (adds)
            break; /* the id */
        else
            rc = redis_syntax_error();
    }
    options->next = n;
    if (!rc && adds && n < call->argc)
        rc = add_id_parse(call, n, id);
    if (rc)
        return rc;
    if (options->limit && options->trim == TRIM_NONE)
        return diag_set(
            ERROR_INVALID,
            "syntax error, LIMIT cannot be used without specifying a trimming strategy");
    if (!adds && options->trim == TRIM_NONE)
        return diag_set(ERROR_INVALID,
                        "syntax error, XTRIM must be called with a trimming strategy");
    if (options->limit_given && !options->about)
        return diag_set(ERROR_INVALID,
                        "syntax error, LIMIT cannot be used without the special ~ option");
    return 0;
}

/* How many entries at the front have to go, at most; by minid they are looked at one by one. */
static uint64_t trim_count(const struct stream *stream, const struct add_options *options)
{
    if (options->trim == TRIM_MINID)
        return stream->length;
    return stream->length > options->maxlen ? stream->length - options->maxlen : 0;
}

/* Of entries before minid: how many there are, counted up to `most`. */
static int before_minid(struct stream *stream, const struct add_options *options, uint64_t most,
                        uint64_t *count)
{
    struct redis_elements elements;
    struct redis_element element;
    struct stream_id last = options->minid;
    *count = 0;
    if (!redis__stream_id_before(&last))
        return 0;
    int rc = redis__stream_entries(stream, (struct stream_id){0, 0}, last, false, &elements);
    while (!rc && *count < most && !(rc = redis_elements_next(&elements, &element)))
        ++*count;
    return rc == ERROR_END ? 0 : rc;
}

static int trim(struct stream *stream, const struct add_options *options, uint64_t *deleted)
{
    uint64_t lot = load_relaxed(&stream->call->config->stream_node_max_entries);
    uint64_t count = trim_count(stream, options), limit = UINT64_MAX;
    *deleted = 0;
    if (options->trim == TRIM_NONE || count == 0)
        return 0;
    if (options->about)
        limit = options->limit_given ? options->limit : 100 * lot;
    limit = limit ? limit : UINT64_MAX;
    int rc = options->trim == TRIM_MINID ? before_minid(stream, options, count, &count) : 0;
    count = count < limit ? count : limit;
    if (options->about && lot)
        count -= count % lot;
    struct redis_elements elements;
    struct redis_element element;
    struct stream_id zero = {0, 0};
    if (!rc)
        rc = redis__stream_entries(stream, zero, STREAM_ID_MAX, false, &elements);
    struct stream_id last = stream->first;
    while (!rc && *deleted < count && !(rc = redis_elements_next(&elements, &element))) {
        last = redis__stream_id_decode(element.key);
        rc = redis_element_delete(stream->call, stream->id, STREAM_ENTRY, element.key,
                                  element.key_size);
        ++*deleted;
    }
    stream->length -= *deleted;
    if (rc && rc != ERROR_END)
        return rc;
    return *deleted ? redis__stream_first_find(stream, last) : 0;
}

/* ------------------------------------------------------------------------------------------ XADD */

static int too_small(void)
{
    return diag_set(ERROR_INVALID, "The ID specified in XADD is equal or smaller than the target "
                                   "stream top item");
}

/* The entry's id, which is above all there have been. */
static int add_id_make(const struct stream *stream, const struct add_id *given,
                       struct stream_id *out)
{
    const struct stream_id *last = &stream->last;
    if (last->ms == UINT64_MAX && last->seq == UINT64_MAX)
        return diag_set(ERROR_INVALID, "The stream has exhausted the last possible ID, unable to "
                                       "add more items");
    *out = given->id;
    if (given->automatic) {
        *out = (struct stream_id){stream->call->now_ms, 0};
        if (out->ms <= last->ms) {
            *out = *last;
            redis__stream_id_next(out);
        }
    } else if (given->automatic_seq) {
        if (out->ms < last->ms || (out->ms == last->ms && last->seq == UINT64_MAX))
            return too_small();
        out->seq = out->ms == last->ms ? last->seq + 1 : 0;
        if (out->ms == 0 && out->seq == 0)
            out->seq = 1;
    }
    return redis__stream_id_compare(*out, *last) <= 0 ? too_small() : 0;
}

/* Fields and values from argv[first] on. */
static int entry_put(struct stream *stream, struct stream_id id, unsigned first)
{
    struct redis_call *call = stream->call;
    size_t size = 5;
    for (unsigned n = first; n < call->argc; n++)
        size += 5 + call->argv[n].size;
    char key[STREAM_ID_SIZE], *value = arena_alloc(txn_arena(call->txn), size);
    if (!value)
        return diag_set(ERROR_MEMORY, "out of memory");
    char *at = mp_encode_array(value, call->argc - first);
    for (unsigned n = first; n < call->argc; n++)
        at = mp_encode_str(at, call->argv[n].data, (uint32_t)call->argv[n].size);
    redis__stream_id_encode(key, id);
    return redis_element_put(call, stream->id, STREAM_ENTRY, key, sizeof key,
                             (struct redis_slice){value, (size_t)(at - value)}, 0);
}

static int add(struct stream *stream, const struct add_options *options, struct stream_id id)
{
    struct redis_call *call = stream->call;
    uint64_t deleted = 0;
    int rc = stream->exists ? 0 : redis__stream_make(stream);
    if (!rc)
        rc = entry_put(stream, id, options->next + 1);
    if (rc)
        return rc;
    if (stream->length == 0)
        stream->first = id;
    stream->last = id;
    stream->added++;
    stream->length++;
    rc = trim(stream, options, &deleted);
    if (!rc)
        rc = redis__stream_save(stream);
    if (!rc)
        rc = redis_changed(call, stream->name, REDIS_TYPE_STREAM, REDIS_NOTIFY_STREAM, "xadd");
    if (!rc && deleted)
        rc = redis_changed(call, stream->name, REDIS_TYPE_NONE, REDIS_NOTIFY_STREAM, "xtrim");
    return rc;
}

int redis__xadd(struct redis_call *call)
{
    struct add_options options;
    struct add_id given;
    struct stream stream;
    struct stream_id id;
    int rc = options_parse(call, &given, &options);
    if (!rc && (options.next >= call->argc || (call->argc - options.next - 1) < 2 ||
                (call->argc - options.next - 1) % 2 != 0))
        rc = diag_set(ERROR_INVALID, "wrong number of arguments for 'xadd' command");
    if (!rc && !given.automatic && !given.automatic_seq && given.id.ms == 0 && given.id.seq == 0)
        rc = diag_set(ERROR_INVALID, "The ID specified in XADD must be greater than 0-0");
    if (!rc)
        rc = redis__stream_open(call, &call->argv[1], true, &stream);
    if (!rc && !stream.exists && options.nomkstream) {
        call->sink->vtab->null(call->sink);
        return 0;
    }
    if (!rc)
        rc = add_id_make(&stream, &given, &id);
    if (!rc)
        rc = add(&stream, &options, id);
    if (!rc)
        redis__stream_id_reply(call->sink, id);
    return rc;
}

int redis__xtrim(struct redis_call *call)
{
    struct add_options options;
    struct stream stream;
    uint64_t deleted = 0;
    int rc = options_parse(call, NULL, &options);
    if (!rc)
        rc = redis__stream_open(call, &call->argv[1], true, &stream);
    if (!rc && stream.exists)
        rc = trim(&stream, &options, &deleted);
    if (!rc && deleted)
        rc = redis__stream_save(&stream);
    if (!rc && deleted)
        rc = redis_changed(call, stream.name, REDIS_TYPE_NONE, REDIS_NOTIFY_STREAM, "xtrim");
    if (!rc)
        call->sink->vtab->integer(call->sink, (int64_t)deleted);
    return rc;
}

/* ---------------------------------------------------------------------------------------- ranges */

int redis__xlen(struct redis_call *call)
{
    struct stream stream;
    int rc = redis__stream_open(call, &call->argv[1], false, &stream);
    if (!rc)
        call->sink->vtab->integer(call->sink, (int64_t)stream.length);
    return rc;
}

static int count_option(const struct redis_call *call, unsigned first, int64_t *count)
{
    *count = -1;
    for (unsigned n = first; n < call->argc; n++) {
        if (!redis_word(call, n, "count") || n + 1 >= call->argc)
            return redis_syntax_error();
        int rc = redis_integer_arg(call, ++n, count);
        if (rc)
            return rc;
        *count = *count < 0 ? 0 : *count;
    }
    return 0;
}

static int range(struct redis_call *call, bool backward)
{
    struct stream stream;
    struct stream_id from, to;
    int64_t count;
    int rc = redis__stream_bound_arg(call, backward ? 3 : 2, false, &from);
    if (!rc)
        rc = redis__stream_bound_arg(call, backward ? 2 : 3, true, &to);
    if (!rc)
        rc = count_option(call, 4, &count);
    if (!rc)
        rc = redis__stream_open(call, &call->argv[1], false, &stream);
    if (rc)
        return rc;
    if (!stream.exists || (count != 0 && redis__stream_id_compare(from, to) > 0))
        call->sink->vtab->array(call->sink, 0);
    else if (count == 0)
        call->sink->vtab->null_array(call->sink);
    else
        rc =
            redis__stream_range_reply(&stream, from, to, backward, count < 0 ? 0 : (uint64_t)count);
    return rc;
}

int redis__xrange(struct redis_call *call)
{
    return range(call, false);
}

int redis__xrevrange(struct redis_call *call)
{
    return range(call, true);
}

/* ------------------------------------------------------------------------------------ XDEL, XSETID */

int redis__xdel(struct redis_call *call)
{
    struct stream stream;
    struct stream_id id;
    int64_t count = 0;
    int rc = redis__stream_open(call, &call->argv[1], true, &stream);
    for (unsigned n = 2; !rc && stream.exists && n < call->argc; n++)
        rc = redis__stream_id_arg(call, n, 0, false, &id);
    for (unsigned n = 2; !rc && stream.exists && n < call->argc; n++) {
        bool found = false;
        rc = redis__stream_id_arg(call, n, 0, false, &id);
        if (!rc)
            rc = redis__stream_entry_delete(&stream, id, &found);
        count += found;
    }
    if (!rc && count)
        rc = redis__stream_save(&stream);
    if (!rc && count)
        rc = redis_changed(call, stream.name, REDIS_TYPE_NONE, REDIS_NOTIFY_STREAM, "xdel");
    if (!rc)
        call->sink->vtab->integer(call->sink, count);
    return rc;
}

struct setid {
    struct stream_id id, deleted;
    int64_t added; /* -1: not given */
    bool deleted_given;
};

static int setid_parse(struct redis_call *call, struct setid *out)
{
    *out = (struct setid){.added = -1};
    int rc = redis__stream_id_arg(call, 2, 0, false, &out->id);
    for (unsigned n = 3; !rc && n < call->argc; n++) {
        if (n + 1 >= call->argc) {
            rc = redis_syntax_error();
        } else if (redis_word(call, n, "entriesadded")) {
            rc = redis_integer_arg(call, ++n, &out->added);
            if (!rc && out->added < 0)
                rc = diag_set(ERROR_INVALID, "entries_added must be positive");
        } else if (redis_word(call, n, "maxdeletedid")) {
            rc = redis__stream_id_arg(call, ++n, 0, false, &out->deleted);
            out->deleted_given = true;
            if (!rc && redis__stream_id_compare(out->id, out->deleted) < 0)
                rc = diag_set(ERROR_INVALID, "The ID specified in XSETID is smaller than the "
                                             "provided max_deleted_entry_id");
        } else {
            rc = redis_syntax_error();
        }
    }
    return rc;
}

static int setid_check(struct stream *stream, const struct setid *setid)
{
    struct stream_id last;
    if (redis__stream_id_compare(setid->id, stream->deleted) < 0)
        return diag_set(ERROR_INVALID, "The ID specified in XSETID is smaller than current "
                                       "max_deleted_entry_id");
    if (stream->length == 0)
        return 0;
    int rc = redis__stream_entry_near(stream, STREAM_ID_MAX, true, &last);
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    if (redis__stream_id_compare(setid->id, last) < 0)
        return diag_set(ERROR_INVALID, "The ID specified in XSETID is smaller than the target "
                                       "stream top item");
    if (setid->added >= 0 && (uint64_t)setid->added < stream->length)
        return diag_set(ERROR_INVALID, "The entries_added specified in XSETID is smaller than the "
                                       "target stream length");
    return 0;
}

int redis__xsetid(struct redis_call *call)
{
    struct setid setid;
    struct stream stream;
    int rc = setid_parse(call, &setid);
    if (!rc)
        rc = redis__stream_open(call, &call->argv[1], true, &stream);
    if (!rc && !stream.exists)
        rc = diag_set(ERROR_INVALID, "no such key");
    if (!rc)
        rc = setid_check(&stream, &setid);
    if (rc)
        return rc;
    stream.last = setid.id;
    if (setid.added >= 0)
        stream.added = (uint64_t)setid.added;
    if (setid.deleted_given &&
        redis__stream_id_compare(setid.deleted, (struct stream_id){0, 0}) != 0)
        stream.deleted = setid.deleted;
    rc = redis__stream_save(&stream);
    if (!rc)
        rc = redis_changed(call, stream.name, REDIS_TYPE_NONE, REDIS_NOTIFY_STREAM, "xsetid");
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}
