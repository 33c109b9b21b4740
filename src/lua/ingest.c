/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What space:ingest needs: rows are given one after the other to what becomes a job like those of schema.c.
 */
#include "db/ingest.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/internal.h"

static const char *const metatable = "perigee.ingest";

/* In the list of the request that has begun it, which ends it when Lua could not: beyond a limit on time no Lua code
 * runs. Freed when neither the list nor Lua has it any more. */
struct lua__ingest {
    struct lua__ingest *next;
    struct ingest *ingest; /* NULL: it has ended */
    bool listed, known;    /* Lua has a handle to it */
};

static void end(struct lua__ingest *own)
{
    if (own->ingest != NULL)
        ingest_delete(own->ingest);
    own->ingest = NULL;
}

static void unlist(struct lua__ingest *own)
{
    own->listed = false;
    if (!own->known)
        free(own);
}

/* Those of another request than the one that runs stay in its list until its end. */
static void unlist_here(struct lua_runtime *runtime, struct lua__ingest *own)
{
    struct lua__ingest **at = &runtime->ingests;
    while (*at != NULL && *at != own)
        at = &(*at)->next;
    if (*at == NULL)
        return;
    *at = own->next;
    unlist(own);
}

void lua__ingests_drop(struct lua_runtime *runtime, const struct lua__ingest *kept)
{
    char message[DIAG_MESSAGE_MAX];
    int code = diag_code();
    if (runtime->ingests == kept)
        return;
    snprintf(message, sizeof message, "%s", diag_message());
    while (runtime->ingests != NULL && runtime->ingests != kept) {
        struct lua__ingest *own = runtime->ingests;
        runtime->ingests = own->next;
        end(own);
        unlist(own);
    }
    diag_set(code, "%s", message);
}

static struct lua__ingest *handle_at(lua_State *L)
{
    struct lua__ingest **handle = luaL_checkudata(L, 1, metatable);
    luaL_argcheck(L, *handle != NULL && (*handle)->ingest != NULL, 1, "has ended");
    return *handle;
}

/* ingest_end(handle): nothing becomes of it. Also of one that has ended. */
static int native_ingest_end(lua_State *L)
{
    struct lua__ingest **handle = luaL_checkudata(L, 1, metatable);
    if (*handle == NULL)
        return 0;
    end(*handle);
    unlist_here(lua__runtime(L), *handle);
    return 0;
}

static int handle_collected(lua_State *L)
{
    struct lua__ingest **handle = lua_touserdata(L, 1), *own = *handle;
    *handle = NULL;
    if (own == NULL)
        return 0;
    end(own);
    own->known = false;
    if (!own->listed)
        free(own);
    return 0;
}

/* ingest_begin(space id): the handle. */
static int native_ingest_begin(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    lua_Number id = luaL_checknumber(L, 1);
    luaL_argcheck(L, id >= 0 && id <= UINT32_MAX, 1, "not the number of a space");
    if (runtime->txn != NULL)
        return lua__raise(L, runtime,
                          diag_set(ERROR_INVALID,
                                   "rows are not ingested inside of a transaction: they become "
                                   "part of the space at once, by themselves"));
    lua__check_ddl(L);
    struct lua__ingest **handle = lua_newuserdata(L, sizeof(struct lua__ingest *));
    *handle = NULL;
    if (luaL_newmetatable(L, metatable)) {
        lua_pushcfunction(L, handle_collected);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    struct lua__ingest *own = *handle = calloc(1, sizeof *own);
    if (own == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "no memory to ingest rows"));
    own->known = true;
    int code = ingest_new(runtime->worker, (uint32_t)id, &own->ingest);
    if (code != 0)
        return lua__raise(L, runtime, code);
    own->listed = true;
    own->next = runtime->ingests;
    runtime->ingests = own;
    return 1;
}

/* ingest_add(handle): the tuple in the first slot. */
static int native_ingest_add(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct mp_buffer *tuple = &runtime->args[0];
    int code = ingest_add(handle_at(L)->ingest, tuple->data, tuple->size);
    return code != 0 ? lua__raise(L, runtime, code) : 0;
}

/* ingest_run(handle): how many rows, and whether there is a job. */
static int native_ingest_run(lua_State *L)
{
    struct lua__ingest *own = handle_at(L);
    struct ingest *ingest = own->ingest;
    struct lua_runtime *runtime = lua__check_ddl(L);
    struct ddl_job *job;
    if (runtime->job != NULL)
        lua__job_drop(runtime);
    lua_pushnumber(L, (lua_Number)ingest_rows(ingest));
    own->ingest = NULL;
    unlist_here(runtime, own);
    int code = ingest_run(ingest, &job);
    return 1 + lua__job_take(L, runtime, code, job);
}

void lua__open_ingest(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"ingest_begin", native_ingest_begin},
        {"ingest_add", native_ingest_add},
        {"ingest_run", native_ingest_run},
        {"ingest_end", native_ingest_end},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
