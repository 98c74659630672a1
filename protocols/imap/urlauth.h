/* SPDX-License-Identifier: MPL-2.0 */
/* urlauth: who may have what an IMAP URL names (RFC 4467), for URLFETCH and for BURL (RFC 4468).
 *
 * Mailbox access keys are kept nowhere: they are derived. The account has a random secret, made
 * when the first URL is asked for; a mailbox has another one only once RESETKEY named it. Both are
 * values in the account's log (VALUE_URLAUTH), so they are the same on all nodes, a RESETKEY counts
 * at once on each of them, and a mailbox that is deleted takes its own along:
 *
 *   key   = HMAC-SHA-256(account's secret, mailbox id and mailbox's secret)
 *   token = "01" and HMAC-SHA-256(key, the URL up to its access identifier), in hexadecimal
 *
 * A mailbox keeps its key over RENAME, but then its URLs name another mailbox, or none: the URL
 * holds the name, the key the identity. The first two digits name this algorithm (section 2.4.1).
 */
#pragma once

#include "lib/auth/login.h"
#include "lib/mail/mail.h"
#include "protocols/imap/url.h"

#define URLAUTH_MECHANISM "INTERNAL"

struct urlauth_asker {
    struct mail *mail;
    struct directory *directory;
    const char *hosts; /* of this server, with blanks between; "*": any name is */
    uint64_t account;  /* who is logged in */
    const char *login;
    bool submits; /* it is the submission service, on his behalf */
};

/* Is the host of the URL one of these? */
bool urlauth_is_our_host(const char *hosts, struct slice host);
/* Do they name the same account's login? */
bool urlauth_is_user(struct directory *directory, struct slice user, const char *login);

/* May he have what the URL names? Blocks. 0: *ret_account (a reference) is whose mail it is, and
 * *ret_st (a reference) its newest state. A URL without URLAUTH is for the submission service alone
 * and means the account of who is logged in. -ERR_INVALID: of another server; -ERR_NOPERM;
 * -ERR_UNAVAILABLE, ... */
int urlauth_admit(const struct urlauth_asker *asker, const struct imap_url *url,
                  struct account **ret_account, struct state **ret_st, struct error *err) MUST_USE;

/* A new secret, as VALUE_URLAUTH has it; the arena's. */
struct slice urlauth_secret(struct arena *arena);
/* Appends ":internal:" and the token to what is a rump. The state has the account's secret. */
void urlauth_add_token(const struct state *st, const struct mailbox *box, struct slice rump,
                       struct buf *out);
