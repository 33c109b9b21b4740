/* SPDX-License-Identifier: Apache-2.0 */

/* Redo records, see txn_redo.h. */
#include "txn/txn_redo.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

static size_t varint_size(uint64_t value)
{
    size_t size = 1;
    while ((value >>= 7) != 0)
        size++;
    return size;
}

static char *varint_write(char *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *out++ = (char)(value | 0x80);
    *out++ = (char)value;
    return out;
}

static bool varint_read(const char **data, const char *end, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && *data < end; shift += 7) {
        unsigned char byte = (unsigned char)*(*data)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* Only the last of several versions that the transaction put on one row is its outcome: the one on
 * top. */
static bool is_outcome(const struct txn_write *write)
{
    return !(version_flags(write->version) & VERSION_LOCK) && !write->head->unlogged &&
           load_relaxed(&write->row->newest) == write->version;
}

static uint64_t data_mark(const struct version *version)
{
    return version_flags(version) & VERSION_TOMBSTONE ? 0 : (uint64_t)version->size + 1;
}

size_t txn__redo_size(struct txn *txn)
{
    size_t size = 0;
    for (size_t i = 0; i < txn->writes.count; i++) {
        const struct txn_write *write = &txn->writes.items[i];
        txn__passed(txn);
        if (!is_outcome(write))
            continue;
        size += varint_size(write->head->id) + varint_size(write->head->incarnation) +
                varint_size(write->row->key_size) + varint_size(data_mark(write->version)) +
                write->row->key_size + write->version->size;
    }
    return size;
}

void txn__redo_write(struct txn *txn, char *out)
{
    for (size_t i = 0; i < txn->writes.count; i++) {
        const struct txn_write *write = &txn->writes.items[i];
        txn__passed(txn);
        if (!is_outcome(write))
            continue;
        out = varint_write(out, write->head->id);
        out = varint_write(out, write->head->incarnation);
        out = varint_write(out, write->row->key_size);
        out = varint_write(out, data_mark(write->version));
        memcpy(out, write->row->key, write->row->key_size);
        out += write->row->key_size;
        memcpy(out, write->version->bytes, write->version->size);
        out += write->version->size;
    }
}

static int damaged(const char *what)
{
    return diag_set(ERROR_CORRUPT, "a redo record is damaged: %s", what);
}

int txn_redo_next(const char **body, const char *end, struct txn_redo *out)
{
    if (*body >= end)
        return ERROR_END;
    uint64_t id, incarnation, key_size, mark;
    if (!varint_read(body, end, &id) || !varint_read(body, end, &incarnation) ||
        !varint_read(body, end, &key_size) || !varint_read(body, end, &mark))
        return damaged("a number is cut off");
    if (id > UINT32_MAX || incarnation > UINT32_MAX || key_size > TREE_KEY_SIZE_MAX ||
        mark > (uint64_t)UINT32_MAX + 1)
        return damaged("a number is out of range");
    uint64_t size = mark == 0 ? 0 : mark - 1;
    if (key_size > (uint64_t)(end - *body) || size > (uint64_t)(end - *body) - key_size)
        return damaged("key or data are cut off");
    out->head_id = (uint32_t)id;
    out->head_incarnation = (uint32_t)incarnation;
    out->key = (const unsigned char *)*body;
    out->key_size = (size_t)key_size;
    out->data = mark == 0 ? NULL : *body + key_size;
    out->size = (uint32_t)size;
    *body += key_size + size;
    return 0;
}
