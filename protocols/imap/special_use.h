/* SPDX-License-Identifier: MPL-2.0 */
/* special_use: the attributes of RFC 6154 section 2 (and \Important, RFC 8457) as words. */
#pragma once

#include "lib/base/buf.h"

/* "\Sent" in any case -> its bit (lib/mail/record.h); 0: not one that a mailbox can be given here.
 * \All and \Flagged are not: they would be views of other mailboxes. */
uint32_t special_use_named(struct slice word);
/* "\Sent \Trash", as in LIST; nothing for 0. */
void special_use_write(struct buf *out, uint32_t uses);
