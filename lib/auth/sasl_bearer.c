/* SPDX-License-Identifier: MPL-2.0 */
/* OAUTHBEARER and XOAUTH2: the token says who it is (oauth.h); who the client wants to be must be
 * the same. A wrong token, one of somebody else, and one of somebody who has no account here are
 * answered alike. */
#include "lib/auth/oauth.h"
#include "lib/auth/sasl_impl.h"
#include "lib/auth/sasl_oauth.h"
#include "lib/base/mem.h"

/* The refusal goes out as a challenge, and the answer to it ends the exchange (RFC 7628 section
 * 3.2.3). What it ends with is known, and counted, now. */
static int refuse(struct sasl_exchange *x, bool has_token, bool only_scope, struct buf *challenge)
{
    struct oauth *oauth = auth_oauth(x->auth);

    x->not_before = 0;
    if (has_token)
        x->verdict = attempt_fail(&x->attempt, NULL, &x->final_not_before, &x->error);
    else
        x->verdict = error_set(&x->error, ERR_AUTH, "there was no token");
    if (x->mechanism == OAUTHBEARER)
        oauthbearer_refuse(challenge, only_scope, oauth_scope(oauth), oauth_issuer_url(oauth));
    else
        xoauth2_refuse(challenge, oauth_scope(oauth));
    x->state = WANTS_ANYTHING;
    return 1;
}

static int begin(struct sasl_exchange *x, const struct oauth_message *m, struct error *err)
{
    int r = sasl_refuse_long_names(m->user, err);

    if (r < 0)
        return r;
    x->begun = true;
    if (m->user.n)
        return attempt_begin(&x->attempt, x->auth, x->service, &x->peer, m->user, &x->not_before,
                             err);
    return attempt_begin_unnamed(&x->attempt, x->auth, x->service, &x->peer, m->token,
                                 &x->not_before, err);
}

/* 0: the token is good, and whose it is may be let in; -ERR_AUTH, -ERR_NOPERM not; or why that
 * cannot be said. */
static int check(struct sasl_exchange *x, const struct oauth_message *m, struct error *err)
{
    CLEANUP(buf_done) struct buf login = buf_make(2048);
    int r = oauth_check(auth_oauth(x->auth), m->token, &login, err);

    if (r == 0 && !m->user.n)
        r = attempt_look_up(&x->attempt, buf_slice(&login), err);
    else if (r == 0 && !attempt_is_for(&x->attempt, buf_slice(&login)))
        r = -ERR_AUTH;
    if (r == 0 && !x->attempt.usable)
        r = -ERR_AUTH;
    return r;
}

int sasl_oauth_first(struct sasl_exchange *x, struct slice message, struct buf *challenge,
                     struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct oauth_message m;
    int r = x->mechanism == OAUTHBEARER ? oauthbearer_parse(message, &a, &m, err)
                                        : xoauth2_parse(message, &m, err);

    if (r == 0)
        r = begin(x, &m, err);
    if (r < 0)
        return sasl_ended(x, r);
    if (!m.token.n)
        return refuse(x, false, false, challenge);
    r = check(x, &m, err);
    if (r == -ERR_AUTH || r == -ERR_LIMIT || r == -ERR_NOPERM)
        return refuse(x, true, r == -ERR_NOPERM, challenge);
    if (r < 0)
        return sasl_ended(x, r);
    attempt_succeed(&x->attempt, &x->user);
    return sasl_ended(x, 0);
}

/* Whatever the client says to the refusal. */
int sasl_oauth_end(struct sasl_exchange *x, struct error *err)
{
    if (err)
        *err = x->error;
    x->not_before = x->final_not_before;
    return sasl_ended(x, x->verdict);
}
