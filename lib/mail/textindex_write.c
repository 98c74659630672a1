/* SPDX-License-Identifier: MPL-2.0 */
/* A segment into the store: parts first, then what describes it, each acknowledged by a majority
 * before the next (docs/log.md section 5: what is named is there). A crash in between leaves parts
 * that nobody names; textindex_update removes them when they are old.
 */
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/textindex_impl.h"

#define PART_SIZE   ((size_t)24 << 10) /* aimed at */
#define BATCH_BYTES ((size_t)2 << 20)  /* in one insert, about */
#define STORE_TRIES 3

static uint8_t bits_for(uint64_t bytes)
{
    uint8_t bits = 0;

    while (bits < TEXTINDEX_PART_BITS && bytes >> bits > PART_SIZE)
        bits++;
    return bits;
}

struct textindex_writer *textindex_writer_new(struct mail *mail, uint64_t account, uint64_t *ids,
                                              uint8_t *open, uint32_t n,
                                              const uint64_t guess[TEXTINDEX_KINDS_])
{
    struct textindex_writer *w = NEW(struct textindex_writer);

    w->mail = mail;
    w->account = account;
    random_bytes(&w->head.segment, sizeof w->head.segment);
    w->head.text_version = text_version();
    w->head.n = n;
    w->head.ids = ids;
    w->head.open = open;
    for (size_t k = 0; k < TEXTINDEX_KINDS_; k++)
        w->head.bits[k] = bits_for(guess[k]);
    textindex_part_begin(&w->part, n);
    return w;
}

/* A taken key proves nothing: are these bytes there, and durably? */
static bool is_stored(struct mail *mail, const struct store_item *item)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    return store_get(mail->store, STORE_TEXTINDEX, &item->key, 1, STORE_HEAD, STORE_MAJORITY, &docs,
                     NULL) == 0 &&
           docs.items[0].found && slice_eq(docs.items[0].head, item->head);
}

static int insert_all(struct mail *mail, struct store_item *items, size_t n, struct error *err)
{
    for (int i = 0; i < STORE_TRIES && n; i++) {
        int64_t time;
        size_t left = 0;
        int r = store_insert(mail->store, items, n, &time, err);

        if (r < 0 && r != -ERR_UNKNOWN_OUTCOME)
            return r;
        for (size_t k = 0; k < n; k++)
            if (items[k].outcome != STORE_DONE &&
                !(items[k].outcome == STORE_TAKEN && is_stored(mail, &items[k])))
                items[left++] = items[k];
        n = left;
    }
    return n ? error_set(err, ERR_UNAVAILABLE, "parts of the text index could not be stored") : 0;
}

static int flush(struct textindex_writer *w, struct error *err)
{
    int r = w->n ? insert_all(w->mail, w->items, w->n, err) : 0;

    while (w->n)
        buf_done(&w->bytes[--w->n]);
    return r;
}

static struct buf *next_item(struct textindex_writer *w, uint32_t part)
{
    w->keys[w->n] = key_textindex(w->account, part, w->head.segment);
    w->bytes[w->n] = buf_make(STORE_HEAD_MAX);
    return &w->bytes[w->n];
}

static int end_item(struct textindex_writer *w, struct error *err)
{
    size_t bytes = 0;

    if (buf_full(&w->bytes[w->n])) {
        buf_done(&w->bytes[w->n]);
        return error_set(err, ERR_LIMIT, "a part of the text index is too large");
    }
    w->items[w->n] = (struct store_item){.table = STORE_TEXTINDEX,
                                         .key = KEY_SLICE(w->keys[w->n]),
                                         .head = buf_slice(&w->bytes[w->n])};
    w->n++;
    for (size_t i = 0; i < w->n; i++)
        bytes += w->bytes[i].n;
    return w->n == TEXTINDEX_AT_ONCE || bytes >= BATCH_BYTES ? flush(w, err) : 0;
}

/* A part without lists is stored too: one that is not there says nothing. */
static int end_part(struct textindex_writer *w, struct error *err)
{
    uint32_t part = textindex_part(w->kind, w->at);
    struct buf *out = next_item(w, part);

    textindex_part_end(&w->part, w->head.segment, part, out);
    w->head.bytes[w->kind] += out->n;
    w->at++;
    return end_item(w, err);
}

/* Ends the parts before part `index` of a kind, which is not behind the one that is being filled.
 */
static int move_to(struct textindex_writer *w, enum textindex_kind kind, uint32_t index,
                   struct error *err)
{
    int r = 0;

    while (r == 0 && w->kind != kind) {
        r = end_part(w, err);
        if (w->at == 1u << w->head.bits[w->kind]) {
            w->kind++;
            w->at = 0;
        }
    }
    while (r == 0 && w->at < index)
        r = end_part(w, err);
    return r;
}

int textindex_writer_add(struct textindex_writer *w, enum textindex_kind kind, uint32_t gram,
                         const uint32_t *ordinals, size_t count, struct error *err)
{
    int r = move_to(w, kind, gram >> (textindex_gram_bits[kind] - w->head.bits[kind]), err);

    if (r == 0)
        textindex_part_add(&w->part, gram, ordinals, count);
    return r;
}

int textindex_writer_end(struct textindex_writer *w, uint64_t *ret_segment, struct error *err)
{
    int r = move_to(w, TEXTINDEX_KINDS_ - 1, 1u << w->head.bits[TEXTINDEX_KINDS_ - 1], err);

    if (r == 0)
        r = flush(w, err);
    if (r < 0)
        return r;
    textindex_head_encode(&w->head, next_item(w, TEXTINDEX_HEAD));
    r = end_item(w, err);
    if (r == 0)
        r = flush(w, err);
    if (r == 0)
        *ret_segment = w->head.segment;
    return r;
}

void textindex_writer_free(struct textindex_writer *w)
{
    if (!w)
        return;
    while (w->n)
        buf_done(&w->bytes[--w->n]);
    textindex_part_done(&w->part);
    free(w);
}
