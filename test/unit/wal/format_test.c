/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the log: what was encoded is read back, and a change anywhere is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "codec/crc32c.h"
#include "wal/log.h"
#include "wal/wal_format.h"
#include "wal/wal_internal.h"

enum { SALT = 12345, BLOCK_BYTES = 2 * WAL_ALIGN };

static struct wal_unpacked unpacked;

static unsigned char *put_record(unsigned char *out, uint64_t ts, const char *body,
                                 struct wal_chunk_header *chunk)
{
    size_t size = strlen(body);
    struct wal_record_header record = {.size = (uint32_t)size,
                                       .checksum = wal_record_checksum(ts, body, (uint32_t)size),
                                       .ts = ts};
    memcpy(out, &record, sizeof(record));
    memcpy(out + sizeof(record), body, size);
    chunk->bytes += wal_record_bytes(size);
    chunk->records++;
    chunk->sum = crc32c(chunk->sum, &record.checksum, sizeof(record.checksum));
    return out + wal_record_bytes(size);
}

/* Two chunks with three records in (10, 20]. */
static void make_block(unsigned char *block)
{
    memset(block, 0, BLOCK_BYTES);
    struct wal_chunk_header chunks[2] = {{.worker = 0}, {.worker = 3}};
    unsigned char *start = block + wal_block_header_bytes(2), *out = start;
    out = put_record(out, 11, "first", &chunks[0]);
    out = put_record(out, 20, "the second one", &chunks[0]);
    out = put_record(out, 15, "third...", &chunks[1]);
    struct wal_block_header header = {
        .incarnation = 1,
        .sequence = 2,
        .chunks = 2,
        .durable_sequence = 1,
        .previous_c = 10,
        .c = 20,
        .block_bytes = BLOCK_BYTES,
        .data_bytes = (uint64_t)(out - start),
        .records = 3,
    };
    memcpy(block, &header, sizeof(header));
    memcpy(block + sizeof(header), chunks, sizeof(chunks));
    wal_block_header_seal(block, SALT);
}

static bool is_valid(const unsigned char *block)
{
    struct wal_block_header header;
    const void *records;
    const char *check;
    return wal_block_header_peek(block, BLOCK_BYTES, &header) &&
           wal_block_header_verify(block, SALT) &&
           wal_block_body_check(block, &unpacked, &records, &check) == 0 && check == NULL;
}

static int sum_ts(uint64_t ts, const void *body, size_t size, void *arg)
{
    (void)body;
    (void)size;
    *(uint64_t *)arg += ts;
    return 0;
}

static void a_block_is_read_as_it_was_written(void **state)
{
    (void)state;
    unsigned char *block = malloc(BLOCK_BYTES);
    make_block(block);
    assert_true(is_valid(block));
    uint64_t sum = 0;
    assert_int_equal(wal_block_each(block, block + wal_block_header_bytes(2), sum_ts, &sum), 0);
    assert_int_equal(sum, 46);
    assert_false(wal_block_header_verify(block, SALT + 1));
    free(block);
}

static void a_changed_bit_is_noticed_wherever_it_is(void **state)
{
    (void)state;
    unsigned char *block = malloc(BLOCK_BYTES);
    make_block(block);
    struct wal_block_header header;
    memcpy(&header, block, sizeof(header));
    uint64_t used = wal_block_header_bytes(header.chunks) + header.data_bytes;
    for (uint64_t bit = 0; bit < used * 8; bit++) {
        block[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_false(is_valid(block));
        block[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_true(is_valid(block));
    free(block);
}

static void a_header_that_lies_with_a_valid_checksum_is_refused(void **state)
{
    (void)state;
    unsigned char *block = malloc(BLOCK_BYTES);
    static const struct {
        size_t at;
        uint64_t value;
    } lies[] = {
        {offsetof(struct wal_block_header, data_bytes), 8},
        {offsetof(struct wal_block_header, records), 4},
        {offsetof(struct wal_block_header, records), 2},
        {offsetof(struct wal_block_header, c), 19},
        {offsetof(struct wal_block_header, previous_c), 11},
        {offsetof(struct wal_block_header, block_bytes), UINT64_MAX - 4095},
        {offsetof(struct wal_block_header, data_bytes), UINT64_MAX},
        {sizeof(struct wal_block_header) + offsetof(struct wal_chunk_header, bytes),
         UINT64_MAX - 7},
        {sizeof(struct wal_block_header) + offsetof(struct wal_chunk_header, records), UINT64_MAX},
        {sizeof(struct wal_block_header) + offsetof(struct wal_chunk_header, worker), UINT64_C(1)
                                                                                          << 32},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        make_block(block);
        memcpy(block + lies[i].at, &lies[i].value, 8);
        wal_block_header_seal(block, SALT);
        assert_false(is_valid(block));
    }
    free(block);
}

static void a_segment_header_is_read_as_it_was_written_and_a_changed_bit_noticed(void **state)
{
    (void)state;
    unsigned char page[WAL_ALIGN];
    struct wal_segment_header header = {.number = 7,
                                        .incarnation = 3,
                                        .salt = 99,
                                        .end_sequence = 12},
                              out;
    const char *check;
    wal_segment_header_encode(&header, page);
    assert_int_equal(wal_segment_header_decode(page, &out, &check), 0);
    assert_memory_equal(&out, &header, sizeof(out));
    for (size_t bit = 0; bit < WAL_ALIGN * 8; bit++) {
        page[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_int_equal(wal_segment_header_decode(page, &out, &check), ERROR_CORRUPT);
        assert_non_null(check);
        page[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

static void a_newer_format_is_refused_as_such(void **state)
{
    (void)state;
    unsigned char page[WAL_ALIGN] = {0};
    struct wal_segment_header header = {.magic = WAL_SEGMENT_MAGIC,
                                        .version = WAL_FORMAT_VERSION + 1},
                              out;
    const char *check;
    memcpy(page, &header, sizeof(header));
    header.checksum = crc32c(0, page, sizeof(page));
    memcpy(page, &header, sizeof(header));
    assert_int_equal(wal_segment_header_decode(page, &out, &check), ERROR_VERSION);
}

static void the_other_order_of_bytes_is_refused_as_such(void **state)
{
    (void)state;
    unsigned char page[WAL_ALIGN] = {0};
    struct wal_segment_header header = {.magic = __builtin_bswap64(WAL_SEGMENT_MAGIC)}, out;
    const char *check;
    memcpy(page, &header, sizeof(header));
    assert_int_equal(wal_segment_header_decode(page, &out, &check), ERROR_VERSION);
    assert_string_equal(check, "order of bytes");
}

/* The block's two chunks, the first compressed; its records are long enough for that. */
static void make_compressed(unsigned char *block)
{
    char text[400];
    unsigned char records[2048];
    struct wal_chunk_header chunks[2] = {{.worker = 0}, {.worker = 3}};
    memset(block, 0, BLOCK_BYTES);
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    memset(records, 0, sizeof(records));
    unsigned char *end = put_record(records, 11, text, &chunks[0]);
    end = put_record(end, 12, text, &chunks[0]);
    unsigned char *out = block + wal_block_header_bytes(2);
    size_t size = wal_chunk_compress(records, (size_t)(end - records), out);
    assert_true(size > 0 && size < 100);
    chunks[0].flags = WAL_CHUNK_COMPRESSED;
    chunks[0].stored_checksum = crc32c(0, out, size);
    chunks[0].bytes = size;
    put_record(out + size, 15, "third...", &chunks[1]);
    struct wal_block_header header = {
        .incarnation = 1,
        .sequence = 2,
        .chunks = 2,
        .durable_sequence = 1,
        .previous_c = 10,
        .c = 20,
        .block_bytes = BLOCK_BYTES,
        .data_bytes = (uint64_t)(end - records) + chunks[1].bytes,
        .records = 3,
    };
    memcpy(block, &header, sizeof(header));
    memcpy(block + sizeof(header), chunks, sizeof(chunks));
    wal_block_header_seal(block, SALT);
}

static void a_compressed_chunk_is_read_as_it_was_written(void **state)
{
    (void)state;
    unsigned char *block = malloc(BLOCK_BYTES);
    const void *records;
    const char *check;
    uint64_t sum = 0;
    make_compressed(block);
    assert_int_equal(wal_block_body_check(block, &unpacked, &records, &check), 0);
    assert_null(check);
    assert_int_equal(wal_block_each(block, records, sum_ts, &sum), 0);
    assert_int_equal(sum, 38);
    free(block);
}

static void a_changed_bit_of_a_compressed_block_is_noticed(void **state)
{
    (void)state;
    unsigned char *block = malloc(BLOCK_BYTES);
    make_compressed(block);
    struct wal_chunk_header chunk;
    memcpy(&chunk, block + sizeof(struct wal_block_header), sizeof(chunk));
    uint64_t used = wal_block_header_bytes(2) + chunk.bytes + wal_record_bytes(8);
    for (uint64_t bit = 0; bit < used * 8; bit++) {
        block[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_false(is_valid(block));
        block[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_true(is_valid(block));
    free(block);
}

/* Whatever a compressed chunk says of itself with valid checksums, nothing is believed that the
 * block contradicts. */
static void a_compressed_chunk_that_lies_is_refused(void **state)
{
    (void)state;
    unsigned char *block = malloc(BLOCK_BYTES);
    unsigned char *stored = block + wal_block_header_bytes(2);
    static const uint64_t sizes[] = {0, 1, 831, 833, 1 << 20, UINT64_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct wal_chunk_header chunk;
        make_compressed(block);
        memcpy(stored, &sizes[i], sizeof(sizes[i]));
        memcpy(&chunk, block + sizeof(struct wal_block_header), sizeof(chunk));
        chunk.stored_checksum = crc32c(0, stored, chunk.bytes);
        memcpy(block + sizeof(struct wal_block_header), &chunk, sizeof(chunk));
        wal_block_header_seal(block, SALT);
        assert_false(is_valid(block));
    }
    make_compressed(block);
    struct wal_block_header header;
    memcpy(&header, block, sizeof(header));
    header.data_bytes = UINT64_MAX;
    memcpy(block, &header, sizeof(header));
    wal_block_header_seal(block, SALT);
    assert_false(is_valid(block));
    free(block);
}

static void segment_names_are_recognised_and_others_are_not(void **state)
{
    (void)state;
    char name[32];
    uint64_t number = 0;
    wal__segment_name(42, name);
    assert_string_equal(name, "wal-0000000000000042.log");
    assert_true(wal__segment_parse(name, &number));
    assert_int_equal(number, 42);
    static const char *const others[] = {
        "wal-42.log", "wal-0000000000000042.tmp",  "wal-000000000000004x.log",
        "LOCK",       "wal-0000000000000042.logs", ""};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(wal__segment_parse(others[i], &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_read_as_it_was_written),
        cmocka_unit_test(a_changed_bit_is_noticed_wherever_it_is),
        cmocka_unit_test(a_header_that_lies_with_a_valid_checksum_is_refused),
        cmocka_unit_test(a_segment_header_is_read_as_it_was_written_and_a_changed_bit_noticed),
        cmocka_unit_test(a_newer_format_is_refused_as_such),
        cmocka_unit_test(the_other_order_of_bytes_is_refused_as_such),
        cmocka_unit_test(a_compressed_chunk_is_read_as_it_was_written),
        cmocka_unit_test(a_changed_bit_of_a_compressed_block_is_noticed),
        cmocka_unit_test(a_compressed_chunk_that_lies_is_refused),
        cmocka_unit_test(segment_names_are_recognised_and_others_are_not),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    wal_unpacked_destroy(&unpacked);
    return failed;
}
