/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/base/metrics.h"

Test(metrics, samples_are_written_as_prometheus_reads_them)
{
    CLEANUP(buf_done) struct buf out = buf_make(10000);
    CLEANUP(buf_done) struct buf labels = buf_make(1000);

    metrics_family(&out, "a_total", METRICS_COUNTER, "How many.");
    metrics_sample(&out, "a_total", "", 3);
    metrics_label(&labels, "x", S("say \"\\\"\n"));
    metrics_label(&labels, "y", S("z"));
    metrics_sample(&out, "a_total", buf_cstr(&labels), UINT64_MAX);
    cr_assert_str_eq(buf_cstr(&out), "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n"
                                     "a_total{x=\"say \\\"\\\\\\\"\\n\",y=\"z\"} "
                                     "18446744073709551615\n");
}

Test(metrics, a_histograms_buckets_hold_all_below_them)
{
    static struct histogram h;
    CLEANUP(buf_done) struct buf out = buf_make(10000);

    histogram_add(&h, -1);
    histogram_add(&h, 100);
    histogram_add(&h, 101);
    histogram_add(&h, 2500000);
    histogram_add(&h, 3600000000);
    cr_assert(histogram_count(&h) == 5);
    metrics_histogram(&out, "t", "a=\"b\"", &h);
    const char *text = buf_cstr(&out);
    cr_assert(strstr(text, "t_bucket{a=\"b\",le=\"0.0001\"} 2\n"));
    cr_assert(strstr(text, "t_bucket{a=\"b\",le=\"0.0003\"} 3\n"));
    cr_assert(strstr(text, "t_bucket{a=\"b\",le=\"1\"} 3\n"));
    cr_assert(strstr(text, "t_bucket{a=\"b\",le=\"3\"} 4\n"));
    cr_assert(strstr(text, "t_bucket{a=\"b\",le=\"+Inf\"} 5\n"));
    cr_assert(strstr(text, "t_sum{a=\"b\"} 3602.500201\nt_count{a=\"b\"} 5\n"));
}
