/* SPDX-License-Identifier: MPL-2.0 */
/* One suite of checks for every store: each sentence of lib/store/store.h is tried.
 *
 * The suite works in accounts, addresses and hashes drawn at random, so it may be run on a store
 * that holds data already, and any number of times. It needs two handles on the same data (for
 * memory they may be the same store). Used by run_conformance.c; also by hand on any URI:
 *
 *     run_conformance URI
 */
#pragma once

#include <stdbool.h>

#include "lib/store/store.h"

struct conformance_target {
    const char *name; /* for messages */
    /* A handle on the store under test; never NULL (gives up the program itself). */
    struct store *(*open)(void *ctx);
    void (*close)(void *ctx, struct store *s);
    void *ctx;
};

/* Runs all checks and writes one line for each to stdout. The number of failed ones. */
int conformance_run(const struct conformance_target *target) MUST_USE;
