/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/queue_impl.h"

#include <time.h>
#include <uthash.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/queue/dkim.h"
#include "lib/store/keys.h"

#define HOUR          ((int64_t)3600 * 1000)
#define ID_RANDOM     12 /* bits of an id behind its microseconds */
#define PAUSE_MS_MAX  500
#define INSERT_ROUNDS 6
#define RECENT_PIECE  ((size_t)64 << 10) /* a larger one is read when its turn comes */
#define RECENT_MAX    ((size_t)16 << 20) /* octets of all that are remembered */

struct queue *queue_new(struct store *store)
{
    struct queue *q = NEW(struct queue);

    q->store = store;
    q->dkim = dkim_new(store, 0);
    q->guard_ms = 12 * HOUR;
    q->horizon_ms = 24 * HOUR;
    q->patience_ms = 20000;
    pthread_mutex_init(&q->lock, NULL);
    return q;
}

/* --- what was submitted a moment ago -----------------------------------------------------------
 */

struct queue_recent {
    uint64_t id;
    struct queue_tag tag;
    struct buf bytes;
    UT_hash_handle hh;
};

/* Under the lock. */
static void forget(struct queue *q, struct queue_recent *one)
{
    HASH_DEL(q->recent, one);
    q->recent_bytes -= one->bytes.n;
    buf_done(&one->bytes);
    free(one);
}

void queue_remember(struct queue *q, const struct queue_writer *w)
{
    struct queue_recent *one;

    if (w->pieces || w->piece.n > RECENT_PIECE)
        return;
    one = NEW(struct queue_recent);
    one->id = w->id;
    one->tag = w->tag;
    one->bytes = buf_make(RECENT_PIECE);
    buf_add_slice(&one->bytes, buf_slice(&w->piece));
    pthread_mutex_lock(&q->lock);
    while (q->recent && q->recent_bytes + one->bytes.n > RECENT_MAX)
        forget(q, q->recent); /* the oldest */
    HASH_ADD(hh, q->recent, id, sizeof one->id, one);
    q->recent_bytes += one->bytes.n;
    pthread_mutex_unlock(&q->lock);
}

void queue_forget(struct queue *q, uint64_t id)
{
    struct queue_recent *one;

    pthread_mutex_lock(&q->lock);
    HASH_FIND(hh, q->recent, &id, sizeof id, one);
    if (one)
        forget(q, one);
    pthread_mutex_unlock(&q->lock);
}

static bool recall(struct queue_reader *rd)
{
    struct queue *q = rd->queue;
    struct queue_recent *one;

    pthread_mutex_lock(&q->lock);
    HASH_FIND(hh, q->recent, &rd->id, sizeof rd->id, one);
    if (one && queue_tag_eq(&one->tag, &rd->tag)) {
        rd->bytes.max = QUEUE_PIECE;
        buf_reset(&rd->bytes, QUEUE_PIECE);
        buf_add_slice(&rd->bytes, buf_slice(&one->bytes));
        rd->piece = 1;
    }
    pthread_mutex_unlock(&q->lock);
    return rd->piece == 1;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    while (q->recent)
        forget(q, q->recent);
    dkim_free(q->dkim);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

void queue_set_horizon(struct queue *q, int64_t ms)
{
    q->horizon_ms = ms;
    q->guard_ms = ms / 2;
}

void queue_set_taker(struct queue *q, const struct queue_taker *taker)
{
    pthread_mutex_lock(&q->lock);
    q->taker = taker ? *taker : (struct queue_taker){0};
    pthread_mutex_unlock(&q->lock);
}

void queue_id_text(uint64_t id, char ret[static QUEUE_ID_TEXT])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++)
        ret[i] = digits[id >> (60 - 4 * i) & 15];
    ret[16] = '\0';
}

/* --- time ------------------------------------------------------------------------------------ */

void queue_heard(struct queue *q, int64_t store_time)
{
    pthread_mutex_lock(&q->lock);
    if (store_time > q->heard_ms) {
        q->heard_ms = store_time;
        q->heard_mono_ms = clock_mono_ms();
    }
    pthread_mutex_unlock(&q->lock);
}

int64_t queue_now(struct queue *q)
{
    int64_t heard, mono, time;

    pthread_mutex_lock(&q->lock);
    heard = q->heard_ms;
    mono = q->heard_mono_ms;
    pthread_mutex_unlock(&q->lock);
    if (heard)
        return heard + clock_mono_ms() - mono;
    if (store_time(q->store, &time, NULL) < 0)
        return clock_wall_ms(); /* nothing can be written then either */
    queue_heard(q, time);
    return time;
}

void queue_pause(int round)
{
    int64_t ms = MIN(10 << MIN(round, 6), PAUSE_MS_MAX);
    struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&wait, NULL);
}

/* In the order of making, so that neighbours in time are neighbours in the tables. */
static uint64_t new_id(struct queue *q)
{
    uint64_t id = (uint64_t)clock_wall_ms() * 1000 << ID_RANDOM;

    pthread_mutex_lock(&q->lock);
    id = MAX(id, (q->last_id | (((uint64_t)1 << ID_RANDOM) - 1)) + 1);
    id |= random_u64() & (((uint64_t)1 << ID_RANDOM) - 1);
    q->last_id = id;
    pthread_mutex_unlock(&q->lock);
    return id;
}

/* --- inserting ------------------------------------------------------------------------------- */

/* What is there of those that are taken or unknown? Absent ones stay to be inserted again. */
static int look_back(struct queue *q, struct store_item *items, size_t n, bool *sure,
                     bool (*is_ours)(const struct store_item *item, struct slice head),
                     int64_t *ret_time, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        if (sure[i])
            continue;
        if (store_get(q->store, items[i].table, &items[i].key, 1, STORE_HEAD, STORE_MAJORITY, &docs,
                      NULL) < 0)
            continue;
        queue_heard(q, docs.time);
        *ret_time = docs.time;
        if (!docs.items[0].found)
            continue;
        if (is_ours && !is_ours(&items[i], docs.items[0].head))
            return error_set(err, ERR_EXISTS, "a queue id is taken");
        sure[i] = true;
    }
    return 0;
}

static size_t insert_missing(struct queue *q, struct store_item *items, size_t n, bool *sure,
                             int64_t *ret_time, struct error *err)
{
    CLEANUP_FREE struct store_item *batch = NEW_ARRAY(struct store_item, n + 1);
    CLEANUP_FREE size_t *from = NEW_ARRAY(size_t, n + 1);
    size_t count = 0, missing = 0;

    for (size_t i = 0; i < n; i++) {
        if (sure[i])
            continue;
        from[count] = i;
        batch[count++] = items[i];
    }
    if (store_insert(q->store, batch, count, ret_time, err) == 0)
        queue_heard(q, *ret_time);
    for (size_t i = 0; i < count; i++) {
        sure[from[i]] = batch[i].outcome == STORE_DONE;
        missing += batch[i].outcome != STORE_DONE;
    }
    return missing;
}

int queue_insert_surely(struct queue *q, struct store_item *items, size_t n,
                        bool (*is_ours)(const struct store_item *item, struct slice head),
                        int64_t *ret_time, struct error *err)
{
    CLEANUP_FREE bool *sure = NEW_ARRAY(bool, n + 1);
    size_t missing = n;

    for (int round = 0; round < INSERT_ROUNDS; round++) {
        int r;

        if (round)
            queue_pause(round);
        if (insert_missing(q, items, n, sure, ret_time, err) == 0)
            return 0;
        r = look_back(q, items, n, sure, is_ours, ret_time, err);
        if (r < 0)
            return r;
        missing = 0;
        for (size_t i = 0; i < n; i++)
            missing += !sure[i];
        if (missing == 0)
            return 0;
    }
    return error_set(err, ERR_UNAVAILABLE, "the store does not take it");
}

/* --- writing bodies -------------------------------------------------------------------------- */

struct queue_writer *queue_writer_new(struct queue *q)
{
    struct queue_writer *w = NEW(struct queue_writer);

    w->queue = q;
    w->id = new_id(q);
    random_bytes(w->tag.b, sizeof w->tag.b);
    w->piece = buf_make(QUEUE_PIECE);
    w->signer = dkim_signer_new();
    return w;
}

void queue_writer_free(struct queue_writer *w)
{
    if (!w)
        return;
    buf_done(&w->piece);
    dkim_signer_free(w->signer);
    free(w);
}

bool queue_is_ours(const struct store_item *item, struct slice head)
{
    struct cursor mine = cursor_of(item->head), there = cursor_of(head);
    size_t before = item->table == STORE_QUEUE ? 2 : 1;

    if (item->table == STORE_QUEUEDUE)
        return true; /* nobody else's would have our entry's number */
    cursor_bytes(&mine, before);
    cursor_bytes(&there, before);
    return slice_eq(cursor_bytes(&mine, QUEUE_TAG_SIZE), cursor_bytes(&there, QUEUE_TAG_SIZE)) &&
           !there.bad;
}

struct store_item queue_writer_item(const struct queue_writer *w, struct arena *arena)
{
    CLEANUP(buf_done) struct buf head = buf_make(64), body = buf_make(2 * QUEUE_PIECE);
    struct key12 key = key_queue_body(w->id, w->pieces);

    queue_piece_head(&w->tag, &head);
    queue_piece_pack(buf_slice(&w->piece), &body);
    return (struct store_item){.table = STORE_QUEUEBODIES,
                               .key = arena_slice(arena, KEY_SLICE(key)),
                               .head = arena_slice(arena, buf_slice(&head)),
                               .body = arena_slice(arena, buf_slice(&body))};
}

static int store_piece(struct queue_writer *w, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct store_item item = queue_writer_item(w, &arena);
    int64_t before = queue_now(w->queue), time = 0;
    int r = queue_insert_surely(w->queue, &item, 1, queue_is_ours, &time, err);

    if (r < 0)
        return r == -ERR_EXISTS ? error_set(err, ERR_UNAVAILABLE, "a queue id is taken") : r;
    if (!w->first_ms)
        w->first_ms = MIN(before, time);
    w->pieces++;
    buf_reset(&w->piece, QUEUE_PIECE);
    return 0;
}

int queue_writer_feed(struct queue_writer *w, struct slice bytes, struct error *err)
{
    dkim_signer_feed(w->signer, bytes);
    while (bytes.n) {
        size_t n = MIN(bytes.n, QUEUE_PIECE - w->piece.n);
        int r = 0;

        buf_add_slice(&w->piece, slice_sub(bytes, 0, n));
        bytes = slice_skip(bytes, n);
        w->size += n;
        /* a full one leaves when more comes: the last one goes along with the entries */
        if (bytes.n)
            r = store_piece(w, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- reading bodies -------------------------------------------------------------------------- */

static int load_piece(struct queue_reader *rd, uint32_t number, struct error *err)
{
    struct key12 key = key_queue_body(rd->id, number);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r = store_get(rd->queue->store, STORE_QUEUEBODIES, (struct slice[]){KEY_SLICE(key)}, 1,
                      STORE_BOTH, STORE_MAJORITY, &docs, err);

    if (r < 0)
        return r;
    if (!docs.items[0].found || !queue_piece_is_ours(docs.items[0].head, &rd->tag))
        return error_set(err, ERR_NOTFOUND, "a piece of the message is gone");
    rd->piece = 0;
    rd->bytes.max = QUEUE_PIECE;
    buf_reset(&rd->bytes, QUEUE_PIECE);
    r = queue_piece_unpack(docs.items[0].body, &rd->bytes, err);
    if (r == 0)
        rd->piece = number + 1;
    return r;
}

int queue_read(struct queue_reader *rd, uint64_t offset, size_t n, struct buf *out,
               struct error *err)
{
    uint32_t number = (uint32_t)(offset / QUEUE_PIECE);
    struct slice part;
    int r = 0;

    if (rd->piece != number + 1 && (number || !recall(rd)))
        r = load_piece(rd, number, err);
    if (r < 0)
        return r;
    offset -= (uint64_t)number * QUEUE_PIECE;
    part = slice_sub(buf_slice(&rd->bytes), (size_t)offset, (size_t)MIN(offset + n, QUEUE_PIECE));
    if (part.n == 0)
        return error_set(err, ERR_INTERNAL, "a piece of the message is too short");
    buf_add_slice(out, part);
    return buf_full(out) ? error_set(err, ERR_LIMIT, "no room for the message") : 0;
}

void queue_reader_done(struct queue_reader *rd)
{
    buf_done(&rd->bytes);
    rd->piece = 0;
}
