/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_MOMENT_H
#define SERVER_MOMENT_H

/* Moments as people write them: for `perigee restore --to`. */
#include <stdint.h>

enum { MOMENT_TEXT_MAX = 39 };

/*
 *      2026-11-21T09:20:00[.123]Z    2026-11-21 09:20    2026-11-21T10:20+01:00     a time; UTC
 *                                                                                   without an offset
 *      @1795252800[.5]                                                              seconds since 1970
 *      48213                                                                        a timestamp
 *
 * One of *ts and *time_ns becomes nonzero. ERROR_INVALID with diagnostics.
 */
int moment_parse(const char *text, uint64_t *ts, uint64_t *time_ns);

/* "2026-11-21T09:20:00.123Z", "an unknown time" for 0. */
void moment_format(uint64_t time_ns, char out[MOMENT_TEXT_MAX + 1]);

#endif
