/* SPDX-License-Identifier: MPL-2.0 */
/* check_textindex [-s SEED] [-n STEPS] URI: does the text index ever hide a message that holds the
 * text? Random messages come and go, two nodes bring the index up to date under faults of the
 * store, documents of it are lost and damaged, time moves on; and all the while random texts are
 * looked for in every message, with the index and without. Also: what is thrown away is gone, and
 * an index that is whole narrows.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/fsck.h"
#include "lib/mail/message.h"
#include "lib/mail/sweep.h"
#include "lib/mail/textindex_impl.h"
#include "lib/store/faulty.h"

#define NODES 2
#define DAY   ((int64_t)24 * 3600 * 1000)

struct kept {
    uint32_t uid;
    uint64_t id;
    struct buf bytes;
};

struct world {
    uint64_t random, account;
    struct store *inner, *stores[NODES];
    struct mail *mails[NODES];
    struct account *accounts[NODES];
    struct kept *items;
    size_t n, cap;
    uint64_t asked, may, did; /* (message, key) pairs; with the index; in truth */
    uint64_t made, merged, dropped, parts;
    int64_t later;                          /* than the inner store's clock */
    unsigned fault_per_mille, inserts_left; /* of the index, until the node "crashes" */
};

static uint64_t draw(struct world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % below;
}

static void fail(const char *what)
{
    fprintf(stderr, "check_textindex: %s\n", what);
    exit(1);
}

static void must(int r, const struct error *err, const char *what)
{
    if (r < 0) {
        fprintf(stderr, "check_textindex: %s: %s: %s\n", what, err_name(r), err->text);
        exit(1);
    }
}

/* --- messages -------------------------------------------------------------------------------- */

static const char *const pieces[] = {
    "a", "be", "ka",   "lo", "mi",        "nu", "sch", "tz",   "x1",    "Q", "ER", "st", "ing",
    " ", " ",  "\r\n", ", ", "ä",         "ß",  "É",   "ñ",    "Ж",     "и", "中", "文", "ﬁ",
    "ǆ", "İ",  "한",   "Å",  "e\xCC\x81", "𝐀",  "<p>", "</b>", "&amp;", "-", "42", "=",  "\t"};

static void add_words(struct world *w, struct buf *out, size_t n, bool latin)
{
    for (size_t end = out->n + n; out->n < end;) {
        const char *piece = pieces[draw(w, ARRAY_LEN(pieces))];

        if (!latin || (uint8_t)piece[0] < 0x80 || (uint8_t)piece[0] == 0xC3)
            buf_add_str(out, piece);
    }
}

static void add_encoded(struct world *w, struct buf *out, size_t n)
{
    CLEANUP(buf_done) struct buf text = buf_make(BUF_MAX_DEFAULT), code = buf_make(BUF_MAX_DEFAULT);

    add_words(w, &text, n, false);
    base64_encode(&code, buf_slice(&text));
    for (size_t i = 0; i < code.n; i += 76) {
        buf_add_slice(out, slice_sub(buf_slice(&code), i, i + 76));
        buf_add_str(out, "\r\n");
    }
}

static void add_part(struct world *w, struct buf *out)
{
    size_t n = draw(w, 20) ? draw(w, 400) : draw(w, 20) ? 20000 : 140000;
    CLEANUP(buf_done) struct buf text = buf_make(BUF_MAX_DEFAULT);

    switch (draw(w, 6)) {
    case 0:
        buf_add_str(out, "Content-Type: text/plain; charset=utf-8\r\n"
                         "Content-Transfer-Encoding: base64\r\n\r\n");
        add_encoded(w, out, n);
        break;
    case 1: /* the bytes are UTF-8, whatever is said of them */
        buf_add_str(out, "Content-Type: text/html; charset=koi8-r\r\n\r\n");
        add_words(w, out, n, false);
        break;
    case 2:
        buf_add_str(out, "Content-Type: text/plain; charset=x-none\r\n"
                         "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
        add_words(w, &text, n, true);
        for (size_t i = 0; i < text.n; i++)
            buf_printf(out, text.p[i] >= 0x80 || text.p[i] == '=' ? "=%02X" : "%c", text.p[i]);
        break;
    case 3:
        buf_add_str(out, "Content-Type: application/pdf\r\n\r\n");
        add_words(w, out, n, false);
        break;
    case 4:
        buf_add_str(out, "Content-Type: message/rfc822\r\n\r\nSubject: inner ");
        add_words(w, &text, 20, true);
        for (size_t i = 0; i < text.n; i++)
            buf_add_byte(out, text.p[i] < ' ' ? ' ' : text.p[i]);
        buf_add_str(out, "\r\n\r\n");
        add_words(w, out, n, false);
        break;
    default:
        buf_add_str(out, "\r\n");
        add_words(w, out, n, false);
    }
    buf_add_str(out, "\r\n");
}

/* More different grams than are kept of one message. */
static void add_monster(struct world *w, struct buf *out)
{
    buf_add_str(out, "Content-Type: text/plain; charset=utf-8\r\n\r\n");
    for (int i = 0; i < 120000; i++)
        utf8_add(out, 0x4E00 + (uint32_t)draw(w, 20000));
}

static void make_message(struct world *w, struct buf *out)
{
    CLEANUP(buf_done) struct buf word = buf_make(1000), code = buf_make(2000);
    uint64_t parts = draw(w, 4);

    add_words(w, &word, 20, false);
    base64_encode(&code, buf_slice(&word));
    buf_printf(out,
               "Message-ID: <%016" PRIx64 "@x>\r\nSubject: =?utf-8?b?%s?= plain\r\n"
               "MIME-Version: 1.0\r\n",
               draw(w, UINT64_MAX), buf_cstr(&code));
    if (draw(w, 400) == 0) {
        add_monster(w, out);
    } else if (parts == 0) {
        add_part(w, out);
    } else {
        buf_add_str(out, "Content-Type: multipart/mixed; boundary=q\r\n\r\n");
        for (uint64_t i = 0; i < parts; i++) {
            buf_add_str(out, "--q\r\n");
            add_part(w, out);
        }
        buf_add_str(out, "--q--\r\n");
    }
}

/* --- the world ------------------------------------------------------------------------------- */

static enum fault hook(void *ctx, const char *verb, enum store_table table)
{
    struct world *w = ctx;
    static const enum fault faults[] = {FAULT_REFUSED, FAULT_LOST,   FAULT_REPLY_LOST, FAULT_LATE,
                                        FAULT_TWICE,   FAULT_PARTLY, FAULT_TAKEN_OWN};

    if (table != STORE_TEXTINDEX)
        return FAULT_NONE;
    if (strcmp(verb, "insert") == 0 && w->inserts_left && --w->inserts_left == 0)
        return FAULT_REFUSED;
    return draw(w, 1000) < w->fault_per_mille ? faults[draw(w, ARRAY_LEN(faults))] : FAULT_NONE;
}

static void start_node(struct world *w, size_t i)
{
    struct mail_settings settings;
    struct error err = {0};

    mail_settings_default(&settings);
    settings.index_after = 8;
    settings.index_bytes = draw(w, 2) ? 20000 : 1 << 20;
    w->stores[i] = store_faulty_new(w->inner, &(struct fault_plan){.hook = hook, .ctx = w});
    store_faulty_advance(w->stores[i], w->later);
    must(mail_new(w->stores[i], NULL, &settings, &w->mails[i], &err), &err, "mail");
}

static void advance(struct world *w, int64_t ms)
{
    struct error err = {0};

    w->later += ms;
    for (size_t i = 0; i < NODES; i++)
        store_faulty_advance(w->stores[i], ms);
    for (size_t i = 0; i < NODES && w->accounts[i]; i++) /* or a commit cannot know where it is */
        must(account_refresh(w->accounts[i], NULL, &err), &err, "refresh");
}

static void open_account(struct world *w, size_t i)
{
    struct error err = {0};

    must(account_open(w->mails[i], w->account, &w->accounts[i], &err), &err, "account");
}

static void world_init(struct world *w, const char *uri, uint64_t seed)
{
    struct error err = {0};

    *w = (struct world){.random = seed * 2 + 1, .account = random_u64() >> 1};
    must(store_open(uri, NULL, &w->inner, &err), &err, "store");
    for (size_t i = 0; i < NODES; i++)
        start_node(w, i);
    must(mail_account_create(w->mails[0], w->account, &(struct mail_account_options){0}, &err),
         &err, "create");
    for (size_t i = 0; i < NODES; i++)
        open_account(w, i);
}

static void world_done(struct world *w)
{
    for (size_t i = 0; i < NODES; i++) {
        account_unref(w->accounts[i]);
        mail_free(w->mails[i]);
        store_close(w->stores[i]);
    }
    store_close(w->inner);
    for (size_t i = 0; i < w->n; i++)
        buf_done(&w->items[i].bytes);
    free(w->items);
}

static void append_kept(struct world *w, struct kept *k)
{
    struct message_writer *writer = message_writer_new(w->mails[0]);
    struct intent intent = {.kind = INTENT_APPEND, .name = S("INBOX"), .account = w->accounts[0]};
    struct intent *list = &intent;
    struct error err = {0};

    must(message_writer_feed(writer, buf_slice(&k->bytes), &err), &err, "feed");
    must(message_writer_finish(writer, &intent.prepared, &err), &err, "finish");
    message_writer_free(writer);
    mail_commit(w->mails[0], &list, 1);
    must(intent.result, &intent.error, "append");
    k->uid = intent.uid;
    prepared_unref(intent.prepared);
    intent_done(&intent);
}

static void append(struct world *w)
{
    struct kept *k = VEC_PUSH(w);

    k->bytes = buf_make(BUF_MAX_DEFAULT);
    make_message(w, &k->bytes);
    append_kept(w, k);
}

static uint64_t inbox_of(const struct state *st)
{
    return state_mailbox_named(st, S("INBOX"))->id;
}

static void expunge(struct world *w)
{
    struct intent intent = {.kind = INTENT_EXPUNGE, .account = w->accounts[0]}, *list = &intent;
    size_t at = draw(w, w->n);
    struct state *st = account_state(w->accounts[0]);

    intent.mailbox = inbox_of(st);
    state_unref(st);
    uidset_add_range(&intent.uids, w->items[at].uid, w->items[at].uid);
    mail_commit(w->mails[0], &list, 1);
    must(intent.result, &intent.error, "expunge");
    uidset_done(&intent.uids);
    intent_done(&intent);
    buf_done(&w->items[at].bytes);
    w->items[at] = w->items[--w->n];
}

/* The ids that the messages got. */
static void find_ids(struct world *w)
{
    struct error err = {0};
    struct state *st;
    struct mailbox *box;
    struct message m;

    must(account_refresh(w->accounts[1], &st, &err), &err, "refresh");
    must(mailbox_load(w->accounts[1], st, inbox_of(st), 0, UINT32_MAX, &box, &err), &err, "load");
    for (struct mailbox_iter i = mailbox_iter(box, 0); mailbox_next(&i, &m);)
        for (size_t k = 0; k < w->n; k++)
            if (w->items[k].uid == m.uid)
                w->items[k].id = m.id;
    mailbox_unref(box);
    state_unref(st);
}

/* --- searching ------------------------------------------------------------------------------- */

#define KEYS      12
#define LOOKED_AT 40

/* Out of the mapped texts of some message: then it is there, in all its forms. */
struct taker {
    struct world *w;
    struct buf *out;
    uint64_t skip;
};

static size_t take_look(void *ctx, enum text_where where, struct slice text, bool last)
{
    struct taker *t = ctx;

    (void)where;
    (void)last;
    if (t->out->n || !text.n)
        return 0;
    if (t->skip) {
        t->skip--;
        return 0;
    }
    text = slice_skip(text, draw(t->w, text.n));
    buf_add_slice(t->out, slice_sub(text, 0, 1 + draw(t->w, draw(t->w, 4) ? 9 : 60)));
    return 0;
}

static void make_key(struct world *w, struct buf *out)
{
    struct taker t = {w, out, draw(w, 3)};
    struct text_walk *walk =
        text_walk_new(&(struct text_sink){&t, TEXT_HEADERS | TEXT_BODIES, take_look, NULL});

    if (w->n && draw(w, 5)) {
        text_walk_feed(walk, buf_slice(&w->items[draw(w, w->n)].bytes));
        text_walk_finish(walk);
    }
    text_walk_free(walk);
    if (!out->n)
        add_words(w, out, 1 + draw(w, 10), false);
    if (draw(w, 6) == 0)
        buf_add_str(out, "zq");
}

static uint64_t truth(struct world *w, const struct kept *m, const struct slice *keys,
                      const enum text_where *where)
{
    struct text_search *t = text_search_new(keys, where, KEYS);
    struct slice bytes = buf_slice(&m->bytes);
    uint64_t found;

    for (size_t n; bytes.n && !text_search_done(t); bytes = slice_skip(bytes, n)) {
        n = 1 + draw(w, 70000);
        text_search_feed(t, slice_sub(bytes, 0, n));
    }
    found = text_search_finish(t);
    text_search_free(t);
    return found;
}

static void search(struct world *w)
{
    struct buf bufs[KEYS];
    struct slice keys[KEYS];
    enum text_where where[KEYS];
    struct textindex_query *q;

    for (size_t i = 0; i < KEYS; i++) {
        bufs[i] = buf_make(1000);
        make_key(w, &bufs[i]);
        keys[i] = buf_slice(&bufs[i]);
        where[i] = draw(w, 2) ? TEXT_BODIES : TEXT_BODIES | TEXT_HEADERS;
    }
    find_ids(w);
    q = textindex_query_new(w->accounts[draw(w, NODES)], keys, where, KEYS);
    for (size_t k = 0; k < MIN(w->n, (size_t)LOOKED_AT); k++) {
        size_t i = draw(w, 2) ? k : draw(w, w->n);
        uint64_t may = textindex_may(q, w->items[i].id), is = truth(w, &w->items[i], keys, where);

        if (is & ~may)
            fail("the index hides a message that holds the text");
        w->asked += KEYS;
        w->may += (uint64_t)__builtin_popcountll(may & ((1 << KEYS) - 1));
        w->did += (uint64_t)__builtin_popcountll(is);
    }
    textindex_query_free(q);
    for (size_t i = 0; i < KEYS; i++)
        buf_done(&bufs[i]);
}

/* --- what happens to the index --------------------------------------------------------------- */

static void update(struct world *w, size_t node)
{
    struct textindex_done done = {0};
    struct error err = {0};

    (void)!textindex_update(w->accounts[node], &done, &err);
    w->made += done.made;
    w->merged += done.merged;
    w->dropped += done.dropped;
    w->parts += done.parts;
}

static void list_documents(struct world *w, struct store_docs *docs)
{
    struct key20 from = key_textindex(w->account, 0, 0);
    struct key20 to = key_textindex(w->account, UINT32_MAX, UINT64_MAX);
    struct error err = {0};

    must(store_range(w->inner,
                     &(struct store_query){.table = STORE_TEXTINDEX,
                                           .from = KEY_SLICE(from),
                                           .to = KEY_SLICE(to),
                                           .parts = STORE_BOTH,
                                           .level = STORE_LINEARIZABLE},
                     docs, &err),
         &err, "documents");
}

/* One octet is another, or all of it is gone. */
static void damage(struct world *w)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    CLEANUP(buf_done) struct buf bytes = buf_make(STORE_HEAD_MAX);
    const struct store_doc *d;
    struct error err = {0};
    int64_t t;

    list_documents(w, &docs);
    if (!docs.n)
        return;
    d = &docs.items[draw(w, docs.n)];
    if (draw(w, 2)) {
        must(store_delete(w->inner, STORE_TEXTINDEX, &d->key, 1, &err), &err, "delete");
        return;
    }
    buf_add_slice(&bytes, d->head);
    bytes.p[1 + draw(w, bytes.n - 1)] ^= (uint8_t)(1 << draw(w, 8));
    must(store_update(w->inner,
                      &(struct store_change){.table = STORE_TEXTINDEX,
                                             .key = d->key,
                                             .version = d->version,
                                             .set_head = true,
                                             .head = buf_slice(&bytes)},
                      NULL, &t, &err),
         &err, "update");
}

static void restart(struct world *w, size_t i)
{
    account_unref(TAKE(w->accounts[i]));
    mail_free(w->mails[i]);
    store_close(w->stores[i]);
    start_node(w, i);
    open_account(w, i);
}

static void note_found(void *ctx, uint64_t account, const char *what, struct slice text,
                       bool repaired)
{
    (void)account;
    (void)repaired;
    if (strcmp(what, "text index") != 0) {
        fprintf(stderr, "fsck: %s: %.*s\n", what, SLICE_FMT(text));
        *(bool *)ctx = true;
    }
}

static uint64_t fsck(struct world *w, bool repair)
{
    bool other = false;
    struct fsck_options options = {.repair = repair, .found = note_found, .ctx = &other};
    struct fsck_result result = {0};
    struct error err = {0};

    must(fsck_account(w->mails[0], w->account, &options, &result, &err), &err, "fsck");
    if (other)
        fail("fsck finds something else than the index");
    return result.problems;
}

static void step(struct world *w)
{
    w->fault_per_mille = draw(w, 3) ? 0 : (unsigned)draw(w, 300);
    switch (draw(w, 12)) {
    case 0:
    case 1:
    case 2:
        for (uint64_t n = draw(w, w->n < 200 ? 30 : 1); n; n--)
            append(w);
        break;
    case 3:
        for (uint64_t n = draw(w, w->n + 1) / (1 + draw(w, 3)); n; n--)
            expunge(w);
        break;
    case 4: /* it ends in the middle of a segment */
        w->inserts_left = 1 + (unsigned)draw(w, 12);
        update(w, draw(w, NODES));
        w->inserts_left = 0;
        restart(w, 1);
        break;
    case 5:
        damage(w);
        break;
    case 6:
        advance(w, DAY / 3);
        break;
    case 7:
        w->fault_per_mille = 0;
        fsck(w, true);
        break;
    default:
        update(w, draw(w, NODES));
    }
    w->fault_per_mille = draw(w, 4) ? 0 : 200;
    search(w);
}

/* Every piece of a text that goes over many windows and reads. */
static void check_every_place(struct world *w)
{
    struct kept *k = VEC_PUSH(w);
    struct slice text, keys[TEXTINDEX_KEYS_MAX];
    enum text_where where[TEXTINDEX_KEYS_MAX];

    k->bytes = buf_make(BUF_MAX_DEFAULT);
    buf_add_str(&k->bytes, "Subject: x\r\n\r\n");
    for (int i = 0; i < 36000; i++)
        buf_add_byte(&k->bytes, (uint8_t)('!' + draw(w, 64)));
    text = slice_skip(buf_slice(&k->bytes), 14);
    append_kept(w, k);
    while (w->n < 12)
        append(w);
    update(w, 0);
    find_ids(w);
    for (size_t i = 0; i < TEXTINDEX_KEYS_MAX; i++)
        where[i] = TEXT_BODIES;
    /* the window is of 16,384 octets: where it ends, and where it ends again */
    for (size_t at = 16384 - 128; at < 32768 + 128;
         at += at == 16384 + 128 ? 16384 - 256 : TEXTINDEX_KEYS_MAX) {
        struct textindex_query *q;

        for (size_t i = 0; i < TEXTINDEX_KEYS_MAX; i++)
            keys[i] = slice_sub(text, at + i, at + i + 3);
        q = textindex_query_new(w->accounts[0], keys, where, TEXTINDEX_KEYS_MAX);
        if (~textindex_may(q, w->items[0].id))
            fail("a piece of a text is not in the index");
        textindex_query_free(q);
    }
}

/* --- the end --------------------------------------------------------------------------------- */

/* Without faults: the index is made whole, says what fsck can prove, and is worth having. */
static void check_whole(struct world *w)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    uint64_t heads = 0, expected = 0;

    w->fault_per_mille = 0;
    for (size_t i = 0; i < NODES; i++) {
        store_faulty_flush(w->stores[i]);
        restart(w, i);
    }
    advance(w, 3 * DAY);
    while (w->n < 40)
        append(w);
    fsck(w, true);
    update(w, 0);
    if (fsck(w, false))
        fail("fsck finds a problem in an index that was just made");
    list_documents(w, &docs);
    for (size_t i = 0; i < docs.n; i++)
        if (get_be32(docs.items[i].key.p + 8) == TEXTINDEX_HEAD) {
            struct textindex_head h;

            if (textindex_head_decode(docs.items[i].head, get_be64(docs.items[i].key.p + 12), &h) <
                0)
                fail("a segment is damaged in the end");
            expected += (uint64_t)(1 << h.bits[0]) + (uint64_t)(1 << h.bits[1]);
            heads++;
            textindex_head_done(&h);
        }
    if (!heads || docs.n != heads + expected)
        fail("there are leftovers in the end");
    w->asked = w->may = w->did = 0;
    for (int i = 0; i < 20; i++)
        search(w);
    printf("%zu messages, %" PRIu64 " segments, %" PRIu64 " made, %" PRIu64 " merged, %" PRIu64
           " dropped, %" PRIu64 " leftovers; of %" PRIu64 " questions %" PRIu64
           " were true, the index let %" PRIu64 " through\n",
           w->n, heads, w->made, w->merged, w->dropped, w->parts, w->asked, w->did, w->may);
    if ((w->may - w->did) * 2 > w->asked - w->did)
        fail("the index narrows nothing");
}

/* I32: of a deleted account nothing is left. */
static void check_erased(struct world *w)
{
    struct intent intent = {.kind = INTENT_CLOSE, .account = w->accounts[0]}, *list = &intent;
    struct swept swept = {0};
    struct store_docs docs = {0};
    struct error err = {0};

    mail_commit(w->mails[0], &list, 1);
    must(intent.result, &intent.error, "close");
    intent_done(&intent);
    for (int i = 0; i < 3; i++) {
        store_faulty_advance(w->stores[0], 2 * DAY);
        (void)!sweep_account(w->mails[0], w->account, &swept, &err);
    }
    list_documents(w, &docs);
    if (docs.n)
        fail("the index of a deleted account is still there");
    store_docs_done(&docs);
}

int main(int argc, char **argv)
{
    uint64_t seed = random_u64() >> 32, steps = 150;
    struct world w;
    int c;

    while ((c = getopt(argc, argv, "s:n:")) != -1)
        *(c == 's' ? &seed : &steps) = strtoull(optarg, NULL, 10);
    if (optind + 1 != argc)
        fail("usage: check_textindex [-s SEED] [-n STEPS] URI");
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    world_init(&w, argv[optind], seed);
    check_every_place(&w);
    for (uint64_t i = 0; i < steps; i++)
        step(&w);
    check_whole(&w);
    check_erased(&w);
    world_done(&w);
    return 0;
}
