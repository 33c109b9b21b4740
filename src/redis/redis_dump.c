/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading and writing the payloads of DUMP.
 *
 * What is read comes from anybody: each length is held against what is left before anything is
 * allocated or copied. A reader that has failed gives zeros from then on, so that callers need to look
 * only where they would go on for long.
 *
 * A listpack: its size, 4 bytes; how many elements, 2 bytes (ffff: not known); elements; ff. All
 * numbers have the lowest byte first. An element, and behind it its length once more in 1 to 5
 * bytes, so that it can be read backwards:
 *
 *     0xxxxxxx                  an integer of 7 bits
 *     10xxxxxx bytes            a string of so many bytes
 *     110xxxxx xxxxxxxx         an integer of 13 bits
 *     1110xxxx xxxxxxxx bytes   a string, length of 12 bits
 *     f0 length(4) bytes        a string
 *     f1 f2 f3 f4               an integer of 2, 3, 4, 8 bytes
 */
#include "redis/redis_dump.h"

#include <math.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_number.h"
#include "redis/redis_value.h"

enum { END_SIZE = 10, LZF_RATIO_MAX = 264 };

static int bad_format(void)
{
    return diag_set(ERROR_INVALID, "Bad data format");
}

/* ---------------------------------------------------------------------------------------- checksum */

uint64_t redis_crc64(const void *data, size_t size)
{
    const unsigned char *at = data;
    uint64_t table[16], crc = 0; /* half a byte at a time */
    for (unsigned n = 0; n < 16; n++) {
        table[n] = n;
        for (int bit = 0; bit < 4; bit++)
            table[n] = table[n] & 1 ? table[n] >> 1 ^ 0x95ac9329ac4bc9b5u : table[n] >> 1;
    }
    for (; size > 0; size--, at++) {
        crc ^= *at;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

static uint64_t number_of(const unsigned char *at, size_t bytes)
{
    uint64_t number = 0;
    while (bytes > 0)
        number = number << 8 | at[--bytes];
    return number;
}

/* Of two's complement. */
static int64_t integer_of(const unsigned char *at, size_t bytes)
{
    unsigned unused = 64 - 8 * (unsigned)bytes;
    return (int64_t)(number_of(at, bytes) << unused) >> unused;
}

bool redis_dump_ends(const void *data, size_t size)
{
    if (size < END_SIZE)
        return false;
    const unsigned char *end = (const unsigned char *)data + size - END_SIZE;
    return number_of(end, 2) <= REDIS_DUMP_VERSION_MAX &&
           number_of(end + 2, 8) == redis_crc64(data, size - 8);
}

int redis_dump_check(const void *data, size_t size)
{
    if (size > END_SIZE && redis_dump_ends(data, size))
        return 0;
    return diag_set(ERROR_INVALID, "DUMP payload version or checksum are wrong");
}

/* ----------------------------------------------------------------------------------------- reading */

void redis_dump_open(struct redis_dump_reader *reader, struct arena *arena, const void *data,
                     size_t size)
{
    *reader = (struct redis_dump_reader){.arena = arena, .at = data};
    reader->end = reader->at + size - END_SIZE;
}

void redis__dump_fail(struct redis_dump_reader *reader)
{
    if (!reader->rc)
        reader->rc = bad_format();
    reader->at = reader->end;
}

void *redis__dump_reserve(struct redis_dump_reader *reader, size_t size)
{
    void *data = arena_alloc(reader->arena, size + 1);
    if (!data && !reader->rc)
        reader->rc = diag_set(ERROR_MEMORY, "out of memory");
    return data;
}

/* So many bytes; NULL when there are fewer. */
const unsigned char *redis__dump_take(struct redis_dump_reader *reader, uint64_t size)
{
    const unsigned char *at = reader->at;
    if (reader->rc || size > (uint64_t)(reader->end - at)) {
        redis__dump_fail(reader);
        return NULL;
    }
    reader->at += size;
    return at;
}

uint64_t redis_dump_take_number(struct redis_dump_reader *reader, size_t bytes)
{
    const unsigned char *at = redis__dump_take(reader, bytes);
    return at ? number_of(at, bytes) : 0;
}

/* The length that begins here, or, *special, what the two highest bits say that it is instead. */
static uint64_t take_length_or(struct redis_dump_reader *reader, bool *special)
{
    unsigned byte = (unsigned)redis_dump_take_number(reader, 1);
    uint64_t length = byte & 63;
    *special = byte >> 6 == 3;
    if (byte >> 6 == 1)
        return length << 8 | redis_dump_take_number(reader, 1);
    if (byte >> 6 != 2)
        return length;
    size_t bytes = byte == 0x80 ? 4 : 8;
    const unsigned char *at = byte == 0x80 || byte == 0x81 ? redis__dump_take(reader, bytes) : NULL;
    if (!at)
        redis__dump_fail(reader);
    for (length = 0; at && bytes > 0; bytes--)
        length = length << 8 | *at++;
    return length;
}

uint64_t redis_dump_take_length(struct redis_dump_reader *reader)
{
    bool special;
    uint64_t length = take_length_or(reader, &special);
    if (special)
        redis__dump_fail(reader);
    return reader->rc ? 0 : length;
}

/* How many elements follow, of which each takes a byte at least. There is one. */
static uint64_t take_count(struct redis_dump_reader *reader)
{
    uint64_t count = redis_dump_take_length(reader);
    if (count == 0 || count > (uint64_t)(reader->end - reader->at))
        redis__dump_fail(reader);
    return reader->rc ? 0 : count;
}

static struct redis_slice integer_text(struct redis_dump_reader *reader, int64_t value)
{
    char *text = redis__dump_reserve(reader, 21);
    if (!text)
        return (struct redis_slice){"", 0};
    return (struct redis_slice){text, redis_integer_format(value, text)};
}

/* A byte below 32 begins one more than so many plain bytes; any other, a piece that has been before:
 * three bits of length (7: another byte of it follows) and thirteen of distance. Pieces may overlap
 * themselves. */
static bool decompress(const unsigned char *at, size_t size, char *out, size_t full)
{
    const unsigned char *end = at + size;
    size_t done = 0;
    while (at < end) {
        unsigned control = *at++;
        if (control < 32) {
            size_t plain = control + 1;
            if (plain > (size_t)(end - at) || plain > full - done)
                return false;
            memcpy(out + done, at, plain);
            done += plain;
            at += plain;
            continue;
        }
        size_t length = control >> 5, distance = (size_t)(control & 31) << 8;
        if (length == 7 && at < end)
            length += *at++;
        if (at == end)
            return false;
        distance += *at++ + 1u;
        length += 2;
        if (distance > done || length > full - done)
            return false;
        for (; length > 0; length--, done++)
            out[done] = out[done - distance];
    }
    return done == full;
}

static struct redis_slice take_compressed(struct redis_dump_reader *reader)
{
    const struct redis_slice nothing = {"", 0};
    uint64_t size = redis_dump_take_length(reader), full = redis_dump_take_length(reader);
    const unsigned char *at = redis__dump_take(reader, size);
    if (!at || full == 0 || full > size * LZF_RATIO_MAX) {
        redis__dump_fail(reader);
        return nothing;
    }
    char *text = redis__dump_reserve(reader, full);
    if (!text)
        return nothing;
    if (decompress(at, size, text, full))
        return (struct redis_slice){text, full};
    redis__dump_fail(reader);
    return nothing;
}

struct redis_slice redis_dump_take_string(struct redis_dump_reader *reader)
{
    bool special;
    uint64_t length = take_length_or(reader, &special);
    const unsigned char *at;
    if (special && length == 3)
        return take_compressed(reader);
    if (special && length < 3) {
        size_t bytes = (size_t)1 << length;
        at = redis__dump_take(reader, bytes);
        return integer_text(reader, at ? integer_of(at, bytes) : 0);
    }
    at = special ? NULL : redis__dump_take(reader, length);
    if (at)
        return (struct redis_slice){(const char *)at, length};
    redis__dump_fail(reader);
    return (struct redis_slice){"", 0};
}

/* ------------------------------------------------------------------------------------------- items */

static bool grow(struct redis_dump_reader *reader)
{
    struct redis_dump_value *out = reader->out;
    size_t capacity = reader->capacity ? 2 * reader->capacity : 16;
    struct redis_slice *items = redis__dump_reserve(reader, capacity * sizeof *items);
    double *scores = redis__dump_reserve(reader, capacity * sizeof *scores);
    uint64_t *expiries = redis__dump_reserve(reader, capacity * sizeof *expiries);
    if (!items || !scores || !expiries)
        return false;
    if (out->count) {
        memcpy(items, out->items, out->count * sizeof *items);
        memcpy(scores, out->scores, out->count * sizeof *scores);
        memcpy(expiries, out->expiries, out->count * sizeof *expiries);
    }
    out->items = items;
    out->scores = scores;
    out->expiries = expiries;
    reader->capacity = capacity;
    return true;
}

void redis__dump_add(struct redis_dump_reader *reader, struct redis_slice item, double score,
                     uint64_t expire_ms)
{
    struct redis_dump_value *out = reader->out;
    if (reader->rc || (out->count == reader->capacity && !grow(reader)))
        return;
    if (isnan(score)) {
        redis__dump_fail(reader);
        return;
    }
    out->items[out->count] = item;
    out->scores[out->count] = score;
    out->expiries[out->count++] = expire_ms;
}

/* --------------------------------------------------------------------------------------- listpacks */

/* How many bytes the length of an element takes behind it. */
static size_t backward_size(size_t size)
{
    return size <= 127 ? 1 : size < 16383 ? 2 : size < 2097151 ? 3 : size < 268435455 ? 4 : 5;
}

/* An integer's text, of the highest `skip` bits nothing: its sign follows. */
static struct redis_slice listpack_integer(struct redis_dump_reader *pack, unsigned byte)
{
    static const unsigned char SIZES[] = {2, 3, 4, 8};
    if (byte < 0x80)
        return integer_text(pack, byte);
    if ((byte & 0xe0) == 0xc0) {
        int64_t value = (byte & 31) << 8 | (int64_t)redis_dump_take_number(pack, 1);
        return integer_text(pack, value >= 1 << 12 ? value - (1 << 13) : value);
    }
    if (byte < 0xf1 || byte > 0xf4) {
        redis__dump_fail(pack);
        return (struct redis_slice){"", 0};
    }
    const unsigned char *at = redis__dump_take(pack, SIZES[byte - 0xf1]);
    return integer_text(pack, at ? integer_of(at, SIZES[byte - 0xf1]) : 0);
}

struct redis_slice redis__dump_listpack_next(struct redis_dump_reader *pack)
{
    const unsigned char *start = pack->at;
    unsigned byte = (unsigned)redis_dump_take_number(pack, 1);
    struct redis_slice item;
    if ((byte & 0xc0) == 0x80 || (byte & 0xf0) == 0xe0 || byte == 0xf0) {
        size_t size = (byte & 0xc0) == 0x80   ? byte & 63
                      : (byte & 0xf0) == 0xe0 ? (byte & 15) << 8 | redis_dump_take_number(pack, 1)
                                              : redis_dump_take_number(pack, 4);
        item = (struct redis_slice){(const char *)redis__dump_take(pack, size), size};
    } else {
        item = listpack_integer(pack, byte);
    }
    redis__dump_take(pack, backward_size((size_t)(pack->at - start)));
    return item;
}

uint64_t redis__dump_listpack_open(struct redis_dump_reader *pack, struct redis_dump_reader *reader,
                                   struct redis_slice blob)
{
    enum { HEADER = 6 };
    *pack = (struct redis_dump_reader){.arena = reader->arena, .rc = reader->rc};
    pack->at = (const unsigned char *)blob.data;
    pack->end = pack->at + blob.size;
    uint64_t size = redis_dump_take_number(pack, 4), count = redis_dump_take_number(pack, 2);
    if (size != blob.size || blob.size <= HEADER || pack->end[-1] != 0xff)
        redis__dump_fail(pack);
    pack->end -= !pack->rc;
    return count;
}

/* Its elements, `width` of which belong together: fields and values; members and scores; fields, values
 * and expiries. */
static void listpack_read(struct redis_dump_reader *reader, struct redis_slice blob, int type,
                          unsigned width)
{
    enum { COUNT_UNKNOWN = 65535 };
    struct redis_dump_reader pack;
    uint64_t count = redis__dump_listpack_open(&pack, reader, blob), found = 0;
    while (!pack.rc && pack.at < pack.end) {
        struct redis_slice items[3] = {{"", 0}};
        double score = 0;
        int64_t expire_ms = 0;
        for (unsigned n = 0; n < width && !pack.rc; n++, found++)
            items[n] = redis__dump_listpack_next(&pack);
        if (pack.rc)
            break;
        if (type == REDIS_TYPE_ZSET && !redis_double_parse(items[1].data, items[1].size, &score))
            redis__dump_fail(&pack);
        if (width == 3 &&
            (!redis_integer_parse(items[2].data, items[2].size, &expire_ms) || expire_ms < 0))
            redis__dump_fail(&pack);
        redis__dump_add(reader, items[0], score, (uint64_t)expire_ms);
        if (type == REDIS_TYPE_HASH)
            redis__dump_add(reader, items[1], 0, 0);
    }
    if (!pack.rc && (found == 0 || (count != COUNT_UNKNOWN && found != count)))
        redis__dump_fail(&pack);
    if (pack.rc && !reader->rc)
        reader->rc = pack.rc;
}

static void intset_read(struct redis_dump_reader *reader, struct redis_slice blob)
{
    enum { HEADER = 8 };
    const unsigned char *at = (const unsigned char *)blob.data;
    uint64_t width = blob.size > HEADER ? number_of(at, 4) : 0;
    uint64_t count = width ? number_of(at + 4, 4) : 0;
    if ((width != 2 && width != 4 && width != 8) || count * width != blob.size - HEADER) {
        redis__dump_fail(reader);
        return;
    }
    for (at += HEADER; count > 0 && !reader->rc; count--, at += width)
        redis__dump_add(reader, integer_text(reader, integer_of(at, width)), 0, 0);
}

/* ------------------------------------------------------------------------------------------- types */

static void quicklist_read(struct redis_dump_reader *reader)
{
    enum { PLAIN = 1, PACKED = 2 };
    for (uint64_t left = take_count(reader); left > 0 && !reader->rc; left--) {
        uint64_t container = redis_dump_take_length(reader);
        struct redis_slice node = redis_dump_take_string(reader);
        if (container == PLAIN)
            redis__dump_add(reader, node, 0, 0);
        else if (container == PACKED)
            listpack_read(reader, node, REDIS_TYPE_LIST, 1);
        else
            redis__dump_fail(reader);
    }
}

static void elements_read(struct redis_dump_reader *reader, unsigned width)
{
    for (uint64_t left = take_count(reader); left > 0 && !reader->rc; left--)
        for (unsigned n = 0; n < width; n++)
            redis__dump_add(reader, redis_dump_take_string(reader), 0, 0);
}

static void zset_read(struct redis_dump_reader *reader)
{
    for (uint64_t left = take_count(reader); left > 0 && !reader->rc; left--) {
        struct redis_slice member = redis_dump_take_string(reader);
        uint64_t bits = redis_dump_take_number(reader, 8);
        double score;
        memcpy(&score, &bits, sizeof score);
        redis__dump_add(reader, member, score, 0);
    }
}

/* Expiries are counted from the first one, which is 1; 0 is none. */
static void expiring_read(struct redis_dump_reader *reader)
{
    uint64_t first_ms = redis_dump_take_number(reader, 8);
    for (uint64_t left = take_count(reader); left > 0 && !reader->rc; left--) {
        uint64_t after = redis_dump_take_length(reader),
                 expire_ms = after ? first_ms + after - 1 : 0;
        if (after && (expire_ms < first_ms || expire_ms > INT64_MAX))
            redis__dump_fail(reader);
        redis__dump_add(reader, redis_dump_take_string(reader), 0, expire_ms);
        redis__dump_add(reader, redis_dump_take_string(reader), 0, 0);
    }
}

static void value_read(struct redis_dump_reader *reader, unsigned dump_type)
{
    static const struct {
        unsigned char type, width, packed;
    } READ[] = {[REDIS_DUMP_LIST] = {REDIS_TYPE_LIST, 1, 0},
                [REDIS_DUMP_SET] = {REDIS_TYPE_SET, 1, 0},
                [REDIS_DUMP_HASH] = {REDIS_TYPE_HASH, 2, 0},
                [REDIS_DUMP_HASH_LISTPACK] = {REDIS_TYPE_HASH, 2, 1},
                [REDIS_DUMP_ZSET_LISTPACK] = {REDIS_TYPE_ZSET, 2, 1},
                [REDIS_DUMP_SET_LISTPACK] = {REDIS_TYPE_SET, 1, 1},
                [REDIS_DUMP_HASH_LISTPACK_EXPIRING] = {REDIS_TYPE_HASH, 3, 1}};
    struct redis_dump_value *out = reader->out;
    if (dump_type < sizeof READ / sizeof *READ && READ[dump_type].type) {
        out->type = READ[dump_type].type;
        if (dump_type == REDIS_DUMP_HASH_LISTPACK_EXPIRING)
            redis_dump_take_number(reader, 8); /* the first expiry, which the fields say as well */
        if (READ[dump_type].packed)
            listpack_read(reader, redis_dump_take_string(reader), out->type, READ[dump_type].width);
        else
            elements_read(reader, READ[dump_type].width);
    } else if (dump_type == REDIS_DUMP_STRING) {
        out->type = REDIS_TYPE_STRING;
        redis__dump_add(reader, redis_dump_take_string(reader), 0, 0);
    } else if (dump_type == REDIS_DUMP_ZSET) {
        out->type = REDIS_TYPE_ZSET;
        zset_read(reader);
    } else if (dump_type == REDIS_DUMP_INTSET) {
        out->type = REDIS_TYPE_SET;
        intset_read(reader, redis_dump_take_string(reader));
    } else if (dump_type == REDIS_DUMP_QUICKLIST) {
        out->type = REDIS_TYPE_LIST;
        quicklist_read(reader);
    } else if (dump_type == REDIS_DUMP_HASH_EXPIRING) {
        out->type = REDIS_TYPE_HASH;
        expiring_read(reader);
    } else if (dump_type == REDIS_DUMP_STREAM || dump_type == REDIS_DUMP_STREAM_ACTIVE) {
        out->type = REDIS_TYPE_STREAM;
        redis__dump_stream_read(reader, dump_type == REDIS_DUMP_STREAM_ACTIVE);
    } else {
        reader->rc = diag_set(ERROR_UNSUPPORTED,
                              "Bad data format: values of type %u are not read here", dump_type);
    }
    if (dump_type != REDIS_DUMP_HASH_EXPIRING && dump_type != REDIS_DUMP_HASH_LISTPACK_EXPIRING)
        out->expiries = NULL;
}

int redis_dump_read(struct arena *arena, const void *data, size_t size,
                    struct redis_dump_value *out)
{
    struct redis_dump_reader reader;
    *out = (struct redis_dump_value){.type = REDIS_TYPE_NONE};
    if (size <= END_SIZE)
        return bad_format();
    redis_dump_open(&reader, arena, data, size);
    reader.out = out;
    value_read(&reader, (unsigned)redis_dump_take_number(&reader, 1));
    return reader.rc;
}

/* ----------------------------------------------------------------------------------------- writing */

void redis_dump_put_number(struct mp_buffer *out, uint64_t number, size_t bytes)
{
    unsigned char text[8];
    for (size_t n = 0; n < bytes; n++)
        text[n] = (unsigned char)(number >> (8 * n));
    mp_put_raw(out, text, bytes);
}

void redis_dump_put_type(struct mp_buffer *out, enum redis_dump_type type)
{
    redis_dump_put_number(out, type, 1);
}

void redis_dump_put_length(struct mp_buffer *out, uint64_t length)
{
    unsigned char bytes[9] = {0};
    size_t more = length < 64 ? 0 : length < 16384 ? 1 : length <= UINT32_MAX ? 4 : 8;
    bytes[0] = more == 4 ? 0x80 : more == 8 ? 0x81 : 0;
    uint64_t left = length;
    for (size_t n = more; n > 0; n--, left >>= 8)
        bytes[n] = (unsigned char)left;
    if (more < 2)
        bytes[0] = (unsigned char)(more == 0 ? length : 0x40 | length >> 8);
    mp_put_raw(out, bytes, more + 1);
}

void redis_dump_put_string(struct mp_buffer *out, const void *data, size_t size)
{
    redis_dump_put_length(out, size);
    mp_put_raw(out, data, size);
}

void redis_dump_put_double(struct mp_buffer *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    redis_dump_put_number(out, bits, 8);
}

void redis_dump_put_end(struct mp_buffer *out, unsigned version)
{
    redis_dump_put_number(out, version, 2);
    redis_dump_put_number(out, out->failed ? 0 : redis_crc64(out->data, out->size), 8);
}
