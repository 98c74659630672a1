/* SPDX-License-Identifier: MPL-2.0 */
/* Publishers, subscribers and a pulse at once, for the thread sanitizer (Criterion cannot run under
 * it). stress_bus [URI]: any bus; exit status 0 if the last hint of each account came. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "tests/unit/bus/ear.h"

#define ACCOUNTS 16
#define ROUNDS   5000

static uint64_t pulse_of(void *ctx)
{
    return atomic_load((_Atomic uint64_t *)ctx) / 1000;
}

struct part {
    struct bus *bus;
    _Atomic uint64_t *writes;
};

static void *publish(void *arg)
{
    struct part *p = arg;

    for (uint64_t seq = 1; seq <= ROUNDS; seq++) {
        bus_publish(p->bus, seq % ACCOUNTS + 1, seq);
        atomic_fetch_add(p->writes, 1);
    }
    return NULL;
}

static void *come_and_go(void *arg)
{
    struct part *p = arg;

    for (int i = 0; i < ROUNDS / 10; i++) {
        struct ear e;

        ear_open(&e, p->bus, (uint64_t)i % ACCOUNTS + 1);
        (void)bus_read_counters(p->bus);
        ear_close(&e);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    _Atomic uint64_t writes = 0;
    struct bus_pulse pulse = {pulse_of, &writes};
    struct part part = {.writes = &writes};
    struct ear ears[ACCOUNTS];
    pthread_t threads[6];
    struct error err;
    int missed = 0;

    if (bus_open(argc > 1 ? argv[1] : "local:", &pulse, &part.bus, &err) < 0) {
        fprintf(stderr, "stress_bus: %s\n", err.text);
        return 1;
    }
    for (int i = 0; i < ACCOUNTS; i++)
        ear_open(&ears[i], part.bus, (uint64_t)i + 1);
    while (!bus_read_counters(part.bus).connected)
        usleep(1000);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        if (pthread_create(&threads[i], NULL, i % 2 ? come_and_go : publish, &part) != 0)
            abort();
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < ACCOUNTS; i++) {
        missed += !ear_await(&ears[i].seq, ROUNDS - ACCOUNTS, 5000);
        ear_close(&ears[i]);
    }
    bus_close(part.bus);
    printf("%d of %d accounts missed their last hint\n", missed, ACCOUNTS);
    return missed > 0;
}
