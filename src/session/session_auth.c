/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See session_auth.h.
 *
 * A name that nobody has, or that may not log in, costs as much as a wrong password: the hash is
 * computed over a salt of zeros and thrown away. So the time of an answer does not tell which names
 * there are.
 *
 * Threads: the queue, the memory of what was right, and of each job who waits for it are under the
 * mutex; inside of it only a worker's wake_mutex is locked (session__wait_wake). A job belongs to
 * its session until that gives it up, and then to the thread that computes it.
 */
#include "session/session_auth.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "codec/password.h"
#include "db/access.h"
#include "db/catalog.h"
#include "session/session_internal.h"

enum {
    THREADS = 2,
    JOBS_MAX = 1024,
    REMEMBERED = 256,
    REMEMBERED_SECONDS = 60,
    USER_NAME_MAX = 255
};
#define LOG_EVERY_NS UINT64_C(1000000000)

struct session_login {
    struct list link;          /* in the queue */
    struct session_wait *wait; /* NULL: nobody waits any more */
    bool running, done;
    uint32_t user_id;
    bool real; /* the user exists and may log in */
    int rc;
    struct password password;
    size_t size;
    char text[PASSWORD_SIZE_MAX];
};

struct remembered {
    uint64_t until_ns;
    unsigned char fingerprint[PASSWORD_FINGERPRINT_SIZE];
};

struct session_auth {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct list queue;
    unsigned queued, thread_count;
    bool stopping;
    pthread_t threads[THREADS];
    unsigned char key[PASSWORD_FINGERPRINT_SIZE];
    struct remembered remembered[REMEMBERED];
    unsigned next;
    uint64_t logged_ns, unlogged; /* when a failure was logged last; how many were not since */
    _Atomic uint64_t failures, refusals;
};

/* ------------------------------------------------------------------------------------ threads */

static void login_delete(struct session_login *login)
{
    explicit_bzero(login->text, sizeof login->text);
    free(login);
}

static void *compute(void *arg)
{
    struct session_auth *auth = arg;
    log_thread_name("login");
    pthread_mutex_lock(&auth->mutex);
    for (;;) {
        struct list *link = list_first(&auth->queue);
        if (!link && auth->stopping)
            break;
        if (!link) {
            pthread_cond_wait(&auth->work, &auth->mutex);
            continue;
        }
        struct session_login *login = list_entry(link, struct session_login, link);
        list_remove(link);
        auth->queued--;
        login->running = true;
        pthread_mutex_unlock(&auth->mutex);
        int rc = password_verify(&login->password, login->text, login->size);
        pthread_mutex_lock(&auth->mutex);
        login->rc = rc;
        login->done = true;
        if (login->wait)
            session__wait_wake(login->wait);
        else
            login_delete(login);
    }
    pthread_mutex_unlock(&auth->mutex);
    return NULL;
}

int session__auth_new(struct session_auth **out)
{
    struct session_auth *auth = calloc(1, sizeof *auth);
    if (!auth)
        return diag_set(ERROR_MEMORY, "out of memory");
    if (password_random(auth->key, sizeof auth->key)) {
        free(auth);
        return diag_set(ERROR_IO, "no random bytes for logins");
    }
    pthread_mutex_init(&auth->mutex, NULL);
    pthread_cond_init(&auth->work, NULL);
    list_create(&auth->queue);
    *out = auth;
    return 0;
}

void session__auth_delete(struct session_auth *auth)
{
    if (!auth)
        return;
    pthread_mutex_lock(&auth->mutex);
    auth->stopping = true;
    pthread_cond_broadcast(&auth->work);
    pthread_mutex_unlock(&auth->mutex);
    for (unsigned n = 0; n < auth->thread_count; n++)
        pthread_join(auth->threads[n], NULL);
    pthread_cond_destroy(&auth->work);
    pthread_mutex_destroy(&auth->mutex);
    explicit_bzero(auth->key, sizeof auth->key);
    free(auth);
}

/* Threads are made when there is something to do for them. Under the mutex; false: there is none. */
static bool threads_ensure(struct session_auth *auth)
{
    if (auth->thread_count < THREADS && auth->thread_count <= auth->queued &&
        pthread_create(&auth->threads[auth->thread_count], NULL, compute, auth) == 0)
        auth->thread_count++;
    return auth->thread_count > 0;
}

/* ------------------------------------------------------------------------------- what was right */

static bool remembered(struct session_auth *auth, uint64_t now_ns, const struct password *password,
                       const struct redis_slice *text)
{
    unsigned char print[PASSWORD_FINGERPRINT_SIZE];
    bool found = false;
    if (!password_fingerprint(print, auth->key, password, text->data, text->size))
        return false;
    pthread_mutex_lock(&auth->mutex);
    for (unsigned n = 0; n < REMEMBERED; n++)
        if (now_ns < auth->remembered[n].until_ns)
            found |= password_bytes_equal(auth->remembered[n].fingerprint, print, sizeof print);
    pthread_mutex_unlock(&auth->mutex);
    return found;
}

static void remember(struct session_auth *auth, uint64_t now_ns, const struct session_login *login)
{
    unsigned char print[PASSWORD_FINGERPRINT_SIZE];
    if (!password_fingerprint(print, auth->key, &login->password, login->text, login->size))
        return;
    pthread_mutex_lock(&auth->mutex);
    struct remembered *slot = &auth->remembered[auth->next++ % REMEMBERED];
    slot->until_ns = now_ns + REMEMBERED_SECONDS * UINT64_C(1000000000);
    memcpy(slot->fingerprint, print, sizeof print);
    pthread_mutex_unlock(&auth->mutex);
}

/* -------------------------------------------------------------------------------- its outcome */

static uint64_t now(const struct session *session)
{
    return clock_monotonic_ns(session->service->options.clock);
}

static void become(struct session *session, uint32_t user_id)
{
    session->user_id = user_id;
    session->logged_in = true;
    session->rights_version = 0;
    store_relaxed(&session->about.user_id, user_id);
    if (session->authenticated)
        return;
    session->authenticated = true;
    resp_parser_authenticate(&session->resp);
    session__rpc_limit(session);
}

void session__logout(struct session *session)
{
    session->user_id = ACCESS_GUEST;
    session->logged_in = false;
    session->rights_version = 0;
    session->authenticated = load_relaxed(&session->service->password_size) == 0;
    store_relaxed(&session->about.user_id, ACCESS_GUEST);
}

/* A trigger may refuse it, and then it is nobody. */
static int admit(struct session *session, uint32_t user_id)
{
    become(session, user_id);
    int rc = session__event(session, TRIGGER_ON_AUTH);
    if (rc)
        session__logout(session);
    return rc;
}

/* Tells the log, but not more than once a second: whoever guesses does not fill the disk. The name
 * is told only if there is such a user, since what stands there else may be a password. */
static int wrong(struct session *session, const char *name)
{
    struct session_auth *auth = session->service->auth;
    uint64_t now_ns = now(session), others = 0;
    atomic_fetch_add_explicit(&auth->failures, 1, memory_order_relaxed);
    pthread_mutex_lock(&auth->mutex);
    bool tell = auth->logged_ns == 0 || now_ns - auth->logged_ns >= LOG_EVERY_NS;
    if (tell) {
        others = auth->unlogged;
        auth->unlogged = 0;
        auth->logged_ns = now_ns;
    } else {
        auth->unlogged++;
    }
    pthread_mutex_unlock(&auth->mutex);
    if (tell && others == 0)
        log_warn("a login from %s as %s was refused", session->about.address, name);
    else if (tell)
        log_warn("a login from %s as %s was refused, and %llu others before it",
                 session->about.address, name, (unsigned long long)others);
    session__acl_log_auth(session, name);
    return diag_set(ERROR_ACCESS, "invalid username-password pair or user is disabled.");
}

static const struct access *users(struct session *session)
{
    return access_of(session->worker->db);
}

static bool may_log_in(const struct access *access, const struct access_user *user)
{
    return user && !user->role && user->has_password &&
           (access_rights(access, user->id, ACCESS_UNIVERSE, 0, ACCESS_ADMIN) & ACCESS_SESSION);
}

/* A hash has been computed: the user must still be what it was when that began. */
static int finish(struct session *session, struct session_login *login)
{
    const struct access *access = users(session);
    if (!access)
        return diag_code();
    const struct access_user *user = access_user_by_id(access, login->user_id);
    bool same = may_log_in(access, user) && login->real &&
                memcmp(&user->password, &login->password, sizeof user->password) == 0;
    if (login->rc == ERROR_MEMORY)
        return diag_set(ERROR_MEMORY, "no memory to check the password");
    if (login->rc || !same)
        return wrong(session, login->real && user ? user->name : "nobody who is known");
    remember(session->service->auth, now(session), login);
    return admit(session, login->user_id);
}

void session__login_end(struct session *session, const struct session_wait *wait)
{
    struct session_auth *auth = session->service->auth;
    struct session_login *login = session->login;
    if (!login || (wait && login->wait != wait))
        return;
    session->login = NULL;
    pthread_mutex_lock(&auth->mutex);
    bool ours = !login->running || login->done;
    if (!login->running) {
        list_remove(&login->link);
        auth->queued--;
    }
    login->wait = NULL;
    pthread_mutex_unlock(&auth->mutex);
    if (ours)
        login_delete(login);
}

/* Of a request that is run again. */
static int look_again(struct session *session, struct session_wait *wait)
{
    struct session_auth *auth = session->service->auth;
    struct session_login *login = session->login;
    if (login->wait != wait)
        return diag_set(ERROR_BUSY, "this connection is logging in already");
    pthread_mutex_lock(&auth->mutex);
    bool done = login->done;
    pthread_mutex_unlock(&auth->mutex);
    if (!done && !session->hurried) {
        wait->state = SESSION_WAIT_QUEUED;
        list_remove(&wait->link);
        list_add_tail(&session->worker->waits, &wait->link);
        return ERROR_WAIT;
    }
    int rc = done ? finish(session, login)
                  : diag_set(ERROR_CANCELLED, "cancelled: the connection is being closed");
    session__login_end(session, NULL);
    return rc;
}

/* --------------------------------------------------------------------------------- logging in */

/* The password of the configuration is the guest's: Redis's requirepass, of the default user. */
/* By rules: true when that settles it. Who has rules without a password may still have one of its
 * own (box.schema.user.passwd). */
static bool login_by_rules(struct session *session, uint32_t user_id, const char *name,
                           const struct redis_slice *password, int *rc)
{
    const struct acl *acl = session__acl_of(session->worker, user_id);
    if (!acl)
        return false;
    if (acl->on && acl_password_fits(acl, password->data, password->size)) {
        *rc = admit(session, user_id);
        return true;
    }
    if (acl->on && acl->password_count == 0 && user_id != ACCESS_GUEST)
        return false;
    *rc = wrong(session, name);
    return true;
}

static int login_default(struct session *session, bool named, const struct redis_slice *password)
{
    int by_rules;
    const struct acl *acl = session__acl_of(session->worker, ACCESS_GUEST);
    if (acl && (named || !acl->nopass) &&
        login_by_rules(session, ACCESS_GUEST, "default", password, &by_rules))
        return by_rules;
    struct service *service = session->service;
    size_t size = load_relaxed(&service->password_size);
    if (size == 0 && !named)
        return diag_set(
            ERROR_INVALID,
            "AUTH <password> called without any password configured for the default user. Are you "
            "sure your configuration is correct?");
    if (!service__password_fits(service, password))
        return wrong(session, "default");
    int rc = admit(session, ACCESS_GUEST);
    session->logged_in = rc == 0 && size > 0;
    session->rights_version = 0;
    return rc;
}

static bool is(const struct redis_slice *text, const char *word)
{
    return text->size == strlen(word) && memcmp(text->data, word, text->size) == 0;
}

/* Who can read the folder of the database is the operator. */
static bool is_operator(const struct session *session, const struct redis_slice *user,
                        const struct redis_slice *password)
{
    const char *key = session->service->options.admin_key;
    return key && *key && is(user, "admin") && password->size == strlen(key) &&
           password_bytes_equal(password->data, key, password->size);
}

static struct session_login *login_new(const struct access *access, const struct access_user *user,
                                       const struct redis_slice *password)
{
    struct session_login *login = calloc(1, sizeof *login);
    if (!login)
        return NULL;
    list_create(&login->link);
    login->real = may_log_in(access, user);
    login->user_id = user ? user->id : 0;
    login->password =
        login->real ? user->password : (struct password){.n = 1 << 14, .r = 8, .p = 1};
    login->size = password->size;
    memcpy(login->text, password->data, password->size);
    return login;
}

/* Computes it here: there is no thread to do it. */
static int compute_here(struct session *session, struct session_login *login)
{
    login->rc = password_verify(&login->password, login->text, login->size);
    int rc = finish(session, login);
    login_delete(login);
    return rc;
}

static int login_user(struct session *session, struct session_wait *wait,
                      const struct redis_slice *name, const struct redis_slice *password)
{
    struct session_auth *auth = session->service->auth;
    const struct access *access = users(session);
    if (!access)
        return diag_code();
    const struct access_user *user = access_user(access, name->data, name->size);
    int by_rules;
    if (user && !user->role && login_by_rules(session, user->id, user->name, password, &by_rules))
        return by_rules;
    if (password->size > PASSWORD_SIZE_MAX)
        return wrong(session, user ? user->name : "nobody who is known");
    if (may_log_in(access, user) && remembered(auth, now(session), &user->password, password)) {
        return admit(session, user->id);
    }
    struct session_login *login = login_new(access, user, password);
    if (!login)
        return diag_set(ERROR_MEMORY, "out of memory");
    login->wait = wait;
    wait->deadline_ns = UINT64_MAX;
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&session->worker->waits, &wait->link);
    pthread_mutex_lock(&auth->mutex);
    bool full = auth->queued >= JOBS_MAX, threads = !full && threads_ensure(auth);
    if (threads) {
        session->login = login;
        list_add_tail(&auth->queue, &login->link);
        auth->queued++;
        pthread_cond_signal(&auth->work);
    }
    pthread_mutex_unlock(&auth->mutex);
    if (threads)
        return ERROR_WAIT;
    session__wait_end(wait);
    if (!full)
        return compute_here(session, login);
    login_delete(login);
    return diag_set(ERROR_BUSY, "too many are logging in: try again later");
}

int session__login(struct session *session, struct session_wait *wait,
                   const struct redis_slice *user, const struct redis_slice *password)
{
    if (!wait)
        return diag_set(ERROR_INVALID, "a login is not possible inside of a transaction");
    if (session->login)
        return look_again(session, wait);
    if (user && is_operator(session, user, password)) {
        become(session, ACCESS_ADMIN);
        return 0;
    }
    if (!user || is(user, "guest"))
        return login_default(session, user != NULL, password);
    if (is(user, "default")) {
        const struct access *access = users(session);
        if (!access)
            return diag_code();
        if (!access_user(access, user->data, user->size))
            return login_default(session, true, password);
    }
    return login_user(session, wait, user, password);
}

void session__login_certified(struct session *session, const char *name)
{
    const struct access *access = users(session);
    const struct access_user *user = access ? access_user(access, name, strlen(name)) : NULL;
    bool may = user && !user->role && user->id != ACCESS_ADMIN && user->id != ACCESS_GUEST &&
               (access_rights(access, user->id, ACCESS_UNIVERSE, 0, ACCESS_ADMIN) & ACCESS_SESSION);
    const struct acl *acl = may ? session__acl_of(session->worker, user->id) : NULL;
    if (!may || (acl && !acl->on))
        log_warn("a certificate from %s is for %s, who may not log in", session->about.address,
                 user ? user->name : "nobody who is known");
    else
        admit(session, user->id);
}

/* ---------------------------------------------------------------------------------- what it may */

/*
 * Beside ACCESS_READ and ACCESS_WRITE, which are on Redis's keys. What belongs to no object (channels,
 * transactions, INFO) is for those who are known, or may do something with keys, or everything:
 * strangers who have been left nothing get no further than to say who they are.
 */
enum {
    MAY_BE_THERE = 1 << 16,
    MAY_TAKE_PART = 1 << 17,
    MAY_ADMINISTER = 1 << 18,
    MAY_USE_KEYS = 1 << 19
};

static unsigned rights_work_out(struct session *session)
{
    const struct access *access = users(session);
    if (!access)
        return 0;
    unsigned universe = access_rights(access, session->user_id, ACCESS_UNIVERSE, 0, ACCESS_ADMIN);
    unsigned rights =
        access_rights(access, session->user_id, ACCESS_SPACE, SPACE_ID_REDIS, ACCESS_ADMIN) &
        (ACCESS_READ | ACCESS_WRITE);
    if (universe & ACCESS_SESSION)
        rights |= MAY_BE_THERE;
    if (rights & (ACCESS_READ | ACCESS_WRITE))
        rights |= MAY_USE_KEYS;
    if (session->logged_in || (rights & MAY_USE_KEYS) || (universe & ACCESS_EXECUTE))
        rights |= MAY_TAKE_PART;
    if (universe & ACCESS_ALTER)
        rights |= MAY_ADMINISTER;
    return rights;
}

static void rights_refresh(struct session *session)
{
    uint64_t version = db_schema_version(session->worker->db);
    if (session->rights_version == version)
        return;
    session->rights = rights_work_out(session);
    session->acl = session__acl_of(session->worker, session->user_id);
    session->rights_version = version;
}

static bool has(struct session *session, unsigned wanted)
{
    rights_refresh(session);
    return (session->rights & wanted) == wanted;
}

static unsigned wanted_by(const struct session_command *command)
{
    unsigned flags = command->flags, redis = command->redis ? command->redis->flags : 0;
    if (flags & SESSION_NO_AUTH)
        return 0;
    if (flags & SESSION_ADMIN)
        return MAY_BE_THERE | MAY_ADMINISTER;
    if (redis & REDIS_WRITE)
        return MAY_BE_THERE | ACCESS_WRITE;
    if (redis & REDIS_READONLY)
        return MAY_BE_THERE | ACCESS_READ;
    if (flags & SESSION_USES_KEYS)
        return MAY_BE_THERE | MAY_USE_KEYS;
    if ((flags & SESSION_STATEMENT) || strcmp(command->group, "connection") == 0)
        return MAY_BE_THERE; /* procedures and text are asked about in Lua */
    return command->first_key > 0 && strcmp(command->group, "pubsub") != 0
               ? MAY_BE_THERE | ACCESS_READ
               : MAY_BE_THERE | MAY_TAKE_PART;
}

static int refuse(struct session *session, const char *name)
{
    struct session_auth *auth = session->service->auth;
    atomic_fetch_add_explicit(&auth->refusals, 1, memory_order_relaxed);
    if (!session->logged_in)
        return diag_set(ERROR_AUTH, "Authentication required.");
    const struct access *access = users(session);
    if (!name)
        return diag_set(ERROR_ACCESS, "User %s has no permissions for this",
                        access ? access_user_name(access, session->user_id) : "");
    return diag_set(ERROR_ACCESS, "User %s has no permissions to run the '%s' command",
                    access ? access_user_name(access, session->user_id) : "", name);
}

static const char *own_name(struct session *session)
{
    const struct access *access = users(session);
    return session->user_id == ACCESS_GUEST ? "default"
           : access                         ? access_user_name(access, session->user_id)
                                            : "";
}

/* By rules, which the user has. */
static bool permitted(struct session *session, const struct session_command *command,
                      const struct redis_slice *argv, unsigned argc)
{
    struct redis_slice wrong = {NULL, 0};
    enum acl_verdict verdict =
        acl_check(session->acl, command, session__spec(session, command), argv, argc, &wrong);
    if (verdict == ACL_ALLOWED)
        return true;
    atomic_fetch_add_explicit(&session->service->auth->refusals, 1, memory_order_relaxed);
    session__error_code(session, session__acl_denied(session, session->service, own_name(session),
                                                     verdict, command->name, &wrong,
                                                     session->multi ? "multi" : "toplevel"));
    return false;
}

/* A guest whom rules let do something only after a password. */
static bool is_stranger(const struct session *session)
{
    return session->acl && !session->logged_in && !(session->acl->on && session->acl->nopass);
}

bool session__writes_freely(struct session *session)
{
    return has(session, MAY_BE_THERE | ACCESS_WRITE) && !session->acl;
}

bool session__permits(struct session *session, const struct session_command *command,
                      const struct redis_slice *argv, unsigned argc)
{
    unsigned wanted = wanted_by(command);
    rights_refresh(session);
    if (wanted != 0 && (!session->authenticated || is_stranger(session))) {
        session__error(session, "NOAUTH", "Authentication required.");
        return false;
    }
    if (session->acl)
        return permitted(session, command, argv, argc);
    if (wanted == 0 || has(session, wanted))
        return true;
    session__error_code(session, refuse(session, command->name));
    return false;
}

int session__permits_channel(struct session *session, const struct redis_slice *name, bool pattern)
{
    rights_refresh(session);
    if (!session->acl || acl_check_channel(session->acl, name, pattern))
        return 0;
    return session__acl_denied(session, session->service, own_name(session), ACL_DENIED_CHANNEL, "",
                               name, "toplevel");
}

int session__check(struct session *session, bool takes_part)
{
    rights_refresh(session);
    if (!session->authenticated || is_stranger(session))
        return diag_set(ERROR_AUTH, "Authentication required.");
    unsigned wanted = takes_part ? MAY_BE_THERE | MAY_TAKE_PART : MAY_BE_THERE;
    return has(session, wanted) ? 0 : refuse(session, NULL);
}

uint64_t session__auth_failures(const struct session_auth *auth)
{
    return load_relaxed(&auth->failures);
}

uint64_t session__auth_refusals(const struct session_auth *auth)
{
    return load_relaxed(&auth->refusals);
}
