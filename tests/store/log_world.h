/* SPDX-License-Identifier: MPL-2.0 */
/* The world that tries to break the log: nodes over one store, each behind its own faults; clients
 * and mail agents that want things; a clock that jumps; and the reference that watches.
 *
 * Stepped: one thread. While a node waits for the store, other nodes are given work (from within
 * the call, up to three deep), so that every interleaving of store calls can come about, and a run
 * is a function of its seed: operation i draws from (seed, i) alone, so that operations can be
 * left out when a failing run is made smaller.
 * Threaded: real nodes with all their threads; checked by what was noted when all is over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct world_options {
    const char *uri;
    uint64_t seed;
    unsigned nodes, operations;
    unsigned fault_per_mille; /* of store calls */
    unsigned threads;         /* 0: stepped */
    uint64_t broken;          /* enum mail_break: rules to break on purpose */
    bool trace;
};

struct world_result {
    char violated[16]; /* "I21", or "" */
    char text[400];
    uint64_t records, answers, refused, unknown, faults, restarts, jumps;
    uint64_t fences, looked_up, lost, given_up, saved, swept, trimmed;
};

/* left_out: one flag for each operation; NULL: none. */
void world_run(const struct world_options *options, const bool *left_out,
               struct world_result *result);
