/* SPDX-License-Identifier: MPL-2.0 */
/* STANDARDS: RFC 3464, RFC 6522 (multipart/report), RFC 3461 section 6, RFC 6533 (addresses and
 * headers in UTF-8), RFC 3834 (Auto-Submitted). */
#include "protocols/submit/report.h"

#include "protocols/smtp/trace.h"

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] & 0x80)
            return false;
    return true;
}

static size_t count_failed(const struct report *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++)
        n += !r->recipients[i].delivered;
    return n;
}

static void write_head(const struct report *r, struct buf *out)
{
    buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\nTo: <%s>\r\n", r->hostname,
               r->to);
    buf_printf(out, "Subject: %s\r\nDate: ",
               count_failed(r) ? "Your message was not delivered to all recipients"
                               : "Your message was delivered");
    trace_date(r->date, out);
    buf_printf(out,
               "\r\nMessage-ID: <%s.report@%s>\r\nAuto-Submitted: auto-replied\r\n"
               "MIME-Version: 1.0\r\n"
               "Content-Type: multipart/report; report-type=delivery-status;\r\n"
               "\tboundary=\"=_%s\"\r\n\r\n",
               r->id, r->hostname, r->id);
}

static void write_text(const struct report *r, struct buf *out)
{
    buf_printf(out,
               "--=_%s\r\nContent-Type: text/plain; charset=utf-8\r\n"
               "Content-Transfer-Encoding: 8bit\r\n\r\n",
               r->id);
    for (size_t i = 0; i < r->n; i++) {
        const struct report_recipient *to = &r->recipients[i];

        if (to->delivered)
            buf_printf(out, "%s: delivered into the mailbox.\r\n", to->address);
        else
            buf_printf(out, "%s: not delivered, and not tried again:\r\n    %s\r\n", to->address,
                       to->text);
    }
    buf_add_str(out, "\r\n");
}

static void write_status(const struct report *r, struct buf *out)
{
    buf_printf(out, "--=_%s\r\nContent-Type: message/delivery-status\r\n\r\n", r->id);
    buf_printf(out, "Reporting-MTA: dns;%s\r\n", r->hostname);
    if (*r->envid)
        buf_printf(out, "Original-Envelope-Id: %s\r\n", r->envid);
    for (size_t i = 0; i < r->n; i++) {
        const struct report_recipient *to = &r->recipients[i];

        buf_add_str(out, "\r\n");
        if (*to->orcpt)
            buf_printf(out, "Original-Recipient: %s\r\n", to->orcpt);
        buf_printf(out, "Final-Recipient: %s;%s\r\nAction: %s\r\nStatus: %s\r\n",
                   is_ascii(slice_str(to->address)) ? "rfc822" : "utf-8", to->address,
                   to->delivered ? "delivered" : "failed", to->delivered ? "2.0.0" : to->status);
        if (!to->delivered)
            buf_printf(out, "Diagnostic-Code: smtp;%u %s %s\r\n", to->code, to->status, to->text);
    }
    buf_add_str(out, "\r\n");
}

void report_write(const struct report *r, struct buf *out)
{
    write_head(r, out);
    write_text(r, out);
    write_status(r, out);
    buf_printf(out, "--=_%s\r\nContent-Type: %s\r\n\r\n", r->id,
               is_ascii(r->header) ? "text/rfc822-headers" : "message/global-headers");
    buf_add_slice(out, r->header);
    buf_printf(out, "--=_%s--\r\n", r->id);
}
