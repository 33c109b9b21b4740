/* SPDX-License-Identifier: Apache-2.0 */
/* See lua_session.h. */
#include "lua/lua_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/json.h"

void lua_session_open(struct lua_session *session, struct lua_fixture *fixture)
{
    memset(session, 0, sizeof *session);
    lua_fixture_second(fixture, &session->worker, &session->runtime);
    mp_buffer_create(&session->result);
    session->request = (struct lua_request){.latest = true, .may_wait = true};
}

void lua_session_close(struct lua_session *session)
{
    lua_session_rollback(session);
    lock_owner_delete(session->owner);
    lua_runtime_delete(session->runtime);
    db_worker_close(session->worker);
    mp_buffer_destroy(&session->result);
}

void lua_session_begin(struct lua_session *session, enum txn_level level)
{
    struct txn_options options = {.level = level, .session_id = session->request.session_id};
    assert_null(session->txn);
    assert_int_equal(txn_open(db_worker_txn(session->worker), &options, &session->txn), 0);
    txn_park(session->txn);
}

static const char *show(struct lua_session *session, int code)
{
    if (code == 0 && session->result.size == 0)
        return "OK";
    return lua_fixture_show(&session->result, code, session->text, sizeof session->text);
}

/* Makes the transaction current; false: it has ended, *code says why. */
static bool resume(struct lua_session *session, int *code)
{
    *code = session->txn == NULL ? 0 : txn_resume(session->txn);
    if (*code != 0)
        session->txn = NULL;
    return *code == 0;
}

const char *lua_session_commit(struct lua_session *session)
{
    int code;
    mp_buffer_reset(&session->result, 65536);
    assert_non_null(session->txn);
    if (resume(session, &code))
        code = txn_commit(session->txn);
    session->txn = NULL;
    return show(session, code);
}

void lua_session_rollback(struct lua_session *session)
{
    int code;
    if (session->txn != NULL && resume(session, &code))
        txn_rollback(session->txn);
    session->txn = NULL;
}

/* After a request: parks or ends the transaction, keeps the owner that waits. */
static void settle(struct lua_session *session, int code)
{
    session->waiting = NULL;
    if (session->txn != NULL) {
        if (code == ERROR_WAIT)
            session->waiting = txn_owner(session->txn);
        if (txn_doomed(session->txn)) {
            txn_rollback(session->txn);
            session->txn = NULL;
        } else {
            txn_park(session->txn);
        }
    } else if (code == ERROR_WAIT) {
        assert_non_null(session->owner);
        session->waiting = session->owner;
    } else {
        lock_owner_delete(session->owner);
        session->owner = NULL;
    }
}

static struct lua_request next_request(struct lua_session *session)
{
    struct lua_request request = session->request;
    request.txn = session->txn;
    request.owner = session->owner;
    request.waiting = &session->owner;
    return request;
}

const char *lua_session_eval(struct lua_session *session, const char *text)
{
    int code;
    mp_buffer_reset(&session->result, 65536);
    if (!resume(session, &code))
        return show(session, code);
    struct lua_request request = next_request(session);
    code = lua_runtime_eval(session->runtime, &request, text, strlen(text), NULL, &session->result,
                            &session->reply_ts);
    const char *result = show(session, code);
    settle(session, code);
    return result;
}

const char *lua_session_call(struct lua_session *session, const char *name, const char *arguments)
{
    int code;
    struct json_buffer packed;
    mp_buffer_reset(&session->result, 65536);
    if (!resume(session, &code))
        return show(session, code);
    json_buffer_create(&packed);
    assert_int_equal(json_to_msgpack(arguments, strlen(arguments), &packed), 0);
    struct lua_request request = next_request(session);
    code = lua_runtime_call(session->runtime, &request, name, strlen(name), packed.data,
                            &session->result, &session->reply_ts);
    json_buffer_destroy(&packed);
    const char *result = show(session, code);
    settle(session, code);
    return result;
}
