/* SPDX-License-Identifier: Apache-2.0 */

/* Paths below a field, read once. */
#include "db/field_path.h"

#include <string.h>

#include "base/error.h"

int field_path_read(struct arena *arena, const char *text, size_t size, struct field_path *out)
{
    struct path_step steps[FIELD_PATH_STEPS_MAX], step;
    char *copy = arena_alloc(arena, size + 1);
    *out = (struct field_path){.text = copy, .each = UINT32_MAX};
    if (copy == NULL)
        return ERROR_MEMORY;
    memcpy(copy, text, size);
    copy[size] = '\0';
    struct path path = {.text = copy, .size = size};
    while ((step = path_next(&path)).kind != PATH_END) {
        bool again = step.kind == PATH_EACH && out->each != UINT32_MAX;
        if (step.kind == PATH_BAD || again || out->count == FIELD_PATH_STEPS_MAX)
            return ERROR_INVALID;
        if (step.kind == PATH_EACH)
            out->each = out->count;
        steps[out->count++] = step;
    }
    if (out->each == UINT32_MAX)
        out->each = out->count;
    out->steps = arena_copy(arena, steps, out->count * sizeof *steps);
    return out->steps == NULL ? ERROR_MEMORY : 0;
}
