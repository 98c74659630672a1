/* SPDX-License-Identifier: MPL-2.0 */
/* plant: bugs put in on purpose, to show that the tests would notice them.
 *
 * `if (PLANTED(name))` is a constant false unless the build was made with -Dplant=name, or with
 * -Dplant=any, where the environment variable EIDER_PLANT chooses at run time; so nothing of it is
 * in an ordinary program. tests/stress/plants.py builds and runs them all. To add one: its name in
 * meson_options.txt, and a condition at the right place.
 */
#pragma once

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "plant_config.h" /* made by meson.build: PLANT_CHOSEN, the names */

enum plant { PLANT_NAMES };

static inline bool plant_is_asked(const char *name)
{
    const char *asked = getenv("EIDER_PLANT");

    return asked && strcmp(asked, name) == 0;
}

#define PLANTED(name)                                                                              \
    (PLANT_CHOSEN == PLANT_##name || (PLANT_CHOSEN == PLANT_any && plant_is_asked(#name)))
