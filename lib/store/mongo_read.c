/* SPDX-License-Identifier: MPL-2.0 */
/* Reads by key and by range; mongo.c has the essay.
 *
 * No cursor lives longer than one reply: a range goes on with a new command behind the last key
 * that came, so each page stands for itself (a linearizable one is proven whole), and nothing has
 * to be fetched from, or remembered by, one particular server.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "lib/store/mongo_impl.h"

#define PAGE_DOCS 10000
#define GET_KEYS  100 /* in one command */
/* Keys that may lie close together. */
#define ALONG_MIN  16
#define ALONG_KEYS 1000

/* --- pages ----------------------------------------------------------------------------------- */

static void add_projection(bson_t *command, const char *field, enum store_parts parts)
{
    bson_t fields;

    if (parts == STORE_BOTH)
        return;
    bson_append_document_begin(command, field, -1, &fields);
    bson_append_int32(&fields, FIELD_STAMP, -1, 1);
    if (parts == STORE_HEAD)
        bson_append_int32(&fields, FIELD_HEAD, -1, 1);
    if (parts == STORE_BODY)
        bson_append_int32(&fields, FIELD_BODY, -1, 1);
    bson_append_document_end(command, &fields);
}

static const char *concern_of(enum store_level level)
{
    if (PLANTED(local_reads))
        return "local";
    return level == STORE_LINEARIZABLE ? "linearizable" : "majority";
}

/* Even what any member may answer is read at majority: it costs nothing there, and what is rolled
 * back later is never seen. */
static void add_level(bson_t *command, const struct mongo *m, enum store_level level)
{
    BCON_APPEND(command, "readConcern", "{", "level", concern_of(level), "}", "maxTimeMS",
                BCON_INT32(m->command_ms));
}

static void take_doc(const bson_iter_t *element, struct store_doc *doc)
{
    bson_iter_t it;

    if (!BSON_ITER_HOLDS_DOCUMENT(element) || !bson_iter_recurse(element, &it))
        return;
    while (bson_iter_next(&it)) {
        const char *key = bson_iter_key(&it);

        if (strcmp(key, "_id") == 0)
            doc->key = mongo_key_of(&it);
        else if (strcmp(key, FIELD_HEAD) == 0)
            doc->head = mongo_key_of(&it);
        else if (strcmp(key, FIELD_BODY) == 0)
            doc->body = mongo_key_of(&it);
        else if (strcmp(key, FIELD_STAMP) == 0)
            doc->version = mongo_stamp_of(&it);
    }
    doc->stored_ms = (int64_t)(doc->version >> 32) * 1000;
    doc->found = true;
}

static void keep_bytes(struct arena *arena, struct store_doc *doc)
{
    doc->key = arena_slice(arena, doc->key);
    doc->head = arena_slice(arena, doc->head);
    doc->body = arena_slice(arena, doc->body);
}

/* The documents of a reply, as an iterator over their array. */
static bool open_batch(const bson_t *reply, bson_iter_t *ret_docs)
{
    bson_iter_t it, batch;

    return bson_iter_init(&it, reply) &&
           bson_iter_find_descendant(&it, "cursor.firstBatch", &batch) &&
           bson_iter_recurse(&batch, ret_docs);
}

static int64_t cursor_id(const bson_t *reply)
{
    bson_iter_t it, id;

    return bson_iter_init(&it, reply) && bson_iter_find_descendant(&it, "cursor.id", &id)
               ? bson_iter_as_int64(&id)
               : 0;
}

/* A reply that ended at 16 MB has left a cursor behind. It may be another server's; then that one
 * drops it after ten minutes. */
static void drop_cursor(struct mongo *m, enum store_table table, enum store_level level, int64_t id)
{
    struct mongo_answer a;

    mongo_read(
        m, BCON_NEW("killCursors", store_table_name(table), "cursors", "[", BCON_INT64(id), "]"),
        level, &a);
    mongo_answer_done(&a);
}

static void note_time(struct store_docs *docs, int64_t time)
{
    if (docs->time == 0 || time < docs->time)
        docs->time = time; /* of several replies the oldest: true for all of them */
}

/* --- ranges ---------------------------------------------------------------------------------- */

/* Where the next page begins: behind `last`, if that is set. */
static void add_bounds(bson_t *command, const struct store_query *q, struct slice last)
{
    bool down = q->descending;
    bson_t filter, id;

    bson_append_document_begin(command, "filter", -1, &filter);
    if (q->from.n || q->to.n || last.n) {
        bson_append_document_begin(&filter, "_id", -1, &id);
        if (last.n && !down)
            mongo_add_key(&id, "$gt", q->table, last);
        else if (q->from.n)
            mongo_add_key(&id, "$gte", q->table, q->from);
        if (last.n && down)
            mongo_add_key(&id, "$lt", q->table, last);
        else if (q->to.n)
            mongo_add_key(&id, "$lt", q->table, q->to);
        bson_append_document_end(&filter, &id);
    }
    bson_append_document_end(command, &filter);
}

static bson_t *range_command(const struct mongo *m, const struct store_query *q, struct slice last,
                             size_t want)
{
    bson_t *command = bson_new();

    bson_append_utf8(command, "find", -1, store_table_name(q->table), -1);
    add_bounds(command, q, last);
    BCON_APPEND(command, "sort", "{", "_id", BCON_INT32(q->descending ? -1 : 1), "}", "limit",
                BCON_INT64((int64_t)want), "batchSize", BCON_INT64((int64_t)want));
    add_projection(command, "projection", q->parts);
    add_level(command, m, q->level);
    return command;
}

/* How many documents fill the rest of max_bytes, by those seen so far or, at first, by a guess. One
 * more than the limit allows, to learn whether there is one. */
static size_t page_size(const struct store_query *q, const struct store_docs *docs, size_t bytes)
{
    size_t left = q->limit - docs->n;
    size_t mean = docs->n                 ? bytes / docs->n + 1
                  : q->parts & STORE_BODY ? 16384
                  : q->parts              ? 512
                                          : 48;
    size_t fit = (q->max_bytes - MIN(bytes, q->max_bytes)) / mean + 1;
    size_t want = MIN(MIN(left, fit), (size_t)PAGE_DOCS);

    return want + 1;
}

struct range {
    struct mongo *m;
    const struct store_query *q;
    struct store_docs *docs;
    size_t bytes;
    bool ended;
};

/* Takes what fits; true: limit or max_bytes were met, and there is more. */
static void take_page(struct range *r, const bson_t *reply, size_t want)
{
    struct store_docs *docs = r->docs;
    size_t came = 0;
    bson_iter_t it;

    if (!open_batch(reply, &it)) {
        r->ended = true;
        return;
    }
    while (bson_iter_next(&it)) {
        struct store_doc *doc;

        came++;
        if (docs->n >= r->q->limit || (docs->n && r->bytes >= r->q->max_bytes)) {
            docs->more = r->ended = true;
            return;
        }
        doc = store_docs_push(docs);
        take_doc(&it, doc);
        keep_bytes(&docs->arena, doc);
        r->bytes += store_doc_bytes(doc);
    }
    r->ended = came < want && cursor_id(reply) == 0;
}

static int read_page(struct range *r, struct error *err)
{
    struct store_docs *docs = r->docs;
    struct slice last = docs->n ? docs->items[docs->n - 1].key : slice_of(NULL, 0);
    size_t want = page_size(r->q, docs, r->bytes);
    struct mongo_answer a;
    int64_t cursor = 0;
    int result = 0;

    mongo_read(r->m, range_command(r->m, r->q, last, want), r->q->level, &a);
    if (a.fate == MONGO_RAN) {
        note_time(docs, a.time);
        cursor = cursor_id(&a.reply);
        take_page(r, &a.reply, want);
    } else {
        result = mongo_fail(&a, false, err);
    }
    mongo_answer_done(&a);
    if (cursor)
        drop_cursor(r->m, r->q->table, r->q->level, cursor);
    return result;
}

int mongo_range(struct store *s, const struct store_query *query, struct store_docs *docs,
                struct error *err)
{
    struct range r = {mongo_of(s), query, docs};
    int64_t deadline = mongo_deadline(r.m);
    int result = 0;

    while (result == 0 && !r.ended) {
        if (clock_mono_ms() > deadline)
            return error_set(err, ERR_UNAVAILABLE, "MongoDB: a range took too long");
        result = read_page(&r, err);
    }
    return result;
}

/* --- keys ------------------------------------------------------------------------------------ */

/* The keys that are still to be found, in key order; several may be equal. */
struct wanted {
    const struct slice *keys;
    uint32_t *index; /* into keys and docs->items */
    size_t n;
};

struct lookup {
    struct mongo *m;
    enum store_table table;
    enum store_parts parts;
    enum store_level level;
    struct store_docs *docs;
};

static int compare_wanted(const void *a, const void *b, void *ctx)
{
    const struct slice *keys = ctx;

    return slice_cmp(keys[*(const uint32_t *)a], keys[*(const uint32_t *)b]);
}

/* The first wanted[] whose key is not below `key`. */
static size_t seek_wanted(const struct wanted *w, struct slice key)
{
    size_t low = 0, high = w->n;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (slice_cmp(w->keys[w->index[mid]], key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Gives a document to all who asked for it. */
static void give_doc(const struct lookup *l, const struct wanted *w, const struct store_doc *doc)
{
    size_t i = seek_wanted(w, doc->key);
    struct store_doc kept = *doc;

    if (i == w->n || !slice_eq(w->keys[w->index[i]], doc->key) || l->docs->items[w->index[i]].found)
        return;
    keep_bytes(&l->docs->arena, &kept);
    for (; i < w->n && slice_eq(w->keys[w->index[i]], kept.key); i++)
        l->docs->items[w->index[i]] = kept;
}

static bson_t *get_one_command(const struct lookup *l, struct slice key)
{
    bson_t *command = bson_new(), filter;

    bson_append_utf8(command, "find", -1, store_table_name(l->table), -1);
    bson_append_document_begin(command, "filter", -1, &filter);
    mongo_add_key(&filter, "_id", l->table, key);
    bson_append_document_end(command, &filter);
    bson_append_int32(command, "limit", -1, 1);
    add_projection(command, "projection", l->parts);
    add_level(command, l->m, l->level);
    return command;
}

static bson_t *get_many_command(const struct lookup *l, const struct wanted *w)
{
    bson_t *command = bson_new(), filter, id, in;

    bson_append_utf8(command, "find", -1, store_table_name(l->table), -1);
    bson_append_document_begin(command, "filter", -1, &filter);
    bson_append_document_begin(&filter, "_id", -1, &id);
    bson_append_array_begin(&id, "$in", -1, &in);
    for (size_t i = 0; i < w->n; i++) {
        struct mongo_index room;
        size_t n;
        const char *name = mongo_index(&room, i, &n);

        mongo_add_key(&in, name, l->table, w->keys[w->index[i]]);
    }
    bson_append_array_end(&id, &in);
    bson_append_document_end(&filter, &id);
    bson_append_document_end(command, &filter);
    bson_append_int32(command, "batchSize", -1, GET_KEYS + 1);
    add_projection(command, "projection", l->parts);
    add_level(command, l->m, l->level);
    return command;
}

/* {$match: {_id: key}}, and what of it is wanted. */
static void add_stages(bson_t *pipeline, const struct lookup *l, struct slice key)
{
    bson_t stage, match;

    bson_append_document_begin(pipeline, "0", -1, &stage);
    bson_append_document_begin(&stage, "$match", -1, &match);
    mongo_add_key(&match, "_id", l->table, key);
    bson_append_document_end(&stage, &match);
    bson_append_document_end(pipeline, &stage);
    if (l->parts == STORE_BOTH)
        return;
    bson_append_document_begin(pipeline, "1", -1, &stage);
    add_projection(&stage, "$project", l->parts);
    bson_append_document_end(pipeline, &stage);
}

/* A clustered collection answers "$in" by a scan of all that it holds (6.0, seen by explain). A
 * union of look-ups is planned one by one, and is still one command. */
static bson_t *get_clustered_command(const struct lookup *l, const struct wanted *w)
{
    const char *table = store_table_name(l->table);
    bson_t *command = bson_new(), pipeline, stage, with, inner;
    size_t head = l->parts == STORE_BOTH ? 1 : 2;

    bson_append_utf8(command, "aggregate", -1, table, -1);
    bson_append_array_begin(command, "pipeline", -1, &pipeline);
    add_stages(&pipeline, l, w->keys[w->index[0]]);
    for (size_t i = 1; i < w->n; i++) {
        struct mongo_index room;
        size_t n;
        const char *name = mongo_index(&room, head + i - 1, &n);

        bson_append_document_begin(&pipeline, name, (int)n, &stage);
        bson_append_document_begin(&stage, "$unionWith", -1, &with);
        bson_append_utf8(&with, "coll", -1, table, -1);
        bson_append_array_begin(&with, "pipeline", -1, &inner);
        add_stages(&inner, l, w->keys[w->index[i]]);
        bson_append_array_end(&with, &inner);
        bson_append_document_end(&stage, &with);
        bson_append_document_end(&pipeline, &stage);
    }
    bson_append_array_end(command, &pipeline);
    BCON_APPEND(command, "cursor", "{", "batchSize", BCON_INT32(GET_KEYS + 1), "}");
    add_level(command, l->m, l->level);
    return command;
}

static bson_t *get_command(const struct lookup *l, const struct wanted *w)
{
    if (w->n == 1)
        return get_one_command(l, w->keys[w->index[0]]);
    return l->m->clustered[l->table] ? get_clustered_command(l, w) : get_many_command(l, w);
}

/* Takes the found out of the wanted. */
static void forget_found(const struct lookup *l, struct wanted *w)
{
    size_t kept = 0;

    for (size_t i = 0; i < w->n; i++)
        if (!l->docs->items[w->index[i]].found)
            w->index[kept++] = w->index[i];
    w->n = kept;
}

/* One command for a part of the keys. *ret_cut: the reply was full, those that are not found may be
 * there all the same; at least one was found then. */
static int look_once(const struct lookup *l, struct wanted *w, bool *ret_cut, struct error *err)
{
    struct mongo_answer a;
    bson_iter_t it;
    int64_t cursor = 0;
    int r = 0;

    mongo_read(l->m, get_command(l, w), l->level, &a);
    if (a.fate != MONGO_RAN) {
        r = mongo_fail(&a, false, err);
    } else {
        note_time(l->docs, a.time);
        cursor = cursor_id(&a.reply);
        if (open_batch(&a.reply, &it)) {
            while (bson_iter_next(&it)) {
                struct store_doc doc = {0};

                take_doc(&it, &doc);
                give_doc(l, w, &doc);
            }
        }
    }
    mongo_answer_done(&a);
    if (cursor)
        drop_cursor(l->m, l->table, l->level, cursor);
    *ret_cut = cursor != 0;
    return r;
}

/* --- keys that lie close together --- */

/* A union costs MongoDB half a millisecond a key. Messages that came one after the other, which is
 * what a mailbox is read in, have keys in a row: then to read along from the first to the last,
 * with some between that nobody asked for, is an order of magnitude cheaper. The bodies of those
 * between may be large, but a reply is 16 MB at most, and the first one of little use is the last.
 */
static bson_t *along_command(const struct lookup *l, const struct wanted *w, size_t limit)
{
    bson_t *command = bson_new(), filter, id;

    bson_append_utf8(command, "find", -1, store_table_name(l->table), -1);
    bson_append_document_begin(command, "filter", -1, &filter);
    bson_append_document_begin(&filter, "_id", -1, &id);
    mongo_add_key(&id, "$gte", l->table, w->keys[w->index[0]]);
    mongo_add_key(&id, "$lte", l->table, w->keys[w->index[w->n - 1]]);
    bson_append_document_end(&filter, &id);
    bson_append_document_end(command, &filter);
    BCON_APPEND(command, "sort", "{", "_id", BCON_INT32(1), "}", "limit",
                BCON_INT64((int64_t)limit), "batchSize", BCON_INT64((int64_t)limit));
    add_projection(command, "projection", l->parts);
    add_level(command, l->m, l->level);
    return command;
}

struct along {
    size_t limit;
    size_t came, useful; /* documents of the reply; with bodies: their bytes */
    size_t n;            /* documents of the reply */
    size_t decided; /* of so many of the wanted, from the first, it is known whether they are */
};

/* How many of the wanted are not above `key`. */
static size_t wanted_up_to(const struct wanted *w, struct slice key)
{
    size_t i = seek_wanted(w, key);

    while (i < w->n && slice_eq(w->keys[w->index[i]], key))
        i++;
    return i;
}

static void take_along(const struct lookup *l, const struct wanted *w, const bson_t *reply,
                       struct along *a)
{
    bson_iter_t it;
    struct store_doc doc = {0};

    if (!open_batch(reply, &it))
        return;
    while (bson_iter_next(&it)) {
        size_t at, weight;

        doc = (struct store_doc){0};
        take_doc(&it, &doc);
        at = seek_wanted(w, doc.key);
        weight = l->parts & STORE_BODY ? store_doc_bytes(&doc) : 1;
        a->n++;
        a->came += weight;
        a->useful += at < w->n && slice_eq(w->keys[w->index[at]], doc.key) ? weight : 0;
        give_doc(l, w, &doc);
    }
    a->decided = a->n < a->limit && !cursor_id(reply) ? w->n : wanted_up_to(w, doc.key);
}

static int look_along(const struct lookup *l, const struct wanted *w, struct along *ret,
                      struct error *err)
{
    struct mongo_answer a;
    int64_t cursor = 0;
    int r = 0;

    *ret = (struct along){.limit = 2 * w->n};
    mongo_read(l->m, along_command(l, w, ret->limit), l->level, &a);
    if (a.fate != MONGO_RAN) {
        r = mongo_fail(&a, false, err);
    } else {
        note_time(l->docs, a.time);
        cursor = cursor_id(&a.reply);
        take_along(l, w, &a.reply, ret);
    }
    mongo_answer_done(&a);
    if (cursor)
        drop_cursor(l->m, l->table, l->level, cursor);
    return r;
}

/* Looks at the next keys of w, from `at` on: *part afterwards holds those of them that are absent,
 * and *ret_n how many were looked at. *along: reading along is worth it. */
static int look_at_next(const struct lookup *l, const struct wanted *w, size_t at, bool *along,
                        struct wanted *part, size_t *ret_n, int64_t deadline, struct error *err)
{
    size_t left = w->n - at;
    bool cut = true;
    struct along a;
    int r = 0;

    *part = (struct wanted){w->keys, w->index + at, MIN(left, (size_t)ALONG_KEYS)};
    if (*along && left >= ALONG_MIN) {
        r = look_along(l, part, &a, err);
        *ret_n = part->n = r < 0 ? 0 : a.decided;
        *along = r == 0 && a.useful * 2 >= a.came && a.decided;
        forget_found(l, part);
        return r;
    }
    *ret_n = part->n = MIN(left, (size_t)GET_KEYS);
    while (r == 0 && cut && part->n) {
        r = clock_mono_ms() > deadline
                ? error_set(err, ERR_UNAVAILABLE, "MongoDB: a read took too long")
                : look_once(l, part, &cut, err);
        forget_found(l, part);
    }
    return r;
}

/* Afterwards w holds those that are absent. */
static int look_up(const struct lookup *l, struct wanted *w, struct error *err)
{
    bool along = l->m->clustered[l->table];
    int64_t deadline = mongo_deadline(l->m);
    size_t absent = 0;
    int r = 0;

    for (size_t at = 0; at < w->n && r == 0;) {
        struct wanted part;
        size_t all;

        r = look_at_next(l, w, at, &along, &part, &all, deadline, err);
        memmove(w->index + absent, part.index, part.n * sizeof *part.index);
        absent += part.n;
        at += all;
    }
    w->n = absent;
    return r;
}

int mongo_get(struct store *s, enum store_table table, const struct slice *keys, size_t n,
              enum store_parts parts, enum store_level level, struct store_docs *docs,
              struct error *err)
{
    struct lookup l = {mongo_of(s), table, parts, level, docs};
    CLEANUP_FREE uint32_t *index = NULL;
    struct wanted w = {keys, NULL, n};
    int r;

    if (n > UINT32_MAX)
        return error_set(err, ERR_INVALID, "%zu keys at once", n);
    w.index = index = NEW_ARRAY(uint32_t, n);
    docs->items = arena_array(&docs->arena, n, sizeof *docs->items);
    docs->n = n;
    for (size_t i = 0; i < n; i++) {
        index[i] = (uint32_t)i;
        docs->items[i].key = arena_slice(&docs->arena, keys[i]);
    }
    qsort_r(index, n, sizeof *index, compare_wanted, (void *)(uintptr_t)keys);
    r = look_up(&l, &w, err);
    if (r == 0 && level == STORE_ANY && w.n) { /* a secondary may not have it yet */
        l.level = STORE_MAJORITY;
        r = look_up(&l, &w, err);
    }
    return r;
}
