/* SPDX-License-Identifier: MPL-2.0 */
/* thread: messages into discussions, by the algorithms of RFC 5256 section 3 and of
 * draft-ietf-morg-inthread (REFS). Pure, in slices of work; linear but for sorting, whatever the
 * References fields say, and no recursion.
 */
#pragma once

#include "lib/base/slicesort.h"
#include "lib/mail/sortkeys.h"

enum thread_algorithm { THREAD_BY_SUBJECT, THREAD_BY_REFERENCES, THREAD_BY_REFS };

struct thread_message {
    uint32_t number; /* what stands for it in the answer */
    int64_t sent;    /* "sent date": of the Date field, or arrived */
    int64_t arrived; /* INTERNALDATE */
    const struct sortkeys *keys;
};

#define THREAD_NONE UINT32_MAX

/* One message, or a dummy: a message that others refer to and that is not among them. */
struct thread_node {
    uint32_t message;             /* index in the messages; THREAD_NONE: a dummy */
    uint32_t parent, child, next; /* indexes of nodes: the first child, the next sibling */
};

struct thread;
/* The messages, in the order of their numbers, stay the caller's and must outlive it. At most
 * 2^31. */
struct thread *thread_new(enum thread_algorithm algorithm, const struct thread_message *messages,
                          size_t n);
/* True: all is done. About `work` messages are looked at; some steps do all at once. */
bool thread_step(struct thread *t, size_t work) MUST_USE;
/* When it is done: the nodes, and the first thread (THREAD_NONE: there is none); the others are its
 * siblings. Dummies have two children at least and no parent. */
const struct thread_node *thread_nodes(const struct thread *t, uint32_t *ret_first);
void thread_free(struct thread *t); /* NULL is fine */
