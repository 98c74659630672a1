/* SPDX-License-Identifier: MPL-2.0 */
/* rates: how much of something happened in the last while, for limits ("500 messages an hour").
 * Counts may be lost: they are never what mail depends on.
 *
 * A port: rates_memory_new() counts in this process; lib/bus counts in Redis for all nodes, and
 * in memory while Redis is away.
 *
 * Threads: any; the one on Redis blocks for a bounded time.
 */
#pragma once

#include <stdint.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct rates {
    /* Adds n to what was counted under key in the last window_ms, if the sum stays within limit.
     * 0: counted; -ERR_LIMIT: not counted; *ret_wait_ms is when n would fit again, if nothing else
     * is counted meanwhile (window_ms where n alone is above the limit). A key has one window; with
     * another one it counts anew. The key's length does not matter. */
    int (*take)(struct rates *r, struct slice key, uint64_t n, uint64_t limit, int64_t window_ms,
                int64_t *ret_wait_ms);
    void (*free)(struct rates *r);
};

static inline int rates_take(struct rates *r, struct slice key, uint64_t n, uint64_t limit,
                             int64_t window_ms, int64_t *ret_wait_ms)
{
    return r->take(r, key, n, limit, window_ms, ret_wait_ms);
}

static inline void rates_free(struct rates *r)
{
    if (r)
        r->free(r);
}

/* Holds max_keys at most; the longest unused go first. */
struct rates *rates_memory_new(size_t max_keys) MUST_USE;

/* ---- for those who implement the port ---- */

/* "The last window" is not kept event by event: windows have fixed ends, and of the one before this
 * it is taken that its events lay evenly in it. */
struct rates_window {
    uint64_t current, previous; /* counted in this window, in the one before */
    int64_t elapsed_ms;         /* of this window */
};

/* 0: n fits; else in how many ms it does. */
int64_t rates_wait_ms(const struct rates_window *w, uint64_t n, uint64_t limit, int64_t window_ms);
