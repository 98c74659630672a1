/* SPDX-License-Identifier: MPL-2.0 */
/* Segments of new messages: the texts are walked as a search walks them, and the grams of all
 * messages sorted.
 */
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/commit.h"
#include "lib/mail/message.h"
#include "lib/mail/textindex_impl.h"

#define GRAMS_MAX    ((size_t)1 << 17) /* of one message; one that has more is open */
#define POSTINGS_MAX ((size_t)3 << 20) /* of one segment in memory, of each kind, about */
#define NEW_MAX      1024              /* messages of a new segment */
#define CHUNK        ((size_t)64 << 10)
#define DIGIT        12 /* bits of a pass of sorting */

/* --- the grams of a message ------------------------------------------------------------------ */

static size_t seen_size(enum textindex_kind kind)
{
    return ((size_t)1 << textindex_gram_bits[kind]) / 8;
}

void textindex_grams_init(struct textindex_grams *g)
{
    *g = (struct textindex_grams){.open = false};
    for (unsigned k = 0; k < TEXTINDEX_KINDS_; k++)
        g->seen[k] = mem_zalloc(seen_size((enum textindex_kind)k));
}

void textindex_grams_done(struct textindex_grams *g)
{
    for (size_t k = 0; k < TEXTINDEX_KINDS_; k++) {
        free(g->seen[k]);
        VEC_DONE(&g->of[k]);
    }
}

static void forget(struct textindex_grams *g)
{
    for (size_t k = 0; k < TEXTINDEX_KINDS_; k++) {
        for (size_t i = 0; i < g->of[k].n; i++)
            g->seen[k][g->of[k].items[i] / 64] = 0;
        g->of[k].n = 0;
    }
    g->open = false;
}

/* The last two octets come again: with them begin the grams that go over into what follows. */
static size_t grams_look(void *ctx, enum text_where where, struct slice text, bool last)
{
    struct textindex_grams *g = ctx;
    enum textindex_kind kind = where == TEXT_HEADERS ? TEXTINDEX_HEADERS : TEXTINDEX_BODIES;
    uint64_t *seen = g->seen[kind];

    (void)last;
    for (size_t i = 0; i + 3 <= text.n; i++) {
        uint32_t gram = textindex_gram(kind, text.p + i);

        if (seen[gram / 64] >> gram % 64 & 1)
            continue;
        seen[gram / 64] |= (uint64_t)1 << gram % 64;
        *VEC_PUSH(&g->of[kind]) = gram;
    }
    g->open = g->open || g->of[kind].n > GRAMS_MAX;
    return 2;
}

static bool grams_done(void *ctx)
{
    return ((struct textindex_grams *)ctx)->open;
}

static int walk(struct textindex_grams *g, struct message_reader *reader, struct error *err)
{
    CLEANUP(buf_done) struct buf chunk = buf_make(BUF_MAX_DEFAULT);
    struct text_sink sink = {g, TEXT_HEADERS | TEXT_BODIES, grams_look, grams_done};
    struct text_walk *w = text_walk_new(&sink);
    uint64_t size = message_size(reader);
    int r = 0;

    for (uint64_t at = 0; at < size && r == 0 && !g->open; at += CHUNK) {
        buf_reset(&chunk, CHUNK * 2);
        r = message_read(reader, at, CHUNK, &chunk, err);
        if (r == 0)
            text_walk_feed(w, buf_slice(&chunk));
    }
    text_walk_finish(w);
    text_walk_free(w);
    return r;
}

int textindex_grams_read(struct textindex_grams *g, struct account *account, uint64_t message,
                         struct error *err)
{
    struct message_reader *reader;
    int r;

    forget(g);
    r = message_open(account, message, &reader, err);
    if (r == 0) {
        r = walk(g, reader, err);
        message_close(reader);
        if (r == -ERR_NOTFOUND) /* a blob of it, not the message */
            r = -ERR_INTERNAL;
    }
    if (r == -ERR_UNAVAILABLE || r == -ERR_NOTFOUND)
        return r;
    g->open = g->open || r < 0;
    return 0;
}

/* --- a segment ------------------------------------------------------------------------------- */

/* gram << 16 | ordinal */
struct postings {
    uint64_t *items;
    size_t n, cap;
};

struct build {
    struct textindex_grams grams;
    struct postings of[TEXTINDEX_KINDS_];
    uint64_t ids[NEW_MAX];
    uint8_t open[NEW_MAX / 8];
    uint32_t n;
};

static struct build *build_new(void)
{
    struct build *b = NEW(struct build);

    textindex_grams_init(&b->grams);
    return b;
}

static void build_free(struct build *b)
{
    textindex_grams_done(&b->grams);
    for (size_t k = 0; k < TEXTINDEX_KINDS_; k++)
        VEC_DONE(&b->of[k]);
    free(b);
}

static void add_message(struct build *b, uint64_t id)
{
    uint32_t ordinal = b->n++;

    b->ids[ordinal] = id;
    if (b->grams.open) {
        b->open[ordinal / 8] |= (uint8_t)(1 << ordinal % 8);
        return;
    }
    for (size_t k = 0; k < TEXTINDEX_KINDS_; k++)
        for (size_t i = 0; i < b->grams.of[k].n; i++)
            *VEC_PUSH(&b->of[k]) = (uint64_t)b->grams.of[k].items[i] << 16 | ordinal;
}

/* Nobody waits for an index: as long as commits come, work on it is a quarter of the time. */
#define WORK_US  20000
#define REST_MAX 200 /* ms; for messages that took long */
struct pace {
    int64_t began_us;
    uint64_t intents; /* that the committer has had so far */
};

static struct pace pace_now(struct mail *mail)
{
    return (struct pace){clock_mono_us(), atomic_load(&commit_counters(mail)->intents)};
}

static int give_way(struct pace *p, struct mail *mail, struct error *err)
{
    int64_t worked_us = clock_mono_us() - p->began_us;
    uint64_t before = p->intents;

    if (worked_us < WORK_US)
        return 0;
    *p = pace_now(mail);
    if (p->intents == before)
        return 0;
    if (!mail_sleep(mail, (int)MIN(worked_us * 3 / 1000, REST_MAX)))
        return error_set(err, ERR_CANCELLED, "we are stopping");
    p->began_us = clock_mono_us();
    return 0;
}

static int collect(struct build *b, struct account *account, const uint64_t *ids, size_t n,
                   size_t *ret_taken, struct error *err)
{
    struct pace pace = pace_now(account->mail);
    size_t i = 0;
    int r = 0;

    for (; r == 0 && i < n && b->n < NEW_MAX && b->of[TEXTINDEX_BODIES].n < POSTINGS_MAX &&
           b->of[TEXTINDEX_HEADERS].n < POSTINGS_MAX;
         i++) {
        r = textindex_grams_read(&b->grams, account, ids[i], err);
        if (r == 0)
            add_message(b, ids[i]);
        r = r == -ERR_NOTFOUND ? 0 : r;
        if (r == 0)
            r = give_way(&pace, account->mail, err);
    }
    *ret_taken = i;
    return r;
}

static void sort_digit(const struct postings *from, struct postings *to, unsigned shift)
{
    size_t starts[(1 << DIGIT) + 1] = {0};

    for (size_t i = 0; i < from->n; i++)
        starts[(from->items[i] >> shift & ((1 << DIGIT) - 1)) + 1]++;
    for (size_t i = 0; i < 1 << DIGIT; i++)
        starts[i + 1] += starts[i];
    for (size_t i = 0; i < from->n; i++)
        to->items[starts[from->items[i] >> shift & ((1 << DIGIT) - 1)]++] = from->items[i];
}

/* By gram, digit by digit; what has the same gram stays in the order in which it came. */
static void sort(struct postings *p, unsigned bits)
{
    struct postings other = {NEW_ARRAY(uint64_t, p->n + 1), p->n, p->n + 1}, swap;

    for (unsigned shift = 16; shift < 16 + bits; shift += DIGIT) {
        sort_digit(p, &other, shift);
        swap = *p;
        *p = other;
        other = swap;
    }
    VEC_DONE(&other);
}

static int write_kind(struct textindex_writer *w, enum textindex_kind kind,
                      const struct postings *p, struct error *err)
{
    uint32_t ordinals[NEW_MAX];
    size_t count = 0;
    int r = 0;

    for (size_t i = 0; i < p->n && r == 0; i++) {
        ordinals[count++] = p->items[i] & 0xFFFF;
        if (i + 1 < p->n && p->items[i + 1] >> 16 == p->items[i] >> 16)
            continue;
        r = textindex_writer_add(w, kind, (uint32_t)(p->items[i] >> 16), ordinals, count, err);
        count = 0;
    }
    return r;
}

static int write_build(struct build *b, struct account *account, uint64_t *ret_segment,
                       struct error *err)
{
    /* an ordinal takes some 5 bits */
    uint64_t guess[TEXTINDEX_KINDS_] = {b->of[TEXTINDEX_BODIES].n / 3 * 2,
                                        b->of[TEXTINDEX_HEADERS].n / 2};
    struct textindex_writer *w =
        textindex_writer_new(account->mail, account->id, b->ids, b->open, b->n, guess);
    int r = 0;

    for (unsigned k = 0; k < TEXTINDEX_KINDS_ && r == 0; k++) {
        sort(&b->of[k], textindex_gram_bits[k]);
        r = write_kind(w, (enum textindex_kind)k, &b->of[k], err);
    }
    if (r == 0)
        r = textindex_writer_end(w, ret_segment, err);
    textindex_writer_free(w);
    return r;
}

int textindex_build(struct account *account, const uint64_t *ids, size_t n, size_t *ret_taken,
                    uint64_t *ret_segment, struct error *err)
{
    struct build *b = build_new();
    int r = collect(b, account, ids, n, ret_taken, err);

    *ret_segment = 0;
    if (r == 0 && b->n)
        r = write_build(b, account, ret_segment, err);
    build_free(b);
    return r;
}
