/* SPDX-License-Identifier: MPL-2.0 */
/* Who waits for an answer must not wait for work that nobody waits for. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/store/faulty.h"

#define ACCOUNTS 40

/* Ranges of the log are not answered as long as it is `stuck`. */
struct rig {
    struct store *inner, *store;
    struct mail *mail;
    struct account *accounts[ACCOUNTS];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stuck;
    _Atomic unsigned waiting;
    _Atomic enum fault of_inserts;
};

static enum fault on_call(void *ctx, const char *verb, enum store_table table)
{
    struct rig *r = ctx;

    if (strcmp(verb, "insert") == 0)
        return r->of_inserts;
    if (strcmp(verb, "range") != 0)
        return FAULT_NONE;
    pthread_mutex_lock(&r->lock);
    r->waiting++;
    while (r->stuck)
        pthread_cond_wait(&r->changed, &r->lock);
    r->waiting--;
    pthread_mutex_unlock(&r->lock);
    return FAULT_NONE;
}

static void set_stuck(struct rig *r, bool stuck)
{
    pthread_mutex_lock(&r->lock);
    r->stuck = stuck;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void rig_init(struct rig *r)
{
    struct fault_plan plan = {.hook = on_call, .ctx = r};
    struct mail_account_options options = {0};
    struct mail_settings settings;

    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    mail_settings_default(&settings);
    settings.poll_ms = 3600000;
    cr_assert_eq(store_open("memory:", NULL, &r->inner, NULL), 0);
    r->store = store_faulty_new(r->inner, &plan);
    cr_assert_eq(mail_new(r->store, NULL, &settings, &r->mail, NULL), 0);
    for (uint64_t i = 0; i < ACCOUNTS; i++) {
        cr_assert_eq(mail_account_create(r->mail, i + 1, &options, NULL), 0);
        cr_assert_eq(account_open(r->mail, i + 1, &r->accounts[i], NULL), 0);
    }
}

static void rig_done(struct rig *r)
{
    for (size_t i = 0; i < ACCOUNTS; i++)
        account_unref(r->accounts[i]);
    mail_free(r->mail);
    store_close(r->store);
    store_close(r->inner);
}

/* All accounts that are held are compared with a store that does not answer; meanwhile a reply is
 * lost, and what became of the record has to be found out. */
Test(jobs, I36_finding_out_does_not_wait_for_comparing, .timeout = 60)
{
    struct rig r = {0};
    struct intent it = {.kind = INTENT_ACCOUNT, .key = S("a"), .value = S("b")};
    struct intent *list[] = {&it};

    rig_init(&r);
    set_stuck(&r, true);
    for (size_t i = 1; i < ACCOUNTS; i++)
        account_check(r.accounts[i]);
    while (r.waiting == 0)
        sched_yield();
    r.of_inserts = FAULT_REPLY_LOST;
    it.account = r.accounts[0];
    mail_commit(r.mail, list, 1);
    cr_assert_eq(it.result, 0, "%s", it.error.text);
    intent_done(&it);
    r.of_inserts = FAULT_NONE;
    set_stuck(&r, false);
    rig_done(&r);
}
