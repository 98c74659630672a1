/* SPDX-License-Identifier: MPL-2.0 */
/* What smtp_client.c (the connection) and smtp_transaction.c (a job on it) share. */
#pragma once

#include "lib/queue/crlf.h"
#include "lib/queue/smtp_answer.h"
#include "lib/queue/smtp_auth.h"
#include "lib/queue/smtp_client.h"

enum client_state {
    C_GREETING,
    C_EHLO,
    C_HELO,
    C_STARTTLS,
    C_AUTH,
    C_IDLE,
    C_ENVELOPE,
    C_DATA,
    C_BODY,
    C_FINAL,
    C_RSET,
    C_QUIT,
    C_CLOSED,
    C_STATES_
};

struct smtp_client {
    struct session session;
    struct smtp_owner *owner;
    struct smtp_client_settings settings; /* strings are ours */
    enum client_state state;
    struct smtp_offer offer;
    struct smtp_auth *auth;
    bool greeted;  /* the server has once been ready for mail */
    bool closing;  /* no further job */
    bool left;     /* the owner has been told */
    unsigned sent; /* jobs answered */

    struct transport_job *job; /* NULL: none */
    bool touched;              /* the server has answered something about it */
    bool mail_waits;           /* the reply to MAIL is still to come */
    bool mail_ok;
    size_t *batch; /* recipients of this transaction, as indices into the job's */
    bool *accepted;
    size_t batch_n, sent_n, replied_n, accepted_n;
    size_t chunks; /* BDAT: without an answer yet, the last one not counted */

    struct crlf crlf; /* the body on its way */
    uint64_t body_at;
    bool head_sent, line_start, binary;

    enum smtp_end end;
    unsigned end_code;
    char end_why[SMTP_ANSWER_TEXT + 100];
};

/* ---- smtp_client.c ---- */

static inline bool is_offered(const struct smtp_client *c, enum smtp_feature feature)
{
    return (c->offer.features & feature) != 0;
}

/* The only place that changes the state. */
void client_set_state(struct smtp_client *c, enum client_state to);
void client_set_deadline(struct smtp_client *c);
void client_say(struct smtp_client *c, const char *command);
/* No further job; QUIT. */
void client_quit(struct smtp_client *c);
/* The connection is of no use any more. A job that was begun will not be answered. */
void client_give_up(struct smtp_client *c, enum smtp_end how, unsigned code, const char *why);

/* ---- smtp_transaction.c ---- */

/* Takes the job and begins, or answers it where it cannot go to this server. */
void transaction_begin(struct smtp_client *c, struct transport_job *job);
/* The job is begun, as far as the server is concerned. */
bool transaction_is_begun(const struct smtp_client *c);
/* Gives this result to whoever has none, and the job back to its owner. */
void transaction_end(struct smtp_client *c, enum transport_result result, unsigned code,
                     const char *status, const char *text);
void transaction_on_envelope(struct smtp_client *c, const struct smtp_answer *reply);
void transaction_on_data(struct smtp_client *c, const struct smtp_answer *reply);
void transaction_on_chunk(struct smtp_client *c, const struct smtp_answer *reply);
void transaction_on_final(struct smtp_client *c, const struct smtp_answer *reply);
void transaction_on_rset(struct smtp_client *c, const struct smtp_answer *reply);
/* The next bytes of the content. */
void transaction_send_content(struct smtp_client *c);
