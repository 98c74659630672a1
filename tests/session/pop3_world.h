/* SPDX-License-Identifier: MPL-2.0 */
/* pop3_world: POP3 sessions on the node of imap_world.h. For transcripts and the fuzz target. */
#pragma once

#include "protocols/pop3/pop3.h"
#include "tests/session/imap_world.h"

struct pop3_world {
    struct imap_world *node;
    struct pop3_settings settings;
    struct session_service *service;
};

struct pop3_world *pop3_world_new(void);
void pop3_world_free(struct pop3_world *w);
/* Before any connection. */
void pop3_world_set(struct pop3_world *w, const struct pop3_settings *settings);
/* how: words "plain" (no TLS, STLS offered); else TLS. */
struct session *pop3_world_open(struct pop3_world *w, struct slice how);
