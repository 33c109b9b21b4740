/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_NULL_NULL_H
#define STORAGE_NULL_NULL_H

/* The engine "null": the reference for the engine interface, a sorted array in memory that is
 * durable nowhere. For tests of what calls engines. */
#include "storage/engine.h"

extern const struct engine_vtab engine_null;

#endif
