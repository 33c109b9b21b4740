/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_EXT_H
#define CODEC_EXT_H

/*
 * Which of the extensions of MessagePack a value is: decimal, uuid, datetime, interval. Others are
 * kept as they are.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ext_kind { EXT_NONE, EXT_UNKNOWN, EXT_DECIMAL, EXT_UUID, EXT_DATETIME, EXT_INTERVAL };

/* What the MessagePack value at `value` (checked data) is: EXT_NONE when it is no ext value,
 * EXT_UNKNOWN for another type, or for a payload that is malformed. */
enum ext_kind ext_kind(const char *value);

/* "decimal", "uuid", "datetime", "interval"; "an extension" for the others. */
const char *ext_kind_name(enum ext_kind kind);

enum { EXT_TEXT_MAX = 256 };

/* Writes the text of the value at *value, which is of a known kind, and advances *value behind it:
 * at most EXT_TEXT_MAX characters; their number. */
size_t ext_print(const char **value, char *out);

#endif
