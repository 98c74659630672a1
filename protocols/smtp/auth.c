/* SPDX-License-Identifier: MPL-2.0 */
/* AUTH (RFC 4954): the exchange, its replies, and the answer to a failure, which is held back for
 * as long as lib/auth says: the session waits for it as its deadline and reads nothing meanwhile.
 */
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "protocols/smtp/impl.h"

static void wipe(struct buf *b)
{
    secret_wipe(b->p, b->n);
    buf_done(b);
}

static void log_login(struct smtp_session *s, const char *event)
{
    struct log_line l;

    log_begin(&l, LOG_INFO_, event);
    log_str(&l, "protocol", slice_str(s->service->dialect->log_name));
    log_num(&l, "session", (int64_t)s->base.id);
    log_str(&l, "remote", slice_str(s->base.peer.remote));
    if (s->logged_in)
        log_str(&l, "user", slice_str(s->user.login));
    log_end(&l);
}

void smtp_logout(struct smtp_session *s)
{
    sasl_free(TAKE(s->sasl));
    if (s->logged_in)
        connections_out(auth_connections(s->service->settings.auth), s->user.account);
    s->logged_in = false;
    s->client = NULL;
    s->base.user[0] = '\0';
    arena_done(&s->login);
}

/* Somebody has proved who he is. */
static void logged_in(struct smtp_session *s)
{
    const struct smtp_settings *set = &s->service->settings;
    unsigned max = s->user.connections ? s->user.connections : set->user_connections;
    struct smtp_reply reply;

    smtp_set_state(s, STATE_READY);
    if (!connections_in(auth_connections(set->auth), s->user.account, max)) {
        SMTP_REPLY(s, 454, "4.7.0", "This account has too many connections");
        return;
    }
    s->logged_in = true;
    snprintf(s->base.user, sizeof s->base.user, "%.*s", (int)sizeof s->base.user - 1,
             s->user.login);
    if (s->service->dialect->ops->login(s->service->context, &s->user, &s->login, &s->client,
                                        &reply) < 0) {
        smtp_logout(s);
        smtp_send(s, &reply);
        return;
    }
    s->failed_logins = 0;
    log_login(s, "login");
    SMTP_REPLY(s, 235, "2.7.0", "Welcome");
}

/* RFC 4954 section 6. */
static const struct refusal_row {
    enum err kind;
    unsigned code;
    const char *enhanced, *text;
} refusals[] = {
    {ERR_AUTH, 535, "5.7.8", "The name or the password is wrong"},
    {ERR_LIMIT, 454, "4.7.0", "Too many failed logins; try again later"},
    {ERR_INVALID, 501, "5.5.2", "That is no message of this mechanism"},
    {ERR_NOPERM, 538, "5.7.11", "Not without TLS"},
    {ERR_NOTFOUND, 504, "5.5.4", "This mechanism is not offered"},
    {ERR_UNAVAILABLE, 454, "4.7.0", "Accounts cannot be looked up, try again later"},
};

static void refused(struct smtp_session *s, int r, int64_t not_before)
{
    const struct refusal_row *row = &refusals[ARRAY_LEN(refusals) - 1];

    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        if (r == -(int)refusals[i].kind)
            row = &refusals[i];
    smtp_reply_set(&s->held, row->code, row->enhanced, "%s", row->text);
    if (r == -ERR_AUTH || r == -ERR_LIMIT) {
        s->failed_logins++;
        log_login(s, "login_failed");
    }
    s->held_until_ms = not_before;
    smtp_set_state(s, STATE_HELD);
    smtp_auth_held(s);
}

void smtp_auth_held(struct smtp_session *s)
{
    if (clock_mono_ms() < s->held_until_ms)
        return;
    smtp_set_state(s, STATE_READY);
    smtp_send(s, &s->held);
    if (s->failed_logins >= s->service->settings.auth_failures)
        smtp_goodbye(s, "4.7.0", "too many failed logins");
}

static void cancelled(struct smtp_session *s, const char *why)
{
    sasl_free(TAKE(s->sasl));
    smtp_set_state(s, STATE_READY);
    smtp_bad(s, 501, "5.5.2", why);
}

/* A step of the exchange gave r. */
static void stepped(struct smtp_session *s, int r, const struct buf *challenge, int64_t not_before)
{
    if (r == 1) {
        buf_add_str(&s->base.out, "334 ");
        base64_encode(&s->base.out, buf_slice(challenge));
        buf_add_str(&s->base.out, "\r\n");
        return;
    }
    sasl_free(TAKE(s->sasl));
    if (r == 0)
        logged_in(s);
    else
        refused(s, r, not_before);
}

static bool named(struct slice mechanism, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (slice_ieq(mechanism, slice_str(names[i])))
            return true;
    return false;
}

/* Would the mechanism be there with TLS? */
static bool needs_tls(const struct smtp_session *s, struct slice mechanism)
{
    const char *names[SASL_MECHANISMS_MAX];
    struct session_peer peer = s->base.peer;
    size_t n = sasl_mechanisms(s->service->settings.auth, &peer, names);

    if (named(mechanism, names, n))
        return false;
    peer.tls = true;
    n = sasl_mechanisms(s->service->settings.auth, &peer, names);
    return named(mechanism, names, n);
}

static bool may_begin(struct smtp_session *s, struct slice mechanism)
{
    if (s->logged_in)
        smtp_bad(s, 503, "5.5.1", "You are logged in");
    else if (!mechanism.n)
        smtp_bad(s, 501, "5.5.4", "Say AUTH mechanism [initial response]");
    else if (needs_tls(s, mechanism))
        smtp_bad(s, 538, "5.7.11", "This mechanism is not offered without TLS");
    else
        return true;
    return false;
}

void smtp_cmd_auth(struct smtp_session *s, struct slice rest)
{
    CLEANUP(wipe) struct buf initial = buf_make(SMTP_AUTH_LINE_MAX);
    CLEANUP(buf_done) struct buf challenge = buf_make(BUF_MAX_DEFAULT);
    ssize_t blank = slice_find(rest, ' ');
    struct slice mechanism = slice_sub(rest, 0, blank < 0 ? rest.n : (size_t)blank);
    struct slice text = slice_trim(slice_skip(rest, mechanism.n)), response = S("");
    int64_t not_before = 0;
    struct error err = {0};
    int r;

    if (!may_begin(s, mechanism))
        return;
    /* RFC 4954 section 4: "=" is an initial response of no octets */
    if (text.n && !slice_eq(text, S("=")) && base64_decode(&initial, text) < 0) {
        smtp_bad(s, 501, "5.5.2", "The initial response is not base64");
        return;
    }
    if (initial.n)
        response = buf_slice(&initial);
    smtp_set_state(s, STATE_AUTH);
    r = sasl_start(s->service->settings.auth, AUTH_SMTP, mechanism, &s->base.peer,
                   text.n ? &response : NULL, &s->sasl, &challenge, &s->user, &not_before, &err);
    stepped(s, r, &challenge, not_before);
}

void smtp_auth_line(struct smtp_session *s, struct slice line)
{
    CLEANUP(wipe) struct buf response = buf_make(SMTP_AUTH_LINE_MAX);
    CLEANUP(buf_done) struct buf challenge = buf_make(BUF_MAX_DEFAULT);
    int64_t not_before = 0;
    struct error err = {0};
    int r;

    if (slice_eq(line, S("*"))) {
        cancelled(s, "Authentication is cancelled");
        return;
    }
    if (base64_decode(&response, line) < 0) {
        cancelled(s, "The response is not base64");
        return;
    }
    r = sasl_step(s->sasl, buf_slice(&response), &challenge, &s->user, &not_before, &err);
    stepped(s, r, &challenge, not_before);
}
