/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a process whose programmer was wrong: one line to standard error, then abort. Nothing
 * is allocated and no lock is taken, since the state of both is unknown.
 */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line,
                             const char *function)
{
    char text[512];
    int length = snprintf(text, sizeof(text), "assertion failed: %s (%s:%d, %s)\n", expression,
                          file, line, function);
    if (length > 0) {
        size_t size = (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1;
        if (write(STDERR_FILENO, text, size) < 0)
            abort();
    }
    abort();
}
