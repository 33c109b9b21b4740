/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_STORAGE_CACHE_MODEL_H
#define TEST_STORAGE_CACHE_MODEL_H

/*
 * Replacement policies as their papers write them down, on arrays of page numbers and counts of pages,
 * slow and plain. They share no code with src/storage/cache: its policies are compared with them.
 */
#include <stddef.h>

#include "storage/cache_trace.h"

/* How many of the accesses are hits, with room for `room` pages. `policy` is one of those of
 * cache_policy_name; SIZE_MAX when the model does not know it. */
size_t cache_model_hits(const char *policy, unsigned room, const struct cache_access *trace,
                        size_t count);

#endif
