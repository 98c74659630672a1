/* SPDX-License-Identifier: MPL-2.0 */
/* Counts in a real redis-server. */
#include "lib/bus/rates.h"

#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "tests/unit/bus/redis_server.h"

#define HOUR 3600000

static struct rates *open_rates(const char *uri)
{
    struct rates *r = NULL;
    struct error err;

    cr_assert_eq(rates_open(uri, 1000, &r, &err), 0, "%s", err.text);
    return r;
}

static int take(struct rates *r, const char *key, uint64_t n, uint64_t limit)
{
    int64_t wait = 0;
    int result = rates_take(r, slice_str(key), n, limit, HOUR, &wait);

    cr_assert(result == 0 || (wait > 0 && wait <= 2 * HOUR));
    return result;
}

/* -1: it does not answer yet. */
static int keys_in(const struct server *s)
{
    char command[200];
    int n = -1;
    FILE *f;

    snprintf(command, sizeof command, "redis-cli -p %d -a p@ss --no-auth-warning DBSIZE 2>&1",
             s->port);
    f = popen(command, "r");
    cr_assert_not_null(f);
    if (fscanf(f, "%d", &n) != 1)
        n = -1;
    pclose(f);
    return n;
}

/* Until Redis counts: then there are keys in it. Each try is another key. */
static void await_redis(const struct server *s, struct rates *r)
{
    static int awaited;
    int before, tries = 0;
    char key[32];

    while ((before = keys_in(s)) < 0) {
        cr_assert_lt(tries++, 3000, "Redis starts");
        usleep(10000);
    }
    for (int i = 0; keys_in(s) == before; i++) {
        cr_assert_lt(i, 3000, "Redis counts");
        snprintf(key, sizeof key, "awaited %d", awaited++);
        cr_assert_eq(take(r, key, 1, 1), 0);
        usleep(10000);
    }
}

Test(rates, all_nodes_share_a_limit)
{
    struct rates *one, *two;
    struct server s;

    start(&s, false);
    one = open_rates(s.uri);
    two = open_rates(s.uri);
    await_redis(&s, one);
    await_redis(&s, two);
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(take(one, "anna", 1, 10), 0);
        cr_expect_eq(take(two, "anna", 1, 10), 0);
    }
    cr_expect_eq(take(one, "anna", 1, 10), -ERR_LIMIT);
    cr_expect_eq(take(two, "anna", 1, 10), -ERR_LIMIT);
    cr_expect_eq(take(two, "bert", 10, 10), 0);
    cr_expect_eq(take(one, "bert", 1, 10), -ERR_LIMIT);
    cr_expect_eq(take(one, "carl", 11, 10), -ERR_LIMIT, "more than ever fits");
    rates_free(one);
    rates_free(two);
    finish(&s);
}

Test(rates, over_tls_and_with_few_rights)
{
    struct rates *r;
    struct server s;
    char command[300], uri[300];

    start(&s, true);
    r = open_rates(s.uri);
    for (int i = 0; i < 20; i++)
        cr_expect_eq(take(r, "anna", 1, 20), 0);
    rates_free(r);
    finish(&s);
    start(&s, false);
    r = open_rates(s.uri);
    await_redis(&s, r);
    rates_free(r);
    snprintf(command, sizeof command,
             "redis-cli -p %d -a p@ss --no-auth-warning ACL SETUSER eider on '>geheim' "
             "'~mail:rate:*' +ping +eval +time +hmget +hset +pexpire >/dev/null",
             s.port);
    cr_assert_eq(system(command), 0);
    snprintf(uri, sizeof uri, "redis://eider:geheim@127.0.0.1:%d?prefix=mail", s.port);
    r = open_rates(uri);
    await_redis(&s, r);
    cr_expect_eq(take(r, "anna", 1, 1), 0);
    cr_expect_eq(take(r, "anna", 1, 1), -ERR_LIMIT);
    rates_free(r);
    finish(&s);
}

/* A user who may not run scripts: counted here, and nobody waits. */
Test(rates, a_server_that_says_no_is_done_without)
{
    struct rates *r;
    struct server s;
    char command[300], uri[300];

    start(&s, false);
    r = open_rates(s.uri);
    await_redis(&s, r);
    rates_free(r);
    snprintf(command, sizeof command,
             "redis-cli -p %d -a p@ss --no-auth-warning ACL SETUSER eider on '>geheim' +ping "
             ">/dev/null",
             s.port);
    cr_assert_eq(system(command), 0);
    snprintf(uri, sizeof uri, "redis://eider:geheim@127.0.0.1:%d", s.port);
    r = open_rates(uri);
    for (int i = 0; i < 200; i++) {
        char key[32];

        snprintf(key, sizeof key, "%d", i / 2);
        cr_expect_eq(take(r, key, 1, 1), i % 2 ? -ERR_LIMIT : 0);
        usleep(1000);
    }
    rates_free(r);
    finish(&s);
}

Test(rates, a_server_that_is_away_or_frozen_holds_nobody_up)
{
    struct rates *r;
    struct server s;
    int64_t begin;

    start(&s, false);
    r = open_rates(s.uri);
    await_redis(&s, r);
    cr_expect_eq(take(r, "anna", 1, 1), 0);
    kill(s.pid, SIGSTOP);
    begin = clock_mono_ms();
    cr_expect_eq(take(r, "anna", 1, 1), 0, "this process does not know of the one before");
    cr_expect_eq(take(r, "anna", 1, 1), -ERR_LIMIT, "but counts on");
    for (int i = 0; i < 1000; i++)
        cr_expect_eq(take(r, "anna", 1, 1), -ERR_LIMIT);
    cr_expect_lt(clock_mono_ms() - begin, 10000, "a wait or two, not a thousand");
    stop(&s);
    for (int i = 0; i < 1000; i++)
        cr_expect_eq(take(r, "anna", 1, 1), -ERR_LIMIT);
    start_again(&s);
    await_redis(&s, r);
    cr_expect_eq(take(r, "anna", 1, 1), 0, "Redis lost it all, as it may");
    rates_free(r);
    finish(&s);
}

struct crowd {
    struct rates *rates;
    atomic_int taken;
};

static void *take_many(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < 500; i++)
        if (take(c->rates, "shared", 1, 1000) == 0)
            atomic_fetch_add(&c->taken, 1);
    return NULL;
}

Test(rates, many_threads_take_no_more_than_there_is)
{
    struct crowd c = {0};
    struct server s;
    pthread_t threads[8];

    start(&s, false);
    c.rates = open_rates(s.uri);
    await_redis(&s, c.rates);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_many, &c), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    cr_expect_geq(atomic_load(&c.taken), 1000);
    /* A caller that had to wait for too long has counted in memory. */
    cr_expect_leq(atomic_load(&c.taken), 2000);
    rates_free(c.rates);
    finish(&s);
}

Test(rates, uris)
{
    static const char *const bad[] = {"", "redis:", "http://x", "redis://", "local:x"};
    struct rates *r = NULL;
    struct error err;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect_eq(rates_open(bad[i], 10, &r, &err), -ERR_INVALID, "%s", bad[i]);
    r = open_rates("local:");
    cr_expect_eq(take(r, "anna", 1, 1), 0);
    cr_expect_eq(take(r, "anna", 1, 1), -ERR_LIMIT);
    rates_free(r);
}
