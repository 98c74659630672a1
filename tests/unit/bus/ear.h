/* SPDX-License-Identifier: MPL-2.0 */
/* A subscriber for tests: counts what it hears, and can be waited for. */
#pragma once

#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/bus/bus.h"

struct ear {
    _Atomic uint64_t hints, gaps, seq; /* seq: the highest */
    struct bus_subscription *sub;
};

static inline void ear_hear(void *ctx, uint64_t seq)
{
    struct ear *e = ctx;

    if (seq > atomic_load(&e->seq))
        atomic_store(&e->seq, seq);
    atomic_fetch_add(seq ? &e->hints : &e->gaps, 1);
}

static inline void ear_open(struct ear *e, struct bus *bus, uint64_t account)
{
    *e = (struct ear){0};
    e->sub = bus_subscribe(bus, account, ear_hear, e);
}

static inline void ear_close(struct ear *e)
{
    bus_unsubscribe(e->sub);
}

/* Until *count is at least n. */
static inline bool ear_await(_Atomic uint64_t *count, uint64_t n, int ms)
{
    int64_t end = clock_mono_ms() + ms;

    while (atomic_load(count) < n && clock_mono_ms() < end)
        usleep(2000);
    return atomic_load(count) >= n;
}
