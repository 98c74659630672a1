/* SPDX-License-Identifier: MPL-2.0 */
/* Errors: one convention for the whole tree.
 *
 * A function that can fail returns int: 0 (or >0, as its header says) on success, and minus an
 * `enum err` on failure. The kinds are neutral: they say what a caller can do about it, not which
 * protocol it speaks; every protocol has one table that turns kinds into replies. A function may
 * take a last parameter `struct error *err` (may be NULL), filled once, where the cause is known,
 * with a sentence for a person. Nobody parses that sentence.
 */
#pragma once

#include <stdarg.h>

enum err {
    ERR_NONE = 0,
    ERR_INVALID,         /* the input is not of the form it must have */
    ERR_LIMIT,           /* a configured or built-in limit was met */
    ERR_NOTFOUND,        /* what was named does not exist */
    ERR_EXISTS,          /* what was to be made is there already */
    ERR_NOPERM,          /* known who asks, and it is not allowed */
    ERR_AUTH,            /* not known who asks: wrong name, password, token */
    ERR_QUOTA,           /* the account has no room for it */
    ERR_TOOBIG,          /* one message or value larger than is taken */
    ERR_CONFLICT,        /* somebody else was first; read again and decide anew */
    ERR_UNAVAILABLE,     /* store, bus or peer not reachable; try again later; nothing happened */
    ERR_UNKNOWN_OUTCOME, /* may or may not have happened, and it will not be known */
    ERR_CANCELLED,       /* the caller or a shutdown ended it; nothing happened */
    ERR_INTERNAL,        /* a bug, or damage in what we stored ourselves */
    ERR_COUNT_
};

/* The longest sentence kept, with its final NUL; longer ones are cut. */
#define ERROR_TEXT_MAX 240

struct error {
    enum err kind;
    char text[ERROR_TEXT_MAX];
};

#define MUST_USE          __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* Fills *err (NULL is fine) and returns -kind, so that `return error_set(err, ERR_X, ...)` works.
 */
int error_set(struct error *err, enum err kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "what: " before the sentence that is there; returns -err->kind. */
int error_prefix(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The name of a kind in lower case, for logs ("unavailable"). Never NULL. */
const char *err_name(int kind_or_negative);
