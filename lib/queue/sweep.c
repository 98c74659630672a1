/* SPDX-License-Identifier: MPL-2.0 */
/* The sweep: what nobody needs any more goes; what is missing from the index is put back. Any node,
 * any time, no locks.
 *
 *   messages   all entries done, or a tombstone; nothing of it changed for the horizon: pieces,
 *              entries, and the envelope last
 *   entries    of no envelope, unchanged for the horizon: its submission can end no more (it has
 *              half the horizon for that). Live ones: their row is put back if it is not there
 *   pieces     stored longer ago than the horizon, of no envelope
 *   rows       likewise, of no entry. (Stale ones are removed by whoever meets them.)
 *
 * The horizon is why entries that are done, and tombstones, stay for a day: an insert that comes
 * late finds its place taken.
 */
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/queue/runner_impl.h"

#define PAGE_DOCS   500
#define PUT_BACK_MS 60000 /* a mover of rows has a minute between entry and row */

struct sweep {
    struct queue *queue;
    bool (*stop)(void *ctx);
    void *ctx;
    uint64_t n;
    int64_t time; /* store time of the page */
};

static bool is_old(const struct sweep *s, const struct store_doc *doc)
{
    return s->time - doc->stored_ms > s->queue->horizon_ms;
}

/* The envelope under the id; false: there is none that counts. -ERR_x. */
static int envelope_of(struct sweep *s, uint64_t id, struct arena *arena, struct queue_stored *ret,
                       bool *ret_found, struct error *err)
{
    struct key8 key = key_account(id);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r = store_get(s->queue->store, STORE_QUEUE, (struct slice[]){KEY_SLICE(key)}, 1, STORE_HEAD,
                      STORE_MAJORITY, &docs, err);

    *ret_found = false;
    if (r < 0 || !docs.items[0].found)
        return r;
    r = queue_stored_decode(docs.items[0].head, arena, ret, err);
    *ret_found = r == 0 && !ret->tombstone;
    return r;
}

static int drop(struct sweep *s, enum store_table table, struct slice key, struct error *err)
{
    s->n++;
    return store_delete(s->queue->store, table, &key, 1, err);
}

/* --- messages -------------------------------------------------------------------------------- */

/* Is there nothing under the id but what is done (or not of this envelope) and old? */
static int is_over(struct sweep *s, uint64_t id, const struct queue_stored *stored, bool *ret_over,
                   struct error *err)
{
    struct key10 from = key_queue_entry(id, 0), to = key_queue_entry(id, UINT16_MAX);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    CLEANUP(arena_done) struct arena arena = {0};
    int r = store_range(s->queue->store,
                        &(struct store_query){.table = STORE_QUEUEENTRIES,
                                              .from = KEY_SLICE(from),
                                              .to = KEY_SLICE(to),
                                              .parts = STORE_HEAD,
                                              .level = STORE_MAJORITY},
                        &docs, err);

    *ret_over = r == 0;
    for (size_t i = 0; i < docs.n && r == 0; i++) {
        struct queue_entry e;

        r = queue_entry_decode(id, 0, docs.items[i].head, &arena, &e, err);
        if (r < 0 || !is_old(s, &docs.items[i]) ||
            (!e.done && !stored->tombstone && queue_tag_eq(&e.tag, &stored->tag)))
            *ret_over = false;
    }
    return r;
}

static int erase(struct sweep *s, uint64_t id, struct slice key, struct error *err)
{
    struct store *store = s->queue->store;
    struct key12 piece = key_queue_body(id, 0), last_piece = key_queue_body(id, UINT32_MAX);
    struct key10 from = key_queue_entry(id, 0), to = key_queue_entry(id, UINT16_MAX);
    int r = store_delete_range(store, STORE_QUEUEBODIES, KEY_SLICE(piece), KEY_SLICE(last_piece),
                               NULL, err);

    if (r == 0)
        r = store_delete_range(store, STORE_QUEUEENTRIES, KEY_SLICE(from), KEY_SLICE(to), NULL,
                               err);
    return r < 0 ? r : drop(s, STORE_QUEUE, key, err);
}

static int sweep_message(struct sweep *s, const struct store_doc *doc, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = {0};
    uint64_t id = get_be64(doc->key.p);
    struct queue_stored stored;
    bool over = false;
    int r;

    if (!is_old(s, doc))
        return 0;
    r = queue_stored_decode(doc->head, &arena, &stored, err);
    if (r == 0)
        r = is_over(s, id, &stored, &over, err);
    return r < 0 || !over ? r : erase(s, id, doc->key, err);
}

/* --- entries --------------------------------------------------------------------------------- */

/* Guarded: nobody has touched it meanwhile. */
static int drop_entry(struct sweep *s, const struct store_doc *doc, struct error *err)
{
    int r = store_update(
        s->queue->store,
        &(struct store_change){
            .table = STORE_QUEUEENTRIES, .key = doc->key, .version = doc->version, .remove = true},
        NULL, NULL, err);

    s->n += r == 0;
    return r == -ERR_CONFLICT || r == -ERR_UNKNOWN_OUTCOME ? 0 : r;
}

static int put_row_back(struct sweep *s, const struct queue_entry *e,
                        const struct queue_stored *stored, struct error *err)
{
    struct queue_row row = queue_row_of(e, stored->envelope.priority, 0);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    CLEANUP(arena_done) struct arena arena = {0};
    struct store_item item = queue_row_item(&row, &arena);
    int64_t time;
    int r = store_get(s->queue->store, STORE_QUEUEDUE, &item.key, 1, STORE_KEYS, STORE_MAJORITY,
                      &docs, err);

    if (r < 0 || docs.items[0].found)
        return r;
    return queue_insert_surely(s->queue, &item, 1, NULL, &time, err);
}

static int sweep_entry(struct sweep *s, const struct store_doc *doc, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct queue_stored stored;
    struct queue_entry e;
    bool found;
    int r = queue_entry_decode(get_be64(doc->key.p), get_be16(doc->key.p + 8), doc->head, &arena,
                               &e, err);

    if (r < 0)
        return r;
    if (s->time - doc->stored_ms < MIN((int64_t)PUT_BACK_MS, s->queue->horizon_ms))
        return 0;
    if (!is_old(s, doc) && (e.done || e.held))
        return 0;
    r = envelope_of(s, e.id, &arena, &stored, &found, err);
    if (r < 0)
        return r;
    found = found && queue_tag_eq(&e.tag, &stored.tag) && e.number < stored.entries;
    if (!found)
        return is_old(s, doc) ? drop_entry(s, doc, err) : 0;
    return e.done || e.held ? 0 : put_row_back(s, &e, &stored, err);
}

/* --- pieces and rows -------------------------------------------------------------------------- */

static int sweep_piece(struct sweep *s, const struct store_doc *doc, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct queue_stored stored;
    bool found;
    int r;

    if (!is_old(s, doc))
        return 0;
    r = envelope_of(s, get_be64(doc->key.p), &arena, &stored, &found, err);
    if (r == 0 && found)
        found = queue_piece_is_ours(doc->head, &stored.tag);
    return r < 0 || found ? r : drop(s, STORE_QUEUEBODIES, doc->key, err);
}

static int sweep_row(struct sweep *s, const struct store_doc *doc, struct error *err)
{
    struct key10 key = key_queue_entry(get_be64(doc->key.p + 8), get_be16(doc->key.p + 16));
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r;

    if (!is_old(s, doc))
        return 0;
    r = store_get(s->queue->store, STORE_QUEUEENTRIES, (struct slice[]){KEY_SLICE(key)}, 1,
                  STORE_KEYS, STORE_MAJORITY, &docs, err);
    return r < 0 || docs.items[0].found ? r : drop(s, STORE_QUEUEDUE, doc->key, err);
}

/* --- a round --------------------------------------------------------------------------------- */

static const struct walk {
    enum store_table table;
    int (*look)(struct sweep *s, const struct store_doc *doc, struct error *err);
} walks[] = {
    {STORE_QUEUE, sweep_message},
    {STORE_QUEUEENTRIES, sweep_entry},
    {STORE_QUEUEBODIES, sweep_piece},
    {STORE_QUEUEDUE, sweep_row},
};

/* One that cannot be read is left, and said; the others go on. */
static int look_at(struct sweep *s, const struct walk *w, const struct store_doc *doc,
                   struct error *err)
{
    int r = w->look(s, doc, err);

    if (r != -ERR_INTERNAL)
        return r;
    log_text(LOG_ERROR_, "queue", "the sweep met %s", err ? err->text : "damage");
    return 0;
}

static int walk_table(struct sweep *s, const struct walk *w, struct error *err)
{
    uint8_t last[STORE_KEY_MAX + 1] = {0};
    size_t last_n = 0;
    bool more = true;
    int r = 0;

    while (more && r == 0) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        if (s->stop && s->stop(s->ctx))
            return error_set(err, ERR_CANCELLED, "stopped");
        r = store_range(s->queue->store,
                        &(struct store_query){.table = w->table,
                                              .from = slice_of(last, last_n),
                                              .limit = PAGE_DOCS,
                                              .parts = STORE_HEAD,
                                              .level = STORE_MAJORITY},
                        &docs, err);
        if (r < 0)
            return r;
        s->time = docs.time;
        queue_heard(s->queue, docs.time);
        for (size_t i =
                 last_n ? slice_eq(slice_of(last, last_n), docs.n ? docs.items[0].key : S("")) : 0;
             i < docs.n && r == 0; i++)
            r = look_at(s, w, &docs.items[i], err);
        more = docs.more && docs.n > 1;
        if (docs.n) {
            last_n = docs.items[docs.n - 1].key.n;
            memcpy(last, docs.items[docs.n - 1].key.p, last_n);
        }
    }
    return r;
}

int queue_sweep(struct queue *q, bool (*stop)(void *ctx), void *ctx, uint64_t *ret_n,
                struct error *err)
{
    struct sweep s = {.queue = q, .stop = stop, .ctx = ctx};
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(walks) && r == 0; i++)
        r = walk_table(&s, &walks[i], err);
    *ret_n = s.n;
    return r;
}
