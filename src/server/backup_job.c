/* SPDX-License-Identifier: Apache-2.0 */

/* The thread of a backup, and what is told about it. */
#include "server/backup_job.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "server/folder.h"

struct backup_job {
    struct db *db;
    const char *folder;
    _Atomic bool stop;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards the rest */
    bool begun;            /* there is a thread to be joined */
    bool has_base;
    char target[PATH_MAX], base[PATH_MAX];
    struct service_backup status;
};

int backup_job_new(struct db *db, const char *folder, struct backup_job **out)
{
    struct backup_job *job = calloc(1, sizeof *job);
    if (!job)
        return diag_set(ERROR_MEMORY, "out of memory");
    job->db = db;
    job->folder = folder;
    pthread_mutex_init(&job->mutex, NULL);
    *out = job;
    return 0;
}

void backup_job_delete(struct backup_job *job)
{
    if (!job)
        return;
    atomic_store(&job->stop, true);
    if (job->begun)
        pthread_join(job->thread, NULL);
    pthread_mutex_destroy(&job->mutex);
    free(job);
}

int backup_folder(struct db *db, const char *target, const char *base,
                  const struct db_progress *progress, const _Atomic bool *stop,
                  struct backup_result *result)
{
    struct backup_options options = {.progress = *progress, .stop = stop};
    char absolute[BACKUP_FOLDER_MAX + 1] = "";
    int rc = base ? folder_absolute(base, absolute, sizeof absolute) : 0;
    if (!rc && base)
        rc = folder_open(base, &options.base);
    if (rc)
        return rc;
    options.base_folder = absolute;
    rc = folder_begin(target, &options.target);
    if (!rc) {
        char message[DIAG_MESSAGE_MAX];
        rc = db_backup(db, &options, result);
        snprintf(message, sizeof message, "%s", diag_message_for(rc));
        int finished = folder_finish(target, options.target, rc == 0);
        rc = rc ? diag_set(rc, "%s", message) : finished;
    }
    if (options.base)
        io_delete(options.base);
    return rc;
}

static void on_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct backup_job *job = arg;
    (void)what;
    pthread_mutex_lock(&job->mutex);
    job->status.done_bytes = done;
    job->status.total_bytes = total;
    pthread_mutex_unlock(&job->mutex);
}

/* Makes the option's folder if it is not there, durably in its parent. */
static int parent_make(const struct backup_job *job)
{
    struct io *io;
    int rc = io_posix_new(job->folder, false, &io);
    if (!rc)
        io_delete(io);
    return rc;
}

static void *job_main(void *arg)
{
    struct backup_job *job = arg;
    const struct db_progress progress = {on_progress, job};
    struct backup_result result = {.k = 0};
    log_thread_name("backup");
    int rc = parent_make(job);
    if (!rc)
        rc = backup_folder(job->db, job->target, job->has_base ? job->base : NULL, &progress,
                           &job->stop, &result);
    if (rc)
        log_error("backup to %s failed: %s", job->target, diag_message_for(rc));
    else
        log_info("backup to %s: everything up to timestamp %llu", job->target,
                 (unsigned long long)result.k);
    pthread_mutex_lock(&job->mutex);
    struct service_backup *status = &job->status;
    status->state = rc ? SERVICE_BACKUP_FAILED : SERVICE_BACKUP_DONE;
    status->ts = result.k;
    status->time_ms = result.time_ms;
    status->files = result.files;
    status->bytes = result.bytes;
    status->stored_files = result.stored_files;
    status->stored_bytes = result.stored_bytes;
    snprintf(status->id, sizeof status->id, "%s", result.id);
    snprintf(status->failure, sizeof status->failure, "%s", rc ? diag_message_for(rc) : "");
    pthread_mutex_unlock(&job->mutex);
    return NULL;
}

/* Below the folder: no way up. */
static int path_make(const struct backup_job *job, const char *path, char out[PATH_MAX])
{
    bool up = strcmp(path, "..") == 0 || strncmp(path, "../", 3) == 0 || strstr(path, "/../") ||
              (strlen(path) >= 3 && strcmp(path + strlen(path) - 3, "/..") == 0);
    if (!*path || *path == '/' || up)
        return diag_set(ERROR_INVALID,
                        "the folder of a backup is named relative to the option backup_dir and "
                        "lies below it, unlike '%s'",
                        path);
    if (snprintf(out, PATH_MAX, "%s/%s", job->folder, path) >= PATH_MAX)
        return diag_set(ERROR_INVALID, "the path of a backup is too long");
    return 0;
}

/* With the mutex. */
static int start(struct backup_job *job, const char *target, const char *base)
{
    if (job->status.state == SERVICE_BACKUP_RUNNING)
        return diag_set(ERROR_BUSY, "a backup is being made already, to %s", job->target);
    int rc = path_make(job, target, job->target);
    if (!rc && base)
        rc = path_make(job, base, job->base);
    if (rc)
        return rc;
    if (job->begun)
        pthread_join(job->thread, NULL);
    job->begun = false;
    job->has_base = base != NULL;
    job->status = (struct service_backup){.state = SERVICE_BACKUP_RUNNING};
    snprintf(job->status.folder, sizeof job->status.folder, "%.511s", job->target);
    int error = pthread_create(&job->thread, NULL, job_main, job);
    if (error) {
        job->status.state = SERVICE_BACKUP_NONE;
        return diag_set_errno(ERROR_MEMORY, error, "no thread for a backup");
    }
    job->begun = true;
    return 0;
}

int backup_job_start(struct backup_job *job, const char *target, const char *base)
{
    if (!*job->folder)
        return diag_set(ERROR_UNSUPPORTED,
                        "the server makes no backups: its option backup_dir, the folder below "
                        "which they are made, is not set");
    pthread_mutex_lock(&job->mutex);
    int rc = start(job, target, base);
    pthread_mutex_unlock(&job->mutex);
    return rc;
}

void backup_job_status(struct backup_job *job, struct service_backup *out)
{
    pthread_mutex_lock(&job->mutex);
    *out = job->status;
    pthread_mutex_unlock(&job->mutex);
}
