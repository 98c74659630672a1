/* SPDX-License-Identifier: MPL-2.0 */
/* smtp_answer: what an SMTP server answers (RFC 5321 4.2), taken from the front of what has come.
 * Pure; what a server sends is not trusted with anything. */
#pragma once

#include "lib/base/buf.h"

#define SMTP_ANSWER_MAX   ((size_t)64 << 10) /* bytes of one reply, all lines */
#define SMTP_ANSWER_LINES 256
#define SMTP_ANSWER_TEXT  900 /* bytes that are kept for logs and bounces */
#define SMTP_STATUS_MAX   12  /* "5.123.456", NUL */

struct smtp_answer {
    unsigned code;                /* 200 to 599 */
    struct slice raw;             /* all lines; points into the input */
    char status[SMTP_STATUS_MAX]; /* enhanced code (RFC 2034), "" if there is none that fits */
};

/* 1: *ret is a whole reply, *ret_used bytes long; 0: there is more to come; -ERR_INVALID: not a
 * reply; -ERR_LIMIT: one that never ends. */
int smtp_answer_take(struct slice in, struct smtp_answer *ret, size_t *ret_used) MUST_USE;

/* The next line's text, without code and line end; false: there is none. *at begins with 0. */
bool smtp_answer_line(const struct smtp_answer *reply, size_t *at, struct slice *ret);
/* Appends all text on one line, printable, cut at SMTP_ANSWER_TEXT; with the code in front. */
void smtp_answer_text(const struct smtp_answer *reply, struct buf *out);

/* What EHLO offers (RFC 5321 4.1.1.1). */
enum smtp_feature {
    SMTP_PIPELINING = 1 << 0,
    SMTP_8BITMIME = 1 << 1,
    SMTP_BINARYMIME = 1 << 2,
    SMTP_CHUNKING = 1 << 3,
    SMTP_UTF8 = 1 << 4,
    SMTP_DSN = 1 << 5,
    SMTP_STARTTLS = 1 << 6,
    SMTP_SIZE = 1 << 7,
    SMTP_REQUIRETLS = 1 << 8,
    SMTP_MT_PRIORITY = 1 << 9,
    SMTP_DELIVERBY = 1 << 10,
    SMTP_AUTH = 1 << 11,
    SMTP_LIMITS = 1 << 12,
    SMTP_NO_SOLICITING = 1 << 13,
};

struct smtp_offer {
    unsigned features;      /* enum smtp_feature */
    uint64_t size_max;      /* of a message; 0: no limit is told */
    uint64_t deliverby_min; /* seconds; 0: none */
    uint64_t rcpt_max;      /* LIMITS RCPTMAX (RFC 9422); 0: none is told */
    uint64_t mail_max;      /* LIMITS MAILMAX: messages of one connection; 0: none is told */
    char mechanisms[256];   /* of AUTH, upper case, each with a space behind it */
};
void smtp_answer_offer(const struct smtp_answer *reply, struct smtp_offer *ret);
