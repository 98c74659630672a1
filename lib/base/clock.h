/* SPDX-License-Identifier: MPL-2.0 */
/* Clocks and civil dates. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/bytes.h"

/* Wall clock, milliseconds since 1970-01-01 UTC. May jump. */
int64_t clock_wall_ms(void);
/* Monotonic; for durations and deadlines only. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);

/* A civil date and time with its offset from UTC. Years 1 to 9999; month 1-12; day 1-31. */
struct civil {
    int year, month, day, hour, minute, second;
    int zone; /* minutes east of UTC */
};

/* Proleptic Gregorian, no leap seconds; seconds since 1970-01-01 UTC, the zone taken off. */
int64_t civil_to_unix(const struct civil *c);
/* In the given zone (minutes east). */
struct civil civil_from_unix(int64_t seconds, int zone);
/* 0 Sunday ... 6 Saturday, of the civil date itself. */
int civil_weekday(const struct civil *c);
bool civil_valid(const struct civil *c);
extern const char clock_month_names[12][4]; /* "Jan" ... */
extern const char clock_day_names[7][4];    /* "Sun" ... */
