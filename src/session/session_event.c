/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Triggers of what happens to sessions and to the server: on_connect, on_disconnect, on_auth and
 * on_start. Of the first and third an error refuses the connection or the login; of the others it is
 * logged. The worker that runs those of the start hosts the background functions of modules from
 * then on.
 *
 * Their arguments: the session's number, the client's address, the user's name.
 */
#include "session/session_internal.h"

#include <string.h>

#include "base/log.h"
#include "db/access.h"

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static int run(struct session_worker *worker, enum trigger_event event, const char *args,
               uint64_t session_id, uint32_t user_id)
{
    int rc = lua_runtime_event(worker->lua, event, args, session_id, user_id);
    session__now_forget(worker);
    if (rc)
        log_error("a trigger of %s: %s", trigger_event_name(event), diag_message_for(rc));
    return rc;
}

int session__event(struct session *session, enum trigger_event event)
{
    struct session_worker *worker = session->worker;
    if ((catalog_events(db_catalog(worker->db)) & 1u << event) == 0)
        return 0;
    const struct access *access = access_of(worker->db);
    struct mp_buffer args;
    mp_buffer_create(&args);
    mp_put_array(&args, 3);
    mp_put_uint(&args, session->about.id);
    put_text(&args, session->about.address);
    put_text(&args, access ? access_user_name(access, session->user_id) : "nobody");
    int rc = args.failed ? diag_set(ERROR_MEMORY, "out of memory")
                         : run(worker, event, args.data, session->about.id, session->user_id);
    mp_buffer_destroy(&args);
    return rc;
}

void session__start_event(struct session_worker *worker)
{
    struct service *service = worker->service;
    if (load_relaxed(&service->started) || load_relaxed(&service->loading) ||
        atomic_exchange(&service->started, true))
        return;
    run(worker, TRIGGER_ON_START, NULL, 0, ACCESS_ADMIN);
    pthread_mutex_lock(&service->mutex);
    service->host = worker;
    pthread_mutex_unlock(&service->mutex);
    lua_runtime_host(worker->lua, true);
    session__now_forget(worker);
}
