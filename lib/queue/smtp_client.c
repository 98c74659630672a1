/* SPDX-License-Identifier: MPL-2.0 */
/* The conversation is a walk over the states below; `set_state` alone changes them, and
 * `reply_handlers` has the function that takes a reply in each.
 *
 *   GREETING  EHLO  HELO  STARTTLS  AUTH     until the server is ready
 *   IDLE                                     until there is a job
 *   ENVELOPE                                 MAIL and RCPT; with PIPELINING all are sent at once
 *   DATA  BODY  FINAL                        354, our bytes, the last word
 *   RSET                                     a transaction is given up; the connection is not
 *   QUIT  CLOSED
 *
 * A job with more recipients than the server takes at once is several transactions.
 *
 * Time-outs (RFC 5321 4.5.3.2) are parts of settings.timeout_ms, which is 5 minutes by default:
 * greeting, EHLO, MAIL, RCPT the whole of it (5 min), DATA 2/5 (2 min), each piece of the body 3/5
 * (3 min), the last word twice as long (10 min).
 *
 * What a server can cost: SMTP_ANSWER_MAX bytes of memory, one slice of output, its time-outs.
 */
#include "lib/queue/smtp_client_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#define TIMEOUT_MS   300000
#define IDLE_MS      5000
#define MESSAGES_MAX 100
#define QUIT_MS      5000

static struct smtp_client *client_of(struct session *s)
{
    return CONTAINER_OF(s, struct smtp_client, session);
}

/* ---- State ---- */

/* Which may follow which, as a mask. QUIT and CLOSED may follow any. */
static const unsigned allowed[C_STATES_] = {
    [C_GREETING] = 1 << C_EHLO,
    [C_EHLO] = 1 << C_EHLO | 1 << C_HELO | 1 << C_STARTTLS | 1 << C_AUTH | 1 << C_IDLE,
    [C_HELO] = 1 << C_IDLE,
    [C_STARTTLS] = 1 << C_EHLO | 1 << C_AUTH | 1 << C_IDLE,
    [C_AUTH] = 1 << C_IDLE,
    [C_IDLE] = 1 << C_ENVELOPE,
    [C_ENVELOPE] = 1 << C_DATA | 1 << C_BODY | 1 << C_RSET | 1 << C_IDLE,
    [C_DATA] = 1 << C_BODY | 1 << C_RSET,
    [C_BODY] = 1 << C_FINAL,
    [C_FINAL] = 1 << C_IDLE,
    [C_RSET] = 1 << C_IDLE,
};

/* Parts of the time-out, in fifths. */
static const unsigned char fifths[C_STATES_] = {
    [C_GREETING] = 5, [C_EHLO] = 5, [C_HELO] = 5, [C_STARTTLS] = 2, [C_AUTH] = 5,
    [C_ENVELOPE] = 5, [C_DATA] = 2, [C_BODY] = 3, [C_FINAL] = 10,   [C_RSET] = 5,
};

void client_set_deadline(struct smtp_client *c)
{
    int64_t ms = c->settings.timeout_ms * fifths[c->state] / 5;

    if (c->state == C_IDLE)
        ms = c->settings.idle_ms;
    else if (c->state == C_QUIT)
        ms = QUIT_MS;
    c->session.want.deadline_ms = c->state == C_CLOSED ? 0 : clock_mono_ms() + ms;
}

void client_set_state(struct smtp_client *c, enum client_state to)
{
    if (to != C_QUIT && to != C_CLOSED && !(allowed[c->state] & 1u << to)) {
        log_text(LOG_ERROR_, "smtp_client_state", "from %d to %d is not foreseen", c->state, to);
        abort();
    }
    c->state = to;
    c->session.want.busy = to != C_IDLE && to != C_QUIT && to != C_CLOSED;
    c->session.want.hint = to == C_IDLE;
    c->session.want.output = to == C_BODY;
    c->session.want.close = to == C_CLOSED;
    client_set_deadline(c);
}

void client_say(struct smtp_client *c, const char *command)
{
    buf_add_str(&c->session.out, command);
    buf_add_slice(&c->session.out, S("\r\n"));
}

/* ---- The end ---- */

static void leave(struct smtp_client *c)
{
    c->closing = true;
    if (!c->left)
        c->owner->leaves(c->owner);
    c->left = true;
}

static void note_end(struct smtp_client *c, enum smtp_end how, unsigned code, const char *why)
{
    if (c->end_why[0])
        return;
    c->end = c->greeted ? SMTP_END_CLOSED : how;
    c->end_code = code;
    snprintf(c->end_why, sizeof c->end_why, "%s", why);
}

void client_quit(struct smtp_client *c)
{
    leave(c);
    client_say(c, "QUIT");
    client_set_state(c, C_QUIT);
}

/* The connection is of no use any more. A job that was begun will not be answered. */
void client_give_up(struct smtp_client *c, enum smtp_end how, unsigned code, const char *why)
{
    note_end(c, how, code, why);
    leave(c);
    if (transaction_is_begun(c)) {
        transaction_end(c, TRANSPORT_LATER, code, code >= 400 && code < 500 ? "4.0.0" : "4.4.2",
                        why);
    }
    client_set_state(c, C_CLOSED);
}

static void give_up_reply(struct smtp_client *c, const struct smtp_answer *reply)
{
    CLEANUP(buf_done) struct buf text = buf_make(SMTP_ANSWER_MAX);

    smtp_answer_text(reply, &text);
    note_end(c, SMTP_END_UNREACHABLE, reply->code, buf_cstr(&text));
    if (c->job && reply->code == 421)
        client_give_up(c, SMTP_END_UNREACHABLE, reply->code, buf_cstr(&text));
    else
        client_quit(c);
}

/* ---- Becoming ready ---- */

static void be_ready(struct smtp_client *c)
{
    c->greeted = true;
    client_set_state(c, C_IDLE);
}

static void hello(struct smtp_client *c, const char *verb, enum client_state state)
{
    buf_printf(&c->session.out, "%s %s\r\n", verb, c->settings.helo);
    client_set_state(c, state);
}

static void begin_auth(struct smtp_client *c)
{
    const struct session_peer *peer = &c->session.peer;
    bool here = strncmp(peer->remote, "127.", 4) == 0 || strcmp(peer->remote, "::1") == 0;
    struct error err = {0};
    int rc =
        smtp_auth_begin(c->settings.host, c->settings.user, c->settings.password,
                        c->offer.mechanisms, peer->tls || here, &c->auth, &c->session.out, &err);

    if (rc == 0) {
        client_set_state(c, C_AUTH);
        return;
    }
    note_end(c, SMTP_END_UNREACHABLE, 0, err.text);
    client_quit(c);
}

/* What the server offers is known, and will not change any more. */
static void after_hello(struct smtp_client *c)
{
    if (c->settings.tls == SMTP_TLS_MUST && !c->session.peer.tls) {
        note_end(c, SMTP_END_UNREACHABLE, 0, "TLS is required, and the server does not offer it");
        client_quit(c);
    } else if (c->settings.user) {
        begin_auth(c);
    } else {
        be_ready(c);
    }
}

static void on_greeting(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 2)
        hello(c, "EHLO", C_EHLO);
    else
        give_up_reply(c, reply);
}

static void on_ehlo(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 5 && !c->session.peer.tls) {
        hello(c, "HELO", C_HELO);
        return;
    }
    if (reply->code / 100 != 2) {
        give_up_reply(c, reply);
        return;
    }
    smtp_answer_offer(reply, &c->offer);
    if (!c->session.peer.tls && c->settings.tls != SMTP_TLS_NEVER &&
        (c->offer.features & SMTP_STARTTLS)) {
        client_say(c, "STARTTLS");
        client_set_state(c, C_STARTTLS);
    } else {
        after_hello(c);
    }
}

static void on_helo(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 2)
        after_hello(c);
    else
        give_up_reply(c, reply);
}

static void on_starttls(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code == 220)
        c->session.want.starttls = true;
    else if (c->settings.tls == SMTP_TLS_MUST)
        give_up_reply(c, reply);
    else
        after_hello(c);
}

static void on_auth(struct smtp_client *c, const struct smtp_answer *reply)
{
    size_t at = 0;
    struct slice text = S("");

    if (reply->code == 334 && smtp_answer_line(reply, &at, &text)) {
        smtp_auth_answer(c->auth, text, &c->session.out);
        client_set_deadline(c);
    } else if (reply->code == 235 && smtp_auth_is_done(c->auth)) {
        smtp_auth_free(TAKE(c->auth));
        be_ready(c);
    } else if (reply->code == 235) {
        note_end(c, SMTP_END_UNREACHABLE, 0,
                 "the server has not proved that it knows the password");
        client_quit(c);
    } else {
        give_up_reply(c, reply);
    }
}

/* ---- The session ---- */

static void look_for_jobs(struct smtp_client *c)
{
    while (c->state == C_IDLE && !c->closing) {
        struct transport_job *job = c->owner->next(c->owner);

        if (!job)
            return;
        transaction_begin(c, job);
    }
    if (c->state == C_IDLE)
        client_quit(c);
}

static void on_idle(struct smtp_client *c, const struct smtp_answer *reply)
{
    client_quit(c); /* it says that it will close, or speaks out of turn */
}

static void on_quit(struct smtp_client *c, const struct smtp_answer *reply)
{
    client_set_state(c, C_CLOSED);
}

static void (*const reply_handlers[C_STATES_])(struct smtp_client *, const struct smtp_answer *) = {
    [C_GREETING] = on_greeting,
    [C_EHLO] = on_ehlo,
    [C_HELO] = on_helo,
    [C_STARTTLS] = on_starttls,
    [C_AUTH] = on_auth,
    [C_IDLE] = on_idle,
    [C_ENVELOPE] = transaction_on_envelope,
    [C_DATA] = transaction_on_data,
    [C_BODY] = transaction_on_chunk,
    [C_FINAL] = transaction_on_final,
    [C_RSET] = transaction_on_rset,
    [C_QUIT] = on_quit,
};

static bool client_ready(struct session *s)
{
    struct smtp_answer reply;
    size_t used;

    return smtp_answer_take(buf_slice(&s->in), &reply, &used) != 0;
}

/* After 220 to STARTTLS nothing more may be read here: the pump looks at it. */
static void take_replies(struct smtp_client *c)
{
    struct session *s = &c->session;
    struct smtp_answer reply;
    size_t used;
    int rc = 0;

    while (c->state != C_CLOSED && !s->want.starttls &&
           (rc = smtp_answer_take(buf_slice(&s->in), &reply, &used)) > 0) {
        if (reply.code == 421 && c->state != C_QUIT && c->state != C_GREETING)
            give_up_reply(c, &reply);
        else
            reply_handlers[c->state](c, &reply);
        buf_consume(&s->in, used);
    }
    if (rc < 0 && c->state != C_CLOSED)
        client_give_up(c, SMTP_END_UNREACHABLE, 0, "what the server says is not SMTP");
}

static void on_deadline(struct smtp_client *c)
{
    if (clock_mono_ms() < c->session.want.deadline_ms || c->state == C_CLOSED)
        return;
    if (c->state == C_IDLE)
        client_quit(c);
    else if (c->state == C_QUIT)
        client_set_state(c, C_CLOSED);
    else
        client_give_up(c, SMTP_END_UNREACHABLE, 0, "the server does not answer in time");
}

static void on_end_of_input(struct smtp_client *c, unsigned events)
{
    if (c->state == C_CLOSED)
        return;
    if (events & SESSION_FAILED)
        client_give_up(c, c->state == C_STARTTLS ? SMTP_END_TLS : SMTP_END_UNREACHABLE, 0,
                       c->session.peer.failure);
    else if (c->state == C_QUIT)
        client_set_state(c, C_CLOSED);
    else
        client_give_up(c, c->session.want.starttls ? SMTP_END_TLS : SMTP_END_UNREACHABLE, 0,
                       "the server closed the connection");
}

static void client_step(struct session *s, unsigned events)
{
    struct smtp_client *c = client_of(s);

    if (events == 0 && c->state == C_GREETING)
        client_set_deadline(c);
    if (events & SESSION_TLS) {
        c->offer = (struct smtp_offer){0};
        hello(c, "EHLO", C_EHLO);
    }
    take_replies(c);
    if (events & SESSION_SHUTDOWN)
        c->closing = true;
    if (events & (SESSION_EOF | SESSION_FAILED))
        on_end_of_input(c, events);
    if (events & SESSION_DEADLINE)
        on_deadline(c);
    look_for_jobs(c);
    if (c->state == C_BODY)
        transaction_send_content(c);
}

static void client_free(struct session *s)
{
    struct smtp_client *c = client_of(s);

    note_end(c, SMTP_END_UNREACHABLE, 0, "shutdown");
    leave(c);
    if (transaction_is_begun(c)) {
        transaction_end(c, TRANSPORT_LATER, 0, "4.3.2", "shutdown");
    }
    free(c->batch);
    free(c->accepted);
    smtp_auth_free(c->auth);
    c->owner->ended(c->owner, c->end, c->end_code, c->end_why, c->job);
    free((char *)c->settings.helo);
    free((char *)c->settings.host);
    free((char *)c->settings.user);
    free((char *)c->settings.password);
    free(c);
}

static const struct session_ops client_ops = {
    .name = "smtp-client", .ready = client_ready, .step = client_step, .free = client_free};

struct session *smtp_client_new(const struct smtp_client_settings *settings,
                                struct smtp_owner *owner)
{
    struct smtp_client *c = NEW(struct smtp_client);
    struct session *s = &c->session;

    c->owner = owner;
    c->settings = *settings;
    c->settings.helo = mem_strdup(settings->helo);
    c->settings.host = mem_strdup(settings->host);
    c->settings.user = settings->user ? mem_strdup(settings->user) : NULL;
    c->settings.password = mem_strdup(settings->password ? settings->password : "");
    c->settings.timeout_ms = settings->timeout_ms ? settings->timeout_ms : TIMEOUT_MS;
    c->settings.idle_ms = settings->idle_ms ? settings->idle_ms : IDLE_MS;
    c->settings.messages_max = settings->messages_max ? settings->messages_max : MESSAGES_MAX;
    s->ops = &client_ops;
    s->in = buf_make(SMTP_ANSWER_MAX);
    s->out = buf_make(BUF_MAX_DEFAULT);
    s->want = (struct session_want){.input = true, .busy = true, .input_max = SMTP_ANSWER_MAX};
    return s;
}
