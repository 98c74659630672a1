/* SPDX-License-Identifier: MPL-2.0 */
/* The messages of OAUTHBEARER (RFC 7628) and of XOAUTH2, which Google made before it. Inside
 * lib/auth; pure functions over bytes from clients who have not logged in. */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct oauth_message {
    struct slice user;  /* who the client wants to be; empty: whose the token is */
    struct slice token; /* empty: the client asks what is wanted */
};

/* Slices point into the message or the arena. 0, -ERR_INVALID. */
int oauthbearer_parse(struct slice message, struct arena *a, struct oauth_message *ret,
                      struct error *err) MUST_USE;
int xoauth2_parse(struct slice message, struct oauth_message *ret, struct error *err) MUST_USE;

/* The challenge that says no, in JSON. issuer "" or scope "": are left out. */
void oauthbearer_refuse(struct buf *out, bool only_scope, const char *scope, const char *issuer);
void xoauth2_refuse(struct buf *out, const char *scope);
