/* SPDX-License-Identifier: MPL-2.0 */
/* ENVELOPE (RFC 3501 section 7.4.2), ready to be sent. */
#pragma once

#include "lib/base/buf.h"

/* Appends "(date subject from ... message-id)" of a header block. Repeated address fields are taken
 * as one list; of other repeated fields the last counts. Sender and Reply-To default to From. */
void envelope_write(struct buf *out, struct slice header_block);

/* The strings of IMAP answers. nstring: quoted if it may be (no 8-bit, CR, LF; NUL never), else a
 * literal {n}; {NULL, 0} is NIL. */
void imap_nstring(struct buf *out, struct slice s);
/* The same with folding undone and NUL made U+FFFD. */
void imap_nstring_unfolded(struct buf *out, struct slice s);
/* For texts that people read: runs of white space become one blank, the ends are trimmed. */
void imap_text(struct buf *out, struct slice s);
