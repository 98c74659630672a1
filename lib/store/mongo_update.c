/* SPDX-License-Identifier: MPL-2.0 */
/* Guarded changes; mongo.c has the essay.
 *
 * One alone is a findAndModify, whose reply says whether it was done, and the new version. Where
 * callers are gathered (mongo_group.c), several go as the statements of one "update". Its reply has
 * one number for all: how many documents the guards let through. If that is all of them, all are
 * done, and one read brings the versions that are still wanted; a document that holds other bytes
 * by then was changed again, and has no version that could still be a guard. If it is fewer, it is
 * not known who was not: the answer to all is "unknown", and the callers, who can tell their own
 * changes, look.
 */
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/store/mongo_impl.h"

#define GROUPED_MAX ((size_t)64 << 10) /* octets of a change that goes with others */

/* --- one ------------------------------------------------------------------------------------- */

static void add_update(bson_t *to, const char *field, const struct store_change *c)
{
    bson_t update, part;

    bson_append_document_begin(to, field, -1, &update);
    if (c->set_head || c->set_body) {
        bson_append_document_begin(&update, "$set", -1, &part);
        if (c->set_head)
            mongo_add_binary(&part, FIELD_HEAD, c->head);
        if (c->set_body)
            mongo_add_binary(&part, FIELD_BODY, c->body);
        bson_append_document_end(&update, &part);
    }
    BCON_APPEND(&update, "$currentDate", "{", FIELD_STAMP, "{", "$type", "timestamp", "}", "}");
    bson_append_document_end(to, &update);
}

static void add_guard(bson_t *to, const char *field, const struct store_change *c)
{
    bson_t query;

    bson_append_document_begin(to, field, -1, &query);
    mongo_add_key(&query, "_id", c->table, c->key);
    bson_append_timestamp(&query, FIELD_STAMP, 1, (uint32_t)(c->version >> 32),
                          (uint32_t)c->version);
    bson_append_document_end(to, &query);
}

static bson_t *change_command(const struct store_change *c)
{
    bson_t *command = bson_sized_new(c->head.n + c->body.n + 512);

    bson_append_utf8(command, "findAndModify", -1, store_table_name(c->table), -1);
    add_guard(command, "query", c);
    if (c->remove) {
        bson_append_bool(command, "remove", -1, true);
    } else {
        add_update(command, "update", c);
        bson_append_bool(command, "new", -1, true);
    }
    BCON_APPEND(command, "fields", "{", FIELD_STAMP, BCON_INT32(1), "}");
    return command;
}

static int change_one(struct mongo *m, const struct store_change *change, uint64_t *ret_version,
                      int64_t *ret_time, struct error *err)
{
    struct mongo_answer a;
    bson_iter_t it, field;
    int r = 0;

    mongo_write(m, change_command(change), &a);
    if (a.fate != MONGO_RAN || a.vague) {
        r = a.code == 17419 || a.code == 10334 /* the document would be too large */
                ? error_set(err, ERR_TOOBIG, "MongoDB: %s", a.cause.text)
                : mongo_fail(&a, true, err);
    } else if (!bson_iter_init(&it, &a.reply) ||
               !bson_iter_find_descendant(&it, "lastErrorObject.n", &field) ||
               bson_iter_as_int64(&field) == 0) {
        r = error_set(err, ERR_CONFLICT, "%s: changed or removed by another",
                      store_table_name(change->table));
    } else {
        *ret_time = a.time;
        *ret_version = 0;
        if (bson_iter_init(&it, &a.reply) &&
            bson_iter_find_descendant(&it, "value." FIELD_STAMP, &field) && !change->remove)
            *ret_version = mongo_stamp_of(&field);
    }
    mongo_answer_done(&a);
    return r;
}

/* --- several --------------------------------------------------------------------------------- */

struct grouped {
    struct mongo_member member;
    const struct store_change *change;
    int64_t deadline;
    uint64_t version;
    int64_t time;
    int result;
    struct error err;
};

static bson_t *changes_command(struct grouped *const *all, size_t n)
{
    bson_t *command = bson_new(), updates, one;

    bson_append_utf8(command, "update", -1, store_table_name(all[0]->change->table), -1);
    bson_append_bool(command, "ordered", -1, false);
    bson_append_array_begin(command, "updates", -1, &updates);
    for (size_t i = 0; i < n; i++) {
        struct mongo_index room;
        size_t name_n;
        const char *name = mongo_index(&room, i, &name_n);

        bson_append_document_begin(&updates, name, (int)name_n, &one);
        add_guard(&one, "q", all[i]->change);
        add_update(&one, "u", all[i]->change);
        bson_append_document_end(&updates, &one);
    }
    bson_append_array_end(command, &updates);
    return command;
}

static void read_versions(struct mongo *m, struct grouped *const *all, size_t n)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    CLEANUP_FREE struct slice *keys = NEW_ARRAY(struct slice, n);
    struct error err = {0};
    int r;

    for (size_t i = 0; i < n; i++)
        keys[i] = all[i]->change->key;
    r = mongo_get(&m->store, all[0]->change->table, keys, n, STORE_HEAD, STORE_MAJORITY, &docs,
                  &err);
    for (size_t i = 0; i < n; i++) {
        if (r < 0)
            all[i]->result = error_set(&all[i]->err, ERR_UNKNOWN_OUTCOME, "%s", err.text);
        else if (docs.items[i].found && slice_eq(docs.items[i].head, all[i]->change->head))
            all[i]->version = docs.items[i].version;
    }
}

static void fail_all(struct grouped *const *all, size_t n, const struct mongo_answer *a)
{
    for (size_t i = 0; i < n; i++)
        all[i]->result = mongo_fail(a, true, &all[i]->err);
}

static void change_several(struct mongo *m, struct grouped *const *all, size_t n)
{
    CLEANUP_FREE struct grouped **wanted = NEW_ARRAY(struct grouped *, n);
    size_t wanted_n = 0;
    struct mongo_answer a;
    bson_iter_t it;
    int64_t done = -1;

    mongo_write(m, changes_command(all, n), &a);
    if (a.fate == MONGO_RAN && bson_iter_init_find(&it, &a.reply, "n"))
        done = bson_iter_as_int64(&it);
    if (a.fate != MONGO_RAN || a.vague) {
        fail_all(all, n, &a);
    } else if (done != (int64_t)n) {
        error_set(&a.cause, ERR_UNKNOWN_OUTCOME, "%lld of %zu changes were done", (long long)done,
                  n);
        fail_all(all, n, &a);
    } else {
        for (size_t i = 0; i < n; i++) {
            all[i]->time = a.time;
            if (!all[i]->change->last)
                wanted[wanted_n++] = all[i];
        }
        if (wanted_n)
            read_versions(m, wanted, wanted_n);
    }
    mongo_answer_done(&a);
}

void mongo_change_members(struct mongo *m, struct mongo_member **members, size_t n)
{
    CLEANUP_FREE struct grouped **all = NEW_ARRAY(struct grouped *, n);
    int64_t now = clock_mono_ms();
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        struct grouped *g = CONTAINER_OF(members[i], struct grouped, member);

        if (now > g->deadline)
            g->result = error_set(&g->err, ERR_UNAVAILABLE, "MongoDB: no time was left");
        else
            all[count++] = g;
    }
    if (count == 1)
        all[0]->result =
            change_one(m, all[0]->change, &all[0]->version, &all[0]->time, &all[0]->err);
    else if (count)
        change_several(m, all, count);
}

int mongo_update(struct store *s, const struct store_change *change, uint64_t *ret_version,
                 int64_t *ret_time, struct error *err)
{
    struct mongo *m = mongo_of(s);
    struct mongo_latch l = MONGO_LATCH(1);
    struct grouped g = {.member = {.bytes = change->head.n, .key = change->key, .latch = &l},
                        .change = change,
                        .deadline = mongo_deadline(m)};

    if (!m->changes[change->table] || !change->set_head || change->set_body ||
        change->head.n > GROUPED_MAX)
        return change_one(m, change, ret_version, ret_time, err);
    mongo_group_add(m->changes[change->table], &g.member);
    mongo_latch_wait(&l);
    if (g.result < 0)
        return error_set(err, (enum err) - g.result, "%s", g.err.text);
    *ret_version = g.version;
    *ret_time = g.time;
    return 0;
}
