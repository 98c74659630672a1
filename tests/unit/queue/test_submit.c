/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/queue/queue_impl.h"
#include "lib/store/faulty.h"
#include "lib/store/keys.h"

static const char *const stores[] = {"memory:", "memory:?atomic=0"};

struct world {
    struct store *inner, *store;
    struct queue *queue;
};

static void world_open(struct world *w, const char *uri)
{
    struct error err = {0};

    cr_assert_eq(store_open(uri, NULL, &w->inner, &err), 0, "%s", err.text);
    w->store = store_faulty_new(w->inner, &(struct fault_plan){0});
    w->queue = queue_new(w->store);
}

static void world_close(struct world *w)
{
    queue_free(w->queue);
    store_close(w->store);
    store_close(w->inner);
}

static int submit(struct world *w, struct slice body, const char *const *to, size_t n,
                  uint64_t *ret_id, struct error *err)
{
    struct queue_recipient *list = NEW_ARRAY(struct queue_recipient, n + 1);
    struct queue_writer *writer = queue_writer_new(w->queue);
    int r = queue_writer_feed(writer, body, err);

    for (size_t i = 0; i < n; i++)
        list[i] = (struct queue_recipient){to[i], 0, ""};
    if (r == 0)
        r = queue_submit(w->queue, writer,
                         &(struct queue_envelope){.account = 1,
                                                  .sender = "anna@example.org",
                                                  .envid = "",
                                                  .recipients = list,
                                                  .recipients_n = n},
                         ret_id, err);
    queue_writer_free(writer);
    free(list);
    return r;
}

static size_t count(struct world *w, enum store_table table)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    cr_assert_eq(store_range(w->inner,
                             &(struct store_query){.table = table, .level = STORE_MAJORITY}, &docs,
                             NULL),
                 0);
    return docs.n;
}

/* Is the one submission queued, as the store has it? */
static bool is_queued(struct world *w)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    CLEANUP(arena_done) struct arena arena = {0};
    struct queue_stored stored;

    cr_assert_eq(store_range(w->inner,
                             &(struct store_query){.table = STORE_QUEUE,
                                                   .parts = STORE_HEAD,
                                                   .level = STORE_MAJORITY},
                             &docs, NULL),
                 0);
    if (docs.n == 0)
        return false;
    cr_assert_eq(docs.n, 1);
    cr_assert_eq(queue_stored_decode(docs.items[0].head, &arena, &stored, NULL), 0);
    return !stored.tombstone;
}

Test(submit, one_entry_for_each_destination_and_a_hundred_recipients)
{
    for (size_t u = 0; u < ARRAY_LEN(stores); u++) {
        const char *to[205] = {"b@B.example", "a@a.example", "c@[192.0.2.1]", "d@b.example"};
        struct world w;
        struct error err = {0};
        uint64_t id;

        for (size_t i = 4; i < ARRAY_LEN(to); i++)
            to[i] = "x@many.example";
        world_open(&w, stores[u]);
        cr_assert_eq(submit(&w, S("Subject: x\r\n\r\nhello\r\n"), to, 205, &id, &err), 0, "%s",
                     err.text);
        cr_assert_eq(count(&w, STORE_QUEUE), 1);
        cr_assert_eq(count(&w, STORE_QUEUEBODIES), 1);
        cr_assert_eq(count(&w, STORE_QUEUEENTRIES), 6);
        cr_assert_eq(count(&w, STORE_QUEUEDUE), 6);
        world_close(&w);
    }
}

Test(submit, what_cannot_be_queued_is_refused)
{
    static const char *const bad[] = {"nobody"};
    struct world w;
    struct error err = {0};
    uint64_t id;

    world_open(&w, "memory:");
    cr_assert_eq(submit(&w, S("x"), bad, 0, &id, &err), -ERR_INVALID);
    cr_assert_eq(submit(&w, S("x"), bad, 1, &id, &err), -ERR_INVALID);
    cr_assert_eq(count(&w, STORE_QUEUE), 0);
    world_close(&w);
}

Test(submit, a_large_body_comes_back_from_any_offset)
{
    static const char *const to[] = {"a@a.example"};
    CLEANUP(buf_done) struct buf body = buf_make(QUEUE_PIECE * 3), out = buf_make(QUEUE_PIECE * 4);
    size_t size = QUEUE_PIECE * 2 + 12345;
    struct world w;
    struct error err = {0};
    uint64_t id;

    random_bytes(buf_reserve(&body, size), size);
    body.n = size;
    for (size_t u = 0; u < ARRAY_LEN(stores); u++) {
        struct queue_reader rd = {0};
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        world_open(&w, stores[u]);
        cr_assert_eq(submit(&w, buf_slice(&body), to, 1, &id, &err), 0, "%s", err.text);
        cr_assert_eq(count(&w, STORE_QUEUEBODIES), 3);
        rd = (struct queue_reader){.queue = w.queue, .id = id, .size = size};
        cr_assert_eq(store_range(w.inner,
                                 &(struct store_query){.table = STORE_QUEUEBODIES,
                                                       .limit = 1,
                                                       .parts = STORE_HEAD,
                                                       .level = STORE_MAJORITY},
                                 &docs, NULL),
                     0);
        memcpy(rd.tag.b, docs.items[0].head.p + 1, QUEUE_TAG_SIZE);
        for (size_t at = 0; at < size;) {
            size_t before = out.n;

            cr_assert_eq(queue_read(&rd, at, 100003, &out, &err), 0, "%s", err.text);
            at += out.n - before;
        }
        cr_assert(slice_eq(buf_slice(&body), buf_slice(&out)));
        buf_reset(&out, SIZE_MAX);
        cr_assert_eq(queue_read(&rd, 17, 5, &out, &err), 0);
        cr_assert(slice_eq(slice_sub(buf_slice(&body), 17, 22), buf_slice(&out)));
        buf_reset(&out, SIZE_MAX);
        queue_reader_done(&rd);
        world_close(&w);
    }
}

/* The n-th call of a submission meets the fault. */
struct nth {
    enum fault fault;
    int n, also; /* `also` calls meet it */
};

static enum fault hook(void *ctx, const char *verb, enum store_table table)
{
    struct nth *nth = ctx;

    (void)verb, (void)table;
    return nth->n-- <= 0 && nth->also-- > 0 ? nth->fault : FAULT_NONE;
}

/* I21, I23: 0 is queued, -ERR_UNAVAILABLE is not, now or later; only the third answer leaves it
 * open, and it is not given for a single fault. */
Test(submit, I29_whatever_becomes_of_each_call_the_answer_is_true)
{
    static const char *const to[] = {"a@a.example", "b@b.example"};

    for (size_t u = 0; u < ARRAY_LEN(stores); u++)
        for (int f = FAULT_REFUSED; f < FAULT_COUNT_; f++)
            for (int n = 0; n < 8; n++)
                for (int also = 1; also <= 5; also += 4) {
                    struct world w;
                    struct error err = {0};
                    struct nth nth = {(enum fault)f, n, also};
                    uint64_t id;
                    int r;

                    world_open(&w, stores[u]);
                    store_faulty_set(
                        w.store, &(struct fault_plan){.late_calls = 4, .hook = hook, .ctx = &nth});
                    r = submit(&w, S("x"), to, 2, &id, &err);
                    store_faulty_flush(w.store);
                    if (r == 0)
                        cr_assert(is_queued(&w) && count(&w, STORE_QUEUEENTRIES) == 2 &&
                                      count(&w, STORE_QUEUEDUE) == 2 &&
                                      count(&w, STORE_QUEUEBODIES) == 1,
                                  "%s fault %d at %d", stores[u], f, n);
                    else if (r == -ERR_UNAVAILABLE)
                        cr_assert(!is_queued(&w), "%s fault %d at %d", stores[u], f, n);
                    else
                        cr_assert_fail("%s fault %d at %d: %s", stores[u], f, n, err.text);
                    world_close(&w);
                }
}

struct sleeper {
    struct world w;
    bool lost;
};

/* The first insert is done and its reply lost; then 13 hours pass. */
static enum fault lose_and_sleep(void *ctx, const char *verb, enum store_table table)
{
    struct sleeper *s = ctx;

    if (!s->lost) {
        s->lost = strcmp(verb, "insert") == 0;
        return s->lost ? FAULT_REPLY_LOST : FAULT_NONE;
    }
    store_faulty_set(s->w.store, &(struct fault_plan){0});
    store_faulty_advance(s->w.store, (int64_t)13 * 3600 * 1000);
    return FAULT_NONE;
}

Test(submit, I29_what_was_stored_long_before_it_was_known_to_be_is_not_relied_upon)
{
    static const char *const to[] = {"a@a.example"};
    struct sleeper s = {.lost = false};
    struct error err = {0};
    uint64_t id;

    world_open(&s.w, "memory:?atomic=0");
    cr_assert_gt(queue_now(s.w.queue), 0); /* store time is known */
    store_faulty_set(s.w.store, &(struct fault_plan){.hook = lose_and_sleep, .ctx = &s});
    cr_assert_eq(submit(&s.w, S("short"), to, 1, &id, &err), -ERR_UNAVAILABLE);
    cr_assert(s.lost);
    cr_assert_eq(count(&s.w, STORE_QUEUE), 0);
    world_close(&s.w);
}

Test(submit, a_submission_that_took_too_long_is_not_said_to_be_queued)
{
    static const char *const to[] = {"a@a.example"};
    CLEANUP(buf_done) struct buf body = buf_make(QUEUE_PIECE * 3);
    struct queue_recipient list[] = {{to[0], 0, ""}};
    struct world w;
    struct error err = {0};
    struct queue_writer *writer;
    uint64_t id;

    memset(buf_reserve(&body, QUEUE_PIECE + 1), 'x', QUEUE_PIECE + 1);
    body.n = QUEUE_PIECE + 1;
    world_open(&w, "memory:?atomic=0");
    writer = queue_writer_new(w.queue);
    cr_assert_eq(queue_writer_feed(writer, buf_slice(&body), &err), 0);
    store_faulty_advance(w.store, (int64_t)13 * 3600 * 1000);
    cr_assert_eq(queue_submit(w.queue, writer,
                              &(struct queue_envelope){
                                  .sender = "", .envid = "", .recipients = list, .recipients_n = 1},
                              &id, &err),
                 -ERR_UNAVAILABLE);
    queue_writer_free(writer);
    cr_assert_eq(count(&w, STORE_QUEUE), 0);
    world_close(&w);
}
