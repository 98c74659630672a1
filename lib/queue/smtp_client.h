/* SPDX-License-Identifier: MPL-2.0 */
/* smtp_client: one connection to another server's SMTP, as a session (lib/base/session.h) for
 * net_connect. It greets, changes to TLS, authenticates, and then takes jobs from its owner one
 * after the other (the transport), until there is none for a while, or a limit is met.
 *
 * A job that it takes is either answered (each recipient has its result) or, if the server has not
 * said a word about it, handed back untouched, to be tried elsewhere.
 *
 * Threads: the owner's functions are called from steps, on workers; `ended` from `free`.
 */
#pragma once

#include "lib/base/session.h"
#include "lib/queue/transport.h"

enum smtp_tls {
    SMTP_TLS_NEVER, /* not even if it is offered; also with TLS from the first byte on */
    SMTP_TLS_MAY,   /* if it is offered */
    SMTP_TLS_MUST,  /* or no mail */
};

enum smtp_end {
    SMTP_END_CLOSED,      /* in peace, or after the jobs it had were answered */
    SMTP_END_UNREACHABLE, /* no connection, no greeting, refused before any mail */
    SMTP_END_TLS,         /* STARTTLS was agreed on and did not come about */
};

struct smtp_owner {
    /* The connection is ready for a job. NULL: none now; wake the session when there is one. */
    struct transport_job *(*next)(struct smtp_owner *o);
    /* Every recipient has its result. */
    void (*answered)(struct smtp_owner *o, struct transport_job *job);
    /* It will ask for no more jobs. */
    void (*leaves)(struct smtp_owner *o);
    /* Once, at the very end. `untouched`: a job that was taken and not begun; NULL: none. The
     * strings are valid for the call; code 0: the server said nothing. */
    void (*ended)(struct smtp_owner *o, enum smtp_end how, unsigned code, const char *why,
                  struct transport_job *untouched);
};

/* Strings are copied. */
struct smtp_client_settings {
    const char *helo; /* our name */
    const char *host; /* the server's name, as results tell it */
    enum smtp_tls tls;
    const char *user, *password; /* NULL: no AUTH */
    int64_t timeout_ms;          /* of a reply, RFC 5321 4.5.3.2; 0: 300,000; see smtp_client.c */
    int64_t idle_ms;             /* without a job; 0: 5,000 */
    unsigned messages_max;       /* 0: 100 */
};

/* `owner` must live until `ended`. */
struct session *smtp_client_new(const struct smtp_client_settings *settings,
                                struct smtp_owner *owner) MUST_USE;
