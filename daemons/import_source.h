/* SPDX-License-Identifier: MPL-2.0 */
/* Mail as other programs keep it, message by message: for `eider import`.
 *
 *   maildir  a Maildir, with its Maildir++ folders (".Lists.C" is the mailbox Lists/C), flags from
 * file names, keywords from dovecot-keywords, dates from the files' times mbox     one file (mboxrd
 * or mboxo: one ">" is taken off ">From "), or a folder of such files, each a mailbox; dates from
 *            the From_ lines, flags from Status, X-Status and X-Keywords, which are left in the
 * message eml      files, or folders that are walked: one message a file
 *
 * Lines that end in LF alone are given with CRLF, as an IMAP client would upload them.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/mail/record.h"

enum source_kind { SOURCE_MAILDIR, SOURCE_MBOX, SOURCE_EML };

/* One message. Strings are the source's, valid until the next source_next. */
struct source_item {
    const char *id;      /* the same at every run over unchanged files: for resuming */
    const char *mailbox; /* "" for the source's root: INBOX, or where the caller says */
    uint64_t octets;     /* as it lies there: for progress */
    int64_t date;        /* seconds since 1970; 0: not known */
    uint8_t flags;       /* FLAG_... */
    const char *const *keywords;
    size_t n_keywords;
};

struct source;
/* Looks through everything once: count and octets are known afterwards. -ERR_NOTFOUND, -ERR_NOPERM,
 * -ERR_INVALID. */
int source_open(enum source_kind kind, const char *const *paths, size_t n_paths,
                struct source **ret_source, struct error *err) MUST_USE;
void source_close(struct source *s); /* NULL is fine */
uint64_t source_count(const struct source *s);
uint64_t source_octets(const struct source *s);

/* 1: the next message; 0: that was the last; <0: it cannot be read (the next call goes on behind
 * it). */
int source_next(struct source *s, struct source_item *ret, struct error *err) MUST_USE;
/* The bytes of the message that source_next gave last: feed is called with pieces. <0: feed's, or
 * -ERR_NOTFOUND (the file is gone), -ERR_UNAVAILABLE (read error). */
int source_read(struct source *s, int (*feed)(void *ctx, struct slice bytes, struct error *err),
                void *ctx, struct error *err) MUST_USE;
