/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_HISTORY_MEMORY_H
#define TEST_HISTORY_MEMORY_H

/* Memory of the checkers: a test that runs out of it ends. */
#include <stddef.h>

/* realloc for `count` things of `size` bytes, which never fails. */
void *history_memory(void *old, size_t count, size_t size);

/* Makes room in a vector for `more` things behind the `count` that it has. */
#define history_room(vector, count, room, more)                            \
    do {                                                                   \
        if ((count) + (more) > (room)) {                                   \
            (room) = 2 * ((count) + (more)) + 16;                          \
            (vector) = history_memory((vector), (room), sizeof *(vector)); \
        }                                                                  \
    } while (0)

#endif
