/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee wal [dir]`: what the log says, one line of JSON a record.
 *
 *   {"ts":17,"operations":[{"space":512,"incarnation":1,"key":[1],"tuple":[1,"one"]},
 *                          {"space":304,"incarnation":1,"key":["k"],"delete":true}]}
 *
 * Reads only, so it may be used while the folder is served; then it ends with what was written when
 * it got there. A key that is not made of key parts is shown as bytes.
 */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/command.h"
#include "server/dump.h"
#include "server/server.h"
#include "txn/txn.h"
#include "wal/wal.h"

static int operation_append(struct dump *dump, const struct txn_redo *redo)
{
    char head[96];
    snprintf(head, sizeof head, "{\"space\":%u,\"incarnation\":%u,\"key\":", redo->head_id,
             redo->head_incarnation);
    int rc = dump_text(dump, head);
    if (!rc)
        rc = dump_key(dump, redo->key, redo->key_size);
    if (!rc && !redo->data)
        return dump_text(dump, ",\"delete\":true}");
    if (!rc)
        rc = dump_text(dump, ",\"tuple\":");
    if (!rc)
        rc = dump_tuple(dump, redo->data, redo->size);
    return rc ? rc : dump_text(dump, "}");
}

static int on_record(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct dump *dump = arg;
    const char *position = body, *end = position + size, *separator = "";
    char head[64];
    snprintf(head, sizeof head, "{\"ts\":%llu,\"operations\":[", (unsigned long long)ts);
    int rc = dump_text(dump, head);
    struct txn_redo redo;
    while (!rc && (rc = txn_redo_next(&position, end, &redo)) == 0) {
        rc = dump_text(dump, separator);
        if (!rc)
            rc = operation_append(dump, &redo);
        separator = ",";
    }
    if (rc != ERROR_END)
        return rc;
    rc = dump_text(dump, "]}\n");
    return rc ? rc : dump_print(dump);
}

static int dump_folder(const char *path)
{
    struct stat status;
    struct io *io;
    if (stat(path, &status) || !S_ISDIR(status.st_mode))
        return diag_set(ERROR_NOT_FOUND, "there is no folder %s", path);
    int rc = io_posix_new(path, false, &io);
    if (rc)
        return rc;
    struct dump dump;
    struct wal_replay_stats stats;
    dump_create(&dump);
    const struct wal_read_options reading = {
        .io = io, .first_segment = WAL_FIRST_FOUND, .each = on_record, .arg = &dump};
    rc = wal_read(&reading, &stats);
    dump_destroy(&dump);
    io_delete(io);
    if (fflush(stdout) && !rc)
        rc = diag_set(ERROR_IO, "cannot write to standard output");
    return rc;
}

int command_wal(int argc, char **argv)
{
    struct options options;
    int rc = options_create(&options);
    if (!rc)
        rc = options_load(&options, &argc, &argv, environ);
    if (!rc && argc > 1)
        rc = diag_set(ERROR_INVALID, "wal takes one folder, not '%s' as well", argv[1]);
    if (!rc)
        rc = dump_folder(argc > 0 ? argv[0] : options.dir);
    options_destroy(&options);
    return rc ? command_failed(rc) : 0;
}
