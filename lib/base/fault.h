/* SPDX-License-Identifier: MPL-2.0 */
/* fault: points at which a process dies when it is told to, to show what is left then.
 *
 * In a build with -Dplant=any (plant.h) the environment variable EIDER_FAULT=POINT:N kills the
 * process, by SIGKILL, when it comes to that point for the Nth time; in any other build there is
 * nothing of it. The points are before and after each call of the store: "insert.log.before",
 * "insert.log.after" (it is stored, nobody was told), "get.snapshots.before", ...; on MongoDB,
 * where an insert may take several commands, also those around each of them:
 * "part.bloblinks.before", ... tests/cluster draws from them.
 */
#pragma once

#include "lib/base/plant.h"

/* Any thread. Use fault_point, not this. */
void fault_reached(const char *verb, const char *table, const char *when);

static inline void fault_point(const char *verb, const char *table, const char *when)
{
    if (PLANT_CHOSEN == PLANT_any)
        fault_reached(verb, table, when);
}
