/* SPDX-License-Identifier: MPL-2.0 */
/* here: what leaves the queue for domains that are ours goes into the accounts at once, as at
 * submission. That is held mail (FUTURERELEASE), and what was queued before a domain became ours.
 *
 * It stands in front of the runner's transport (runner.h): no server is asked, no MX looked up, and
 * nothing need listen anywhere. Addresses are looked up when the message is delivered, so whoever
 * has one then gets it. An alias that leads elsewhere hands the message on to the queue, for the
 * addresses that it leads to.
 *
 * An attempt that is made again (its node died before the result was recorded) delivers nothing
 * twice: the same bytes from the same sender are one message for three days (I24). What is handed
 * on to the queue is handed on twice then, as with every MTA that dies behind the final dot.
 */
#pragma once

#include "lib/queue/runner.h"

struct directory;
struct here;

struct here_settings {
    bool over_quota_permanent; /* who is over quota has it bounced; else it is tried again */
};

/* All are the caller's and must outlive it. `people` should prove absence (directory.h): whom it
 * does not find has his mail bounced. `domains` need not, and is asked for each destination that
 * there is: the proof costs a round to other members of MongoDB's set. */
struct here *here_new(const struct here_settings *settings, struct mail *mail,
                      struct directory *domains, struct directory *people,
                      struct queue *queue) MUST_USE;
/* NULL is fine. */
void here_free(struct here *here);

/* runner_transport.here. Any thread; blocks on the store. */
int here_deliver(void *here, struct transport_job *job) MUST_USE;
