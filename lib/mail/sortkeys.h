/* SPDX-License-Identifier: MPL-2.0 */
/* sortkeys: what SORT and THREAD compare of a message (RFC 5256, RFC 5957), ready for comparing:
 * texts mapped by i;unicode-casemap (RFC 5051), Message-IDs as hashes, dates in UTC.
 *
 * They come out of digests, and never change; a message's (mailbox, uid) never comes to mean
 * another one (I4). So they are kept in memory by mailbox, about 200 bytes a message: a mailbox
 * that was sorted once is sorted again without reading anything. What is kept is bounded, and the
 * mailboxes used least recently go first.
 *
 * Threads: all functions, any thread.
 */
#pragma once

#include "lib/mail/mail.h"

enum sortkey {
    SORTKEY_SUBJECT, /* base subject (RFC 5256 section 2.1) */
    SORTKEY_FROM,    /* mailbox of the first address */
    SORTKEY_TO,
    SORTKEY_CC,
    SORTKEY_DISPLAYFROM, /* RFC 5957 section 3 */
    SORTKEY_DISPLAYTO,
    SORTKEYS_
};

struct sortkeys {
    int64_t sent; /* Date field, seconds since 1970 UTC */
    bool has_sent;
    bool is_reply;            /* the subject had "Re:" or the like */
    uint32_t ends[SORTKEYS_]; /* of the texts, which lie behind the ids */
    uint32_t n_references;    /* the oldest first; of In-Reply-To at most one */
    uint64_t ids[];           /* of the message itself (0: it has none), then its references */
};

static inline struct slice sortkeys_text(const struct sortkeys *k, enum sortkey which)
{
    const uint8_t *texts = (const uint8_t *)(k->ids + 1 + k->n_references);
    uint32_t from = which ? k->ends[which - 1] : 0;

    return slice_of(texts + from, k->ends[which] - from);
}

/* One per struct mail. bytes: how much is kept of mailboxes that nobody sorts at the moment. */
struct sortkeys_cache;
struct sortkeys_cache *sortkeys_cache_new(size_t bytes);
void sortkeys_cache_free(struct sortkeys_cache *c); /* nothing may be open; NULL is fine */

struct sortkeys_mailbox;
struct sortkeys_mailbox *sortkeys_open(struct account *account, uint64_t mailbox);
void sortkeys_close(struct sortkeys_mailbox *s); /* NULL is fine */

#define SORTKEYS_AT_ONCE 256
/* The keys of some messages of the mailbox, SORTKEYS_AT_ONCE at most, valid until it is closed. Of
 * a message that is gone, or whose digest cannot be read, all are empty. Blocks on digests that are
 * not in memory. -ERR_UNAVAILABLE. */
int sortkeys_get(struct sortkeys_mailbox *s, struct account *account,
                 const struct message *const *messages, size_t n, const struct sortkeys **ret,
                 struct error *err) MUST_USE;
