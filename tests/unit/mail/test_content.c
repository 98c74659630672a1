/* SPDX-License-Identifier: MPL-2.0 */
/* Messages in and out of a store, and the sweep of blobs; without committer and replicas, which are
 * stood in for here. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>

#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/content_impl.h"
#include "lib/store/faulty.h"
#include "lib/store/keys.h"

#define HOUR    ((int64_t)3600 * 1000)
#define ACCOUNT 7u

struct mail {
    struct content *content;
};

struct account {
    struct mail *mail;
};

struct content *mail_content(struct mail *mail)
{
    return mail->content;
}

uint64_t account_id(const struct account *account)
{
    return ACCOUNT;
}

struct mail *account_mail(const struct account *account)
{
    return account->mail;
}

struct rig {
    struct store *inner, *store;
    struct mail mail;
    struct account account;
    uint8_t tag[MESSAGE_TAG_SIZE];
};

static void rig_init(struct rig *r)
{
    struct fault_plan none = {0};
    struct mail_settings settings = {.guard_ms = 12 * HOUR,
                                     .horizon_ms = 24 * HOUR,
                                     .content_cache_bytes = 1 << 20,
                                     .message_max = 100 << 20};
    struct store_settings plain = {.timeout_ms = 1000, .pool_size = 4};

    cr_assert_eq(store_open("memory:", &plain, &r->inner, NULL), 0);
    r->store = store_faulty_new(r->inner, &none);
    r->mail.content = content_new(r->store, &settings);
    r->account.mail = &r->mail;
    memset(r->tag, 1, sizeof r->tag);
}

static void rig_done(struct rig *r)
{
    content_free(r->mail.content);
    store_close(r->store);
    store_close(r->inner);
}

static struct prepared *prepare(struct rig *r, struct slice bytes, size_t step)
{
    struct message_writer *w = message_writer_new(&r->mail);
    struct prepared *p = NULL;
    struct error err = {0};

    for (size_t at = 0; at < bytes.n; at += step)
        cr_assert_eq(message_writer_feed(w, slice_sub(bytes, at, at + step), &err), 0, "%s",
                     err.text);
    cr_assert_eq(message_writer_finish(w, &p, &err), 0, "%s", err.text);
    message_writer_free(w);
    cr_assert_eq(prepared_size(p), bytes.n);
    return p;
}

static void insert(struct rig *r, const struct prepared *p, uint64_t id)
{
    struct arena arena = {0};
    size_t n = content_item_count(p);
    struct store_item *items = arena_array(&arena, n, sizeof *items);
    int64_t t;

    content_items(p, ACCOUNT, id, r->tag, &arena, items);
    cr_assert_eq(store_insert(r->store, items, n, &t, NULL), 0);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(items[i].outcome, STORE_DONE);
    arena_done(&arena);
}

/* Whole, and in ranges that start and end anywhere. */
static void check_bytes(struct rig *r, uint64_t id, struct slice bytes)
{
    struct message_reader *m;
    struct error err = {0};

    cr_assert_eq(message_open(&r->account, id, &m, &err), 0, "%s", err.text);
    cr_assert_eq(message_size(m), bytes.n);
    for (size_t k = 0; k < 12; k++) {
        CLEANUP(buf_done) struct buf out = buf_make(bytes.n);
        uint64_t from = k ? random_u64() % (bytes.n + 1) : 0;
        size_t n = k ? random_u64() % (bytes.n + 2) : bytes.n;

        cr_assert_eq(message_read(m, from, n, &out, &err), 0, "%s", err.text);
        cr_assert(slice_eq(buf_slice(&out), slice_sub(bytes, from, from + n)));
    }
    message_close(m);
    cr_assert_eq(content_verify(r->mail.content, ACCOUNT, id, &err), 0, "%s", err.text);
}

/* A message with `n` octets of attachment, in base64 of 76 columns or raw. */
static struct buf make_message(size_t n, bool base64, uint64_t seed)
{
    struct buf m = buf_make(BUF_MAX_DEFAULT), data = buf_make(BUF_MAX_DEFAULT),
               text = buf_make(BUF_MAX_DEFAULT);

    buf_add_str(&m, "From: a@b\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: "
                    "multipart/mixed; boundary=q\r\n\r\n"
                    "--q\r\n\r\nhello\r\n--q\r\nContent-Type: application/pdf\r\n");
    for (size_t i = 0; i < n; i++)
        buf_add_byte(&data, (uint8_t)((i * 2654435761u + seed * 97 + i / 1000) >> 7));
    if (base64) {
        buf_add_str(&m, "Content-Transfer-Encoding: base64\r\n\r\n");
        base64_encode(&text, buf_slice(&data));
        for (size_t i = 0; i < text.n; i += 76) {
            buf_add_slice(&m, slice_sub(buf_slice(&text), i, i + 76));
            buf_add_str(&m, "\r\n");
        }
    } else {
        buf_add_str(&m, "\r\n");
        buf_add_slice(&m, buf_slice(&data));
    }
    buf_add_str(&m, "\r\n--q--\r\n");
    buf_done(&data);
    buf_done(&text);
    return m;
}

static size_t count(struct rig *r, enum store_table table)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct store_query q = {.table = table, .level = STORE_MAJORITY};

    cr_assert_eq(store_range(r->store, &q, &docs, NULL), 0);
    return docs.n;
}

static struct content_swept sweep(struct rig *r)
{
    struct content_swept swept = {0};
    uint8_t cursor[32] = {0};
    int res;

    do
        res = content_sweep(r->mail.content, cursor, 3, &swept, NULL);
    while (res > 0);
    cr_assert_eq(res, 0);
    return swept;
}

static void remove_message(struct rig *r, uint64_t id)
{
    struct key16 key = key_pair(ACCOUNT, id);
    struct slice k = KEY_SLICE(key);

    cr_assert_eq(store_delete(r->store, STORE_MESSAGES, &k, 1, NULL), 0);
    content_forget(r->mail.content, ACCOUNT, id);
}

Test(content, I33_what_comes_out_is_what_went_in_however_it_was_cut)
{
    static const size_t sizes[] = {0, 100, 16383, 16384, 300000, 1048575, 1048576, 3000000};
    struct rig r = {0};
    uint64_t id = 1;

    rig_init(&r);
    for (size_t i = 0; i < ARRAY_LEN(sizes) * 2; i++) {
        CLEANUP(buf_done) struct buf m = make_message(sizes[i / 2], i % 2, i);
        struct prepared *p = prepare(&r, buf_slice(&m), i % 3 ? 4096 : 65537);

        insert(&r, p, ++id);
        check_bytes(&r, id, buf_slice(&m));
        prepared_unref(p);
    }
    rig_done(&r);
}

Test(content, a_large_part_is_stored_decoded_and_once_for_all)
{
    struct rig r = {0};
    CLEANUP(buf_done) struct buf m = make_message(2500000, true, 1);
    struct prepared *p, *q;

    rig_init(&r);
    p = prepare(&r, buf_slice(&m), 10000);
    cr_assert_eq(p->n_blobs, 3);
    q = prepare(&r, buf_slice(&m), 10001);
    insert(&r, p, 1);
    insert(&r, q, 2);
    cr_assert_eq(count(&r, STORE_BLOBS), 3);
    cr_assert_eq(count(&r, STORE_BLOBLINKS), 6);
    prepared_unref(p);
    prepared_unref(q);
    rig_done(&r);
}

Test(content, head_lines_come_first_and_count)
{
    struct rig r = {0};
    CLEANUP(buf_done) struct buf m = make_message(20000, true, 1), all = buf_make(1 << 20);
    struct prepared *base, *p, *whole;
    struct error err = {0};

    rig_init(&r);
    buf_add_str(&all, "Return-Path: <x@y>\r\nDelivered-To: z\r\n");
    base = prepare(&r, buf_slice(&m), 999);
    cr_assert_eq(prepared_with_head(base, buf_slice(&all), &p, &err), 0, "%s", err.text);
    buf_add_slice(&all, buf_slice(&m));
    whole = prepare(&r, buf_slice(&all), 999);
    cr_assert(slice_eq(p->digest, whole->digest));
    insert(&r, p, 5);
    check_bytes(&r, 5, buf_slice(&all));
    prepared_unref(base);
    prepared_unref(p);
    prepared_unref(whole);
    rig_done(&r);
}

Test(content, digests_come_in_batches_and_gone_ones_are_empty)
{
    struct rig r = {0};
    uint64_t ids[1200];
    struct slice digests[1200];
    struct hold *hold;

    rig_init(&r);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        CLEANUP(buf_done) struct buf m = make_message(i % 50, false, i);
        struct prepared *p = prepare(&r, buf_slice(&m), 4096);

        ids[i] = i + 1;
        if (i % 7)
            insert(&r, p, ids[i]);
        prepared_unref(p);
    }
    for (int again = 0; again < 2; again++) {
        cr_assert_eq(message_digests(&r.account, ids, ARRAY_LEN(ids), digests, &hold, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
            struct mdigest d;

            cr_assert_eq(digests[i].n > 0, i % 7 > 0);
            cr_assert(i % 7 == 0 || mdigest_open(&d, digests[i]) == 0);
        }
        hold_release(hold);
    }
    rig_done(&r);
}

Test(content, I27_an_unused_blob_goes_after_two_horizons_and_a_used_one_stays)
{
    struct rig r = {0};
    CLEANUP(buf_done)
    struct buf m = make_message(3000000, true, 1), other = make_message(40000, true, 2);
    struct prepared *p, *q;

    rig_init(&r);
    p = prepare(&r, buf_slice(&m), 4096);
    q = prepare(&r, buf_slice(&other), 4096);
    insert(&r, p, 1);
    insert(&r, q, 2);
    remove_message(&r, 1); /* its links stay behind, as when a node dies between the two */
    cr_assert_eq(sweep(&r).links_removed, 0); /* young */
    store_faulty_advance(r.store, 25 * HOUR);
    cr_assert_eq(sweep(&r).marked, 3);
    cr_assert_eq(count(&r, STORE_BLOBLINKS), 1);
    cr_assert_eq(sweep(&r).deleted, 0); /* marked just now */
    store_faulty_advance(r.store, 23 * HOUR);
    cr_assert_eq(sweep(&r).deleted, 0);
    store_faulty_advance(r.store, 2 * HOUR);
    cr_assert_eq(sweep(&r).deleted, 3);
    check_bytes(&r, 2, buf_slice(&other));
    cr_assert_eq(count(&r, STORE_BLOBS), 1);
    prepared_unref(p);
    prepared_unref(q);
    rig_done(&r);
}

Test(content, I27_who_meets_a_dying_blob_revives_it)
{
    struct rig r = {0};
    CLEANUP(buf_done) struct buf m = make_message(50000, true, 1);
    struct prepared *p, *q;
    int64_t oldest, newest;

    rig_init(&r);
    p = prepare(&r, buf_slice(&m), 4096);
    cr_assert_eq(sweep(&r).marked, 1);
    store_faulty_advance(r.store, 13 * HOUR);
    content_heard(r.mail.content, content_clock(r.mail.content) + 13 * HOUR);
    q = prepare(&r, buf_slice(&m), 4096); /* its sight of the blob is too old: it looks again */
    cr_assert(content_sights(r.mail.content, q, &oldest, &newest));
    insert(&r, q, 1);
    store_faulty_advance(r.store, 30 * HOUR);
    cr_assert_eq(sweep(&r).deleted, 0);
    check_bytes(&r, 1, buf_slice(&m));
    prepared_unref(p);
    prepared_unref(q);
    rig_done(&r);
}

Test(content, I27_a_message_whose_blob_went_meanwhile_is_refused_not_stored)
{
    struct rig r = {0};
    CLEANUP(buf_done) struct buf m = make_message(50000, true, 1);
    struct prepared *p;

    rig_init(&r);
    p = prepare(&r, buf_slice(&m), 4096);
    sweep(&r);
    store_faulty_advance(r.store, 25 * HOUR);
    cr_assert_eq(sweep(&r).deleted, 1);
    content_heard(r.mail.content, content_clock(r.mail.content) + 25 * HOUR);
    cr_assert_eq(content_look(r.mail.content, p, NULL), -ERR_CANCELLED);
    prepared_unref(p);
    rig_done(&r);
}

Test(content, damage_is_told_and_not_given_out)
{
    struct rig r = {0};
    CLEANUP(buf_done) struct buf m = make_message(50000, true, 1);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct store_query q = {.table = STORE_BLOBS, .level = STORE_MAJORITY, .parts = STORE_BOTH};
    struct store_change change = {.table = STORE_BLOBS, .set_body = true, .body = S("\0broken")};
    struct prepared *p;
    struct error err = {0};

    rig_init(&r);
    p = prepare(&r, buf_slice(&m), 4096);
    insert(&r, p, 1);
    cr_assert_eq(content_verify(r.mail.content, ACCOUNT, 1, &err), 0);
    cr_assert_eq(store_range(r.store, &q, &docs, NULL), 0);
    change.key = docs.items[0].key;
    change.version = docs.items[0].version;
    cr_assert_eq(store_update(r.store, &change, NULL, NULL, NULL), 0);
    cr_assert_eq(content_verify(r.mail.content, ACCOUNT, 1, &err), -ERR_INTERNAL);
    cr_assert_eq(content_verify(r.mail.content, ACCOUNT, 2, &err), -ERR_NOTFOUND);
    prepared_unref(p);
    rig_done(&r);
}

Test(content, faults_at_every_call_lose_no_blob)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct fault_plan plan = {.seed = seed,
                                  .late_calls = 20,
                                  .per_mille = {[FAULT_REPLY_LOST] = 150,
                                                [FAULT_LOST] = 50,
                                                [FAULT_LATE] = 100,
                                                [FAULT_TAKEN_OWN] = 100,
                                                [FAULT_TWICE] = 50}};
        struct fault_plan none = {0};
        struct rig r = {0};
        CLEANUP(buf_done) struct buf m = make_message(2000000, seed % 2, seed);
        struct message_writer *w;
        struct prepared *p = NULL;
        int res = 0;

        rig_init(&r);
        store_faulty_set(r.store, &plan);
        w = message_writer_new(&r.mail);
        for (size_t at = 0; at < m.n && res == 0; at += 60000)
            res = message_writer_feed(w, slice_sub(buf_slice(&m), at, at + 60000), NULL);
        if (res == 0)
            res = message_writer_finish(w, &p, NULL);
        cr_assert(res == 0 || res == -ERR_UNAVAILABLE, "%d", res);
        message_writer_free(w);
        store_faulty_set(r.store, &none);
        store_faulty_flush(r.store);
        if (p) {
            insert(&r, p, 1);
            check_bytes(&r, 1, buf_slice(&m));
        }
        prepared_unref(p);
        rig_done(&r);
    }
}
