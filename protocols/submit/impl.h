/* SPDX-License-Identifier: MPL-2.0 */
/* Inside protocols/submit. */
#pragma once

#include "lib/auth/directory.h"
#include "protocols/submit/submit.h"

struct submit {
    struct submit_settings settings;
    struct submit_parts parts;
};

static inline void submit_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Who logged in, and what holds for him until the connection ends. */
struct client {
    struct directory_account account;
    bool sandbox, save_sent;
    struct submit_limits limits;
};

/* A recipient of the transaction: the accounts here, and the addresses elsewhere. Nothing in
 * sandbox mode. */
struct rcpt {
    const char *address; /* local part as the client wrote it, domain in A-labels */
    struct directory_recipient *items;
    size_t n;
};

/* --- client.c -------------------------------------------------------------------------------- */

int submit_login(void *service, const struct auth_user *user, struct arena *arena,
                 void **ret_client, struct smtp_reply *reply) MUST_USE;
/* Is the name his? 0, or *reply says why not: `what` is "sender", "author". */
int submit_check_name(struct submit *s, const struct client *client, const char *address,
                      const char *what, struct smtp_reply *reply) MUST_USE;
/* Counts a message with so many recipients. <0: *reply says that it is too many. */
int submit_check_rates(struct submit *s, const struct smtp_transaction *t,
                       struct smtp_reply *reply) MUST_USE;

/* --- burl.c ---------------------------------------------------------------------------------- */

int submit_url(void *service, struct smtp_transaction *t, struct slice text,
               int (*give)(void *ctx, struct slice bytes), void *ctx,
               struct smtp_reply *reply) MUST_USE;

/* --- content.c ------------------------------------------------------------------------------- */

int submit_begin(void *service, struct smtp_transaction *t, struct smtp_reply *reply) MUST_USE;
int submit_feed(void *service, struct smtp_transaction *t, struct slice bytes,
                struct smtp_reply *reply) MUST_USE;
void submit_finish(void *service, struct smtp_transaction *t);
void submit_abort(void *service, struct smtp_transaction *t);
