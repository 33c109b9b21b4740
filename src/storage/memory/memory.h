/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_MEMORY_MEMORY_H
#define STORAGE_MEMORY_MEMORY_H

/* The engine "memory": rows never leave the head. Its body is a list of runs, which grows by one
 * with each checkpoint, is merged in the background, and is read at start. */
#include <stdbool.h>

#include "storage/engine.h"
#include "storage/run/run.h"

extern const struct engine_vtab engine_memory;

/* Whether a run is the one that this engine wrote under the name: another one may have been copied
 * over it. Looks at space, incarnation and sequence. */
bool memory_run_has_name(const struct run_info *info, const char *name);

#endif
