/* SPDX-License-Identifier: MPL-2.0 */
/* Snapshots of several nodes: what one saves, another has to live with. */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/message.h"
#include "lib/mail/snapshot.h"
#include "lib/mail/sweep.h"
#include "lib/mail/textindex.h"
#include "lib/store/faulty.h"

#define ACCOUNT 77
#define HOUR_MS ((int64_t)3600 * 1000)

struct node {
    struct mail *mail;
    struct account *account;
};

struct rig {
    struct store *inner, *store; /* the second with a clock that can be moved on */
    struct node a, b;
};

static void node_init(struct node *n, struct store *store)
{
    struct mail_settings settings;

    mail_settings_default(&settings);
    cr_assert_eq(mail_new_stepped(store, &settings, &n->mail, NULL), 0);
}

static void rig_init(struct rig *r)
{
    struct mail_account_options options = {0};
    struct fault_plan none = {0};

    cr_assert_eq(store_open("memory:", NULL, &r->inner, NULL), 0);
    r->store = store_faulty_new(r->inner, &none);
    node_init(&r->a, r->store);
    node_init(&r->b, r->store);
    cr_assert_eq(mail_account_create(r->a.mail, ACCOUNT, &options, NULL), 0);
    cr_assert_eq(account_open(r->a.mail, ACCOUNT, &r->a.account, NULL), 0);
}

static void rig_done(struct rig *r)
{
    account_unref(r->a.account);
    account_unref(r->b.account);
    mail_free(r->a.mail);
    mail_free(r->b.mail);
    store_close(r->store);
    store_close(r->inner);
}

static void append(struct node *n)
{
    struct message_writer *w = message_writer_new(n->mail);
    struct intent it = {.kind = INTENT_APPEND, .account = n->account, .name = S("INBOX")};
    struct intent *list[] = {&it};

    cr_assert_eq(message_writer_feed(w, S("Subject: x\r\n\r\ny\r\n"), NULL), 0);
    cr_assert_eq(message_writer_finish(w, &it.prepared, NULL), 0);
    message_writer_free(w);
    mail_commit(n->mail, list, 1);
    cr_assert_eq(it.result, 0, "%s", it.error.text);
    prepared_unref(it.prepared);
    intent_done(&it);
}

/* B has a segment of the first snapshot that it never looked at; A has replaced it since, and it is
 * stored no more. */
static void lose_a_segment(struct rig *r)
{
    struct error err = {0};

    rig_init(r);
    append(&r->a);
    cr_assert_eq(snapshot_save(r->a.account, 1, &err), 0, "%s", err.text);
    cr_assert_eq(account_open(r->b.mail, ACCOUNT, &r->b.account, NULL), 0);
    append(&r->a);
    cr_assert_eq(snapshot_save(r->a.account, 1, &err), 0, "%s", err.text);
    store_faulty_advance(r->store, 3 * HOUR_MS);
    append(&r->a);
    cr_assert_eq(snapshot_save(r->a.account, 1, &err), 0, "%s", err.text);
    append(&r->b);
}

Test(snapshot, a_node_whose_segments_are_gone_saves_the_account_after_all)
{
    struct rig r = {0};
    struct error err = {0};

    lose_a_segment(&r);
    cr_assert_eq(snapshot_save(r.b.account, 1, &err), -ERR_CONFLICT, "%s", err.text);
    append(&r.b);
    cr_assert_eq(snapshot_save(r.b.account, 1, &err), 0, "%s", err.text);
    rig_done(&r);
}

Test(snapshot, a_node_whose_segments_are_gone_sweeps_the_account_after_all)
{
    struct rig r = {0};
    struct error err = {0};
    struct swept swept = {0};

    lose_a_segment(&r);
    cr_assert_eq(sweep_account(r.b.mail, ACCOUNT, &swept, &err), -ERR_CONFLICT, "%s", err.text);
    cr_assert_eq(sweep_account(r.b.mail, ACCOUNT, &swept, &err), 0, "%s", err.text);
    rig_done(&r);
}

Test(snapshot, a_node_whose_segments_are_gone_indexes_the_account_after_all)
{
    struct rig r = {0};
    struct error err = {0};
    struct textindex_done done = {0};

    lose_a_segment(&r);
    cr_assert_eq(textindex_update(r.b.account, &done, &err), -ERR_CONFLICT, "%s", err.text);
    cr_assert_eq(textindex_update(r.b.account, &done, &err), 0, "%s", err.text);
    rig_done(&r);
}
