/* SPDX-License-Identifier: MPL-2.0 */
/* The header of a submission: what is to be checked in it, and what is put right (RFC 6409 section
 * 8). Pure functions over the header block as it came.
 */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/mime/header.h"

#define SUBMIT_AUTHORS_MAX 100 /* mailboxes of From */

struct submit_header {
    struct slice block; /* with its empty line, if it has one; borrowed */
    bool none;          /* the message begins with its body: there is no header */
    bool has_date, has_message_id, has_sender;
    const char *id;            /* of Message-ID, without its brackets; "" if none */
    bool has_bcc;              /* fields that recipients must not see */
    bool tls_no;               /* "TLS-Required: No" (RFC 8689 section 5) */
    struct slice solicitation; /* of all Solicitation fields (RFC 3865 section 2.5): words, and what
                                  is between */
    unsigned received;         /* Received fields: how often it was handed on */
    unsigned from_fields;
    const char **authors; /* the mailboxes of From, or of Resent-From where it is resent */
    size_t authors_n;
    bool authors_damaged; /* one of them is no address */
};

/* Does a message that begins with these bytes have no header? They hold the whole first line. */
bool submit_header_absent(struct slice first_line);

/* Strings in the arena. Never fails: what is wrong is for the caller to see. */
void submit_header_read(struct slice block, struct arena *a, struct submit_header *ret);

struct submit_fixes {
    const char *from;       /* for From, if there is none */
    const char *sender;     /* for Sender, if several wrote it and there is none */
    const char *message_id; /* without its brackets, if there is none */
    int64_t date;           /* for Date, if there is none; seconds since 1970 */
    bool keep_bcc;          /* for the sender's own copy */
};

/* Appends the header with what is missing in front, without Bcc and Return-Path, and with the empty
 * line. */
void submit_header_write(const struct submit_header *h, const struct submit_fixes *fixes,
                         struct buf *out);
