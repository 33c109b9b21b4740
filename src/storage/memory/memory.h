/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_MEMORY_MEMORY_H
#define STORAGE_MEMORY_MEMORY_H

/* The engine "memory": rows never leave the head. Its body is a list of runs, which grows by one
 * with each checkpoint, is merged in the background, and is read at start. */
#include "storage/engine.h"

extern const struct engine_vtab engine_memory;

#endif
