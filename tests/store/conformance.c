/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/store/conformance.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/store/conformance_impl.h"

void run_fail(struct run *r, int line, const char *what, const struct error *err)
{
    r->failures++;
    printf("# %s: %s: line %d: %s %s\n", r->target->name, r->check, line, what,
           err && err->kind ? err->text : "");
}

/* --- short forms ----------------------------------------------------------------------------- */

struct slice bytes_of(uint8_t fill, size_t n)
{
    uint8_t *p = mem_alloc(n);

    memset(p, fill, n);
    return slice_of(p, n);
}

void bytes_done(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

enum store_outcome put(struct store *s, enum store_table table, struct slice key, struct slice head,
                       struct slice body)
{
    struct store_item item = {.table = table, .key = key, .head = head, .body = body};
    int64_t time;

    return store_insert(s, &item, 1, &time, NULL) == 0 ? item.outcome : STORE_UNKNOWN;
}

int drop(struct store *s, enum store_table table, struct slice key, struct error *err)
{
    return store_delete(s, table, &key, 1, err);
}

struct store_doc *get(struct store *s, enum store_table table, struct slice key,
                      struct store_docs *docs)
{
    if (store_get(s, table, &key, 1, STORE_BOTH, STORE_MAJORITY, docs, NULL) != 0)
        return NULL;
    return docs->n == 1 && docs->items[0].found ? &docs->items[0] : NULL;
}

bool holds(struct store *s, enum store_table table, struct slice key, struct slice head,
           struct slice body)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct store_doc *doc = get(s, table, key, &docs);

    return doc && slice_eq(doc->key, key) && slice_eq(doc->head, head) && slice_eq(doc->body, body);
}

bool absent(struct store *s, enum store_table table, struct slice key)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    return store_get(s, table, &key, 1, STORE_BOTH, STORE_MAJORITY, &docs, NULL) == 0 &&
           docs.n == 1 && !docs.items[0].found;
}

uint64_t version_of(struct store *s, enum store_table table, struct slice key)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct store_doc *doc = get(s, table, key, &docs);

    return doc ? doc->version : 0;
}

/* --- running --------------------------------------------------------------------------------- */

static int run_list(struct run *r, const struct check *checks)
{
    int failed = 0;

    for (const struct check *c = checks; c->name; c++) {
        r->check = c->name;
        r->failures = 0;
        c->run(r);
        printf("%s - %s: %s\n", r->failures ? "not ok" : "ok", r->target->name, r->check);
        fflush(stdout);
        failed += r->failures > 0;
    }
    return failed;
}

int conformance_run(const struct conformance_target *target)
{
    struct run r = {.target = target, .s = target->open(target->ctx)};
    int failed;

    r.other = target->open(target->ctx);
    failed = run_list(&r, checks_write) + run_list(&r, checks_read) + run_list(&r, checks_race);
    target->close(target->ctx, r.other);
    target->close(target->ctx, r.s);
    return failed;
}
