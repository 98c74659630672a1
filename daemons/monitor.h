/* SPDX-License-Identifier: MPL-2.0 */
/* monitor: what a node tells of itself over HTTP, to load balancers and to Prometheus.
 *
 *   /healthz   200 as long as the process answers
 *   /readyz    200 if it should get connections: the store answers, and it is not draining; else
 *              503 with a sentence
 *   /metrics   counters and histograms, Prometheus text format
 *
 * There is nothing secret in it and nothing to be changed, but it tells how much mail there is:
 * keep it inside (the listener's address).
 */
#pragma once

#include <stdbool.h>

#include "lib/base/metrics.h"
#include "lib/base/session.h"

struct node;
struct monitor;

/* Belongs to a node; looks at its parts only when asked. */
struct monitor *monitor_new(struct node *node) MUST_USE;
void monitor_free(struct monitor *m);
/* For listeners of protocol "http"; one for all. */
struct session_service *monitor_service(struct monitor *m);
/* From now on /readyz says 503. */
void monitor_drain(struct monitor *m);
/* Where the sessions of a protocol count their commands. */
struct histogram *monitor_imap_times(struct monitor *m);
struct histogram *monitor_pop3_times(struct monitor *m);
