/* SPDX-License-Identifier: MPL-2.0 */
/* UIDBATCHES: RFC 10022. Ranges of uids, the highest first, that hold so many messages each.
 *
 * They lie side by side: one ends where the next one begins, so that no message that comes to be
 * known later, by its EXISTS, could lie between two; the last one reaches down to 1. Of the mailbox
 * only the pieces that hold a border are loaded.
 */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

#define SIZE_MIN 500    /* what all servers take */
#define SPAN_MAX 100000 /* messages that the batches asked for may hold */

struct batches {
    struct uidset ranges; /* descending, and so no set; as they are written */
    size_t at;
};

static void batches_free(void *context)
{
    struct batches *b = context;

    uidset_done(&b->ranges);
    free(b);
}

/* Sequence numbers of the lowest messages of the batches from `first` to `last`, of which the last
 * one of all has none: it reaches down to 1. */
static struct seq_range *borders(struct command *cmd, uint32_t count, uint64_t size, uint64_t first,
                                 uint64_t last, size_t *ret_n)
{
    uint64_t n = MIN(last, (uint64_t)count / size);
    struct seq_range *set;

    *ret_n = 0;
    if (first > n)
        return NULL;
    set = arena_array(&cmd->arena, n - first + 1, sizeof *set);
    for (uint64_t i = first; i <= n; i++) {
        uint32_t seq = (uint32_t)(count - i * size + 1);

        set[(*ret_n)++] = (struct seq_range){seq, seq};
    }
    return set;
}

/* The uid at which batch `i` begins: right below the one before. */
static uint32_t upper(const struct view *v, uint32_t count, uint64_t size, uint64_t i)
{
    return i == 1 ? view_uid(v, count) : view_uid(v, (uint32_t)(count - (i - 1) * size + 1)) - 1;
}

static int find(struct imap *im, struct command *cmd, uint64_t size, uint64_t first, uint64_t last,
                struct batches *b)
{
    uint32_t count = view_count(im->view);
    uint64_t n = ((uint64_t)count + size - 1) / size;
    size_t n_borders;
    struct seq_range *set = borders(cmd, count, size, first > 1 ? first - 1 : 1, last, &n_borders);
    int r = 0;

    if (n_borders)
        r = view_load_set(im->view, im->account, set, n_borders, false, &cmd->err);
    for (uint64_t i = first; r == 0 && i <= MIN(last, n); i++) {
        uint32_t low = i == n ? 1 : view_uid(im->view, (uint32_t)(count - i * size + 1));

        *VEC_PUSH(&b->ranges) = (struct uid_range){upper(im->view, count, size, i), low};
    }
    return r;
}

static int begin(struct imap *im, struct command *cmd)
{
    const struct arg *args = cmd->parsed.args;
    uint64_t size = args[0].number, first = 1, last = UINT32_MAX;
    struct batches *b;

    if (args[1].kind) {
        first = args[1].set.items[0].first;
        last = args[1].set.items[0].last;
    }
    if (args[1].kind && (args[1].set.n != 1 || args[1].set.saved || !first || !last))
        return imap_bad(cmd, "The batches are a range like 1:10");
    if (first > last) {
        cmd->code = "CLIENTBUG";
        return imap_bad(cmd, "The batches are a range from a lower to a higher number");
    }
    if (size < SIZE_MIN)
        return imap_no(cmd, "TOOFEW", "A batch has at least %d messages", SIZE_MIN);
    if (args[1].kind && (last - first + 1) * size > SPAN_MAX && last > first)
        return imap_no(cmd, "TOOMANY", "Ask for batches of %d messages in all", SPAN_MAX);
    b = NEW(struct batches);
    cmd->context = b;
    cmd->context_free = batches_free;
    buf_add_str(&im->s.out, "* UIDBATCHES (TAG ");
    imap_write_string(&im->s.out, slice_str(cmd->parsed.tag));
    buf_add_byte(&im->s.out, ')');
    return find(im, cmd, size, first, last, b);
}

int cmd_uidbatches(struct imap *im, struct command *cmd)
{
    size_t before = im->s.out.n;
    int r = cmd->context ? 0 : begin(im, cmd);
    struct batches *b = cmd->context;

    if (r < 0) {
        im->s.out.n = before;
        return r;
    }
    for (; b->at < b->ranges.n; b->at++) {
        const struct uid_range *range = &b->ranges.items[b->at];

        if (im->s.out.n >= SESSION_SLICE)
            return RUN_AGAIN;
        buf_printf(&im->s.out, "%c%u:%u", b->at ? ',' : ' ', range->first, range->last);
    }
    buf_add_str(&im->s.out, "\r\n");
    return 0;
}
