/* SPDX-License-Identifier: Apache-2.0 */

/*
 * DEBUG: the parts that clients' own tests use. SLEEP makes this connection wait, and nobody else.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "redis/redis_debug.h"
#include "redis/redis_value.h"
#include "session/session_internal.h"

static bool word(const struct redis_slice *arg, const char *text)
{
    size_t size = strlen(text);
    return arg->size == size && strncasecmp(arg->data, text, size) == 0;
}

int session__wait_until(struct session *session, uint64_t until_ns)
{
    struct session_wait *wait = &session->wait;
    uint64_t now_ns = clock_monotonic_ns(session->service->options.clock);
    if (now_ns >= until_ns || session->hurried || session->unblock)
        return 0;
    wait->deadline_ns = until_ns;
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&session->worker->waits, &wait->link);
    session__due_at(session->worker, until_ns);
    return ERROR_WAIT;
}

/* DEBUG SLEEP seconds */
static int debug_sleep(struct session *session, const struct redis_slice *seconds)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)(seconds->size < 60 ? seconds->size : 60),
             seconds->data);
    double value = strtod(text, NULL);
    if (!session->sleep_until_ns) {
        uint64_t now_ns = clock_monotonic_ns(session->service->options.clock);
        session->sleep_until_ns = now_ns + (value > 0 && value < 1e8 ? (uint64_t)(value * 1e9) : 0);
    }
    int rc = session__wait_until(session, session->sleep_until_ns);
    if (rc)
        return rc;
    session->sleep_until_ns = 0;
    resp_put_ok(&session->out);
    return 0;
}

static int set_active_expire(struct session *session, const struct redis_slice *value)
{
    store_relaxed(&session->service->config.active_expire, !word(value, "0"));
    resp_put_ok(&session->out);
    return 0;
}

/* What goes beside a reply: an attribute before it, and a push message, after which the reply comes that a
 * client waits for. */
static int protocol_beside(struct session *session, bool push)
{
    struct mp_buffer *out = &session->out;
    const char *attribute = "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n";
    const char *message = ">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n";
    const char *before = push ? message : attribute;
    const char *reply = push ? "Some real reply following the push reply"
                             : "Some real reply following the attribute";
    if (push && session->protocol < 3)
        return diag_set(ERROR_INVALID, "RESP2 is not supported by this command");
    if (session->protocol >= 3)
        mp_put_raw(out, before, strlen(before));
    resp_put_bulk(out, reply, strlen(reply));
    return 0;
}

/* DEBUG PROTOCOL type: a reply of each, for the tests of parsers. */
static int debug_protocol(struct session *session, const struct redis_slice *type)
{
    struct mp_buffer *out = &session->out;
    int protocol = session->protocol;
    if (word(type, "string")) {
        resp_put_bulk(out, "Hello World", 11);
    } else if (word(type, "integer")) {
        resp_put_integer(out, 12345);
    } else if (word(type, "double")) {
        resp_put_double(out, protocol, 3.141);
    } else if (word(type, "null")) {
        resp_put_null(out, protocol);
    } else if (word(type, "array")) {
        resp_put_array(out, 3);
        for (int n = 0; n < 3; n++)
            resp_put_integer(out, n);
    } else if (word(type, "set")) {
        resp_put_set(out, protocol, 3);
        for (int n = 0; n < 3; n++)
            resp_put_integer(out, n);
    } else if (word(type, "map")) {
        resp_put_map(out, protocol, 3);
        for (int n = 0; n < 3; n++) {
            resp_put_integer(out, n);
            resp_put_boolean(out, protocol, n == 1);
        }
    } else if (word(type, "verbatim")) {
        resp_put_verbatim(out, protocol, "txt", "This is a verbatim\nstring", 25);
    } else if (word(type, "true") || word(type, "false")) {
        resp_put_boolean(out, protocol, word(type, "true"));
    } else if (word(type, "attrib") || word(type, "push")) {
        return protocol_beside(session, word(type, "push"));
    } else if (word(type, "bignum")) {
        static const char DIGITS[] = "1234567999999999999999999999999999999";
        resp_put_big_number(out, protocol, DIGITS, sizeof DIGITS - 1);
    } else {
        return diag_set(ERROR_INVALID,
                        "Wrong protocol type name. Please use one of the following: "
                        "string|integer|double|null|array|set|map|attrib|push|verbatim|true|false|"
                        "bignum");
    }
    return 0;
}

/* DEBUG OBJECT, POPULATE and DIGEST: commands on keys, which run as such. */
static int on_keys(struct session *session, struct session_request *request,
                   const struct redis_command *redis)
{
    const struct session_command command = {.name = "debug", .flags = SESSION_DATA, .redis = redis};
    struct session_request inner = *request;
    inner.command = &command;
    int rc = session__run_redis(session, &inner);
    request->reply_ts = inner.reply_ts;
    request->now_ms = inner.now_ms;
    return rc;
}

/* DEBUG ERROR text: the text as an error, its first word as the prefix. */
static int debug_error(struct session *session, const struct redis_slice *text)
{
    char message[256];
    int size = (int)(text->size < sizeof message - 1 ? text->size : sizeof message - 1);
    snprintf(message, sizeof message, "%.*s", size, text->data);
    char *space = strchr(message, ' ');
    if (!space)
        return session__error(session, "", message);
    *space = 0;
    return session__error(session, message, space + 1);
}

static int debug_help(struct session *session)
{
    static const char *const LINES[] = {
        "DIGEST",
        "    Output a hex signature representing the current DB content.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Output a hex signature of the values of all the specified keys.",
        "ERROR <string>",
        "    Return a Redis protocol error with <string> as message. Useful for clients",
        "    unit tests to simulate Redis errors.",
        "LOG <message>",
        "    Write <message> to the server log.",
        "OBJECT <key>",
        "    Show low level info about `key` and associated value.",
        "POPULATE <count> [<prefix>] [<size>]",
        "    Create <count> string keys named key:<num>. If <prefix> is specified then",
        "    it is used instead of the 'key' prefix. What is there already stays.",
        "PROTOCOL <type>",
        "    Reply with a test value of the specified type. <type> can be: string,",
        "    integer, double, null, array, set, map, attrib, push, verbatim, true,",
        "    false, bignum.",
        "RELOAD [option ...]",
        "    Save what there is, by a checkpoint. Nothing is loaded again.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Setting it to 0 disables expiring keys in background when they are not",
        "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
        "    default.",
        "SLEEP <seconds>",
        "    Stop this connection for <seconds>. Decimals allowed.",
    };
    session__put_help(session, "DEBUG", LINES, sizeof LINES / sizeof *LINES);
    return 0;
}

int session__debug(struct session *session, struct session_request *request)
{
    const struct redis_slice *name = &request->argv[1], *arg = &request->argv[2];
    bool one = request->argc == 3;
    if (request->argc == 2 && word(name, "help"))
        return debug_help(session);
    if (one && word(name, "sleep"))
        return debug_sleep(session, arg);
    if (one && word(name, "set-active-expire"))
        return set_active_expire(session, arg);
    if (one && word(name, "protocol"))
        return debug_protocol(session, arg);
    if (one && word(name, "error"))
        return debug_error(session, arg);
    if (request->argc == 2 && word(name, "digest"))
        return on_keys(session, request, &redis_debug_digest);
    if (word(name, "digest-value"))
        return on_keys(session, request, &redis_debug_digest_value);
    if (one && word(name, "object"))
        return on_keys(session, request, &redis_debug_object);
    if (request->argc >= 3 && request->argc <= 5 && word(name, "populate"))
        return on_keys(session, request, &redis_debug_populate);
    if (word(name, "reload"))
        return session__save(session, request);
    if (one && word(name, "log")) {
        log_info("DEBUG LOG: %.*s", (int)(arg->size < 512 ? arg->size : 512), arg->data);
        resp_put_ok(&session->out);
        return 0;
    }
    return diag_set(ERROR_INVALID,
                    "unknown subcommand or wrong number of arguments for '%.*s'. Try DEBUG HELP.",
                    (int)(name->size < 128 ? name->size : 128), name->data);
}
