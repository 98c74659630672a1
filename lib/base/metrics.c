/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/metrics.h"

#include "lib/base/mem.h"

/* Upper bounds in microseconds: from an answer out of memory to a client's patience. */
static const struct {
    int64_t us;
    const char *text; /* seconds */
} bounds[HISTOGRAM_BUCKETS] = {
    {100, "0.0001"}, {300, "0.0003"}, {1000, "0.001"},  {3000, "0.003"},
    {10000, "0.01"}, {30000, "0.03"}, {100000, "0.1"},  {300000, "0.3"},
    {1000000, "1"},  {3000000, "3"},  {10000000, "10"}, {30000000, "30"},
};

static const char *const types[] = {"counter", "gauge", "histogram"};

void metrics_family(struct buf *out, const char *name, enum metrics_type type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, types[type]);
}

void metrics_sample(struct buf *out, const char *name, const char *labels, uint64_t value)
{
    if (*labels)
        buf_printf(out, "%s{%s} %llu\n", name, labels, (unsigned long long)value);
    else
        buf_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

void metrics_label(struct buf *labels, const char *name, struct slice value)
{
    buf_printf(labels, "%s%s=\"", labels->n ? "," : "", name);
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '"' || value.p[i] == '\\')
            buf_add_byte(labels, '\\');
        if (value.p[i] == '\n')
            buf_add_str(labels, "\\n");
        else
            buf_add_byte(labels, value.p[i]);
    }
    buf_add_byte(labels, '"');
}

void histogram_add(struct histogram *h, int64_t us)
{
    size_t i = 0;

    if (us < 0)
        us = 0;
    while (i < HISTOGRAM_BUCKETS && us > bounds[i].us)
        i++;
    atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, (uint64_t)us, memory_order_relaxed);
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t n = 0;

    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        n += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    return n;
}

static void say_bucket(struct buf *out, const char *name, const char *labels, const char *bound,
                       uint64_t n)
{
    buf_printf(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, labels, *labels ? "," : "", bound,
               (unsigned long long)n);
}

void metrics_histogram(struct buf *out, const char *name, const char *labels,
                       const struct histogram *h)
{
    uint64_t n = 0, sum = atomic_load_explicit(&h->sum_us, memory_order_relaxed);
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        n += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        say_bucket(out, name, labels, bounds[i].text, n);
    }
    n += atomic_load_explicit(&h->counts[HISTOGRAM_BUCKETS], memory_order_relaxed);
    say_bucket(out, name, labels, "+Inf", n);
    buf_printf(out, "%s_sum%s%s%s %llu.%06llu\n", name, open, labels, close,
               (unsigned long long)(sum / 1000000), (unsigned long long)(sum % 1000000));
    buf_printf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)n);
}
