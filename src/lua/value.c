/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decimals, uuids, datetimes and intervals for Lua: a table of flat functions that FFI calls, and
 * the way between such objects and MessagePack. Their methods and operators are in lua/decimal.lua,
 * lua/uuid.lua and lua/datetime.lua.
 *
 * The functions get structs that the built-in Lua has made, and operands that it has checked; text
 * comes as a pointer and a size. They do not raise errors: Lua does, with what they return.
 */
#include "lua/value.h"

#include <string.h>

#include "base/error.h"
#include "codec/datetime.h"
#include "codec/decimal.h"
#include "codec/ext.h"
#include "codec/interval.h"
#include "codec/uuid.h"
#include "codec/zone_names.h"

_Static_assert(sizeof(struct decimal) == 24, "the same layout is in lua/box/value.lua");
_Static_assert(sizeof(struct uuid) == 16, "the same layout is in lua/box/value.lua");
_Static_assert(sizeof(struct datetime) == 16, "the same layout is in lua/box/value.lua");
_Static_assert(sizeof(struct interval) == 72, "the same layout is in lua/box/value.lua");
_Static_assert(sizeof(struct datetime_fields) == 40, "the same layout is in lua/box/value.lua");

/* ------------------------------------------------------------------------------------ for FFI */

/* One call for all that take two decimals: fewer kinds of calls in compiled code. */
enum { ADD, SUBTRACT, MULTIPLY, DIVIDE, REMAINDER, POWER };

static int decimal_binary(int operation, struct decimal *out, const struct decimal *left,
                          const struct decimal *right)
{
    switch (operation) {
    case ADD:
        return decimal_add(out, left, right);
    case SUBTRACT:
        return decimal_subtract(out, left, right);
    case MULTIPLY:
        return decimal_multiply(out, left, right);
    case DIVIDE:
        return decimal_divide(out, left, right);
    case REMAINDER:
        return decimal_remainder(out, left, right);
    case POWER:
        return decimal_power(out, left, right);
    default:
        return ERROR_UNSUPPORTED;
    }
}

enum { NEGATE, ABS, TRIM, SQRT, EXP, LN, LOG10 };

static int decimal_unary(int operation, struct decimal *out, const struct decimal *value)
{
    switch (operation) {
    case NEGATE:
        decimal_negate(out, value);
        return 0;
    case ABS:
        decimal_abs(out, value);
        return 0;
    case TRIM:
        decimal_trim(out, value);
        return 0;
    case SQRT:
        return decimal_sqrt(out, value);
    case EXP:
        return decimal_exp(out, value);
    case LN:
        return decimal_ln(out, value);
    case LOG10:
        return decimal_log10(out, value);
    default:
        return ERROR_UNSUPPORTED;
    }
}

static void round_decimal(int rounding, struct decimal *out, const struct decimal *value,
                          uint32_t scale)
{
    decimal_round(out, value, scale, (enum decimal_rounding)rounding);
}

static int32_t decimal_scale(const struct decimal *value)
{
    return value->scale;
}

static int uuid_read(struct uuid *out, const char *text, size_t size)
{
    return uuid_parse(out, text, size);
}

static int uuid_compare(const struct uuid *left, const struct uuid *right)
{
    return memcmp(left->bytes, right->bytes, UUID_SIZE);
}

/* An instant from seconds and nanoseconds, which may be out of range. */
static int datetime_make(struct datetime *out, double seconds, int32_t nsec, int zone)
{
    if (!(seconds >= (double)DATETIME_SECONDS_MIN && seconds <= (double)DATETIME_SECONDS_MAX))
        return ERROR_INVALID;
    struct datetime value = {.seconds = (int64_t)seconds, .nsec = nsec};
    if (!datetime_is_valid(&value))
        return ERROR_INVALID;
    int rc = datetime_move(&value, zone);
    if (rc == 0)
        *out = value;
    return rc;
}

static double datetime_seconds(const struct datetime *value, int32_t *nsec, int32_t *tzoffset)
{
    *nsec = value->nsec;
    *tzoffset = value->tzoffset;
    return (double)value->seconds;
}

static int datetime_read(struct datetime *out, const char *text, size_t size, int zone, int rfc3339)
{
    return datetime_parse(out, text, size, zone, rfc3339 != 0);
}

static int datetime_read_zone(const char *text, size_t size, int32_t *out)
{
    int zone;
    bool known = datetime_zone(text, size, &zone);
    *out = zone;
    return known;
}

static int datetime_summer(const struct datetime *value)
{
    return datetime_is_summer(value);
}

/* The fields in the order of the struct, adjust last. */
static int interval_make(struct interval *out, const double *fields)
{
    struct interval value;
    for (unsigned i = 0; i <= INTERVAL_ADJUST; i++) {
        if (!(fields[i] > -1e16 && fields[i] < 1e16))
            return ERROR_TOO_LARGE;
        *(i == INTERVAL_ADJUST ? &value.adjust : &value.field[i]) = (int64_t)fields[i];
    }
    if (!interval_is_valid(&value))
        return ERROR_TOO_LARGE;
    *out = value;
    return 0;
}

static double interval_get(const struct interval *value, int field)
{
    return (double)(field == INTERVAL_ADJUST ? value->adjust : value->field[field]);
}

static int interval_same(const struct interval *left, const struct interval *right)
{
    return interval_equal(left, right);
}

/* The same struct is declared in lua/box/value.lua. */
static const struct {
    int (*decimal_parse)(struct decimal *, const char *, size_t);
    int (*decimal_of_double)(struct decimal *, double);
    void (*decimal_of_int)(struct decimal *, int64_t);
    void (*decimal_of_uint)(struct decimal *, uint64_t);
    size_t (*decimal_print)(const struct decimal *, char *);
    int (*decimal_binary)(int, struct decimal *, const struct decimal *, const struct decimal *);
    int (*decimal_unary)(int, struct decimal *, const struct decimal *);
    void (*decimal_round)(int, struct decimal *, const struct decimal *, uint32_t);
    int (*decimal_rescale)(struct decimal *, const struct decimal *, uint32_t);
    int (*decimal_compare)(const struct decimal *, const struct decimal *);
    int (*decimal_compare_number)(const struct decimal *, double);
    double (*decimal_number)(const struct decimal *);
    uint32_t (*decimal_precision)(const struct decimal *);
    int32_t (*decimal_scale)(const struct decimal *);
    int (*uuid_generate)(struct uuid *);
    int (*uuid_parse)(struct uuid *, const char *, size_t);
    void (*uuid_print)(const struct uuid *, char *);
    int (*uuid_compare)(const struct uuid *, const struct uuid *);
    int (*datetime_make)(struct datetime *, double, int32_t, int);
    double (*datetime_seconds)(const struct datetime *, int32_t *, int32_t *);
    void (*datetime_split)(const struct datetime *, struct datetime_fields *);
    int (*datetime_join)(struct datetime *, const struct datetime_fields *, int);
    int (*datetime_days_in_month)(int64_t, int);
    int (*datetime_add)(struct datetime *, const struct datetime *, const struct interval *, int);
    void (*datetime_subtract)(struct interval *, const struct datetime *, const struct datetime *);
    int (*datetime_compare)(const struct datetime *, const struct datetime *);
    size_t (*datetime_print)(const struct datetime *, char *);
    int (*datetime_parse)(struct datetime *, const char *, size_t, int, int);
    int (*datetime_scan)(struct datetime *, const char *, size_t, const char *, size_t, int,
                         size_t *);
    int (*datetime_format)(const struct datetime *, const char *, size_t, char *, size_t, size_t *);
    int (*datetime_zone)(const char *, size_t, int32_t *);
    int (*datetime_zone_of)(const struct datetime *);
    int (*datetime_summer)(const struct datetime *);
    const char *(*zone_name)(int);
    int (*interval_make)(struct interval *, const double *);
    double (*interval_get)(const struct interval *, int);
    int (*interval_add)(struct interval *, const struct interval *, const struct interval *, int);
    int (*interval_equal)(const struct interval *, const struct interval *);
    size_t (*interval_print)(const struct interval *, char *);
} functions = {
    decimal_parse,
    decimal_of_double,
    decimal_of_int,
    decimal_of_uint,
    decimal_print,
    decimal_binary,
    decimal_unary,
    round_decimal,
    decimal_rescale,
    decimal_compare,
    decimal_compare_shortest,
    decimal_to_double,
    decimal_precision,
    decimal_scale,
    uuid_generate,
    uuid_read,
    uuid_print,
    uuid_compare,
    datetime_make,
    datetime_seconds,
    datetime_split,
    datetime_join,
    datetime_days_in_month,
    datetime_add,
    datetime_subtract,
    datetime_compare,
    datetime_print,
    datetime_read,
    datetime_scan,
    datetime_format,
    datetime_read_zone,
    datetime_zone_of,
    datetime_summer,
    zone_name,
    interval_make,
    interval_get,
    interval_add,
    interval_same,
    interval_print,
};

void lua__open_value(struct lua_runtime *runtime)
{
    union {
        const void *from;
        void *to;
    } pointer = {.from = &functions};
    lua_pushlightuserdata(runtime->L, pointer.to);
    lua_setfield(runtime->L, -2, "values");
}

/* ------------------------------------------------------------------------- from and to objects */

bool lua__value_encode(struct mp_buffer *out, int type, const void *data)
{
    char packed[INTERVAL_MP_MAX], *end = packed;
    const struct lua__extension *extension = data;

    switch (type) {
    case LUA__DECIMAL:
        end = decimal_pack(packed, data);
        break;
    case LUA__UUID:
        end = uuid_pack(packed, data);
        break;
    case LUA__DATETIME:
        end = datetime_pack(packed, data);
        break;
    case LUA__INTERVAL:
        end = interval_pack(packed, data);
        break;
    case LUA__EXTENSION:
        if (extension->type == LUA__VARBINARY)
            mp_put_bin(out, extension->data, extension->size);
        else
            mp_put_ext(out, extension->type, extension->data, extension->size);
        return true;
    default:
        return false;
    }
    mp_put_raw(out, packed, (size_t)(end - packed));
    return true;
}

void lua__value_push(lua_State *L, struct lua_runtime *runtime, const char **data)
{
    union {
        struct decimal decimal;
        struct uuid uuid;
        struct datetime datetime;
        struct interval interval;
    } object;
    uint32_t size;
    int type, kind = LUA__EXTENSION;
    const char *payload = mp_read_ext(data, &type, &size);

    if (type == DECIMAL_EXT && decimal_unpack(&object.decimal, payload, size))
        kind = LUA__DECIMAL;
    else if (type == UUID_EXT && uuid_unpack(&object.uuid, payload, size))
        kind = LUA__UUID;
    else if (type == DATETIME_EXT && datetime_unpack(&object.datetime, payload, size))
        kind = LUA__DATETIME;
    else if (type == INTERVAL_EXT && interval_unpack(&object.interval, payload, size))
        kind = LUA__INTERVAL;
    runtime->value.type = kind;
    runtime->value.data = kind == LUA__EXTENSION ? payload : (const char *)&object;
    runtime->value.size = size;
    runtime->value.integer = type;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->ref_make);
    lua_call(L, 0, 1);
}
