/* SPDX-License-Identifier: MPL-2.0 */
/* The groups of mongo_group.c, from many threads, with a `send` that looks at what it is given in
 * place of a server: what TSan says is about our code alone, and not about the driver's. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/bytes.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/mongo_impl.h"

#define CALLERS 8
#define ROUNDS  4000
#define MEMBERS 5 /* of one caller, for one latch */
#define KEYS    12
#define LARGE   ((size_t)1 << 20)

struct document {
    struct mongo_member member;
    uint8_t key;
    unsigned sent; /* plain: the latch has to order it */
};

struct caller {
    pthread_t thread;
    struct mongo_group **groups; /* two, as of two tables */
    unsigned rounds;
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "race_mongo_group: %s\n", what);
    abort();
}

static void send_all(struct mongo *m, struct mongo_member **members, size_t n)
{
    bool seen[KEYS] = {false};
    size_t bytes = 0;

    must(n > 0 && n <= MONGO_MEMBERS_MAX, "a command is not empty and not too large");
    for (size_t i = 0; i < n; i++) {
        struct document *d = CONTAINER_OF(members[i], struct document, member);

        must(!members[i]->key.n || !seen[d->key], "a key twice in one command");
        seen[d->key] |= members[i]->key.n > 0;
        bytes += members[i]->bytes;
        d->sent++;
    }
    must(n == 1 || bytes <= MONGO_BYTES_MAX, "too many octets in one command");
    if (random_u64() % 8 == 0)
        sched_yield();
}

static void one_round(struct caller *c)
{
    size_t n = 1 + random_u64() % MEMBERS;
    struct mongo_latch latch = MONGO_LATCH(n);
    struct document list[MEMBERS];

    for (size_t i = 0; i < n; i++) {
        uint64_t dice = random_u64();

        list[i] = (struct document){.key = (uint8_t)(dice % KEYS)};
        list[i].member = (struct mongo_member){.bytes = dice % 16 ? 100 : LARGE, .latch = &latch};
        if (dice & 1 << 20) /* a change; an insert has no key */
            list[i].member.key = slice_of(&list[i].key, 1);
        mongo_group_add(c->groups[dice >> 21 & 1], &list[i].member);
    }
    mongo_latch_wait(&latch);
    for (size_t i = 0; i < n; i++)
        must(list[i].sent == 1, "each is sent once");
}

static void *call(void *arg)
{
    struct caller *c = arg;

    for (unsigned i = 0; i < c->rounds; i++)
        one_round(c);
    return NULL;
}

int main(void)
{
    struct mongo m = {0};
    struct mongo_group *groups[2];
    struct caller callers[CALLERS];
    struct error err = {0};

    must(pool_new("mongo", 4, &m.helpers, &err) == 0, "a pool");
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        groups[i] = mongo_group_new(&m, send_all);
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.groups = groups, .rounds = ROUNDS};
        must(pthread_create(&callers[i].thread, NULL, call, &callers[i]) == 0, "a thread");
    }
    for (size_t i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
    pool_free(m.helpers);
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        mongo_group_free(groups[i]);
    return 0;
}
