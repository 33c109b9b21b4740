/* SPDX-License-Identifier: Apache-2.0 */

/*
 * BACKUP TO folder [BASE folder] begins a backup and answers at once; BACKUP STATUS tells how it is
 * getting on, and what has become of it. The backup itself is the process's (service_options).
 */
#include "session/session_internal.h"

#include "proto/resp_write.h"
#include "redis/redis_value.h"

enum { PATH_BYTES_MAX = 512 };

static int path_take(const struct redis_slice *arg, char out[PATH_BYTES_MAX])
{
    if (arg->size >= PATH_BYTES_MAX || memchr(arg->data, 0, arg->size))
        return diag_set(ERROR_INVALID, "that is no path of a folder");
    memcpy(out, arg->data, arg->size);
    out[arg->size] = 0;
    return 0;
}

static int backup_to(struct session *session, struct session_request *request)
{
    const struct service_options *options = &session->service->options;
    const struct redis_slice *argv = request->argv;
    char target[PATH_BYTES_MAX], base[PATH_BYTES_MAX];
    if (request->argc != 3 &&
        (request->argc != 5 || argv[3].size != 4 || strncasecmp(argv[3].data, "base", 4) != 0))
        return redis_syntax_error();
    if (!options->backup_start)
        return diag_set(ERROR_UNSUPPORTED, "this process makes no backups");
    int rc = path_take(&argv[2], target);
    if (!rc && request->argc == 5)
        rc = path_take(&argv[4], base);
    if (!rc)
        rc = options->backup_start(options->arg, target, request->argc == 5 ? base : NULL);
    if (!rc)
        resp_put_status(&session->out, "Backup started");
    return rc;
}

static void text_put(struct session *session, const char *name, const char *value)
{
    resp_put_bulk(&session->out, name, strlen(name));
    resp_put_bulk(&session->out, value, strlen(value));
}

static void number_put(struct session *session, const char *name, uint64_t value)
{
    resp_put_bulk(&session->out, name, strlen(name));
    resp_put_integer(&session->out, (int64_t)value);
}

static int backup_status(struct session *session, struct session_request *request)
{
    static const char *const STATES[] = {[SERVICE_BACKUP_NONE] = "none",
                                         [SERVICE_BACKUP_RUNNING] = "running",
                                         [SERVICE_BACKUP_DONE] = "done",
                                         [SERVICE_BACKUP_FAILED] = "failed"};
    const struct service_options *options = &session->service->options;
    struct service_backup status = {.state = SERVICE_BACKUP_NONE};
    (void)request;
    if (options->backup_status)
        options->backup_status(options->arg, &status);
    resp_put_map(&session->out, session->protocol, 12);
    text_put(session, "state", STATES[status.state]);
    text_put(session, "folder", status.folder);
    text_put(session, "failure", status.failure);
    number_put(session, "done_bytes", status.done_bytes);
    number_put(session, "total_bytes", status.total_bytes);
    text_put(session, "id", status.id);
    number_put(session, "ts", status.ts);
    number_put(session, "time_ms", status.time_ms);
    number_put(session, "files", status.files);
    number_put(session, "bytes", status.bytes);
    number_put(session, "stored_files", status.stored_files);
    number_put(session, "stored_bytes", status.stored_bytes);
    return 0;
}

#define NO_KEYS 0, 0, 0
#define ROW(name, arity, summary, run)                                                           \
    {                                                                                            \
        name, arity, SESSION_ADMIN | SESSION_NOSCRIPT, NO_KEYS, summary, "7.2.0", "server", run, \
            NULL, NULL, 0                                                                        \
    }

const struct session_command session__backup_commands[] = {
    ROW("backup|to", -3, "Begins a backup into a folder below the option backup_dir.", backup_to),
    ROW("backup|status", 2, "Tells how the last backup is getting on, or ended.", backup_status),
    {0},
};
