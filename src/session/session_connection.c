/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands about the connection itself: who it is, which protocol it speaks, and its end.
 */
#include "session/session_internal.h"

#include "redis/redis_value.h"

static bool word(const struct redis_slice *arg, const char *text)
{
    size_t size = strlen(text);
    return arg->size == size && strncasecmp(arg->data, text, size) == 0;
}

int session__ping(struct session *session, struct session_request *request)
{
    if (request->argc > 2)
        return diag_set(ERROR_INVALID, "wrong number of arguments for 'ping' command");
    if (session__listening(session)) {
        resp_put_array(&session->out, 2);
        resp_put_bulk(&session->out, "pong", 4);
        if (request->argc == 1)
            resp_put_bulk(&session->out, "", 0);
    }
    if (request->argc == 2)
        resp_put_bulk(&session->out, request->argv[1].data, request->argv[1].size);
    else if (!session__listening(session))
        resp_put_pong(&session->out);
    return 0;
}

int session__echo(struct session *session, struct session_request *request)
{
    resp_put_bulk(&session->out, request->argv[1].data, request->argv[1].size);
    return 0;
}

/* ------------------------------------------------------------------------------------- identity */

/* Of a request that EXEC runs nobody could wait. */
static int login(struct session *session, const struct session_request *request,
                 const struct redis_slice *user, const struct redis_slice *password)
{
    int rc = session__login(session, request->txn ? NULL : &session->wait, user, password);
    return rc == ERROR_ACCESS ? session__error(session, "WRONGPASS", diag_message()) : rc;
}

int session__auth(struct session *session, struct session_request *request)
{
    const struct redis_slice *argv = request->argv;
    if (request->argc > 3)
        return redis_syntax_error();
    int rc = request->argc == 2 ? login(session, request, NULL, &argv[1])
                                : login(session, request, &argv[1], &argv[2]);
    if (rc == 0)
        resp_put_ok(&session->out);
    return rc;
}

/* ---------------------------------------------------------------------------------------- HELLO */

struct hello {
    int64_t protocol;
    const struct redis_slice *auth; /* user and password, or NULL */
    const struct redis_slice *name;
};

static int hello_parse(struct session *session, const struct session_request *request,
                       struct hello *hello)
{
    const struct redis_slice *argv = request->argv;
    *hello = (struct hello){.protocol = session->protocol};
    if (request->argc < 2)
        return 0;
    if (!redis_integer_parse(argv[1].data, argv[1].size, &hello->protocol))
        return diag_set(ERROR_INVALID, "Protocol version is not an integer or out of range");
    if (hello->protocol < 2 || hello->protocol > 3)
        return session__error(session, "NOPROTO", "unsupported protocol version");
    for (unsigned n = 2; n < request->argc; n++) {
        unsigned more = request->argc - 1 - n;
        if (word(&argv[n], "auth") && more >= 2) {
            hello->auth = &argv[n + 1];
            n += 2;
        } else if (word(&argv[n], "setname") && more >= 1) {
            hello->name = &argv[++n];
            if (!session__name_valid(hello->name))
                return diag_set(
                    ERROR_INVALID,
                    "Client names cannot contain spaces, newlines or special characters.");
        } else {
            return diag_set(ERROR_INVALID, "Syntax error in HELLO option '%.*s'",
                            (int)(argv[n].size < 128 ? argv[n].size : 128), argv[n].data);
        }
    }
    return 0;
}

static void put_text(struct session *session, const char *text)
{
    resp_put_bulk(&session->out, text, strlen(text));
}

static void hello_reply(struct session *session)
{
    struct mp_buffer *out = &session->out;
    resp_put_map(out, session->protocol, 7);
    put_text(session, "server");
    put_text(session, "redis");
    put_text(session, "version");
    put_text(session, "7.2.0");
    put_text(session, "proto");
    resp_put_integer(out, session->protocol);
    put_text(session, "id");
    resp_put_integer(out, (int64_t)session->about.id);
    put_text(session, "mode");
    put_text(session, "standalone");
    put_text(session, "role");
    put_text(session, "master");
    put_text(session, "modules");
    resp_put_array(out, 0);
}

int session__hello(struct session *session, struct session_request *request)
{
    struct hello hello;
    int rc = hello_parse(session, request, &hello);
    if (rc)
        return rc;
    if (hello.auth && (rc = login(session, request, &hello.auth[0], &hello.auth[1])) != 0)
        return rc;
    if (!session->authenticated)
        return session__error(session, "NOAUTH",
                              "HELLO must be called with the client already authenticated, "
                              "otherwise the HELLO <proto> AUTH "
                              "<user> <pass> option can be used to authenticate the client and "
                              "select the RESP protocol version "
                              "at the same time");
    if (hello.name)
        session__about_name_set(session, &session->about.name, hello.name->data, hello.name->size);
    session->protocol = (int)hello.protocol;
    store_relaxed(&session->about.resp, session->protocol);
    hello_reply(session);
    return 0;
}

/* ------------------------------------------------------------------------------------------ end */

int session__quit(struct session *session, struct session_request *request)
{
    (void)request;
    session->closing = true;
    session__stream_destroy(&session->stream);
    resp_put_ok(&session->out);
    return 0;
}

int session__reset(struct session *session, struct session_request *request)
{
    (void)request;
    session__multi_end(session);
    session__watch_end(session);
    session__stream_destroy(&session->stream);
    session__unsubscribe_all(session);
    session__tracking_end(session, false);
    session__monitor_end(session);
    session->level_given = session->lock_timeout_given = false;
    session->reply_mode = REPLY_ON;
    session->debugging = false;
    session->protocol = RESP2;
    session->format = WIRE_NATIVE;
    session->database = 0;
    store_relaxed(&session->about.database, 0);
    store_relaxed(&session->about.no_evict, false);
    store_relaxed(&session->about.no_touch, false);
    store_relaxed(&session->about.resp, RESP2);
    session__about_name_set(session, &session->about.name, NULL, 0);
    session__logout(session);
    resp_put_status(&session->out, "RESET");
    return 0;
}

int session__select(struct session *session, struct session_request *request)
{
    int64_t number;
    if (!redis_integer_parse(request->argv[1].data, request->argv[1].size, &number))
        return diag_set(ERROR_INVALID, "value is not an integer or out of range");
    if (number < 0 || number >= REDIS_DATABASES)
        return diag_set(ERROR_INVALID, "DB index is out of range");
    session->database = (unsigned)number;
    store_relaxed(&session->about.database, session->database);
    resp_put_ok(&session->out);
    return 0;
}

/* Nobody is asked for anything once it has begun, so there is never one to be aborted. */
int session__shutdown(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    bool save = false, nosave = false, abort = false;
    for (unsigned n = 1; n < request->argc; n++) {
        const struct redis_slice *arg = &request->argv[n];
        save |= word(arg, "save");
        nosave |= word(arg, "nosave");
        abort |= word(arg, "abort");
        if (!word(arg, "save") && !word(arg, "nosave") && !word(arg, "abort") &&
            !word(arg, "now") && !word(arg, "force"))
            return redis_syntax_error();
    }
    if ((save && nosave) || (abort && request->argc > 2))
        return redis_syntax_error();
    if (abort)
        return diag_set(ERROR_INVALID, "No shutdown in progress.");
    if (!service->options.shutdown)
        return diag_set(ERROR_UNSUPPORTED, "Errors trying to SHUTDOWN. Check logs.");
    service->options.shutdown(service->options.arg);
    session->closing = true; /* and no reply, as in Redis */
    return 0;
}
