/* SPDX-License-Identifier: MPL-2.0 */
/* fsck: does what is stored agree with itself? For `eider fsck` and for tests, while servers run.
 *
 * Folds the log again, from its start where that is still there and from the manifest, and compares
 * the two and the sums; reads every message that a mailbox names back and checks its blobs; looks
 * for messages that nobody names; and checks the text index.
 */
#pragma once

#include "lib/mail/mail.h"

struct fsck_options {
    bool contents; /* read every message back; else only look that its document is there */
    bool repair;   /* see fsck_account */
    /* Called for each finding; repaired: it is gone now. */
    void (*found)(void *ctx, uint64_t account, const char *what, struct slice text, bool repaired);
    void *ctx;
};

struct fsck_result {
    uint64_t records, mailboxes, messages, bytes;
    uint64_t orphans;  /* messages that nobody names; normal until the sweep comes */
    uint64_t problems; /* found */
    uint64_t repaired; /* of them */
};

/* Blocks. Repairs, where asked to:
 *   a manifest or segment that does not agree with the log: saved anew from the log (if it is
 * whole; nodes that have opened the account by the wrong one go on with it: restart them) an
 * orphan: swept, when its time has come a segment of the text index that is damaged or differs from
 * the messages: dropped a message whose content is damaged or gone: reported, never dropped; what
 * can be read stays readable 0: looked at everything (see problems); -ERR_NOTFOUND: no such
 * account; -ERR_UNAVAILABLE. */
int fsck_account(struct mail *mail, uint64_t account, const struct fsck_options *options,
                 struct fsck_result *result, struct error *err) MUST_USE;
