/* SPDX-License-Identifier: Apache-2.0 */

/*
 * JSON, so that people and their tools can read it; its last member is a checksum of all bytes
 * before it.
 *
 *      {
 *       "format": "perigee-backup", "version": 1,
 *       "id": 32 hexadecimal digits, "time_ms": ..., "ts": K,
 *       "log": {"segment": ..., "checksum": of its header},
 *       "base": null, or {"id": ..., "folder": ...},
 *       "manifest": {"name": "manifest", "bytes": ..., "crc32c": ..., "backup": id},
 *       "files": [the same of each file],
 *       "checksum": "8 hexadecimal digits"
 *      }
 *
 * Checksums are CRC-32C, as text. Numbers are below 2^63.
 */
#include "db/backup_file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"

enum { FORMAT_VERSION = 1, COPY_BYTES = 256 << 10 };

static const char FORMAT[] = "perigee-backup";

/* Before the digits of the checksum, and behind them. */
static const char END_BEFORE[] = ",\n \"checksum\": \"", END_BEHIND[] = "\"\n}\n";
enum { END_SIZE = sizeof END_BEFORE - 1 + 8 + sizeof END_BEHIND - 1 };

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for the description of a backup");
}

void backup_create(struct backup *backup)
{
    memset(backup, 0, sizeof *backup);
}

void backup_destroy(struct backup *backup)
{
    free(backup->entries);
    backup_create(backup);
}

int backup_add(struct backup *backup, const struct backup_entry *entry)
{
    if (backup->count == backup->capacity) {
        size_t capacity = 2 * backup->capacity + 16;
        struct backup_entry *grown = realloc(backup->entries, capacity * sizeof *grown);
        if (grown == NULL)
            return no_memory();
        backup->entries = grown;
        backup->capacity = capacity;
    }
    backup->entries[backup->count++] = *entry;
    return 0;
}

const struct backup_entry *backup_find(const struct backup *backup, const char *name)
{
    for (size_t i = 0; i < backup->count; i++)
        if (strcmp(backup->entries[i].name, name) == 0)
            return &backup->entries[i];
    return NULL;
}

/* ---------------------------------------------------------------------------------------- writing
 */

static json_t *hexadecimal(uint32_t number)
{
    return json_sprintf("%08" PRIx32, number);
}

static json_t *entry_json(const struct backup_entry *entry)
{
    return json_pack("{s:s, s:I, s:o, s:s}", "name", entry->name, "bytes", (json_int_t)entry->bytes,
                     "crc32c", hexadecimal(entry->checksum), "backup", entry->in);
}

static json_t *backup_json(const struct backup *backup)
{
    json_t *files = json_array();
    for (size_t i = 0; files != NULL && i < backup->count; i++)
        if (json_array_append_new(files, entry_json(&backup->entries[i])) != 0) {
            json_decref(files);
            return NULL;
        }
    json_t *base = backup->base_id[0] == '\0' ? json_null()
                                              : json_pack("{s:s, s:s}", "id", backup->base_id,
                                                          "folder", backup->base_folder);
    return json_pack("{s:s, s:i, s:s, s:I, s:I, s:{s:I, s:o}, s:o, s:o, s:o}", "format", FORMAT,
                     "version", FORMAT_VERSION, "id", backup->id, "time_ms",
                     (json_int_t)backup->time_ms, "ts", (json_int_t)backup->k, "log", "segment",
                     (json_int_t)backup->first_segment, "checksum",
                     hexadecimal(backup->segment_checksum), "base", base, "manifest",
                     entry_json(&backup->manifest), "files", files);
}

int backup_encode(const struct backup *backup, char **data, size_t *size)
{
    json_t *json = backup_json(backup);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(json);
    if (text == NULL)
        return no_memory();
    size_t body = strlen(text) - 2; /* without the line end and the brace at the end */
    *data = malloc(body + END_SIZE + 1);
    if (*data != NULL) {
        memcpy(*data, text, body);
        *size = body + END_SIZE;
        snprintf(*data + body, END_SIZE + 1, "%s%08" PRIx32 "%s", END_BEFORE, crc32c(0, text, body),
                 END_BEHIND);
    }
    free(text);
    return *data == NULL ? no_memory() : 0;
}

/* ---------------------------------------------------------------------------------------- reading
 */

static int damaged(size_t offset, const char *check)
{
    return diag_set(ERROR_CORRUPT, BACKUP_NAME ", offset %zu: %s", offset, check);
}

static int checksum_check(const char *data, size_t size)
{
    char expected[END_SIZE + 1];
    if (size < END_SIZE)
        return damaged(size, "the file has been cut");
    size_t body = size - END_SIZE;
    snprintf(expected, sizeof expected, "%s%08" PRIx32 "%s", END_BEFORE, crc32c(0, data, body),
             END_BEHIND);
    return memcmp(data + body, expected, END_SIZE) == 0 ? 0 : damaged(body, "checksum");
}

static bool text_get(const json_t *object, const char *name, char *out, size_t room)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value) || json_string_length(value) >= room ||
        strlen(json_string_value(value)) != json_string_length(value))
        return false;
    memcpy(out, json_string_value(value), json_string_length(value) + 1);
    return true;
}

static bool number_get(const json_t *object, const char *name, uint64_t *out)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool checksum_get(const json_t *object, const char *name, uint32_t *out)
{
    char text[9];
    char *end;
    if (!text_get(object, name, text, sizeof text) || strlen(text) != 8)
        return false;
    *out = (uint32_t)strtoul(text, &end, 16);
    return *end == '\0';
}

static bool id_get(const json_t *object, const char *name, char *out)
{
    return text_get(object, name, out, BACKUP_ID_SIZE + 1) &&
           strspn(out, "0123456789abcdef") == BACKUP_ID_SIZE;
}

/* A name that stays in its directory. */
static bool name_get(const json_t *object, char *out)
{
    return text_get(object, "name", out, ENGINE_FILE_NAME_MAX + 1) && out[0] != '\0' &&
           out[0] != '.' && strchr(out, '/') == NULL;
}

static bool entry_get(const json_t *object, struct backup_entry *out)
{
    return name_get(object, out->name) && number_get(object, "bytes", &out->bytes) &&
           checksum_get(object, "crc32c", &out->checksum) && id_get(object, "backup", out->in);
}

static bool base_get(const json_t *base, struct backup *backup)
{
    return json_is_null(base) ||
           (id_get(base, "id", backup->base_id) &&
            text_get(base, "folder", backup->base_folder, sizeof backup->base_folder));
}

static int members_get(const json_t *json, struct backup *backup)
{
    const json_t *log = json_object_get(json, "log"), *files = json_object_get(json, "files");
    if (!id_get(json, "id", backup->id) || !number_get(json, "time_ms", &backup->time_ms) ||
        !number_get(json, "ts", &backup->k) ||
        !number_get(log, "segment", &backup->first_segment) ||
        !checksum_get(log, "checksum", &backup->segment_checksum) ||
        !base_get(json_object_get(json, "base"), backup) ||
        !entry_get(json_object_get(json, "manifest"), &backup->manifest) || !json_is_array(files))
        return damaged(0, "a member is missing or is not of its kind");
    for (size_t i = 0; i < json_array_size(files); i++) {
        struct backup_entry entry;
        if (!entry_get(json_array_get(files, i), &entry))
            return damaged(0, "a file's entry");
        int rc = backup_add(backup, &entry);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int version_check(const json_t *json)
{
    char format[sizeof FORMAT];
    uint64_t version;
    if (!text_get(json, "format", format, sizeof format) || strcmp(format, FORMAT) != 0 ||
        !number_get(json, "version", &version))
        return damaged(0, "format");
    if (version > FORMAT_VERSION)
        return diag_set(ERROR_VERSION,
                        "this backup has format version %" PRIu64
                        ", which a newer perigee has written; this one reads up to %d",
                        version, FORMAT_VERSION);
    return 0;
}

int backup_decode(struct backup *backup, const char *data, size_t size)
{
    json_error_t error;
    json_t *json = json_loadb(data, size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        return json_error_code(&error) == json_error_out_of_memory
                   ? no_memory()
                   : damaged(error.position < 0 ? 0 : (size_t)error.position, error.text);
    int rc = version_check(json);
    if (rc == 0)
        rc = checksum_check(data, size);
    if (rc == 0)
        rc = members_get(json, backup);
    json_decref(json);
    if (rc != 0)
        backup_destroy(backup);
    return rc;
}

/* ------------------------------------------------------------------------------------------ files
 */

int backup_load(struct io *io, struct backup *backup)
{
    char *data;
    size_t size;
    int rc = io_load(io, BACKUP_NAME, BACKUP_BYTES_MAX, &data, &size);
    if (rc != 0)
        return rc;
    rc = backup_decode(backup, data, size);
    free(data);
    return rc;
}

int backup_store(struct io *io, const struct backup *backup)
{
    struct io_file *file;
    char *data;
    size_t size;
    int rc = backup_encode(backup, &data, &size);
    if (rc != 0)
        return rc;
    rc = io_open(io, BACKUP_NAME_NEW, IO_WRITE | IO_CREATE | IO_EXCLUSIVE, &file);
    if (rc == 0) {
        rc = io_write(file, data, size, 0);
        if (rc == 0)
            rc = io_sync(file);
        io_close(file);
    }
    free(data);
    if (rc == 0)
        rc = io_sync_dir(io); /* whatever the backup names is there before it is one */
    if (rc == 0)
        rc = io_rename(io, BACKUP_NAME_NEW, BACKUP_NAME);
    return rc == 0 ? io_sync_dir(io) : rc;
}

/* Reads a file in pieces and hands each to `to` (NULL: to nobody). */
static int pieces(struct io_file *from, struct io_file *to, uint64_t *bytes, uint32_t *checksum,
                  void (*progress)(void *arg, uint64_t bytes), void *arg)
{
    char *piece = malloc(COPY_BYTES);
    int rc = piece == NULL ? diag_set(ERROR_MEMORY, "no memory to read a file") : 0;
    *bytes = 0;
    *checksum = 0;
    while (rc == 0) {
        int64_t got = io_read(from, piece, COPY_BYTES, *bytes);
        if (got <= 0) {
            rc = (int)got;
            break;
        }
        if (to != NULL)
            rc = io_write(to, piece, (size_t)got, *bytes);
        if (to != NULL && rc == 0)
            rc = io_write_back(to, *bytes, (size_t)got);
        *checksum = crc32c(*checksum, piece, (size_t)got);
        *bytes += (uint64_t)got;
        if (progress != NULL)
            progress(arg, (uint64_t)got);
    }
    free(piece);
    return rc;
}

int backup_measure(struct io *io, const char *name, uint64_t *bytes, uint32_t *checksum,
                   void (*progress)(void *arg, uint64_t bytes), void *arg)
{
    struct io_file *file;
    int rc = io_open(io, name, IO_READ, &file);
    if (rc != 0)
        return rc;
    rc = pieces(file, NULL, bytes, checksum, progress, arg);
    io_close(file);
    return rc;
}

int backup_copy(struct io *from, struct io *to, const char *name, uint64_t *bytes,
                uint32_t *checksum, void (*progress)(void *arg, uint64_t bytes), void *arg)
{
    struct io_file *source, *copy;
    int rc = io_open(from, name, IO_READ, &source);
    if (rc != 0)
        return rc;
    rc = io_open(to, name, IO_WRITE | IO_CREATE | IO_EXCLUSIVE, &copy);
    if (rc != 0) {
        io_close(source);
        return rc;
    }
    rc = pieces(source, copy, bytes, checksum, progress, arg);
    if (rc == 0)
        rc = io_sync(copy);
    io_close(copy);
    io_close(source);
    if (rc != 0) {
        char message[DIAG_MESSAGE_MAX];
        snprintf(message, sizeof message, "%s", diag_message_for(rc));
        (void)io_unlink(to, name);
        return diag_set(rc, "%s", message);
    }
    return 0;
}
