/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_DUMP_H
#define SERVER_DUMP_H

/* What is stored, as lines of JSON: shared by the tools that print files. */
#include <stddef.h>

#include "codec/json.h"
#include "codec/mp.h"

struct dump {
    struct json_buffer line;
    struct mp_buffer scratch;
};

void dump_create(struct dump *dump);
void dump_destroy(struct dump *dump);

/* Each appends to the line and returns 0 or ERROR_MEMORY with diagnostics. */
int dump_text(struct dump *dump, const char *text);

/* A key as the array of its parts, or as bytes when it is not made of key parts. */
int dump_key(struct dump *dump, const void *key, size_t size);

/* A tuple, or bytes when it is not MessagePack. */
int dump_tuple(struct dump *dump, const char *data, size_t size);

/* Writes the line to standard output and empties it. 0 or ERROR_IO with diagnostics. */
int dump_print(struct dump *dump);

#endif
