/* SPDX-License-Identifier: MPL-2.0 */
/* smtp_auth: how we log in at a smarthost (RFC 4954), by libsasl2. One exchange. */
#pragma once

#include "lib/base/buf.h"
#include "lib/base/err.h"

struct smtp_auth;

/* `offered`: mechanisms, each with a space behind it (struct smtp_offer). Without `safe` (TLS, or
 * a server on this machine) passwords do not go out as they are. Appends the AUTH command with its
 * CR LF. 0; -ERR_NOTFOUND: no mechanism that both can do; -ERR_INTERNAL. */
int smtp_auth_begin(const char *host, const char *user, const char *password, const char *offered,
                    bool safe, struct smtp_auth **ret, struct buf *out, struct error *err) MUST_USE;
/* The text of a 334 reply. Appends the answer, or "*" if it makes no sense, with its CR LF. */
void smtp_auth_answer(struct smtp_auth *auth, struct slice challenge, struct buf *out);
/* The server said 235: is it content with what it should have proved (SCRAM)? */
bool smtp_auth_is_done(const struct smtp_auth *auth);
void smtp_auth_free(struct smtp_auth *auth); /* NULL is fine */
