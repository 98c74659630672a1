/* SPDX-License-Identifier: MPL-2.0 */
/* submit_world: submission and LMTP sessions on the node of imap_world.h, with a queue that nobody
 * empties. For transcripts and the fuzz target. */
#pragma once

#include "protocols/lmtp/lmtp.h"
#include "protocols/submit/submit.h"
#include "tests/session/imap_world.h"

struct submit_world {
    struct imap_world *node;
    struct queue *queue;
    struct rates *rates;
    struct submit_counters counters;
    struct submit_settings settings;
    struct session_service *service, *lmtp;
};

struct submit_world *submit_world_new(void);
void submit_world_free(struct submit_world *w);
/* Before any connection. */
void submit_world_set(struct submit_world *w, const struct submit_settings *settings);
/* how: words "imap", "lmtp", "plain" (submission without TLS, STARTTLS offered); else submission
 * over TLS. */
struct session *submit_world_open(struct submit_world *w, struct slice how);
/* One more account; its password is "secret". False: it failed. */
bool submit_world_account(struct submit_world *w, const char *login, uint64_t *ret_id);
/* How many messages are queued, and the newest one's envelope as a line:
 *   joe@example.org > ann@x.example NOTIFY=6 ORCPT=rfc822;a, bob@y.example RET=1 ... */
size_t submit_world_queued(struct submit_world *w, struct buf *ret_newest);
