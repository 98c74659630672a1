/* SPDX-License-Identifier: MPL-2.0 */
/* For the kinds of bus only: what stands behind struct bus. To add one: fill a bus_ops, embed
 * struct bus, give its opener a row in bus.c. */
#pragma once

#include <pthread.h>
#include <sys/queue.h>

#include "lib/base/bytes.h"
#include "lib/bus/bus.h"
#include "lib/bus/rates.h"

struct bus_ops {
    void (*wake)(struct bus *bus);  /* any thread, never blocks: there are hints to send */
    void (*close)(struct bus *bus); /* ends the thread and frees the whole */
};

struct bus_hint {
    uint64_t account; /* 0: all of them */
    uint64_t seq;
};

struct bus_topic;   /* the subscriptions of one account */
struct bus_pending; /* the newest unsent hint of one account */

/* The first member of every kind's own struct. */
struct bus {
    const struct bus_ops *ops;
    pthread_mutex_t topics_lock; /* held while subscribers are called */
    struct bus_topic *topics;
    pthread_mutex_t lock; /* guards the rest */
    struct bus_pending *pending;
    size_t pending_n;
    bool flooded; /* there were too many: "all of them" is pending too */
    bool leaving; /* some were taken, and have not left yet */
    struct bus_counters counters;
};

void bus_init(struct bus *bus, const struct bus_ops *ops);
void bus_done(struct bus *bus);

/* Bus thread: calls the subscribers. */
void bus_deliver(struct bus *bus, struct bus_hint hint);
/* Takes up to `max` pending hints away; how many. bus_left when they have left. */
size_t bus_take(struct bus *bus, struct bus_hint *ret_hints, size_t max);
void bus_left(struct bus *bus);
/* Puts one back (or in); false: it was there already, so somebody was woken for it. */
bool bus_put(struct bus *bus, struct bus_hint hint);
/* True: `connected` has changed. */
bool bus_set_state(struct bus *bus, bool connected, uint64_t lost);

int bus_local_open(const struct bus_pulse *pulse, struct bus **ret_bus, struct error *err) MUST_USE;
int bus_redis_open(struct slice rest, bool tls, struct bus **ret_bus, struct error *err) MUST_USE;
int bus_redis_check(struct slice rest, bool tls, struct error *err) MUST_USE;
int rates_redis_open(struct slice rest, bool tls, size_t max_keys, struct rates **ret,
                     struct error *err) MUST_USE;
