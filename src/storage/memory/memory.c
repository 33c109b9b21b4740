/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows of this engine are always in the head, so nobody reads its body, and replaying the log
 * restores all of them. The body therefore holds nothing.
 */
#include "storage/memory/memory.h"

#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"

static int memory_open(const struct engine_options *options, struct body **out)
{
    struct body *body = malloc(sizeof *body);
    if (body == NULL)
        return diag_set(ERROR_MEMORY, "no memory to open space %u", options->space_id);
    body->vtab = &engine_memory;
    *out = body;
    return 0;
}

static void memory_close(struct body *body)
{
    free(body);
}

static int memory_verify(struct body *body)
{
    (void)body;
    return 0;
}

static void memory_stats(struct body *body, struct engine_stats *out)
{
    (void)body;
    *out = (struct engine_stats){0, 0};
}

const struct engine_vtab engine_memory = {
    .name = "memory",
    .flags = ENGINE_RESIDENT,
    .open = memory_open,
    .close = memory_close,
    .absorb = engine_generic_absorb,
    .view_open = engine_generic_view_open,
    .view_close = engine_generic_view_close,
    .get = engine_generic_get,
    .cursor_open = engine_generic_cursor_open,
    .cursor_next = engine_generic_cursor_next,
    .cursor_close = engine_generic_cursor_close,
    .compact = engine_generic_compact,
    .verify = memory_verify,
    .stats = memory_stats,
};
