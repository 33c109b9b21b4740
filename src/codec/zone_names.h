/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_ZONE_NAMES_H
#define CODEC_ZONE_NAMES_H

/*
 * Time zones by name and by number, with their rules from the system's files.
 *
 * The numbers are stored in datetimes: a name keeps its own for ever. They begin above those that
 * other systems give, so that a number from elsewhere is nobody's here, and is left as it is. UTC and
 * GMT have none: they are offsets.
 */
#include <stddef.h>

#include "codec/zone.h"

enum { ZONE_NUMBER_FIRST = 2001 };

/* The name by number; NULL: there is none. Names are constants. */
const char *zone_name(int number);

/* The number by name, as it is written (Europe/Moscow); 0: the name is not known. */
int zone_number(const char *name, size_t size);

/* How many there are, from ZONE_NUMBER_FIRST on. */
int zone_names_count(void);

/*
 * The rules by number, read from /usr/share/zoneinfo when they are first asked for and kept as long
 * as the process lives; NULL: there is no such number, or no such file. Any thread may ask.
 */
const struct zone *zone_of(int number);

#endif
