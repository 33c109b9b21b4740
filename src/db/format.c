/* SPDX-License-Identifier: Apache-2.0 */

/* See format.h. */
#include "db/format.h"

#include <string.h>

#include "codec/ext.h"
#include "codec/mp.h"

#define BIT(type)    (UINT32_C(1) << (type))
#define EXT(kind)    (UINT32_C(1) << (FIELD_EXT_SHIFT + (kind)))
#define INTEGERS     (BIT(MP_UINT) | BIT(MP_INT))
#define NUMBERS      (INTEGERS | BIT(MP_FLOAT) | BIT(MP_DOUBLE) | EXT(EXT_DECIMAL))
#define ALL          (BIT(MP_EXT + 1) - 1)
#define SCALAR_EXTS  (EXT(EXT_DECIMAL) | EXT(EXT_UUID) | EXT(EXT_DATETIME))
#define NO_SCALARS   (BIT(MP_NIL) | BIT(MP_ARRAY) | BIT(MP_MAP) | BIT(MP_EXT))
#define DOUBLE_EXACT (INT64_C(1) << 53)

static const struct {
    const char *name;
    uint32_t bits;
    enum key_type key;
} types[FIELD_TYPES] = {
    [FIELD_ANY] = {"any", ALL, KEY_ANY},
    [FIELD_UNSIGNED] = {"unsigned", BIT(MP_UINT), KEY_UNSIGNED},
    [FIELD_INTEGER] = {"integer", INTEGERS, KEY_INTEGER},
    [FIELD_NUMBER] = {"number", NUMBERS, KEY_NUMBER},
    [FIELD_DOUBLE] = {"double", BIT(MP_FLOAT) | BIT(MP_DOUBLE), KEY_DOUBLE},
    [FIELD_DECIMAL] = {"decimal", EXT(EXT_DECIMAL), KEY_DECIMAL},
    [FIELD_STRING] = {"string", BIT(MP_STR), KEY_STRING},
    [FIELD_VARBINARY] = {"varbinary", BIT(MP_BIN), KEY_BINARY},
    [FIELD_BOOLEAN] = {"boolean", BIT(MP_BOOL), KEY_BOOLEAN},
    [FIELD_UUID] = {"uuid", EXT(EXT_UUID), KEY_UUID},
    [FIELD_DATETIME] = {"datetime", EXT(EXT_DATETIME), KEY_DATETIME},
    [FIELD_INTERVAL] = {"interval", EXT(EXT_INTERVAL), KEY_ANY},
    [FIELD_ARRAY] = {"array", BIT(MP_ARRAY), KEY_ANY},
    [FIELD_MAP] = {"map", BIT(MP_MAP), KEY_ANY},
    [FIELD_SCALAR] = {"scalar", (ALL & ~NO_SCALARS) | SCALAR_EXTS, KEY_ANY},
};

const char field_type_names[] = "any unsigned integer number double decimal string varbinary "
                                "boolean uuid datetime interval array map scalar";

int field_type_parse(const char *name, size_t size)
{
    for (int type = 0; type < FIELD_TYPES; type++)
        if (strlen(types[type].name) == size && memcmp(types[type].name, name, size) == 0)
            return type;
    return size == 3 && memcmp(name, "str", 3) == 0 ? (int)FIELD_STRING : -1;
}

const char *field_type_name(enum field_type type)
{
    return types[type].name;
}

enum key_type field_type_key(enum field_type type)
{
    return types[type].key;
}

uint32_t field_type_bits(enum field_type type, bool nullable)
{
    return (types[type].bits & ~BIT(MP_NIL)) | (nullable ? BIT(MP_NIL) : 0);
}

/* A whole number goes for a floating-point one when that is the same. */
static bool integer_is_double(const char *value)
{
    int64_t number;
    return mp_read_int(&value, &number) && number >= -DOUBLE_EXACT && number <= DOUBLE_EXACT;
}

bool field_accepts(uint32_t bits, enum field_type type, const char *value)
{
    enum mp_type given = mp_typeof(*value);
    if (bits & BIT(given))
        return true;
    if (given == MP_EXT)
        return (bits & EXT(ext_kind(value))) != 0;
    return type == FIELD_DOUBLE && (INTEGERS & BIT(given)) && integer_is_double(value);
}

const char *value_type_name(const char *value)
{
    static const char *const names[] = {
        [MP_NIL] = "nil",       [MP_UINT] = "unsigned",    [MP_INT] = "integer",
        [MP_STR] = "string",    [MP_BIN] = "varbinary",    [MP_ARRAY] = "array",
        [MP_MAP] = "map",       [MP_BOOL] = "boolean",     [MP_FLOAT] = "double",
        [MP_DOUBLE] = "double", [MP_EXT] = "an extension",
    };
    enum mp_type type = mp_typeof(*value);
    return type == MP_EXT ? ext_kind_name(ext_kind(value)) : names[type];
}
