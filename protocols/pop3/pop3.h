/* SPDX-License-Identifier: MPL-2.0 */
/* POP3 (RFC 1939) over the account log, as a session (lib/base/session.h).
 *
 *   line.h      one command line -> verb and arguments
 *   command.c   the table of commands: names, states, arguments, handlers; CAPA is made from it
 *   session.c   states, the step, status lines, one table from error kinds to response codes
 *   maildrop.h  INBOX as it was at the login
 *   ahead.h     the messages that are asked for next, read in batches
 *   cmd_*.c     the handlers, one file a family
 *
 * With CAPA, RESP-CODES, EXPIRE, LOGIN-DELAY, IMPLEMENTATION (RFC 2449), STLS (RFC 2595), SASL (RFC
 * 5034), AUTH-RESP-CODE (RFC 3206), UTF8 and LANG (RFC 6856).
 *
 * What a client may count on: the maildrop is the whole INBOX as it was at the login, whatever is
 * delivered, expunged or read by others meanwhile; any number of sessions, on any nodes, may have
 * it open, so there is no lock that a dead client could leave behind. Messages are deleted at QUIT
 * and at no other time, in one record (I30). The unique id of a message is INBOX's UIDVALIDITY and
 * the message's UID: it never changes and is the same on every node.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/session.h"

struct auth;
struct histogram;
struct mail;

/* What a listener's sessions are to do. Times in milliseconds. */
struct pop3_settings {
    bool starttls;             /* the listener offers STLS (and the connection is not TLS yet) */
    bool mark_seen;            /* what was retrieved whole gets \Seen at QUIT */
    unsigned auth_failures;    /* then the connection is closed */
    unsigned bad_commands;     /* in a row, then the connection is closed */
    unsigned user_connections; /* of one account in this process; 0: no limit */
    unsigned login_delay_s;    /* between two logins of an account to this process; 0: none */
    /* pop3_command_count() of them, the caller's: what each command took; NULL: nobody asks */
    struct histogram *times;
    int64_t login_timeout_ms; /* from the connection to the login */
    int64_t idle_timeout_ms;  /* without a command; at least 10 min (RFC 1939 section 3) */
};
void pop3_settings_default(struct pop3_settings *settings);

/* The commands, as rows of `times`. */
size_t pop3_command_count(void);
const char *pop3_command_name(size_t i);

/* A service for listeners that share these settings, which are copied. mail and auth stay the
 * caller's and must outlive it. */
struct session_service *pop3_service_new(const struct pop3_settings *settings, struct mail *mail,
                                         struct auth *auth) MUST_USE;
/* When all its sessions are freed. NULL is fine. */
void pop3_service_free(struct session_service *service);
