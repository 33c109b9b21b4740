/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passwords that are set: hashed by a thread of libuv's pool, since it takes as long as thousands of
 * requests. The fiber sleeps meanwhile; where nothing can sleep, in a transaction for one, the worker
 * computes it itself.
 *
 *      user.lua ── password_start ──▶ a job in the pool ──▶ the loop's next turn: the fiber is ready
 *               ── password_done ───▶ true: user_create and password_set take the job for the password
 *
 * A job belongs to a userdata; when that is collected before the job has ended, the loop frees it.
 */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/password.h"
#include "lua/fiber.h"

enum { JOBS_MAX = 16 /* of a runtime */ };

struct job {
    uv_work_t work;
    struct lua_runtime *runtime; /* NULL: it is forgotten */
    uint64_t waiter;             /* the fiber, 0: what is outside of one */
    bool done;
    int code;
    struct password password;
    size_t size;
    char text[];
};

static const char job_type[] = "perigee.password";

static void job_free(struct job *job)
{
    explicit_bzero(job->text, job->size);
    free(job);
}

static void job_run(uv_work_t *work)
{
    struct job *job = work->data;
    job->code = password_make(&job->password, job->text, job->size);
}

static void job_ended(uv_work_t *work, int status)
{
    struct job *job = work->data;
    struct lua_runtime *runtime = job->runtime;
    if (status < 0)
        job->code = ERROR_CANCELLED;
    job->done = true;
    if (runtime == NULL) {
        job_free(job);
        return;
    }
    struct lua_fiber *fiber = job->waiter == 0 ? NULL : lua__fiber_find(runtime, job->waiter);
    if (job->waiter == 0 || fiber != NULL)
        lua__fiber_ready(runtime, fiber);
}

static int native_end(lua_State *L)
{
    struct job **owned = luaL_checkudata(L, 1, job_type), *job = *owned;
    *owned = NULL;
    if (job == NULL)
        return 0;
    job->runtime->password_jobs--;
    if (job->done)
        job_free(job);
    else
        job->runtime = NULL;
    return 0;
}

/* password_start(text): a job; nil: there are too many, or no loop, and the text will do. */
static int native_start(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct uv_loop_s *loop;
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    if (runtime->password_jobs >= JOBS_MAX || size > PASSWORD_SIZE_MAX)
        return 0;
    if (lua__loop(runtime, &loop) != 0)
        return 0;
    struct job **owned = lua_newuserdata(L, sizeof *owned);
    *owned = NULL;
    if (luaL_newmetatable(L, job_type)) {
        lua_pushcfunction(L, native_end);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    struct job *job = calloc(1, sizeof *job + size);
    if (job == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    memcpy(job->text, text, size);
    job->size = size;
    job->runtime = runtime;
    job->waiter = runtime->fiber == NULL ? 0 : runtime->fiber->id;
    job->work.data = job;
    if (uv_queue_work(loop, &job->work, job_run, job_ended) != 0) {
        job_free(job);
        return 0;
    }
    runtime->password_jobs++;
    *owned = job;
    return 1;
}

/* password_done(job) */
static int native_done(lua_State *L)
{
    struct job **owned = luaL_checkudata(L, 1, job_type);
    lua_pushboolean(L, *owned != NULL && (*owned)->done);
    return 1;
}

bool lua__password_at(lua_State *L, struct lua_runtime *runtime, int index, struct password *out)
{
    size_t size;
    int code;
    if (lua_isnoneornil(L, index))
        return false;
    if (lua_isuserdata(L, index)) {
        struct job **owned = luaL_checkudata(L, index, job_type);
        if (*owned == NULL || !(*owned)->done)
            luaL_error(L, "the password has not been hashed yet");
        *out = (*owned)->password;
        code = (*owned)->code;
    } else {
        const char *text = luaL_checklstring(L, index, &size);
        code = password_make(out, text, size);
    }
    if (code == ERROR_INVALID)
        lua__raise(L, runtime,
                   diag_set(code, "a password has at most %d bytes", PASSWORD_SIZE_MAX));
    else if (code != 0)
        lua__raise(L, runtime, diag_set(code, "the password could not be hashed"));
    return true;
}

void lua__open_password(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"password_start", native_start},
        {"password_done", native_done},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
