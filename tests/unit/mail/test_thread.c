/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/thread.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/arena.h"
#include "lib/base/mem.h"

/* A message: its id, then its references; 0 ends them. */
static const struct sortkeys *keys_of(struct arena *a, const uint64_t *ids, const char *subject,
                                      bool reply)
{
    struct sortkeys *k;
    uint32_t n = 0;
    size_t len = strlen(subject);

    while (ids[n + 1])
        n++;
    k = arena_alloc(a, sizeof *k + (n + 1) * sizeof *ids + len);
    memcpy(k->ids, ids, (n + 1) * sizeof *ids);
    k->n_references = n;
    k->is_reply = reply;
    memcpy(k->ids + n + 1, subject, len);
    for (size_t i = 0; i < SORTKEYS_; i++)
        k->ends[i] = (uint32_t)len;
    return k;
}

static void write_node(const struct thread_node *nodes, const struct thread_message *m, uint32_t at,
                       struct buf *out)
{
    for (; at != THREAD_NONE; at = nodes[at].next) {
        buf_add_byte(out, '(');
        if (nodes[at].message != THREAD_NONE)
            buf_printf(out, "%u", m[nodes[at].message].number);
        write_node(nodes, m, nodes[at].child, out);
        buf_add_byte(out, ')');
    }
}

static void expect(enum thread_algorithm algorithm, const struct thread_message *m, size_t n,
                   const char *want)
{
    CLEANUP(buf_done) struct buf out = buf_make(BUF_MAX_DEFAULT);
    struct thread *t = thread_new(algorithm, m, n);
    const struct thread_node *nodes;
    uint32_t first;

    while (!thread_step(t, 1))
        ;
    nodes = thread_nodes(t, &first);
    write_node(nodes, m, first, &out);
    cr_expect_str_eq(buf_cstr(&out), want);
    thread_free(t);
}

#define IDS(...) ((const uint64_t[]){__VA_ARGS__, 0})
#define M(i, date, ids, subject, reply)                                                            \
    {                                                                                              \
        i, date, date, keys_of(&a, ids, subject, reply)                                            \
    }

/* RFC 5256 section 3, REFERENCES, 5.C: what becomes of two threads with one subject. */
Test(thread, merges_subjects)
{
    CLEANUP(arena_done) struct arena a = {0};
    /* "If both messages are dummies, append the current message's children to the children of the
     * message in the subject table" */
    const struct thread_message dummies[] = {
        M(1, 1, IDS(1, 91), "S", false), M(2, 2, IDS(2, 91), "S", false),
        M(3, 3, IDS(3, 92), "S", false), M(4, 4, IDS(4, 92), "S", false)};
    /* "If the message in the subject table is a dummy and the current message is not, make the
     * current message a child of the message in the subject table" */
    const struct thread_message dummy[] = {M(1, 5, IDS(1, 91), "S", false),
                                           M(2, 2, IDS(2, 91), "S", false),
                                           M(3, 3, IDS(3), "S", false)};
    /* "If the current message is a reply or forward and the message in the subject table is not,
     * make the current message a child" */
    const struct thread_message reply[] = {M(1, 1, IDS(1), "S", true), M(2, 2, IDS(2), "S", false),
                                           M(3, 3, IDS(3), "S", true)};
    /* "Otherwise, create a new dummy message and make both ... children of the dummy." */
    const struct thread_message equal[] = {M(1, 1, IDS(1), "S", false), M(2, 3, IDS(2), "S", false),
                                           M(3, 2, IDS(3), "S", false),
                                           M(4, 4, IDS(4, 1), "", false)};
    const struct thread_message replies[] = {M(1, 2, IDS(1), "S", true),
                                             M(2, 1, IDS(2), "S", true)};
    /* "If the thread subject is empty, skip this message." */
    const struct thread_message empty[] = {M(1, 1, IDS(1), "", false), M(2, 2, IDS(2), "", false)};

    expect(THREAD_BY_REFERENCES, dummies, 4, "((1)(2)(3)(4))");
    expect(THREAD_BY_REFERENCES, dummy, 3, "((2)(3)(1))");
    expect(THREAD_BY_REFERENCES, reply, 3, "(2(1)(3))");
    expect(THREAD_BY_REFERENCES, equal, 4, "((1(4))(3)(2))");
    expect(THREAD_BY_REFERENCES, replies, 2, "((2)(1))");
    expect(THREAD_BY_REFERENCES, empty, 2, "(1)(2)");
    expect(THREAD_BY_REFS, equal, 4, "(3)(2)(1(4))");
}

Test(thread, prunes_dummies)
{
    CLEANUP(arena_done) struct arena a = {0};
    /* 1 <- (90) <- 2, and (91) <- (92) <- { 3, 4 }, of which only one dummy stays */
    const struct thread_message m[] = {
        M(1, 1, IDS(1), "", false), M(2, 2, IDS(2, 1, 90), "", false),
        M(3, 3, IDS(3, 91, 92), "", false), M(4, 4, IDS(4, 91, 92), "", false),
        M(5, 5, IDS(5, 93, 94, 95), "", false)};

    expect(THREAD_BY_REFERENCES, m, 5, "(1(2))((3)(4))(5)");
    expect(THREAD_BY_REFS, m, 5, "(1(2))((3)(4))(5)");
    expect(THREAD_BY_REFS, m, 0, "");
}

/* "If the current message already has a parent, ... Break the current parent/child link before
 * creating the new correct one"; "Do not create the parent/child link if creating that link would
 * introduce a loop" */
Test(thread, own_references_count_and_loops_do_not)
{
    CLEANUP(arena_done) struct arena a = {0};
    const struct thread_message better[] = {M(1, 1, IDS(1), "", false), M(2, 2, IDS(2), "", false),
                                            M(3, 3, IDS(4, 1, 3), "", false),
                                            M(4, 4, IDS(3, 2), "", false)};
    const struct thread_message loop[] = {M(1, 1, IDS(1, 2), "", false),
                                          M(2, 2, IDS(2, 1), "", false),
                                          M(3, 3, IDS(3, 3), "", false)};
    /* of two messages with one id the first is meant */
    const struct thread_message twice[] = {M(1, 1, IDS(1), "", false), M(2, 2, IDS(1), "", false),
                                           M(3, 3, IDS(3, 1), "", false)};
    const struct thread_message nameless[] = {M(1, 1, IDS(0), "", false),
                                              M(2, 2, IDS(0), "", false)};

    expect(THREAD_BY_REFERENCES, better, 4, "(1)(2(4(3)))");
    expect(THREAD_BY_REFERENCES, loop, 3, "(2(1))(3)");
    expect(THREAD_BY_REFERENCES, twice, 3, "(1(3))(2)");
    expect(THREAD_BY_REFS, nameless, 2, "(1)(2)");
}

Test(thread, ordered_by_subject)
{
    CLEANUP(arena_done) struct arena a = {0};
    const struct thread_message m[] = {M(1, 4, IDS(1), "B", false), M(2, 3, IDS(2), "A", true),
                                       M(3, 5, IDS(3), "A", true), M(4, 1, IDS(4), "B", true),
                                       M(5, 6, IDS(5), "A", false)};

    expect(THREAD_BY_SUBJECT, m, 5, "(4(1))(2(3)(5))");
}

/* Who can send mail decides what References say: neither depth nor circles may cost time. */
Test(thread, is_linear_whatever_is_sent)
{
    enum { N = 200000 };
    CLEANUP(arena_done) struct arena a = {0};
    struct thread_message *m = mem_realloc0(N, sizeof *m);
    clock_t before = clock();
    uint32_t first;

    for (uint32_t i = 0; i < N; i++) {
        /* a chain, told from its end, with a shortcut and a circle */
        uint64_t ids[] = {N - i, N - i + 2, 1 + (i * 7919u) % N, N - i - 1, 0};

        m[i] = (struct thread_message){i + 1, (int64_t)(i % 1000), i, keys_of(&a, ids, "S", i % 2)};
    }
    for (int algorithm = THREAD_BY_SUBJECT; algorithm <= THREAD_BY_REFS; algorithm++) {
        struct thread *t = thread_new((enum thread_algorithm)algorithm, m, N);
        const struct thread_node *nodes;
        size_t n = 0;

        while (!thread_step(t, 1000))
            ;
        nodes = thread_nodes(t, &first);
        for (uint32_t at = first; at != THREAD_NONE; n++) {
            n -= nodes[at].message == THREAD_NONE;
            if (nodes[at].child != THREAD_NONE) {
                at = nodes[at].child;
                continue;
            }
            while (at != THREAD_NONE && nodes[at].next == THREAD_NONE)
                at = nodes[at].parent;
            at = at == THREAD_NONE ? at : nodes[at].next;
        }
        cr_expect_eq(n, N, "%d: %zu", algorithm, n);
        thread_free(t);
    }
    cr_expect_lt((double)(clock() - before) / CLOCKS_PER_SEC, 20);
    free(m);
}
