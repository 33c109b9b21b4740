/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LUA_SESSION_H
#define TEST_LUA_SESSION_H

/*
 * A client as a session serves it: requests by themselves or in an interactive transaction, which is
 * parked between them, so that several clients take turns on one thread.
 */
#include "lua/lua_fixture.h"
#include "txn/lock.h"

struct lua_session {
    struct db_worker *worker;
    struct lua_runtime *runtime;
    struct txn *txn;            /* the interactive one, or NULL */
    struct lock_owner *owner;   /* what the last request waits with, when it had no transaction */
    struct lock_owner *waiting; /* what the last request waits with, whoever's it is; or NULL */
    struct lua_request request; /* options of all its requests: may_wait to begin with */
    struct mp_buffer result;
    uint64_t reply_ts;
    char text[4096];
};

/* On the calling thread, which also closes it: that rolls back what is open. */
void lua_session_open(struct lua_session *session, struct lua_fixture *fixture);
void lua_session_close(struct lua_session *session);

/* Begins the interactive transaction; must succeed. */
void lua_session_begin(struct lua_session *session, enum txn_level level);

/* "OK", or "CODE message". */
const char *lua_session_commit(struct lua_session *session);
void lua_session_rollback(struct lua_session *session);

/*
 * Evaluates text, or calls a procedure with a JSON array of arguments: the JSON of the results, or
 * "CODE message". After ERROR_WAIT `waiting` is set, and the same again is the next try. An
 * interactive transaction that is lost is rolled back.
 */
const char *lua_session_eval(struct lua_session *session, const char *text);
const char *lua_session_call(struct lua_session *session, const char *name, const char *arguments);

#endif
