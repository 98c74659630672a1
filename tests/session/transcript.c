/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/session/transcript.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"

/* --- reading -----------------------------------------------------------------------------------
 */

static bool read_file(const char *path, struct buf *out)
{
    char chunk[4096];
    size_t n;
    FILE *f = fopen(path, "rb");

    if (!f)
        return false;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(out, chunk, n);
    fclose(f);
    return true;
}

/* "C: x", "C2- x", "S* x": the letter, a number, a sign, a blank. */
static bool parse_line(struct slice line, struct transcript_step *step)
{
    size_t i = 1;

    step->connection = 1;
    if (line.p[0] == '@') {
        step->kind = STEP_DIRECTIVE;
        step->text = slice_trim(slice_skip(line, 1));
        return true;
    }
    if (line.n < 2 || (line.p[0] != 'C' && line.p[0] != 'S'))
        return false;
    if (byte_is_digit(line.p[i]))
        step->connection = line.p[i++] - '0';
    if (i == line.n || !strchr(line.p[0] == 'C' ? ":-" : ":*", line.p[i]))
        return false;
    step->kind = line.p[0] == 'C' ? STEP_SEND : line.p[i] == ':' ? STEP_EXPECT : STEP_SKIP_TO;
    step->no_line_end = line.p[i] == '-';
    i++;
    if (i < line.n && line.p[i] != ' ')
        return false;
    step->text = slice_skip(line, i + 1);
    return true;
}

bool transcript_load(struct transcript *t, const char *path)
{
    VEC(struct transcript_step) steps = {0};
    struct slice rest;
    unsigned number = 0;

    *t = (struct transcript){.path = path, .bytes = buf_make(BUF_MAX_DEFAULT)};
    if (!read_file(path, &t->bytes)) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return false;
    }
    for (rest = buf_slice(&t->bytes); rest.n;) {
        ssize_t end = slice_find(rest, '\n');
        struct slice line = slice_sub(rest, 0, end < 0 ? rest.n : (size_t)end);
        struct transcript_step step = {.line = ++number};

        rest = slice_skip(rest, line.n + 1);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        if (!parse_line(line, &step)) {
            fprintf(stderr, "%s:%u: neither C:, S:, @ nor #\n", path, number);
            VEC_DONE(&steps);
            return false;
        }
        *VEC_PUSH(&steps) = step;
    }
    t->steps = steps.items;
    t->n = steps.n;
    return true;
}

void transcript_done(struct transcript *t)
{
    buf_done(&t->bytes);
    free(t->steps);
    t->steps = NULL;
}

/* --- ${...} ------------------------------------------------------------------------------------
 */

/* The inside of "${...}" at the front; its length with the braces in *ret_n. */
static bool token(struct slice s, struct slice *ret, size_t *ret_n)
{
    ssize_t end;

    if (!slice_starts(s, S("${")))
        return false;
    end = slice_find(s, '}');
    if (end < 0)
        return false;
    *ret = slice_sub(s, 2, (size_t)end);
    *ret_n = (size_t)end + 1;
    return true;
}

static const char *caught(const struct catches *c, struct slice name)
{
    for (size_t i = 0; i < c->n; i++)
        if (slice_eq(name, slice_str(c->items[i].name)))
            return c->items[i].value;
    return NULL;
}

static bool expand_token(struct slice t, const struct catches *c, struct buf *out)
{
    const char *value;
    uint64_t times;
    ssize_t colon;

    if (slice_starts(t, S("x:")))
        return hex_decode(out, slice_skip(t, 2)) == 0;
    if (slice_eq(t, S("crlf"))) {
        buf_add_str(out, "\r\n");
        return true;
    }
    if (slice_starts(t, S("repeat:"))) {
        t = slice_skip(t, 7);
        colon = slice_find(t, ':');
        if (colon < 0 || !slice_to_u64(slice_sub(t, 0, (size_t)colon), 100000000, &times))
            return false;
        while (times-- > 0)
            buf_add_slice(out, slice_skip(t, (size_t)colon + 1));
        return true;
    }
    value = caught(c, t);
    if (value)
        buf_add_str(out, value);
    return value != NULL;
}

bool transcript_expand(struct slice text, const struct catches *c, struct buf *out)
{
    struct slice t;
    size_t n;

    while (text.n) {
        if (!token(text, &t, &n)) {
            buf_add_byte(out, text.p[0]);
            n = 1;
        } else if (!expand_token(t, c, out)) {
            return false;
        }
        text = slice_skip(text, n);
    }
    return true;
}

static void keep(struct catches *c, struct slice name, struct slice value)
{
    size_t i = 0;

    while (i < c->n && !slice_eq(name, slice_str(c->items[i].name)))
        i++;
    if (i == CATCHES_MAX)
        return;
    if (i == c->n)
        c->n++;
    snprintf(c->items[i].name, sizeof c->items[i].name, "%.*s", SLICE_FMT(name));
    snprintf(c->items[i].value, sizeof c->items[i].value, "%.*s", SLICE_FMT(value));
}

/* A wildcard: tries all lengths, the shortest first. */
static bool match_wild(struct slice t, struct slice rest, struct slice line, struct catches *c)
{
    ssize_t equals = slice_find(t, '=');
    struct slice name = slice_sub(t, 0, equals < 0 ? 0 : (size_t)equals);
    bool number = t.p[t.n - 1] == 'n';

    for (size_t n = number; n <= line.n; n++) {
        struct catches before = *c;

        if (number && !byte_is_digit(line.p[n - 1]))
            return false;
        if (name.n)
            keep(c, name, slice_sub(line, 0, n));
        if ((!number || n == line.n || !byte_is_digit(line.p[n])) &&
            transcript_match(rest, slice_skip(line, n), c))
            return true;
        *c = before;
    }
    return false;
}

bool transcript_match(struct slice pattern, struct slice line, struct catches *c)
{
    struct buf text = buf_make(BUF_MAX_DEFAULT);
    struct slice t;
    size_t n;
    bool same;

    while (pattern.n) {
        if (!token(pattern, &t, &n)) {
            if (!line.n || line.p[0] != pattern.p[0])
                return false;
            pattern = slice_skip(pattern, 1);
            line = slice_skip(line, 1);
            continue;
        }
        if (t.n && (slice_eq(t, S("*")) || slice_eq(t, S("n")) || slice_find(t, '=') > 0))
            return match_wild(t, slice_skip(pattern, n), line, c);
        same = expand_token(t, c, &text) && slice_starts(line, buf_slice(&text));
        line = slice_skip(line, text.n);
        buf_done(&text);
        if (!same)
            return false;
        pattern = slice_skip(pattern, n);
    }
    return line.n == 0;
}
