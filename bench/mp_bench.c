/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MessagePack and keys, on one tuple of five fields such as a space of accounts has: [4711,
 * "Ada Lovelace", "London", 1815.25, true], 34 bytes. Nanoseconds of CPU for each tuple; the tuple
 * stays in the cache, so these are costs of instructions, not of memory.
 */
#include "bench.h"

#include "base/assert.h"
#include "codec/crc32c.h"
#include "codec/key.h"
#include "codec/mp.h"

enum { ROUNDS = 5000000, FIELDS = 5, LOG_CHUNK = 4096 };

struct bench {
    struct mp_buffer tuple, out;
    unsigned char key[256];
    unsigned char *key_end;
    char chunk[LOG_CHUNK];
};

static void tuple_pack(struct mp_buffer *buffer)
{
    mp_put_array(buffer, FIELDS);
    mp_put_uint(buffer, 4711);
    mp_put_str(buffer, "Ada Lovelace", 12);
    mp_put_str(buffer, "London", 6);
    mp_put_double(buffer, 1815.25);
    mp_put_bool(buffer, true);
}

static void pack(struct bench *bench)
{
    mp_buffer_reset(&bench->out, LOG_CHUNK);
    tuple_pack(&bench->out);
    bench_use(bench->out.data);
}

static void check_once(struct bench *bench)
{
    const char *data = bench->tuple.data;
    ASSERT(mp_check_limited(&data, data + bench->tuple.size));
}

static void scan_in_pieces(struct bench *bench)
{
    struct mp_scan scan;
    size_t need;
    mp_scan_create(&scan);
    ASSERT(mp_scan_advance(&scan, bench->tuple.data, bench->tuple.size, &need) == MP_SCAN_DONE);
}

static void walk(struct bench *bench)
{
    const char *data = bench->tuple.data;
    for (uint32_t left = mp_decode_array(&data); left > 0; left--)
        mp_next(&data);
    ASSERT(data == bench->tuple.data + bench->tuple.size);
}

static void last_field(struct bench *bench)
{
    const char *field = mp_array_at(bench->tuple.data, FIELDS - 1);
    ASSERT(mp_decode_bool(&field));
}

static void encode(struct bench *bench, uint32_t field, enum key_type type)
{
    const char *value = mp_array_at(bench->tuple.data, field);
    unsigned char *out = bench->key;
    ASSERT(key_part_encode(&value, type, false, &out) == 0);
    bench_use(bench->key);
}

static void key_of_number(struct bench *bench)
{
    encode(bench, 0, KEY_UNSIGNED);
}

static void key_of_string(struct bench *bench)
{
    encode(bench, 1, KEY_STRING);
}

static void key_decode(struct bench *bench)
{
    const unsigned char *key = bench->key;
    char value[600], *out = value;
    ASSERT(key_part_decode(&key, bench->key_end, &out) == 0);
    bench_use(value);
}

static void checksum(struct bench *bench)
{
    uint32_t sum = crc32c(0, bench->chunk, LOG_CHUNK);
    bench_use(&sum);
}

static void run(struct bench *bench, const char *name, void (*operation)(struct bench *bench))
{
    double start = bench_cpu_ns();
    for (int n = 0; n < ROUNDS; n++) {
        bench_use(bench); /* or the compiler would do once what never changes */
        operation(bench);
    }
    bench_print(name, start, ROUNDS);
}

int main(void)
{
    struct bench bench = {0};
    mp_buffer_create(&bench.tuple);
    mp_buffer_create(&bench.out);
    tuple_pack(&bench.tuple);
    printf("a tuple of %d fields, %zu bytes\n", FIELDS, bench.tuple.size);
    run(&bench, "pack", pack);
    run(&bench, "check", check_once);
    run(&bench, "check, as it arrives", scan_in_pieces);
    run(&bench, "walk", walk);
    run(&bench, "find and read the last field", last_field);
    run(&bench, "key of the number", key_of_number);
    run(&bench, "key of the string of 12", key_of_string);
    bench.key_end = key_encode_string(bench.key, "Ada Lovelace", 12);
    run(&bench, "the string of 12 back", key_decode);
    run(&bench, "CRC-32C of 4 KB", checksum);
    mp_buffer_destroy(&bench.tuple);
    mp_buffer_destroy(&bench.out);
    return 0;
}
