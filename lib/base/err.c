/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/err.h"

#include <stdio.h>
#include <string.h>

int error_set(struct error *err, enum err kind, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return -(int)kind;
    err->kind = kind;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return -(int)kind;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
    char old[ERROR_TEXT_MAX];
    va_list ap;
    int n;

    if (!err)
        return -ERR_INTERNAL;
    memcpy(old, err->text, sizeof old);
    va_start(ap, fmt);
    n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", old);
    return -(int)err->kind;
}

const char *err_name(int kind)
{
    static const char *const names[ERR_COUNT_] = {
        [ERR_NONE] = "ok",
        [ERR_INVALID] = "invalid",
        [ERR_LIMIT] = "limit",
        [ERR_NOTFOUND] = "notfound",
        [ERR_EXISTS] = "exists",
        [ERR_NOPERM] = "noperm",
        [ERR_AUTH] = "auth",
        [ERR_QUOTA] = "quota",
        [ERR_TOOBIG] = "toobig",
        [ERR_CONFLICT] = "conflict",
        [ERR_UNAVAILABLE] = "unavailable",
        [ERR_UNKNOWN_OUTCOME] = "unknown_outcome",
        [ERR_CANCELLED] = "cancelled",
        [ERR_INTERNAL] = "internal",
    };

    if (kind < 0)
        kind = -kind;
    return kind < ERR_COUNT_ ? names[kind] : "?";
}
