/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop under the fibers: the worker's, or one of the runtime's own that runs while its thread
 * waits.
 *
 * A worker calls lua_runtime_run once a turn, after its loop has called back whoever waited for a
 * socket. Whatever makes a fiber ready at another moment keeps the loop from sleeping before that,
 * by an idle handle; another thread does it by an async handle. Without a loop, whoever has the
 * runtime calls lua_runtime_run when he likes.
 *
 * Handles are closed when the runtime goes and freed by the loop afterwards, in the last turn that
 * the loop's owner gives it.
 */
#include <stdlib.h>
#include <uv.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/fiber.h"

struct lua__loop {
    uv_idle_t idle;
    uv_async_t async;
    uv_timer_t timer;
    unsigned open;
};

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void on_async(uv_async_t *async)
{
    (void)async;
}

/* Timers run before the loop sleeps, too: it is not to do so then. */
static void on_timer(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void on_close(uv_handle_t *handle)
{
    struct lua__loop *handles = handle->data;
    if (--handles->open == 0)
        free(handles);
}

static int handles_open(struct lua__fibers *fibers)
{
    struct lua__loop *handles = calloc(1, sizeof *handles);
    if (handles == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    int rc = uv_async_init(fibers->loop, &handles->async, on_async);
    if (rc != 0) {
        free(handles);
        return diag_set(ERROR_IO, "cannot make a loop: %s", uv_strerror(rc));
    }
    uv_idle_init(fibers->loop, &handles->idle);
    uv_timer_init(fibers->loop, &handles->timer);
    handles->idle.data = handles->async.data = handles->timer.data = handles;
    handles->open = 3;
    pthread_mutex_lock(&fibers->mutex);
    fibers->handles = handles;
    pthread_mutex_unlock(&fibers->mutex);
    return 0;
}

static void pause_for_others(void *runtime)
{
    lua__pause(runtime);
}

void lua_runtime_others_set(struct lua_runtime *runtime, const struct lua_others *others)
{
    lua__deadline_others_set(&runtime->deadline, others);
    if (runtime->txn_worker != NULL)
        txn_worker_pause_set(runtime->txn_worker, pause_for_others, runtime);
}

void lua_runtime_let_in(struct lua_runtime *runtime)
{
    lua__deadline_arm_late(&runtime->deadline);
    lua__pause(runtime);
}

void lua_runtime_let_in_end(struct lua_runtime *runtime)
{
    lua__deadline_disarm(&runtime->deadline);
}

void lua__others_forget(struct lua_runtime *runtime)
{
    if (runtime->deadline.others.wait != NULL && runtime->txn_worker != NULL)
        txn_worker_pause_set(runtime->txn_worker, NULL, NULL);
}

int lua_runtime_loop_set(struct lua_runtime *runtime, struct uv_loop_s *loop)
{
    struct lua__fibers *fibers = runtime->fibers;
    fibers->loop = loop;
    fibers->alone = false;
    int code = handles_open(fibers);
    if (code != 0)
        fibers->loop = NULL;
    return code;
}

int lua__loop(struct lua_runtime *runtime, struct uv_loop_s **out)
{
    struct lua__fibers *fibers = runtime->fibers;
    if (fibers->loop == NULL && !fibers->alone)
        return diag_set(ERROR_UNSUPPORTED, "this thread has no loop");
    if (fibers->loop == NULL) {
        fibers->loop = malloc(sizeof *fibers->loop);
        int rc = fibers->loop == NULL ? UV_ENOMEM : uv_loop_init(fibers->loop);
        if (rc != 0) {
            free(fibers->loop);
            fibers->loop = NULL;
            return diag_set(ERROR_IO, "cannot make a loop: %s", uv_strerror(rc));
        }
        fibers->loop_owned = true;
    }
    if (fibers->handles == NULL) {
        int code = handles_open(fibers);
        if (code != 0)
            return code;
    }
    *out = fibers->loop;
    return 0;
}

void lua__loop_stir(struct lua_runtime *runtime)
{
    struct lua__loop *handles = runtime->fibers->handles;
    if (handles != NULL && !uv_is_active((uv_handle_t *)&handles->idle))
        uv_idle_start(&handles->idle, on_idle);
}

void lua__loop_quiet(struct lua_runtime *runtime)
{
    struct lua__loop *handles = runtime->fibers->handles;
    if (handles != NULL)
        uv_idle_stop(&handles->idle);
}

void lua__loop_async(struct lua_runtime *runtime)
{
    struct lua__loop *handles = runtime->fibers->handles;
    if (handles != NULL)
        uv_async_send(&handles->async);
}

int lua__loop_wait(struct lua_runtime *runtime, uint64_t timeout_ms)
{
    struct uv_loop_s *loop;
    int code = lua__loop(runtime, &loop);
    if (code != 0)
        return code;
    struct lua__loop *handles = runtime->fibers->handles;
    if (timeout_ms != UINT64_MAX) {
        uv_update_time(loop);
        uv_timer_start(&handles->timer, on_timer, timeout_ms, 0);
    }
    uv_run(loop, UV_RUN_ONCE);
    uv_timer_stop(&handles->timer);
    return 0;
}

int lua_runtime_poll_fd(const struct lua_runtime *runtime)
{
    return runtime->fibers->loop_owned ? uv_backend_fd(runtime->fibers->loop) : -1;
}

void lua_runtime_poll(struct lua_runtime *runtime)
{
    if (runtime->fibers->loop_owned)
        uv_run(runtime->fibers->loop, UV_RUN_NOWAIT);
    lua_runtime_run(runtime);
}

void lua__loop_destroy(struct lua_runtime *runtime)
{
    struct lua__fibers *fibers = runtime->fibers;
    struct lua__loop *handles = fibers->handles;
    pthread_mutex_lock(&fibers->mutex);
    fibers->handles = NULL;
    pthread_mutex_unlock(&fibers->mutex);
    if (handles != NULL) {
        uv_close((uv_handle_t *)&handles->idle, on_close);
        uv_close((uv_handle_t *)&handles->async, on_close);
        uv_close((uv_handle_t *)&handles->timer, on_close);
    }
    if (!fibers->loop_owned)
        return;
    uv_run(fibers->loop, UV_RUN_DEFAULT);
    uv_loop_close(fibers->loop);
    free(fibers->loop);
}
