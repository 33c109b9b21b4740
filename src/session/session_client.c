/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CLIENT: what is known of connections.
 *
 * A session's description (session.about) is read by other threads for CLIENT LIST: numbers are
 * relaxed atomics, strings change and are read under the service's mutex. Sessions of all workers
 * stand in one list under that mutex.
 */
#include "session/session_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "db/access.h"
#include "redis/redis_value.h"
#include "session/session_tracker.h"

void session__about_name_set(struct session *session, char **field, const char *text, size_t size)
{
    char *copy = size ? strndup(text, size) : NULL;
    pthread_mutex_lock(&session->service->mutex);
    char *old = *field;
    *field = copy;
    pthread_mutex_unlock(&session->service->mutex);
    free(old);
}

bool session__name_valid(const struct redis_slice *name)
{
    for (size_t n = 0; n < name->size; n++)
        if (name->data[n] < '!' || name->data[n] > '~')
            return false;
    return true;
}

static bool word(const struct redis_slice *arg, const char *text)
{
    size_t size = strlen(text);
    return arg->size == size && strncasecmp(arg->data, text, size) == 0;
}

/* --------------------------------------------------------------------------------- descriptions */

static bool listens(const struct session_about *about)
{
    return load_relaxed(&about->channels) + load_relaxed(&about->patterns) +
               load_relaxed(&about->shards) >
           0;
}

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

/* As Redis has them: O monitors, P listens to channels, x is in MULTI, b waits, U came over a Unix
 * socket, e and T of NO-EVICT and NO-TOUCH. */
static void flags_put(const struct session_about *about, char out[14])
{
    const struct {
        bool holds;
        char letter;
    } FLAGS[] = {{load_relaxed(&about->monitoring), 'O'},
                 {listens(about), 'P'},
                 {load_relaxed(&about->queued) >= 0, 'x'},
                 {load_relaxed(&about->waits), 'b'},
                 {load_relaxed(&about->tracking) & TRACKER_ON, 't'},
                 {load_relaxed(&about->tracking) & TRACKER_BROKEN, 'R'},
                 {load_relaxed(&about->tracking) & TRACKER_BCAST, 'B'},
                 {strncmp(about->address, "unix:", 5) == 0, 'U'},
                 {load_relaxed(&about->no_evict), 'e'},
                 {load_relaxed(&about->no_touch), 'T'}};
    size_t size = 0;
    for (size_t n = 0; n < sizeof FLAGS / sizeof *FLAGS; n++)
        if (FLAGS[n].holds)
            out[size++] = FLAGS[n].letter;
    if (size == 0)
        out[size++] = 'N';
    out[size] = 0;
}

/* Of interactive transactions. */
static const char *transaction_state(const struct session_about *about)
{
    return load_relaxed(&about->open) ? "open" : load_relaxed(&about->failed) ? "failed" : "none";
}

static const char *user_of(const struct access *access, const struct session_about *about)
{
    uint32_t id = load_relaxed(&about->user_id);
    return id == ACCESS_GUEST || !access ? "default" : access_user_name(access, id);
}

/* Appends the line of CLIENT LIST. Under the service's mutex. */
static void about_put(const struct access *access, const struct session *session, uint64_t now_ms,
                      struct mp_buffer *out)
{
    const struct session_about *about = &session->about;
    const char *command = load_relaxed(&about->command);
    bool rpc = load_relaxed(&about->kind) == PROTO_RPC;
    uint64_t active = load_relaxed(&about->active_ms);
    int queued = load_relaxed(&about->queued);
    uint64_t out_bytes = load_relaxed(&about->bytes.out);
    uint64_t out_memory = load_relaxed(&about->bytes.out_memory);
    char numbers[768], flags[14];
    const char *user = user_of(access, about);
    flags_put(about, flags);
    int size =
        snprintf(numbers, sizeof numbers, "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=", about->id,
                 about->address, about->local_address, about->fd);
    mp_put_raw(out, numbers, (size_t)size);
    mp_put_raw(out, text_or_empty(about->name), strlen(text_or_empty(about->name)));
    size = snprintf(numbers, sizeof numbers,
                    " age=%" PRIu64 " idle=%" PRIu64
                    " flags=%s db=%u sub=%u psub=%u ssub=%u multi=%d watch=%" PRIu64
                    " qbuf=%" PRIu64 " qbuf-free=%" PRIu64 " argv-mem=%" PRIu64
                    " multi-mem=%" PRIu64 " rbs=%" PRIu64 " rbp=%" PRIu64 " obl=%" PRIu64
                    " oll=%" PRIu64 " omem=%" PRIu64 " tot-mem=%" PRIu64 " events=%s cmd=%s "
                    "user=%.100s redir=%" PRId64 " resp=%d lib-name=",
                    now_ms > about->created_ms ? (now_ms - about->created_ms) / 1000 : 0,
                    now_ms > active ? (now_ms - active) / 1000 : 0, flags,
                    load_relaxed(&about->database), load_relaxed(&about->channels),
                    load_relaxed(&about->patterns), load_relaxed(&about->shards), queued,
                    load_relaxed(&about->watched), load_relaxed(&about->bytes.query),
                    load_relaxed(&about->bytes.query_free), load_relaxed(&about->bytes.kept),
                    load_relaxed(&about->bytes.queued), out_memory, out_memory, out_bytes,
                    load_relaxed(&about->bytes.replies), out_bytes, load_relaxed(&about->bytes.all),
                    out_bytes ? "rw" : "r", command ? command : "NULL", user,
                    load_relaxed(&about->redirect), rpc ? 0 : load_relaxed(&about->resp));
    mp_put_raw(out, numbers, (size_t)size);
    mp_put_raw(out, text_or_empty(about->library_name), strlen(text_or_empty(about->library_name)));
    mp_put_raw(out, " lib-ver=", 9);
    mp_put_raw(out, text_or_empty(about->library_version),
               strlen(text_or_empty(about->library_version)));
    size = snprintf(numbers, sizeof numbers, " txn=%s\n", transaction_state(about));
    mp_put_raw(out, numbers, (size_t)size);
}

static int about_reply(struct session *session, struct mp_buffer *text)
{
    int rc = text->failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
    if (!rc)
        resp_put_verbatim(&session->out, session->protocol, "txt", text->data, text->size);
    mp_buffer_destroy(text);
    return rc;
}

void session__about_put(struct session *session, struct mp_buffer *out)
{
    const struct access *access = access_of(session->worker->db);
    pthread_mutex_lock(&session->service->mutex);
    about_put(access, session, session__now_ms(session->worker), out);
    pthread_mutex_unlock(&session->service->mutex);
}

static int client_info(struct session *session, struct session_request *request)
{
    struct mp_buffer text;
    (void)request;
    mp_buffer_create(&text);
    session__about_put(session, &text);
    return about_reply(session, &text);
}

/* ------------------------------------------------------------------------------- LIST and KILL */

enum client_type { TYPE_ANY, TYPE_NORMAL, TYPE_PUBSUB, TYPE_NONE };

static int type_parse(const struct redis_slice *arg, enum client_type *type)
{
    *type = word(arg, "normal")                                                 ? TYPE_NORMAL
            : word(arg, "pubsub")                                               ? TYPE_PUBSUB
            : word(arg, "master") || word(arg, "replica") || word(arg, "slave") ? TYPE_NONE
                                                                                : TYPE_ANY;
    return *type != TYPE_ANY ? 0
                             : diag_set(ERROR_INVALID, "Unknown client type '%.*s'",
                                        (int)(arg->size < 128 ? arg->size : 128), arg->data);
}

static bool type_is(const struct session_about *about, enum client_type type)
{
    return type == TYPE_ANY || type == (listens(about) ? TYPE_PUBSUB : TYPE_NORMAL);
}

static bool id_listed(const struct session_request *request, unsigned from, uint64_t id)
{
    int64_t listed;
    for (unsigned n = from; n < request->argc; n++)
        if (redis_integer_parse(request->argv[n].data, request->argv[n].size, &listed) &&
            (uint64_t)listed == id)
            return true;
    return false;
}

/* CLIENT LIST [TYPE type] [ID id ..] */
static int client_list(struct session *session, struct session_request *request)
{
    const struct redis_slice *argv = request->argv;
    enum client_type type = TYPE_ANY;
    unsigned ids = 0;
    int rc = 0;
    if (request->argc == 4 && word(&argv[2], "type")) {
        rc = type_parse(&argv[3], &type);
    } else if (request->argc > 3 && word(&argv[2], "id")) {
        int64_t id;
        ids = 3;
        for (unsigned n = ids; n < request->argc && !rc; n++)
            if (!redis_integer_parse(argv[n].data, argv[n].size, &id))
                rc = diag_set(ERROR_INVALID, "Invalid client ID");
    } else if (request->argc != 2) {
        rc = redis_syntax_error();
    }
    if (rc)
        return rc;
    struct mp_buffer text;
    const struct access *access = access_of(session->worker->db);
    mp_buffer_create(&text);
    pthread_mutex_lock(&session->service->mutex);
    list_for_each (link, &session->service->clients) {
        const struct session *other = list_entry(link, struct session, link);
        if (type_is(&other->about, type) && (!ids || id_listed(request, ids, other->about.id)))
            about_put(access, other, request->now_ms, &text);
    }
    pthread_mutex_unlock(&session->service->mutex);
    return about_reply(session, &text);
}

/* Which connections CLIENT KILL means; what is not set means all. */
struct kill_filter {
    int64_t id;
    enum client_type type;
    const struct redis_slice *address, *local_address, *user;
    bool skip_me;
};

static int kill_option(const struct access *access, const struct redis_slice *name,
                       const struct redis_slice *value, struct kill_filter *filter)
{
    if (word(name, "id")) {
        if (!redis_integer_parse(value->data, value->size, &filter->id) || filter->id < 1)
            return diag_set(ERROR_INVALID, "client-id should be greater than 0");
    } else if (word(name, "type")) {
        return type_parse(value, &filter->type);
    } else if (word(name, "addr")) {
        filter->address = value;
    } else if (word(name, "laddr")) {
        filter->local_address = value;
    } else if (word(name, "user")) {
        filter->user = value;
        if (!word(value, "default") && (!access || !access_user(access, value->data, value->size)))
            return diag_set(ERROR_INVALID, "No such user '%.*s'",
                            (int)(value->size < 128 ? value->size : 128), value->data);
    } else if (word(name, "skipme") && (word(value, "yes") || word(value, "no"))) {
        filter->skip_me = word(value, "yes");
    } else {
        return redis_syntax_error();
    }
    return 0;
}

static bool text_is(const char *text, const struct redis_slice *wanted)
{
    return !wanted || (strlen(text) == wanted->size && !memcmp(text, wanted->data, wanted->size));
}

/* With or without the "unix:" in front. */
static bool address_is(const char *address, const struct redis_slice *wanted)
{
    return text_is(address, wanted) ||
           (strncmp(address, "unix:", 5) == 0 && text_is(address + 5, wanted));
}

static bool to_be_killed(const struct access *access, const struct session_about *about,
                         const struct kill_filter *filter)
{
    return (filter->id == 0 || (uint64_t)filter->id == about->id) && type_is(about, filter->type) &&
           address_is(about->address, filter->address) &&
           address_is(about->local_address, filter->local_address) &&
           text_is(user_of(access, about), filter->user);
}

/* CLIENT KILL address, or options */
static int client_kill(struct session *session, struct session_request *request)
{
    const struct redis_slice *argv = request->argv;
    const struct access *access = access_of(session->worker->db);
    struct kill_filter filter = {.skip_me = true};
    bool old = request->argc == 3;
    int rc = 0;
    if (old) {
        filter.address = &argv[2];
        filter.skip_me = false;
    }
    for (unsigned n = 2; n < request->argc && !old && !rc; n += 2)
        rc = n + 1 < request->argc ? kill_option(access, &argv[n], &argv[n + 1], &filter)
                                   : redis_syntax_error();
    if (rc)
        return rc;
    int64_t killed = 0;
    pthread_mutex_lock(&session->service->mutex);
    list_for_each (link, &session->service->clients) {
        struct session *other = list_entry(link, struct session, link);
        if (other->about.killed || !to_be_killed(access, &other->about, &filter) ||
            (other == session && filter.skip_me))
            continue;
        killed++;
        other->about.killed = true;
        if (other == session)
            session->closing = true; /* once the reply has been sent */
        else
            session__order(other, SESSION_ORDER_KILL);
    }
    pthread_mutex_unlock(&session->service->mutex);
    if (old && !killed)
        return diag_set(ERROR_INVALID, "No such client");
    if (old)
        resp_put_ok(&session->out);
    else
        resp_put_integer(&session->out, killed);
    return 0;
}

/* CLIENT UNBLOCK id [TIMEOUT | ERROR] */
static int client_unblock(struct session *session, struct session_request *request)
{
    const struct redis_slice *argv = request->argv;
    enum session_order order = SESSION_ORDER_UNBLOCK_TIMEOUT;
    int64_t id, unblocked = 0;
    if (request->argc > 4)
        return diag_set(ERROR_INVALID, "wrong number of arguments for 'client|unblock' command");
    if (request->argc == 4 && word(&argv[3], "error"))
        order = SESSION_ORDER_UNBLOCK_ERROR;
    else if (request->argc == 4 && !word(&argv[3], "timeout"))
        return diag_set(ERROR_INVALID, "CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    if (!redis_integer_parse(argv[2].data, argv[2].size, &id))
        return diag_set(ERROR_INVALID, "value is not an integer or out of range");
    pthread_mutex_lock(&session->service->mutex);
    list_for_each (link, &session->service->clients) {
        struct session *other = list_entry(link, struct session, link);
        if (other->about.id != (uint64_t)id)
            continue;
        unblocked = session__unblock(other, order == SESSION_ORDER_UNBLOCK_ERROR);
        if (!unblocked && load_relaxed(&other->about.waits)) {
            session__order(other, order);
            unblocked = 1;
        }
    }
    pthread_mutex_unlock(&session->service->mutex);
    resp_put_integer(&session->out, unblocked);
    return 0;
}

/* CLIENT PAUSE milliseconds [WRITE | ALL] */
static int client_pause(struct session *session, struct session_request *request)
{
    const struct redis_slice *argv = request->argv;
    int64_t ms;
    if (request->argc > 4)
        return diag_set(ERROR_INVALID, "wrong number of arguments for 'client|pause' command");
    bool write = request->argc == 4 && word(&argv[3], "write");
    if (request->argc == 4 && !write && !word(&argv[3], "all"))
        return diag_set(ERROR_INVALID, "CLIENT PAUSE mode must be WRITE or ALL");
    if (!redis_integer_parse(argv[2].data, argv[2].size, &ms))
        return diag_set(ERROR_INVALID, "timeout is not an integer or out of range");
    if (ms < 0)
        return diag_set(ERROR_INVALID, "timeout is negative");
    if (ms > INT64_MAX / 4000000)
        return diag_set(ERROR_INVALID, "timeout is out of range");
    service__pause(session->service, (uint64_t)ms, !write);
    resp_put_ok(&session->out);
    return 0;
}

int session__client_unpause(struct session *session, struct session_request *request)
{
    (void)request;
    service__unpause(session->service);
    resp_put_ok(&session->out);
    return 0;
}

/* ----------------------------------------------------------------------------------- the others */

static int client_id(struct session *session, struct session_request *request)
{
    (void)request;
    resp_put_integer(&session->out, (int64_t)session->about.id);
    return 0;
}

static int client_getname(struct session *session, struct session_request *request)
{
    (void)request;
    if (session->about.name) /* only this thread changes it */
        resp_put_bulk(&session->out, session->about.name, strlen(session->about.name));
    else
        resp_put_null(&session->out, session->protocol);
    return 0;
}

static int client_setname(struct session *session, struct session_request *request)
{
    if (!session__name_valid(&request->argv[2]))
        return diag_set(ERROR_INVALID,
                        "Client names cannot contain spaces, newlines or special characters.");
    session__about_name_set(session, &session->about.name, request->argv[2].data,
                            request->argv[2].size);
    resp_put_ok(&session->out);
    return 0;
}

static int client_setinfo(struct session *session, struct session_request *request)
{
    const struct redis_slice *option = &request->argv[2], *value = &request->argv[3];
    bool name = word(option, "lib-name");
    if (!name && !word(option, "lib-ver"))
        return diag_set(ERROR_INVALID, "Unrecognized option '%.*s'",
                        (int)(option->size < 128 ? option->size : 128), option->data);
    if (!session__name_valid(value))
        return diag_set(ERROR_INVALID,
                        "%.*s cannot contain spaces, newlines or special characters.",
                        (int)option->size, option->data);
    session__about_name_set(session,
                            name ? &session->about.library_name : &session->about.library_version,
                            value->data, value->size);
    resp_put_ok(&session->out);
    return 0;
}

static int switched(struct session *session, const struct redis_slice *arg, _Atomic bool *flag)
{
    if (!word(arg, "on") && !word(arg, "off"))
        return redis_syntax_error();
    store_relaxed(flag, word(arg, "on"));
    resp_put_ok(&session->out);
    return 0;
}

static int client_no_evict(struct session *session, struct session_request *request)
{
    return switched(session, &request->argv[2], &session->about.no_evict);
}

static int client_no_touch(struct session *session, struct session_request *request)
{
    return switched(session, &request->argv[2], &session->about.no_touch);
}

static int client_reply(struct session *session, struct session_request *request)
{
    if (word(&request->argv[2], "on"))
        session->reply_mode = REPLY_ON;
    else if (word(&request->argv[2], "off"))
        session->reply_mode = REPLY_OFF;
    else if (word(&request->argv[2], "skip"))
        session->reply_mode = session->reply_mode == REPLY_OFF ? REPLY_OFF : REPLY_SKIP_NEXT;
    else
        return redis_syntax_error();
    resp_put_ok(&session->out);
    return 0;
}

/* CLIENT FORMAT [NATIVE | JSON | MSGPACK] */
static int client_format(struct session *session, struct session_request *request)
{
    const struct redis_slice *name = &request->argv[2];
    if (request->argc > 3)
        return diag_set(ERROR_INVALID, "wrong number of arguments for 'client|format' command");
    if (request->argc == 2) {
        const char *format = wire_format_name(session->format);
        resp_put_bulk(&session->out, format, strlen(format));
        return 0;
    }
    int format = wire_format_parse(name->data, name->size);
    if (format < 0)
        return diag_set(ERROR_INVALID, "a format is native, json or msgpack");
    session->format = (enum wire_format)format;
    resp_put_ok(&session->out);
    return 0;
}

static int client_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "CACHING (YES|NO)",
        "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
        "GETREDIR",
        "    Return the client ID we are redirecting to when tracking is enabled.",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "FORMAT [NATIVE|JSON|MSGPACK]",
        "    How values travel in requests on spaces and calls, and in their results.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made from the specified address",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made to specified local address",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Kill connections by type.",
        "    * USER <username>",
        "      Kill connections authenticated by <username>.",
        "    * SKIPME (YES|NO)",
        "      Skip killing current connection (default: yes).",
        "LIST [options ...]",
        "    Return information about client connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Return clients of specified type.",
        "UNPAUSE",
        "    Stop the current client pause, resuming traffic.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Suspend all, or just write, clients for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETINFO <option> <value>",
        "    Set client meta attr. Options are:",
        "    * LIB-NAME: the client lib name.",
        "    * LIB-VER: the client lib version.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Unblock the specified blocked client.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Control server assisted client side caching.",
        "TRACKINGINFO",
        "    Report tracking status for the current connection.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        "NO-TOUCH (ON|OFF)",
        "    Will not touch LRU/LFU stats when this mode is on.",
    };
    session__put_help(session, "CLIENT", LINES, sizeof LINES / sizeof *LINES);
    return 0;
}

#define ROW(name, arity, summary, since, run)                                                    \
    {                                                                                            \
        name, arity, SESSION_NOSCRIPT, 0, 0, 0, summary, since, "connection", run, NULL, NULL, 0 \
    }
#define ADMIN(name, arity, summary, since, run)                                                    \
    {                                                                                              \
        name, arity, SESSION_ADMIN | SESSION_NOSCRIPT, 0, 0, 0, summary, since, "connection", run, \
            NULL, NULL, 0                                                                          \
    }
const struct session_command session__client_commands[] = {
    ROW("client|caching", 3, "Instructs the server whether to track the keys in the next request.",
        "6.0.0", session__client_caching),
    {"client|format", -2, SESSION_NO_MULTI | SESSION_NOSCRIPT, 0, 0, 0,
     "Chooses how values travel in requests on spaces and calls, and in their results.", "7.2.0",
     "connection", client_format, NULL, NULL, 0},
    ROW("client|getname", 2, "Returns the name of the connection.", "2.6.9", client_getname),
    ROW("client|getredir", 2,
        "Returns the client ID to which the connection's tracking notifications are redirected.",
        "6.0.0", session__client_getredir),
    ROW("client|help", 2, "Returns helpful text about the different subcommands.", "5.0.0",
        client_help),
    ROW("client|id", 2, "Returns the unique client ID of the connection.", "5.0.0", client_id),
    ROW("client|info", 2, "Returns information about the connection.", "6.2.0", client_info),
    ADMIN("client|kill", -3, "Terminates open connections.", "2.4.0", client_kill),
    ADMIN("client|list", -2, "Lists open connections.", "2.4.0", client_list),
    ADMIN("client|no-evict", 3, "Sets the client eviction mode of the connection.", "7.0.0",
          client_no_evict),
    ROW("client|no-touch", 3,
        "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        "7.2.0", client_no_touch),
    ADMIN("client|pause", -3, "Suspends commands processing.", "3.0.0", client_pause),
    ROW("client|reply", 3, "Instructs the server whether to reply to commands.", "3.2.0",
        client_reply),
    ROW("client|setinfo", 4, "Sets information specific to the client or connection.", "7.2.0",
        client_setinfo),
    ROW("client|setname", 3, "Sets the connection name.", "2.6.9", client_setname),
    ROW("client|tracking", -3, "Controls server-assisted client-side caching for the connection.",
        "6.0.0", session__client_tracking),
    ROW("client|trackinginfo", 2,
        "Returns information about server-assisted client-side caching for the connection.",
        "6.2.0", session__client_trackinginfo),
    ADMIN("client|unblock", -3,
          "Unblocks a client blocked by a blocking command from a different connection.", "5.0.0",
          client_unblock),
    ADMIN("client|unpause", 2, "Resumes processing commands from paused clients.", "6.2.0",
          session__client_unpause),
    {0},
};
