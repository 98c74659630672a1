/* SPDX-License-Identifier: MPL-2.0 */
/* Accounts are made while the poller looks at everything that is held. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "lib/base/mem.h"
#include "lib/mail/account.h"

#define ACCOUNTS 300

struct rig {
    struct store *store;
    struct mail *mail;
    _Atomic uint64_t at;
    _Atomic bool stop;
};

/* What the poller does when another process has written, as fast as it goes. */
static void *look(void *arg)
{
    struct rig *r = arg;

    while (!r->stop) {
        struct account *a = account_get(r->mail, r->at);

        account_check(a);
        account_unref(a);
    }
    return NULL;
}

Test(create, an_account_can_be_made_while_somebody_looks_for_it)
{
    struct rig r = {.at = 1};
    struct mail_settings settings;
    struct mail_account_options options = {0};
    struct error err = {0};
    pthread_t thread;

    mail_settings_default(&settings);
    cr_assert_eq(store_open("memory:", NULL, &r.store, &err), 0);
    cr_assert_eq(mail_new(r.store, NULL, &settings, &r.mail, &err), 0, "%s", err.text);
    cr_assert_eq(pthread_create(&thread, NULL, look, &r), 0);
    for (; r.at <= ACCOUNTS; r.at++)
        cr_assert_eq(mail_account_create(r.mail, r.at, &options, &err), 0, "%llu: %s",
                     (unsigned long long)r.at, err.text);
    r.stop = true;
    pthread_join(thread, NULL);
    mail_free(r.mail);
    store_close(r.store);
}
