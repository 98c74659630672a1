/* SPDX-License-Identifier: MPL-2.0 */
/* Looking at the present while it moves: sessions refresh an account that others write to. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/mail/mail.h"
#include "lib/store/faulty.h"

#define COMMITS 300

struct rig {
    struct store *inner, *store;
    struct mail *mail;
    struct account *account;
    _Atomic bool stop;
    _Atomic unsigned refused, refreshed;
};

/* Every read takes a while, so that commits come in between. */
static enum fault slow_reads(void *ctx, const char *verb, enum store_table table)
{
    return strcmp(verb, "range") == 0 || strcmp(verb, "get") == 0 ? FAULT_DELAY : FAULT_NONE;
}

static void *refresh(void *arg)
{
    struct rig *r = arg;

    while (!r->stop) {
        struct error err = {0};
        struct state *before = account_state(r->account), *st = NULL;

        if (account_refresh(r->account, &st, &err) < 0)
            r->refused++;
        else
            cr_assert_geq(st->seq, before->seq, "I10: never back in time");
        r->refreshed++;
        state_unref(before);
        state_unref(st);
    }
    return NULL;
}

/* A session that shows its client whatever the node has. */
static void *show(void *arg)
{
    struct rig *r = arg;

    while (!r->stop) {
        state_unref(account_state(r->account));
        usleep(100);
    }
    return NULL;
}

static void write_much(struct rig *r)
{
    for (int i = 0; i < COMMITS; i++) {
        char value[24];
        struct intent it = {.kind = INTENT_ACCOUNT, .account = r->account, .key = S("test")};
        struct intent *list[] = {&it};

        snprintf(value, sizeof value, "%d", i);
        it.value = slice_str(value);
        mail_commit(r->mail, list, 1);
        cr_assert_eq(it.result, 0, "%s", it.error.text);
        intent_done(&it);
        usleep(500);
    }
}

Test(refresh, a_commit_of_our_own_during_the_read_is_no_failure)
{
    struct rig r = {0};
    struct fault_plan plan = {.hook = slow_reads};
    struct mail_settings settings;
    struct mail_account_options options = {0};
    pthread_t threads[3], shower;

    mail_settings_default(&settings);
    cr_assert_eq(store_open("memory:", NULL, &r.inner, NULL), 0);
    r.store = store_faulty_new(r.inner, &plan);
    cr_assert_eq(mail_new(r.store, NULL, &settings, &r.mail, NULL), 0);
    cr_assert_eq(mail_account_create(r.mail, 1, &options, NULL), 0);
    cr_assert_eq(account_open(r.mail, 1, &r.account, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, refresh, &r), 0);
    cr_assert_eq(pthread_create(&shower, NULL, show, &r), 0);
    write_much(&r);
    r.stop = true;
    pthread_join(shower, NULL);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    cr_assert_gt(r.refreshed, 0);
    cr_assert_eq(r.refused, 0, "%u of %u", r.refused, r.refreshed);
    account_unref(r.account);
    mail_free(r.mail);
    store_close(r.store);
    store_close(r.inner);
}
