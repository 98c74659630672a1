/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/auth/connections.h"

#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

#include "lib/base/mem.h"

struct entry {
    uint64_t account;
    unsigned n;
    UT_hash_handle hh;
};

struct connections {
    pthread_mutex_t lock;
    struct entry *table; /* by account: random ids, nobody chooses them */
};

struct connections *connections_new(void)
{
    struct connections *c = NEW(struct connections);

    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void connections_free(struct connections *c)
{
    struct entry *e, *next;

    if (!c)
        return;
    HASH_ITER (hh, c->table, e, next) {
        HASH_DEL(c->table, e);
        free(e);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

bool connections_in(struct connections *c, uint64_t account, unsigned max)
{
    struct entry *e;
    bool in;

    pthread_mutex_lock(&c->lock);
    HASH_FIND(hh, c->table, &account, sizeof account, e);
    in = !max || !e || e->n < max;
    if (in && !e) {
        e = NEW(struct entry);
        e->account = account;
        HASH_ADD(hh, c->table, account, sizeof e->account, e);
    }
    if (in)
        e->n++;
    pthread_mutex_unlock(&c->lock);
    return in;
}

void connections_out(struct connections *c, uint64_t account)
{
    struct entry *e;

    pthread_mutex_lock(&c->lock);
    HASH_FIND(hh, c->table, &account, sizeof account, e);
    if (e && --e->n == 0) {
        HASH_DEL(c->table, e);
        free(e);
    }
    pthread_mutex_unlock(&c->lock);
}
