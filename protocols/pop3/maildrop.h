/* SPDX-License-Identifier: MPL-2.0 */
/* maildrop: INBOX as it was at the login, and what this session has asked to be done at QUIT.
 *
 * It holds one version of the mailbox, which never changes; deliveries and other sessions make new
 * versions. Messages are numbered from 1 in the order of their uids; numbers do not change.
 * Memory: the version is shared with all who hold it; of its own a maildrop has two sets of uids.
 */
#pragma once

#include "lib/mail/mail.h"

struct maildrop {
    struct account *account; /* the session's */
    struct mailbox *box;
    struct uidset deleted;
    struct uidset seen; /* retrieved whole */
    uint64_t deleted_bytes;
};

/* As the store has it now. Blocks. -ERR_UNAVAILABLE, -ERR_NOTFOUND: there is no INBOX. */
int maildrop_open(struct maildrop *drop, struct account *account, struct error *err) MUST_USE;
void maildrop_done(struct maildrop *drop); /* a zeroed one is fine */

uint32_t maildrop_total(const struct maildrop *drop); /* messages, deleted ones included */
uint32_t maildrop_count(const struct maildrop *drop); /* without them */
uint64_t maildrop_bytes(const struct maildrop *drop);
/* False: no such number, or marked as deleted. */
bool maildrop_get(const struct maildrop *drop, uint64_t number, struct message *ret);
void maildrop_delete(struct maildrop *drop, const struct message *m);
/* RSET; what was retrieved stays seen. */
void maildrop_reset(struct maildrop *drop);
/* RFC 1939 section 7: the same for ever and on every node. */
#define MAILDROP_UID 16 /* characters */
void maildrop_uid(const struct maildrop *drop, uint32_t uid, uint8_t ret[MAILDROP_UID]);
/* The UPDATE state: removes what is marked, in one record. Messages that others have removed
 * meanwhile are fine. Blocks. As mail_commit. */
int maildrop_commit(struct maildrop *drop, bool mark_seen, struct error *err) MUST_USE;
