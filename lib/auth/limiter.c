/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/auth/limiter.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "lib/base/buf.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

struct entry {
    uint8_t key[16];
    uint8_t guess[16]; /* the last one that failed */
    unsigned failures; /* since they were last halved */
    int64_t halved_ms;
    int64_t last_ms; /* the last failure, counted or not */
    bool good;       /* of a pair: has logged in */
    TAILQ_ENTRY(entry) by_use;
    UT_hash_handle hh;
};
TAILQ_HEAD(entries, entry);

struct limiter {
    pthread_mutex_t lock;
    unsigned free;
    int64_t delay_ms, delay_max_ms;
    uint8_t secret[32]; /* so that nobody can choose keys that collide */
    struct entry *table;
    struct entries by_use; /* longest unused first */
    unsigned n;
};

struct limiter *limiter_new(unsigned free_failures, int64_t delay_ms, int64_t delay_max_ms)
{
    struct limiter *l = NEW(struct limiter);

    pthread_mutex_init(&l->lock, NULL);
    l->free = free_failures;
    l->delay_ms = delay_ms;
    l->delay_max_ms = MAX(delay_ms, delay_max_ms);
    random_bytes(l->secret, sizeof l->secret);
    TAILQ_INIT(&l->by_use);
    return l;
}

static void drop(struct limiter *l, struct entry *e)
{
    HASH_DEL(l->table, e);
    TAILQ_REMOVE(&l->by_use, e, by_use);
    l->n--;
    free(e);
}

void limiter_free(struct limiter *l)
{
    struct entry *e;

    if (!l)
        return;
    while ((e = TAILQ_FIRST(&l->by_use)))
        drop(l, e);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- who ---- */

static void keyed(const struct limiter *l, const char *kind, struct slice a, struct slice b,
                  uint8_t ret[static 16])
{
    CLEANUP(buf_done) struct buf text = buf_make(8192);
    uint8_t mac[SHA256_SIZE];

    buf_add_str(&text, kind);
    buf_add_string(&text, slice_sub(a, 0, 2048));
    buf_add_string(&text, slice_sub(b, 0, 2048));
    digest_hmac_sha256(slice_of(l->secret, sizeof l->secret), buf_slice(&text), mac);
    memcpy(ret, mac, 16);
}

/* What stands for a client: its IPv4 address, or its /64. False: it stands for many (see above). */
static bool network_of(const char *remote, uint8_t ret[static 16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct in6_addr v6;
    struct in_addr v4;

    memset(ret, 0, 16);
    if (inet_pton(AF_INET, remote, &v4) == 1) {
        memcpy(ret + 12, &v4, 4);
    } else if (inet_pton(AF_INET6, remote, &v6) != 1 || IN6_IS_ADDR_LOOPBACK(&v6)) {
        return false;
    } else if (memcmp(&v6, mapped, sizeof mapped) == 0) {
        memcpy(ret + 12, v6.s6_addr + 12, 4);
    } else {
        memcpy(ret, &v6, 8);
        return true;
    }
    return ret[12] != 127;
}

void limiter_identify(const struct limiter *l, const char *remote, struct slice login,
                      struct limiter_who *ret)
{
    uint8_t network[16];

    ret->has_address = network_of(remote, network);
    keyed(l, "address", slice_of(network, sizeof network), slice_of(NULL, 0), ret->address);
    keyed(l, "login", login, slice_of(NULL, 0), ret->login);
    keyed(l, "pair", ret->has_address ? slice_of(network, sizeof network) : slice_str(remote),
          login, ret->pair);
}

/* ---- counting ---- */

static struct entry *find(struct limiter *l, const uint8_t key[static 16])
{
    struct entry *e;

    HASH_FIND(hh, l->table, key, 16, e);
    if (!e)
        return NULL;
    TAILQ_REMOVE(&l->by_use, e, by_use);
    TAILQ_INSERT_TAIL(&l->by_use, e, by_use);
    return e;
}

static struct entry *obtain(struct limiter *l, const uint8_t key[static 16], int64_t now)
{
    struct entry *e = find(l, key);

    if (e)
        return e;
    if (l->n >= LIMITER_ENTRIES)
        drop(l, TAILQ_FIRST(&l->by_use));
    e = NEW(struct entry);
    memcpy(e->key, key, sizeof e->key);
    e->halved_ms = now;
    HASH_ADD(hh, l->table, key, sizeof e->key, e);
    TAILQ_INSERT_TAIL(&l->by_use, e, by_use);
    l->n++;
    return e;
}

static void decay(struct entry *e, int64_t now)
{
    int64_t halvings = (now - e->halved_ms) / LIMITER_HALF_MS;

    if (halvings <= 0)
        return;
    e->failures = halvings < 32 ? e->failures >> halvings : 0;
    e->halved_ms += halvings * LIMITER_HALF_MS;
}

/* After so many failures. */
static int64_t delay_after(const struct limiter *l, unsigned failures)
{
    int64_t delay = l->delay_ms;

    for (unsigned i = 1; i < failures && delay < l->delay_max_ms; i++)
        delay *= 2;
    return MIN(delay, l->delay_max_ms);
}

/* Is this address or login to wait still? */
static bool must_wait(struct limiter *l, const uint8_t key[static 16], int64_t now)
{
    struct entry *e = find(l, key);

    if (!e)
        return false;
    decay(e, now);
    return e->failures >= l->free && now < e->last_ms + delay_after(l, e->failures);
}

bool limiter_admit(struct limiter *l, const struct limiter_who *who, int64_t now)
{
    struct entry *pair;
    bool ok;

    pthread_mutex_lock(&l->lock);
    pair = find(l, who->pair);
    /* One who knew the password is let through until he has failed too often himself. */
    ok = pair && pair->good ? !must_wait(l, who->pair, now)
                            : !must_wait(l, who->login, now) &&
                                  !(who->has_address && must_wait(l, who->address, now));
    pthread_mutex_unlock(&l->lock);
    return ok;
}

static unsigned count(struct limiter *l, const uint8_t key[static 16],
                      const uint8_t guess[static 16], int64_t now)
{
    static const uint8_t unknown[16];
    struct entry *e = obtain(l, key, now);

    decay(e, now);
    if (memcmp(guess, unknown, 16) == 0 || memcmp(guess, e->guess, 16) != 0 || e->failures == 0) {
        memcpy(e->guess, guess, 16);
        e->failures++;
    }
    e->last_ms = now;
    return e->failures;
}

int64_t limiter_failed(struct limiter *l, const struct limiter_who *who,
                       const uint8_t guess[static 16], int64_t now)
{
    struct entry *pair;
    unsigned failures;
    int64_t delay;

    pthread_mutex_lock(&l->lock);
    failures = count(l, who->login, guess, now);
    if (who->has_address)
        failures = MAX(failures, count(l, who->address, guess, now));
    pair = find(l, who->pair);
    if (pair)
        count(l, who->pair, guess, now);
    delay = delay_after(l, failures);
    pthread_mutex_unlock(&l->lock);
    return delay;
}

static unsigned failures_of(struct limiter *l, const uint8_t key[static 16], int64_t now)
{
    struct entry *e = find(l, key);

    if (!e)
        return 0;
    decay(e, now);
    return e->failures;
}

int64_t limiter_delay(struct limiter *l, const struct limiter_who *who, int64_t now)
{
    unsigned failures;
    int64_t delay;

    pthread_mutex_lock(&l->lock);
    failures = failures_of(l, who->login, now);
    if (who->has_address)
        failures = MAX(failures, failures_of(l, who->address, now));
    delay = delay_after(l, failures);
    pthread_mutex_unlock(&l->lock);
    return delay;
}

void limiter_succeeded(struct limiter *l, const struct limiter_who *who, int64_t now)
{
    struct entry *pair;

    pthread_mutex_lock(&l->lock);
    pair = obtain(l, who->pair, now);
    pair->good = true;
    pair->failures = 0;
    pthread_mutex_unlock(&l->lock);
}
