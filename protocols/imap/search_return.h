/* SPDX-License-Identifier: MPL-2.0 */
/* search_return: what a SEARCH or SORT has found, and how it is to be answered: "* SEARCH" and
 * "* SORT", or "* ESEARCH" with the options of RETURN (RFC 4731, RFC 5267 section 3, RFC 9394), and
 * what is kept of it for "$" (RFC 5182).
 */
#pragma once

#include "protocols/imap/impl.h"

struct search_return {
    struct view *view;         /* in which it was found; NULL: the selected mailbox */
    const struct mailbox *box; /* it is named in the answer (RFC 7377); NULL: it is not */
    bool extended;             /* RETURN was given, or need not be: ESEARCH answers */
    unsigned options;          /* enum return_word */
    struct arg range;          /* PARTIAL */
    bool update;               /* the results are to be kept up to date (RFC 5267), */
    const struct arg *fetch;   /* with these items of new messages, a LIST; NULL: none */

    /* Found so far, as ranges in the order of the answer, which for SORT is not ascending; the
     * numbers within a range are. seqs stays empty where the command speaks of uids. */
    struct uidset uids, seqs;
    uint64_t count;
    uint64_t modseq; /* highest of those found */

    bool writing;     /* the head of the response has been written */
    struct uidset to; /* what is being written, */
    size_t range_at;  /* next range of it, */
    uint32_t next;    /* next number of that range; 0: its first */
    bool one_by_one;  /* as single numbers */
    const char *tail; /* what follows; the command's arena's */
};

/* arg: the RULE_WORD RETURN, or one left out. BAD for options that do not go together. */
int search_return_read(struct search_return *r, struct imap *im, struct command *cmd,
                       const struct arg *arg) MUST_USE;
void search_return_done(struct search_return *r);
void search_return_add(struct search_return *r, const struct command *cmd, uint32_t seq,
                       uint32_t uid, uint64_t modseq);
/* When all has been added. name: "SEARCH" or "SORT", for the answer that is not extended. modseq:
 * there was a MODSEQ key. 0; RUN_AGAIN: a slice was written, call it again. */
int search_return_write(struct search_return *r, struct imap *im, struct command *cmd,
                        const char *name, bool modseq) MUST_USE;
/* A command with SAVE that was refused leaves "$" empty (RFC 5182 section 2.1). Gives `result`. */
int search_return_refused(const struct search_return *r, struct imap *im, const struct command *cmd,
                          int result);
/* The part of a set, or of any list of ranges, at a RULE_RANGE's positions, which clamp to it. */
struct uidset search_return_part(const struct uidset *list, const struct arg *range);
