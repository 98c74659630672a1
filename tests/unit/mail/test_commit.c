/* SPDX-License-Identifier: MPL-2.0 */
/* The committer before a store that refuses: what check_log's dice do not give it. */
#include <criterion/criterion.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/commit.h"
#include "lib/mail/message.h"
#include "lib/store/faulty.h"

#define ACCOUNT 77

struct rig {
    struct store *inner, *store;
    struct mail *mail;
    struct account *account;
    enum fault fault; /* of every insert */
    unsigned inserts;
};

static enum fault on_call(void *ctx, const char *verb, enum store_table table)
{
    struct rig *r = ctx;

    if (strcmp(verb, "insert") != 0)
        return FAULT_NONE;
    r->inserts++;
    return r->fault;
}

static void rig_init(struct rig *r, const char *uri, int wait_ms)
{
    struct fault_plan plan = {.hook = on_call, .ctx = r, .late_calls = 3};
    struct mail_account_options options = {0};
    struct mail_settings settings;

    mail_settings_default(&settings);
    settings.commit_wait_ms = wait_ms;
    cr_assert_eq(store_open(uri, NULL, &r->inner, NULL), 0);
    r->store = store_faulty_new(r->inner, &plan);
    cr_assert_eq(mail_new(r->store, NULL, &settings, &r->mail, NULL), 0);
    cr_assert_eq(mail_account_create(r->mail, ACCOUNT, &options, NULL), 0);
    cr_assert_eq(account_open(r->mail, ACCOUNT, &r->account, NULL), 0);
    r->inserts = 0;
}

static void rig_done(struct rig *r)
{
    account_unref(r->account);
    mail_free(r->mail);
    store_close(r->store);
    store_close(r->inner);
}

static int append(struct rig *r)
{
    struct message_writer *w = message_writer_new(r->mail);
    struct intent it = {.kind = INTENT_APPEND, .account = r->account, .name = S("INBOX")};
    struct intent *list[] = {&it};

    cr_assert_eq(message_writer_feed(w, S("Subject: x\r\n\r\ny\r\n"), NULL), 0);
    cr_assert_eq(message_writer_finish(w, &it.prepared, NULL), 0);
    message_writer_free(w);
    mail_commit(r->mail, list, 1);
    prepared_unref(it.prepared);
    intent_done(&it);
    return it.result;
}

/* Half a second, a try each 100 ms or more: a disk that is full must not be filled with tries. */
static void refused(const char *uri, enum fault fault)
{
    struct rig r = {0};
    int result;

    rig_init(&r, uri, 500);
    r.fault = fault;
    result = append(&r);
    cr_assert(result == -ERR_UNAVAILABLE || result == -ERR_UNKNOWN_OUTCOME, "%s", uri);
    cr_assert_lt(r.inserts, 40, "%s, fault %d: %u inserts", uri, fault, r.inserts);
    r.fault = FAULT_NONE;
    cr_assert_eq(append(&r), 0);
    rig_done(&r);
}

Test(commit, I36_what_the_store_refuses_is_not_tried_without_rest)
{
    refused("memory:", FAULT_REFUSED);
    refused("memory:?atomic=0", FAULT_REFUSED);
}

Test(commit, I36_what_is_lost_again_and_again_is_not_tried_without_rest)
{
    refused("memory:", FAULT_LOST);
    refused("memory:?atomic=0", FAULT_LOST);
}
