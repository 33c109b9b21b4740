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
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/json.h"
#include "codec/key.h"
#include "codec/mp.h"
#include "server/command.h"
#include "server/server.h"
#include "txn/txn.h"
#include "wal/wal.h"

struct dump {
    struct json_buffer line;
    struct mp_buffer key;
};

static int append(struct json_buffer *line, const char *text)
{
    return json_append(line, text, strlen(text));
}

/* The parts of a key as a MessagePack array, or the key as one binary value. */
static int key_decode(struct mp_buffer *out, const struct txn_redo *redo)
{
    const unsigned char *key = redo->key, *end = key + redo->key_size;
    mp_buffer_reset(out, 1 << 20);
    char *parts = mp_buffer_reserve(out, 2 * redo->key_size + 16 * (redo->key_size + 1) + 5);
    if (!parts)
        return diag_set(ERROR_MEMORY, "out of memory");
    char *to = parts + 5; /* array 32, whose count is known at the end */
    uint32_t count = 0;
    int rc = 0;
    for (; key < end && !rc; count++)
        rc = key_part_decode(&key, end, &to);
    if (rc)
        mp_put_bin(out, redo->key, redo->key_size);
    else {
        *parts = (char)0xdd;
        for (int n = 0; n < 4; n++)
            parts[1 + n] = (char)(count >> (24 - 8 * n));
        out->size += (size_t)(to - parts);
    }
    return out->failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

static int operation_append(struct dump *dump, const struct txn_redo *redo)
{
    char head[96];
    snprintf(head, sizeof head, "{\"space\":%u,\"incarnation\":%u,\"key\":", redo->head_id,
             redo->head_incarnation);
    int rc = key_decode(&dump->key, redo);
    const char *key = dump->key.data, *data = redo->data;
    if (!rc)
        rc = append(&dump->line, head);
    if (!rc)
        rc = json_from_msgpack(&dump->line, &key);
    if (rc)
        return rc;
    if (!data)
        return append(&dump->line, ",\"delete\":true}");
    const char *end = data;
    rc = append(&dump->line, ",\"tuple\":");
    if (rc)
        return rc;
    if (!mp_check_limited(&end, data + redo->size) || end != data + redo->size) {
        mp_buffer_reset(&dump->key, 1 << 20);
        mp_put_bin(&dump->key, data, redo->size);
        if (dump->key.failed)
            return diag_set(ERROR_MEMORY, "out of memory");
        data = dump->key.data;
    }
    rc = json_from_msgpack(&dump->line, &data);
    return rc ? rc : append(&dump->line, "}");
}

static int on_record(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct dump *dump = arg;
    const char *position = body, *end = position + size, *separator = "";
    char head[64];
    dump->line.size = 0;
    snprintf(head, sizeof head, "{\"ts\":%llu,\"operations\":[", (unsigned long long)ts);
    int rc = append(&dump->line, head);
    struct txn_redo redo;
    while (!rc && (rc = txn_redo_next(&position, end, &redo)) == 0) {
        rc = append(&dump->line, separator);
        if (!rc)
            rc = operation_append(dump, &redo);
        separator = ",";
    }
    if (rc != ERROR_END)
        return rc;
    rc = append(&dump->line, "]}\n");
    if (!rc && fwrite(dump->line.data, 1, dump->line.size, stdout) != dump->line.size)
        rc = diag_set(ERROR_IO, "cannot write to standard output");
    return rc;
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
    json_buffer_create(&dump.line);
    mp_buffer_create(&dump.key);
    const struct wal_read_options reading = {
        .io = io, .first_segment = WAL_FIRST_FOUND, .each = on_record, .arg = &dump};
    rc = wal_read(&reading, &stats);
    json_buffer_destroy(&dump.line);
    mp_buffer_destroy(&dump.key);
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
