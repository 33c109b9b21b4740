/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building and searching blocks. The layout is in run_block.h; prefix compression with restart
 * points is LevelDB's.
 *
 * Reading trusts nothing: a length is compared with what is left before it is used. What only slows
 * down or hides rows (restart points out of order, a wrong number of rows) is found by
 * run_block_check, which verification calls.
 */
#include "storage/run/run_block.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum {
    VARINT_MAX = 10,
    TAIL_BYTES = 8,
    PIECE_BYTES_MIN = 4, /* a shorter one is there by chance */
    PIECE_WINDOW = 256,  /* of the data: the fields of a key are usually the first */
};

int run_memory_reserve(struct run_memory *memory, size_t capacity)
{
    if (capacity <= memory->capacity)
        return 0;
    size_t grown = memory->capacity + memory->capacity / 2 + 64;
    if (grown < capacity)
        grown = capacity;
    unsigned char *data = realloc(memory->data, grown);
    if (data == NULL)
        return ERROR_MEMORY;
    memory->data = data;
    memory->capacity = grown;
    return 0;
}

void run_memory_destroy(struct run_memory *memory)
{
    free(memory->data);
    *memory = (struct run_memory){0};
}

int run_key_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int order = common == 0 ? 0 : memcmp(a, b, common);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static int place_compare(const void *a, size_t a_size, uint64_t a_ts, const void *b, size_t b_size,
                         uint64_t b_ts)
{
    int order = run_key_compare(a, a_size, b, b_size);
    return order != 0 ? order : (a_ts < b_ts) - (a_ts > b_ts);
}

int run_row_compare(const struct engine_row *a, const struct engine_row *b)
{
    return place_compare(a->key, a->key_size, a->ts, b->key, b->key_size, b->ts);
}

/* --------------------------------------------------------------------------------------- building
 */

static unsigned char *varint_put(unsigned char *to, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *to++ = (unsigned char)(value | 0x80);
    *to++ = (unsigned char)value;
    return to;
}

static unsigned char *bytes_put(unsigned char *to, const void *data, size_t size)
{
    if (size > 0)
        memcpy(to, data, size);
    return to + size;
}

void run_block_builder_destroy(struct run_block_builder *builder)
{
    run_memory_destroy(&builder->bytes);
    run_memory_destroy(&builder->restarts);
    run_memory_destroy(&builder->last_key);
}

/* How many of the first `most` bytes are the same. */
static size_t common_bytes(const unsigned char *a, const unsigned char *b, size_t most)
{
    size_t common = 0;
    for (; most - common >= sizeof(uint64_t); common += sizeof(uint64_t)) {
        uint64_t left, right;
        memcpy(&left, a + common, sizeof left);
        memcpy(&right, b + common, sizeof right);
        if (left != right)
            return common + (unsigned)__builtin_ctzll(left ^ right) / 8;
    }
    while (common < most && a[common] == b[common])
        common++;
    return common;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t shared_bytes(const struct run_memory *last, const struct engine_row *row)
{
    return common_bytes(last->data, row->key, smaller(last->size, row->key_size));
}

/* Looks in the row's data for the longest piece of its key that has the first byte which is not
 * shared. What lies before the piece the next rows are likely to share as well. Nothing has to be
 * known of keys and tuples for that. */
static void piece_find(struct run_block_builder *builder, const struct engine_row *row,
                       size_t shared)
{
    const unsigned char *data = (const unsigned char *)row->data, *at = data;
    if (data == NULL || shared == row->key_size || shared > UINT16_MAX)
        return;
    const unsigned char *end = data + smaller(row->size, PIECE_WINDOW);
    size_t longest = PIECE_BYTES_MIN - 1;
    while (at < end && (at = memchr(at, row->key[shared], (size_t)(end - at))) != NULL) {
        size_t before = 0, most = smaller(row->key_size - shared, (size_t)(end - at));
        while (before < shared && at - data > (ptrdiff_t)before &&
               row->key[shared - before - 1] == *(at - before - 1))
            before++;
        size_t bytes = before + common_bytes(at, row->key + shared, most);
        if (bytes > longest) {
            longest = bytes;
            builder->piece_found = true;
            builder->piece = (struct run_piece){(uint16_t)(shared - before),
                                                (uint16_t)((size_t)(at - data) - before)};
        }
        at++;
    }
}

/* How many bytes of its key the row is to borrow: more than it would otherwise share, or none. */
static size_t borrowed_bytes(struct run_block_builder *builder, const struct engine_row *row,
                             size_t shared)
{
    if (!builder->piece_found && builder->rows < RUN_RESTART_ROWS)
        piece_find(builder, row, shared);
    size_t key_at = builder->piece.key_at, data_at = builder->piece.data_at;
    if (!builder->piece_found || shared < key_at || shared == row->key_size || row->data == NULL ||
        row->size <= data_at)
        return 0;
    size_t bytes = common_bytes(row->key + key_at, (const unsigned char *)row->data + data_at,
                                smaller(row->key_size - key_at, row->size - data_at));
    return key_at + bytes > shared ? bytes : 0;
}

int run_block_add(struct run_block_builder *builder, const struct engine_row *row)
{
    struct run_memory *bytes = &builder->bytes, *restarts = &builder->restarts;
    bool restart = builder->rows % RUN_RESTART_ROWS == 0;
    size_t shared = restart ? 0 : shared_bytes(&builder->last_key, row), borrowed = 0;
    if (builder->borrows && !restart)
        borrowed = borrowed_bytes(builder, row, shared);
    size_t taken = borrowed > 0 ? builder->piece.key_at + borrowed : shared;
    size_t rest = row->key_size - taken;
    if (run_memory_reserve(bytes, bytes->size + 4 * VARINT_MAX + rest + row->size) != 0 ||
        run_memory_reserve(restarts, restarts->size + sizeof(uint32_t)) != 0 ||
        run_memory_reserve(&builder->last_key, row->key_size + 1) != 0)
        return ERROR_MEMORY;
    if (restart) {
        uint32_t offset = (uint32_t)bytes->size;
        memcpy(restarts->data + restarts->size, &offset, sizeof offset);
        restarts->size += sizeof offset;
    }
    unsigned char *to = bytes->data + bytes->size;
    to = varint_put(to, borrowed > 0 ? 2 * borrowed + 1 : builder->borrows ? 2 * shared : shared);
    to = varint_put(to, rest);
    to = varint_put(to, builder->up_to_ts - row->ts);
    to = varint_put(to, row->data == NULL ? 0 : UINT64_C(1) + row->size);
    to = bytes_put(to, rest == 0 ? NULL : row->key + taken, rest);
    if (row->data != NULL)
        to = bytes_put(to, row->data, row->size);
    bytes->size = (size_t)(to - bytes->data);
    bytes_put(builder->last_key.data, row->key, row->key_size);
    builder->last_key.size = row->key_size;
    builder->rows++;
    return 0;
}

int run_block_end(struct run_block_builder *builder)
{
    struct run_memory *bytes = &builder->bytes;
    const uint32_t tail[2] = {builder->rows, (uint32_t)(builder->restarts.size / sizeof(uint32_t))};
    if (run_memory_reserve(bytes, bytes->size + builder->restarts.size + sizeof builder->piece +
                                      TAIL_BYTES) != 0)
        return ERROR_MEMORY;
    unsigned char *to = bytes->data + bytes->size;
    to = bytes_put(to, builder->restarts.data, builder->restarts.size);
    if (builder->borrows)
        to = bytes_put(to, &builder->piece, sizeof builder->piece);
    to = bytes_put(to, tail, sizeof tail);
    bytes->size = (size_t)(to - bytes->data);
    return 0;
}

void run_block_reset(struct run_block_builder *builder)
{
    builder->bytes.size = 0;
    builder->restarts.size = 0;
    builder->rows = 0;
    builder->piece_found = false;
    builder->piece = (struct run_piece){0};
}

/* ---------------------------------------------------------------------------------------- reading
 */

static int bad(struct run_block_iter *iter, const char *check)
{
    iter->check = check;
    return ERROR_CORRUPT;
}

int run_block_open(struct run_block_iter *iter, const void *bytes, size_t size, bool borrows,
                   uint64_t up_to_ts, unsigned char *key, size_t key_room)
{
    uint32_t tail[2];
    *iter = (struct run_block_iter){.bytes = bytes,
                                    .up_to_ts = up_to_ts,
                                    .borrows = borrows,
                                    .key = key,
                                    .key_room = key_room,
                                    .row.key = key};
    size_t piece_bytes = borrows ? sizeof iter->piece : 0;
    if (size < piece_bytes + TAIL_BYTES)
        return bad(iter, "counts of the block");
    size -= TAIL_BYTES;
    memcpy(tail, iter->bytes + size, sizeof tail);
    size -= piece_bytes;
    if (borrows)
        memcpy(&iter->piece, iter->bytes + size, sizeof iter->piece);
    iter->rows = tail[0];
    iter->restarts = tail[1];
    if (iter->restarts > size / sizeof(uint32_t))
        return bad(iter, "number of restart points");
    iter->size = size - iter->restarts * sizeof(uint32_t);
    if ((iter->restarts > 0) != (iter->size > 0))
        return bad(iter, "number of restart points");
    return 0;
}

/* Numbers that end within eight bytes, which nearly all do, in a few steps: the lowest seven bits
 * of each byte up to the first without the top bit. */
static const unsigned char *varint_get_long(const unsigned char *from, const unsigned char *end,
                                            uint64_t *out)
{
    uint64_t value = 0;
    if (end - from >= (ptrdiff_t)sizeof value) {
        memcpy(&value, from, sizeof value);
        uint64_t ends = ~value & UINT64_C(0x8080808080808080);
        if (ends != 0) {
            value &= (ends ^ (ends - 1)) & UINT64_C(0x7f7f7f7f7f7f7f7f);
            value = (value & UINT64_C(0x007f007f007f007f)) |
                    (value & UINT64_C(0x7f007f007f007f00)) >> 1;
            value = (value & UINT64_C(0x00003fff00003fff)) |
                    (value & UINT64_C(0x3fff00003fff0000)) >> 2;
            *out = (value & UINT64_C(0x000000000fffffff)) |
                   (value & UINT64_C(0x0fffffff00000000)) >> 4;
            return from + (unsigned)__builtin_ctzll(ends) / 8 + 1;
        }
        value = 0;
    }
    for (unsigned shift = 0; shift < 64 && from < end; shift += 7) {
        unsigned char byte = *from++;
        if (shift == 63 && byte > 1)
            return NULL;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return from;
        }
    }
    return NULL;
}

static inline const unsigned char *varint_get(const unsigned char *from, const unsigned char *end,
                                              uint64_t *out)
{
    if (from == end || *from >= 0x80)
        return varint_get_long(from, end, out);
    *out = *from;
    return from + 1;
}

/* What stands before a row's bytes. */
struct row_head {
    uint64_t shared, borrowed, rest, age, data;
    const unsigned char *bytes; /* the rest of the key, then the data */
    size_t data_size;
};

/* The first number says what it shares and borrows. */
static inline void taken_read(const struct run_block_iter *iter, struct row_head *head)
{
    head->borrowed = 0;
    if (!iter->borrows)
        return;
    if (head->shared & 1) {
        head->borrowed = head->shared >> 1;
        head->shared = iter->piece.key_at;
    } else {
        head->shared >>= 1;
    }
}

/* Reads the head of the row at `at`, and checks that the row ends within the block. */
static inline int row_head_read(struct run_block_iter *iter, size_t at, struct row_head *out)
{
    const unsigned char *from = iter->bytes + at, *end = iter->bytes + iter->size;
    if ((from = varint_get(from, end, &out->shared)) == NULL ||
        (from = varint_get(from, end, &out->rest)) == NULL ||
        (from = varint_get(from, end, &out->age)) == NULL ||
        (from = varint_get(from, end, &out->data)) == NULL)
        return bad(iter, "numbers of a row");
    size_t left = (size_t)(end - from);
    if (out->rest > left)
        return bad(iter, "key beyond its block");
    out->data_size = out->data == 0 ? 0 : out->data - 1;
    if (out->data_size > left - out->rest || out->data_size > UINT32_MAX)
        return bad(iter, "data beyond its block");
    if (out->age > iter->up_to_ts)
        return bad(iter, "timestamp of a row");
    taken_read(iter, out);
    if (out->borrowed > 0 && (out->data_size < iter->piece.data_at ||
                              out->borrowed > out->data_size - iter->piece.data_at))
        return bad(iter, "key borrows more than its data has");
    out->bytes = from;
    return 0;
}

/* The same of the row behind the one whose key has iter->row.key_size bytes. */
static inline int row_next_read(struct run_block_iter *iter, size_t at, struct row_head *out)
{
    if (at == iter->size)
        return ERROR_END;
    int rc = row_head_read(iter, at, out);
    if (rc != 0)
        return rc;
    if (out->shared > iter->row.key_size)
        return bad(iter, "key shares more than the key before it has");
    if (out->shared + out->borrowed + out->rest > iter->key_room)
        return bad(iter, "key longer than the longest");
    return 0;
}

static inline const unsigned char *row_data(const struct row_head *head)
{
    return head->bytes + head->rest;
}

/* Makes the row at `at` the present one; what its key shares is in iter->key. */
static inline void row_put(struct run_block_iter *iter, size_t at, const struct row_head *head)
{
    const unsigned char *data = row_data(head);
    unsigned char *end = iter->key + head->shared;
    if (head->borrowed > 0)
        end = bytes_put(end, data + iter->piece.data_at, head->borrowed);
    end = bytes_put(end, head->bytes, head->rest);
    iter->row.key_size = (size_t)(end - iter->key);
    iter->row.ts = iter->up_to_ts - head->age;
    iter->row.data = head->data == 0 ? NULL : (const char *)data;
    iter->row.size = (uint32_t)head->data_size;
    iter->at = at;
    iter->next = (size_t)(data - iter->bytes) + head->data_size;
}

/* Makes the row at `at` the present one; iter->row.key_size is that of the row before. */
static int row_read(struct run_block_iter *iter, size_t at)
{
    struct row_head head;
    int rc = row_next_read(iter, at, &head);
    if (rc == 0)
        row_put(iter, at, &head);
    return rc;
}

static int restart_offset(struct run_block_iter *iter, uint32_t n, size_t *out)
{
    uint32_t offset;
    memcpy(&offset, iter->bytes + iter->size + n * sizeof offset, sizeof offset);
    if (offset >= iter->size)
        return bad(iter, "restart point beyond its block");
    *out = offset;
    return 0;
}

/* Makes the row of a restart point the next one. */
static int restart_go(struct run_block_iter *iter, uint32_t n)
{
    size_t offset;
    int rc = restart_offset(iter, n, &offset);
    if (rc != 0)
        return rc;
    iter->row.key_size = 0;
    iter->next = offset;
    return 0;
}

int run_block_first(struct run_block_iter *iter)
{
    iter->row.key_size = 0;
    iter->next = 0;
    return row_read(iter, 0);
}

int run_block_next(struct run_block_iter *iter)
{
    return row_read(iter, iter->next);
}

/* From the row that is next goes on to the last one before `end`. */
static int row_before(struct run_block_iter *iter, size_t end)
{
    int rc = row_read(iter, iter->next);
    while (rc == 0 && iter->next < end)
        rc = row_read(iter, iter->next);
    if (rc == ERROR_END || (rc == 0 && iter->next != end))
        return bad(iter, "restart point between two rows");
    return rc;
}

int run_block_last(struct run_block_iter *iter)
{
    if (iter->restarts == 0)
        return ERROR_END;
    int rc = restart_go(iter, iter->restarts - 1);
    return rc != 0 ? rc : row_before(iter, iter->size);
}

int run_block_prev(struct run_block_iter *iter)
{
    size_t end = iter->at, offset;
    if (end == 0)
        return ERROR_END;
    uint32_t low = 0, high = iter->restarts; /* the last restart point before `end` is in there */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        int rc = restart_offset(iter, middle, &offset);
        if (rc != 0)
            return rc;
        if (offset < end)
            low = middle;
        else
            high = middle;
    }
    int rc = restart_go(iter, low);
    if (rc == 0 && iter->next >= end)
        return bad(iter, "restart points out of order");
    return rc != 0 ? rc : row_before(iter, end);
}

static bool key_is_whole(const struct row_head *head)
{
    return head->shared == 0 && head->borrowed == 0;
}

/* Whether the row of a restart point is before (key, ts): 1 or 0, or ERROR_CORRUPT. */
static int restart_before(struct run_block_iter *iter, uint32_t n, const void *key, size_t key_size,
                          uint64_t ts)
{
    size_t offset;
    struct row_head head;
    int rc = restart_offset(iter, n, &offset);
    if (rc == 0)
        rc = row_head_read(iter, offset, &head);
    if (rc == 0 && !key_is_whole(&head))
        rc = bad(iter, "restart point with a shared key");
    if (rc != 0)
        return rc;
    uint64_t row_ts = iter->up_to_ts - head.age;
    return place_compare(head.bytes, head.rest, row_ts, key, key_size, ts) < 0;
}

/* A key that is searched for, and how many of its first bytes the last row that was passed has. */
struct target {
    const unsigned char *key;
    size_t size, same;
    uint64_t ts;
};

/* The order of the next bytes of a row's key and of the target: 0 when it has them all. */
static inline int part_compare(struct target *target, const unsigned char *part, size_t size)
{
    size_t most = smaller(size, target->size - target->same);
    size_t common = common_bytes(part, target->key + target->same, most);
    target->same += common;
    if (common < most)
        return part[common] < target->key[target->same] ? -1 : 1;
    return common < size;
}

/* The order of a row's key and the target's, which has the bytes that the row shares with the key
 * before it. */
static inline int target_compare(const struct run_block_iter *iter, const struct row_head *head,
                                 struct target *target)
{
    int order = 0;
    target->same = head->shared;
    if (head->borrowed > 0)
        order = part_compare(target, row_data(head) + iter->piece.data_at, head->borrowed);
    if (order == 0)
        order = part_compare(target, head->bytes, head->rest);
    return order == 0 && target->same < target->size ? -1 : order;
}

/* From the row that is next goes on to the first one that is not before the target. Keys of rows
 * that are passed are not put together: a row that shares more with the key before it than that one
 * has in common with the target is before it too, and of the others the target has what they share.
 */
static int target_find(struct run_block_iter *iter, struct target *target)
{
    struct row_head head;
    for (;;) {
        size_t at = iter->next;
        int rc = row_next_read(iter, at, &head);
        if (rc != 0)
            return rc;
        if (head.shared <= target->same) {
            int order = target_compare(iter, &head, target);
            if (order > 0 || (order == 0 && iter->up_to_ts - head.age <= target->ts)) {
                bytes_put(iter->key, target->key, head.shared);
                row_put(iter, at, &head);
                return 0;
            }
        }
        iter->row.key_size = head.shared + head.borrowed + head.rest;
        iter->next = (size_t)(row_data(&head) - iter->bytes) + head.data_size;
    }
}

int run_block_seek(struct run_block_iter *iter, const void *key, size_t key_size, uint64_t ts)
{
    struct target target = {.key = key, .size = key_size, .ts = ts};
    uint32_t low = 0, high = iter->restarts; /* restart points below `low` are before (key, ts) */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int before = restart_before(iter, middle, key, key_size, ts);
        if (before < 0)
            return before;
        if (before)
            low = middle + 1;
        else
            high = middle;
    }
    iter->row.key_size = 0;
    iter->next = 0;
    int rc = low == 0 ? 0 : restart_go(iter, low - 1);
    return rc != 0 ? rc : target_find(iter, &target);
}

int run_block_check(struct run_block_iter *iter)
{
    uint32_t rows = 0;
    for (int rc = run_block_first(iter); rc != ERROR_END; rc = run_block_next(iter)) {
        if (rc != 0)
            return rc;
        size_t offset;
        if (rows % RUN_RESTART_ROWS == 0) {
            uint32_t n = rows / RUN_RESTART_ROWS;
            struct row_head head;
            if (n >= iter->restarts || restart_offset(iter, n, &offset) != 0 || offset != iter->at)
                return bad(iter, "restart point in the wrong place");
            if (row_head_read(iter, offset, &head) != 0 || !key_is_whole(&head))
                return bad(iter, "restart point with a shared key");
        }
        rows++;
    }
    if (rows != iter->rows)
        return bad(iter, "number of rows in the block");
    if (iter->restarts != (rows + RUN_RESTART_ROWS - 1) / RUN_RESTART_ROWS)
        return bad(iter, "number of restart points");
    return 0;
}
