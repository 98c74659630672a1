/* SPDX-License-Identifier: MPL-2.0 */
/* The SMTP engine: one session for LMTP (RFC 2033), submission (RFC 6409) and, later, MX, which
 * differ by their `struct smtp_dialect` and by what stands behind it.
 *
 *   line.h      command lines, dot-stuffing: pure functions
 *   values.h    values of parameters (DSN, FUTURERELEASE, ...): pure functions
 *   session.c   states, command table, replies; drives a dialect's ops
 *   params.c    keywords of EHLO, parameters of MAIL and RCPT, as rows
 *   auth.c      AUTH (RFC 4954)
 *   content.c   DATA, BDAT and BURL
 *   deliver.h   from recipients to accounts' logs, for those who deliver here
 *
 * A transaction: MAIL, RCPT (each asked of the dialect), then content by DATA, or by BDAT and BURL,
 * fed to the dialect as it comes, then one reply (SMTP) or one per accepted recipient (LMTP).
 */
#pragma once

#include "lib/auth/login.h"
#include "lib/base/arena.h"
#include "lib/base/mem.h"
#include "lib/base/session.h"
#include "lib/queue/queue.h"
#include "protocols/smtp/line.h"

/* What a dialect may choose from; bits. A keyword of EHLO, a parameter or a command of an extension
 * that is not chosen is not known. Those that only TLS or a login makes possible are left out where
 * they are not. */
enum smtp_extension {
    SMTP_LHLO = 1 << 0, /* which word greets */
    SMTP_EHLO = 1 << 1,
    SMTP_HELO = 1 << 2,
    SMTP_PIPELINING = 1 << 3,  /* RFC 2920 */
    SMTP_SIZE = 1 << 4,        /* RFC 1870 */
    SMTP_STARTTLS = 1 << 5,    /* RFC 3207 */
    SMTP_ENHANCED = 1 << 6,    /* ENHANCEDSTATUSCODES, RFC 2034 */
    SMTP_EIGHT = 1 << 7,       /* 8BITMIME, RFC 6152 */
    SMTP_BINARY = 1 << 8,      /* BINARYMIME, RFC 3030 */
    SMTP_CHUNKING = 1 << 9,    /* RFC 3030 */
    SMTP_UTF8 = 1 << 10,       /* SMTPUTF8, RFC 6531 */
    SMTP_AUTH = 1 << 11,       /* RFC 4954; MAIL needs a login then */
    SMTP_DSN = 1 << 12,        /* RFC 3461 */
    SMTP_LIMITS = 1 << 13,     /* RFC 9422 */
    SMTP_HOLD = 1 << 14,       /* FUTURERELEASE, RFC 4865 */
    SMTP_DELIVERBY = 1 << 15,  /* RFC 2852 */
    SMTP_PRIORITY = 1 << 16,   /* MT-PRIORITY, RFC 6710 */
    SMTP_REQUIRETLS = 1 << 17, /* RFC 8689 */
    SMTP_BURL = 1 << 18,       /* RFC 4468; with SMTP_AUTH */
    SMTP_SOLICIT = 1 << 19,    /* NO-SOLICITING, RFC 3865 */
};

struct smtp_settings {
    const char *hostname;    /* in the greeting and in trace fields */
    uint64_t message_max;    /* octets; SIZE (RFC 1870) */
    unsigned recipients_max; /* of one transaction; at least 100 (RFC 5321 4.5.3.1.8) */
    unsigned bad_commands;   /* in a row, then 421 */
    int64_t timeout_ms; /* without a byte from the client; 5 min at least (RFC 5321 4.5.3.2.7) */
    bool starttls;      /* the listener offers it */
    /* with SMTP_AUTH */
    struct auth *auth;         /* the caller's */
    int64_t login_timeout_ms;  /* from the connection to the login */
    unsigned auth_failures;    /* then 421 */
    unsigned user_connections; /* of one account in this process; 0: no limit */
    /* with SMTP_LIMITS, SMTP_HOLD, SMTP_DELIVERBY, SMTP_PRIORITY */
    unsigned transactions_max; /* of one connection; 0: no limit */
    int64_t hold_max_ms;       /* 0: FUTURERELEASE is not offered */
    int64_t by_min_s;          /* shortest time for DELIVERBY's R */
    int priority_max;          /* 0 to 9; a higher one is lowered (RFC 6710 section 4.1) */
    /* with SMTP_BURL: names of this server in IMAP URLs, with blanks between; "*": any. Copied;
     * NULL or "": BURL is not offered */
    const char *url_hosts;
    /* with SMTP_SOLICIT: classes of mail that are refused (values.h), with blanks between. Copied;
     * NULL or "": none is */
    const char *no_solicit;
};

/* A reply; text may have several lines, separated by LF. */
struct smtp_reply {
    unsigned code;
    const char *enhanced; /* "2.1.5", or NULL: none (RFC 2034: greetings, 3yz) */
    char text[500];
};
/* A text of one line: what would end it is replaced. */
void smtp_reply_set(struct smtp_reply *r, unsigned code, const char *enhanced, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* One more line. */
void smtp_reply_more(struct smtp_reply *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

struct smtp_recipient {
    const char *address;     /* as the client wrote it, in the transaction's arena */
    unsigned notify;         /* enum queue_notify; 0: not said (RFC 3461) */
    const char *orcpt;       /* "rfc822;text", xtext decoded; "" if none */
    void *context;           /* the dialect's, in the arena */
    struct smtp_reply reply; /* after the content; set by ops->finish */
};

struct smtp_transaction {
    struct arena arena;
    bool begun;         /* MAIL was accepted */
    const char *sender; /* "" for the null path */
    uint64_t size;      /* as announced by SIZE=, 0: not */
    enum queue_body_type body;
    bool utf8;             /* SMTPUTF8 */
    enum queue_ret ret;    /* RFC 3461 */
    const char *envid;     /* xtext decoded; "" if none */
    int64_t hold_until_ms; /* wall clock; 0: now */
    enum queue_by by;
    int64_t by_ms; /* wall clock */
    bool by_trace;
    int priority; /* -9 to 9 */
    bool require_tls;
    const char *solicit;                   /* classes, as the client wrote them; "" if none */
    VEC(struct smtp_recipient) recipients; /* accepted ones */
    unsigned refused;                      /* recipients */
    const char *helo;                      /* what the client called itself */
    const struct session_peer *peer;
    const struct smtp_settings *settings;
    const char *with;             /* "LMTP", "ESMTPSA", ...: for Received (RFC 3848, RFC 6531) */
    uint64_t session;             /* its number in the log */
    const struct auth_user *user; /* with SMTP_AUTH: who logged in */
    void *client;                 /* what ops->login made of him */
    uint64_t received;            /* octets of content so far */
    unsigned urls;                /* of BURL, so far */
    void *content;                /* the dialect's, between begin and finish or abort */
    bool failed; /* feed failed: its reply is in `failure`, the rest is read and dropped */
    struct smtp_reply failure;
};

struct smtp_ops {
    /* With SMTP_AUTH: somebody has proved who he is. *ret_client, in the arena, lives as long as
     * the login. <0: *reply says why he may not go on. Blocks. */
    int (*login)(void *service, const struct auth_user *user, struct arena *arena,
                 void **ret_client, struct smtp_reply *reply);
    /* May there be mail from t->sender, with these parameters? <0: *reply says why not. NULL: yes.
     * Blocks. */
    int (*mail)(void *service, struct smtp_transaction *t, struct smtp_reply *reply);
    /* Is there such a recipient? Fills recipient->context, or *reply and returns <0. Blocks. */
    int (*rcpt)(void *service, struct smtp_transaction *t, struct smtp_recipient *recipient,
                struct smtp_reply *reply);
    /* Content comes: set t->content. <0: *reply says why. Blocks. */
    int (*begin)(void *service, struct smtp_transaction *t, struct smtp_reply *reply);
    /* Blocks. <0: *reply says why; nothing more is fed. */
    int (*feed)(void *service, struct smtp_transaction *t, struct slice bytes,
                struct smtp_reply *reply);
    /* With SMTP_BURL: what the URL names is a piece of the content, as long as give takes it (0).
     * <0: *reply says why not, or give has refused. Between begin and finish. Blocks. */
    int (*url)(void *service, struct smtp_transaction *t, struct slice url,
               int (*give)(void *ctx, struct slice bytes), void *ctx, struct smtp_reply *reply);
    /* All is here: store it, set every recipient's reply. Frees t->content. Blocks. */
    void (*finish)(void *service, struct smtp_transaction *t);
    /* The transaction ends without finish. Frees t->content. */
    void (*abort)(void *service, struct smtp_transaction *t);
};

struct smtp_dialect {
    const char *name;      /* "LMTP": in the greeting and the log */
    const char *log_name;  /* "lmtp": of sessions, in the log */
    const char *with;      /* "ESMTP": of trace fields, before "S" and "A" (RFC 3848) */
    const char *with_utf8; /* "UTF8SMTP" (RFC 6531) */
    unsigned extensions;   /* enum smtp_extension */
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
