/* SPDX-License-Identifier: MPL-2.0 */
/* search_run: the messages of a mailbox in view that a program of SEARCH keys matches, found in
 * slices: what SEARCH, SORT and THREAD begin with.
 *
 * Goes through the view in order. A message that the view's data decide costs a look at them; the
 * others are gathered in batches, whose digests come in one read; the content is opened where the
 * digest does not decide either. Where nothing but the content decides, several threads look for
 * the texts (lib/mail/textscan.h).
 */
#pragma once

#include "protocols/imap/search_tree.h"

#define SEARCH_BATCH   256
#define SEARCH_WORK_MS 100 /* of one step; then others have their turn */

struct search_candidate {
    uint32_t seq;
    bool decided; /* it matches, and no digest was asked for */
    struct message m;
};

struct search_run {
    struct search_tree tree;
    struct view *view;
    const struct uidset *only; /* NULL: all uids */
    uint32_t next_uid;         /* messages below have been looked at */
    bool ended;                /* no more candidates */
    int64_t progress_at_ms;    /* the next INPROGRESS (RFC 9585) */
    bool some_gone;            /* messages that could not be read were left out */
    struct search_candidate batch[SEARCH_BATCH];
    struct slice digests[SEARCH_BATCH];
    struct hold *hold, *contents;   /* the batch's digests; its small messages, or NULL */
    struct textscan *scan;          /* of its small messages, where texts are sought; NULL: none */
    uint16_t scanned[SEARCH_BATCH]; /* place in it, from 1; 0: not there */
    size_t n, at;
};

/* A message that matches; in order of uid. */
typedef void search_hit(void *ctx, uint32_t seq, const struct message *m);

/* In a view whose messages are loaded; see search_tree_compile. search_run_done in any case. */
int search_run_begin(struct search_run *s, struct imap *im, struct view *view, struct command *cmd,
                     struct slice charset, const struct arg *keys) MUST_USE;
/* Runs a program again, on these uids only, which must outlive it: then search_run_step. Takes the
 * program over. */
void search_run_again(struct search_run *s, struct view *view, struct search_tree *tree,
                      const struct uidset *only);
/* 0: all have been found; RUN_AGAIN: it is `until` (clock_mono_ms()); or why it cannot go on. */
int search_run_step(struct search_run *s, struct imap *im, struct command *cmd, int64_t until,
                    search_hit *hit, void *ctx) MUST_USE;
void search_run_done(struct search_run *s);
/* The uids that it is about to look at, as far as sets at the top of the program say; the caller's.
 */
struct uidset search_run_scope(const struct search_run *s);
/* What an OK says where messages were left out. */
void search_run_text(const struct search_run *s, struct command *cmd);
