/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/change.h"

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"

/* --- reading --------------------------------------------------------------------------------- */

static void found_one(const struct store_doc *entry, const struct store_doc *envelope, int64_t time,
                      uint64_t id, uint16_t number, struct queue_found *ret)
{
    *ret = (struct queue_found){0};
    if (!entry->found || !envelope->found)
        return;
    if (queue_entry_decode(id, number, entry->head, &ret->arena, &ret->entry, NULL) < 0 ||
        queue_stored_decode(envelope->head, &ret->arena, &ret->stored, NULL) < 0) {
        ret->damaged = true;
        return;
    }
    ret->entry.version = entry->version;
    ret->entry.read_ms = time;
    ret->queued_ms = envelope->stored_ms;
    ret->counts = !ret->stored.tombstone && queue_tag_eq(&ret->entry.tag, &ret->stored.tag) &&
                  number < ret->stored.entries;
}

int queue_find(struct queue *q, const uint64_t *ids, const uint16_t *numbers, size_t n,
               struct queue_found *ret, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs entries = {0}, envelopes = {0};
    CLEANUP_FREE struct slice *keys = NEW_ARRAY(struct slice, 2 * n + 1);
    CLEANUP_FREE struct key10 *k10 = NEW_ARRAY(struct key10, n + 1);
    CLEANUP_FREE struct key8 *k8 = NEW_ARRAY(struct key8, n + 1);
    int r;

    for (size_t i = 0; i < n; i++) {
        k10[i] = key_queue_entry(ids[i], numbers[i]);
        k8[i] = key_account(ids[i]);
        keys[i] = KEY_SLICE(k10[i]);
        keys[n + i] = KEY_SLICE(k8[i]);
    }
    r = store_get(q->store, STORE_QUEUEENTRIES, keys, n, STORE_HEAD, STORE_MAJORITY, &entries, err);
    if (r == 0)
        r = store_get(q->store, STORE_QUEUE, keys + n, n, STORE_HEAD, STORE_MAJORITY, &envelopes,
                      err);
    if (r < 0)
        return r;
    queue_heard(q, entries.time);
    for (size_t i = 0; i < n; i++)
        found_one(&entries.items[i], &envelopes.items[i], entries.time, ids[i], numbers[i],
                  &ret[i]);
    return 0;
}

void queue_found_done(struct queue_found *found)
{
    arena_done(&found->arena);
}

/* --- changing -------------------------------------------------------------------------------- */

/* What is there now. 1: our change; 0: what it was made on (or older); -ERR_CONFLICT: another's,
 * in *entry. */
static int read_back(struct queue *q, struct queue_entry *entry, uint64_t mark, struct arena *arena,
                     struct error *err)
{
    struct key10 key = key_queue_entry(entry->id, entry->number);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct queue_entry there;
    int r = store_get(q->store, STORE_QUEUEENTRIES, (struct slice[]){KEY_SLICE(key)}, 1, STORE_HEAD,
                      STORE_MAJORITY, &docs, err);

    if (r < 0)
        return r;
    if (!docs.items[0].found)
        return error_set(err, ERR_NOTFOUND, "the entry is gone");
    if (docs.items[0].version == entry->version)
        return 0;
    r = queue_entry_decode(entry->id, entry->number, docs.items[0].head, arena, &there, err);
    if (r < 0)
        return r;
    queue_heard(q, docs.time);
    there.version = docs.items[0].version;
    there.read_ms = docs.time;
    if (there.mark == mark) {
        entry->version = there.version;
        entry->read_ms = docs.time;
        return 1;
    }
    *entry = there;
    return -ERR_CONFLICT;
}

/* 1: in; -ERR_CONFLICT: *entry is newer now. */
static int write_once(struct queue *q, struct queue_entry *entry, struct arena *arena,
                      int64_t until, struct error *err)
{
    CLEANUP(buf_done) struct buf head = buf_make(STORE_HEAD_MAX);
    struct key10 key = key_queue_entry(entry->id, entry->number);
    struct store_change change = {.table = STORE_QUEUEENTRIES,
                                  .key = KEY_SLICE(key),
                                  .version = entry->version,
                                  .set_head = true,
                                  .last = entry->done};
    int64_t time = 0;
    int r = 0;

    queue_entry_encode(entry, &head);
    change.head = buf_slice(&head);
    for (int round = 0; round == 0 || clock_mono_ms() < until; round++) {
        if (round)
            queue_pause(round);
        r = store_update(q->store, &change, &entry->version, &time, err);
        if (r == 0) {
            queue_heard(q, time);
            entry->read_ms = time;
            return 1;
        }
        if (r != -ERR_CONFLICT && r != -ERR_UNKNOWN_OUTCOME && r != -ERR_UNAVAILABLE)
            return r;
        if (r == -ERR_UNAVAILABLE)
            continue;
        r = read_back(q, entry, entry->mark, arena, err);
        if (r == 1 || r == -ERR_CONFLICT || r == -ERR_INTERNAL)
            return r;
    }
    return r == -ERR_NOTFOUND ? r : error_set(err, ERR_UNAVAILABLE, "the store does not answer");
}

/* Edits are made on a copy: what is not known to be in is not shown. */
static struct queue_entry copy_of(const struct queue_entry *entry, struct arena *arena)
{
    struct queue_entry copy = *entry;

    copy.targets = arena_array(arena, entry->n, sizeof *copy.targets);
    if (entry->n)
        memcpy(copy.targets, entry->targets, entry->n * sizeof *copy.targets);
    return copy;
}

int queue_change(struct queue *q, struct queue_entry *entry, struct arena *arena,
                 int (*edit)(void *ctx, struct queue_entry *entry), void *ctx, struct error *err)
{
    int64_t until = clock_mono_ms() + q->patience_ms;
    uint64_t mark = random_u64();

    for (int round = 0; round == 0 || clock_mono_ms() < until; round++) {
        struct queue_entry work = copy_of(entry, arena);
        int r;

        if (round)
            queue_pause(round);
        r = edit(ctx, &work);
        if (r <= 0)
            return r;
        work.mark = mark;
        r = write_once(q, &work, arena, until, err);
        if (r == 1 || r == -ERR_CONFLICT)
            *entry = work;
        if (r != -ERR_CONFLICT)
            return r;
    }
    return error_set(err, ERR_UNAVAILABLE, "others keep changing the entry");
}

/* --- rows ------------------------------------------------------------------------------------ */

struct queue_row queue_row_of(const struct queue_entry *e, int priority, int64_t deadline_ms)
{
    return (struct queue_row){.when_ms = e->row_ms,
                              .id = e->id,
                              .number = e->number,
                              .turn = e->turn,
                              .priority = priority,
                              .deadline_ms = deadline_ms,
                              .destination = slice_str(e->destination)};
}

void queue_entry_move(struct queue_entry *e, int64_t row_ms)
{
    e->row_ms = row_ms;
    e->turn++;
}

int queue_row_renew(struct queue *q, const struct queue_entry *e, const struct queue_stored *stored,
                    int64_t deadline_ms, struct slice old_row, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct queue_row row = queue_row_of(e, stored->envelope.priority, deadline_ms);
    int64_t time;
    int r = 0;

    if (!e->done && !e->held) {
        struct store_item item = queue_row_item(&row, &arena);

        if (slice_eq(item.key, old_row))
            return 0;
        r = queue_insert_surely(q, &item, 1, NULL, &time, err);
    }
    return r < 0 ? r : store_delete(q->store, STORE_QUEUEDUE, &old_row, 1, err);
}

/* --- the end of a message -------------------------------------------------------------------- */

int queue_all_done(struct queue *q, uint64_t id, const struct queue_stored *stored,
                   struct error *err)
{
    struct key10 from = key_queue_entry(id, 0), to = key_queue_entry(id, UINT16_MAX);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    CLEANUP(arena_done) struct arena arena = {0};
    unsigned done = 0;
    int r = store_range(q->store,
                        &(struct store_query){.table = STORE_QUEUEENTRIES,
                                              .from = KEY_SLICE(from),
                                              .to = KEY_SLICE(to),
                                              .parts = STORE_HEAD,
                                              .level = STORE_MAJORITY},
                        &docs, err);

    for (size_t i = 0; i < docs.n && r == 0; i++) {
        struct queue_entry e;

        if (queue_entry_decode(id, 0, docs.items[i].head, &arena, &e, NULL) == 0)
            done += e.done && queue_tag_eq(&e.tag, &stored->tag);
    }
    return r < 0 ? r : done >= stored->entries;
}

int queue_pieces_delete(struct queue *q, uint64_t id, uint64_t size, struct error *err)
{
    size_t n = (size_t)((size + QUEUE_PIECE - 1) / QUEUE_PIECE);
    CLEANUP_FREE struct key12 *keys = NEW_ARRAY(struct key12, n + 1);
    CLEANUP_FREE struct slice *slices = NEW_ARRAY(struct slice, n + 1);

    for (size_t i = 0; i < n; i++) {
        keys[i] = key_queue_body(id, (uint32_t)i);
        slices[i] = KEY_SLICE(keys[i]);
    }
    return store_delete(q->store, STORE_QUEUEBODIES, slices, n, err);
}
