/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crash points: one at most is armed, as its number in the list and a count of passes that goes
 * down to zero. The name is looked at only while something is armed, so a place that is passed
 * often costs nothing otherwise.
 */
#include "base/crash_point.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"

#define CRASH_POINT_NAME(name, about) name,
static const char *const names[] = {CRASH_POINT_LIST(CRASH_POINT_NAME)};
#undef CRASH_POINT_NAME

enum { NAME_COUNT = sizeof names / sizeof *names };

_Atomic bool crash_point__armed;

static const char *armed_name;        /* one of `names`; written while nobody passes a point */
static _Atomic(uint64_t) passes_left; /* 0: it was the last */

const char *crash_point_name(unsigned number)
{
    return number < NAME_COUNT ? names[number] : NULL;
}

static const char *name_find(const char *text, size_t size)
{
    for (unsigned number = 0; number < NAME_COUNT; number++)
        if (strlen(names[number]) == size && memcmp(names[number], text, size) == 0)
            return names[number];
    return NULL;
}

int crash_point_arm(const char *text)
{
    store_relaxed(&crash_point__armed, false);
    if (text == NULL || *text == 0)
        return 0;
    size_t size = strcspn(text, ":");
    uint64_t pass = 1;
    if (text[size] == ':') {
        char *end;
        pass = strtoull(text + size + 1, &end, 10);
        if (end == text + size + 1 || *end != 0 || pass == 0)
            return diag_set(ERROR_INVALID, "crash point '%s': behind the colon stands which pass",
                            text);
    }
    armed_name = name_find(text, size);
    if (armed_name == NULL)
        return diag_set(ERROR_INVALID, "there is no crash point '%.*s'", (int)size, text);
    store_relaxed(&passes_left, pass);
    store_relaxed(&crash_point__armed, true);
    return 0;
}

bool crash_point__pass(const char *name)
{
    if (strcmp(name, armed_name) != 0)
        return false;
    uint64_t left = load_relaxed(&passes_left);
    while (left > 0)
        if (atomic_compare_exchange_weak(&passes_left, &left, left - 1))
            return left == 1;
    return false;
}

_Noreturn void crash_point_kill(void)
{
    log_warn("crash point %s: the end of this process", armed_name);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}
