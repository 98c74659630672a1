/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

#define FIELD_MAX 400

static _Atomic int log_level_now = LOG_INFO_;
static _Atomic int log_fd = 2;
static _Atomic bool log_bare;

void log_set_level(enum log_level level)
{
    log_level_now = (int)level;
}

enum log_level log_get_level(void)
{
    return (enum log_level)log_level_now;
}

void log_set_output(int fd, bool bare)
{
    log_fd = fd;
    log_bare = bare;
}

/* The last byte is kept for the newline. */
static void put(struct log_line *l, const char *s, size_t n)
{
    size_t room = sizeof l->text - 1 - l->n;

    if (n > room)
        n = room;
    memcpy(l->text + l->n, s, n);
    l->n += n;
}

static void put_time(struct log_line *l)
{
    int64_t ms = clock_wall_ms();
    struct civil c = civil_from_unix(ms / 1000, 0);
    char text[40];
    int n = snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ ", c.year, c.month,
                     c.day, c.hour, c.minute, c.second, (int)(ms % 1000));

    put(l, text, (size_t)n);
}

void log_begin(struct log_line *l, enum log_level level, const char *event)
{
    static const char *const names[] = {"error ", "warn ", "info ", "debug "};

    l->n = 0;
    l->off = (int)level > log_level_now;
    if (l->off)
        return;
    if (!log_bare)
        put_time(l);
    put(l, names[level], strlen(names[level]));
    put(l, event, strlen(event));
}

static bool needs_quotes(struct slice v)
{
    if (!v.n)
        return true;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] == '"' || v.p[i] == '\\' || v.p[i] == '=' || v.p[i] == 0x7f)
            return true;
    return false;
}

static void put_escaped(struct log_line *l, struct slice v)
{
    char hex[5];

    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];

        if (c == '"' || c == '\\') {
            put(l, "\\", 1);
            put(l, (const char *)&c, 1);
        } else if (c < ' ' || c == 0x7f) {
            snprintf(hex, sizeof hex, "\\x%02x", c);
            put(l, hex, 4);
        } else {
            put(l, (const char *)&c, 1);
        }
    }
}

void log_str(struct log_line *l, const char *key, struct slice value)
{
    if (l->off)
        return;
    value = slice_sub(value, 0, FIELD_MAX);
    put(l, " ", 1);
    put(l, key, strlen(key));
    put(l, "=", 1);
    if (!needs_quotes(value)) {
        put(l, (const char *)value.p, value.n);
        return;
    }
    put(l, "\"", 1);
    put_escaped(l, value);
    put(l, "\"", 1);
}

void log_num(struct log_line *l, const char *key, int64_t value)
{
    char text[24];
    int n;

    if (l->off)
        return;
    n = snprintf(text, sizeof text, "%lld", (long long)value);
    log_str(l, key, slice_of(text, (size_t)n));
}

void log_err(struct log_line *l, const struct error *err)
{
    log_str(l, "error", slice_str(err_name((int)err->kind)));
    log_str(l, "reason", slice_str(err->text));
}

void log_end(struct log_line *l)
{
    ssize_t done;

    if (l->off)
        return;
    l->text[l->n++] = '\n';
    done = write(log_fd, l->text, l->n);
    (void)done; /* where to say so? */
}

void log_text(enum log_level level, const char *event, const char *fmt, ...)
{
    struct log_line l;
    char text[FIELD_MAX + 1];
    va_list ap;

    log_begin(&l, level, event);
    if (l.off)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_str(&l, "text", slice_str(text));
    log_end(&l);
}
