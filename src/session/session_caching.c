/* SPDX-License-Identifier: Apache-2.0 */

/* CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO: session_tracking.h. */
#include <stdlib.h>

#include "redis/redis_value.h"
#include "session/session_internal.h"
#include "session/session_tracker.h"

struct options {
    int64_t redirect;
    unsigned flags, prefix_count;
    unsigned *prefixes; /* arguments */
};

static bool word(const struct redis_slice *arg, const char *text)
{
    size_t size = strlen(text);
    return arg->size == size && strncasecmp(arg->data, text, size) == 0;
}

/* ------------------------------------------------------------------------------------- arguments */

static bool session_exists(struct service *service, uint64_t id)
{
    bool found = false;
    pthread_mutex_lock(&service->mutex);
    list_for_each (link, &service->clients)
        found |= list_entry(link, struct session, link)->about.id == id;
    pthread_mutex_unlock(&service->mutex);
    return found;
}

static int redirect_parse(struct session *session, const struct redis_slice *arg,
                          struct options *options)
{
    if (options->redirect)
        return diag_set(ERROR_INVALID, "A client can only redirect to a single other client");
    if (!redis_integer_parse(arg->data, arg->size, &options->redirect))
        return diag_set(ERROR_INVALID, "value is not an integer or out of range");
    return session_exists(session->service, (uint64_t)options->redirect)
               ? 0
               : diag_set(ERROR_INVALID, "The client ID you want redirect to does not exist");
}

static int options_parse(struct session *session, const struct session_request *request,
                         struct options *options)
{
    static const struct {
        const char *name;
        unsigned flag;
    } WORDS[] = {{"bcast", TRACKER_BCAST},
                 {"optin", TRACKER_OPTIN},
                 {"optout", TRACKER_OPTOUT},
                 {"noloop", TRACKER_NOLOOP}};
    int rc = 0;
    for (unsigned n = 3; n < request->argc && !rc; n++) {
        const struct redis_slice *arg = &request->argv[n];
        bool more = n + 1 < request->argc;
        unsigned flag = 0;
        for (size_t w = 0; w < sizeof WORDS / sizeof *WORDS; w++)
            flag |= word(arg, WORDS[w].name) ? WORDS[w].flag : 0;
        options->flags |= flag;
        if (word(arg, "redirect") && more)
            rc = redirect_parse(session, &request->argv[++n], options);
        else if (word(arg, "prefix") && more)
            options->prefixes[options->prefix_count++] = ++n;
        else if (!flag)
            rc = redis_syntax_error();
    }
    return rc;
}

static bool begins(const struct redis_slice *text, const struct redis_slice *prefix)
{
    return prefix->size <= text->size &&
           (prefix->size == 0 || memcmp(text->data, prefix->data, prefix->size) == 0);
}

static int overlap(const struct redis_slice *one, const struct redis_slice *other, const char *kind)
{
    if (!begins(one, other) && !begins(other, one))
        return 0;
    return diag_set(ERROR_INVALID,
                    "Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single client "
                    "must not overlap.",
                    (int)(one->size < 128 ? one->size : 128), one->data, kind,
                    (int)(other->size < 128 ? other->size : 128), other->data);
}

static int prefixes_check(const struct session_tracker *tracker, const struct redis_slice *argv,
                          const struct options *options)
{
    int rc = 0;
    for (unsigned n = 0; n < options->prefix_count && !rc; n++) {
        const struct redis_slice *prefix = &argv[options->prefixes[n]];
        for (size_t old = 0; tracker && old < tracker->prefix_count && !rc; old++)
            rc = overlap(prefix, &tracker->prefixes[old], "an existing");
        for (unsigned m = n + 1; m < options->prefix_count && !rc; m++)
            rc = overlap(prefix, &argv[options->prefixes[m]], "another provided");
    }
    return rc;
}

static int options_check(const struct session_tracker *tracker, const struct redis_slice *argv,
                         const struct options *options)
{
    unsigned flags = options->flags, old = tracker ? tracker->flags : 0;
    if (!(flags & TRACKER_BCAST) && options->prefix_count)
        return diag_set(ERROR_INVALID, "PREFIX option requires BCAST mode to be enabled");
    if ((old & TRACKER_ON) && ((old ^ flags) & TRACKER_BCAST))
        return diag_set(ERROR_INVALID,
                        "You can't switch BCAST mode on/off before disabling tracking for this "
                        "client, and then re-enabling it with a different mode.");
    if ((flags & TRACKER_BCAST) && (flags & (TRACKER_OPTIN | TRACKER_OPTOUT)))
        return diag_set(ERROR_INVALID, "OPTIN and OPTOUT are not compatible with BCAST");
    if ((flags & TRACKER_OPTIN) && (flags & TRACKER_OPTOUT))
        return diag_set(ERROR_INVALID, "You can't specify both OPTIN mode and OPTOUT mode");
    if (((flags & TRACKER_OPTIN) && (old & TRACKER_OPTOUT)) ||
        ((flags & TRACKER_OPTOUT) && (old & TRACKER_OPTIN)))
        return diag_set(ERROR_INVALID,
                        "You can't switch OPTIN/OPTOUT mode before disabling tracking for this "
                        "client, and then re-enabling it with a different mode.");
    return flags & TRACKER_BCAST ? prefixes_check(tracker, argv, options) : 0;
}

/* ------------------------------------------------------------------------------------ on and off */

static int prefix_add(struct session_tracker *tracker, const char *data, size_t size)
{
    struct redis_slice *all =
        realloc(tracker->prefixes, (tracker->prefix_count + 1) * sizeof *tracker->prefixes);
    if (all)
        tracker->prefixes = all;
    char *copy = all ? malloc(size + 1) : NULL;
    if (!copy)
        return diag_set(ERROR_MEMORY, "out of memory");
    if (size)
        memcpy(copy, data, size);
    all[tracker->prefix_count++] = (struct redis_slice){copy, size};
    return 0;
}

/* Under tracking's mutex. */
static int enable(struct session *session, const struct redis_slice *argv,
                  const struct options *options)
{
    struct session_tracking *tracking = session->service->tracking;
    struct session_tracker *tracker = session__tracker_make(tracking, session);
    if (!tracker)
        return diag_set(ERROR_MEMORY, "out of memory");
    int rc = 0;
    for (unsigned n = 0; n < options->prefix_count && !rc; n++)
        rc = prefix_add(tracker, argv[options->prefixes[n]].data, argv[options->prefixes[n]].size);
    if (!rc && (options->flags & TRACKER_BCAST) && tracker->prefix_count == 0)
        rc = prefix_add(tracker, "", 0);
    if (rc)
        return rc;
    session__tracker_on(tracking, tracker);
    tracker->flags = TRACKER_ON | options->flags;
    tracker->redirect = (uint64_t)options->redirect;
    session->tracker = tracker;
    store_relaxed(&session->about.tracking, tracker->flags);
    store_relaxed(&session->about.redirect, options->redirect);
    return 0;
}

/* Whom it redirects to gets a tracker as well, by which it is found. Under both mutexes. */
static int target_make(struct service *service, uint64_t id)
{
    list_for_each (link, &service->clients) {
        struct session *other = list_entry(link, struct session, link);
        if (other->about.id == id)
            return session__tracker_make(service->tracking, other)
                       ? 0
                       : diag_set(ERROR_MEMORY, "out of memory");
    }
    return diag_set(ERROR_INVALID, "The client ID you want redirect to does not exist");
}

static int turn_on(struct session *session, const struct session_request *request,
                   const struct options *options)
{
    struct service *service = session->service;
    pthread_mutex_t *mutex = session__tracking_mutex(service->tracking);
    int rc = options_check(session->tracker, request->argv, options);
    if (rc)
        return rc;
    pthread_mutex_lock(&service->mutex);
    pthread_mutex_lock(mutex);
    if (options->redirect)
        rc = target_make(service, (uint64_t)options->redirect);
    if (!rc)
        rc = enable(session, request->argv, options);
    pthread_mutex_unlock(mutex);
    pthread_mutex_unlock(&service->mutex);
    return rc;
}

int session__client_tracking(struct session *session, struct session_request *request)
{
    struct options options = {.prefixes = malloc(request->argc * sizeof(unsigned))};
    if (!options.prefixes)
        return diag_set(ERROR_MEMORY, "out of memory");
    int rc = options_parse(session, request, &options);
    if (!rc && word(&request->argv[2], "on"))
        rc = turn_on(session, request, &options);
    else if (!rc && word(&request->argv[2], "off"))
        session__tracking_end(session, false);
    else if (!rc)
        rc = redis_syntax_error();
    free(options.prefixes);
    if (!rc)
        resp_put_ok(&session->out);
    return rc;
}

int session__client_caching(struct session *session, struct session_request *request)
{
    struct session_tracker *tracker = session->tracker;
    const struct redis_slice *arg = &request->argv[2];
    if (!tracker)
        return diag_set(ERROR_INVALID, "CLIENT CACHING can be called only when the client is in "
                                       "tracking mode with OPTIN or OPTOUT mode enabled");
    if (!word(arg, "yes") && !word(arg, "no"))
        return redis_syntax_error();
    if (word(arg, "yes") && !(tracker->flags & TRACKER_OPTIN))
        return diag_set(ERROR_INVALID,
                        "CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
    if (word(arg, "no") && !(tracker->flags & TRACKER_OPTOUT))
        return diag_set(ERROR_INVALID,
                        "CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
    tracker->caching = true;
    resp_put_ok(&session->out);
    return 0;
}

/* ----------------------------------------------------------------------------------- what is said */

static int64_t redirect_of(const struct session *session)
{
    return session->tracker ? (int64_t)session->tracker->redirect : -1;
}

int session__client_getredir(struct session *session, struct session_request *request)
{
    (void)request;
    resp_put_integer(&session->out, redirect_of(session));
    return 0;
}

static void put_text(struct session *session, const char *text)
{
    resp_put_bulk(&session->out, text, strlen(text));
}

int session__client_trackinginfo(struct session *session, struct session_request *request)
{
    const struct session_tracker *tracker = session->tracker;
    const char *words[8];
    size_t count = 0;
    unsigned flags = tracker ? load_relaxed(&session->about.tracking) | tracker->flags : 0;
    (void)request;
    words[count++] = tracker ? "on" : "off";
    if (flags & TRACKER_BCAST)
        words[count++] = "bcast";
    if (flags & TRACKER_OPTIN)
        words[count++] = "optin";
    if ((flags & TRACKER_OPTIN) && tracker->caching)
        words[count++] = "caching-yes";
    if (flags & TRACKER_OPTOUT)
        words[count++] = "optout";
    if ((flags & TRACKER_OPTOUT) && tracker->caching)
        words[count++] = "caching-no";
    if (flags & TRACKER_NOLOOP)
        words[count++] = "noloop";
    if (flags & TRACKER_BROKEN)
        words[count++] = "broken_redirect";
    resp_put_map(&session->out, session->protocol, 3);
    put_text(session, "flags");
    resp_put_set(&session->out, session->protocol, count);
    for (size_t n = 0; n < count; n++)
        put_text(session, words[n]);
    put_text(session, "redirect");
    resp_put_integer(&session->out, redirect_of(session));
    put_text(session, "prefixes");
    resp_put_array(&session->out, tracker ? tracker->prefix_count : 0);
    for (size_t n = 0; tracker && n < tracker->prefix_count; n++)
        resp_put_bulk(&session->out, tracker->prefixes[n].data, tracker->prefixes[n].size);
    return 0;
}
