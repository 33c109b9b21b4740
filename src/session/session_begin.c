/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Interactive transactions over RESP: BEGIN, COMMIT, ROLLBACK, savepoints, and what a session says
 * about transactions once for all (ISOLATION, LOCKTIMEOUT).
 *
 *     BEGIN [[ISOLATION LEVEL] level] [READ ONLY | READ WRITE]
 *     START TRANSACTION ...                  the same
 *     COMMIT    ROLLBACK [TO [SAVEPOINT] name]    SAVEPOINT name    RELEASE [SAVEPOINT] name
 *
 * A level is one word (SNAPSHOT) or two (READ COMMITTED), or two joined by '-' or '_'.
 */
#include "session/session_internal.h"

#include "redis/redis_value.h"

/* ----------------------------------------------------------------------------------- its words */

/* A reader of arguments. */
struct words {
    const struct redis_slice *next, *end;
};

static bool word_is(const struct redis_slice *word, const char *text)
{
    size_t size = strlen(text);
    return word->size == size && strncasecmp(word->data, text, size) == 0;
}

static bool take(struct words *words, const char *text)
{
    if (words->next == words->end || !word_is(words->next, text))
        return false;
    words->next++;
    return true;
}

static bool take_two(struct words *words, const char *first, const char *second)
{
    if (words->end - words->next < 2 || !word_is(&words->next[0], first) ||
        !word_is(&words->next[1], second))
        return false;
    words->next += 2;
    return true;
}

static int unknown_word(const struct words *words, const char *wanted)
{
    const struct redis_slice *word = words->next;
    if (word == words->end)
        return diag_set(ERROR_INVALID, "%s is missing", wanted);
    return diag_set(ERROR_INVALID, "syntax error at '%.*s': %s is wanted",
                    (int)(word->size < 64 ? word->size : 64), word->data, wanted);
}

static const char LEVELS[] =
    "READ UNCOMMITTED, READ COMMITTED, REPEATABLE READ, SNAPSHOT or SERIALIZABLE";

/* A level of one or two words. */
static bool take_level(struct words *words, enum txn_level *level)
{
    static const char *const TWO[][2] = {
        {"read", "uncommitted"}, {"read", "committed"}, {"repeatable", "read"}};
    static const enum txn_level LEVEL[] = {TXN_READ_UNCOMMITTED, TXN_READ_COMMITTED, TXN_SNAPSHOT};
    for (unsigned n = 0; n < sizeof TWO / sizeof *TWO; n++)
        if (take_two(words, TWO[n][0], TWO[n][1])) {
            *level = LEVEL[n];
            return true;
        }
    if (words->next == words->end || !txn_level_parse(words->next->data, words->next->size, level))
        return false;
    words->next++;
    return true;
}

static int begin_parse(struct words *words, struct session_stream_options *options)
{
    bool level = false, access = false;
    while (words->next < words->end) {
        if (!access && (take_two(words, "read", "only") || take(words, "readonly"))) {
            options->readonly = access = true;
        } else if (!access && take_two(words, "read", "write")) {
            access = true;
        } else {
            bool named = !level && take_two(words, "isolation", "level");
            if (level || !take_level(words, &options->level))
                return unknown_word(words, level   ? "READ ONLY or READ WRITE"
                                           : named ? LEVELS
                                                   : "a level, READ ONLY or READ WRITE");
            level = true;
        }
    }
    return 0;
}

/* The whole rest is one name. */
static int take_name(struct words *words, struct redis_slice *name)
{
    if (words->end - words->next != 1) {
        if (words->next < words->end)
            words->next++;
        return unknown_word(words, words->next == words->end ? "a savepoint's name" : "nothing");
    }
    *name = *words->next++;
    return 0;
}

static struct words words_of(const struct session_request *request, unsigned from)
{
    return (struct words){request->argv + from, request->argv + request->argc};
}

/* ------------------------------------------------------------------------------------- commands */

static int begin(struct session *session, struct words words)
{
    struct session_stream_options options = {.level = session__level(session)};
    if (session->watch_first)
        return diag_set(ERROR_INVALID,
                        "BEGIN after WATCH is not allowed: UNWATCH, or use MULTI and EXEC");
    if (!session__stream_closed(&session->stream))
        return diag_set(ERROR_INVALID, "BEGIN calls can not be nested: use SAVEPOINT");
    int rc = begin_parse(&words, &options);
    if (!rc)
        rc = session__stream_begin(&session->stream, &options);
    if (!rc)
        resp_put_ok(&session->out);
    return rc;
}

int session__begin(struct session *session, struct session_request *request)
{
    return begin(session, words_of(request, 1));
}

int session__start(struct session *session, struct session_request *request)
{
    struct words words = words_of(request, 1);
    return take(&words, "transaction") ? begin(session, words)
                                       : unknown_word(&words, "TRANSACTION");
}

static int replied(struct session *session, int rc)
{
    session__now_forget(session->worker);
    if (!rc)
        resp_put_ok(&session->out);
    return rc;
}

int session__commit(struct session *session, struct session_request *request)
{
    return replied(session, session__stream_commit(&session->stream, &request->reply_ts));
}

int session__rollback(struct session *session, struct session_request *request)
{
    struct words words = words_of(request, 1);
    struct session_stream *stream = &session->stream;
    if (request->argc == 1)
        return replied(session, session__stream_rollback(stream, &request->reply_ts));
    if (!take(&words, "to"))
        return unknown_word(&words, "TO");
    if (words.end - words.next > 1)
        take(&words, "savepoint");
    struct redis_slice name = {NULL, 0};
    int rc = take_name(&words, &name);
    if (!rc)
        rc = session__stream_rollback_to(stream, name.data, name.size, &request->reply_ts);
    return replied(session, rc);
}

int session__savepoint(struct session *session, struct session_request *request)
{
    const struct redis_slice *name = &request->argv[1];
    return replied(session, session__stream_savepoint(&session->stream, name->data, name->size,
                                                      &request->reply_ts));
}

int session__release(struct session *session, struct session_request *request)
{
    struct words words = words_of(request, 1);
    if (words.end - words.next > 1)
        take(&words, "savepoint");
    struct redis_slice name = {NULL, 0};
    int rc = take_name(&words, &name);
    if (!rc)
        rc = session__stream_release(&session->stream, name.data, name.size, &request->reply_ts);
    return replied(session, rc);
}

/* ISOLATION [level | DEFAULT] */
int session__isolation(struct session *session, struct session_request *request)
{
    struct words words = words_of(request, 1);
    if (request->argc == 1) {
        const char *name = txn_level_name(session__level(session));
        resp_put_bulk(&session->out, name, strlen(name));
        return 0;
    }
    enum txn_level level = TXN_SERIALIZABLE;
    bool given = !take(&words, "default");
    if (given && !take_level(&words, &level))
        return unknown_word(&words, LEVELS);
    if (words.next < words.end)
        return unknown_word(&words, "nothing");
    session->level = level;
    session->level_given = given;
    resp_put_ok(&session->out);
    return 0;
}

/* LOCKTIMEOUT [milliseconds | DEFAULT] */
int session__locktimeout(struct session *session, struct session_request *request)
{
    const struct redis_slice *word = &request->argv[1];
    int64_t ms;
    if (request->argc == 1) {
        resp_put_integer(&session->out, session->lock_timeout_given
                                            ? session->lock_timeout_ms
                                            : session->service->limits.lock_timeout_ms);
        return 0;
    }
    if (word_is(word, "default")) {
        session->lock_timeout_given = false;
    } else {
        if (!redis_integer_parse(word->data, word->size, &ms) || ms < 0 || ms > UINT32_MAX)
            return diag_set(ERROR_INVALID, "value is not an integer or out of range");
        session->lock_timeout_ms = (unsigned)ms;
        session->lock_timeout_given = true;
    }
    resp_put_ok(&session->out);
    return 0;
}
