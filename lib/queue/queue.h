/* SPDX-License-Identifier: MPL-2.0 */
/* queue: outgoing mail in the store, as those see it who hand mail in and those who look at it.
 *
 * A queued message is, in the order in which it is stored:
 *   1. its body, once, in pieces;
 *   2. one entry for each destination domain: the recipients there and what became of each;
 *   3. its envelope, the commit point: entries without it do not count, and are swept.
 * Any node takes any entry that is due, for the time of a lease; no node owns one (runner.h).
 *
 * Threads: any; everything blocks on the store. Strings in results belong to the arena given.
 * Errors beside those named: -ERR_UNAVAILABLE, -ERR_INTERNAL (damage).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct store;
struct queue;

/* Does not own the store. */
struct queue *queue_new(struct store *store) MUST_USE;
void queue_free(struct queue *queue);
/* How long what has ended is kept, 24 h at first; before anything is submitted. Half of it is what
 * a submission may take. */
void queue_set_horizon(struct queue *queue, int64_t ms);

/* --- handing mail in ------------------------------------------------------------------------- */

/* RFC 3461 4.1; a mask, 0: the parameter was not given (FAILURE and DELAY are then meant). */
enum queue_notify {
    QUEUE_NOTIFY_NEVER = 1,
    QUEUE_NOTIFY_SUCCESS = 2,
    QUEUE_NOTIFY_FAILURE = 4,
    QUEUE_NOTIFY_DELAY = 8,
};

enum queue_ret { QUEUE_RET_DEFAULT, QUEUE_RET_FULL, QUEUE_RET_HDRS }; /* RFC 3461 4.3 */
enum queue_body_type { QUEUE_7BIT, QUEUE_8BITMIME, QUEUE_BINARYMIME };
enum queue_by { QUEUE_BY_NONE, QUEUE_BY_RETURN, QUEUE_BY_NOTIFY }; /* RFC 2852: R, N */

struct queue_recipient {
    const char *address; /* local part as the client wrote it, domain in A-labels */
    unsigned notify;     /* enum queue_notify */
    const char *orcpt;   /* RFC 3461 4.2: "rfc822;text", xtext decoded; "" if none */
};

#define QUEUE_HEAD_MAX ((size_t)64 << 10)

struct queue_envelope {
    uint64_t account;   /* who sends it; bounces go there. 0: nobody's (a bounce itself) */
    const char *sender; /* envelope sender; "": the null path */
    const char *author; /* of From, where it is known and the account may use it; else NULL. Its
                           domain signs, if it has keys: that is what DMARC looks at. Not stored */
    bool utf8;          /* SMTPUTF8 was asked for (RFC 6531) */
    enum queue_body_type body;
    enum queue_ret ret;
    const char *envid;     /* RFC 3461 4.4, xtext decoded; "" if none */
    int64_t hold_until_ms; /* wall clock; FUTURERELEASE (RFC 4865); 0: now */
    enum queue_by by;      /* DELIVERBY (RFC 2852) */
    int64_t by_ms;         /* wall clock: the latest time of delivery */
    bool by_trace;         /* its "T" */
    int priority;          /* MT-PRIORITY (RFC 6710), -9 to 9 */
    bool require_tls;      /* REQUIRETLS (RFC 8689) */
    const char *solicit;   /* NO-SOLICITING (RFC 3865): classes with commas between; NULL or "" */
    bool tls_optional;     /* "TLS-Required: No" in the header (RFC 8689 section 5) */
    struct slice head;     /* header lines to be sent before the body, which are known only when
                              the body was written; QUEUE_HEAD_MAX at most. Signatures (dkim.h) are
                              put before them by queue_submit */
    bool head_is_whole;    /* unless this says that there is nothing to be added. Not stored */
    struct queue_recipient *recipients;
    size_t recipients_n;
};

/* A message's bytes on their way into the store, in bounded memory. Not yet queued: what is never
 * submitted is swept. */
struct queue_writer;
struct queue_writer *queue_writer_new(struct queue *queue) MUST_USE;
int queue_writer_feed(struct queue_writer *w, struct slice bytes, struct error *err) MUST_USE;
void queue_writer_free(struct queue_writer *w);

#define QUEUE_RECIPIENTS_MAX 10000 /* of one message; more is -ERR_LIMIT */

#define QUEUE_ID_TEXT 17 /* 16 hex digits and a NUL */

/* Where the domain of the author, or else that of the envelope sender, has keys (dkim.h), the
 * message is signed; a binary one is not: its bytes may change on the way. Queues what was written
 * for all recipients of the envelope, or for none of them. Consumes the writer's contents; free it
 * all the same. *ret_id: for logs and the client's reply. 0: durable on a majority, will be
 * attempted until each recipient has a final result (I29); -ERR_UNAVAILABLE: not queued, now or
 * later (I23); -ERR_UNKNOWN_OUTCOME: will not be known. */
int queue_submit(struct queue *queue, struct queue_writer *w, const struct queue_envelope *envelope,
                 uint64_t *ret_id, struct error *err) MUST_USE;
void queue_id_text(uint64_t id, char ret[static QUEUE_ID_TEXT]);
