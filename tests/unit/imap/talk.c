/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/unit/imap/talk.h"

#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "tests/session/drive.h"

struct talk *talk_new(void)
{
    struct talk *t = NEW(struct talk);

    t->world = imap_world_new();
    t->got = buf_make(BUF_MAX_DEFAULT);
    return t;
}

void talk_free(struct talk *t)
{
    for (size_t i = 0; i <= TALK_CONNECTIONS; i++)
        if (t->connections[i]) {
            drive_done(t->connections[i]);
            free(t->connections[i]);
        }
    imap_world_free(t->world);
    buf_done(&t->got);
    free(t);
}

static struct drive *connection(struct talk *t, unsigned n)
{
    struct drive *d = t->connections[n];

    if (d)
        return d;
    d = t->connections[n] = NEW(struct drive);
    drive_init(d, imap_world_open(t->world, S("")));
    buf_reset(&d->got, 0); /* the greeting */
    return d;
}

const char *talk(struct talk *t, unsigned n, const char *line)
{
    struct drive *d = connection(t, n);

    drive_send(d, slice_str(line));
    drive_send(d, S("\r\n"));
    buf_reset(&t->got, 0);
    buf_add_slice(&t->got, buf_slice(&d->got));
    buf_reset(&d->got, 0);
    return buf_cstr(&t->got);
}

void talk_login(struct talk *t, unsigned n)
{
    talk_has(t, n, "_login LOGIN joe secret", "_login OK ${*}");
}

/* The next line of a text; false: there is none. A last line needs no end. */
static bool next_line(struct slice *text, struct slice *ret)
{
    ssize_t at = slice_find(*text, '\n');
    size_t n = at < 0 ? text->n : (size_t)at;

    if (!text->n)
        return false;
    *ret = slice_sub(*text, 0, n);
    *text = slice_skip(*text, n + 1);
    if (ret->n && ret->p[ret->n - 1] == '\r')
        ret->n--;
    return true;
}

static bool all_match(struct talk *t, struct slice got, struct slice expected)
{
    struct slice line, pattern;

    while (next_line(&expected, &pattern))
        if (!next_line(&got, &line) || !transcript_match(pattern, line, &t->catches))
            return false;
    return !next_line(&got, &line);
}

static bool any_matches(struct talk *t, struct slice got, const char *pattern)
{
    struct slice line;

    while (next_line(&got, &line))
        if (transcript_match(slice_str(pattern), line, &t->catches))
            return true;
    return false;
}

void talk_is(struct talk *t, unsigned n, const char *line, const char *expected)
{
    const char *got = talk(t, n, line);

    cr_assert(all_match(t, slice_str(got), slice_str(expected)),
              "C: %s\nis answered\n%s\nand should be\n%s", line, got, expected);
}

void talk_has(struct talk *t, unsigned n, const char *line, const char *expected)
{
    const char *got = talk(t, n, line);

    cr_assert(any_matches(t, slice_str(got), expected), "C: %s\nis answered\n%s\nwithout\n%s", line,
              got, expected);
}

void talk_lacks(struct talk *t, unsigned n, const char *line, const char *pattern)
{
    const char *got = talk(t, n, line);

    cr_assert(!any_matches(t, slice_str(got), pattern), "C: %s\nis answered\n%s\nwith\n%s", line,
              got, pattern);
}

bool talk_closed(struct talk *t, unsigned n)
{
    return connection(t, n)->closed;
}

size_t talk_steps(struct talk *t, unsigned n)
{
    return connection(t, n)->steps;
}
