/* SPDX-License-Identifier: MPL-2.0 */
/* fetch_part: one message's parts for FETCH: which bytes a section is, from digest or content.
 *
 * Opened for a message and its digest; the content is opened when something asks for it. */
#pragma once

#include "lib/mail/message.h"
#include "lib/mime/mdigest.h"
#include "protocols/imap/rules.h"

struct fetch_part {
    struct account *account;
    uint64_t message;
    struct mdigest digest;
    struct message_reader *reader; /* NULL: not opened yet */
    struct buf rebuilt;            /* a digest that leaves nothing out, made from the content */
    bool complete;                 /* `digest` is that one */
};

/* bytes: the stored digest, valid as long as the part. A digest that cannot be read is made again.
 * -ERR_NOTFOUND: the message is gone; -ERR_UNAVAILABLE, -ERR_INTERNAL. */
int fetch_part_open(struct fetch_part *p, struct account *account, uint64_t message,
                    struct slice bytes, struct error *err) MUST_USE;
void fetch_part_done(struct fetch_part *p);
/* The digest has all texts of these enum mdigest_missing. */
int fetch_part_need(struct fetch_part *p, uint32_t missing, struct error *err) MUST_USE;
/* Opens the content if it is not open. */
int fetch_part_content(struct fetch_part *p, struct error *err) MUST_USE;

/* The part of a section that is a number alone; none: the whole message, as if it were a multipart.
 * 1; 0: the message has no such part. */
int fetch_part_find(struct fetch_part *p, const struct imap_section *s, struct mdigest_section *ret,
                    struct error *err) MUST_USE;
/* Where a section's bytes are; not for HEADER.FIELDS. 1; 0: the message has no such part (NIL). */
int fetch_part_range(struct fetch_part *p, const struct imap_section *s, uint64_t *ret_offset,
                     uint64_t *ret_len, struct error *err) MUST_USE;
/* The text of a HEADER.FIELDS or HEADER.FIELDS.NOT section. 1; 0: NIL. */
int fetch_part_fields(struct fetch_part *p, const struct imap_section *s, struct buf *out,
                      struct error *err) MUST_USE;
