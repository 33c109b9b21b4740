/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP for fibers: sockets on the runtime's loop.
 *
 * Nothing here waits. A function begins something, or takes what there is; lua/socket.lua says which
 * event its fiber waits for (socket_wait), gives its turn away, and looks again when it is woken. An
 * event wakes who waits for it, and tells nobody what it was.
 *
 *      input    is read ahead, up to INPUT_BYTES_MAX or what somebody waits for, and taken from there
 *      output   goes to the kernel at once; what that does not take is copied and counted in `pending`
 *
 * A socket is owned by a userdata of Lua, whose collection closes it. The handle lives until the loop
 * has closed it, which may be after the runtime has gone: a closed socket knows no runtime.
 */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/fiber.h"

enum {
    SOCKETS_MAX = 4096, /* of a runtime */
    INPUT_BYTES_MAX = 1 << 16,
    TAKE_BYTES_MAX = 64 << 20,
    BACKLOG = 128
};

enum event { EVENT_READ, EVENT_WRITE, EVENT_COUNT };

struct lua__socket {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
    };
    uv_connect_t connect;
    struct lua_runtime *runtime; /* NULL: closed */
    bool connecting, listening, ended, reading;
    int error; /* of libuv: nothing goes any more */
    size_t start, size, capacity, wanted;
    char *data;
    size_t pending;
    unsigned arrived; /* connections to be accepted */
    bool waits[EVENT_COUNT];
    uint64_t waiter[EVENT_COUNT]; /* a fiber's id, 0: outside of one */
};

struct output {
    uv_write_t request;
    struct lua__socket *socket;
    size_t size;
    char data[];
};

/* ------------------------------------------------------------------------------------ events */

static void wake(struct lua__socket *socket, enum event event)
{
    struct lua_runtime *runtime = socket->runtime;
    if (runtime == NULL || !socket->waits[event])
        return;
    uint64_t id = socket->waiter[event];
    struct lua_fiber *fiber = id == 0 ? NULL : lua__fiber_find(runtime, id);
    socket->waits[event] = false;
    if (id == 0 || fiber != NULL)
        lua__fiber_ready(runtime, fiber);
}

static void on_closed(uv_handle_t *handle)
{
    struct lua__socket *socket = (struct lua__socket *)handle;
    free(socket->data);
    free(socket);
}

static void socket_close(struct lua__socket *socket)
{
    if (socket->runtime == NULL)
        return;
    wake(socket, EVENT_READ);
    wake(socket, EVENT_WRITE);
    socket->runtime->fibers->sockets--;
    socket->runtime = NULL;
    uv_close(&socket->handle, on_closed);
}

static void fail(struct lua__socket *socket, int error)
{
    socket->error = error;
    wake(socket, EVENT_READ);
    wake(socket, EVENT_WRITE);
}

/* ------------------------------------------------------------------------------------- input */

static bool input_reserve(struct lua__socket *socket, size_t room)
{
    if (socket->start > 0) {
        memmove(socket->data, socket->data + socket->start, socket->size - socket->start);
        socket->size -= socket->start;
        socket->start = 0;
    }
    size_t capacity = socket->capacity;
    while (capacity - socket->size < room)
        capacity = capacity == 0 ? 4096 : capacity * 2;
    if (capacity == socket->capacity)
        return true;
    char *data = realloc(socket->data, capacity);
    if (data == NULL)
        return false;
    socket->data = data;
    socket->capacity = capacity;
    return true;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct lua__socket *socket = (struct lua__socket *)handle;
    (void)suggested;
    *out = uv_buf_init(NULL, 0);
    if (input_reserve(socket, 4096))
        *out =
            uv_buf_init(socket->data + socket->size, (unsigned)(socket->capacity - socket->size));
}

static bool enough(const struct lua__socket *socket)
{
    size_t max = socket->wanted > INPUT_BYTES_MAX ? socket->wanted : INPUT_BYTES_MAX;
    return socket->size - socket->start >= max;
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct lua__socket *socket = (struct lua__socket *)stream;
    (void)buffer;
    if (socket->runtime == NULL || count == 0)
        return;
    if (count == UV_EOF)
        socket->ended = true;
    else if (count < 0)
        fail(socket, (int)count);
    else
        socket->size += (size_t)count;
    if (count < 0 || enough(socket)) {
        uv_read_stop(stream);
        socket->reading = false;
    }
    wake(socket, EVENT_READ);
}

static void reading_start(struct lua__socket *socket)
{
    if (socket->reading || socket->ended || socket->error != 0 || socket->connecting ||
        socket->listening || enough(socket))
        return;
    int rc = uv_read_start(&socket->stream, on_alloc, on_read);
    if (rc != 0)
        fail(socket, rc);
    socket->reading = rc == 0;
}

/* ---------------------------------------------------------------------------- called from Lua */

static struct lua__socket **check_socket(lua_State *L)
{
    return luaL_checkudata(L, 1, "perigee.socket");
}

/* An open one; raises. */
static struct lua__socket *open_socket(lua_State *L)
{
    struct lua__socket *socket = *check_socket(L);
    if (socket == NULL)
        luaL_error(L, "the socket is closed");
    return socket;
}

static int native_gc(lua_State *L)
{
    struct lua__socket **socket = check_socket(L);
    if (*socket != NULL)
        socket_close(*socket);
    *socket = NULL;
    return 0;
}

static int raise_uv(lua_State *L, struct lua_runtime *runtime, int rc)
{
    return lua__raise(L, runtime,
                      diag_set(rc == UV_ENOMEM ? ERROR_MEMORY : ERROR_IO, "%s", uv_strerror(rc)));
}

static struct lua__socket *push_socket(lua_State *L, struct lua_runtime *runtime)
{
    struct uv_loop_s *loop;
    struct lua__socket **out = lua_newuserdata(L, sizeof *out);
    *out = NULL;
    if (luaL_newmetatable(L, "perigee.socket")) {
        lua_pushcfunction(L, native_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    int code = lua__loop(runtime, &loop);
    if (code == 0 && runtime->fibers->sockets >= SOCKETS_MAX)
        code = diag_set(ERROR_BUSY, "too many sockets: a worker has at most %d", SOCKETS_MAX);
    struct lua__socket *socket = code == 0 ? calloc(1, sizeof *socket) : NULL;
    if (code == 0 && socket == NULL)
        code = diag_set(ERROR_MEMORY, "out of memory");
    int rc = code == 0 ? uv_tcp_init(loop, &socket->tcp) : 0;
    if (rc != 0) {
        free(socket);
        code = diag_set(ERROR_IO, "%s", uv_strerror(rc));
    }
    if (code != 0) {
        lua__raise(L, runtime, code);
        return NULL;
    }
    socket->runtime = runtime;
    runtime->fibers->sockets++;
    *out = socket;
    return socket;
}

static struct lua_runtime *check_granted(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    if (!lua__granted(runtime, "socket"))
        lua__raise(L, runtime, ERROR_ACCESS);
    return runtime;
}

static bool address_of(const char *host, int port, struct sockaddr_storage *out)
{
    return uv_ip4_addr(host, port, (struct sockaddr_in *)out) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)out) == 0;
}

static void on_connected(uv_connect_t *request, int status)
{
    struct lua__socket *socket = request->data;
    socket->connecting = false;
    if (status != 0)
        socket->error = status;
    wake(socket, EVENT_WRITE);
}

/* socket_connect(address, port): a socket; connected when it is writable and has no error. */
static int native_connect(lua_State *L)
{
    struct lua_runtime *runtime = check_granted(L);
    struct sockaddr_storage address;
    const char *host = luaL_checkstring(L, 1);
    if (!address_of(host, (int)luaL_checkinteger(L, 2), &address))
        return raise_uv(L, runtime, UV_EINVAL);
    struct lua__socket *socket = push_socket(L, runtime);
    socket->connect.data = socket;
    int rc =
        uv_tcp_connect(&socket->connect, &socket->tcp, (struct sockaddr *)&address, on_connected);
    socket->connecting = rc == 0;
    socket->error = rc;
    uv_tcp_nodelay(&socket->tcp, 1);
    return 1;
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct lua__socket *socket = (struct lua__socket *)stream;
    if (status == 0)
        socket->arrived++;
    wake(socket, EVENT_READ);
}

/* socket_listen(address, port): a socket. */
static int native_listen(lua_State *L)
{
    struct lua_runtime *runtime = check_granted(L);
    struct sockaddr_storage address;
    const char *host = luaL_checkstring(L, 1);
    if (!address_of(host, (int)luaL_checkinteger(L, 2), &address))
        return raise_uv(L, runtime, UV_EINVAL);
    struct lua__socket *socket = push_socket(L, runtime);
    int rc = uv_tcp_bind(&socket->tcp, (struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen(&socket->stream, BACKLOG, on_connection);
    socket->listening = true;
    return rc == 0 ? 1 : raise_uv(L, runtime, rc);
}

/* socket_accept(listener): a socket, or nothing. */
static int native_accept(lua_State *L)
{
    struct lua__socket *listener = open_socket(L);
    if (listener->arrived == 0)
        return 0;
    struct lua__socket *socket = push_socket(L, lua__runtime(L));
    listener->arrived--;
    int rc = uv_accept(&listener->stream, &socket->stream);
    if (rc != 0)
        return raise_uv(L, lua__runtime(L), rc);
    uv_tcp_nodelay(&socket->tcp, 1);
    return 1;
}

/* socket_state(socket): "connecting", "open", "ended" (nothing more will come), "error" and its text,
 * "closed"; then the bytes that can be taken, and those that have to be written yet. */
static int native_state(lua_State *L)
{
    const struct lua__socket *socket = *check_socket(L);
    if (socket == NULL) {
        lua_pushliteral(L, "closed");
        return 1;
    }
    lua_pushstring(L, socket->error != 0   ? "error"
                      : socket->connecting ? "connecting"
                      : socket->ended      ? "ended"
                                           : "open");
    lua_pushnumber(L, (lua_Number)(socket->size - socket->start));
    lua_pushnumber(L, (lua_Number)socket->pending);
    lua_pushstring(L, socket->error != 0 ? uv_strerror(socket->error) : "");
    return 4;
}

/* socket_wait(socket, "read" or "write", bytes): the caller's fiber is woken at the next event. */
static int native_wait(lua_State *L)
{
    struct lua__socket *socket = open_socket(L);
    struct lua_runtime *runtime = socket->runtime;
    enum event event = *luaL_checkstring(L, 2) == 'r' ? EVENT_READ : EVENT_WRITE;
    double wanted = luaL_optnumber(L, 3, 0);
    if (socket->waits[event])
        return lua__raise(L, runtime,
                          diag_set(ERROR_BUSY, "another fiber waits for this socket already"));
    socket->waits[event] = true;
    socket->waiter[event] = runtime->fiber == NULL ? 0 : runtime->fiber->id;
    if (event == EVENT_READ) {
        socket->wanted = wanted > TAKE_BYTES_MAX ? TAKE_BYTES_MAX : (size_t)wanted;
        reading_start(socket);
    }
    return 0;
}

/* socket_unwait(socket, event): it waits no longer. */
static int native_unwait(lua_State *L)
{
    struct lua__socket *socket = *check_socket(L);
    if (socket != NULL)
        socket->waits[*luaL_checkstring(L, 2) == 'r' ? EVENT_READ : EVENT_WRITE] = false;
    return 0;
}

static int take(lua_State *L, struct lua__socket *socket, size_t size)
{
    lua_pushlstring(L, socket->data + socket->start, size);
    socket->start += size;
    if (socket->start == socket->size)
        socket->start = socket->size = 0;
    return 1;
}

/* socket_take(socket, bytes): so many, or nothing when there are fewer. socket_take(socket, bytes,
 * true): as many as there are, up to so many. */
static int native_take(lua_State *L)
{
    struct lua__socket *socket = open_socket(L);
    double wanted = luaL_checknumber(L, 2);
    size_t there = socket->size - socket->start, size = there;
    if (wanted < (double)there)
        size = wanted > 0 ? (size_t)wanted : 0;
    else if (wanted > (double)there && !lua_toboolean(L, 3))
        return 0;
    if (there == 0 && wanted > 0)
        return 0;
    return take(L, socket, size);
}

/* socket_find(socket, delimiter, max): how many bytes there are up to and with the delimiter, or
 * nothing. */
static int native_find(lua_State *L)
{
    struct lua__socket *socket = open_socket(L);
    size_t size;
    const char *delimiter = luaL_checklstring(L, 2, &size);
    const char *data = socket->data + socket->start;
    const char *found = size == 0 || socket->size == socket->start
                            ? NULL
                            : memmem(data, socket->size - socket->start, delimiter, size);
    if (found == NULL)
        return 0;
    lua_pushnumber(L, (lua_Number)((size_t)(found - data) + size));
    return 1;
}

static void on_written(uv_write_t *request, int status)
{
    struct output *output = (struct output *)request;
    struct lua__socket *socket = output->socket;
    socket->pending -= output->size;
    if (status != 0 && socket->runtime != NULL)
        fail(socket, status);
    wake(socket, EVENT_WRITE);
    free(output);
}

/* socket_write(socket, text) */
static int native_write(lua_State *L)
{
    struct lua__socket *socket = open_socket(L);
    struct lua_runtime *runtime = socket->runtime;
    size_t size;
    const char *data = luaL_checklstring(L, 2, &size);
    if (socket->error != 0)
        return raise_uv(L, runtime, socket->error);
    if (socket->pending == 0 && size > 0) {
        uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)data, (unsigned)size);
        int rc = uv_try_write(&socket->stream, &buffer, 1);
        if (rc < 0 && rc != UV_EAGAIN)
            return raise_uv(L, runtime, rc);
        if (rc > 0) {
            data += rc;
            size -= (size_t)rc;
        }
    }
    if (size == 0)
        return 0;
    struct output *output = malloc(sizeof *output + size);
    if (output == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    memcpy(output->data, data, size);
    output->size = size;
    output->socket = socket;
    uv_buf_t buffer = uv_buf_init(output->data, (unsigned)size);
    int rc = uv_write(&output->request, &socket->stream, &buffer, 1, on_written);
    if (rc != 0) {
        free(output);
        return raise_uv(L, runtime, rc);
    }
    socket->pending += size;
    return 0;
}

/* socket_name(socket, peer): address and port. */
static int native_name(lua_State *L)
{
    struct lua__socket *socket = open_socket(L);
    struct sockaddr_storage address;
    char host[64] = "";
    int size = sizeof address;
    int rc = lua_toboolean(L, 2)
                 ? uv_tcp_getpeername(&socket->tcp, (struct sockaddr *)&address, &size)
                 : uv_tcp_getsockname(&socket->tcp, (struct sockaddr *)&address, &size);
    if (rc != 0)
        return 0;
    if (address.ss_family == AF_INET6)
        uv_ip6_name((struct sockaddr_in6 *)&address, host, sizeof host);
    else
        uv_ip4_name((struct sockaddr_in *)&address, host, sizeof host);
    lua_pushstring(L, host);
    lua_pushinteger(L, ntohs(((struct sockaddr_in *)&address)->sin_port)); /* as in sockaddr_in6 */
    return 2;
}

/* ----------------------------------------------------------------------------------- names */

struct lookup {
    uv_getaddrinfo_t request;
    struct lua_runtime *runtime; /* NULL: nobody waits */
    uint64_t waiter;
    bool done;
    int status;
    struct addrinfo *found;
};

static void lookup_free(struct lookup *lookup)
{
    uv_freeaddrinfo(lookup->found);
    free(lookup);
}

static void on_found(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct lookup *lookup = request->data;
    lookup->done = true;
    lookup->status = status;
    lookup->found = found;
    if (lookup->runtime == NULL) {
        lookup_free(lookup);
        return;
    }
    struct lua_fiber *fiber =
        lookup->waiter == 0 ? NULL : lua__fiber_find(lookup->runtime, lookup->waiter);
    if (lookup->waiter == 0 || fiber != NULL)
        lua__fiber_ready(lookup->runtime, fiber);
}

static int native_lookup_gc(lua_State *L)
{
    struct lookup **lookup = luaL_checkudata(L, 1, "perigee.lookup");
    if (*lookup != NULL && (*lookup)->done)
        lookup_free(*lookup);
    else if (*lookup != NULL)
        (*lookup)->runtime = NULL;
    *lookup = NULL;
    return 0;
}

/* socket_lookup(host, service): begins to look for addresses; its fiber is woken. */
static int native_lookup(lua_State *L)
{
    struct lua_runtime *runtime = check_granted(L);
    struct uv_loop_s *loop;
    const char *host = luaL_checkstring(L, 1), *service = luaL_optstring(L, 2, NULL);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int code = lua__loop(runtime, &loop);
    if (code != 0)
        return lua__raise(L, runtime, code);
    struct lookup **out = lua_newuserdata(L, sizeof *out);
    *out = NULL;
    if (luaL_newmetatable(L, "perigee.lookup")) {
        lua_pushcfunction(L, native_lookup_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    lookup->request.data = lookup;
    lookup->runtime = runtime;
    lookup->waiter = runtime->fiber == NULL ? 0 : runtime->fiber->id;
    int rc = uv_getaddrinfo(loop, &lookup->request, on_found, host, service, &hints);
    if (rc != 0) {
        free(lookup);
        return raise_uv(L, runtime, rc);
    }
    *out = lookup;
    return 1;
}

/* socket_found(lookup): nothing while it goes on; an array of {family, host, port}; nil and a text. */
static int native_found(lua_State *L)
{
    struct lookup **lookup = luaL_checkudata(L, 1, "perigee.lookup");
    if (*lookup == NULL || !(*lookup)->done)
        return 0;
    if ((*lookup)->status != 0) {
        lua_pushnil(L);
        lua_pushstring(L, uv_strerror((*lookup)->status));
        return 2;
    }
    int n = 0;
    lua_newtable(L);
    for (struct addrinfo *info = (*lookup)->found; info != NULL; info = info->ai_next) {
        char host[64] = "";
        bool six = info->ai_family == AF_INET6;
        if (six)
            uv_ip6_name((struct sockaddr_in6 *)(void *)info->ai_addr, host, sizeof host);
        else
            uv_ip4_name((struct sockaddr_in *)(void *)info->ai_addr, host, sizeof host);
        lua_createtable(L, 0, 4);
        lua_pushstring(L, six ? "AF_INET6" : "AF_INET");
        lua_setfield(L, -2, "family");
        lua_pushliteral(L, "SOCK_STREAM");
        lua_setfield(L, -2, "type");
        lua_pushstring(L, host);
        lua_setfield(L, -2, "host");
        lua_pushinteger(L, ntohs(((struct sockaddr_in *)(void *)info->ai_addr)->sin_port));
        lua_setfield(L, -2, "port");
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

void lua__open_socket(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"socket_connect", native_connect}, {"socket_listen", native_listen},
        {"socket_accept", native_accept},   {"socket_state", native_state},
        {"socket_wait", native_wait},       {"socket_unwait", native_unwait},
        {"socket_take", native_take},       {"socket_find", native_find},
        {"socket_write", native_write},     {"socket_name", native_name},
        {"socket_close", native_gc},        {"socket_lookup", native_lookup},
        {"socket_found", native_found},     {NULL, NULL},
    };
    lua__register(runtime, functions);
}
