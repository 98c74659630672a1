/* SPDX-License-Identifier: MPL-2.0 */
/* The SMTP engine: one session for LMTP (RFC 2033) and, later, submission and MX, which differ by
 * their `struct smtp_dialect` and by what stands behind it.
 *
 *   line.h      command lines, dot-stuffing: pure functions
 *   session.c   states, command table, replies; drives a dialect's ops
 *
 * A transaction: MAIL, RCPT (each asked of the dialect), then content by DATA or BDAT, fed to the
 * dialect as it comes, then one reply (SMTP) or one per accepted recipient (LMTP).
 */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/mem.h"
#include "lib/base/session.h"
#include "protocols/smtp/line.h"

struct smtp_settings {
    const char *hostname;    /* in the greeting and in trace fields */
    uint64_t message_max;    /* octets; SIZE (RFC 1870) */
    unsigned recipients_max; /* of one transaction; at least 100 (RFC 5321 4.5.3.1.8) */
    unsigned bad_commands;   /* in a row, then 421 */
    int64_t timeout_ms; /* without a byte from the client; 5 min at least (RFC 5321 4.5.3.2.7) */
    bool starttls;      /* the listener offers it */
};

/* A reply of one line. text has no CRLF. */
struct smtp_reply {
    unsigned code;
    const char *enhanced; /* "2.1.5", or NULL: none (RFC 2034: greetings, 3yz) */
    char text[200];
};
void smtp_reply_set(struct smtp_reply *r, unsigned code, const char *enhanced, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

enum smtp_body { SMTP_7BIT, SMTP_8BITMIME, SMTP_BINARYMIME };

struct smtp_recipient {
    const char *address;     /* as the client wrote it, in the transaction's arena */
    void *context;           /* the dialect's, in the arena */
    struct smtp_reply reply; /* after the content; set by ops->finish */
};

struct smtp_transaction {
    struct arena arena;
    bool begun;         /* MAIL was accepted */
    const char *sender; /* "" for the null path */
    uint64_t size;      /* as announced by SIZE=, 0: not */
    enum smtp_body body;
    bool utf8;                             /* SMTPUTF8 */
    VEC(struct smtp_recipient) recipients; /* accepted ones */
    unsigned refused;                      /* recipients */
    const char *helo;                      /* what the client called itself */
    const struct session_peer *peer;
    const struct smtp_settings *settings;
    const char *with;  /* "LMTP", "LMTPS", "UTF8LMTP", ...: for Received (RFC 3848, RFC 6531) */
    uint64_t received; /* octets of content so far */
    void *content;     /* the dialect's, between begin and finish or abort */
    bool failed;       /* feed failed: its reply is in `failure`, the rest is read and dropped */
    struct smtp_reply failure;
};

struct smtp_ops {
    /* Is there such a recipient? Fills recipient->context, or *reply and returns <0. Blocks. */
    int (*rcpt)(void *service, struct smtp_transaction *t, struct smtp_recipient *recipient,
                struct smtp_reply *reply);
    /* Content comes: set t->content. <0: *reply says why. */
    int (*begin)(void *service, struct smtp_transaction *t, struct smtp_reply *reply);
    /* Blocks. <0: *reply says why; nothing more is fed. */
    int (*feed)(void *service, struct smtp_transaction *t, struct slice bytes,
                struct smtp_reply *reply);
    /* All is here: store it, set every recipient's reply. Frees t->content. Blocks. */
    void (*finish)(void *service, struct smtp_transaction *t);
    /* The transaction ends without finish. Frees t->content. */
    void (*abort)(void *service, struct smtp_transaction *t);
};

struct smtp_dialect {
    const char *name;  /* "LMTP": greeting, trace */
    const char *hello; /* "LHLO" (RFC 2033 4.1); SMTP: "EHLO" */
    bool helo;         /* plain HELO is understood too */
    bool reply_per_recipient;
    const struct smtp_ops *ops;
};

/* Sessions of a dialect. settings are copied; service is handed to the ops and stays the caller's.
 */
struct session_service *smtp_service_new(const struct smtp_dialect *dialect,
                                         const struct smtp_settings *settings,
                                         void *service) MUST_USE;
void smtp_service_free(struct session_service *service);
/* What was given as `service`. */
void *smtp_service_context(struct session_service *service);
