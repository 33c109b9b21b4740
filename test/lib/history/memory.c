/* SPDX-License-Identifier: Apache-2.0 */

/* No checker goes on without memory. */
#include "history/memory.h"

#include <stdlib.h>

void *history_memory(void *old, size_t count, size_t size)
{
    void *memory = realloc(old, (count == 0 ? 1 : count) * size);
    if (memory == NULL)
        abort();
    return memory;
}
