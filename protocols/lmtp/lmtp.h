/* SPDX-License-Identifier: MPL-2.0 */
/* LMTP (RFC 2033): mail from an MTA into the accounts' logs.
 *
 * A message is parsed once, whatever the number of its recipients, and committed for all of them in
 * one round; each recipient has a reply of its own. Return-Path, Delivered-To and Received are put
 * in front of the bytes as they came. The same bytes from the same sender for the same account
 * within three days are one message (I24): an MTA that did not hear our 250 may send again, and is
 * told 250 again.
 *
 * user+box@domain is delivered into the mailbox "box" if the account has one, else into INBOX.
 */
#pragma once

#include "lib/auth/directory.h"
#include "lib/mail/mail.h"
#include "protocols/smtp/smtp.h"

struct lmtp_settings {
    struct smtp_settings smtp;
    bool over_quota_permanent; /* 552 5.2.2 instead of 452 4.2.2 */
};

/* mail and directory stay the caller's and must outlive it. */
struct session_service *lmtp_service_new(const struct lmtp_settings *settings, struct mail *mail,
                                         struct directory *directory) MUST_USE;
/* When all its sessions are freed. NULL is fine. */
void lmtp_service_free(struct session_service *service);
