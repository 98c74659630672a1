/* SPDX-License-Identifier: MPL-2.0 */
/* GENURLAUTH and RESETKEY (RFC 4467), and what sessions are told of new keys. */
#include "lib/base/mem.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/urlauth.h"

#define URLMECH "URLMECH " URLAUTH_MECHANISM

/* --- what is told ------------------------------------------------------------------------------
 */

/* RFC 4467 section 8: "MUST implement a configuration that will not return a URLMECH status
 * response code unless some mechanism is provided that protects the session from snooping": this is
 * the only one. */
static bool may_tell(const struct imap *im)
{
    return im->s.peer.tls || im->s.peer.trusted;
}

/* Enough of a secret to see that it is another one; 0: there is none. */
static uint64_t mark_of(struct slice secret)
{
    return secret.n >= 8 ? get_be64(secret.p) : 0;
}

static void look(const struct state *st, const struct mailbox *box, struct urlauth_seen *ret)
{
    ret->account = mark_of(state_value(st, S(VALUE_URLAUTH)));
    ret->mailbox = mark_of(mailbox_value(box, S(VALUE_URLAUTH)));
    ret->changed = false;
}

void imap_urlauth_selected(struct imap *im, const struct state *st)
{
    look(st, view_mailbox(im->view), &im->urlauth);
    if (may_tell(im))
        buf_add_str(&im->s.out, "* OK [" URLMECH "] For URLs\r\n");
}

void imap_urlauth_update(struct imap *im, const struct state *st, const struct mailbox *box)
{
    struct urlauth_seen now;

    look(st, box, &now);
    /* the account's first is no new key: there was none */
    now.changed = im->urlauth.changed || now.mailbox != im->urlauth.mailbox ||
                  (im->urlauth.account && now.account != im->urlauth.account);
    im->urlauth = now;
}

void imap_urlauth_tell(struct imap *im)
{
    if (im->urlauth.changed && may_tell(im))
        buf_add_str(&im->s.out, "* OK [" URLMECH "] The mailbox has a new key\r\n");
    im->urlauth.changed = false;
}

/* --- RESETKEY ----------------------------------------------------------------------------------
 */

static int check_mechanism(struct command *cmd, struct slice name)
{
    if (slice_ieq(name, S(URLAUTH_MECHANISM)))
        return 0;
    return imap_no(cmd, "CANNOT", "There is no mechanism but " URLAUTH_MECHANISM);
}

static int reset_all(struct imap *im, struct command *cmd)
{
    CLEANUP(intent_done)
    struct intent it = {
        .kind = INTENT_ACCOUNT, .key = S(VALUE_URLAUTH), .value = urlauth_secret(&cmd->arena)};

    cmd->text = "No URL made so far is authorized any more";
    return imap_commit(im, cmd, &it);
}

static int reset_mailbox(struct imap *im, struct command *cmd, struct slice name)
{
    CLEANUP(intent_done)
    struct intent it = {
        .kind = INTENT_SET, .key = S(VALUE_URLAUTH), .value = urlauth_secret(&cmd->arena)};
    const struct mailbox *box;
    struct state *st;
    int r = account_refresh(im->account, &st, &cmd->err);

    if (r < 0)
        return r;
    box = state_mailbox_named(st, name);
    it.mailbox = box ? box->id : 0;
    state_unref(st);
    if (!it.mailbox)
        return imap_no(cmd, "NONEXISTENT", "There is no such mailbox");
    r = imap_commit(im, cmd, &it);
    if (r == 0 && may_tell(im))
        cmd->code = URLMECH;
    if (r == 0 && im->view && it.mailbox == im->mailbox)
        im->urlauth.mailbox = mark_of(it.value); /* the tagged line tells it */
    cmd->text = "The mailbox has a new key";
    return r;
}

int cmd_resetkey(struct imap *im, struct command *cmd)
{
    const struct arg *args = cmd->parsed.args;
    int r = 0;

    for (size_t i = 0; args[1].kind && i < args[1].n && r == 0; i++)
        r = check_mechanism(cmd, args[1].items[i].text);
    if (r < 0)
        return r;
    return args[0].kind ? reset_mailbox(im, cmd, args[0].text) : reset_all(im, cmd);
}

/* --- GENURLAUTH --------------------------------------------------------------------------------
 */

static int wrong(struct command *cmd, struct slice url, const char *why)
{
    int r = imap_bad(cmd, "%s", why);

    cmd->code = imap_badurl(cmd, url);
    return r;
}

/* Section 7, the checks on each URL. Whether those whom it is for exist is not said: then the URL
 * is of no use to anybody. */
static int check_url(struct imap *im, struct command *cmd, struct slice text,
                     const struct state *st, struct imap_url *url, const struct mailbox **ret_box)
{
    struct directory *directory = auth_directory(im->service->auth);

    if (imap_url_parse(text, &cmd->arena, url, NULL) < 0 || !url->host.n)
        return wrong(cmd, text, "That is no URL of a message");
    if (url->access == URL_NO_ACCESS)
        return wrong(cmd, text, "The URL does not say who may use it (URLAUTH)");
    if (url->mechanism.n)
        return wrong(cmd, text, "The URL has a token already");
    if (!urlauth_is_our_host(im->service->settings.url_hosts, url->host))
        return wrong(cmd, text, "The URL is not one of this server");
    if (!urlauth_is_user(directory, url->user, im->user.login))
        return wrong(cmd, text, "The URL's user is not the one who is logged in");
    *ret_box = state_mailbox_named(st, url->mailbox);
    if (!*ret_box || (url->uidvalidity && url->uidvalidity != (*ret_box)->uidvalidity))
        return wrong(cmd, text, "There is no such mailbox");
    return 0;
}

static int write_urls(struct imap *im, struct command *cmd, const struct state *st)
{
    CLEANUP(buf_done) struct buf line = buf_make(BUF_MAX_DEFAULT);
    CLEANUP(buf_done) struct buf full = buf_make(URL_MAX + 100);
    const struct arg *pairs = &cmd->parsed.args[0];
    int r = 0;

    buf_add_str(&line, "* GENURLAUTH");
    for (size_t i = 0; i < pairs->n && r == 0; i++) {
        struct slice text = pairs->items[i].items[0].text;
        const struct mailbox *box = NULL;
        struct imap_url url;

        r = check_url(im, cmd, text, st, &url, &box);
        if (r < 0)
            break;
        full.n = 0;
        buf_add_slice(&full, text);
        urlauth_add_token(st, box, url.rump, &full);
        buf_add_byte(&line, ' ');
        imap_write_string(&line, buf_slice(&full));
    }
    if (r < 0)
        return r;
    buf_add_slice(&im->s.out, buf_slice(&line));
    buf_add_str(&im->s.out, "\r\n");
    return 0;
}

/* Section 7: "If there is currently no mailbox access key for the given mailbox ..., one is
 * automatically generated." Of two who make one at once, both go on with the one that is in. */
static int newest_with_secret(struct imap *im, struct command *cmd, struct state **ret)
{
    CLEANUP(intent_done)
    struct intent it = {.kind = INTENT_ACCOUNT, .key = S(VALUE_URLAUTH), .if_absent = true};
    struct state *st;
    int r = account_refresh(im->account, &st, &cmd->err);

    if (r == 0 && !state_value(st, it.key).n) {
        state_unref(st);
        it.value = urlauth_secret(&cmd->arena);
        r = imap_commit(im, cmd, &it);
        st = r == 0 ? account_state(im->account) : NULL;
    }
    if (r == 0)
        *ret = st;
    return r;
}

int cmd_genurlauth(struct imap *im, struct command *cmd)
{
    const struct arg *pairs = &cmd->parsed.args[0];
    struct state *st;
    int r = 0;

    for (size_t i = 0; i < pairs->n && r == 0; i++)
        r = check_mechanism(cmd, pairs->items[i].items[1].text);
    if (r == 0)
        r = newest_with_secret(im, cmd, &st);
    if (r < 0)
        return r;
    r = write_urls(im, cmd, st);
    state_unref(st);
    return r;
}
