/* SPDX-License-Identifier: MPL-2.0 */
/* The steps of RFC 5256 section 3, REFERENCES, by their numbers there, with one change that shows
 * in no answer but those about References fields that contradict each other in a circle: the links
 * from each message to its last reference (1.B) are made before those between references (1.A).
 * For then every link is made at a node that has no parent yet, which is the top of its tree, and
 * whether a link would make a loop is the question which top the other end has: union-find answers
 * that in next to no time, however deep the trees that somebody sends.
 */
#include "lib/mail/thread.h"

#include <stdlib.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define NONE THREAD_NONE

enum phase {
    LINK_PARENTS,
    LINK_REFERENCES,
    PRUNE,
    ORDER, /* step 4, and what dummies are sorted by */
    MERGE_SUBJECTS,
    SORT_SUBJECTS, /* ORDEREDSUBJECT begins here */
    SPLIT_SUBJECTS,
    FINISH,
    DONE
};

/* Open addressing: message ids, later subjects; the keys are hashes that nobody outside can aim. */
struct table {
    struct entry {
        uint64_t key; /* 0: empty */
        uint32_t node;
    } * entries;
    size_t mask, n;
};

struct thread {
    enum thread_algorithm algorithm;
    enum phase phase;
    const struct thread_message *messages;
    size_t n, at;
    VEC(struct thread_node) nodes; /* those of the messages first */
    uint32_t *up;                  /* by node: union-find towards the top of its tree */
    size_t up_cap;
    struct table ids;
    uint32_t first;      /* of the threads */
    const void **sorted; /* messages */
    struct slicesort sort;
};

/* --- tables ------------------------------------------------------------------------------------
 */

static struct entry *table_find(const struct table *t, uint64_t key)
{
    size_t i = key & t->mask;

    while (t->entries[i].key && t->entries[i].key != key)
        i = (i + 1) & t->mask;
    return &t->entries[i];
}

static void table_grow(struct table *t, size_t size)
{
    struct table old = *t;

    t->entries = mem_realloc0(size, sizeof *t->entries);
    t->mask = size - 1;
    for (size_t i = 0; old.entries && i <= old.mask; i++)
        if (old.entries[i].key)
            *table_find(t, old.entries[i].key) = old.entries[i];
    free(old.entries);
}

/* The entry of a key, made (with NONE) if it is not there. */
static struct entry *table_at(struct table *t, uint64_t key)
{
    struct entry *e;

    if (!t->entries || t->n >= t->mask / 2)
        table_grow(t, t->entries ? (t->mask + 1) * 2 : 64);
    e = table_find(t, key);
    if (!e->key) {
        *e = (struct entry){key, NONE};
        t->n++;
    }
    return e;
}

/* --- nodes and links ---------------------------------------------------------------------------
 */

static uint32_t node_new(struct thread *t, uint32_t message)
{
    uint32_t i = (uint32_t)t->nodes.n;

    *VEC_PUSH(&t->nodes) = (struct thread_node){message, NONE, NONE, NONE};
    if (t->up_cap < t->nodes.cap) {
        t->up_cap = t->nodes.cap;
        t->up = mem_realloc(t->up, t->up_cap, sizeof *t->up);
    }
    t->up[i] = i;
    return i;
}

static uint32_t top_of(struct thread *t, uint32_t node)
{
    while (t->up[node] != node) {
        t->up[node] = t->up[t->up[node]];
        node = t->up[node];
    }
    return node;
}

/* Unless it has a parent, or that would be a loop. */
static void link_to(struct thread *t, uint32_t parent, uint32_t child)
{
    if (t->nodes.items[child].parent != NONE || top_of(t, parent) == child)
        return;
    t->nodes.items[child].parent = parent;
    t->up[child] = parent;
}

static uint32_t node_of_id(struct thread *t, uint64_t id)
{
    struct entry *e = table_at(&t->ids, id);

    if (e->node == NONE)
        e->node = node_new(t, NONE);
    return e->node;
}

static void push_child(struct thread *t, uint32_t parent, uint32_t child)
{
    uint32_t *head = parent == NONE ? &t->first : &t->nodes.items[parent].child;

    t->nodes.items[child].parent = parent;
    t->nodes.items[child].next = *head;
    *head = child;
}

/* Step 1.B. */
static void link_parent(struct thread *t, uint32_t message)
{
    const struct sortkeys *k = t->messages[message].keys;

    if (k->n_references)
        link_to(t, node_of_id(t, k->ids[k->n_references]), message);
}

/* Step 1.A. A message without references has no parent from those before it: "Note that if this
 * message has no references, it will now have no parent." */
static void link_references(struct thread *t, uint32_t message)
{
    const struct sortkeys *k = t->messages[message].keys;

    for (uint32_t i = 2; i <= k->n_references; i++) {
        uint32_t parent = node_of_id(t, k->ids[i - 1]), child = node_of_id(t, k->ids[i]);
        uint32_t known = t->nodes.items[child].message;

        if (known == NONE || known < message || t->messages[known].keys->n_references)
            link_to(t, parent, child);
    }
}

/* --- pruning (steps 2 and 3) -------------------------------------------------------------------
 */

/* Nodes in an order in which every parent comes before its children. */
static uint32_t *parents_first(const struct thread *t)
{
    size_t n = t->nodes.n, done = 0, at = 0;
    uint32_t *order = mem_realloc(NULL, n + 1, sizeof *order), node;

    for (node = t->first; node != NONE; node = t->nodes.items[node].next)
        order[done++] = node;
    for (; at < done; at++)
        for (node = t->nodes.items[order[at]].child; node != NONE; node = t->nodes.items[node].next)
            order[done++] = node;
    order[done] = NONE;
    return order;
}

static void make_children(struct thread *t)
{
    t->first = NONE;
    for (size_t i = t->nodes.n; i-- > 0;)
        push_child(t, t->nodes.items[i].parent, (uint32_t)i);
}

static size_t children_of(const struct thread *t, uint32_t node, size_t up_to)
{
    size_t n = 0;

    for (node = t->nodes.items[node].child; node != NONE && n < up_to;
         node = t->nodes.items[node].next)
        n++;
    return n;
}

/* Puts the children of a dummy in its place; *at is the link that points to it. */
static void promote(struct thread *t, uint32_t *at)
{
    struct thread_node *dummy = &t->nodes.items[*at];
    uint32_t last = dummy->child, after = dummy->next;

    *at = dummy->child == NONE ? after : dummy->child;
    for (uint32_t c = dummy->child; c != NONE; c = t->nodes.items[c].next) {
        t->nodes.items[c].parent = dummy->parent;
        last = c;
    }
    if (last != NONE)
        t->nodes.items[last].next = after;
    dummy->child = dummy->next = dummy->parent = NONE;
}

/* Below one node, whose children are pruned already: "Do not promote the children if doing so would
 * make them children of the root, unless there is only one child." */
static void prune_children(struct thread *t, uint32_t parent)
{
    uint32_t *at = parent == NONE ? &t->first : &t->nodes.items[parent].child;

    while (*at != NONE) {
        struct thread_node *node = &t->nodes.items[*at];
        size_t children = node->message == NONE ? children_of(t, *at, 2) : 0;

        if (node->message == NONE && (parent != NONE || children < 2))
            promote(t, at); /* what comes in its place is no dummy */
        else
            at = &node->next;
    }
}

static void prune(struct thread *t)
{
    CLEANUP_FREE uint32_t *order = NULL;
    size_t n = 0;

    make_children(t);
    order = parents_first(t);
    while (order[n] != NONE)
        n++;
    while (n-- > 0)
        prune_children(t, order[n]);
    prune_children(t, NONE);
}

/* --- sorting siblings (steps 4 and 6) ----------------------------------------------------------
 */

struct sibling {
    int64_t date;
    uint32_t number, node;
};

static int sibling_order(const void *a, const void *b)
{
    const struct sibling *l = a, *r = b;

    if (l->date != r->date)
        return l->date < r->date ? -1 : 1;
    return (l->number > r->number) - (l->number < r->number);
}

/* "In the case of a dummy message ... use the first child": children are in order already. */
static const struct thread_message *message_of(const struct thread *t, uint32_t node)
{
    while (t->nodes.items[node].message == NONE)
        node = t->nodes.items[node].child;
    return &t->messages[t->nodes.items[node].message];
}

struct siblings {
    struct sibling *items;
    size_t n, cap;
};

/* dates: by node, what to sort by instead of the sent date, or NULL. */
static void sort_children(struct thread *t, uint32_t parent, const int64_t *dates,
                          struct siblings *work)
{
    uint32_t *at = parent == NONE ? &t->first : &t->nodes.items[parent].child;

    if (*at == NONE || t->nodes.items[*at].next == NONE)
        return;
    work->n = 0;
    for (uint32_t c = *at; c != NONE; c = t->nodes.items[c].next) {
        const struct thread_message *m = message_of(t, c);

        *VEC_PUSH(work) = (struct sibling){dates ? dates[c] : m->sent, m->number, c};
    }
    qsort(work->items, work->n, sizeof *work->items, sibling_order);
    for (size_t i = 0; i < work->n; i++) {
        *at = work->items[i].node;
        at = &t->nodes.items[*at].next;
    }
    *at = NONE;
}

/* REFS: "THREAD=REFS sorts threads by the most recent INTERNALDATE in each thread". */
static int64_t *newest_arrivals(const struct thread *t, const uint32_t *order)
{
    int64_t *newest = mem_realloc(NULL, t->nodes.n + 1, sizeof *newest);
    size_t n = 0;

    for (size_t i = 0; i < t->nodes.n; i++)
        newest[i] = INT64_MIN;
    while (order[n] != NONE)
        n++;
    while (n-- > 0) {
        const struct thread_node *node = &t->nodes.items[order[n]];

        if (node->message != NONE)
            newest[order[n]] = MAX(newest[order[n]], t->messages[node->message].arrived);
        if (node->parent != NONE)
            newest[node->parent] = MAX(newest[node->parent], newest[order[n]]);
    }
    return newest;
}

static void sort_all(struct thread *t)
{
    CLEANUP_FREE uint32_t *order = parents_first(t);
    CLEANUP_FREE int64_t *dates = NULL;
    struct siblings work = {0};
    size_t n = 0;

    if (t->algorithm == THREAD_BY_REFS)
        dates = newest_arrivals(t, order);
    while (order[n] != NONE)
        n++;
    while (n-- > 0) /* below first: a dummy is sorted by its first child */
        sort_children(t, order[n], NULL, &work);
    sort_children(t, NONE, dates, &work);
    VEC_DONE(&work);
}

/* --- one subject, one thread (step 5) ----------------------------------------------------------
 */

/* 5.B.i: of the message, or of the first child of a dummy. 0: the empty subject. */
static uint64_t subject_of(const struct thread *t, uint32_t node)
{
    struct slice subject = sortkeys_text(message_of(t, node)->keys, SORTKEY_SUBJECT);

    return subject.n ? MAX(hash_keyed(subject), (uint64_t)1) : 0;
}

static bool is_dummy(const struct thread *t, uint32_t node)
{
    return t->nodes.items[node].message == NONE;
}

static bool is_reply(const struct thread *t, uint32_t node)
{
    return !is_dummy(t, node) && t->messages[t->nodes.items[node].message].keys->is_reply;
}

static void find_subjects(struct thread *t, struct table *subjects)
{
    for (uint32_t node = t->first; node != NONE; node = t->nodes.items[node].next) {
        uint64_t subject = subject_of(t, node);
        struct entry *e = subject ? table_at(subjects, subject) : NULL;

        if (!e)
            continue;
        /* 5.B.iv: a dummy is better than a message, and no reply than a reply */
        if (e->node == NONE ||
            (!is_dummy(t, e->node) &&
             (is_dummy(t, node) || (is_reply(t, e->node) && !is_reply(t, node)))))
            e->node = node;
    }
}

static void append_children(struct thread *t, uint32_t to, uint32_t from)
{
    uint32_t next;

    for (uint32_t c = t->nodes.items[from].child; c != NONE; c = next) {
        next = t->nodes.items[c].next;
        push_child(t, to, c);
    }
    t->nodes.items[from].child = NONE;
}

/* Puts a new dummy in the place of `node`, which becomes its child. */
static void wrap(struct thread *t, uint32_t node)
{
    uint32_t inner = node_new(t, NONE);

    /* the node's place in its list stays: the two change what they are */
    t->nodes.items[inner] = t->nodes.items[node];
    for (uint32_t c = t->nodes.items[inner].child; c != NONE; c = t->nodes.items[c].next)
        t->nodes.items[c].parent = inner;
    t->nodes.items[node].message = NONE;
    t->nodes.items[node].child = NONE;
    push_child(t, node, inner);
}

/* 5.C for one thread, which has been taken off the list. */
static void merge(struct thread *t, uint32_t kept, uint32_t node)
{
    if (is_dummy(t, kept) && is_dummy(t, node)) {
        append_children(t, kept, node);
        return;
    }
    if (!is_dummy(t, kept) && !(is_reply(t, node) && !is_reply(t, kept)))
        wrap(t, kept);
    push_child(t, kept, node);
}

static void merge_subjects(struct thread *t)
{
    struct table subjects = {0};
    uint32_t *at = &t->first, node;
    struct entry *e;

    find_subjects(t, &subjects);
    while ((node = *at) != NONE) {
        uint64_t subject = subject_of(t, node);

        e = subject ? table_at(&subjects, subject) : NULL;
        if (!e || e->node == node) {
            at = &t->nodes.items[node].next;
            continue;
        }
        *at = t->nodes.items[node].next;
        t->nodes.items[node].next = NONE;
        if (t->nodes.n == t->nodes.cap) { /* `at` must not be moved under us */
            size_t index =
                at == &t->first ? SIZE_MAX : (size_t)((char *)at - (char *)t->nodes.items);

            VEC_RESERVE(&t->nodes, t->nodes.n + 1);
            if (index != SIZE_MAX)
                at = (uint32_t *)(void *)((char *)t->nodes.items + index);
        }
        merge(t, e->node, node);
    }
    free(subjects.entries);
}

/* --- ORDEREDSUBJECT ----------------------------------------------------------------------------
 */

static int subject_order(const void *ctx, const void *a, const void *b)
{
    const struct thread_message *l = a, *r = b;
    int cmp =
        slice_cmp(sortkeys_text(l->keys, SORTKEY_SUBJECT), sortkeys_text(r->keys, SORTKEY_SUBJECT));

    if (cmp == 0)
        cmp = (l->sent > r->sent) - (l->sent < r->sent);
    return cmp;
}

/* The first of each subject is a thread, all others are its children. */
static void split_subjects(struct thread *t)
{
    const struct thread_message *root = NULL, *m;
    uint32_t *at = NULL;

    for (size_t i = 0; i < t->n; i++) {
        uint32_t node = (uint32_t)((m = t->sorted[i]) - t->messages);

        if (root && slice_eq(sortkeys_text(root->keys, SORTKEY_SUBJECT),
                             sortkeys_text(m->keys, SORTKEY_SUBJECT))) {
            t->nodes.items[node].parent = (uint32_t)(root - t->messages);
            *at = node;
            at = &t->nodes.items[node].next;
            continue;
        }
        root = m;
        at = &t->nodes.items[node].child;
        push_child(t, NONE, node);
    }
}

/* --- steps --------------------------------------------------------------------------------------
 */

struct thread *thread_new(enum thread_algorithm algorithm, const struct thread_message *messages,
                          size_t n)
{
    struct thread *t = NEW(struct thread);

    t->algorithm = algorithm;
    t->messages = messages;
    t->n = n;
    t->first = NONE;
    VEC_RESERVE(&t->nodes, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t id = messages[i].keys->ids[0];
        uint32_t node = node_new(t, (uint32_t)i);
        struct entry *e = id && algorithm != THREAD_BY_SUBJECT ? table_at(&t->ids, id) : NULL;

        /* RFC 5256: of messages with one Message-ID, the others count as if they had none */
        if (e && e->node == NONE)
            e->node = node;
    }
    if (algorithm == THREAD_BY_SUBJECT) {
        t->phase = SORT_SUBJECTS;
        t->sorted = mem_realloc(NULL, n + 1, sizeof *t->sorted);
        for (size_t i = 0; i < n; i++)
            t->sorted[i] = &messages[i];
        slicesort_begin(&t->sort, t->sorted, n, subject_order, NULL);
    }
    return t;
}

/* True: all messages have been linked. */
static bool link_some(struct thread *t, size_t work,
                      void (*one)(struct thread *t, uint32_t message))
{
    for (; t->at < t->n && work > 0; work--)
        one(t, (uint32_t)t->at++);
    if (t->at < t->n)
        return false;
    t->at = 0;
    return true;
}

/* Step 6; of ORDEREDSUBJECT the children are in order already. */
static void finish(struct thread *t)
{
    struct siblings work = {0};

    if (t->algorithm == THREAD_BY_SUBJECT)
        sort_children(t, NONE, NULL, &work);
    else
        sort_all(t);
    VEC_DONE(&work);
}

/* One step; the phase that follows. */
static enum phase advance(struct thread *t, size_t work)
{
    switch (t->phase) {
    case LINK_PARENTS:
        return link_some(t, work, link_parent) ? LINK_REFERENCES : LINK_PARENTS;
    case LINK_REFERENCES:
        return link_some(t, work, link_references) ? PRUNE : LINK_REFERENCES;
    case PRUNE:
        prune(t);
        return t->algorithm == THREAD_BY_REFERENCES ? ORDER : FINISH;
    case ORDER:
        sort_all(t);
        return MERGE_SUBJECTS;
    case MERGE_SUBJECTS:
        merge_subjects(t);
        return FINISH;
    case SORT_SUBJECTS:
        return slicesort_step(&t->sort, work) ? SPLIT_SUBJECTS : SORT_SUBJECTS;
    case SPLIT_SUBJECTS:
        split_subjects(t);
        return FINISH;
    case FINISH:
        finish(t);
        return DONE;
    case DONE:
        break;
    }
    return DONE;
}

bool thread_step(struct thread *t, size_t work)
{
    t->phase = advance(t, work);
    return t->phase == DONE;
}

const struct thread_node *thread_nodes(const struct thread *t, uint32_t *ret_first)
{
    *ret_first = t->first;
    return t->nodes.items;
}

void thread_free(struct thread *t)
{
    if (!t)
        return;
    slicesort_done(&t->sort);
    free(t->sorted);
    free(t->ids.entries);
    free(t->up);
    VEC_DONE(&t->nodes);
    free(t);
}
