/* SPDX-License-Identifier: MPL-2.0 */
/* The bus of one machine. Inside the process hints go by way of the bus thread, so that nobody is
 * called under the locks of a publisher. What other processes wrote is seen by the pulse of the
 * store, which does not say where: everybody looks again. (SQLite's costs 1.5 us a poll.)
 */
#include <signal.h>
#include <time.h>

#include "lib/base/mem.h"
#include "lib/bus/bus_impl.h"

#define PULSE_MS 50
#define TAKE_MAX 256

struct local {
    struct bus bus;
    struct bus_pulse pulse;
    pthread_t thread;
    pthread_mutex_t wake_lock;
    pthread_cond_t wake; /* on the monotonic clock */
    bool waiting, stop;  /* waiting: there is something to deliver */
};

static struct local *local_of(struct bus *bus)
{
    return CONTAINER_OF(bus, struct local, bus);
}

static void local_wake(struct bus *bus)
{
    struct local *l = local_of(bus);

    pthread_mutex_lock(&l->wake_lock);
    l->waiting = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->wake_lock);
}

static struct timespec in_ms(int ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

/* Until woken or until the next pulse; false: stop. */
static bool local_wait(struct local *l)
{
    struct timespec until = in_ms(PULSE_MS);
    bool go_on;
    int r = 0;

    pthread_mutex_lock(&l->wake_lock);
    while (!l->waiting && !l->stop && r == 0)
        r = l->pulse.fn ? pthread_cond_timedwait(&l->wake, &l->wake_lock, &until)
                        : pthread_cond_wait(&l->wake, &l->wake_lock);
    l->waiting = false;
    go_on = !l->stop;
    pthread_mutex_unlock(&l->wake_lock);
    return go_on;
}

static void deliver_pending(struct bus *bus)
{
    struct bus_hint hints[TAKE_MAX];
    size_t n;

    while ((n = bus_take(bus, hints, TAKE_MAX)))
        for (size_t i = 0; i < n; i++)
            bus_deliver(bus, hints[i]);
}

static void *local_run(void *arg)
{
    struct local *l = arg;
    uint64_t last = l->pulse.fn ? l->pulse.fn(l->pulse.ctx) : 0;
    sigset_t all;

    sigfillset(&all); /* they are for the main thread */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    while (local_wait(l)) {
        uint64_t now = l->pulse.fn ? l->pulse.fn(l->pulse.ctx) : last;

        deliver_pending(&l->bus);
        if (now != last)
            bus_deliver(&l->bus, (struct bus_hint){0, 0});
        last = now;
    }
    return NULL;
}

static void local_free(struct local *l)
{
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->wake_lock);
    bus_done(&l->bus);
    free(l);
}

static void local_close(struct bus *bus)
{
    struct local *l = local_of(bus);

    pthread_mutex_lock(&l->wake_lock);
    l->stop = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->wake_lock);
    pthread_join(l->thread, NULL);
    local_free(l);
}

static const struct bus_ops local_ops = {.wake = local_wake, .close = local_close};

int bus_local_open(const struct bus_pulse *pulse, struct bus **ret_bus, struct error *err)
{
    struct local *l = NEW(struct local);
    pthread_condattr_t monotonic;

    bus_init(&l->bus, &local_ops);
    l->bus.counters.connected = true;
    if (pulse)
        l->pulse = *pulse;
    pthread_mutex_init(&l->wake_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&l->thread, NULL, local_run, l) != 0) {
        local_free(l);
        return error_set(err, ERR_UNAVAILABLE, "no thread for the bus");
    }
    *ret_bus = &l->bus;
    return 0;
}
