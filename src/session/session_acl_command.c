/* SPDX-License-Identifier: Apache-2.0 */

/*
 * ACL: users as Redis shows and changes them (session_acl.h), and the log of what was denied.
 *
 * Changes are made for the admin, once it is clear that who asks may do everything: by rules, or by
 * the role super. Rules of a user that has none yet begin as what its privileges allow.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "redis/redis_value.h"
#include "session/session_internal.h"

enum { LOG_ENTRIES_MAX = 128, LOG_SAME_MS = 60000, TRIES = 100 };

static bool word(const struct redis_slice *arg, const char *text)
{
    size_t size = strlen(text);
    return arg->size == size && strncasecmp(arg->data, text, size) == 0;
}

static void put_text(struct session *session, const char *text)
{
    resp_put_bulk(&session->out, text, strlen(text));
}

/* ---------------------------------------------------------------------------------------- names */

static const struct access_user *user_named(const struct access *access,
                                            const struct redis_slice *name)
{
    const struct access_user *user = access_user(access, name->data, name->size);
    if (!user && name->size == 7 && memcmp(name->data, "default", 7) == 0)
        user = access_user_by_id(access, ACCESS_GUEST);
    return user && !user->role ? user : NULL;
}

static const char *name_of(const struct access_user *user)
{
    return user->id == ACCESS_GUEST ? "default" : user->name;
}

/* The admin is the operator's: shown only when somebody can log in as it. */
static bool is_shown(const struct access_user *user)
{
    const char *text;
    uint32_t size;
    return !user->role &&
           (user->id != ACCESS_ADMIN || user->has_password || acl_text_of(user, &text, &size));
}

/* --------------------------------------------------------------------------------------- pictures */

void service__password_get(struct service *service, char *out, size_t size)
{
    pthread_mutex_lock(&service->mutex);
    snprintf(out, size, "%s", service->password);
    pthread_mutex_unlock(&service->mutex);
}

bool service__password_fits(struct service *service, const struct redis_slice *text)
{
    pthread_mutex_lock(&service->mutex);
    size_t size = load_relaxed(&service->password_size);
    unsigned char difference = text->size != size;
    for (size_t n = 0; n < text->size; n++)
        difference |= (unsigned char)(text->data[n] ^ (n < size ? service->password[n] : 0));
    pthread_mutex_unlock(&service->mutex);
    return size == 0 || difference == 0;
}

static int derive(struct session *session, const struct access *access,
                  const struct access_user *user, struct acl *acl)
{
    struct service *service = session->service;
    unsigned all = access_rights(access, user->id, ACCESS_UNIVERSE, 0, ACCESS_ADMIN);
    unsigned keys = access_rights(access, user->id, ACCESS_SPACE, SPACE_ID_REDIS, ACCESS_ADMIN);
    const char *text = all == ACCESS_ALL                               ? "~* &* +@all"
                       : (keys & ACCESS_READ) && (keys & ACCESS_WRITE) ? "~* &* +@all -@admin "
                                                                         "-@dangerous"
                       : keys & ACCESS_READ ? "%R~* &* +@read +@connection"
                                            : "";
    int rc = acl_apply_text(service, acl, text, strlen(text));
    acl->on = user->has_password || user->id == ACCESS_GUEST;
    char password[1024];
    service__password_get(service, password, sizeof password);
    acl->nopass = user->id == ACCESS_GUEST && !*password;
    if (!rc && user->id == ACCESS_GUEST && *password) {
        char hash[ACL_HASH_SIZE + 1] = "#";
        acl_password_hash(password, strlen(password), hash + 1);
        rc = acl_apply(service, acl, hash, sizeof hash);
    }
    return rc;
}

/* The user's rules, or what its privileges come to. The caller destroys it, also after an error. */
static int picture(struct session *session, const struct access *access,
                   const struct access_user *user, struct acl *acl)
{
    const char *text;
    uint32_t size;
    int rc = acl_create(acl);
    if (rc)
        return rc;
    return acl_text_of(user, &text, &size) ? acl_apply_text(session->service, acl, text, size)
                                           : derive(session, access, user, acl);
}

static const struct access *users(struct session *session)
{
    return access_of(session->worker->db);
}

/* With rules the commands of the category dangerous are asked for there. */
static int only_super(struct session *session)
{
    const struct access *access = users(session);
    if (!access)
        return diag_code();
    if (session__acl_of(session->worker, session->user_id) ||
        access_rights(access, session->user_id, ACCESS_UNIVERSE, 0, ACCESS_ADMIN) == ACCESS_ALL)
        return 0;
    return diag_set(ERROR_ACCESS, "User %s has no permissions to run the 'acl' command",
                    access_user_name(access, session->user_id));
}

/* -------------------------------------------------------------------------------------- changing */

struct change {
    const char *name;
    size_t size;
    const struct mp_buffer *text;
};

static int change_make(struct session *session, const struct change *change)
{
    return access_flag_set(session->worker->db, change->name, change->size, "acl",
                           change->text->data, change->text->size);
}

static int change_create(struct session *session, const struct change *change)
{
    return access_user_create(session->worker->db, change->name, change->size, false, NULL, true);
}

static int change_drop(struct session *session, const struct change *change)
{
    return access_user_drop(session->worker->db, change->name, change->size, false, true);
}

/* Makes a change of the catalog for the admin. */
static int as_admin(struct session *session, const struct change *change,
                    int (*fn)(struct session *, const struct change *))
{
    struct db_worker *worker = session->worker->db;
    uint32_t before = access_user_get(worker);
    access_user_set(worker, ACCESS_ADMIN);
    int rc = ERROR_CONFLICT;
    for (unsigned n = 0; n < TRIES && (rc == ERROR_CONFLICT || rc == ERROR_DEADLOCK); n++)
        rc = fn(session, change);
    access_user_set(worker, before);
    session__now_forget(session->worker);
    return rc;
}

/* The words of one selector may have come with blanks between: "(+get" "~x)". */
static int words_apply(struct session *session, struct session_request *request, struct acl *acl)
{
    struct mp_buffer joined;
    int rc = 0;
    mp_buffer_create(&joined);
    for (unsigned n = 3; n < request->argc && !rc; n++) {
        struct redis_slice arg = request->argv[n];
        mp_buffer_reset(&joined, 0);
        if (arg.size && arg.data[0] == '(' && arg.data[arg.size - 1] != ')') {
            unsigned first = n;
            mp_put_raw(&joined, arg.data, arg.size);
            while (++n < request->argc) {
                mp_put_raw(&joined, " ", 1);
                mp_put_raw(&joined, request->argv[n].data, request->argv[n].size);
                if (joined.data[joined.size - 1] == ')')
                    break;
            }
            if (n == request->argc) {
                rc = diag_set(ERROR_INVALID,
                              "Unmatched parenthesis in acl selector starting at "
                              "'%.*s'.",
                              (int)(arg.size < 128 ? arg.size : 128), request->argv[first].data);
                break;
            }
            arg = (struct redis_slice){joined.data, joined.size};
        }
        char reason[DIAG_MESSAGE_MAX];
        rc = acl_apply(session->service, acl, arg.data, arg.size);
        if (rc != ERROR_INVALID)
            continue;
        snprintf(reason, sizeof reason, "%s", diag_message_for(rc));
        diag_set(rc, "Error in ACL SETUSER modifier '%.*s': %s",
                 (int)(arg.size < 128 ? arg.size : 128), arg.data, reason);
    }
    mp_buffer_destroy(&joined);
    return rc;
}

static int user_store(struct session *session, const struct redis_slice *name,
                      const struct access_user *user, const struct acl *acl)
{
    struct mp_buffer text;
    char copy[256];
    mp_buffer_create(&text);
    acl_format(acl, &text);
    struct change change = {name->data, name->size, &text};
    if (user) { /* its picture goes with the change */
        snprintf(copy, sizeof copy, "%s", user->name);
        change.name = copy;
        change.size = strlen(copy);
    }
    int rc = text.failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
    if (!rc && !user)
        rc = as_admin(session, &change, change_create);
    if (!rc)
        rc = as_admin(session, &change, change_make);
    mp_buffer_destroy(&text);
    return rc;
}

static int acl_setuser(struct session *session, struct session_request *request)
{
    const struct redis_slice *name = &request->argv[2];
    int rc = only_super(session);
    if (rc)
        return rc;
    for (size_t n = 0; n < name->size; n++)
        if (name->data[n] == 0 || name->data[n] == ' ')
            return diag_set(ERROR_INVALID, "Usernames can't contain spaces or null characters");
    const struct access *access = users(session);
    const struct access_user *user = access ? user_named(access, name) : NULL;
    struct acl acl;
    rc = !access ? diag_code() : user ? picture(session, access, user, &acl) : acl_create(&acl);
    if (!rc)
        rc = words_apply(session, request, &acl);
    if (!rc)
        rc = user_store(session, name, user, &acl);
    if (access)
        acl_destroy(&acl);
    if (!rc)
        resp_put_ok(&session->out);
    return rc;
}

/* If the default user has rules, they get the password, or `nopass`, in the place of what they had. */
static int rules_password_set(struct session *session, const struct redis_slice *password)
{
    const struct redis_slice name = {"default", 7};
    const struct access *access = users(session);
    const struct access_user *user = access ? user_named(access, &name) : NULL;
    const char *text;
    uint32_t size;
    struct acl acl;
    if (!access)
        return diag_code();
    if (!user || !acl_text_of(user, &text, &size))
        return 0;
    char word_of[1 + 1024] = ">";
    memcpy(word_of + 1, password->data, password->size);
    int rc = picture(session, access, user, &acl);
    if (!rc)
        rc = acl_apply(session->service, &acl, "resetpass", 9);
    if (!rc && password->size)
        rc = acl_apply(session->service, &acl, word_of, password->size + 1);
    else if (!rc)
        rc = acl_apply(session->service, &acl, "nopass", 6);
    if (!rc)
        rc = user_store(session, &name, user, &acl);
    acl_destroy(&acl);
    return rc;
}

int session__password_set(struct session *session, const struct redis_slice *password)
{
    struct service *service = session->service;
    if (memchr(password->data, 0, password->size) || password->size >= 1024)
        return diag_set(ERROR_INVALID, "a password has no zero bytes, and at most 1023 others");
    char *copy = strndup(password->data, password->size);
    int rc = copy ? rules_password_set(session, password) : diag_set(ERROR_MEMORY, "out of memory");
    if (rc) {
        free(copy);
        return rc;
    }
    pthread_mutex_lock(&service->mutex);
    char *before = service->password;
    service->password = copy;
    store_relaxed(&service->password_size, password->size);
    pthread_mutex_unlock(&service->mutex);
    explicit_bzero(before, strlen(before));
    free(before);
    if (service->options.password_changed)
        service->options.password_changed(service->options.arg, password->size > 0);
    session->logged_in |= session->user_id == ACCESS_GUEST; /* who sets it knows it */
    return 0;
}

/* Connections of who is no more are closed. */
static void user_disconnect(struct session *session, uint32_t user_id)
{
    struct service *service = session->service;
    pthread_mutex_lock(&service->mutex);
    list_for_each (link, &service->clients) {
        struct session *other = list_entry(link, struct session, link);
        if (other != session && load_relaxed(&other->about.user_id) == user_id)
            session__order(other, SESSION_ORDER_KILL);
    }
    pthread_mutex_unlock(&service->mutex);
    if (session->user_id == user_id)
        session->closing = true;
}

static int acl_deluser(struct session *session, struct session_request *request)
{
    int64_t count = 0;
    int rc = only_super(session);
    for (unsigned n = 2; n < request->argc && !rc; n++)
        if (word(&request->argv[n], "default"))
            rc = diag_set(ERROR_INVALID, "The 'default' user cannot be removed");
    for (unsigned n = 2; n < request->argc && !rc; n++) {
        const struct access *access = users(session);
        const struct access_user *user = access ? user_named(access, &request->argv[n]) : NULL;
        struct change change = {request->argv[n].data, request->argv[n].size, NULL};
        if (!access)
            return diag_code();
        if (!user)
            continue;
        uint32_t id = user->id;
        rc = as_admin(session, &change, change_drop);
        if (rc)
            break;
        count++;
        user_disconnect(session, id);
    }
    if (!rc)
        resp_put_integer(&session->out, count);
    return rc;
}

/* --------------------------------------------------------------------------------------- showing */

static int acl_whoami(struct session *session, struct session_request *request)
{
    const struct access *access = users(session);
    (void)request;
    if (!access)
        return diag_code();
    put_text(session, session->user_id == ACCESS_GUEST
                          ? "default"
                          : access_user_name(access, session->user_id));
    return 0;
}

static int users_put(struct session *session, bool rules)
{
    const struct access *access = users(session);
    if (!access)
        return diag_code();
    uint32_t count = 0;
    for (uint32_t n = 0; n < access_user_count(access); n++)
        count += is_shown(access_user_at(access, n));
    resp_put_array(&session->out, count);
    int rc = 0;
    for (uint32_t n = 0; n < access_user_count(access) && !rc; n++) {
        const struct access_user *user = access_user_at(access, n);
        if (!is_shown(user))
            continue;
        if (!rules) {
            put_text(session, name_of(user));
            continue;
        }
        struct mp_buffer text;
        struct acl acl;
        mp_buffer_create(&text);
        mp_put_raw(&text, "user ", 5);
        mp_put_raw(&text, name_of(user), strlen(name_of(user)));
        mp_put_raw(&text, " ", 1);
        rc = picture(session, access, user, &acl);
        if (!rc)
            acl_format(&acl, &text);
        if (!rc)
            resp_put_bulk(&session->out, text.data, text.size);
        acl_destroy(&acl);
        mp_buffer_destroy(&text);
    }
    return rc;
}

static int acl_users(struct session *session, struct session_request *request)
{
    (void)request;
    return users_put(session, false);
}

static int acl_list(struct session *session, struct session_request *request)
{
    (void)request;
    return users_put(session, true);
}

static void selector_put(struct session *session, const struct acl_selector *selector)
{
    struct mp_buffer text;
    mp_buffer_create(&text);
    put_text(session, "commands");
    put_text(session, selector->rules);
    put_text(session, "keys");
    acl_format_keys(selector, &text);
    resp_put_bulk(&session->out, text.size ? text.data : "", text.size);
    mp_buffer_reset(&text, 0);
    put_text(session, "channels");
    acl_format_channels(selector, &text);
    resp_put_bulk(&session->out, text.size ? text.data : "", text.size);
    mp_buffer_destroy(&text);
}

static void acl_put(struct session *session, const struct acl *acl)
{
    resp_put_map(&session->out, session->protocol, 6);
    put_text(session, "flags");
    resp_put_set(&session->out, session->protocol, 1 + acl->nopass);
    put_text(session, acl->on ? "on" : "off");
    if (acl->nopass)
        put_text(session, "nopass");
    put_text(session, "passwords");
    resp_put_array(&session->out, acl->password_count);
    for (size_t n = 0; n < acl->password_count; n++)
        resp_put_bulk(&session->out, acl->passwords[n], ACL_HASH_SIZE);
    selector_put(session, &acl->selectors[0]);
    put_text(session, "selectors");
    resp_put_array(&session->out, acl->selector_count - 1);
    for (size_t n = 1; n < acl->selector_count; n++) {
        resp_put_map(&session->out, session->protocol, 3);
        selector_put(session, &acl->selectors[n]);
    }
}

static int acl_getuser(struct session *session, struct session_request *request)
{
    const struct access *access = users(session);
    const struct access_user *user = access ? user_named(access, &request->argv[2]) : NULL;
    if (!access)
        return diag_code();
    if (!user) {
        resp_put_null(&session->out, session->protocol);
        return 0;
    }
    struct acl acl;
    int rc = picture(session, access, user, &acl);
    if (!rc)
        acl_put(session, &acl);
    acl_destroy(&acl);
    return rc;
}

static int acl_cat(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    unsigned bit = 0, count = 0;
    if (request->argc > 3)
        return session__error(session, "ERR",
                              "unknown subcommand or wrong number of arguments for 'CAT'. Try ACL "
                              "HELP.");
    if (request->argc == 2) {
        resp_put_array(&session->out, REDIS_CATEGORY_COUNT);
        for (; bit < REDIS_CATEGORY_COUNT; bit++)
            put_text(session, redis_category_name(bit));
        return 0;
    }
    while (bit < REDIS_CATEGORY_COUNT && !word(&request->argv[2], redis_category_name(bit)))
        bit++;
    if (bit == REDIS_CATEGORY_COUNT)
        return diag_set(ERROR_INVALID, "Unknown category '%.*s'",
                        (int)(request->argv[2].size < 128 ? request->argv[2].size : 128),
                        request->argv[2].data);
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            resp_put_array(&session->out, count);
        for (unsigned n = 0; n < service->command_count + service->subcommand_count; n++) {
            const struct redis_spec *spec = service->specs[n];
            if (!service->commands[n].name || !spec || !(redis_spec_categories(spec) & 1u << bit))
                continue;
            count += !pass;
            if (pass)
                put_text(session, service->commands[n].name);
        }
    }
    return 0;
}

static int acl_genpass(struct session *session, struct session_request *request)
{
    unsigned char bytes[512];
    char text[1025];
    int64_t bits = 256;
    if (request->argc > 3 ||
        (request->argc == 3 &&
         (!redis_integer_parse(request->argv[2].data, request->argv[2].size, &bits) || bits <= 0 ||
          bits > 4096)))
        return diag_set(ERROR_INVALID, "ACL GENPASS argument must be the number of bits for the "
                                       "output password, a positive number up to 4096");
    size_t digits = (size_t)(bits + 3) / 4;
    if (password_random(bytes, (digits + 1) / 2))
        return diag_set(ERROR_IO, "no random bytes");
    for (size_t n = 0; n < digits; n++)
        text[n] = "0123456789abcdef"[bytes[n / 2] >> (n % 2 ? 0 : 4) & 15];
    resp_put_bulk(&session->out, text, digits);
    return 0;
}

static int denial(char *out, size_t size, const char *user, enum acl_verdict verdict,
                  const char *command, const struct redis_slice *wrong)
{
    int length = (int)(wrong->size < 128 ? wrong->size : 128);
    if (verdict == ACL_DENIED_COMMAND)
        return snprintf(out, size, "User %s has no permissions to run the '%s' command", user,
                        command);
    return snprintf(out, size, "User %s has no permissions to access the '%.*s' %s", user, length,
                    wrong->data, verdict == ACL_DENIED_KEY ? "key" : "channel");
}

static int acl_dryrun(struct session *session, struct session_request *request)
{
    const struct redis_slice *argv = request->argv;
    const struct access *access = users(session);
    const struct access_user *user = access ? user_named(access, &argv[2]) : NULL;
    if (!access)
        return diag_code();
    if (!user)
        return diag_set(ERROR_INVALID, "User '%.*s' not found",
                        (int)(argv[2].size < 128 ? argv[2].size : 128), argv[2].data);
    const struct session_command *command =
        service__command_find(session->service, argv[3].data, argv[3].size);
    if (!command || session__part_is_unknown(command, argv + 3, request->argc - 3))
        return diag_set(ERROR_INVALID, "Command '%.*s' not found",
                        (int)(argv[3].size < 128 ? argv[3].size : 128), argv[3].data);
    command = session__resolve(session, argv + 3, request->argc - 3);
    if (!command)
        return ERROR_INVALID;
    struct acl acl;
    struct redis_slice wrong = {NULL, 0};
    char text[512];
    int rc = picture(session, access, user, &acl);
    if (!rc) {
        enum acl_verdict verdict = acl_check(&acl, command, session__spec(session, command),
                                             argv + 3, request->argc - 3, &wrong);
        if (verdict == ACL_ALLOWED)
            resp_put_ok(&session->out);
        else {
            denial(text, sizeof text, name_of(user), verdict, command->name, &wrong);
            put_text(session, text);
        }
    }
    acl_destroy(&acl);
    return rc;
}

/* ------------------------------------------------------------------------------------------ log */

struct acl_log_entry {
    struct list link; /* the newest first */
    uint64_t id, count, created_ms, updated_ms;
    const char *reason, *context;
    char *object, *user, *client;
};

struct session_acl_log {
    pthread_mutex_t mutex;
    struct list entries;
    unsigned count;
    uint64_t next_id;
};

struct session_acl_log *session__acl_log_new(void)
{
    struct session_acl_log *log = calloc(1, sizeof *log);
    if (log) {
        pthread_mutex_init(&log->mutex, NULL);
        list_create(&log->entries);
    }
    return log;
}

static void entry_delete(struct session_acl_log *log, struct acl_log_entry *entry)
{
    list_remove(&entry->link);
    log->count--;
    free(entry->object);
    free(entry->user);
    free(entry->client);
    free(entry);
}

static void log_trim(struct session_acl_log *log, unsigned max)
{
    while (log->count > max)
        entry_delete(log, list_entry(log->entries.prev, struct acl_log_entry, link));
}

void session__acl_log_delete(struct session_acl_log *log)
{
    if (!log)
        return;
    log_trim(log, 0);
    pthread_mutex_destroy(&log->mutex);
    free(log);
}

static struct acl_log_entry *entry_like(struct session_acl_log *log,
                                        const struct acl_log_entry *like)
{
    list_for_each (link, &log->entries) {
        struct acl_log_entry *entry = list_entry(link, struct acl_log_entry, link);
        if (entry->reason == like->reason && entry->context == like->context &&
            like->updated_ms - entry->updated_ms < LOG_SAME_MS &&
            strcmp(entry->object, like->object) == 0 && strcmp(entry->user, like->user) == 0)
            return entry;
    }
    return NULL;
}

/* Takes what the entry holds. */
static void log_add(struct session_acl_log *log, const struct acl_log_entry *given)
{
    struct acl_log_entry *entry = NULL;
    if (given->object && given->user && given->client) {
        pthread_mutex_lock(&log->mutex);
        entry = entry_like(log, given);
        if (entry) {
            entry->count++;
            entry->updated_ms = given->updated_ms;
            list_remove(&entry->link);
            list_add_head(&log->entries, &entry->link);
        } else if ((entry = malloc(sizeof *entry)) != NULL) {
            *entry = *given;
            entry->id = log->next_id++;
            list_add_head(&log->entries, &entry->link);
            log->count++;
            log_trim(log, LOG_ENTRIES_MAX);
            pthread_mutex_unlock(&log->mutex);
            return;
        }
        pthread_mutex_unlock(&log->mutex);
    }
    free(given->object);
    free(given->user);
    free(given->client);
}

static char *client_text(struct session *session)
{
    struct mp_buffer text;
    if (!session)
        return strdup("");
    mp_buffer_create(&text);
    session__about_put(session, &text);
    char *copy = text.failed ? NULL : strndup(text.data, text.size ? text.size - 1 : 0);
    mp_buffer_destroy(&text);
    return copy;
}

static void note(struct session *session, struct service *service, const char *reason,
                 const char *context, char *object, const char *user)
{
    uint64_t now_ms = clock_realtime_ms(service->options.clock);
    log_add(service->acl_log, &(struct acl_log_entry){.count = 1,
                                                      .created_ms = now_ms,
                                                      .updated_ms = now_ms,
                                                      .reason = reason,
                                                      .context = context,
                                                      .object = object,
                                                      .user = strdup(user),
                                                      .client = client_text(session)});
}

void session__acl_log_auth(struct session *session, const char *user)
{
    note(session, session->service, "auth", "toplevel", strdup("AUTH"), user);
}

int session__acl_denied(struct session *session, struct service *service, const char *user,
                        enum acl_verdict verdict, const char *command,
                        const struct redis_slice *wrong, const char *context)
{
    static const char *const REASONS[] = {"", "command", "key", "channel"};
    bool script = strcmp(context, "lua") == 0;
    note(session, service, REASONS[verdict], context,
         verdict == ACL_DENIED_COMMAND ? strdup(command) : strndup(wrong->data, wrong->size), user);
    const char *before = script ? "ACL failure in script: " : "";
    if (verdict == ACL_DENIED_COMMAND)
        return diag_set(ERROR_ACCESS, "%sUser %s has no permissions to run the '%s' command",
                        before, user, command);
    return diag_set(ERROR_ACCESS, "%sNo permissions to access a %s", before, REASONS[verdict]);
}

static void entry_put(struct session *session, const struct acl_log_entry *entry, uint64_t now_ms)
{
    char age[40];
    double seconds = now_ms > entry->created_ms ? (double)(now_ms - entry->created_ms) / 1000 : 0;
    const char *texts[][2] = {{"reason", entry->reason},
                              {"context", entry->context},
                              {"object", entry->object},
                              {"username", entry->user}};
    resp_put_map(&session->out, session->protocol, 10);
    put_text(session, "count");
    resp_put_integer(&session->out, (int64_t)entry->count);
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
        put_text(session, texts[n][0]);
        put_text(session, texts[n][1]);
    }
    put_text(session, "age-seconds");
    snprintf(age, sizeof age, "%.17g", seconds);
    if (session->protocol == RESP3)
        resp_put_double(&session->out, RESP3, seconds);
    else
        put_text(session, age);
    put_text(session, "client-info");
    put_text(session, entry->client);
    put_text(session, "entry-id");
    resp_put_integer(&session->out, (int64_t)entry->id);
    put_text(session, "timestamp-created");
    resp_put_integer(&session->out, (int64_t)entry->created_ms);
    put_text(session, "timestamp-last-updated");
    resp_put_integer(&session->out, (int64_t)entry->updated_ms);
}

static int acl_log(struct session *session, struct session_request *request)
{
    struct session_acl_log *log = session->service->acl_log;
    int64_t max = 10;
    bool reset = request->argc == 3 && word(&request->argv[2], "reset");
    if (request->argc > 3)
        return session__error(session, "ERR",
                              "unknown subcommand or wrong number of arguments for 'LOG'. Try ACL "
                              "HELP.");
    if (request->argc == 3 && !reset &&
        !redis_integer_parse(request->argv[2].data, request->argv[2].size, &max))
        return diag_set(ERROR_INVALID, "value is not an integer or out of range");
    pthread_mutex_lock(&log->mutex);
    if (reset) {
        log_trim(log, 0);
        resp_put_ok(&session->out);
    } else {
        int64_t left = max < 0 ? 0 : max < (int64_t)log->count ? max : (int64_t)log->count;
        resp_put_array(&session->out, (size_t)left);
        list_for_each (link, &log->entries)
            if (left-- > 0)
                entry_put(session, list_entry(link, struct acl_log_entry, link),
                          clock_realtime_ms(session->service->options.clock));
    }
    pthread_mutex_unlock(&log->mutex);
    return 0;
}

/* ---------------------------------------------------------------------------------------- others */

/* Users are rows: saved when they are changed, and never another thing than what is loaded. */
static int acl_save(struct session *session, struct session_request *request)
{
    (void)request;
    resp_put_ok(&session->out);
    return 0;
}

static int acl_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "CAT [<category>]",
        "    List all commands that belong to <category>, or all command categories",
        "    when no category is specified.",
        "DELUSER <username> [<username> ...]",
        "    Delete a list of users.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Returns whether the user can execute the given command without executing the command.",
        "GETUSER <username>",
        "    Get the user's details.",
        "GENPASS [<bits>]",
        "    Generate a secure 256-bit user password. The optional `bits` argument can",
        "    be used to specify a different size.",
        "LIST",
        "    Show users details in config file format.",
        "LOAD",
        "    Reload users from the ACL file.",
        "LOG [<count> | RESET]",
        "    Show the ACL log entries.",
        "SAVE",
        "    Save the current config to the ACL file.",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "    Create or modify a user with the specified attributes.",
        "USERS",
        "    List all the registered usernames.",
        "WHOAMI",
        "    Return the current connection username.",
    };
    session__put_help(session, "ACL", LINES, sizeof LINES / sizeof *LINES);
    return 0;
}

#define ROW(name, arity, flags, summary, run)                                                    \
    {                                                                                            \
        name, arity, SESSION_NOSCRIPT | (flags), 0, 0, 0, summary, "6.0.0", "server", run, NULL, \
            NULL, 0                                                                              \
    }
#define CHANGE (SESSION_ADMIN | SESSION_DATA | SESSION_NO_MULTI | SESSION_NO_TXN)
const struct session_command session__acl_commands[] = {
    ROW("acl|cat", -2, 0, "Lists the ACL categories, or the commands inside a category.", acl_cat),
    ROW("acl|deluser", -3, CHANGE, "Deletes ACL users, and terminates their connections.",
        acl_deluser),
    ROW("acl|dryrun", -4, SESSION_ADMIN,
        "Simulates the execution of a command by a user, without executing the command.",
        acl_dryrun),
    ROW("acl|genpass", -2, 0,
        "Generates a pseudorandom, secure password that can be used to identify ACL users.",
        acl_genpass),
    ROW("acl|getuser", 3, SESSION_ADMIN, "Lists the ACL rules of a user.", acl_getuser),
    ROW("acl|help", 2, 0, "Returns helpful text about the different subcommands.", acl_help),
    ROW("acl|list", 2, SESSION_ADMIN, "Dumps the effective rules in ACL file format.", acl_list),
    ROW("acl|load", 2, SESSION_ADMIN, "Reloads the rules from the configured ACL file.", acl_save),
    ROW("acl|log", -2, SESSION_ADMIN, "Lists recent security events generated due to ACL rules.",
        acl_log),
    ROW("acl|save", 2, SESSION_ADMIN, "Saves the effective ACL rules in the configured ACL file.",
        acl_save),
    ROW("acl|setuser", -3, CHANGE, "Creates and modifies an ACL user and its rules.", acl_setuser),
    ROW("acl|users", 2, SESSION_ADMIN, "Lists all ACL users.", acl_users),
    ROW("acl|whoami", 2, 0, "Returns the authenticated username of the current connection.",
        acl_whoami),
    {0},
};
