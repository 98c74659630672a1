/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/crlf.h"

static const uint8_t *line_end_in(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p != '\r' && *p != '\n')
        p++;
    return p;
}

void crlf_feed(struct crlf *c, struct slice in, struct buf *out)
{
    const uint8_t *p = in.p, *end = in.p + in.n;

    if (in.n == 0)
        return;
    if (c->cr) {
        buf_add_slice(out, S("\r\n"));
        p += *p == '\n';
        c->cr = false;
    }
    while (p < end) {
        const uint8_t *stop = line_end_in(p, end);

        buf_add(out, p, (size_t)(stop - p));
        if (stop == end)
            return;
        p = stop + 1;
        if (*stop == '\r' && p == end) {
            c->cr = true;
            return;
        }
        buf_add_slice(out, S("\r\n"));
        p += *stop == '\r' && *p == '\n';
    }
}

void crlf_end(struct crlf *c, struct buf *out)
{
    if (c->cr)
        buf_add_slice(out, S("\r\n"));
    c->cr = false;
}
