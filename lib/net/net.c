/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/net/net.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/net/inside.h"

#define WORKERS_DEFAULT 16

static void set_default(int64_t *value, int64_t standard)
{
    if (*value == 0)
        *value = standard;
}

static struct net_settings with_defaults(struct net_settings s)
{
    if (s.workers == 0)
        s.workers = WORKERS_DEFAULT;
    set_default(&s.handshake_ms, 30000);
    set_default(&s.stall_ms, 600000);
    set_default(&s.linger_ms, 10000);
    set_default(&s.drain_busy_ms, 10000);
    return s;
}

static void make_shards(struct net *net)
{
    net->shards_n = loops_count(net->loops);
    net->shards = NEW_ARRAY(struct shard, net->shards_n);
    for (unsigned i = 0; i < net->shards_n; i++) {
        struct shard *shard = &net->shards[i];

        shard->net = net;
        shard->loop = loops_get(net->loops, i);
        TAILQ_INIT(&shard->conns);
        loop_timer_init(&shard->drain_timer, shard->loop, conn_drain_tick);
    }
}

int net_new(const struct net_settings *settings, struct net **ret_net, struct error *err)
{
    struct net *net = NEW(struct net);
    pthread_condattr_t attr;

    signal(SIGPIPE, SIG_IGN);
    net->settings = with_defaults(*settings);
    net->handshake_ms = net->settings.handshake_ms;
    pthread_mutex_init(&net->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&net->idle, &attr);
    pthread_condattr_destroy(&attr);
    int rc = loops_new(settings->loops, &net->loops, err);
    if (rc == 0)
        rc = pool_new("worker", net->settings.workers, &net->workers, err);
    if (rc < 0) {
        net_free(net);
        return rc;
    }
    make_shards(net);
    *ret_net = net;
    return 0;
}

static void break_shard(void *arg)
{
    struct shard *shard = arg;

    conn_break_all(shard);
    loop_timer_done(&shard->drain_timer);
}

static void close_listeners(struct net *net)
{
    for (size_t i = 0; i < net->listeners.n; i++)
        listener_close(net->listeners.items[i]);
}

void net_free(struct net *net)
{
    if (!net)
        return;
    atomic_store(&net->draining, true);
    close_listeners(net);
    for (unsigned i = 0; i < net->shards_n; i++)
        loop_call(net->shards[i].loop, break_shard, &net->shards[i]);
    while (!net_wait_idle(net, 60000)) /* steps in progress end by the store's own deadlines */
        continue;
    loops_free(net->loops);
    pool_free(net->workers);
    for (size_t i = 0; i < net->listeners.n; i++)
        listener_free(net->listeners.items[i]);
    VEC_DONE(&net->listeners);
    free(net->shards);
    pthread_cond_destroy(&net->idle);
    pthread_mutex_destroy(&net->lock);
    free(net);
}

int net_listen(struct net *net, const struct net_listener *listener,
               struct session_service *service, struct error *err)
{
    struct listener *l;
    int rc = listener_open(net, listener, service, &l, err);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&net->lock);
    *VEC_PUSH(&net->listeners) = l;
    pthread_mutex_unlock(&net->lock);
    return 0;
}

const char *net_listener_address(struct net *net, size_t i)
{
    const char *address = NULL;

    pthread_mutex_lock(&net->lock);
    if (i < net->listeners.n)
        address = net->listeners.items[i]->address;
    pthread_mutex_unlock(&net->lock);
    return address;
}

void net_replace_service(struct net *net, size_t i, struct session_service *service)
{
    pthread_mutex_lock(&net->lock);
    if (i < net->listeners.n)
        atomic_store(&net->listeners.items[i]->service, service);
    pthread_mutex_unlock(&net->lock);
}

void net_connect(struct net *net, const struct net_target *target, struct session *session)
{
    unsigned i = (unsigned)(atomic_fetch_add(&net->next_id, 1) % net->shards_n);

    pthread_mutex_lock(&net->lock);
    net->open++;
    pthread_mutex_unlock(&net->lock);
    conn_connect(&net->shards[i], target, session);
}

void net_set_handshake(struct net *net, int64_t handshake_ms)
{
    net->handshake_ms = handshake_ms;
}

static void begin_drain(void *arg)
{
    struct shard *shard = arg;

    conn_drain_tick(&shard->drain_timer);
}

void net_drain(struct net *net, int64_t grace_ms)
{
    int64_t end = clock_mono_ms() + MAX(grace_ms, (int64_t)0);

    atomic_store(&net->draining, true);
    for (size_t i = 0; i < net->listeners.n; i++)
        if (!net->listeners.items[i]->settings.through_drain)
            listener_close(net->listeners.items[i]);
    for (unsigned i = 0; i < net->shards_n; i++) {
        net->shards[i].drain_end_ms = end;
        loop_call(net->shards[i].loop, begin_drain, &net->shards[i]);
    }
}

bool net_wait_idle(struct net *net, int64_t timeout_ms)
{
    int64_t end = clock_mono_ms() + timeout_ms;
    struct timespec until = {.tv_sec = end / 1000, .tv_nsec = end % 1000 * 1000000};

    pthread_mutex_lock(&net->lock);
    while (net->open > 0 && pthread_cond_timedwait(&net->idle, &net->lock, &until) != ETIMEDOUT)
        continue;
    bool idle = net->open == 0;
    pthread_mutex_unlock(&net->lock);
    return idle;
}

struct loops *net_loops(struct net *net)
{
    return net->loops;
}

struct pool *net_workers(struct net *net)
{
    return net->workers;
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

struct net_counters net_read_counters(struct net *net)
{
    const struct counters *c = &net->counters;
    struct net_counters ret = {
        .accepted = read_counter(&c->accepted),
        .refused = read_counter(&c->refused),
        .proxy_bad = read_counter(&c->proxy_bad),
        .tls_done = read_counter(&c->tls_done),
        .tls_failed = read_counter(&c->tls_failed),
        .bytes_in = read_counter(&c->bytes_in),
        .bytes_out = read_counter(&c->bytes_out),
        .steps = read_counter(&c->steps),
        .broken = read_counter(&c->broken),
        .accept_pauses = read_counter(&c->accept_pauses),
        .connected = read_counter(&c->connected),
        .connect_failed = read_counter(&c->connect_failed),
        .workers = pool_read_counters(net->workers),
    };

    pthread_mutex_lock(&net->lock);
    ret.open = net->open;
    pthread_mutex_unlock(&net->lock);
    return ret;
}
