/* SPDX-License-Identifier: MPL-2.0 */
/* Inserts and deletes; mongo.c has the essay.
 *
 * An insert is one command for each table, or more where a table's documents fill more than one.
 * The first is sent by the calling thread, the others meanwhile by helpers: they do not depend on
 * each other (a store that is not atomic promises no order), and each waits for a journal. Those of
 * tables whose callers are gathered (mongo_group.c) go together with other callers'.
 */
#include "lib/base/clock.h"
#include "lib/base/fault.h"
#include "lib/base/mem.h"
#include "lib/store/mongo_impl.h"

/* A message may have 48 MB, but the documents stand in the command itself, which ends at 16 MB and
 * 16 KB; the driver has no public way to send them beside it. */
#define COMMAND_BYTES ((size_t)16 << 20)
#define COMMAND_DOCS  100000
#define DOC_OVERHEAD  64 /* of names, types and lengths, with the element's own name */
#define DUPLICATE_KEY 11000
#define DELETE_KEYS   1000 /* in one command: bounded in time, not only in size */

/* --- insert ---------------------------------------------------------------------------------- */

/* One command, or a part of one: the items[index[0..n)] of one table. */
struct batch {
    struct mongo_member member;
    struct pool_job job;
    struct mongo *m;
    struct store_item *items;
    const uint32_t *index;
    size_t n;
    int64_t deadline; /* not sent after it */
    int64_t time;
    bool ran, lost;
    struct error cause;
};

/* The documents of one command: of one batch, or of several. */
struct docs {
    struct store_item **items;
    size_t n, bytes;
    struct error cause;
};

static size_t item_bytes(const struct store_item *i)
{
    return i->key.n + i->head.n + i->body.n + DOC_OVERHEAD;
}

static void add_item(bson_t *docs, size_t at, const struct store_item *item)
{
    struct mongo_index room;
    size_t n;
    const char *name = mongo_index(&room, at, &n);
    bson_t doc;

    bson_append_document_begin(docs, name, (int)n, &doc);
    mongo_add_key(&doc, "_id", item->table, item->key);
    if (item->head.n)
        mongo_add_binary(&doc, FIELD_HEAD, item->head);
    if (item->body.n)
        mongo_add_binary(&doc, FIELD_BODY, item->body);
    bson_append_timestamp(&doc, FIELD_STAMP, 1, 0, 0);
    bson_append_document_end(docs, &doc);
}

static bson_t *insert_command(const struct docs *d)
{
    bson_t *command = bson_sized_new(d->bytes + 256), docs;

    bson_append_utf8(command, "insert", -1, store_table_name(d->items[0]->table), -1);
    bson_append_bool(command, "ordered", -1, false);
    bson_append_array_begin(command, "documents", -1, &docs);
    for (size_t i = 0; i < d->n; i++)
        add_item(&docs, i, d->items[i]);
    bson_append_array_end(command, &docs);
    return command;
}

static void set_outcomes(const struct docs *d, enum store_outcome outcome)
{
    for (size_t i = 0; i < d->n; i++)
        d->items[i]->outcome = outcome;
}

/* Of the document itself: it does not go in, now or later. */
static bool is_final(int64_t code)
{
    return code == 10334 /* BSONObjectTooLarge */ || code == 121 /* DocumentValidationFailure */ ||
           code == 14031 /* OutOfDiskSpace */ || code == 13 /* Unauthorized */;
}

static enum store_outcome outcome_of(int64_t code, bool vague)
{
    if (code == DUPLICATE_KEY)
        return STORE_TAKEN;
    return is_final(code) && !vague ? STORE_REFUSED : STORE_UNKNOWN;
}

/* One element of writeErrors. Its index is -1 if it makes no sense. */
static int64_t read_write_error(bson_iter_t *one, int64_t *ret_code)
{
    bson_iter_t field;
    int64_t index = -1;

    *ret_code = 0;
    if (!BSON_ITER_HOLDS_DOCUMENT(one) || !bson_iter_recurse(one, &field))
        return -1;
    while (bson_iter_next(&field)) {
        if (strcmp(bson_iter_key(&field), "index") == 0)
            index = bson_iter_as_int64(&field);
        else if (strcmp(bson_iter_key(&field), "code") == 0)
            *ret_code = bson_iter_as_int64(&field);
    }
    return index;
}

/* The command ran: who is in? */
static void read_outcomes(struct docs *d, const struct mongo_answer *a)
{
    bson_iter_t it, one;
    size_t failed = 0;
    int64_t in = 0;

    set_outcomes(d, a->vague ? STORE_UNKNOWN : STORE_DONE);
    if (bson_iter_init_find(&it, &a->reply, "writeErrors") && BSON_ITER_HOLDS_ARRAY(&it) &&
        bson_iter_recurse(&it, &one)) {
        while (bson_iter_next(&one)) {
            int64_t code, index = read_write_error(&one, &code);

            if (index < 0 || (size_t)index >= d->n)
                continue; /* the count below will not agree */
            failed++;
            d->items[index]->outcome = outcome_of(code, a->vague);
            if (code != DUPLICATE_KEY)
                error_set(&d->cause, ERR_UNKNOWN_OUTCOME, "a document met error %d", (int)code);
        }
    }
    if (bson_iter_init_find(&it, &a->reply, "n"))
        in = bson_iter_as_int64(&it);
    if (in != (int64_t)(d->n - failed) && !a->vague) {
        set_outcomes(d, STORE_UNKNOWN);
        error_set(&d->cause, ERR_UNKNOWN_OUTCOME, "the reply to an insert contradicts itself");
    }
}

/* Those that are not too late yet. */
static struct docs collect(struct batch *const *batches, size_t n)
{
    struct docs d = {0};
    int64_t now = clock_mono_ms();
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += batches[i]->n;
    d.items = NEW_ARRAY(struct store_item *, count + 1);
    for (size_t i = 0; i < n; i++) {
        struct batch *b = batches[i];

        if (now > b->deadline) { /* the outcomes are STORE_REFUSED already */
            error_set(&b->cause, ERR_UNAVAILABLE, "no time was left");
            continue;
        }
        for (size_t k = 0; k < b->n; k++) {
            d.items[d.n++] = &b->items[b->index[k]];
            d.bytes += item_bytes(d.items[d.n - 1]);
        }
    }
    return d;
}

static void send_together(struct mongo *m, struct batch *const *batches, size_t n)
{
    struct docs d = collect(batches, n);
    struct mongo_answer a;

    if (d.n) {
        const char *table = store_table_name(d.items[0]->table);

        fault_point("part", table, "before");
        mongo_write(m, insert_command(&d), &a);
        fault_point("part", table, "after");
        d.cause = a.cause;
        if (a.fate == MONGO_RAN)
            read_outcomes(&d, &a);
        else
            set_outcomes(&d, a.fate == MONGO_LOST ? STORE_UNKNOWN : STORE_REFUSED);
        for (size_t i = 0; i < n; i++) {
            if (batches[i]->cause.kind)
                continue; /* it came too late */
            batches[i]->ran = a.fate == MONGO_RAN;
            batches[i]->lost = a.fate == MONGO_LOST;
            batches[i]->time = a.time;
            batches[i]->cause = d.cause;
        }
        mongo_answer_done(&a);
    }
    free(d.items);
}

void mongo_insert_members(struct mongo *m, struct mongo_member **members, size_t n)
{
    CLEANUP_FREE struct batch **batches = NEW_ARRAY(struct batch *, n);

    for (size_t i = 0; i < n; i++)
        batches[i] = CONTAINER_OF(members[i], struct batch, member);
    send_together(m, batches, n);
}

static void run_batch(struct pool_job *job)
{
    struct batch *b = CONTAINER_OF(job, struct batch, job);

    send_together(b->m, &b, 1);
    mongo_latch_count(b->member.latch);
}

static void send_batches(struct mongo *m, struct batch *batches, size_t n)
{
    struct mongo_latch l = MONGO_LATCH(n);
    struct batch *own = NULL;

    for (size_t i = 0; i < n; i++) {
        struct batch *b = &batches[i];
        struct mongo_group *group = m->inserts[b->items[b->index[0]].table];

        b->member.latch = &l;
        b->job.run = run_batch;
        if (group)
            mongo_group_add(group, &b->member);
        else if (own)
            pool_submit(m->helpers, &b->job);
        else
            own = b;
    }
    if (own)
        run_batch(&own->job);
    mongo_latch_wait(&l);
}

/* Items in the order of their tables, so that each batch is a run of it. */
static uint32_t *order_by_table(const struct store_item *items, size_t n)
{
    size_t start[STORE_TABLES_ + 1] = {0};
    uint32_t *index = NEW_ARRAY(uint32_t, n);

    for (size_t i = 0; i < n; i++)
        start[items[i].table + 1]++;
    for (int t = 0; t < STORE_TABLES_; t++)
        start[t + 1] += start[t];
    for (size_t i = 0; i < n; i++)
        index[start[items[i].table]++] = (uint32_t)i;
    return index;
}

struct batches {
    struct batch *items;
    size_t n, cap;
};

static void cut_batches(struct mongo *m, struct store_item *items, const uint32_t *index, size_t n,
                        struct batches *ret)
{
    int64_t deadline = mongo_deadline(m);
    size_t bytes = 0;
    struct batch *b = NULL;

    for (size_t i = 0; i < n; i++) {
        const struct store_item *item = &items[index[i]];

        if (!b || b->n == COMMAND_DOCS || bytes + item_bytes(item) > COMMAND_BYTES ||
            items[b->index[0]].table != item->table) {
            b = VEC_PUSH(ret);
            *b = (struct batch){.m = m, .items = items, .index = &index[i], .deadline = deadline};
            bytes = 0;
        }
        b->n++;
        bytes += item_bytes(item);
        b->member.bytes = bytes;
    }
}

/* The whole of what the batches met; see store_insert. */
static int sum_up(const struct batches *all, const struct store_item *items, size_t n,
                  int64_t *ret_time, struct error *err)
{
    bool unknown = false, ran = false;
    const struct batch *worst = &all->items[0];

    for (size_t i = 0; i < n; i++)
        unknown = unknown || items[i].outcome == STORE_UNKNOWN;
    for (size_t i = 0; i < all->n; i++) {
        const struct batch *b = &all->items[i];

        ran = ran || b->ran;
        *ret_time = MAX(*ret_time, b->time);
        if (b->lost || (b->cause.kind && !worst->lost))
            worst = b;
    }
    if (unknown)
        return error_set(err, ERR_UNKNOWN_OUTCOME, "MongoDB: %s", worst->cause.text);
    return ran ? 0 : error_set(err, ERR_UNAVAILABLE, "MongoDB: %s", worst->cause.text);
}

int mongo_insert(struct store *s, struct store_item *items, size_t n, int64_t *ret_time,
                 struct error *err)
{
    CLEANUP_FREE uint32_t *index = NULL;
    struct batches all = {0};
    int r;

    if (n > UINT32_MAX)
        return error_set(err, ERR_INVALID, "%zu documents at once", n);
    index = order_by_table(items, n);
    cut_batches(mongo_of(s), items, index, n, &all);
    send_batches(mongo_of(s), all.items, all.n);
    *ret_time = 0;
    r = sum_up(&all, items, n, ret_time, err);
    VEC_DONE(&all);
    return r;
}

/* --- deletes --------------------------------------------------------------------------------- */

/* Runs a delete; counts into *n. */
static int send_delete(struct mongo *m, bson_t *command, uint64_t *n, struct error *err)
{
    struct mongo_answer a;
    bson_iter_t it;
    int r = 0;

    mongo_write(m, command, &a);
    if (a.fate != MONGO_RAN || a.vague)
        r = mongo_fail(&a, true, err);
    else if (bson_iter_init_find(&it, &a.reply, "writeErrors"))
        r = error_set(err, ERR_UNKNOWN_OUTCOME, "MongoDB: some were not deleted");
    if (r == 0 && bson_iter_init_find(&it, &a.reply, "n"))
        *n += (uint64_t)bson_iter_as_int64(&it);
    mongo_answer_done(&a);
    return r;
}

/* One statement for each key: "$in" would scan the whole of a clustered collection. */
static bson_t *delete_command(enum store_table table, const struct slice *keys, size_t n)
{
    bson_t *command = bson_new(), all, one, query;

    bson_append_utf8(command, "delete", -1, store_table_name(table), -1);
    bson_append_bool(command, "ordered", -1, false);
    bson_append_array_begin(command, "deletes", -1, &all);
    for (size_t i = 0; i < n; i++) {
        struct mongo_index room;
        size_t name_n;
        const char *name = mongo_index(&room, i, &name_n);

        bson_append_document_begin(&all, name, (int)name_n, &one);
        bson_append_document_begin(&one, "q", -1, &query);
        mongo_add_key(&query, "_id", table, keys[i]);
        bson_append_document_end(&one, &query);
        bson_append_int32(&one, "limit", -1, 1);
        bson_append_document_end(&all, &one);
    }
    bson_append_array_end(command, &all);
    return command;
}

int mongo_remove(struct store *s, enum store_table table, const struct slice *keys, size_t n,
                 struct error *err)
{
    int64_t deadline = mongo_deadline(mongo_of(s));
    uint64_t gone = 0;
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i += DELETE_KEYS) {
        if (clock_mono_ms() > deadline)
            return error_set(err, ERR_UNKNOWN_OUTCOME, "MongoDB: only a part was deleted");
        r = send_delete(mongo_of(s),
                        delete_command(table, keys + i, MIN(n - i, (size_t)DELETE_KEYS)), &gone,
                        err);
    }
    return r;
}

/* [from, to) or [from, to]. */
static bson_t *delete_range_command(enum store_table table, struct slice from, struct slice to,
                                    bool inclusive)
{
    bson_t *command = bson_new(), all, one, query, id;

    bson_append_utf8(command, "delete", -1, store_table_name(table), -1);
    bson_append_array_begin(command, "deletes", -1, &all);
    bson_append_document_begin(&all, "0", -1, &one);
    bson_append_document_begin(&one, "q", -1, &query);
    bson_append_document_begin(&query, "_id", -1, &id);
    mongo_add_key(&id, "$gte", table, from);
    if (to.n)
        mongo_add_key(&id, inclusive ? "$lte" : "$lt", table, to);
    bson_append_document_end(&query, &id);
    bson_append_document_end(&one, &query);
    bson_append_int32(&one, "limit", -1, 0);
    bson_append_document_end(&all, &one);
    bson_append_array_end(command, &all);
    return command;
}

/* A large range goes in pieces, each of which ends within the time of a command. */
int mongo_remove_range(struct store *s, enum store_table table, struct slice from, struct slice to,
                       uint64_t *ret_n, struct error *err)
{
    struct store_query q = {.table = table,
                            .to = to,
                            .limit = DELETE_KEYS,
                            .max_bytes = SIZE_MAX,
                            .level = STORE_MAJORITY};
    int64_t deadline = mongo_deadline(mongo_of(s));
    bool more = true;
    int r = 0;

    *ret_n = 0;
    while (r == 0 && more) {
        CLEANUP(store_docs_done) struct store_docs page = {0};

        q.from = from;
        r = mongo_range(s, &q, &page, err);
        if ((r < 0 || clock_mono_ms() > deadline) && *ret_n)
            return error_set(err, ERR_UNKNOWN_OUTCOME, "MongoDB: only a part was deleted");
        if (r < 0)
            return r;
        more = page.more;
        r = send_delete(mongo_of(s),
                        more ? delete_range_command(table, from, page.items[page.n - 1].key, true)
                             : delete_range_command(table, from, to, false),
                        ret_n, err);
    }
    return r;
}
