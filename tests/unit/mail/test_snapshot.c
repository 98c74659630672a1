/* SPDX-License-Identifier: MPL-2.0 */
/* Snapshots of several nodes: what one saves, another has to live with. */
#include <criterion/criterion.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/fsck.h"
#include "lib/mail/message.h"
#include "lib/mail/snapshot.h"
#include "lib/mail/sweep.h"
#include "lib/mail/textindex.h"
#include "lib/mail/view.h"
#include "lib/store/faulty.h"
#include "lib/store/keys.h"

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

/* --- making room ------------------------------------------------------------------------------ */

static void note_exists(void *ctx, uint32_t count)
{
    *(uint32_t *)ctx = count;
}

static struct mailbox *inbox(struct account *a)
{
    struct state *st = account_state(a);
    struct mailbox *box = mailbox_ref((struct mailbox *)state_mailbox_named(st, S("INBOX")));

    state_unref(st);
    return box;
}

static void take_in(struct rig *r, struct view *v)
{
    struct mailbox *newest = inbox(r->a.account);

    cr_assert_eq(view_load_update(v, r->a.account, newest, NULL), 0);
    view_update(v, newest);
    mailbox_unref(newest);
}

Test(snapshot, a_session_that_waits_lets_go_of_what_can_be_read_again)
{
    const struct view_events events = {.exists = note_exists};
    struct rig r = {0};
    struct mailbox *box;
    struct view *v;
    uint32_t exists = 0;

    rig_init(&r);
    append(&r.a);
    append(&r.a);
    cr_assert_eq(snapshot_save(r.a.account, 1, NULL), 0);
    box = inbox(r.a.account);
    v = view_open(box);
    cr_assert(mailbox_loaded(box, 1, 2));
    account_make_room(r.a.mail);
    take_in(&r, v);
    cr_expect(mailbox_loaded(view_mailbox(v), 1, 2), "there is room enough");

    r.a.mail->settings.replica_bytes = 1;
    r.a.account->used_ms = clock_mono_ms();
    account_make_room(r.a.mail);
    take_in(&r, v);
    cr_expect(mailbox_loaded(view_mailbox(v), 1, 2), "it has just been used");

    r.a.account->used_ms = -3600 * 1000;
    account_make_room(r.a.mail);
    take_in(&r, v);
    cr_expect(!mailbox_loaded(view_mailbox(v), 1, 2));
    cr_expect(mailbox_loaded(box, 1, 2), "an older version has what it had");
    cr_expect_eq(view_count(v), 2);
    cr_expect_eq(mail_read_counters(r.a.mail).unloaded, 1);

    append(&r.a);
    take_in(&r, v);
    cr_assert_eq(view_load(v, r.a.account, NULL, NULL), 0);
    cr_expect_eq(view_uid(v, 2), 2);
    view_emit(v, true, 0, &events, &exists);
    cr_expect_eq(exists, 3);
    view_free(v);
    mailbox_unref(box);
    rig_done(&r);
}

Test(snapshot, what_has_changed_since_it_was_saved_is_not_let_go)
{
    struct rig r = {0};
    struct mailbox *box;

    rig_init(&r);
    append(&r.a);
    r.a.mail->settings.replica_bytes = 1;
    r.a.account->used_ms = -3600 * 1000;
    account_make_room(r.a.mail);
    box = inbox(r.a.account);
    cr_expect(mailbox_loaded(box, 1, 1));
    mailbox_unref(box);
    rig_done(&r);
}

/* --- repair ---------------------------------------------------------------------------------- */

/* The version of the manifest in the store, 0: there is none. */
static uint64_t manifest_version(struct rig *r)
{
    struct key8 key = key_account(ACCOUNT);
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    cr_assert_eq(store_get(r->store, STORE_SNAPSHOTS, (struct slice[]){KEY_SLICE(key)}, 1,
                           STORE_HEAD, STORE_MAJORITY, &docs, NULL),
                 0);
    return docs.items[0].found ? docs.items[0].version : 0;
}

static void damage_manifest(struct rig *r)
{
    struct key8 key = key_account(ACCOUNT);
    struct store_change change = {.table = STORE_SNAPSHOTS,
                                  .key = KEY_SLICE(key),
                                  .version = manifest_version(r),
                                  .set_head = true,
                                  .head = S("\1nonsense")};
    int64_t time;

    cr_assert_eq(store_update(r->store, &change, NULL, &time, NULL), 0);
}

static struct fsck_result fsck(struct node *n, bool repair)
{
    struct fsck_options options = {.contents = true, .repair = repair};
    struct fsck_result result = {0};
    struct error err = {0};

    cr_assert_eq(fsck_account(n->mail, ACCOUNT, &options, &result, &err), 0, "%s", err.text);
    return result;
}

Test(fsck, a_damaged_manifest_is_saved_anew_and_never_missing)
{
    struct rig r = {0};
    struct fsck_result result;
    uint64_t damaged;

    rig_init(&r);
    append(&r.a);
    cr_assert_eq(snapshot_save(r.a.account, 1, NULL), 0);
    append(&r.a);
    damage_manifest(&r);
    damaged = manifest_version(&r);
    result = fsck(&r.b, false);
    cr_expect_eq(result.problems, 1);
    cr_expect_eq(result.repaired, 0);
    cr_expect_eq(manifest_version(&r), damaged);
    result = fsck(&r.b, true);
    cr_expect_eq(result.problems, 1);
    cr_expect_eq(result.repaired, 1);
    cr_expect_eq(result.messages, 2);
    cr_expect_gt(manifest_version(&r), damaged);
    result = fsck(&r.b, false);
    cr_expect_eq(result.problems, 0);
    cr_expect_eq(result.messages, 2);
    cr_assert_eq(account_open(r.b.mail, ACCOUNT, &r.b.account, NULL), 0);
    append(&r.b);
    rig_done(&r);
}

Test(fsck, what_another_node_saved_later_is_not_replaced)
{
    struct rig r = {0};
    struct state *before;
    uint64_t version;
    int64_t seen;

    rig_init(&r);
    append(&r.a);
    cr_assert(account_position(r.a.account, &before, &seen));
    append(&r.a);
    cr_assert_eq(snapshot_save(r.a.account, 1, NULL), 0);
    version = manifest_version(&r);
    cr_expect_eq(snapshot_replace(r.b.mail, before, NULL), -ERR_CONFLICT);
    cr_expect_eq(manifest_version(&r), version);
    state_unref(before);
    rig_done(&r);
}

static enum fault no_snapshots(void *ctx, const char *verb, enum store_table table)
{
    (void)ctx;
    (void)verb;
    return table == STORE_SNAPSHOTS ? FAULT_REFUSED : FAULT_NONE;
}

Test(fsck, a_store_that_is_away_is_no_damage)
{
    struct rig r = {0};
    struct fsck_options options = {.repair = true};
    struct fsck_result result = {0};
    struct fault_plan away = {.hook = no_snapshots}, none = {0};

    rig_init(&r);
    append(&r.a);
    cr_assert_eq(snapshot_save(r.a.account, 1, NULL), 0);
    store_faulty_set(r.store, &away);
    cr_expect_eq(fsck_account(r.b.mail, ACCOUNT, &options, &result, NULL), -ERR_UNAVAILABLE);
    cr_expect_eq(result.problems, 0);
    store_faulty_set(r.store, &none);
    rig_done(&r);
}
