/* SPDX-License-Identifier: MPL-2.0 */
/* Logins, failures and changes of one account from many threads: for TSan, so no Criterion. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/auth/sasl.h"
#include "lib/base/mem.h"
#include "lib/store/store.h"

#define THREADS 6
#define ROUNDS  60

struct world {
    struct directory *d;
    struct auth *auth;
    atomic_int logins, refused, changed;
};

static void die(const char *what, const struct error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    exit(1);
}

static void change(struct world *w, int round)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_account account;
    struct error err;

    if (directory_account_find(w->d, S("joe@b.org"), &a, &account, &err) < 0)
        die("find", &err);
    account.connections = (unsigned)round;
    if (directory_account_update(w->d, &account, &err) == 0)
        w->changed++;
}

static void by_plain(struct world *w, const struct session_peer *peer, struct slice first)
{
    CLEANUP(buf_done) struct buf challenge = buf_make(4096);
    struct sasl_exchange *x = NULL;
    struct auth_user user;
    int64_t not_before;
    int r = sasl_start(w->auth, AUTH_IMAP, S("PLAIN"), peer, &first, &x, &challenge, &user,
                       &not_before, NULL);

    sasl_free(x);
    *(r == 0 ? &w->logins : &w->refused) += 1;
}

static void *run(void *context)
{
    struct world *w = context;
    struct session_peer peer = {.remote = "192.0.2.1", .tls = true};
    struct auth_user user;
    int64_t not_before;

    for (int i = 0; i < ROUNDS; i++) {
        CLEANUP(buf_done) struct buf challenge = buf_make(4096);
        struct slice first = S("n,,n=joe,r=abcdef");
        struct sasl_exchange *x = NULL;

        if (auth_login(w->auth, AUTH_IMAP, &peer, S("joe"), S("secret"), &user, &not_before,
                       NULL) == 0)
            w->logins++;
        by_plain(w, &peer, S("\0joe\0secret"));
        if (i % 10 == 0)
            by_plain(w, &peer, S("\0joe\0wrong"));
        if (sasl_start(w->auth, AUTH_IMAP, S("SCRAM-SHA-256"), &peer, &first, &x, &challenge, &user,
                       &not_before, NULL) == 1)
            sasl_free(x);
        if (i % 7 == 0)
            change(w, i);
    }
    return NULL;
}

int main(void)
{
    static const struct directory_options names = {.delimiter = '+', .default_domain = "b.org"};
    static const struct auth_options options = {
        .cost = {.argon2_memory = 8, .argon2_passes = 1, .scram_iterations = 4096},
        .hash_threads = 2,
        .cache_ttl_ms = 60000,
        .cache_entries = 100};
    CLEANUP(buf_done) struct buf hash = buf_make(1000);
    struct directory_account joe = {.login = "joe@b.org"};
    pthread_t threads[THREADS];
    struct world w = {0};
    struct store *store;
    struct error err;
    uint64_t id;

    if (store_open("memory:", NULL, &store, &err) < 0 ||
        password_hash(S("secret"), &options.cost, &hash, &err) < 0)
        die("open", &err);
    joe.hash = buf_cstr(&hash);
    w.d = directory_new(store, &names);
    if (directory_domain_add(w.d, S("b.org"), &err) < 0 ||
        directory_account_add(w.d, &joe, NULL, NULL, &id, &err) < 0 ||
        auth_new(w.d, &options, &w.auth, &err) < 0)
        die("make", &err);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, &w) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%d logins, %d refused, %d changes\n", w.logins, w.refused, w.changed);
    auth_free(w.auth);
    directory_free(w.d);
    store_close(store);
    return w.logins < THREADS * ROUNDS || w.refused == 0 || w.changed == 0;
}
