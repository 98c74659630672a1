/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <pthread.h>

#include "lib/base/mem.h"
#include "tests/unit/bus/ear.h"

static struct bus *open_local(const struct bus_pulse *pulse)
{
    struct bus *bus = NULL;
    struct error err;

    cr_assert_eq(bus_open("local:", pulse, &bus, &err), 0);
    return bus;
}

Test(local, a_hint_reaches_the_subscribers_of_its_account_only)
{
    struct bus *bus = open_local(NULL);
    struct ear a, again, b;

    ear_open(&a, bus, 1);
    ear_open(&again, bus, 1);
    ear_open(&b, bus, 2);
    bus_publish(bus, 1, 7);
    cr_assert(ear_await(&a.seq, 7, 2000));
    cr_assert(ear_await(&again.seq, 7, 2000));
    bus_publish(bus, 2, 1);
    cr_assert(ear_await(&b.seq, 1, 2000));
    cr_assert_eq(atomic_load(&a.hints), 1);
    cr_assert_eq(atomic_load(&b.hints), 1);
    cr_assert(bus_read_counters(bus).connected);
    ear_close(&a);
    ear_close(&again);
    ear_close(&b);
    bus_close(bus);
}

Test(local, nothing_is_heard_after_unsubscribing)
{
    struct bus *bus = open_local(NULL);
    struct ear a, b;

    ear_open(&a, bus, 1);
    ear_open(&b, bus, 1);
    ear_close(&a);
    bus_publish(bus, 1, 7);
    cr_assert(ear_await(&b.seq, 7, 2000));
    cr_assert_eq(atomic_load(&a.hints), 0);
    ear_close(&b);
    bus_close(bus);
}

static uint64_t read_counter(void *ctx)
{
    return atomic_load((_Atomic uint64_t *)ctx);
}

Test(local, a_new_pulse_makes_everybody_look_again)
{
    _Atomic uint64_t counter = 5;
    struct bus_pulse pulse = {read_counter, &counter};
    struct bus *bus = open_local(&pulse);
    struct ear a, b;

    ear_open(&a, bus, 1);
    ear_open(&b, bus, 2);
    usleep(150000);
    cr_assert_eq(atomic_load(&a.gaps), 0);
    atomic_fetch_add(&counter, 1);
    cr_assert(ear_await(&a.gaps, 1, 2000));
    cr_assert(ear_await(&b.gaps, 1, 2000));
    usleep(150000);
    cr_assert_eq(atomic_load(&a.gaps), 1, "once for each change");
    ear_close(&a);
    ear_close(&b);
    bus_close(bus);
}

static void wait_for_gate(void *ctx, uint64_t seq)
{
    pthread_mutex_lock(ctx);
    pthread_mutex_unlock(ctx);
}

/* Of an account only the newest is kept; of too many accounts, "look at everything". */
Test(local, a_flood_is_bounded_and_nobody_is_forgotten)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct bus *bus = open_local(NULL);
    struct bus_subscription *slow = bus_subscribe(bus, 9, wait_for_gate, &gate);
    struct ear a, late;

    ear_open(&a, bus, 1);
    ear_open(&late, bus, 200000);
    pthread_mutex_lock(&gate);
    bus_publish(bus, 9, 1); /* holds the bus thread up */
    usleep(50000);
    for (uint64_t seq = 1; seq <= 1000; seq++)
        bus_publish(bus, 1, seq);
    for (uint64_t account = 1000; account <= 200000; account++)
        bus_publish(bus, account, 1);
    pthread_mutex_unlock(&gate);
    cr_assert(ear_await(&a.seq, 1000, 5000));
    cr_assert_leq(atomic_load(&a.hints), 2, "only the newest of an account");
    cr_assert(ear_await(&late.gaps, 1, 5000), "who was not kept is told to look");
    bus_unsubscribe(slow);
    ear_close(&a);
    ear_close(&late);
    bus_close(bus);
}

static void *publish_many(void *arg)
{
    for (uint64_t seq = 1; seq <= 20000; seq++)
        bus_publish(arg, seq % 10 + 1, seq);
    return NULL;
}

Test(local, threads_may_publish_and_subscribe_at_once)
{
    struct bus *bus = open_local(NULL);
    pthread_t threads[4];
    struct ear a;

    ear_open(&a, bus, 1);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, publish_many, bus), 0);
    for (int i = 0; i < 2000; i++) {
        struct ear b;

        ear_open(&b, bus, (uint64_t)i % 10 + 1);
        ear_close(&b);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    cr_assert(ear_await(&a.seq, 20000, 5000));
    ear_close(&a);
    bus_close(bus);
}

Test(local, a_uri_that_cannot_be_is_refused)
{
    static const char bad[][64] = {
        "",
        "local",
        "local:x",
        "amqp://x",
        "redis://",
        "redis://h:0x",
        "redis://h:70000",
        "redis://pw@h",
        "redis://:p%zz@h",
        "redis://:p%00@h",
        "redis://h?what=1",
        "redis://h?prefix=",
        "redis://h1,h2",
        "redis://h?sentinel_password=x",
        "redis://h1,h2,?sentinel=m",
        "redis://h?sentinel=m&sentinel_user=u",
        "redis://h?sentinel=m&sentinel=n",
        "rediss://h?certfile=/x",
        "rediss://h?certfile=/does/not/exist&keyfile=/does/not/exist",
        "redis://[::1",
        "redis://[::1]x",
        "redis://h?cafile=/x",
        "rediss://h?cafile=/does/not/exist",
    };
    struct error err;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct bus *bus = NULL;

        cr_expect_eq(bus_open(bad[i], NULL, &bus, &err), -ERR_INVALID, "%s", bad[i]);
    }
}
