/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_BTREE_BTREE_H
#define STORAGE_BTREE_BTREE_H

/* The engine "btree": its body is a copy-on-write B+tree of slotted pages in one file, which a
 * checkpoint changes by writing new pages, and a new root in the end (README.md). */
#include "storage/engine.h"

extern const struct engine_vtab engine_btree;

#endif
