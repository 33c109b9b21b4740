/* SPDX-License-Identifier: Apache-2.0 */

/*
 * DEBUG DIGEST and DEBUG DIGEST-VALUE: the same twenty bytes as redis-server gives for the same data, so that
 * two servers can be compared.
 *
 * A digest is made of SHA-1 in two ways. xor: the hash of the bytes is added by exclusive or, for what has
 * no order. mix: the same, and then the digest is replaced by its own hash, for what has one. A value is read
 * by the command that gives all of it, whose reply comes element by element:
 *
 *      string  GET                  mix value
 *      list    LRANGE key 0 -1      mix each element
 *      set     SMEMBERS             xor each member
 *      zset    ZRANGE .. WITHSCORES xor (mix member, mix score)
 *      hash    HGETALL              xor (mix field, mix value)
 *      stream  XRANGE key - +       mix id, mix each field and value
 */
#include <arpa/inet.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"
#include "db/catalog.h"
#include "redis/redis_debug.h"
#include "redis/redis_value.h"

enum { DIGEST_SIZE = 20, NUMBER_SIZE = 64 };

struct digest {
    unsigned char bytes[DIGEST_SIZE];
};

static void digest_xor(struct digest *digest, const void *data, size_t size)
{
    unsigned char hash[DIGEST_SIZE];
    SHA1(data, size, hash);
    for (unsigned n = 0; n < DIGEST_SIZE; n++)
        digest->bytes[n] ^= hash[n];
}

static void digest_mix(struct digest *digest, const void *data, size_t size)
{
    unsigned char hash[DIGEST_SIZE];
    digest_xor(digest, data, size);
    SHA1(digest->bytes, DIGEST_SIZE, hash);
    memcpy(digest->bytes, hash, DIGEST_SIZE);
}

/* ------------------------------------------------------------------------- the elements of a value */

/* Gets the reply of a command that reads a whole value. */
struct reader {
    struct redis_sink base;
    char type;
    struct digest *digest, pair; /* pair: of the first half, where two belong together */
    bool second;
    size_t fields;                    /* of a stream's entry, that are still to come */
    enum { ALL, ENTRY, FIELDS } next; /* of a stream: which array comes next */
};

static void stream_element(struct reader *reader, const char *data, size_t size)
{
    char id[NUMBER_SIZE];
    if (reader->fields > 0) {
        reader->fields--;
        digest_mix(reader->digest, data, size);
        return;
    }
    size = size < sizeof id ? size : sizeof id;
    for (size_t n = 0; n < size; n++)
        id[n] = data[n] == '-' ? '.' : data[n];
    digest_mix(reader->digest, id, size);
}

static void element(struct redis_sink *sink, const void *data, size_t size)
{
    struct reader *reader = (struct reader *)(void *)sink;
    switch (reader->type) {
    case REDIS_TYPE_SET:
        digest_xor(reader->digest, data, size);
        return;
    case REDIS_TYPE_HASH:
    case REDIS_TYPE_ZSET:
        if (!reader->second)
            memset(&reader->pair, 0, sizeof reader->pair);
        digest_mix(&reader->pair, data, size);
        if (reader->second)
            digest_xor(reader->digest, &reader->pair, sizeof reader->pair);
        reader->second = !reader->second;
        return;
    case REDIS_TYPE_STREAM:
        stream_element(reader, data, size);
        return;
    default:
        digest_mix(reader->digest, data, size);
    }
}

static void number(struct redis_sink *sink, double value)
{
    char text[NUMBER_SIZE];
    int size = snprintf(text, sizeof text, "%.17g", value);
    element(sink, text, (size_t)size);
}

/* Of a stream: all entries, an entry (two elements), its fields and values, in this order again and
 * again. */
static void array(struct redis_sink *sink, size_t count)
{
    struct reader *reader = (struct reader *)(void *)sink;
    if (reader->type != REDIS_TYPE_STREAM)
        return;
    if (reader->next == FIELDS)
        reader->fields = count;
    reader->next = reader->next == ENTRY ? FIELDS : ENTRY;
}

static void nothing(struct redis_sink *sink)
{
    (void)sink;
}

static void no_text(struct redis_sink *sink, const char *text)
{
    (void)sink;
    (void)text;
}

static void no_integer(struct redis_sink *sink, int64_t value)
{
    (void)sink;
    (void)value;
}

static void no_boolean(struct redis_sink *sink, bool value)
{
    (void)sink;
    (void)value;
}

static void no_count(struct redis_sink *sink, size_t count)
{
    (void)sink;
    (void)count;
}

static void no_error(struct redis_sink *sink, const char *prefix, const char *message)
{
    (void)sink;
    (void)prefix;
    (void)message;
}

static const struct redis_sink_vtab READER = {.status = no_text,
                                              .integer = no_integer,
                                              .bulk = element,
                                              .null = nothing,
                                              .real = number,
                                              .boolean = no_boolean,
                                              .array = array,
                                              .map = no_count,
                                              .set = no_count,
                                              .null_array = nothing,
                                              .error = no_error};

/* The command that gives all of a value of the type; its words, behind the key's name. */
static const struct redis_command *command_of(char type, struct redis_slice argv[5], unsigned *argc)
{
    static const struct {
        char type;
        const char *words[4]; /* the command, and what follows the key */
    } COMMANDS[] = {
        {REDIS_TYPE_STRING, {"get"}},   {REDIS_TYPE_LIST, {"lrange", "0", "-1"}},
        {REDIS_TYPE_SET, {"smembers"}}, {REDIS_TYPE_ZSET, {"zrange", "0", "-1", "withscores"}},
        {REDIS_TYPE_HASH, {"hgetall"}}, {REDIS_TYPE_STREAM, {"xrange", "-", "+"}}};
    for (size_t n = 0; n < sizeof COMMANDS / sizeof *COMMANDS; n++) {
        if (COMMANDS[n].type != type)
            continue;
        const char *const *words = COMMANDS[n].words;
        *argc = 2;
        argv[0] = (struct redis_slice){words[0], strlen(words[0])};
        for (unsigned word = 1; word < 4 && words[word]; word++)
            argv[(*argc)++] = (struct redis_slice){words[word], strlen(words[word])};
        return redis_command_find(words[0], strlen(words[0]));
    }
    return NULL;
}

/* Redis's numbers of types. */
static uint32_t type_number(char type)
{
    static const char TYPES[] = {REDIS_TYPE_STRING, REDIS_TYPE_LIST, REDIS_TYPE_SET,
                                 REDIS_TYPE_ZSET, REDIS_TYPE_HASH};
    for (uint32_t n = 0; n < sizeof TYPES; n++)
        if (TYPES[n] == type)
            return n;
    return 6; /* a stream; 5 are those of modules */
}

/* Puts the value into the digest; one that is not there changes nothing. */
static int value_add(struct redis_call *call, const struct redis_slice *name, struct digest *digest)
{
    struct redis_slice argv[5] = {[1] = *name};
    struct redis_key key;
    struct redis_value value;
    struct redis_call inner = *call;
    inner.argv = argv;
    inner.argc = 2;
    int rc = redis_value_get(&inner, 1, &key, &value);
    if (rc || value.type == REDIS_TYPE_NONE)
        return rc;
    struct reader reader = {.base = {.vtab = &READER}, .type = value.type, .digest = digest};
    bool expires = value.expire_ms != 0;
    const struct redis_command *command = command_of(value.type, argv, &inner.argc);
    uint32_t type = htonl(type_number(value.type));
    digest_mix(digest, &type, sizeof type);
    inner.sink = &reader.base;
    inner.protocol = 3;
    rc = redis_command_run(command, &inner);
    if (expires)
        digest_xor(digest, "!!expire!!", 10);
    return rc;
}

static void put_digest(struct redis_call *call, const struct digest *digest)
{
    char text[2 * DIGEST_SIZE + 1];
    for (unsigned n = 0; n < DIGEST_SIZE; n++)
        snprintf(text + 2 * n, 3, "%02x", digest->bytes[n]);
    call->sink->vtab->status(call->sink, text);
}

/* DEBUG DIGEST-VALUE key .. */
static int digest_value(struct redis_call *call)
{
    call->no_touch = true;
    call->lookups = NULL;
    call->sink->vtab->array(call->sink, call->argc - 2);
    for (unsigned n = 2; n < call->argc; n++) {
        struct digest digest = {{0}};
        int rc = value_add(call, &call->argv[n], &digest);
        if (rc)
            return rc;
        put_digest(call, &digest);
    }
    return 0;
}

/* ---------------------------------------------------------------------------- all keys of a server */

/* Gets the reply of KEYS. */
struct names {
    struct redis_sink base;
    struct mp_buffer packed; /* a size, and so many bytes, for each */
};

static void name_keep(struct redis_sink *sink, const void *data, size_t size)
{
    struct names *names = (struct names *)(void *)sink;
    mp_put_raw(&names->packed, &size, sizeof size);
    mp_put_raw(&names->packed, data, size);
}

static const struct redis_sink_vtab NAMES = {.status = no_text,
                                             .integer = no_integer,
                                             .bulk = name_keep,
                                             .null = nothing,
                                             .boolean = no_boolean,
                                             .array = no_count,
                                             .map = no_count,
                                             .set = no_count,
                                             .null_array = nothing,
                                             .error = no_error};

static int names_get(struct redis_call *call, struct names *names)
{
    const struct redis_slice argv[] = {{"keys", 4}, {"*", 1}};
    struct redis_call inner = *call;
    *names = (struct names){.base = {.vtab = &NAMES}};
    mp_buffer_create(&names->packed);
    inner.argv = argv;
    inner.argc = 2;
    inner.sink = &names->base;
    int rc = redis_command_run(redis_command_find("keys", 4), &inner);
    return !rc && names->packed.failed ? diag_set(ERROR_MEMORY, "out of memory") : rc;
}

/* Of the call's database. */
static int database_add(struct redis_call *call, struct digest *all)
{
    struct names names;
    uint32_t number_of = htonl(call->database);
    int rc = names_get(call, &names);
    if (!rc && names.packed.size > 0)
        digest_mix(all, &number_of, sizeof number_of);
    for (size_t at = 0; at < names.packed.size && !rc;) {
        struct digest digest = {{0}};
        struct redis_slice name;
        memcpy(&name.size, names.packed.data + at, sizeof name.size);
        name.data = names.packed.data + at + sizeof name.size;
        at += sizeof name.size + name.size;
        digest_mix(&digest, name.data, name.size);
        rc = value_add(call, &name, &digest);
        digest_xor(all, &digest, sizeof digest);
    }
    mp_buffer_destroy(&names.packed);
    return rc;
}

/* DEBUG DIGEST */
static int digest_all(struct redis_call *call)
{
    struct redis_call inner = *call;
    struct digest all = {{0}};
    int rc = 0;
    inner.no_touch = true;
    inner.lookups = NULL;
    for (inner.database = 0; inner.database < REDIS_DATABASES && !rc; inner.database++)
        rc = database_add(&inner, &all);
    if (!rc)
        put_digest(call, &all);
    return rc;
}

const struct redis_command redis_debug_digest = {.name = "debug",
                                                 .arity = 2,
                                                 .flags = REDIS_READONLY,
                                                 .summary = "Tells whether data are the same.",
                                                 .since = "1.0.0",
                                                 .group = "server",
                                                 .run = digest_all};
const struct redis_command redis_debug_digest_value = {.name = "debug",
                                                       .arity = -2,
                                                       .flags = REDIS_READONLY,
                                                       .first_key = 2,
                                                       .last_key = -1,
                                                       .key_step = 1,
                                                       .summary = "Tells whether values are equal.",
                                                       .since = "1.0.0",
                                                       .group = "server",
                                                       .run = digest_value};
