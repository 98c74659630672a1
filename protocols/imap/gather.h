/* SPDX-License-Identifier: MPL-2.0 */
/* gather: the messages that a program of SEARCH keys matches, with what SORT and THREAD compare of
 * them, all in memory (about 100 bytes a message beside the keys), in slices. */
#pragma once

#include "lib/base/mem.h"
#include "lib/mail/sortkeys.h"
#include "protocols/imap/search_run.h"

struct gathered {
    uint32_t seq;
    struct message m;
    const struct sortkeys *keys; /* NULL: not asked for */
    uint64_t lead;               /* of SORT: orders most of them at once */
};

struct gather {
    struct search_run run;
    bool wants_keys;
    struct sortkeys_mailbox *keys;
    VEC(struct gathered) found;
    size_t with_keys; /* so many have them */
    bool searched;
};

/* See search_run_begin. gather_done in any case. */
int gather_begin(struct gather *g, struct imap *im, struct command *cmd, struct slice charset,
                 const struct arg *keys, bool wants_keys) MUST_USE;
/* As search_run_step. At 0 all is in g->found, in order of uid, and stays where it is. */
int gather_step(struct gather *g, struct imap *im, struct command *cmd, int64_t until) MUST_USE;
void gather_done(struct gather *g);

/* The "sent date" of RFC 5256 section 2.2: of the Date field, else INTERNALDATE. */
static inline int64_t gathered_sent(const struct gathered *f)
{
    return f->keys->has_sent ? f->keys->sent : f->m.date;
}
