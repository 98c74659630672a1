/* SPDX-License-Identifier: MPL-2.0 */
/* url: IMAP URLs of messages and their parts (RFC 5092, with RFC 5550's URL-PARTIAL), as text.
 *
 * Absolute paths within an account, for CATENATE (RFC 4469):
 *
 *   /INBOX;UIDVALIDITY=785799047/;UID=113330/;SECTION=1.2/;PARTIAL=0.1024
 *
 * and whole URLs, with authorization (RFC 4467) or without, for URLFETCH and BURL:
 *
 *   imap://jo@mail.example.org/Drafts/;UID=7;EXPIRE=2030-01-01T00:00:00Z;URLAUTH=submit+jo
 *       :internal:01ab...
 *
 * Who may have what such a one names is in urlauth.h, its octets are in url_data.h.
 */
#pragma once

#include "lib/base/arena.h"
#include "protocols/imap/rules.h"

#define URL_MAX 4000 /* octets */

/* RFC 4467 section 3: who may have it. */
enum url_access {
    URL_NO_ACCESS, /* there is no URLAUTH */
    URL_SUBMIT,    /* "submit+" and a user: the submission service, on behalf of him */
    URL_USER,      /* "user+" and a user */
    URL_AUTHUSER,
    URL_ANONYMOUS,
};

struct imap_url {
    struct slice host;    /* with its port; empty: a path */
    struct slice user;    /* decoded; empty: none */
    struct slice mailbox; /* UTF-8 in NFC; the arena's */
    uint32_t uidvalidity; /* 0: not said */
    uint32_t uid;
    struct imap_section *section; /* the whole message if it is not said */
    uint64_t offset, count;       /* PARTIAL; 0 and UINT64_MAX if it is not said */
    bool expires;
    int64_t expiry; /* seconds; the last one at which it is good */
    enum url_access access;
    struct slice access_user;      /* decoded */
    struct slice rump;             /* the text without mechanism and token */
    struct slice mechanism, token; /* empty: a rump */
};

/* Borrows from text. 0; -ERR_INVALID: no such URL. */
int imap_url_parse(struct slice text, struct arena *arena, struct imap_url *ret,
                   struct error *err) MUST_USE;
