/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_BACKUP_JOB_H
#define SERVER_BACKUP_JOB_H

/*
 * Backups that a client asks a running server for: one at a time, by a thread of their own, into a
 * folder below the one that the server's options name. Any thread may ask.
 */
#include "db/backup.h"
#include "session/service.h"

struct backup_job;

/* `folder` is the option backup_dir, "" when there is none; both outlive the job. ERROR_MEMORY. */
int backup_job_new(struct db *db, const char *folder, struct backup_job **out);

/* Stops the one that is running, and waits until it has ended. NULL is allowed. */
void backup_job_delete(struct backup_job *job);

/*
 * Begins a backup into the folder `target`, which must not be there or be empty, on top of the one
 * in `base` (NULL: a full one). Both are below the option's folder. ERROR_UNSUPPORTED without that
 * option, ERROR_BUSY while one is running, ERROR_INVALID: a path that leads elsewhere.
 */
int backup_job_start(struct backup_job *job, const char *target, const char *base);

/* How the last one is getting on, or ended. */
void backup_job_status(struct backup_job *job, struct service_backup *out);

/* Makes a backup of an open database into a folder that appears when it is whole; blocks. `base`
 * and `stop` (as in backup_options) may be NULL. */
int backup_folder(struct db *db, const char *target, const char *base,
                  const struct db_progress *progress, const _Atomic bool *stop,
                  struct backup_result *result);

#endif
