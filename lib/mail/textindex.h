/* SPDX-License-Identifier: MPL-2.0 */
/* textindex: which messages of an account can hold a text, and which certainly do not.
 *
 * A search by BODY or TEXT compares texts (lib/mime/text.h) and nothing else decides; the index
 * only spares it the messages in which a piece of three octets of the key does not occur at all. It
 * is made in the background, may be thrown away at any time, and where it does not know (a new
 * message, a part that is gone, a format of another version) it says "perhaps". docs/search.md has
 * the argument and the formats.
 *
 * Threads: everything here may be called from any thread; what blocks says so. A query belongs to
 * one thread at a time.
 */
#pragma once

#include "lib/mail/mail.h"
#include "lib/mime/text.h"

#define TEXTINDEX_KEYS_MAX 64

/* --- for searching --------------------------------------------------------------------------- */

struct textindex_query;

/* Looks the keys up; keys and where as for text_search_new, n at most TEXTINDEX_KEYS_MAX. Reads
 * what it needs of the index, a few KB a key and segment. Blocks. Never fails: a store that does
 * not answer is an index that knows nothing. Valid for all messages, those that come later too. */
struct textindex_query *textindex_query_new(struct account *account, const struct slice *keys,
                                            const enum text_where *where, size_t n);
/* Bit i is clear: key i is certainly not in that message. Bits from n on are set. Quick, most so
 * when ids come in ascending order. */
uint64_t textindex_may(struct textindex_query *q, uint64_t message);
/* Also has the index brought up to date in the background, if many of the messages that were asked
 * for were not in it. NULL is fine. */
void textindex_query_free(struct textindex_query *q);

/* --- in the background ----------------------------------------------------------------------- */

struct textindex_done {
    uint64_t indexed;        /* messages that came into new segments */
    uint64_t made, merged;   /* segments written: of new messages; out of others */
    uint64_t dropped, parts; /* segments and leftover documents removed */
};

/* Brings the index of an account up to date with its newest state: segments for messages that are
 * in none (if they are as many as settings.index_after), small segments joined, those of which half
 * is gone made anew, leftovers removed. Any node, any time, no lock: two at once do the same work
 * twice and no harm. Blocks. 0; -ERR_NOTFOUND: no such account; -ERR_UNAVAILABLE; -ERR_CONFLICT:
 * the account changes too fast, once more; -ERR_CANCELLED: the node is stopping. */
int textindex_update(struct account *account, struct textindex_done *done,
                     struct error *err) MUST_USE;
/* Has textindex_update run in the background, unless one is running on this node. */
void textindex_wanted(struct account *account);
/* Removes all of it, for an account that is gone. Blocks. */
int textindex_erase(struct mail *mail, uint64_t account, struct error *err) MUST_USE;

/* Checks what is stored: every document decodes and belongs together, and the texts of some
 * messages of each segment are found by all their pieces. found() is called for each problem. A
 * segment with a problem is removed if `repair` (its messages are indexed again). Blocks. 0: looked
 * at everything; -ERR_UNAVAILABLE. */
int textindex_check(struct account *account, bool repair,
                    void (*found)(void *ctx, const char *what, bool repaired), void *ctx,
                    struct error *err) MUST_USE;
