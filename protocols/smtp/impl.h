/* SPDX-License-Identifier: MPL-2.0 */
/* Inside protocols/smtp: the session, and what its files call of each other. */
#pragma once

#include "lib/auth/sasl.h"
#include "protocols/smtp/smtp.h"

/* RFC 4954 section 4: lines of the AUTH exchange, the command with its initial response too */
#define SMTP_AUTH_LINE_MAX 12288

enum smtp_state {
    STATE_NEW,    /* connected, or TLS begun: no hello yet */
    STATE_READY,  /* hello said; no transaction */
    STATE_AUTH,   /* within an AUTH exchange: the next line is the client's response */
    STATE_HELD,   /* the answer to a failed login is held back */
    STATE_MAIL,   /* sender known */
    STATE_RCPT,   /* at least one recipient accepted */
    STATE_DATA,   /* content by DATA */
    STATE_BDAT,   /* inside a chunk */
    STATE_CHUNKS, /* between chunks (BDAT, BURL) */
    STATE_CLOSED,
    STATES_
};

struct smtp_service {
    struct session_service service; /* first */
    struct session_ops ops;         /* of its sessions */
    const struct smtp_dialect *dialect;
    struct smtp_settings settings;
    void *context;
    char *hostname, *url_hosts, *no_solicit;
};

struct smtp_session {
    struct session base; /* first */
    struct smtp_service *service;
    enum smtp_state state;
    struct smtp_transaction t;
    unsigned transactions; /* so far */
    char helo[256];
    bool extended; /* greeted by EHLO or LHLO: parameters are understood */

    /* DATA and BDAT */
    struct smtp_dots dots;
    uint64_t chunk_left; /* octets of the BDAT chunk still to come */
    bool chunk_last;
    bool chunk_dropped; /* it was refused; its octets are read all the same (RFC 3030 section 2) */
    enum smtp_state chunk_back; /* where a dropped one leads back to */

    /* AUTH */
    struct sasl_exchange *sasl;
    struct auth_user user;
    bool logged_in;     /* and counted in auth_connections */
    struct arena login; /* what the login made */
    void *client;       /* ops->login's */
    unsigned failed_logins;
    struct smtp_reply held; /* in STATE_HELD */
    int64_t held_until_ms, login_until_ms;

    unsigned bad_in_row;
    bool greeted, shutdown, too_long; /* too_long: dropping the rest of an overlong line */
};

/* --- session.c ------------------------------------------------------------------------------- */

void smtp_set_state(struct smtp_session *s, enum smtp_state to);
void smtp_send(struct smtp_session *s, const struct smtp_reply *r);
#define SMTP_REPLY(s, code, enhanced, ...)                                                         \
    do {                                                                                           \
        struct smtp_reply reply_;                                                                  \
        smtp_reply_set(&reply_, code, enhanced, __VA_ARGS__);                                      \
        smtp_send(s, &reply_);                                                                     \
    } while (0)
/* A command that was wrong. Too many in a row: the other side does not speak our language. */
void smtp_bad(struct smtp_session *s, unsigned code, const char *enhanced, const char *text);
/* 421, and closes. */
void smtp_goodbye(struct smtp_session *s, const char *enhanced, const char *why);
void smtp_transaction_end(struct smtp_session *s);
static inline bool smtp_has(const struct smtp_session *s, unsigned extension)
{
    return s->service->dialect->extensions & extension;
}

/* --- params.c -------------------------------------------------------------------------------- */

/* The answer to EHLO. */
void smtp_say_extensions(struct smtp_session *s);
/* Takes the parameters of MAIL, or (recipient not NULL) of RCPT. False: a reply has been sent. */
bool smtp_take_params(struct smtp_session *s, const struct smtp_path *path,
                      struct smtp_recipient *recipient);

/* --- auth.c ---------------------------------------------------------------------------------- */

void smtp_cmd_auth(struct smtp_session *s, struct slice rest);
/* A line in STATE_AUTH. */
void smtp_auth_line(struct smtp_session *s, struct slice line);
/* In STATE_HELD: the time may have come. */
void smtp_auth_held(struct smtp_session *s);
/* Forgets who logged in, and an exchange under way. */
void smtp_logout(struct smtp_session *s);

/* --- content.c ------------------------------------------------------------------------------- */

void smtp_cmd_data(struct smtp_session *s, struct slice rest);
void smtp_cmd_bdat(struct smtp_session *s, struct slice rest);
void smtp_cmd_burl(struct smtp_session *s, struct slice rest);
/* Content in STATE_DATA and STATE_BDAT. True: it is whole, commands follow. */
bool smtp_step_data(struct smtp_session *s);
bool smtp_step_chunk(struct smtp_session *s);
