/* SPDX-License-Identifier: MPL-2.0 */
/* objectid: the identifiers of RFC 8474 as text, for FETCH, SEARCH, SELECT, STATUS and CREATE.
 *
 * A letter for the kind, so that no value means two things (section 5.2), and 64 bits in hex:
 *   F  MAILBOXID: the mailbox's id (seq and index of the op that made it): never reused, kept by
 *      RENAME
 *   M  EMAILID: the message id: kept by COPY and MOVE
 *   T  THREADID: a hash of the thread's first Message-ID; see objectid_thread
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/mime/mdigest.h"

enum objectid_kind { OBJECTID_MAILBOX = 'F', OBJECTID_EMAIL = 'M', OBJECTID_THREAD = 'T' };

void objectid_write(struct buf *out, enum objectid_kind kind, uint64_t id);
/* False: no identifier of this kind that this server would have given. Case counts. */
bool objectid_read(struct slice text, enum objectid_kind kind, uint64_t *ret);

/* The thread of a message. A function of the message alone, so that it is the same for copies, on
 * every node, and for ever: the first of its References, else of its In-Reply-To, else its own
 * Message-ID; a message with none of these is a thread of its own (`message` is its id). The digest
 * must not have MDIGEST_NO_REFERENCES. */
uint64_t objectid_thread(const struct mdigest *d, uint64_t message);
