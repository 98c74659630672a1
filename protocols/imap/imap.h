/* SPDX-License-Identifier: MPL-2.0 */
/* IMAP: IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) over the account log, as a session
 * (lib/base/session.h).
 *
 *   parser.h    bytes -> one command with a typed argument tree; grammar.h: the grammar, as data
 *   command.h   the command table: names, states, rules, handlers; CAPABILITY is made from it
 *   session.c   states, the step, tagged replies, one table from error kinds to NO/BAD [CODE]
 *   cmd_*.c     the handlers, one file a family; none reads bytes, none writes a tagged line
 *
 * What a client may count on beyond the RFCs: commands run in the order in which they came, one at
 * a time, whatever is pipelined; \Recent is never set (0 RECENT); the hierarchy delimiter is "/";
 * INBOX may have inferiors; a mailbox may be selected in any number of sessions on any nodes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/session.h"

struct auth;
struct histogram;
struct mail;

/* What a listener's sessions are to do. Sizes in bytes, times in milliseconds. */
struct imap_settings {
    bool literal_minus;        /* LITERAL- instead of LITERAL+ (RFC 7888) */
    bool starttls;             /* the listener offers it (and the connection is not TLS yet) */
    uint64_t message_max;      /* largest message by APPEND; lib/mail's and the user's count too */
    uint32_t literal_max;      /* largest literal that is not a message */
    uint32_t command_max;      /* one command with its non-message literals */
    unsigned nesting_max;      /* parentheses and NOT/OR in one command */
    unsigned arguments_max;    /* nodes of one command's argument tree */
    unsigned set_max;          /* ranges in one sequence set */
    unsigned search_terms_max; /* keys in one SEARCH */
    unsigned append_messages;  /* in one APPEND (RFC 3502) */
    /* RFC 9738: messages that one command works on, and that one command stores; 0: no limit. Both
     * are told to clients; with the first the second is not used. */
    unsigned message_limit, save_limit;
    size_t append_memory;      /* bytes that these may hold here until all are in */
    unsigned auth_failures;    /* then BYE */
    unsigned bad_commands;     /* in a row, then BYE */
    unsigned user_connections; /* of one account in this process; 0: no limit */
    /* /shared/comment and /shared/admin of the server (RFC 5464 section 3.2.1.1); NULL or "": there
     * is none. Copied. admin is a URI. */
    const char *comment, *admin;
    /* Names of this server in IMAP URLs, with blanks between; "*": any. Copied; NULL: none. */
    const char *url_hosts;
    /* imap_command_count() of them, the caller's: what each command took; NULL: nobody asks */
    struct histogram *times;
    int64_t login_timeout_ms; /* from the connection to the login */
    int64_t idle_timeout_ms;  /* without a command, after login; at least 30 min (RFC 3501 5.4) */
    int64_t progress_ms;      /* in a long SEARCH: INPROGRESS this often; negative: never */
    int64_t keepalive_ms;     /* in IDLE: "* OK Still here" this often; 0: never */
};
void imap_settings_default(struct imap_settings *settings);

/* The commands, as rows of `times`. */
size_t imap_command_count(void);
const char *imap_command_name(size_t i);

/* A service for listeners that share these settings, which are copied. mail and auth stay the
 * caller's and must outlive it. */
struct session_service *imap_service_new(const struct imap_settings *settings, struct mail *mail,
                                         struct auth *auth) MUST_USE;
/* When all its sessions are freed. NULL is fine. */
void imap_service_free(struct session_service *service);
