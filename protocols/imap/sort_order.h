/* SPDX-License-Identifier: MPL-2.0 */
/* sort_order: what comes before what in SORT (RFC 5256 section 3, RFC 5957), and results that stay
 * in that order while messages come and go (CONTEXT=SORT, RFC 5267). */
#pragma once

#include "protocols/imap/gather.h"

struct criterion {
    enum sort_word word;
    bool reverse;
};

/* A number that orders most pairs as the first criterion does: where two differ, nothing else need
 * be compared. */
uint64_t sort_lead(const struct gathered *f, const struct criterion *first);
/* By the leads, then by all criteria; 0: equal. */
int sort_compare(const struct criterion *criteria, size_t n, const struct gathered *l,
                 const struct gathered *r);
/* Is it a text out of the message's header? */
bool sort_is_text(enum sort_word word);

/* The results of a SORT, kept in order; places count from 1. About 200 bytes a message. */
struct ranking;
#define RANKING_MAX 10000 /* messages: coming in, each moves those behind it */

/* criteria: must outlive it. keys: where those of messages that come in are from; NULL: none are
 * needed; the ranking's from here on. */
struct ranking *ranking_new(const struct criterion *criteria, size_t n,
                            struct sortkeys_mailbox *keys);
void ranking_free(struct ranking *k); /* NULL is fine */
/* One more at the end; in order, lead and keys are there. */
void ranking_append(struct ranking *k, const struct gathered *f);
/* Its place. Blocks on a digest that is not in memory. -ERR_UNAVAILABLE; -ERR_LIMIT: it is full. */
int ranking_insert(struct ranking *k, struct account *account, const struct message *m,
                   uint32_t *ret_place, struct error *err) MUST_USE;
/* The place it had; 0: it is not there. */
uint32_t ranking_remove(struct ranking *k, uint32_t uid);
