/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_HISTORY_REDIS_MODEL_H
#define TEST_HISTORY_REDIS_MODEL_H

/*
 * What Redis does to a few keys, one command after the other: a model as small as can be, to hold
 * histories against (history/redis_order.h). Keys hold strings, lists, sets, hashes and sorted sets
 * of few elements, and commands work on up to three keys, of any type.
 *
 * Keys are called k0, k1 and so on, members and fields a to p; all values are small numbers. A
 * reply is a text: "OK", "12", "nil", "[a b]" with what has no order sorted, and "-WRONGTYPE" for
 * an error that begins so.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REDIS_MODEL_KEYS = 15,
    REDIS_MODEL_MEMBERS = 16,
    REDIS_MODEL_ROOM = 48,   /* elements of a list */
    REDIS_MODEL_SESSIONS = 8 /* that may watch a key */
};

enum redis_model_type {
    REDIS_MODEL_NONE,
    REDIS_MODEL_STRING,
    REDIS_MODEL_LIST,
    REDIS_MODEL_SET,
    REDIS_MODEL_HASH,
    REDIS_MODEL_ZSET,
    REDIS_MODEL_TYPES
};

/* X(name, the type that it is for, what is sent): A B C are keys, M N members, X Y numbers. */
#define REDIS_MODEL_COMMANDS(X)                               \
    X(GET, STRING, "GET A")                                   \
    X(SET, STRING, "SET A X")                                 \
    X(INCR, STRING, "INCR A")                                 \
    X(MGET, STRING, "MGET A B C")                             \
    X(MSET, STRING, "MSET A X B Y")                           \
    X(MSETNX, STRING, "MSETNX A X B Y")                       \
    X(DEL, NONE, "DEL A B")                                   \
    X(EXISTS, NONE, "EXISTS A B C")                           \
    X(TYPE, NONE, "TYPE A")                                   \
    X(RENAME, NONE, "RENAME A B")                             \
    X(RENAMENX, NONE, "RENAMENX A B")                         \
    X(COPY, NONE, "COPY A B")                                 \
    X(COPY_OVER, NONE, "COPY A B REPLACE")                    \
    X(RPUSH, LIST, "RPUSH A X")                               \
    X(LPUSH, LIST, "LPUSH A X")                               \
    X(LPOP, LIST, "LPOP A")                                   \
    X(RPOP, LIST, "RPOP A")                                   \
    X(LMPOP, LIST, "LMPOP 2 A B LEFT")                        \
    X(LMOVE, LIST, "LMOVE A B LEFT RIGHT")                    \
    X(RPOPLPUSH, LIST, "RPOPLPUSH A B")                       \
    X(LRANGE, LIST, "LRANGE A 0 -1")                          \
    X(LLEN, LIST, "LLEN A")                                   \
    X(SADD, SET, "SADD A M N")                                \
    X(SREM, SET, "SREM A M N")                                \
    X(SMOVE, SET, "SMOVE A B M")                              \
    X(SISMEMBER, SET, "SISMEMBER A M")                        \
    X(SMEMBERS, SET, "SMEMBERS A")                            \
    X(SCARD, SET, "SCARD A")                                  \
    X(SUNION, SET, "SUNION A B")                              \
    X(SINTERSTORE, SET, "SINTERSTORE A B C")                  \
    X(SUNIONSTORE, SET, "SUNIONSTORE A B C")                  \
    X(SDIFFSTORE, SET, "SDIFFSTORE A B C")                    \
    X(HSET, HASH, "HSET A M X N Y")                           \
    X(HINCRBY, HASH, "HINCRBY A M 1")                         \
    X(HDEL, HASH, "HDEL A M N")                               \
    X(HMGET, HASH, "HMGET A M N")                             \
    X(HGETALL, HASH, "HGETALL A")                             \
    X(HLEN, HASH, "HLEN A")                                   \
    X(ZADD, ZSET, "ZADD A X M Y N")                           \
    X(ZINCRBY, ZSET, "ZINCRBY A 1 M")                         \
    X(ZREM, ZSET, "ZREM A M N")                               \
    X(ZPOPMIN, ZSET, "ZPOPMIN A")                             \
    X(ZRANGE, ZSET, "ZRANGE A 0 -1 WITHSCORES")               \
    X(ZRANK, ZSET, "ZRANK A M")                               \
    X(ZCARD, ZSET, "ZCARD A")                                 \
    X(ZRANGESTORE, ZSET, "ZRANGESTORE A B 0 -1")              \
    X(ZUNIONSTORE, ZSET, "ZUNIONSTORE A 2 B C AGGREGATE MAX") \
    X(ZINTERSTORE, ZSET, "ZINTERSTORE A 2 B C AGGREGATE MIN") \
    X(ZDIFFSTORE, ZSET, "ZDIFFSTORE A 2 B C")

#define REDIS_MODEL_VERB(name, type, text) REDIS_MODEL_DO_##name,
enum redis_model_verb { REDIS_MODEL_COMMANDS(REDIS_MODEL_VERB) REDIS_MODEL_VERBS };
#undef REDIS_MODEL_VERB

struct redis_model_command {
    enum redis_model_verb verb;
    uint8_t key[3], member[2];
    uint16_t number[2];
};

/* A list: its elements in order. A set: 1 where a member is. A hash or a sorted set: value or score
 * and one, 0 where none is. A string: its number. What is not used is 0, so equal values are equal
 * bytes. */
struct redis_model_value {
    uint16_t type, count; /* of elements */
    uint16_t at[REDIS_MODEL_ROOM];
};

struct redis_model {
    struct redis_model_value keys[REDIS_MODEL_KEYS];
    uint8_t watch[REDIS_MODEL_SESSIONS];  /* key and one; 0: none */
    uint8_t dirty[REDIS_MODEL_SESSIONS];  /* what is watched was changed */
    uint8_t absent[REDIS_MODEL_SESSIONS]; /* and was not there when that began */
};

/* A text that is cut off, and says so, when there is no more room. */
struct redis_model_text {
    size_t size;
    bool cut;
    char data[2048];
};

void redis_model_say(struct redis_model_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

enum redis_model_type redis_model_home(enum redis_model_verb verb);

/* Whether the reply has no order: of single elements (1) or of pairs (2). */
unsigned redis_model_unordered(enum redis_model_verb verb);

/* Whether a command with this reply can't have changed anything, wherever it was run. */
bool redis_model_harmless(enum redis_model_verb verb, const char *reply);

/* What is sent, words with blanks between. */
void redis_model_words(const struct redis_model_command *command, struct redis_model_text *out);

/* Runs a command and adds its reply. False when a list has no more room: then nothing is known. */
bool redis_model_apply(struct redis_model *model, const struct redis_model_command *command,
                       struct redis_model_text *reply);

#endif
