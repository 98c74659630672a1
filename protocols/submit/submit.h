/* SPDX-License-Identifier: MPL-2.0 */
/* Submission (RFC 6409): mail from users, to accounts here and to the queue.
 *
 *   header.h    what is checked and put right in the header
 *   lines.h     line ends
 *   report.h    delivery reports (RFC 3464) about recipients here
 *   client.c    who logged in: what holds for him
 *   submit.c    the dialect: MAIL, RCPT
 *   content.c   the content on its way in, and where it goes
 *   burl.c      pieces of it that are in accounts here (BURL)
 *   here.h      what leaves the queue for accounts here
 *
 * What a user may count on: 250 means that every recipient here has the message in his log and that
 * for all others it is in the queue, both durably (I21, I29); 4yz that it is not, or that nobody
 * knows, and that sending the same again does no harm here (I24). Whose name he may use is the
 * directory's to say (directory_may_send): an envelope sender or an author that is not his is
 * refused.
 *
 * The order in which things become durable: first the accounts here (and the copy in Sent), in one
 * round; then, if a recipient asked to hear of it or was refused at the last moment, a report in
 * the sender's INBOX; the queue last. A message that has neither Date nor Message-ID of its own is
 * a new one each time that it comes.
 *
 * Sandbox (of the account, its domain, or the server): nothing leaves and nobody else here gets
 * anything; whatever is sent lies in the sender's own INBOX, and the last reply is
 * "250 2.0.0 Accepted [STATUS=new MSGID=M...]", where MSGID is the message's EMAILID (RFC 8474).
 */
#pragma once

#include <stdatomic.h>

#include "lib/auth/login.h"
#include "lib/base/rates.h"
#include "lib/mail/mail.h"
#include "lib/queue/queue.h"
#include "protocols/smtp/smtp.h"

/* How much may be sent in an hour; 0: no limit. */
struct submit_limits {
    unsigned messages, recipients;
};

struct submit_settings {
    struct smtp_settings smtp;    /* auth too */
    bool sandbox;                 /* for all accounts */
    bool save_sent;               /* unless an account says otherwise */
    bool trace_client;            /* trace fields name the client and its address */
    struct submit_limits account; /* unless an account says otherwise */
    struct submit_limits address; /* of a client (IPv6: of a /64), whatever accounts it uses */
};

/* What happened in all sessions; only ever added to, on any thread. */
struct submit_counters {
    _Atomic uint64_t messages;        /* accepted: 250 */
    _Atomic uint64_t sandboxed;       /* of these */
    _Atomic uint64_t local, queued;   /* recipients, of the others */
    _Atomic uint64_t refused_sender;  /* MAIL or header: not his name */
    _Atomic uint64_t refused_rate;    /* over a limit of the hour */
    _Atomic uint64_t refused_content; /* loops, headers, NUL */
    _Atomic uint64_t urls;            /* taken by BURL */
    _Atomic uint64_t failed;          /* no 250 after the content, for another reason */
};

/* All are the caller's and must outlive the service. queue NULL: recipients elsewhere are refused;
 * rates NULL: there are no limits. */
struct submit_parts {
    struct mail *mail;
    struct directory *directory;
    struct queue *queue;
    struct rates *rates;
    struct submit_counters *counters;
};

struct session_service *submit_service_new(const struct submit_settings *settings,
                                           const struct submit_parts *parts) MUST_USE;
/* When all its sessions are freed. NULL is fine. */
void submit_service_free(struct session_service *service);
