/* SPDX-License-Identifier: MPL-2.0 */
/* Reading ahead: what it brings, and that nothing depends on it. */
#include <criterion/criterion.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/message_ahead.h"

#define ACCOUNT  7u
#define MESSAGES 40u

struct rig {
    struct store *store;
    struct mail *mail;
    struct account *account;
    uint64_t ids[MESSAGES];
};

static void append(struct rig *r, unsigned number)
{
    struct message_writer *w = message_writer_new(r->mail);
    CLEANUP_FREE char *text = mem_printf("Subject: %u\r\n\r\nbody\r\n", number);
    CLEANUP(intent_done)
    struct intent it = {.kind = INTENT_APPEND, .account = r->account, .name = S("INBOX")};
    struct intent *one = &it;
    struct error err = {0};

    cr_assert_eq(message_writer_feed(w, slice_str(text), &err), 0, "%s", err.text);
    cr_assert_eq(message_writer_finish(w, &it.prepared, &err), 0, "%s", err.text);
    message_writer_free(w);
    mail_commit(r->mail, &one, 1);
    cr_assert_eq(it.result, 0, "%s", it.error.text);
    prepared_unref(it.prepared);
}

/* The ids, from the store's keys. */
static void find_ids(struct rig *r)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct store_query q = {.table = STORE_MESSAGES, .level = STORE_MAJORITY};

    cr_assert_eq(store_range(r->store, &q, &docs, NULL), 0);
    cr_assert_eq(docs.n, MESSAGES);
    for (size_t i = 0; i < MESSAGES; i++)
        r->ids[i] = get_be64(docs.items[i].key.p + 8);
}

static void rig_init(struct rig *r, const char *uri)
{
    struct mail_account_options options = {.only_inbox = true};
    struct mail_settings settings;
    struct error err = {0};

    mail_settings_default(&settings);
    cr_assert_eq(store_open(uri, NULL, &r->store, &err), 0, "%s", err.text);
    cr_assert_eq(mail_new(r->store, NULL, &settings, &r->mail, &err), 0, "%s", err.text);
    cr_assert_eq(mail_account_create(r->mail, ACCOUNT, &options, &err), 0, "%s", err.text);
    cr_assert_eq(account_open(r->mail, ACCOUNT, &r->account, &err), 0, "%s", err.text);
    for (unsigned i = 0; i < MESSAGES; i++)
        append(r, i);
    find_ids(r);
}

static void rig_done(struct rig *r)
{
    account_unref(r->account);
    mail_free(r->mail);
    store_close(r->store);
}

static void forget_all(struct rig *r)
{
    for (size_t i = 0; i < MESSAGES; i++)
        content_forget(mail_content(r->mail), ACCOUNT, r->ids[i]);
}

/* Digests of all and contents of the first half are asked for; trips to the store for it. */
static uint64_t ask(struct rig *r)
{
    struct slice digests[MESSAGES];
    struct hold *hold, *contents;
    uint64_t before = store_trips();

    cr_assert_eq(message_read_ahead(r->account, r->ids, MESSAGES / 2, &contents, NULL), 0);
    cr_assert_eq(message_digests(r->account, r->ids, MESSAGES, digests, &hold, NULL), 0);
    for (size_t i = 0; i < MESSAGES; i++)
        cr_assert_gt(digests[i].n, 0);
    hold_release(hold);
    hold_release(contents);
    return store_trips() - before;
}

static struct message_ahead *begin(struct rig *r)
{
    return message_ahead_begin(r->account, r->ids, MESSAGES, r->ids, MESSAGES / 2);
}

Test(ahead, what_was_read_ahead_is_in_memory, .timeout = 60)
{
    struct rig r = {0};
    bool found = false;

    rig_init(&r, "memory:?atomic=0");
    for (int64_t end = clock_mono_ms() + 30000; !found && clock_mono_ms() < end;) {
        struct message_ahead *ahead;

        forget_all(&r);
        ahead = begin(&r);
        cr_assert(ahead);
        usleep(1000); /* once a thread has begun, it is waited for */
        message_ahead_wait(ahead);
        found = ask(&r) == 0;
        cr_assert(message_ahead_end(ahead));
    }
    cr_assert(found);
    rig_done(&r);
}

Test(ahead, where_all_is_in_memory_it_is_not_worth_it, .timeout = 60)
{
    struct rig r = {0};
    bool worth = true;

    rig_init(&r, "memory:?atomic=0");
    (void)ask(&r);
    for (int64_t end = clock_mono_ms() + 30000; worth && clock_mono_ms() < end;) {
        struct message_ahead *ahead = begin(&r);

        usleep(1000);
        worth = message_ahead_end(ahead); /* true also if it was given up */
    }
    cr_assert(!worth);
    rig_done(&r);
}

Test(ahead, it_may_be_given_up_at_any_moment, .timeout = 60)
{
    struct rig r = {0};

    rig_init(&r, "memory:?atomic=0");
    for (int i = 0; i < 200; i++) {
        struct message_ahead *ahead;

        forget_all(&r);
        ahead = begin(&r);
        if (i % 3 == 0)
            usleep((unsigned)i);
        (void)message_ahead_end(ahead);
        if (i % 10 == 0)
            (void)ask(&r);
    }
    rig_done(&r);
}

Test(ahead, a_store_in_this_process_is_not_read_ahead_from, .timeout = 60)
{
    struct rig r = {0};

    rig_init(&r, "memory:");
    cr_assert_null(begin(&r));
    message_ahead_wait(NULL);
    cr_assert(!message_ahead_end(NULL));
    cr_assert_gt(ask(&r), 0);
    rig_done(&r);
}

Test(ahead, unless_it_is_asked_for, .timeout = 60)
{
    struct rig r = {0};
    bool found = false;

    rig_init(&r, "memory:");
    for (int64_t end = clock_mono_ms() + 30000; !found && clock_mono_ms() < end;) {
        struct message_ahead *ahead;

        forget_all(&r);
        ahead = message_ahead_begin_any(r.account, NULL, 0, r.ids, MESSAGES);
        usleep(1000);
        message_ahead_wait(ahead);
        found = ask(&r) == 0;
        cr_assert(message_ahead_end(ahead));
    }
    cr_assert(found);
    rig_done(&r);
}
