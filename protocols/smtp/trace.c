/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/smtp/trace.h"

#include "lib/base/clock.h"
#include "protocols/smtp/smtp.h"

void trace_date(int64_t unix_s, struct buf *out)
{
    struct civil c = civil_from_unix(unix_s, 0);

    buf_printf(out, "%s, %d %s %04d %02d:%02d:%02d +0000", clock_day_names[civil_weekday(&c)],
               c.day, clock_month_names[c.month - 1], c.year, c.hour, c.minute, c.second);
}

static void from(const struct smtp_transaction *t, struct buf *out)
{
    const char *remote = t->peer->remote;
    bool v6 = strchr(remote, ':'), ip = v6 || strchr(remote, '.');

    buf_printf(out, "from %s", t->helo);
    if (ip)
        buf_printf(out, " ([%s%s])", v6 ? "IPv6:" : "", remote);
    buf_add_str(out, "\r\n\t");
}

void trace_received(const struct smtp_transaction *t, const struct trace_options *options,
                    struct buf *out)
{
    buf_add_str(out, "Received: ");
    if (!options->hide_client)
        from(t, out);
    buf_printf(out, "by %s (Eider) with %s", t->settings->hostname, t->with);
    if (options->id)
        buf_printf(out, " id %s", options->id);
    if (t->peer->tls)
        buf_printf(out, "\r\n\t(%s %s)", t->peer->tls_version, t->peer->tls_cipher);
    buf_add_str(out, ";\r\n\t");
    trace_date(clock_wall_ms() / 1000, out);
    buf_add_str(out, "\r\n");
}
