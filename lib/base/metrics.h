/* SPDX-License-Identifier: MPL-2.0 */
/* metrics: what is counted, and how it is told: Prometheus' text format (version 0.0.4).
 *
 * Who counts keeps plain atomics and histograms of his own and lets others read them; whoever
 * answers /metrics writes a family and then its samples:
 *
 *     metrics_family(out, "eider_connections", METRICS_GAUGE, "Connections that are open.");
 *     metrics_sample(out, "eider_connections", "protocol=\"imap\"", n);
 *
 * Threads: histogram_add on any thread, without a lock; readers may see a sample in the count that
 * is not in the sum yet.
 */
#pragma once

#include <stdatomic.h>

#include "lib/base/buf.h"

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

/* name: letters, digits, "_"; help: one line, as it is to be read. */
void metrics_family(struct buf *out, const char *name, enum metrics_type type, const char *help);
/* labels: "a=\"b\",c=\"d\"", escaped by metrics_label where they come from outside; or "". */
void metrics_sample(struct buf *out, const char *name, const char *labels, uint64_t value);
/* Appends name="value" with what the format wants escaped. */
void metrics_label(struct buf *labels, const char *name, struct slice value);

#define HISTOGRAM_BUCKETS 12

/* Durations. Zeroed: empty. */
struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* each bucket by itself; the last: beyond */
    _Atomic uint64_t sum_us;
};

void histogram_add(struct histogram *h, int64_t us);
/* Samples in all. */
uint64_t histogram_count(const struct histogram *h);
/* Its buckets (in seconds, each with all below it), sum and count. */
void metrics_histogram(struct buf *out, const char *name, const char *labels,
                       const struct histogram *h);
