/* SPDX-License-Identifier: MPL-2.0 */
/* sending: a node's part in sending mail away: the queue's runner, and the transport under it; and
 * what takes mail for people here, in front of it.
 *
 * Life: sending_new when the net is there; sending_drain while it drains; sending_stop before the
 * net goes, which ends what the transport has; sending_free after it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/conf/conf.h"
#include "lib/queue/runner.h"
#include "lib/queue/transport.h"

struct directory;
struct mail;
struct net;
struct sending;
struct store;

/* Borrows from c, and puts lists into its arena. The others stay the caller's; the directory says
 * which domains are ours. -ERR_x with a
 * sentence: a setting that cannot be, no threads. */
int sending_new(struct conf *c, struct net *net, struct queue *queue, struct mail *mail,
                struct store *store, struct directory *directory, struct sending **ret,
                struct error *err) MUST_USE;
/* Begins no more attempts, gives leases back, waits so long for attempts under way. True: none is
 * left. NULL is fine, as for those below. */
bool sending_drain(struct sending *s, int64_t wait_ms);
void sending_stop(struct sending *s);
void sending_free(struct sending *s);

/* Something may have been queued by another process. */
void sending_wake(struct sending *s);
struct runner_counters sending_runner_counters(struct sending *s);
struct transport_counters sending_transport_counters(struct sending *s);
