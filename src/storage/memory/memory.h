/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_MEMORY_MEMORY_H
#define STORAGE_MEMORY_MEMORY_H

/* The engine "memory": rows never leave the head, the log makes them durable, and a restart reads
 * them back from it. */
#include "storage/engine.h"

extern const struct engine_vtab engine_memory;

#endif
