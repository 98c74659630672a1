/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/mail/build.h"
#include "lib/mail/flagset.h"

static struct build_limits limits = {.mailboxes_max = 20, .keywords_max = 8};
static const uint8_t txid[TXID_SIZE] = "txid";

/* An account with INBOX, and `n` messages of 10 octets in it. */
static struct state *account_with(uint32_t n)
{
    struct state *st = state_new_empty(1);

    for (uint32_t i = 0; i <= n; i++) {
        struct intent it = {.kind = i ? INTENT_APPEND : INTENT_CREATE, .name = S("INBOX")};
        struct build_item item = {&it, i, 10};
        struct built built;

        cr_assert_eq(build_record(st, &item, 1, 1000, txid, &limits, &built, NULL), 0);
        cr_assert_eq(it.result, 0, "%s", it.error.text);
        state_unref(st);
        st = TAKE(built.st);
        built_done(&built);
    }
    return st;
}

static void done(struct intent *it)
{
    uidset_done(&it->uids);
    uidset_done(&it->done);
    uidset_done(&it->late);
}

/* Does one intent; its result. */
static int act(struct state **st, struct intent *it)
{
    struct build_item item = {it, 4711, 10};
    struct built built;

    cr_assert_eq(build_record(*st, &item, 1, 2000, txid, &limits, &built, NULL), 0);
    cr_assert_eq(built.taken, 1);
    if (built.st) {
        state_unref(*st);
        *st = TAKE(built.st);
    }
    built_done(&built);
    return it->result;
}

static int act_named(struct state **st, enum intent_kind kind, const char *from, const char *name)
{
    const struct mailbox *box = from ? state_mailbox_named(*st, slice_str(from)) : NULL;
    struct intent it = {.kind = kind, .mailbox = box ? box->id : 0, .name = slice_str(name)};
    int r = act(st, &it);

    done(&it);
    return r;
}

static bool has(const struct state *st, const char *name)
{
    return state_mailbox_named(st, slice_str(name)) != NULL;
}

Test(build, names)
{
    static const struct {
        const char *name;
        int result;
        const char *proper;
    } cases[] = {
        {"a", 0, "a"},
        {"cafe\xcc\x81", 0, "caf\xc3\xa9"}, /* RFC 5198: NFC */
        {"INBOX/e\xcc\x81", 0, "INBOX/\xc3\xa9"},
        {"inbox", 0, "INBOX"},
        {"iNbOx/x", 0, "INBOX/x"},
        {"inboxes", 0, "inboxes"},
        {"x/inbox", 0, "x/inbox"},
        {"Entw\xc3\xbcrfe", 0, "Entw\xc3\xbcrfe"},
        {"a b & * %", 0, "a b & * %"},
        {"", -ERR_INVALID, NULL},
        {"/a", -ERR_INVALID, NULL},
        {"a/", -ERR_INVALID, NULL},
        {"a//b", -ERR_INVALID, NULL},
        {"a\nb", -ERR_INVALID, NULL},
        {"a\x7f", -ERR_INVALID, NULL},
        {"\xc2\x80", -ERR_INVALID, NULL},
        {"\xe2\x80\xa8", -ERR_INVALID, NULL},
        {"\xff", -ERR_INVALID, NULL},
        {"1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3", -ERR_LIMIT, NULL},
    };
    CLEANUP(buf_done) struct buf level = buf_make(2000);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_done) struct buf out = buf_make(2000);

        cr_expect_eq(name_normalise(slice_str(cases[i].name), &out, NULL), cases[i].result, "%s",
                     cases[i].name);
        cr_expect(!cases[i].proper || slice_eq(buf_slice(&out), slice_str(cases[i].proper)), "%s",
                  cases[i].name);
    }
    for (int i = 0; i < 256; i++)
        buf_add_byte(&level, 'x');
    cr_expect_eq(name_normalise(buf_slice(&level), &level, NULL), -ERR_LIMIT);
}

Test(build, create_makes_superiors_and_refuses_doubles)
{
    struct state *st = account_with(0);

    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b/c"), 0);
    cr_assert(has(st, "a") && has(st, "a/b") && has(st, "a/b/c"));
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b"), -ERR_EXISTS);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "inbox"), -ERR_EXISTS);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "x//y"), -ERR_INVALID);
    for (int i = 0; st->n_mailboxes < limits.mailboxes_max; i++) {
        CLEANUP_FREE char *name = mem_printf("n%d", i);

        cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, name), 0);
    }
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "more"), -ERR_LIMIT);
    state_unref(st);
}

Test(build, I3_a_name_that_comes_back_has_another_uidvalidity)
{
    struct state *st = account_with(0);
    uint32_t before;
    uint64_t id;

    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b/c"), 0);
    before = state_mailbox_named(st, S("a/b/c"))->uidvalidity;
    id = state_mailbox_named(st, S("a/b/c"))->id;
    cr_assert_lt(state_mailbox_named(st, S("a"))->uidvalidity, before);
    cr_assert_eq(act_named(&st, INTENT_DELETE, "a/b/c", ""), 0);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b/c"), 0);
    cr_assert_gt(state_mailbox_named(st, S("a/b/c"))->uidvalidity, before);
    cr_assert_neq(state_mailbox_named(st, S("a/b/c"))->id, id); /* I19 */
    state_unref(st);
}

Test(build, I17_rename_takes_inferiors_along)
{
    struct state *st = account_with(0);
    uint64_t id, modseq;

    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b/b"), 0);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/bc"), 0);
    id = state_mailbox_named(st, S("a/b/b"))->id;
    modseq = state_mailbox_named(st, S("a/b/b"))->sum.modseq;
    cr_assert_eq(act_named(&st, INTENT_RENAME, "a/b", "a/b/x"), -ERR_NOPERM);
    cr_assert_eq(act_named(&st, INTENT_RENAME, "a/b", "a/bc"), -ERR_EXISTS);
    cr_assert_eq(act_named(&st, INTENT_RENAME, "a/b", "x/y"), 0);
    cr_assert(has(st, "x") && has(st, "x/y/b") && has(st, "a/bc") && !has(st, "a/b/b"));
    cr_assert_eq(state_mailbox_named(st, S("x/y/b"))->id, id);
    cr_assert_eq(state_mailbox_named(st, S("x/y/b"))->sum.modseq, modseq);
    /* into the place of its own superior, while "x/y/b" takes the old name of "x/y" */
    cr_assert_eq(act_named(&st, INTENT_DELETE, "x", ""), 0);
    cr_assert_eq(act_named(&st, INTENT_RENAME, "x/y", "x"), 0);
    cr_assert_eq(state_mailbox_named(st, S("x/b"))->id, id);
    state_unref(st);
}

Test(build, I17_rename_of_inbox_moves_its_messages)
{
    struct state *st = account_with(3);
    uint64_t inbox = state_mailbox_named(st, S("INBOX"))->id;

    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "INBOX/x"), 0);
    cr_assert_eq(act_named(&st, INTENT_RENAME, "INBOX", "old/mail"), 0);
    cr_assert_eq(state_mailbox_named(st, S("INBOX"))->id, inbox);
    cr_assert_eq(state_mailbox_named(st, S("INBOX"))->sum.exists, 0);
    cr_assert_eq(state_mailbox_named(st, S("INBOX"))->sum.uidnext, 4); /* I2 */
    cr_assert_eq(state_mailbox_named(st, S("old/mail"))->sum.exists, 3);
    cr_assert(has(st, "INBOX/x") && has(st, "old") && st->used_messages == 3);
    cr_assert_eq(act_named(&st, INTENT_DELETE, "INBOX", ""), -ERR_NOPERM);
    state_unref(st);
}

static struct intent flags_intent(const struct state *st, uint32_t first, uint32_t last,
                                  uint8_t system)
{
    struct intent it = {
        .kind = INTENT_FLAGS, .mailbox = st->mailboxes[0]->id, .flags.system = system};

    uidset_add_range(&it.uids, first, last);
    return it;
}

Test(build, I5_I12_flags_name_only_what_changes_and_is_not_newer)
{
    struct state *st = account_with(5);
    struct intent a = flags_intent(st, 2, 3, FLAG_SEEN),
                  b = flags_intent(st, 1, UINT32_MAX, FLAG_SEEN);
    struct intent c = flags_intent(st, 1, 3, FLAG_SEEN);
    uint64_t since = st->seq;

    cr_assert_eq(act(&st, &a), 0);
    b.has_since = true;
    b.since = since;
    cr_assert_eq(act(&st, &b), 0);
    cr_assert(uidset_count(&b.done) == 3 && uidset_has(&b.done, 1) && uidset_count(&b.late) == 2);
    cr_assert(uidset_has(&b.late, 2) && uidset_has(&b.late, 3));
    since = st->seq;
    cr_assert_eq(act(&st, &c), 0);
    cr_assert(c.nothing && !c.done.n && st->seq == since && c.seq == since);
    done(&a);
    done(&b);
    done(&c);
    state_unref(st);
}

Test(build, I12_of_two_in_one_record_the_second_is_late)
{
    struct state *st = account_with(1);
    struct intent a = flags_intent(st, 1, 1, FLAG_SEEN), b = flags_intent(st, 1, 1, FLAG_FLAGGED);
    struct build_item items[] = {{&a, 0, 0}, {&b, 0, 0}};
    struct built built;

    a.has_since = b.has_since = true;
    a.since = b.since = st->seq;
    cr_assert_eq(build_record(st, items, 2, 0, txid, &limits, &built, NULL), 0);
    cr_assert(built.rec.n_ops == 1 && a.done.n == 1 && b.late.n == 1 && b.nothing);
    cr_assert(a.seq == st->seq + 1 && b.seq == a.seq);
    built_done(&built);
    done(&a);
    done(&b);
    state_unref(st);
}

Test(build, keywords_are_atoms_with_limits_and_one_spelling)
{
    struct state *st = account_with(1);
    struct slice words[9], bad = S("a b"), again = S("K3");
    struct intent it = flags_intent(st, 1, 1, 0);
    char text[9][4];
    struct message m;

    it.flags.keywords = words;
    for (int i = 0; i < 9; i++) {
        snprintf(text[i], sizeof text[i], "k%d", i);
        words[i] = slice_str(text[i]);
    }
    it.flags.n_keywords = 9;
    cr_assert_eq(act(&st, &it), -ERR_LIMIT);
    it.flags.n_keywords = 8;
    cr_assert_eq(act(&st, &it), 0);
    it.flags.keywords = &words[8];
    it.flags.n_keywords = 1;
    cr_assert_eq(act(&st, &it), -ERR_LIMIT);
    it.flags.keywords = &bad;
    cr_assert_eq(act(&st, &it), -ERR_INVALID);
    it.flags.keywords = &again;
    it.how = FLAGS_REPLACE;
    cr_assert_eq(act(&st, &it), 0);
    cr_assert(mailbox_at(st->mailboxes[0], 0, &m) && slice_eq(m.flags->text, S("k3")));
    it.flags.n_keywords = 0;
    it.flags.system = 64;
    cr_assert_eq(act(&st, &it), -ERR_INVALID);
    done(&it);
    state_unref(st);
}

Test(build, subscriptions_are_as_many_as_mailboxes_may_be)
{
    struct state *st = account_with(1);
    struct intent it = {.kind = INTENT_SUBSCRIBE, .on = true};
    char name[24];

    for (uint32_t i = 0; i < limits.mailboxes_max; i++) {
        snprintf(name, sizeof name, "of old/%u", i);
        it.name = slice_str(name);
        cr_assert_eq(act(&st, &it), 0, "%s", it.error.text);
    }
    it.name = S("one more");
    cr_assert_eq(act(&st, &it), -ERR_LIMIT);
    it.on = false;
    it.name = slice_str(name);
    cr_assert_eq(act(&st, &it), 0, "%s", it.error.text);
    it.on = true;
    cr_assert_eq(act(&st, &it), 0, "%s", it.error.text);
    state_unref(st);
}

Test(build, I35_sets_of_keywords_take_a_bounded_piece_of_memory)
{
    struct state *st = account_with(1);
    static char texts[100][KEYWORD_MAX + 1];
    struct slice words[KEYWORDS_PER_MESSAGE];
    struct intent it = flags_intent(st, 1, 1, 0);
    uint64_t bits = (uint64_t)1 << 33;

    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        snprintf(texts[k], sizeof texts[k], "%0100zu", k);
    /* as messages might have them: each another half of the long keywords */
    while (flagsets_bytes(st->flagsets) < FLAGSETS_BYTES_MAX) {
        size_t n = 0;

        for (size_t k = 0; k < KEYWORDS_PER_MESSAGE; k++)
            if (bits >> k & 1)
                words[n++] = slice_str(texts[k]);
        flagsets_intern(st->flagsets, 0, words, n);
        bits = bits * 6364136223846793005u + 1442695040888963407u;
    }
    cr_assert_lt(flagsets_count(st->flagsets), FLAGSETS_MAX);
    it.how = FLAGS_REPLACE;
    it.flags.keywords = words;
    it.flags.n_keywords = 1;
    cr_assert_eq(act(&st, &it), -ERR_LIMIT);
    it.flags.n_keywords = 0;
    it.flags.system = FLAG_SEEN;
    cr_assert_eq(act(&st, &it), 0, "what makes no new keywords goes on: %s", it.error.text);
    done(&it);
    state_unref(st);
}

static void set_value(struct state **st, const char *key, const char *value, int result)
{
    struct intent it = {.kind = INTENT_ACCOUNT, .key = slice_str(key), .value = slice_str(value)};

    cr_assert_eq(act(st, &it), result, "%s", it.error.text);
}

Test(build, a_value_that_must_be_the_first_is_set_once)
{
    struct state *st = account_with(1);
    struct intent first = {
        .kind = INTENT_ACCOUNT, .key = S(VALUE_URLAUTH), .value = S("one"), .if_absent = true};
    struct intent second = first;

    second.value = S("two");
    cr_assert(act(&st, &first) == 0 && !first.nothing);
    cr_assert(act(&st, &second) == 0 && second.nothing);
    cr_assert(slice_eq(state_value(st, S(VALUE_URLAUTH)), S("one")));
    second.if_absent = false;
    cr_assert(act(&st, &second) == 0 && !second.nothing);
    cr_assert(slice_eq(state_value(st, S(VALUE_URLAUTH)), S("two")));
    done(&first);
    done(&second);
    state_unref(st);
}

Test(build, I26_quota_of_bytes_and_of_messages)
{
    struct state *st = account_with(3);
    struct intent copy = {.kind = INTENT_COPY, .mailbox = st->mailboxes[0]->id, .name = S("INBOX")};

    set_value(&st, VALUE_QUOTA_BYTES, "x", -ERR_INVALID);
    set_value(&st, VALUE_QUOTA_BYTES, "45", 0);
    uidset_add_range(&copy.uids, 1, 2);
    cr_assert_eq(act(&st, &copy), -ERR_QUOTA);
    cr_assert_eq(act_named(&st, INTENT_APPEND, NULL, "INBOX"), 0);
    cr_assert_eq(act_named(&st, INTENT_APPEND, NULL, "INBOX"), -ERR_QUOTA);
    set_value(&st, VALUE_QUOTA_BYTES, "", 0);
    set_value(&st, VALUE_QUOTA_MESSAGES, "5", 0);
    cr_assert_eq(act(&st, &copy), -ERR_QUOTA);
    copy.kind = INTENT_MOVE; /* needs no room */
    cr_assert_eq(act(&st, &copy), 0);
    cr_assert(copy.uid == 5 && st->used_messages == 4);
    cr_assert_eq(act_named(&st, INTENT_APPEND, NULL, "INBOX"), 0);
    cr_assert_eq(act_named(&st, INTENT_APPEND, NULL, "INBOX"), -ERR_QUOTA);
    done(&copy);
    state_unref(st);
}

Test(build, I24_the_same_delivery_is_one_message_also_within_a_record)
{
    struct state *st = account_with(0);
    struct intent a = {.kind = INTENT_DELIVER,
                       .name = S("gone"),
                       .else_inbox = true,
                       .delivery = {1}},
                  b = a, c = a;
    struct build_item items[] = {{&a, 1, 10}, {&b, 2, 10}};
    struct built built;

    cr_assert_eq(build_record(st, items, 2, 1000, txid, &limits, &built, NULL), 0);
    cr_assert(!a.result && !a.duplicate && !b.result && b.duplicate && built.rec.n_ops == 1);
    state_unref(st);
    st = TAKE(built.st);
    built_done(&built);
    cr_assert(!act(&st, &c) && c.duplicate && c.nothing);
    c.else_inbox = false;
    cr_assert_eq(act(&st, &c), -ERR_NOTFOUND);
    state_unref(st);
}

Test(build, an_expunge_of_what_must_be_there_takes_all_or_nothing)
{
    struct state *st = account_with(2);
    uint64_t inbox = state_mailbox_named(st, S("INBOX"))->id;
    struct uid_range r = {2, 3};
    struct intent gone = {.kind = INTENT_EXPUNGE, .mailbox = inbox, .all_there = true};
    struct intent next = {.kind = INTENT_APPEND, .name = S("INBOX")};
    struct build_item items[] = {{&gone, 0, 0}, {&next, 3, 10}};
    struct built built;

    gone.uids = (struct uidset){&r, 1, 1};
    gone.in_one_record_with_next = true;
    cr_assert_eq(build_record(st, items, 2, 1000, txid, &limits, &built, NULL), 0);
    cr_assert(gone.result == -ERR_CONFLICT && next.result == -ERR_CONFLICT && !built.bytes.n);
    built_done(&built);
    r = (struct uid_range){2, 2};
    cr_assert_eq(build_record(st, items, 2, 1000, txid, &limits, &built, NULL), 0);
    cr_assert(!gone.result && !next.result && next.uid == 3 && built.rec.n_ops == 2);
    cr_assert_eq(state_mailbox_named(built.st, S("INBOX"))->sum.exists, 2);
    built_done(&built);
    uidset_done(&gone.done);
    state_unref(st);
}

Test(build, I15_a_group_is_whole_or_not_at_all)
{
    struct state *st = account_with(0);
    struct intent a = {.kind = INTENT_APPEND, .name = S("INBOX"), .in_one_record_with_next = true};
    struct intent b = a, c = {.kind = INTENT_APPEND, .name = S("INBOX")};
    struct build_item items[] = {{&a, 1, 10}, {&b, 2, (uint64_t)1 << 32}, {&c, 3, 10}, {&c, 3, 10}};
    struct built built;

    b.in_one_record_with_next = false;
    cr_assert_eq(build_record(st, items, 3, 1000, txid, &limits, &built, NULL), 0);
    cr_assert(a.result == -ERR_TOOBIG && b.result == -ERR_TOOBIG && a.uid == 0 && a.error.text[0]);
    cr_assert(c.result == 0 && c.uid == 1 && built.rec.n_ops == 1 && built.taken == 3);
    built_done(&built);
    state_unref(st);
}

Test(build, a_full_record_leaves_the_rest_for_the_next)
{
    struct build_limits small = {.mailboxes_max = 10, .keywords_max = 10, .record_max = 600};
    struct state *st = account_with(0);
    struct intent its[40];
    struct build_item items[40];
    struct built built;
    size_t total = 0;

    for (size_t i = 0; i < 40; i++) {
        its[i] = (struct intent){.kind = INTENT_APPEND, .name = S("INBOX")};
        items[i] = (struct build_item){&its[i], i + 1, 10};
    }
    its[20].in_one_record_with_next = true; /* 20 and 21 stay together */
    for (; total < 40; total += built.taken) {
        cr_assert_eq(build_record(st, items + total, 40 - total, 1000, txid, &small, &built, NULL),
                     0);
        cr_assert(built.taken > 0 && built.bytes.n <= 600 && total + built.taken != 21);
        state_unref(st);
        st = TAKE(built.st);
        built_done(&built);
    }
    cr_assert(total == 40 && its[39].uid == 40);
    small.record_max = 60;
    cr_assert_eq(build_record(st, items, 1, 1000, txid, &small, &built, NULL), 0);
    cr_assert(its[0].result == -ERR_LIMIT && built.taken == 1 && !built.bytes.n);
    built_done(&built);
    state_unref(st);
}

Test(build, I2_uids_end_before_they_overflow)
{
    struct state *st = account_with(0);
    struct op op = {
        .kind = OP_APPEND, .mailbox = st->mailboxes[0]->id, .uid = UINT32_MAX - 1, .message = 1};
    struct record rec = {.seq = st->seq + 1, .ops = &op, .n_ops = 1};

    cr_assert_eq(state_fold(st, &rec, &st, NULL), 0);
    cr_assert_eq(st->mailboxes[0]->sum.uidnext, UINT32_MAX);
    cr_assert_eq(act_named(&st, INTENT_APPEND, NULL, "INBOX"), -ERR_LIMIT);
    state_unref(st);
}

Test(build, I32_a_closed_account_takes_nothing)
{
    struct state *st = account_with(2);

    cr_assert_eq(act_named(&st, INTENT_CLOSE, NULL, ""), 0);
    cr_assert(st->closed && !st->n_mailboxes && !st->used_bytes);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "x"), -ERR_NOPERM);
    cr_assert_eq(act_named(&st, INTENT_APPEND, NULL, "INBOX"), -ERR_NOPERM);
    state_unref(st);
}

Test(build, undelete_brings_back_what_was_expunged_of_late)
{
    struct state *st = account_with(2);
    struct intent expunge = {.kind = INTENT_EXPUNGE, .mailbox = st->mailboxes[0]->id};
    struct intent back = {.kind = INTENT_UNDELETE, .name = S("INBOX"), .message = 1};
    struct message m;

    cr_assert_eq(act(&st, &back), -ERR_NOTFOUND);
    uidset_add(&expunge.uids, 1);
    cr_assert_eq(act(&st, &expunge), 0);
    cr_assert_eq(st->used_messages, 1);
    cr_assert(act(&st, &back) == 0 && back.uid == 3);
    cr_assert(mailbox_find(st->mailboxes[0], 3, &m) && m.id == 1 && m.size == 10 && m.date == 1);
    set_value(&st, VALUE_UNDELETE_MS, "0", 0);
    cr_assert_eq(act(&st, &back), -ERR_NOTFOUND);
    done(&expunge);
    state_unref(st);
}

/* RFC 3501 section 6.3.5 */
Test(build, I17_rename_of_a_level_renames_what_is_below)
{
    struct state *st = account_with(0);
    struct intent it = {.kind = INTENT_RENAME, .from = S("a"), .name = S("z/y")};
    uint64_t id, seq;

    cr_assert_eq(act(&st, &it), -ERR_NOTFOUND);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b/c"), 0);
    id = state_mailbox_named(st, S("a/b/c"))->id;
    cr_assert_eq(act_named(&st, INTENT_DELETE, "a", ""), 0);
    seq = st->seq;
    cr_assert_eq(act(&st, &it), 0);
    cr_assert(st->seq == seq + 1 && it.mailbox_id == 0);
    cr_assert(has(st, "z") && !has(st, "z/y") && has(st, "z/y/b") && !has(st, "a/b"));
    cr_assert_eq(state_mailbox_named(st, S("z/y/b/c"))->id, id);
    /* by name, and to below itself */
    it.from = S("z/y/b");
    it.name = S("z/y/b/x");
    cr_assert_eq(act(&st, &it), -ERR_NOPERM);
    it.name = S("z/y/b/c");
    cr_assert_eq(act(&st, &it), -ERR_EXISTS);
    it.name = S("e");
    cr_assert(act(&st, &it) == 0 && it.mailbox_id && has(st, "e/c"));
    it.from = S("inbox");
    it.name = S("old");
    cr_assert(act(&st, &it) == 0 && has(st, "INBOX") && has(st, "old"));
    state_unref(st);
}

static void set_on(struct state **st, const char *mailbox, const char *key, const char *value,
                   int result)
{
    struct intent it = {.kind = INTENT_SET,
                        .mailbox = state_mailbox_named(*st, slice_str(mailbox))->id,
                        .key = slice_str(key),
                        .value = slice_str(value)};

    cr_assert_eq(act(st, &it), result, "%s", it.error.text);
}

/* RFC 5464 sections 4.1 and 7 */
Test(build, annotations_are_counted_and_measured_at_commit)
{
    struct state *st = account_with(1);
    struct intent rename = {.kind = INTENT_RENAME, .from = S("INBOX"), .name = S("old")};

    limits.metadata_entries = 2;
    limits.metadata_max = 4;
    set_on(&st, "INBOX", "/private/a", "=1234", 0);
    set_on(&st, "INBOX", "/private/a", "=12345", -ERR_TOOBIG);
    set_on(&st, "INBOX", "/private/b", "=", 0);
    set_on(&st, "INBOX", "/private/c", "=", -ERR_LIMIT);
    set_on(&st, "INBOX", "/private/b", "=x", 0);
    set_on(&st, "INBOX", "other", "not an annotation", 0);
    set_value(&st, "/private/a", "=1", 0);
    set_value(&st, "/private/b", "=1", 0);
    set_value(&st, "/private/c", "=1", -ERR_LIMIT);
    set_value(&st, "/private/a", "", 0);
    set_value(&st, "/private/c", "=1", 0);
    /* INBOX keeps them, the new mailbox has them */
    cr_assert_eq(act(&st, &rename), 0);
    for (int i = 0; i < 2; i++) {
        const struct mailbox *box = state_mailbox_named(st, i ? S("old") : S("INBOX"));

        cr_assert(slice_eq(mailbox_value(box, S("/private/a")), S("=1234")));
        cr_assert(slice_eq(mailbox_value(box, S("/private/b")), S("=x")));
    }
    limits.metadata_entries = limits.metadata_max = 0;
    done(&rename);
    state_unref(st);
}

/* RFC 6154 section 3 */
Test(build, a_special_use_is_of_one_mailbox)
{
    struct state *st = account_with(0);
    struct intent a = {.kind = INTENT_CREATE, .name = S("a"), .uses = USE_SENT | USE_JUNK};
    struct intent b = {.kind = INTENT_CREATE, .name = S("b/c"), .uses = USE_SENT};
    uint64_t seq;

    cr_assert_eq(act(&st, &a), 0);
    seq = st->seq;
    cr_assert_eq(act(&st, &b), 0);
    cr_assert_eq(st->seq, seq + 1);
    cr_assert_eq(state_mailbox_named(st, S("a"))->uses, USE_JUNK);
    cr_assert_eq(state_mailbox_named(st, S("b"))->uses, 0);
    cr_assert_eq(state_mailbox_named(st, S("b/c"))->uses, USE_SENT);
    b = (struct intent){.kind = INTENT_SET, .mailbox = a.mailbox_id, .uses = USE_SENT};
    cr_assert_eq(act(&st, &b), 0);
    cr_assert_eq(state_mailbox_named(st, S("a"))->uses, USE_SENT);
    cr_assert_eq(state_mailbox_named(st, S("b/c"))->uses, 0);
    state_unref(st);
}

/* RFC 9208 section 3.1.2: "0 indicates that any usage is prohibited." */
Test(build, I26_quota_of_mailboxes_and_of_0)
{
    struct state *st = account_with(0);

    set_value(&st, VALUE_QUOTA_MAILBOXES, "3", 0);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b/c"), -ERR_QUOTA);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b"), 0);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "c"), -ERR_QUOTA);
    cr_assert_eq(act_named(&st, INTENT_RENAME, "a/b", "c"), 0);
    cr_assert_eq(act_named(&st, INTENT_RENAME, "c", "d/c"), -ERR_QUOTA);
    set_value(&st, VALUE_QUOTA_BYTES, "0", 0);
    cr_assert_eq(act_named(&st, INTENT_APPEND, NULL, "INBOX"), -ERR_QUOTA);
    set_value(&st, VALUE_QUOTA_BYTES, "", 0);
    cr_assert_eq(act_named(&st, INTENT_APPEND, NULL, "INBOX"), 0);
    state_unref(st);
}

Test(build, names_have_limits_of_the_settings)
{
    struct state *st = account_with(0);

    limits.name_max = 8;
    limits.name_depth = 2;
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "12345678"), 0);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "123456789"), -ERR_LIMIT);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b"), 0);
    cr_assert_eq(act_named(&st, INTENT_CREATE, NULL, "a/b/c"), -ERR_LIMIT);
    /* what is below gets longer, too */
    cr_assert_eq(act_named(&st, INTENT_RENAME, "a", "1234567"), -ERR_LIMIT);
    cr_assert(has(st, "a/b") && !has(st, "1234567"));
    limits.name_max = limits.name_depth = 0;
    state_unref(st);
}

Test(build, values_and_uses)
{
    struct state *st = account_with(0);
    struct intent uses = {.kind = INTENT_SET, .mailbox = st->mailboxes[0]->id, .uses = USE_SENT};
    struct intent value = {.kind = INTENT_SET,
                           .mailbox = st->mailboxes[0]->id,
                           .key = S("/private/comment"),
                           .value = S("x")};

    cr_assert(act(&st, &uses) == 0 && !uses.nothing && st->mailboxes[0]->uses == USE_SENT);
    cr_assert(act(&st, &uses) == 0 && uses.nothing);
    cr_assert_eq(act(&st, &value), 0);
    cr_assert(slice_eq(mailbox_value(st->mailboxes[0], value.key), S("x")) &&
              st->mailboxes[0]->uses == USE_SENT);
    set_value(&st, "", "x", -ERR_INVALID);
    state_unref(st);
}

Test(build, a_noop_is_a_record)
{
    struct state *st = account_with(0), *folded = state_ref(st);
    CLEANUP(arena_done) struct arena arena = {0};
    struct built built;
    struct record rec;

    build_noop(st, 9000, txid, &built);
    cr_assert_eq(record_decode(buf_slice(&built.bytes), st->seq + 1, &arena, &rec, NULL), 0);
    cr_assert_eq(state_fold(folded, &rec, &folded, NULL), 0);
    cr_assert(folded->seq == st->seq + 1 && built.st->seq == folded->seq && folded->t_ms == 9000);
    built_done(&built);
    state_unref(folded);
    state_unref(st);
}
