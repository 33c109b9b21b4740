/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP for fibers: libcurl on the runtime's loop.
 *
 * curl_multi tells which descriptors it looks at and when it wants to be called; both become handles
 * of the loop, as in curl's own example for libuv. A request wakes its fiber when it has ended, or
 * never: then the collection of its userdata takes it out.
 *
 * libcurl and the twenty libraries that it needs take 5 MB: they are loaded with the first request.
 */
#include <curl/curl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/fiber.h"

enum { REQUESTS_MAX = 256, HEADER_BYTES_MAX = 256 * 1024, REDIRECTS_MAX = 10 };

struct lua__http {
    CURLM *multi;
    uv_timer_t timer;
    unsigned count;
};

/* A descriptor that curl looks at. */
struct descriptor {
    uv_poll_t poll;
    struct lua__http *http;
    curl_socket_t socket;
};

struct request {
    CURL *easy;
    struct lua__http *http; /* NULL: taken out */
    struct lua_runtime *runtime;
    uint64_t waiter;
    bool done, too_large;
    CURLcode code;
    size_t body_bytes_max;
    struct mp_buffer headers, body;
    struct curl_slist *sent;
    char error[CURL_ERROR_SIZE];
};

/* ------------------------------------------------------------------------------------ the library */

/* What is called of it, by its names without the curl_. */
#define CURL_FUNCTIONS(X)  \
    X(easy_cleanup)        \
    X(easy_getinfo)        \
    X(easy_init)           \
    X(easy_setopt)         \
    X(easy_strerror)       \
    X(global_init)         \
    X(multi_add_handle)    \
    X(multi_assign)        \
    X(multi_cleanup)       \
    X(multi_info_read)     \
    X(multi_init)          \
    X(multi_remove_handle) \
    X(multi_setopt)        \
    X(multi_socket_action) \
    X(slist_append)        \
    X(slist_free_all)

#define CURL_POINTER(name) __typeof__(curl_##name) *name;
static struct {
    CURL_FUNCTIONS(CURL_POINTER)
} curl;                        /* set before there is a struct lua__http */
static char curl_missing[256]; /* why it was not */

static void curl_load(void)
{
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    bool found = library != NULL;
#define CURL_FIND(name) \
    found = found && (*(void **)(void *)&curl.name = dlsym(library, "curl_" #name)) != NULL;
    CURL_FUNCTIONS(CURL_FIND)
    if (!found)
        snprintf(curl_missing, sizeof curl_missing, "%s", dlerror());
    else
        curl.global_init(CURL_GLOBAL_DEFAULT);
}

/* ------------------------------------------------------------------------------------ the loop */

static void ended_take(struct lua__http *http)
{
    int left;
    CURLMsg *message;
    while ((message = curl.multi_info_read(http->multi, &left)) != NULL) {
        struct request *request = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
        request->done = true;
        request->code = message->data.result;
        struct lua_fiber *fiber =
            request->waiter == 0 ? NULL : lua__fiber_find(request->runtime, request->waiter);
        if (request->waiter == 0 || fiber != NULL)
            lua__fiber_ready(request->runtime, fiber);
    }
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct descriptor *descriptor = (struct descriptor *)poll;
    struct lua__http *http = descriptor->http;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    curl.multi_socket_action(http->multi, descriptor->socket, flags, &running);
    ended_take(http);
}

static void on_descriptor_closed(uv_handle_t *handle)
{
    free(handle);
}

static int on_socket(CURL *easy, curl_socket_t socket, int action, void *arg, void *socket_arg)
{
    (void)easy;
    struct lua__http *http = arg;
    struct descriptor *descriptor = socket_arg;
    if (action == CURL_POLL_REMOVE) {
        if (descriptor != NULL) {
            uv_poll_stop(&descriptor->poll);
            curl.multi_assign(http->multi, socket, NULL);
            uv_close((uv_handle_t *)&descriptor->poll, on_descriptor_closed);
        }
        return 0;
    }
    if (descriptor == NULL) {
        descriptor = calloc(1, sizeof *descriptor);
        if (descriptor == NULL)
            return -1;
        descriptor->http = http;
        descriptor->socket = socket;
        if (uv_poll_init_socket(http->timer.loop, &descriptor->poll, socket) != 0) {
            free(descriptor);
            return -1;
        }
        curl.multi_assign(http->multi, socket, descriptor);
    }
    int events =
        (action & CURL_POLL_IN ? UV_READABLE : 0) | (action & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&descriptor->poll, events, on_event) == 0 ? 0 : -1;
}

static void on_time(uv_timer_t *timer)
{
    struct lua__http *http = timer->data;
    int running;
    curl.multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    ended_take(http);
}

static int on_timer_wanted(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct lua__http *http = arg;
    if (timeout_ms < 0)
        uv_timer_stop(&http->timer);
    else
        uv_timer_start(&http->timer, on_time, timeout_ms == 0 ? 1 : (uint64_t)timeout_ms, 0);
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static int http_open(struct lua_runtime *runtime, struct lua__http **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct uv_loop_s *loop;
    int code = lua__loop(runtime, &loop);
    if (code != 0)
        return code;
    *out = runtime->fibers->http;
    if (*out != NULL)
        return 0;
    pthread_once(&once, curl_load);
    if (curl_missing[0] != 0)
        return diag_set(ERROR_UNSUPPORTED, "HTTP requests need libcurl: %s", curl_missing);
    struct lua__http *http = calloc(1, sizeof *http);
    if (http == NULL || (http->multi = curl.multi_init()) == NULL) {
        free(http);
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    uv_timer_init(loop, &http->timer);
    http->timer.data = http;
    curl.multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl.multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl.multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    curl.multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    runtime->fibers->http = *out = http;
    return 0;
}

void lua__http_destroy(struct lua_runtime *runtime)
{
    struct lua__http *http = runtime->fibers->http;
    if (http == NULL)
        return;
    curl.multi_cleanup(http->multi);
    uv_close((uv_handle_t *)&http->timer, on_closed);
}

/* ---------------------------------------------------------------------------------- a request */

static size_t on_body(char *data, size_t one, size_t size, void *arg)
{
    (void)one;
    struct request *request = arg;
    if (size > request->body_bytes_max - request->body.size) {
        request->too_large = true;
        return 0;
    }
    mp_put_raw(&request->body, data, size);
    return request->body.failed ? 0 : size;
}

/* Of a redirected request the last answer counts: each begins with its own first line. */
static size_t on_header(char *data, size_t one, size_t size, void *arg)
{
    (void)one;
    struct request *request = arg;
    if (size > 5 && memcmp(data, "HTTP/", 5) == 0)
        mp_buffer_reset(&request->headers, 4096);
    if (request->headers.size + size > HEADER_BYTES_MAX)
        return 0;
    mp_put_raw(&request->headers, data, size);
    return request->headers.failed ? 0 : size;
}

static int native_gc(lua_State *L)
{
    struct request **owned = luaL_checkudata(L, 1, "perigee.http");
    struct request *request = *owned;
    *owned = NULL;
    if (request == NULL)
        return 0;
    if (request->http != NULL) {
        curl.multi_remove_handle(request->http->multi, request->easy);
        request->http->count--;
    }
    curl.easy_cleanup(request->easy);
    curl.slist_free_all(request->sent);
    mp_buffer_destroy(&request->headers);
    mp_buffer_destroy(&request->body);
    free(request);
    return 0;
}

static struct request *push_request(lua_State *L, struct lua_runtime *runtime)
{
    struct request **out = lua_newuserdata(L, sizeof *out);
    *out = NULL;
    if (luaL_newmetatable(L, "perigee.http")) {
        lua_pushcfunction(L, native_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    struct request *request = calloc(1, sizeof *request);
    if (request == NULL || (request->easy = curl.easy_init()) == NULL) {
        free(request);
        lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
        return NULL;
    }
    mp_buffer_create(&request->headers);
    mp_buffer_create(&request->body);
    request->runtime = runtime;
    request->waiter = runtime->fiber == NULL ? 0 : runtime->fiber->id;
    *out = request;
    return request;
}

static double number_option(lua_State *L, const char *name, double otherwise)
{
    lua_getfield(L, 3, name);
    double value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : otherwise;
    lua_pop(L, 1);
    return value;
}

static bool false_option(lua_State *L, const char *name)
{
    lua_getfield(L, 3, name);
    bool no = lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    lua_pop(L, 1);
    return no;
}

static void text_option(lua_State *L, struct request *request, const char *name, CURLoption option)
{
    lua_getfield(L, 3, name);
    if (lua_type(L, -1) == LUA_TSTRING)
        curl.easy_setopt(request->easy, option, lua_tostring(L, -1));
    lua_pop(L, 1);
}

/* options.headers is an array of lines. */
static bool headers_take(lua_State *L, struct request *request)
{
    lua_getfield(L, 3, "headers");
    for (int n = 1; n <= (int)lua_objlen(L, -1); n++) {
        lua_rawgeti(L, -1, n);
        struct curl_slist *longer = curl.slist_append(request->sent, luaL_checkstring(L, -1));
        if (longer == NULL)
            return false;
        request->sent = longer;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

static void options_set(lua_State *L, struct request *request, const char *method)
{
    CURL *easy = request->easy;
    size_t size;
    const char *body = lua_tolstring(L, 4, &size);
    double timeout = number_option(L, "timeout", 0);
    request->body_bytes_max = (size_t)number_option(L, "max_body", 0);
    curl.easy_setopt(easy, CURLOPT_PRIVATE, request);
    curl.easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
    curl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl.easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl.easy_setopt(easy, CURLOPT_FOLLOWLOCATION, false_option(L, "follow_location") ? 0L : 1L);
    curl.easy_setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl.easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(timeout < 1e9 ? timeout * 1000 : 1e12));
    curl.easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    curl.easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl.easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl.easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl.easy_setopt(easy, CURLOPT_HEADERDATA, request);
    curl.easy_setopt(easy, CURLOPT_HTTPHEADER, request->sent);
    if (false_option(L, "verify_peer"))
        curl.easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    if (false_option(L, "verify_host"))
        curl.easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    text_option(L, request, "ca_file", CURLOPT_CAINFO);
    if (body != NULL) {
        curl.easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
        curl.easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body);
    }
    if (strcmp(method, "HEAD") == 0)
        curl.easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else
        curl.easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

/* http_start(method, url, options, body or nil): begins; its fiber is woken when it has ended. */
static int native_start(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct lua__http *http;
    const char *method = luaL_checkstring(L, 1), *url = luaL_checkstring(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 4);
    if (!lua__granted(runtime, "http"))
        return lua__raise(L, runtime, ERROR_ACCESS);
    int code = http_open(runtime, &http);
    if (code == 0 && http->count >= REQUESTS_MAX)
        code = diag_set(ERROR_BUSY, "too many requests of HTTP go on: a worker has at most %d",
                        REQUESTS_MAX);
    if (code != 0)
        return lua__raise(L, runtime, code);
    struct request *request = push_request(L, runtime);
    if (!headers_take(L, request))
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    options_set(L, request, method);
    if (curl.easy_setopt(request->easy, CURLOPT_URL, url) != CURLE_OK ||
        curl.multi_add_handle(http->multi, request->easy) != CURLM_OK)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    request->http = http;
    http->count++;
    return 1;
}

/* http_result(request): nothing while it goes on; status, the lines of the head, body; or nil,
 * whether it was for lack of time, and a text. */
static int native_result(lua_State *L)
{
    struct request **owned = luaL_checkudata(L, 1, "perigee.http"), *request = *owned;
    long status = 0;
    if (request == NULL || !request->done)
        return 0;
    if (request->code != CURLE_OK) {
        lua_pushnil(L);
        lua_pushboolean(L, request->code == CURLE_OPERATION_TIMEDOUT);
        lua_pushstring(L, request->too_large       ? "the body is larger than max_body"
                          : request->error[0] != 0 ? request->error
                                                   : curl.easy_strerror(request->code));
        return 3;
    }
    curl.easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    lua_pushinteger(L, (lua_Integer)status);
    lua_pushlstring(L, request->headers.data, request->headers.size);
    lua__push_bytes(L, lua__runtime(L), request->body.data, request->body.size);
    return 3;
}

void lua__open_http(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"http_start", native_start},
        {"http_result", native_result},
        {"http_end", native_gc},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
