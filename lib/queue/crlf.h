/* SPDX-License-Identifier: MPL-2.0 */
/* crlf: a message's bytes as SMTP's DATA may carry them: a CR or LF that stands alone becomes CR LF
 * (RFC 5321 2.3.8: they must not be sent otherwise). What is clean passes as it is.
 *
 * Who signs and who sends both look through this, so that a signature holds for what is sent, and
 * no "<LF>.<CR><LF>" of a sender's reaches a server that takes it for the end (SMTP smuggling).
 *
 *     struct crlf c = {0};
 *     crlf_feed(&c, piece, &out);  as often as there are pieces
 *     crlf_end(&c, &out);
 */
#pragma once

#include "lib/base/buf.h"

struct crlf {
    bool cr; /* the last byte was a CR whose LF has not come yet */
};

void crlf_feed(struct crlf *c, struct slice in, struct buf *out);
/* A CR at the very end becomes CR LF; a last line without an end is left so. */
void crlf_end(struct crlf *c, struct buf *out);
