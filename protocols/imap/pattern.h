/* SPDX-License-Identifier: MPL-2.0 */
/* pattern: the wildcards of LIST and LSUB. "*" is any bytes, "%" any bytes but "/". */
#pragma once

#include "lib/base/bytes.h"

#define PATTERN_MAX 1000 /* bytes of one; mailbox names are not longer */

/* Time at most |pattern| x |name|, whatever the number of wildcards; no memory. */
bool pattern_match(struct slice pattern, struct slice name);
