/* SPDX-License-Identifier: MPL-2.0 */
/* THREAD: RFC 5256; the algorithms are in lib/mail/thread.h. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/thread.h"
#include "protocols/imap/gather.h"

#define WORK 2000 /* messages between two looks at the clock */

struct threading {
    struct gather gather;
    struct thread_message *messages;
    struct thread *thread;
    bool threaded, writing;
    const struct thread_node *nodes;
    uint32_t at; /* node that is written next */
};

static void threading_free(void *context)
{
    struct threading *t = context;

    gather_done(&t->gather);
    thread_free(t->thread);
    free(t->messages);
    free(t);
}

static enum thread_algorithm algorithm_of(int word)
{
    return word == THREAD_ORDEREDSUBJECT ? THREAD_BY_SUBJECT
           : word == THREAD_REFERENCES   ? THREAD_BY_REFERENCES
                                         : THREAD_BY_REFS;
}

static int begin(struct imap *im, struct command *cmd)
{
    const struct arg *args = cmd->parsed.args;
    struct threading *t = NEW(struct threading);

    cmd->context = t;
    cmd->context_free = threading_free;
    return gather_begin(&t->gather, im, cmd, args[1].text, &args[2], true);
}

static void begin_threading(struct threading *t, const struct command *cmd)
{
    size_t n = t->gather.found.n;
    bool uid = cmd->row->flags & CMD_UID;

    t->messages = mem_realloc(NULL, n + 1, sizeof *t->messages);
    for (size_t i = 0; i < n; i++) {
        const struct gathered *f = &t->gather.found.items[i];

        t->messages[i] = (struct thread_message){
            .number = uid ? f->m.uid : f->seq,
            .sent = gathered_sent(f),
            .arrived = f->m.date,
            .keys = f->keys,
        };
    }
    t->thread = thread_new(algorithm_of(cmd->parsed.args[0].word), t->messages, n);
}

static int thread_some(struct threading *t, const struct command *cmd, int64_t until)
{
    if (!t->thread)
        begin_threading(t, cmd);
    while (!thread_step(t->thread, WORK))
        if (clock_mono_ms() >= until)
            return RUN_AGAIN;
    t->threaded = true;
    t->nodes = thread_nodes(t->thread, &t->at);
    return 0;
}

/* --- the answer: RFC 5256 section 5 ------------------------------------------------------------
 *
 *   thread-list = "(" (thread-members / thread-nested) ")"
 *   thread-members = nz-number *(SP nz-number) [SP thread-nested]
 *   thread-nested = 2*thread-list
 */

/* A thread, or one of several answers to a message, stands in parentheses; an only one does not. */
static bool in_parentheses(const struct threading *t, uint32_t node)
{
    uint32_t parent = t->nodes[node].parent;

    return parent == THREAD_NONE || t->nodes[t->nodes[parent].child].next != THREAD_NONE;
}

/* Closes what ends behind a node that has no children; the node that comes next, or none. */
static uint32_t go_on(const struct threading *t, struct buf *out, uint32_t node)
{
    while (node != THREAD_NONE) {
        if (in_parentheses(t, node))
            buf_add_byte(out, ')');
        if (t->nodes[node].next != THREAD_NONE)
            return t->nodes[node].next;
        node = t->nodes[node].parent;
    }
    return THREAD_NONE;
}

static uint32_t write_node(const struct threading *t, struct buf *out, uint32_t at)
{
    const struct thread_node *node = &t->nodes[at];

    if (in_parentheses(t, at))
        buf_add_byte(out, '(');
    if (node->message != THREAD_NONE) {
        buf_add_u64(out, t->messages[node->message].number);
        if (node->child != THREAD_NONE)
            buf_add_byte(out, ' ');
    }
    return node->child != THREAD_NONE ? node->child : go_on(t, out, at);
}

static int write_some(struct threading *t, struct buf *out)
{
    if (!t->writing)
        buf_add_str(out, t->at == THREAD_NONE ? "* THREAD" : "* THREAD ");
    t->writing = true;
    while (t->at != THREAD_NONE) {
        if (out->n >= SESSION_SLICE)
            return RUN_AGAIN;
        t->at = write_node(t, out, t->at);
    }
    buf_add_str(out, "\r\n");
    return 0;
}

int cmd_thread(struct imap *im, struct command *cmd)
{
    int64_t until = clock_mono_ms() + SEARCH_WORK_MS;
    struct threading *t;
    int r = cmd->context ? 0 : begin(im, cmd);

    t = cmd->context;
    if (r == 0 && !t->threaded)
        r = gather_step(&t->gather, im, cmd, until);
    if (r == 0 && !t->threaded)
        r = thread_some(t, cmd, until);
    if (r == 0)
        r = write_some(t, &im->s.out);
    if (r == 0)
        search_run_text(&t->gather.run, cmd);
    return r;
}
