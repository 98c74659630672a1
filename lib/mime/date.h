/* SPDX-License-Identifier: MPL-2.0 */
/* The date of a message (RFC 5322 section 3.3), with all obsolete forms of section 4.3 and common
 * mistakes: missing weekday, two-digit years, names of zones, comments, missing seconds or zone,
 * the asctime form. */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"

/* 0, or -ERR_INVALID: no date is in it. ret->zone is the zone given. */
int date_parse(struct slice value, struct civil *ret) MUST_USE;
