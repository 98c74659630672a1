/* SPDX-License-Identifier: MPL-2.0 */
/* imap_world: a node in memory (store, mail, directory, auth) with the account joe/secret, and IMAP
 * sessions on it. For transcripts, the fuzz target and the benchmark. */
#pragma once

#include "lib/base/session.h"
#include "lib/mail/mail.h"
#include "lib/store/faulty.h"
#include "protocols/imap/imap.h"

struct imap_world {
    struct store *memory, *store; /* store: faulty, in front of memory */
    struct mail *mail;
    struct directory *directory;
    struct auth *auth;
    struct imap_settings settings;
    struct session_service *service;
    uint64_t account;
};

struct imap_world *imap_world_new(void);
void imap_world_free(struct imap_world *w);
/* One more account with that login, and the same password. */
void imap_world_account(struct imap_world *w, struct slice login);
/* Nobody logs in to it any more. */
bool imap_world_disable(struct imap_world *w, struct slice login);
/* how: words "plain" (no TLS, STARTTLS offered); else TLS. */
struct session *imap_world_open(struct imap_world *w, struct slice how);
/* Appends one message. */
bool imap_world_append(struct imap_world *w, struct slice mailbox, struct slice bytes);
/* Appends the whole URL of one without its token, of a mailbox of joe's. */
void imap_world_url(struct imap_world *w, struct slice rump, struct buf *out);
/* Appends n messages (the same content, subjects numbered) to a mailbox. */
bool imap_world_fill(struct imap_world *w, struct slice mailbox, unsigned n);
