/* SPDX-License-Identifier: MPL-2.0 */
/* Submitting: what docs/queue.md calls the commit.
 *
 * Where the store is atomic, all of a submission is one group of one insert, the envelope at its
 * end. Elsewhere pieces, entries and rows go first, in any order; when each is known to be there,
 * the envelope.
 *
 * If it is not known what became of the envelope, its place is read; if it is empty, something is
 * put there: the envelope once more (only if all that it stands for is known to be there), or a
 * tombstone. What a majority has there decides, for good: every other attempt is a duplicate key
 * from then on.
 */
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/queue/dkim.h"
#include "lib/queue/queue_impl.h"
#include "lib/store/keys.h"

#define STRING_MAX  2000 /* of an address, an ORCPT, an ENVID: more than any protocol lets in */
#define SAME_ROUNDS 4    /* so often the envelope is tried again, then a tombstone goes there */

/* One entry in the making: recipients [from, from + n) of the order. */
struct share {
    const char *destination;
    size_t from, n;
};

struct submission {
    struct queue *queue;
    struct queue_writer *writer;
    const struct queue_envelope *envelope;
    struct arena arena;
    const struct queue_recipient **order; /* by destination */
    const char **destinations;            /* of each of the order */
    VEC(struct share) shares;
    struct queue_row *rows;
    int64_t lease_ms; /* of the taker; 0: nobody takes it */
    struct queue_taker taker;
    VEC(struct store_item) items; /* the last one is the envelope */
    int64_t first_ms;             /* store time before the first of it was stored: a lost reply may
                                     have come long before the one that was heard */
};

/* --- what is to be stored --------------------------------------------------------------------- */

static bool is_short(const char *s)
{
    return strnlen(s, STRING_MAX + 1) <= STRING_MAX;
}

static int check(const struct queue_envelope *e, struct error *err)
{
    bool ok = is_short(e->sender) && is_short(e->envid) && (!e->solicit || is_short(e->solicit)) &&
              e->priority >= -9 && e->priority <= 9 && e->head.n <= QUEUE_HEAD_MAX;

    if (e->recipients_n == 0)
        return error_set(err, ERR_INVALID, "no recipients");
    if (e->recipients_n > QUEUE_RECIPIENTS_MAX)
        return error_set(err, ERR_LIMIT, "more than %d recipients", QUEUE_RECIPIENTS_MAX);
    for (size_t i = 0; i < e->recipients_n && ok; i++)
        ok = is_short(e->recipients[i].address) && is_short(e->recipients[i].orcpt) &&
             strrchr(e->recipients[i].address, '@');
    return ok ? 0 : error_set(err, ERR_INVALID, "an envelope that cannot be queued");
}

/* What is behind the last "@", in lower case. */
static const char *destination_of(struct arena *arena, const char *address)
{
    char *domain = arena_str(arena, slice_str(strrchr(address, '@') + 1));

    for (char *c = domain; *c; c++)
        *c = (char)byte_lower((uint8_t)*c);
    return domain;
}

struct named {
    const char *destination;
    const struct queue_recipient *recipient;
    size_t place;
};

static int compare_named(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int c = strcmp(x->destination, y->destination);

    return c ? c : (x->place > y->place) - (x->place < y->place);
}

/* Recipients of one destination in a row, in the order in which they came; cut where an entry is
 * full. */
static void share_out(struct submission *s)
{
    const struct queue_envelope *e = s->envelope;
    struct named *named = arena_array(&s->arena, e->recipients_n, sizeof *named);

    for (size_t i = 0; i < e->recipients_n; i++)
        named[i] = (struct named){destination_of(&s->arena, e->recipients[i].address),
                                  &e->recipients[i], i};
    qsort(named, e->recipients_n, sizeof *named, compare_named);
    s->order = arena_array(&s->arena, e->recipients_n, sizeof *s->order);
    for (size_t i = 0; i < e->recipients_n; i++) {
        struct share *last = s->shares.n ? &s->shares.items[s->shares.n - 1] : NULL;

        s->order[i] = named[i].recipient;
        if (last && strcmp(last->destination, named[i].destination) == 0 &&
            last->n < QUEUE_ENTRY_RECIPIENTS)
            last->n++;
        else
            *VEC_PUSH(&s->shares) = (struct share){named[i].destination, i, 1};
    }
}

static void add_item(struct submission *s, enum store_table table, struct slice key,
                     struct buf *head)
{
    *VEC_PUSH(&s->items) = (struct store_item){.table = table,
                                               .key = arena_slice(&s->arena, key),
                                               .head = arena_slice(&s->arena, buf_slice(head))};
    buf_done(head);
}

struct store_item queue_row_item(const struct queue_row *row, struct arena *arena)
{
    CLEANUP(buf_done) struct buf head = buf_make(4096);
    struct key22 key = key_queue_due(row->when_ms, row->id, row->number, row->turn);

    queue_row_encode(row, &head);
    return (struct store_item){.table = STORE_QUEUEDUE,
                               .key = arena_slice(arena, KEY_SLICE(key)),
                               .head = arena_slice(arena, buf_slice(&head))};
}

/* The entry and its row. Leased to the taker, it is looked at by others when that lease ends. */
static void add_entry(struct submission *s, size_t i, int64_t now)
{
    const struct share *share = &s->shares.items[i];
    int64_t due = MAX(now, s->envelope->hold_until_ms);
    struct buf head = buf_make(STORE_HEAD_MAX);
    struct key10 key = key_queue_entry(s->writer->id, (uint16_t)i);
    struct queue_entry entry = {
        .tag = s->writer->tag,
        .due_ms = due,
        .row_ms = s->lease_ms ? now + s->lease_ms : due,
        .lease_ms = s->lease_ms ? now + s->lease_ms : 0,
        .owner = s->lease_ms ? s->taker.owner : 0,
        .destination = share->destination,
        .targets = arena_array(&s->arena, share->n, sizeof *entry.targets),
        .n = share->n,
    };

    for (size_t k = 0; k < share->n; k++)
        entry.targets[k].to = *s->order[share->from + k];
    queue_entry_encode(&entry, &head);
    add_item(s, STORE_QUEUEENTRIES, KEY_SLICE(key), &head);
    s->rows[i] = (struct queue_row){
        .when_ms = entry.row_ms,
        .id = s->writer->id,
        .number = (uint16_t)i,
        .priority = s->envelope->priority,
        .deadline_ms = s->envelope->by != QUEUE_BY_NONE ? s->envelope->by_ms : 0,
        .destination = slice_str(share->destination),
    };
    *VEC_PUSH(&s->items) = queue_row_item(&s->rows[i], &s->arena);
}

static void add_envelope(struct submission *s)
{
    struct buf head = buf_make(STORE_HEAD_MAX);
    struct key8 key = key_account(s->writer->id);
    struct queue_stored stored = {.tag = s->writer->tag,
                                  .size = s->writer->size,
                                  .entries = (unsigned)s->shares.n,
                                  .envelope = *s->envelope};

    queue_stored_encode(&stored, &head);
    add_item(s, STORE_QUEUE, KEY_SLICE(key), &head);
}

static void offer(struct submission *s, int64_t now)
{
    struct queue *q = s->queue;

    if (s->envelope->hold_until_ms > now)
        return;
    pthread_mutex_lock(&q->lock);
    if (q->taker.take) {
        s->taker = q->taker;
        s->lease_ms = q->taker.offer(q->taker.ctx, s->shares.n);
    }
    pthread_mutex_unlock(&q->lock);
}

static void prepare(struct submission *s)
{
    int64_t now = queue_now(s->queue);

    share_out(s);
    s->rows = arena_array(&s->arena, s->shares.n, sizeof *s->rows);
    offer(s, now);
    if (s->writer->piece.n)
        *VEC_PUSH(&s->items) = queue_writer_item(s->writer, &s->arena);
    for (size_t i = 0; i < s->shares.n; i++)
        add_entry(s, i, now);
    add_envelope(s);
}

/* --- the commit point ------------------------------------------------------------------------ */

enum verdict { OURS, LOST, OPEN };

/* A conclusion that comes too late is none: the sweep may have been there. */
static bool in_time(const struct submission *s, int64_t time)
{
    return s->first_ms == 0 || time - s->first_ms <= s->queue->guard_ms;
}

static enum verdict look(const struct submission *s, const struct store_item *envelope,
                         bool *ret_read, int64_t *ret_time)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    *ret_read = store_get(s->queue->store, STORE_QUEUE, &envelope->key, 1, STORE_HEAD,
                          STORE_MAJORITY, &docs, NULL) == 0;
    if (!*ret_read)
        return OPEN;
    queue_heard(s->queue, docs.time);
    *ret_time = docs.time;
    if (!docs.items[0].found)
        return OPEN;
    return queue_is_ours(envelope, docs.items[0].head) ? OURS : LOST;
}

static enum verdict put(const struct submission *s, const struct store_item *envelope,
                        bool tombstone, int64_t *ret_time)
{
    CLEANUP(buf_done) struct buf head = buf_make(64);
    struct queue_stored stored = {.tombstone = true};
    struct store_item item = {.table = STORE_QUEUE, .key = envelope->key, .head = envelope->head};

    if (tombstone) {
        random_bytes(stored.tag.b, sizeof stored.tag.b);
        queue_stored_encode(&stored, &head);
        item.head = buf_slice(&head);
    }
    if (store_insert(s->queue->store, &item, 1, ret_time, NULL) < 0 || item.outcome != STORE_DONE)
        return OPEN;
    queue_heard(s->queue, *ret_time);
    return tombstone ? LOST : OURS;
}

/* complete: all that the envelope stands for is known to be there. */
static int settle(const struct submission *s, const struct store_item *envelope, bool complete,
                  struct error *err)
{
    int64_t until = clock_mono_ms() + s->queue->patience_ms, time = 0;
    enum verdict v = OPEN;
    bool was_read;

    for (int round = 0; v == OPEN && clock_mono_ms() <= until; round++) {
        if (round)
            queue_pause(round);
        v = look(s, envelope, &was_read, &time);
        if (v == OPEN && was_read)
            v = put(s, envelope, !complete || round >= SAME_ROUNDS, &time);
    }
    if (v == OURS && in_time(s, time))
        return 0;
    if (v == LOST)
        return error_set(err, ERR_UNAVAILABLE, "the store did not take the message");
    return error_set(err, ERR_UNKNOWN_OUTCOME, "it is not known whether the message is queued");
}

static int conclude(struct submission *s, struct store_item *envelope, bool complete, int64_t time,
                    struct error *err)
{
    if (envelope->outcome == STORE_DONE && in_time(s, time))
        return 0;
    if (envelope->outcome == STORE_REFUSED)
        return error_set(err, ERR_UNAVAILABLE, "the store did not take the message");
    return settle(s, envelope, complete, err);
}

static int commit_at_once(struct submission *s, struct error *err)
{
    struct store_item *envelope = &s->items.items[s->items.n - 1];
    int64_t time = 0;
    int r;

    for (size_t i = 0; i < s->items.n; i++)
        s->items.items[i].group = 1;
    r = store_insert(s->queue->store, s->items.items, s->items.n, &time, err);
    if (r == 0)
        queue_heard(s->queue, time);
    return conclude(s, envelope, false, time, err);
}

static int commit_in_order(struct submission *s, struct error *err)
{
    struct store_item *envelope = &s->items.items[s->items.n - 1];
    int64_t before = queue_now(s->queue), time = 0;
    int r =
        queue_insert_surely(s->queue, s->items.items, s->items.n - 1, queue_is_ours, &time, err);

    if (r < 0)
        return r == -ERR_EXISTS ? error_set(err, ERR_UNAVAILABLE, "a queue id is taken") : r;
    if (!s->first_ms)
        s->first_ms = MIN(before, time);
    if (!in_time(s, time))
        return error_set(err, ERR_UNAVAILABLE, "the message took too long to come");
    r = store_insert(s->queue->store, envelope, 1, &time, err);
    if (r == 0)
        queue_heard(s->queue, time);
    return conclude(s, envelope, true, time, err);
}

/* The domain that signs: of who wrote the message or else of who sends it. NULL: none has keys. */
static int signing_domain(struct submission *s, const struct queue_envelope *e, const char **ret,
                          struct error *err)
{
    const char *addresses[] = {e->author, e->sender};
    int r = 0;

    *ret = NULL;
    for (size_t i = 0; i < ARRAY_LEN(addresses) && r == 0; i++) {
        if (!addresses[i] || !strrchr(addresses[i], '@'))
            continue;
        *ret = destination_of(&s->arena, addresses[i]);
        r = dkim_signs(s->queue->dkim, *ret, err);
    }
    if (r == 0)
        *ret = NULL;
    return r < 0 ? r : 0;
}

/* Signatures, and behind them the head that there is, in the arena. What keeps a message from being
 * signed (a header too large, a damaged key) does not keep it from being sent. */
static int sign(struct submission *s, struct queue_envelope *e, struct error *err)
{
    CLEANUP(buf_done) struct buf head = buf_make(QUEUE_HEAD_MAX);
    const char *domain = NULL;
    int n = 0;

    if (e->body != QUEUE_BINARYMIME && !e->head_is_whole)
        n = signing_domain(s, e, &domain, err);
    if (n == 0 && domain)
        n = dkim_sign(s->queue->dkim, s->writer->signer, domain, &head, err);
    if (n == -ERR_TOOBIG || n == -ERR_INTERNAL) {
        log_text(LOG_WARN_, "dkim", "a message of %s goes unsigned: %s", e->sender, err->text);
        return 0;
    }
    if (n > 0) {
        buf_add_slice(&head, e->head);
        if (!buf_full(&head))
            e->head = arena_slice(&s->arena, buf_slice(&head));
    }
    return n < 0 ? n : 0;
}

int queue_submit(struct queue *q, struct queue_writer *w, const struct queue_envelope *envelope,
                 uint64_t *ret_id, struct error *err)
{
    struct queue_envelope e = *envelope;
    struct submission s = {.queue = q, .writer = w, .envelope = &e, .first_ms = w->first_ms};
    struct error local = {0};
    int r = check(envelope, err);

    err = err ? err : &local;
    if (r == 0)
        r = sign(&s, &e, err);
    if (r == 0) {
        prepare(&s);
        r = store_is_atomic(q->store) ? commit_at_once(&s, err) : commit_in_order(&s, err);
    }
    if (r == 0) {
        *ret_id = w->id;
        if (s.lease_ms)
            queue_remember(q, w);
        pthread_mutex_lock(&q->lock);
        if (s.lease_ms && q->taker.take && q->taker.owner == s.taker.owner)
            q->taker.take(q->taker.ctx, s.rows, s.shares.n);
        pthread_mutex_unlock(&q->lock);
    }
    VEC_DONE(&s.shares);
    VEC_DONE(&s.items);
    arena_done(&s.arena);
    return r;
}
