/* SPDX-License-Identifier: MPL-2.0 */
/* STARTTLS, LOGIN, AUTHENTICATE, UNAUTHENTICATE: RFC 3501 section 6.2, RFC 4959, RFC 8437. */
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

int cmd_starttls(struct imap *im, struct command *cmd)
{
    if (im->s.peer.tls)
        return imap_bad(cmd, "TLS is active already");
    if (im->compressed)
        return imap_bad(cmd, "Compression is active, and TLS belongs below it");
    if (!im->service->settings.starttls)
        return imap_bad(cmd, "TLS is not offered here");
    cmd->next = PHASE_TLS;
    cmd->text = "Begin TLS";
    return 0;
}

/* RFC 8437: all is as behind the greeting, but for TLS and what ID has said. */
int cmd_unauthenticate(struct imap *im, struct command *cmd)
{
    /* Section 3: "Servers MAY close the connection with an untagged BYE response" where they cannot
     * reset it: what was sent behind this command uncompressed would be lost in the decompressor.
     */
    if (im->compressed) {
        imap_bye(im, NULL, "Compression cannot be taken off; connect again");
        return RUN_WAIT;
    }
    imap_unselect(im);
    imap_metadata_forget(im);
    imap_notify_end(im);
    account_unref(TAKE(im->account));
    connections_out(auth_connections(im->service->auth), im->user.account);
    im->counted = false;
    im->user = (struct auth_user){0};
    im->s.user[0] = '\0';
    im->enabled = 0;
    imap_set_state(im, IMAP_NOT_AUTHENTICATED);
    im->deadline_ms = clock_mono_ms() + im->service->settings.login_timeout_ms;
    return 0;
}

/* Somebody has proved who he is: opens his account. */
static int logged_in(struct imap *im, struct command *cmd)
{
    unsigned max =
        im->user.connections ? im->user.connections : im->service->settings.user_connections;
    int r;

    if (!connections_in(auth_connections(im->service->auth), im->user.account, max))
        return imap_no(cmd, "LIMIT", "This account has too many connections");
    im->counted = true;
    r = account_open(im->service->mail, im->user.account, &im->account, &cmd->err);
    if (r < 0) {
        connections_out(auth_connections(im->service->auth), im->user.account);
        im->counted = false;
        return r;
    }
    snprintf(im->s.user, sizeof im->s.user, "%.*s", (int)sizeof im->s.user - 1, im->user.login);
    im->failed_logins = 0;
    imap_set_state(im, IMAP_AUTHENTICATED);
    imap_code_capabilities(im, cmd);
    cmd->text = "Logged in";
    return 0;
}

static int refused(struct imap *im, struct command *cmd, int r, int64_t not_before)
{
    im->delay_until_ms = not_before;
    if (r == -ERR_AUTH) {
        im->failed_logins++;
        /* one sentence, whatever was wrong */
        return imap_no(cmd, "AUTHENTICATIONFAILED", "Wrong user name or password");
    }
    if (r == -ERR_LIMIT) {
        im->failed_logins++;
        return imap_no(cmd, "LIMIT", "Too many failed logins; try again later");
    }
    if (r == -ERR_NOPERM)
        return imap_no(cmd, "PRIVACYREQUIRED", "Not without TLS");
    return r;
}

int cmd_login(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    int64_t not_before = 0;
    int r;

    if (!auth_plaintext_allowed(im->service->auth, &im->s.peer))
        return imap_no(cmd, "PRIVACYREQUIRED", "LOGIN is not possible without TLS");
    r = auth_login(im->service->auth, AUTH_IMAP, &im->s.peer, args[0].text, args[1].text, &im->user,
                   &not_before, &cmd->err);
    secret_wipe((void *)args[1].text.p, args[1].text.n);
    return r == 0 ? logged_in(im, cmd) : refused(im, cmd, r, not_before);
}

/* --- AUTHENTICATE ------------------------------------------------------------------------------
 */

/* A step of the exchange gave r. */
static int stepped(struct imap *im, struct command *cmd, int r, const struct buf *challenge,
                   int64_t not_before)
{
    if (r == 1) {
        buf_add_str(&im->s.out, "+ ");
        base64_encode(&im->s.out, buf_slice(challenge));
        buf_add_str(&im->s.out, "\r\n");
        if (im->phase != PHASE_AUTH) {
            imap_set_phase(im, PHASE_AUTH);
            parser_set_mode(&im->parser, PARSER_LINE);
        }
        return RUN_WAIT;
    }
    sasl_free(TAKE(im->sasl));
    if (r == 0)
        return logged_in(im, cmd);
    if (r == -ERR_NOTFOUND)
        return imap_no(cmd, "CANNOT", "This mechanism is not offered");
    if (r == -ERR_INVALID)
        return imap_bad(cmd, "That is no message of this mechanism");
    return refused(im, cmd, r, not_before);
}

static int decode(struct buf *out, struct slice text)
{
    if (slice_eq(text, S("=")))
        return 0;
    return base64_decode(out, text);
}

static void wipe(struct buf *b)
{
    secret_wipe(b->p, b->n);
    buf_done(b);
}

int cmd_authenticate(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    CLEANUP(wipe) struct buf initial = buf_make(BUF_MAX_DEFAULT);
    CLEANUP(buf_done) struct buf challenge = buf_make(BUF_MAX_DEFAULT);
    bool has_initial = args[1].kind != RULE_END;
    struct slice response = {(const uint8_t *)"", 0};
    int64_t not_before = 0;
    int r;

    if (has_initial && decode(&initial, args[1].text) < 0)
        return imap_bad(cmd, "The initial response is not base64");
    if (initial.n)
        response = buf_slice(&initial);
    r = sasl_start(im->service->auth, AUTH_IMAP, args[0].text, &im->s.peer,
                   has_initial ? &response : NULL, &im->sasl, &challenge, &im->user, &not_before,
                   &cmd->err);
    return stepped(im, cmd, r, &challenge, not_before);
}

int cmd_authenticate_line(struct imap *im, struct command *cmd, struct slice line)
{
    CLEANUP(wipe) struct buf response = buf_make(BUF_MAX_DEFAULT);
    CLEANUP(buf_done) struct buf challenge = buf_make(BUF_MAX_DEFAULT);
    int64_t not_before = 0;
    int r;

    if (slice_eq(line, S("*")) || base64_decode(&response, line) < 0) {
        sasl_free(TAKE(im->sasl));
        return imap_bad(cmd, line.n == 1 ? "Cancelled" : "The response is not base64");
    }
    r = sasl_step(im->sasl, buf_slice(&response), &challenge, &im->user, &not_before, &cmd->err);
    return stepped(im, cmd, r, &challenge, not_before);
}
