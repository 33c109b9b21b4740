/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Background functions of modules: `start` of a manifest names one, and one runtime of a process, the
 * host, runs each in a fiber of its own while the module is installed.
 *
 * What runs is compared with what is installed when the host has begun, and whenever the version of
 * the schema is another than at the last look. A server's host looks in each turn of its loop, and
 * is woken by whoever changes the schema; a runtime that has no loop but its own looks after its
 * own changes. lua/box/host.lua does the rest.
 */
#include "base/diag.h"
#include "base/log.h"
#include "db/access.h"
#include "lua/internal.h"

static int call_settle(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    (void)arg;
    lua__push_hook(L, runtime, "settle_modules");
    lua_pushboolean(L, runtime->hosts);
    lua_call(L, 1, 0);
    return 0;
}

static void report(int code)
{
    if (code != 0)
        log_error("background functions of modules: %s", diag_message_for(code));
}

static bool is_settled(struct lua_runtime *runtime)
{
    uint64_t version = db_schema_version(runtime->worker) + 1; /* 0: never looked */
    bool settled = runtime->hosted_version == version;
    runtime->hosted_version = version;
    return settled;
}

void lua__host_settle(struct lua_runtime *runtime)
{
    if (!runtime->hosts || is_settled(runtime))
        return;
    struct lua_request request = {.latest = true, .user_id = ACCESS_ADMIN};
    lua__request_begin(runtime, &request);
    report(lua__request_end(runtime, lua__protect(runtime, call_settle, NULL), NULL));
}

void lua__host_settle_on(lua_State *L, struct lua_runtime *runtime)
{
    const struct lua_callbacks *callbacks = &runtime->options.callbacks;
    if (callbacks->schema_changed != NULL)
        callbacks->schema_changed(callbacks->arg);
    else if (runtime->hosts && runtime->txn == NULL && !is_settled(runtime))
        report(lua__protect_on(runtime, L, call_settle, NULL));
}

void lua_runtime_host(struct lua_runtime *runtime, bool hosts)
{
    bool before = runtime->hosts;
    runtime->hosts = hosts;
    runtime->hosted_version = 0;
    if (hosts)
        lua__host_settle(runtime);
    else if (before)
        report(lua__protect(runtime, call_settle, NULL));
}
