/* SPDX-License-Identifier: MPL-2.0 */
/* Inside protocols/pop3: the session, the command under way, and what handlers may call.
 *
 * A handler gets a parsed line and works in straight lines; it may block on the store. It returns
 *   0             done: it has written its answer (pop3_ok, or lines of its own)
 *   RUN_AGAIN     it has produced a slice; it is run again when the client has read it
 *   RUN_WAIT      it has set a phase that waits for the client (SASL)
 *   -ERR_x        refused: "-ERR [code] sentence" by the table in session.c
 * What must outlive one run is in p->job.
 */
#pragma once

#include "lib/auth/sasl.h"
#include "lib/base/metrics.h"
#include "lib/base/session.h"
#include "lib/mail/message.h"
#include "protocols/pop3/ahead.h"
#include "protocols/pop3/line.h"
#include "protocols/pop3/maildrop.h"
#include "protocols/pop3/pop3.h"

struct pop3;
struct delays;

/* RFC 1939 sections 4 to 6, as bits for the table. */
enum pop3_state { POP3_AUTHORIZATION = 1, POP3_TRANSACTION = 2 };
#define POP3_ANY (POP3_AUTHORIZATION | POP3_TRANSACTION)

enum pop3_phase {
    PHASE_GREETING,
    PHASE_READ,  /* between commands */
    PHASE_RUN,   /* a handler that is to be run again */
    PHASE_AUTH,  /* a SASL exchange */
    PHASE_DELAY, /* the answer to a failed login is held back */
    PHASE_TLS,   /* waiting for the handshake */
    PHASE_CLOSED,
};

enum { RUN_AGAIN = 1, RUN_WAIT = 2 };

struct pop3_row {
    const char *name;
    unsigned states;
    size_t args_min, args_max; /* POP3_FREE: it looks at the line's rest itself */
    int (*run)(struct pop3 *p, const struct pop3_line *line);
    const char *capability; /* its line in CAPA; NULL: none, or one that pop3_capabilities works out
                             */
};
#define POP3_FREE SIZE_MAX
/* NULL: there is no such command. */
const struct pop3_row *pop3_row_named(const char *name);
/* Where it stands in the table. */
size_t pop3_row_number(const struct pop3_row *row);

/* What RETR, TOP and listings keep between two slices. */
struct pop3_job {
    int (*run)(struct pop3 *p);
    uint64_t next; /* number of a listing's next message; offset of a message's next byte */
    struct message message;
    struct message_reader *reader;
    uint64_t lines; /* of the body, still to be sent (TOP); UINT64_MAX: all */
    bool in_body;
    uint8_t last[2]; /* the last bytes sent, for dots and the end */
};

struct pop3_service {
    struct session_service service;
    struct pop3_settings settings;
    struct mail *mail;
    struct auth *auth;
    struct delays *delays;
    _Atomic uint64_t ahead_bytes; /* of all sessions' batches */
};

struct pop3 {
    struct session s; /* first */
    struct pop3_service *service;
    enum pop3_state state;
    enum pop3_phase phase;
    struct error err; /* of the command under way */
    const char *code; /* of its refusal, instead of the table's */
    int result;       /* of it, while the answer is held back */
    bool shutdown;
    unsigned bad_in_a_row, failed_logins;
    int64_t deadline_ms, delay_until_ms;
    const struct pop3_row *row; /* under way; NULL: none */
    int64_t spent_us;           /* on it in steps before this one */
    int64_t mark_us;            /* since then this step works on it */

    char name[ADDRESS_MAX + 1]; /* of USER */
    struct auth_user user;
    bool counted; /* in auth_connections */
    struct account *account;
    struct sasl_exchange *sasl;
    struct maildrop drop;
    struct pop3_ahead ahead;
    struct pop3_job job;
};

/* --- session.c --------------------------------------------------------------------------------
 */

struct session *pop3_session_open(struct session_service *service, const struct session_peer *peer);
/* "+OK text" */
int pop3_ok(struct pop3 *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Gives a handler's result: "-ERR [code] text"; code NULL: none. */
int pop3_no(struct pop3 *p, const char *code, const char *fmt, ...) PRINTF_LIKE(3, 4) MUST_USE;
/* Closes when the output is sent. */
void pop3_close(struct pop3 *p);

/* --- command.c --------------------------------------------------------------------------------
 */

void pop3_capabilities(const struct pop3 *p, struct buf *out);

/* --- pop3_auth.c -------------------------------------------------------------------------------
 */

/* When the accounts of a service have logged in; one table for all sessions. */
struct delays *delays_new(void);
void delays_free(struct delays *d);

int pop3_user(struct pop3 *p, const struct pop3_line *line);
int pop3_pass(struct pop3 *p, const struct pop3_line *line);
int pop3_auth(struct pop3 *p, const struct pop3_line *line);
int pop3_auth_line(struct pop3 *p, struct slice line);
int pop3_stls(struct pop3 *p, const struct pop3_line *line);

/* --- cmd_misc.c, cmd_drop.c ---------------------------------------------------------------------
 */

int pop3_capa(struct pop3 *p, const struct pop3_line *line);
int pop3_utf8(struct pop3 *p, const struct pop3_line *line);
int pop3_lang(struct pop3 *p, const struct pop3_line *line);
int pop3_noop(struct pop3 *p, const struct pop3_line *line);
int pop3_quit(struct pop3 *p, const struct pop3_line *line);

int pop3_stat(struct pop3 *p, const struct pop3_line *line);
int pop3_list(struct pop3 *p, const struct pop3_line *line);
int pop3_uidl(struct pop3 *p, const struct pop3_line *line);
int pop3_retr(struct pop3 *p, const struct pop3_line *line);
int pop3_top(struct pop3 *p, const struct pop3_line *line);
int pop3_dele(struct pop3 *p, const struct pop3_line *line);
int pop3_rset(struct pop3 *p, const struct pop3_line *line);
void pop3_job_end(struct pop3 *p);
