/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/bus/bus.h"

#include <string.h>
#include <unistd.h>
#include <uthash.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/bus/bus_impl.h"

/* Of accounts; above it everybody is told to look at everything. */
#define PENDING_MAX 65536
#define FLUSH_US    2000

struct bus_subscription {
    LIST_ENTRY(bus_subscription) link;
    struct bus *bus;
    struct bus_topic *topic;
    void (*fn)(void *ctx, uint64_t seq);
    void *ctx;
};

/* Account ids are random numbers of our own, so the hash need not be keyed. */
struct bus_topic {
    UT_hash_handle hh;
    uint64_t account;
    LIST_HEAD(, bus_subscription) subs;
};

struct bus_pending {
    UT_hash_handle hh;
    struct bus_hint hint;
};

static int check_local(struct slice rest, bool tls, struct error *err)
{
    return rest.n ? error_set(err, ERR_INVALID, "nothing follows local:") : 0;
}

static int open_local(struct slice rest, bool tls, const struct bus_pulse *pulse,
                      struct bus **ret_bus, struct error *err)
{
    int r = check_local(rest, tls, err);

    return r < 0 ? r : bus_local_open(pulse, ret_bus, err);
}

static int open_redis(struct slice rest, bool tls, const struct bus_pulse *pulse,
                      struct bus **ret_bus, struct error *err)
{
#ifdef BUS_HAS_REDIS
    return bus_redis_open(rest, tls, ret_bus, err);
#else
    return error_set(err, ERR_INVALID, "this program was built without Redis");
#endif
}

static int check_redis(struct slice rest, bool tls, struct error *err)
{
#ifdef BUS_HAS_REDIS
    return bus_redis_check(rest, tls, err);
#else
    return error_set(err, ERR_INVALID, "this program was built without Redis");
#endif
}

static const struct {
    const char *scheme;
    bool tls;
    int (*open)(struct slice rest, bool tls, const struct bus_pulse *pulse, struct bus **ret_bus,
                struct error *err);
    int (*check)(struct slice rest, bool tls, struct error *err);
} kinds[] = {
    {"local:", false, open_local, check_local},
    {"redis://", false, open_redis, check_redis},
    {"rediss://", true, open_redis, check_redis},
};

static int find_kind(struct slice uri, size_t *ret, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (slice_starts(uri, slice_str(kinds[i].scheme))) {
            *ret = i;
            return 0;
        }
    /* The URI is not quoted: it may hold a password. */
    return error_set(err, ERR_INVALID, "a bus is local:, redis://HOST or rediss://HOST");
}

int bus_open(const char *uri, const struct bus_pulse *pulse, struct bus **ret_bus,
             struct error *err)
{
    struct slice s = slice_str(uri);
    size_t k;
    int r = find_kind(s, &k, err);

    if (r < 0)
        return r;
    return kinds[k].open(slice_skip(s, strlen(kinds[k].scheme)), kinds[k].tls, pulse, ret_bus, err);
}

int bus_check(const char *uri, struct error *err)
{
    struct slice s = slice_str(uri);
    size_t k;
    int r = find_kind(s, &k, err);

    return r < 0 ? r : kinds[k].check(slice_skip(s, strlen(kinds[k].scheme)), kinds[k].tls, err);
}

void bus_init(struct bus *bus, const struct bus_ops *ops)
{
    *bus = (struct bus){.ops = ops};
    pthread_mutex_init(&bus->topics_lock, NULL);
    pthread_mutex_init(&bus->lock, NULL);
}

void bus_done(struct bus *bus)
{
    struct bus_pending *p, *next;

    HASH_ITER (hh, bus->pending, p, next) {
        HASH_DEL(bus->pending, p);
        free(p);
    }
    pthread_mutex_destroy(&bus->topics_lock);
    pthread_mutex_destroy(&bus->lock);
}

void bus_close(struct bus *bus)
{
    if (bus)
        bus->ops->close(bus);
}

/* --- subscriptions --------------------------------------------------------------------------- */

struct bus_subscription *bus_subscribe(struct bus *bus, uint64_t account,
                                       void (*fn)(void *ctx, uint64_t seq), void *ctx)
{
    struct bus_subscription *sub = NEW(struct bus_subscription);
    struct bus_topic *topic;

    sub->bus = bus;
    sub->fn = fn;
    sub->ctx = ctx;
    pthread_mutex_lock(&bus->topics_lock);
    HASH_FIND(hh, bus->topics, &account, sizeof account, topic);
    if (!topic) {
        topic = NEW(struct bus_topic);
        topic->account = account;
        HASH_ADD(hh, bus->topics, account, sizeof topic->account, topic);
    }
    sub->topic = topic;
    LIST_INSERT_HEAD(&topic->subs, sub, link);
    pthread_mutex_unlock(&bus->topics_lock);
    return sub;
}

void bus_unsubscribe(struct bus_subscription *sub)
{
    struct bus *bus;

    if (!sub)
        return;
    bus = sub->bus;
    pthread_mutex_lock(&bus->topics_lock);
    LIST_REMOVE(sub, link);
    if (LIST_EMPTY(&sub->topic->subs)) {
        HASH_DEL(bus->topics, sub->topic);
        free(sub->topic);
    }
    pthread_mutex_unlock(&bus->topics_lock);
    free(sub);
}

static void call_topic(const struct bus_topic *topic, uint64_t seq)
{
    struct bus_subscription *sub;

    LIST_FOREACH (sub, &topic->subs, link)
        sub->fn(sub->ctx, seq);
}

void bus_deliver(struct bus *bus, struct bus_hint hint)
{
    struct bus_topic *topic, *next;

    pthread_mutex_lock(&bus->lock);
    if (hint.account)
        bus->counters.received++;
    else
        bus->counters.gaps++;
    pthread_mutex_unlock(&bus->lock);
    pthread_mutex_lock(&bus->topics_lock);
    if (hint.account) {
        HASH_FIND(hh, bus->topics, &hint.account, sizeof hint.account, topic);
        if (topic)
            call_topic(topic, hint.seq);
    } else {
        HASH_ITER (hh, bus->topics, topic, next)
            call_topic(topic, 0);
    }
    pthread_mutex_unlock(&bus->topics_lock);
}

/* --- hints on their way out ------------------------------------------------------------------ */

/* Locked. */
static bool put_pending(struct bus *bus, struct bus_hint hint)
{
    struct bus_pending *p = NULL;

    if (hint.account)
        HASH_FIND(hh, bus->pending, &hint.account, sizeof hint.account, p);
    if (p) {
        p->hint.seq = MAX(p->hint.seq, hint.seq);
        return false;
    }
    if (!hint.account || bus->pending_n == PENDING_MAX) {
        bool fresh = !bus->flooded;

        bus->flooded = true;
        return fresh;
    }
    p = NEW(struct bus_pending);
    p->hint = hint;
    HASH_ADD(hh, bus->pending, hint.account, sizeof p->hint.account, p);
    bus->pending_n++;
    return true;
}

bool bus_put(struct bus *bus, struct bus_hint hint)
{
    bool fresh;

    pthread_mutex_lock(&bus->lock);
    fresh = put_pending(bus, hint);
    pthread_mutex_unlock(&bus->lock);
    return fresh;
}

void bus_publish(struct bus *bus, uint64_t account, uint64_t seq)
{
    bool fresh;

    pthread_mutex_lock(&bus->lock);
    bus->counters.published++;
    fresh = put_pending(bus, (struct bus_hint){account, seq});
    pthread_mutex_unlock(&bus->lock);
    if (fresh)
        bus->ops->wake(bus);
}

size_t bus_take(struct bus *bus, struct bus_hint *ret_hints, size_t max)
{
    struct bus_pending *p, *next;
    size_t n = 0;

    pthread_mutex_lock(&bus->lock);
    if (bus->flooded && n < max) {
        bus->flooded = false;
        ret_hints[n++] = (struct bus_hint){0, 0};
    }
    HASH_ITER (hh, bus->pending, p, next) { /* in the order in which they came */
        if (n == max)
            break;
        ret_hints[n++] = p->hint;
        HASH_DEL(bus->pending, p);
        free(p);
        bus->pending_n--;
    }
    bus->leaving = n > 0;
    pthread_mutex_unlock(&bus->lock);
    return n;
}

void bus_left(struct bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    bus->leaving = false;
    pthread_mutex_unlock(&bus->lock);
}

static bool has_some(struct bus *bus)
{
    bool some;

    pthread_mutex_lock(&bus->lock);
    some = bus->pending_n || bus->flooded || bus->leaving;
    pthread_mutex_unlock(&bus->lock);
    return some;
}

void bus_flush(struct bus *bus, int max_ms)
{
    int64_t end = clock_mono_ms() + max_ms;

    while (has_some(bus) && clock_mono_ms() < end)
        usleep(FLUSH_US);
}

/* --- counters -------------------------------------------------------------------------------- */

bool bus_set_state(struct bus *bus, bool connected, uint64_t lost)
{
    bool changed;

    pthread_mutex_lock(&bus->lock);
    changed = bus->counters.connected != connected;
    bus->counters.connected = connected;
    bus->counters.lost = lost;
    pthread_mutex_unlock(&bus->lock);
    return changed;
}

struct bus_counters bus_read_counters(struct bus *bus)
{
    struct bus_counters c;

    pthread_mutex_lock(&bus->lock);
    c = bus->counters;
    pthread_mutex_unlock(&bus->lock);
    return c;
}
