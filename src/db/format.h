/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_FORMAT_H
#define DB_FORMAT_H

/*
 * Types of fields: what values they take, and the keys that parts over them may demand.
 *
 * In _space a format is an array of maps:
 *
 *      name, type           strings
 *      is_nullable          when it differs from what the type says by itself: `any` takes nil
 *      default              the value of a field that is nil or not there
 *      default_func         Lua text for it, or the name of a function
 *      generated            Lua text of what the field always is
 *      constraint           {name: check ..}, see ddl_constraint.c
 *      foreign_key          {name: {space, field, on_delete}}, see ddl_foreign.c
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/key.h"

enum field_type {
    FIELD_ANY,
    FIELD_UNSIGNED,
    FIELD_INTEGER,
    FIELD_NUMBER,
    FIELD_DOUBLE,
    FIELD_DECIMAL,
    FIELD_STRING,
    FIELD_VARBINARY,
    FIELD_BOOLEAN,
    FIELD_UUID,
    FIELD_DATETIME,
    FIELD_INTERVAL,
    FIELD_ARRAY,
    FIELD_MAP,
    FIELD_SCALAR,
    FIELD_TYPES
};

/* The type called so ("str" is string), or -1; and back, a static string. */
int field_type_parse(const char *name, size_t size);
const char *field_type_name(enum field_type type);

/* What a part without a type of its own demands; KEY_ANY for those that have no order. */
enum key_type field_type_key(enum field_type type);

/* All names in one line, for messages. */
extern const char field_type_names[];

/*
 * What a field takes, as bits: 1 << enum mp_type for the types of MessagePack, and from
 * FIELD_EXT_SHIFT on 1 << enum ext_kind for extensions. field_accepts decides where the bits alone do
 * not.
 */
enum { FIELD_EXT_SHIFT = 16 };
uint32_t field_type_bits(enum field_type type, bool nullable);
bool field_accepts(uint32_t bits, enum field_type type, const char *value);

/* "unsigned", "nil", "decimal" ..: of the MessagePack value, for messages. */
const char *value_type_name(const char *value);

#endif
