/* SPDX-License-Identifier: MPL-2.0 */
/* deliver: one message into the logs of all its recipients' accounts, in one round.
 *
 *   deliveries_init(&all, mail, arena, at_most);
 *   deliveries_add(&all, &message, recipients, n);   for each recipient of the transaction
 *   deliveries_commit(&all);
 *   deliveries_result(&all, recipients, n);          for each, again
 *   deliveries_done(&all);
 *
 * An account that several recipients lead to gets one message. Return-Path, Delivered-To and the
 * trace fields are put in front of it for each account; the rest is shared. The same bytes from the
 * same sender within three days are one message (I24): who did not hear our answer may send again.
 *
 * One thread; deliveries_commit blocks.
 */
#pragma once

#include "lib/auth/directory.h"
#include "lib/base/digest.h"
#include "lib/mail/message.h"
#include "protocols/smtp/smtp.h"

/* What all accounts' copies have in common. */
struct delivery_message {
    const char *sender;        /* for Return-Path */
    struct slice received;     /* trace fields, with their line ends */
    struct prepared *base;     /* without any of these */
    uint8_t hash[SHA256_SIZE]; /* of the message as the sender knows it: for I24 */
};

struct delivery {
    uint64_t account;
    bool extra; /* no recipient's: see deliveries_add_copy */
    struct intent intent;
    struct prepared *prepared;
};

struct deliveries {
    struct mail *mail;
    struct arena *arena;
    struct delivery *items;
    size_t n;
};

/* at_most: accounts, and copies, that will be added in all. */
void deliveries_init(struct deliveries *all, struct mail *mail, struct arena *arena,
                     size_t at_most);
/* Plans the message for accounts that are not planned for yet. What is wrong shows in the result.
 * Recipients elsewhere (`foreign`) are left out. */
void deliveries_add(struct deliveries *all, const struct delivery_message *message,
                    const struct directory_recipient *to, size_t n);
/* One more message for an account, that belongs to no recipient: a copy in Sent, a report. Its
 * result is in the delivery that is returned. `salt` tells its delivery hash from that of others of
 * the same message. A reference to `prepared` is taken. */
struct delivery *deliveries_add_copy(struct deliveries *all, uint64_t account, struct slice mailbox,
                                     struct prepared *prepared,
                                     const struct delivery_message *message, const char *salt);
void deliveries_commit(struct deliveries *all);
/* 0, or minus enum err: the worst of the recipient's accounts. */
int deliveries_result(const struct deliveries *all, const struct directory_recipient *to, size_t n);
void deliveries_done(struct deliveries *all);

/* --- what is said of it ----------------------------------------------------------------------- */

/* Kinds of failure at RCPT and at the end of the content, as RFC 3463 has them. */
void delivery_rcpt_reply(struct smtp_reply *reply, int res);
void delivery_reply(struct smtp_reply *reply, int res, bool over_quota_permanent);
