/* SPDX-License-Identifier: MPL-2.0 */
/* fsck's look at the text index: see textindex_check in textindex.h. */
#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/mail/textindex_impl.h"

#define SAMPLES 32 /* messages of a segment whose texts are read */

struct sample {
    uint32_t ordinal;
    uint32_t *grams[TEXTINDEX_KINDS_]; /* ascending */
    size_t n[TEXTINDEX_KINDS_], at;
};

struct check {
    struct account *account;
    bool repair;
    void (*found)(void *ctx, const char *what, bool repaired);
    void *ctx;
    const struct textindex_head *head;
    struct sample samples[SAMPLES];
    size_t n;
};

/* --- samples --------------------------------------------------------------------------------- */

static int compare_grams(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void take_sample(struct check *c, uint32_t ordinal, const struct textindex_grams *g)
{
    struct sample *s = &c->samples[c->n++];

    s->ordinal = ordinal;
    for (size_t k = 0; k < TEXTINDEX_KINDS_; k++) {
        s->n[k] = g->of[k].n;
        s->grams[k] = mem_dup(g->of[k].items, g->of[k].n * sizeof *g->of[k].items);
        if (s->n[k])
            qsort(s->grams[k], s->n[k], sizeof *s->grams[k], compare_grams);
    }
}

/* Messages that are gone or cannot be read prove nothing. */
static int take_samples(struct check *c, struct error *err)
{
    const struct textindex_head *h = c->head;
    struct textindex_grams grams;
    uint32_t step = h->n / SAMPLES + 1;
    int r = 0;

    textindex_grams_init(&grams);
    for (uint32_t i = 0; i < h->n && c->n < SAMPLES; i += step) {
        r = textindex_grams_read(&grams, c->account, h->ids[i], err);
        if (r == -ERR_UNAVAILABLE)
            break;
        if (r == 0 && !grams.open && !(h->open[i / 8] >> i % 8 & 1))
            take_sample(c, i, &grams);
        r = 0;
    }
    textindex_grams_done(&grams);
    return r;
}

static void drop_samples(struct check *c)
{
    for (size_t i = 0; i < c->n; i++)
        for (size_t k = 0; k < TEXTINDEX_KINDS_; k++)
            free(c->samples[i].grams[k]);
    memset(c->samples, 0, sizeof c->samples);
    c->n = 0;
}

/* --- lists ----------------------------------------------------------------------------------- */

/* Lists come with rising grams: a sample's gram that is passed over was not there. */
static bool agrees(struct check *c, enum textindex_kind kind, const struct textindex_list *list,
                   uint64_t *bitmap)
{
    memset(bitmap, 0, (c->head->n + 63) / 64 * sizeof *bitmap);
    if (!textindex_list_bitmap(list, c->head->n, bitmap))
        return false;
    for (size_t i = 0; i < c->n; i++) {
        struct sample *s = &c->samples[i];
        bool listed = bitmap[s->ordinal / 64] >> s->ordinal % 64 & 1;
        bool has = s->at < s->n[kind] && s->grams[kind][s->at] == list->gram;

        if (has != listed)
            return false;
        s->at += has;
    }
    return true;
}

static const char *check_part(struct check *c, enum textindex_kind kind,
                              const struct textindex_doc *d, uint64_t *bitmap)
{
    struct textindex_part_reader r;
    struct textindex_list list;

    if (!d)
        return "a part of a segment of the text index is not there, or damaged";
    textindex_part_open(&r, d->bytes, c->head->n);
    while (textindex_part_next(&r, &list))
        if (!agrees(c, kind, &list, bitmap))
            return "a list of the text index differs from the messages";
    return r.bad ? "a part of a segment of the text index is damaged" : NULL;
}

static int check_kind(struct check *c, enum textindex_kind kind, const char **ret_what,
                      struct error *err)
{
    struct mail *mail = c->account->mail;
    CLEANUP_FREE uint64_t *bitmap = NEW_ARRAY(uint64_t, c->head->n / 64 + 1);
    uint32_t parts = 1u << c->head->bits[kind];

    for (size_t i = 0; i < c->n; i++)
        c->samples[i].at = 0;
    for (uint32_t i = 0; i < parts && !*ret_what; i++) {
        struct textindex_id id = {textindex_part(kind, i), c->head->segment};
        struct textindex_doc *d;
        int r = textindex_load(mail, c->account->id, &id, 1, false, &d, NULL, err);

        if (r < 0)
            return r;
        *ret_what = check_part(c, kind, d, bitmap);
        textindex_release(mail, d);
    }
    for (size_t i = 0; i < c->n && !*ret_what; i++)
        if (c->samples[i].at < c->samples[i].n[kind])
            *ret_what = "a message is missing in lists of the text index";
    return 0;
}

/* --- segments -------------------------------------------------------------------------------- */

static bool remove_head(struct check *c, uint64_t segment)
{
    struct key20 key = key_textindex(c->account->id, TEXTINDEX_HEAD, segment);

    return c->repair && store_delete(c->account->mail->store, STORE_TEXTINDEX,
                                     (struct slice[]){KEY_SLICE(key)}, 1, NULL) == 0;
}

/* One of another version of texts is not looked into. One that is gone by now was joined. */
static int check_segment(struct check *c, uint64_t segment, struct error *err)
{
    struct mail *mail = c->account->mail;
    struct textindex_id id = {TEXTINDEX_HEAD, segment};
    struct textindex_doc *head;
    const char *what = NULL;
    int why = 0, r = textindex_load(mail, c->account->id, &id, 1, false, &head, &why, err);

    if (r < 0)
        return r;
    if (!head && why == -ERR_INVALID)
        what = "a segment of the text index is damaged";
    if (head && head->head.text_version == text_version()) {
        c->head = &head->head;
        r = take_samples(c, err);
        for (unsigned k = 0; k < TEXTINDEX_KINDS_ && r == 0 && !what; k++)
            r = check_kind(c, (enum textindex_kind)k, &what, err);
        drop_samples(c);
    }
    textindex_release(mail, head);
    if (r == 0 && what)
        c->found(c->ctx, what, remove_head(c, segment));
    return r;
}

int textindex_check(struct account *account, bool repair,
                    void (*found)(void *ctx, const char *what, bool repaired), void *ctx,
                    struct error *err)
{
    CLEANUP_FREE struct check *c = NEW(struct check);
    CLEANUP(textindex_segments_done) struct textindex_segments segments = {0};
    int r = textindex_segments(account->mail, account->id, STORE_LINEARIZABLE, &segments, err);

    *c = (struct check){.account = account, .repair = repair, .found = found, .ctx = ctx};
    for (size_t i = 0; i < segments.n && r == 0; i++)
        r = check_segment(c, segments.items[i], err);
    return r;
}
