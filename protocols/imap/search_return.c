/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/search_return.h"

#include <inttypes.h>

#include "lib/base/mem.h"

int search_return_read(struct search_return *r, struct imap *im, struct command *cmd,
                       const struct arg *arg)
{
    const struct arg *options = arg->kind ? &arg->items[0].items[0] : NULL;

    r->extended = options != NULL;
    for (size_t i = 0; options && i < options->n; i++) {
        const struct arg *option = &options->items[i];
        unsigned once = RETURN_ALL | RETURN_PARTIAL;

        /* RFC 9394 section 3.1: "either one PARTIAL, one ALL, or neither PARTIAL nor ALL" */
        if (option->word & once && r->options & once)
            return imap_bad(cmd, "One of PARTIAL and ALL, once");
        if (option->word == RETURN_UPDATE) {
            r->update = true;
            r->fetch = option->items[0].kind ? &option->items[0] : NULL;
        }
        /* what says nothing of the answer: RFC 5267 sections 4.2 and 4.3 */
        if (option->word == RETURN_UPDATE || option->word == RETURN_CONTEXT)
            continue;
        r->options |= (unsigned)option->word;
        if (option->word == RETURN_PARTIAL)
            r->range = option->items[0];
    }
    /* RFC 4731 section 3.1: "()" is "(ALL)" */
    if (!r->options)
        r->options = RETURN_ALL;
    return 0;
}

void search_return_done(struct search_return *r)
{
    uidset_done(&r->uids);
    uidset_done(&r->seqs);
    uidset_done(&r->to);
}

/* --- lists of ranges -------------------------------------------------------------------------- */

static void list_add(struct uidset *list, uint32_t first, uint32_t last)
{
    if (list->n && list->items[list->n - 1].last + 1 == first)
        list->items[list->n - 1].last = last;
    else
        *VEC_PUSH(list) = (struct uid_range){first, last};
}

void search_return_add(struct search_return *r, const struct command *cmd, uint32_t seq,
                       uint32_t uid, uint64_t modseq)
{
    list_add(&r->uids, uid, uid);
    if (!(cmd->row->flags & CMD_UID))
        list_add(&r->seqs, seq, seq);
    r->count++;
    r->modseq = MAX(r->modseq, modseq);
}

struct uidset search_return_part(const struct uidset *list, const struct arg *range)
{
    uint64_t count = uidset_count(list), first = range->range.first, last = range->range.last, n;
    struct uidset part = {0};

    if (range->range.from_end) {
        first = count + 1 - MIN((uint64_t)range->range.last, count);
        last = count + 1 - MIN((uint64_t)range->range.first, count + 1);
    }
    for (size_t i = 0; i < list->n && first <= last; i++) {
        struct uid_range here = list->items[i];

        n = (uint64_t)here.last - here.first + 1;
        if (first <= n)
            list_add(&part, here.first + (uint32_t)first - 1,
                     here.first + (uint32_t)MIN(last, n) - 1);
        first = first > n ? first - n : 1;
        if (last <= n)
            break;
        last -= n;
    }
    return part;
}

/* --- what is kept, what is told of it ----------------------------------------------------------
 */

/* RFC 5182 section 2.4, RFC 9394 section 3.2: what MIN, MAX and PARTIAL give, unless ALL or COUNT,
 * or none of them, is there; then everything. In no order. */
static void add_returned(const struct search_return *r, struct uidset *to)
{
    unsigned some = RETURN_MIN | RETURN_MAX | RETURN_PARTIAL;

    if (r->options & (RETURN_ALL | RETURN_COUNT) || !(r->options & some)) {
        uidset_add_all(to, &r->uids);
        return;
    }
    if (r->uids.n && r->options & RETURN_MIN)
        uidset_add(to, r->uids.items[0].first);
    if (r->uids.n && r->options & RETURN_MAX)
        uidset_add(to, r->uids.items[r->uids.n - 1].last);
    if (r->options & RETURN_PARTIAL) {
        CLEANUP(uidset_done) struct uidset part = search_return_part(&r->uids, &r->range);

        uidset_add_all(to, &part);
    }
}

static void save(const struct search_return *r, struct imap *im)
{
    uidset_clear(&im->saved);
    add_returned(r, &im->saved);
}

int search_return_refused(const struct search_return *r, struct imap *im, const struct command *cmd,
                          int result)
{
    bool bad = cmd->status && strcmp(cmd->status, "BAD") == 0;

    if (result < 0 && !bad && r->options & RETURN_SAVE)
        uidset_clear(&im->saved);
    return result;
}

/* RFC 4731 section 3.2: the highest mod-sequence of what is returned. */
static uint64_t returned_modseq(const struct search_return *r, const struct imap *im)
{
    CLEANUP(uidset_done) struct uidset returned = {0};
    struct message m;
    uint64_t highest = 0;
    uint32_t uid;

    if (r->options & (RETURN_ALL | RETURN_COUNT))
        return r->modseq;
    add_returned(r, &returned);
    for (struct uidset_iter i = uidset_iter(&returned); uidset_next(&i, &uid);)
        if (view_message(r->view ? r->view : im->view, uid, &m, NULL))
            highest = MAX(highest, m.modseq);
    return highest;
}

/* --- writing -----------------------------------------------------------------------------------
 */

static const struct uidset *numbers_of(const struct search_return *r, const struct command *cmd)
{
    return cmd->row->flags & CMD_UID ? &r->uids : &r->seqs;
}

static int write_numbers(struct search_return *r, struct buf *out)
{
    while (r->range_at < r->to.n) {
        const struct uid_range *range = &r->to.items[r->range_at];
        uint32_t first = r->next ? r->next : range->first;

        if (out->n >= SESSION_SLICE)
            return RUN_AGAIN;
        if (r->one_by_one || (r->range_at == 0 && !r->next))
            buf_add_byte(out, ' ');
        else
            buf_add_byte(out, ',');
        buf_add_u64(out, first);
        if (!r->one_by_one && range->last > first) {
            buf_add_byte(out, ':');
            buf_add_u64(out, range->last);
        }
        r->next = r->one_by_one && first < range->last ? first + 1 : 0;
        r->range_at += r->next == 0;
    }
    buf_add_str(out, r->tail);
    return 0;
}

static void begin_plain(struct search_return *r, struct command *cmd, struct buf *out,
                        const char *name, bool modseq)
{
    buf_printf(out, "* %s", name);
    r->one_by_one = true;
    r->to = uidset_copy(numbers_of(r, cmd));
    r->tail = "\r\n";
    /* RFC 7162 sections 3.1.6 and 3.1.9 */
    if (modseq && r->count)
        r->tail = arena_printf(&cmd->arena, " (MODSEQ %" PRIu64 ")\r\n", r->modseq);
}

static void begin_partial(struct search_return *r, struct command *cmd, struct buf *out)
{
    const char *minus = r->range.range.from_end ? "-" : "";

    buf_printf(out, " PARTIAL (%s%u:%s%u", minus, r->range.range.first, minus, r->range.range.last);
    r->to = search_return_part(numbers_of(r, cmd), &r->range);
    r->tail = r->to.n ? ")\r\n" : " NIL)\r\n";
}

static void begin_extended(struct search_return *r, struct imap *im, struct command *cmd,
                           bool modseq)
{
    const struct uidset *all = numbers_of(r, cmd);
    struct buf *out = &im->s.out;

    buf_add_str(out, "* ESEARCH (TAG ");
    imap_write_string(out, slice_str(cmd->parsed.tag));
    if (r->box) {
        buf_add_str(out, " MAILBOX ");
        imap_write_mailbox(im, out, slice_str(r->box->name));
        buf_printf(out, " UIDVALIDITY %u", r->box->uidvalidity);
    }
    buf_add_str(out, cmd->row->flags & CMD_UID ? ") UID" : ")");
    if (r->options & RETURN_MIN && r->count)
        buf_printf(out, " MIN %u", all->items[0].first);
    if (r->options & RETURN_MAX && r->count)
        buf_printf(out, " MAX %u", all->items[all->n - 1].last);
    if (r->options & RETURN_COUNT)
        buf_printf(out, " COUNT %" PRIu64, r->count);
    if (modseq && r->count && returned_modseq(r, im))
        buf_printf(out, " MODSEQ %" PRIu64, returned_modseq(r, im));
    r->tail = "\r\n";
    if (r->options & RETURN_PARTIAL) {
        begin_partial(r, cmd, out);
    } else if (r->options & RETURN_ALL && r->count) {
        buf_add_str(out, " ALL");
        r->to = uidset_copy(all);
    }
}

int search_return_write(struct search_return *r, struct imap *im, struct command *cmd,
                        const char *name, bool modseq)
{
    if (!r->writing) {
        r->writing = true;
        if (r->options & RETURN_SAVE)
            save(r, im);
        /* RFC 5182 section 2.1: SAVE alone has no answer but the tagged one */
        if (r->options == RETURN_SAVE)
            return 0;
        if (r->extended)
            begin_extended(r, im, cmd, modseq);
        else
            begin_plain(r, cmd, &im->s.out, name, modseq);
    }
    return r->tail ? write_numbers(r, &im->s.out) : 0;
}
