/* SPDX-License-Identifier: MPL-2.0 */
/* The framing of commands: lines, and the literals that join them.
 *
 * A line that ends in "{n}" or "{n+}" goes on behind n bytes. That can be seen without knowing the
 * grammar, since neither a quoted string nor anything else of IMAP may hold a line end; a line that
 * ends so without a literal having a place there is refused by parse_args. So the search for the
 * end of a command is a scan for LF and jumps over literals, and every byte is looked at once by
 * it. The prefix is parsed once for each literal: that is bounded by limits.literals.
 */
#include "protocols/imap/parser.h"

#include "lib/base/mem.h"

/* A literal above the limits that comes unasked is read and dropped (RFC 7888 section 4), but not
 * without end: what is larger than this many times the largest message ends the connection. */
#define DROP_FACTOR 4
#define NAME_MAX_   32

void parser_init(struct parser *p, const struct parse_limits *limits)
{
    *p = (struct parser){.limits = limits};
}

void parser_set_mode(struct parser *p, enum parser_mode mode)
{
    p->mode = mode;
    p->scanned = p->line = 0;
    p->literals = 0;
}

bool parser_ready(const struct parser *p, struct slice in)
{
    if (p->skip_bytes || p->skip_line)
        return in.n > 0;
    if (p->mode == PARSER_BYTES)
        return in.n > 0 || p->left == 0;
    if (in.n >= p->limits->command)
        return true;
    return in.n > p->scanned && slice_find(slice_skip(in, p->scanned), '\n') >= 0;
}

/* Does the text (without its line end) end in a literal's head? */
static bool literal_at_end(struct slice s, uint64_t *ret_n, bool *ret_sync)
{
    size_t end = s.n, from;

    if (end < 3 || s.p[end - 1] != '}')
        return false;
    end--;
    *ret_sync = s.p[end - 1] != '+';
    if (!*ret_sync)
        end--;
    from = end;
    while (from > 0 && end - from < 20 && byte_is_digit(s.p[from - 1]))
        from--;
    if (from == 0 || s.p[from - 1] != '{')
        return false;
    return slice_to_u64(slice_sub(s, from, end), INT64_MAX, ret_n);
}

static struct slice without_line_end(struct slice s)
{
    if (s.n && s.p[s.n - 1] == '\n')
        s.n--;
    if (s.n && s.p[s.n - 1] == '\r')
        s.n--;
    return s;
}

/* --- dropping ----------------------------------------------------------------------------------
 */

static void keep_tail(struct parser *p, struct slice s)
{
    size_t keep;

    if (s.n >= sizeof p->tail) {
        memcpy(p->tail, s.p + s.n - sizeof p->tail, sizeof p->tail);
        p->n_tail = sizeof p->tail;
        return;
    }
    keep = MIN((size_t)p->n_tail, sizeof p->tail - s.n);
    memmove(p->tail, p->tail + p->n_tail - keep, keep);
    if (s.n)
        memcpy(p->tail + keep, s.p, s.n);
    p->n_tail = (uint8_t)(keep + s.n);
}

static size_t drop(struct parser *p, struct slice in)
{
    ssize_t end;
    uint64_t n;
    bool sync;

    if (p->skip_bytes) {
        n = MIN(p->skip_bytes, (uint64_t)in.n);
        p->skip_bytes -= n;
        return (size_t)n;
    }
    end = slice_find(in, '\n');
    keep_tail(p, slice_sub(in, 0, end < 0 ? in.n : (size_t)end + 1));
    if (end < 0)
        return in.n;
    if (literal_at_end(without_line_end(slice_of(p->tail, p->n_tail)), &n, &sync) && !sync)
        p->skip_bytes = n;
    else
        p->skip_line = false;
    p->n_tail = 0;
    return (size_t)end + 1;
}

static void begin_drop(struct parser *p, uint64_t bytes, bool line)
{
    p->skip_bytes = bytes;
    p->skip_line = line;
    p->n_tail = 0;
    parser_set_mode(p, PARSER_COMMAND);
}

void parser_drop(struct parser *p, bool coming)
{
    begin_drop(p, coming ? p->left : 0, coming);
    p->left = 0;
}

void parser_took(struct parser *p, size_t n, const struct rule *more)
{
    p->left -= n;
    if (p->left == 0) {
        parser_set_mode(p, PARSER_MORE);
        p->more = more;
    }
}

/* --- tag and name ------------------------------------------------------------------------------
 */

static bool is_tag_char(uint8_t c)
{
    return c > ' ' && c < 0x7f && !strchr("(){%*\"\\+", c);
}

static void read_tag(struct slice in, char ret_tag[PARSER_TAG_MAX + 1], size_t *ret_pos)
{
    size_t n = 0;

    while (n < in.n && n <= PARSER_TAG_MAX && is_tag_char(in.p[n]))
        n++;
    *ret_pos = n;
    /* without a blank behind it, it may be anything but a tag */
    if (n == 0 || n > PARSER_TAG_MAX || n == in.n ||
        (in.p[n] != ' ' && in.p[n] != '\r' && in.p[n] != '\n')) {
        memcpy(ret_tag, "*", 2);
        *ret_pos = 0;
        return;
    }
    memcpy(ret_tag, in.p, n);
    ret_tag[n] = '\0';
}

static size_t read_word(struct slice in, size_t pos, char *name, size_t *n)
{
    while (pos < in.n && *n < NAME_MAX_ &&
           (byte_is_alpha(in.p[pos]) || byte_is_digit(in.p[pos]) || in.p[pos] == '-'))
        name[(*n)++] = (char)byte_upper(in.p[pos++]);
    return pos;
}

static const struct rule *read_head(struct slice in, parser_find find, void *ctx,
                                    struct parsed *ret, size_t *ret_pos, struct error *err)
{
    char name[NAME_MAX_ + 1];
    size_t n = 0, pos;

    read_tag(in, ret->tag, &pos);
    if (pos == 0 || in.p[pos] != ' ') {
        error_set(err, ERR_INVALID, "A command is a tag, a blank, a name, and its arguments");
        return NULL;
    }
    pos = read_word(in, pos + 1, name, &n);
    if (n == 3 && memcmp(name, "UID", 3) == 0 && pos < in.n && in.p[pos] == ' ') {
        name[n++] = ' ';
        pos = read_word(in, pos + 1, name, &n);
    }
    if (n == 0 || pos == in.n || (in.p[pos] != ' ' && in.p[pos] != '\r' && in.p[pos] != '\n')) {
        error_set(err, ERR_INVALID, "No command of this name");
        return NULL;
    }
    *ret_pos = pos;
    return find(ctx, slice_of(name, n), &ret->verb, err);
}

/* --- whole commands ----------------------------------------------------------------------------
 */

static enum parse_result read_command(struct parser *p, struct slice in, parser_find find,
                                      void *ctx, struct arena *arena, struct parsed *ret,
                                      struct error *err)
{
    const struct rule *rules = p->more;
    size_t pos = 0;

    if (p->mode == PARSER_COMMAND) {
        rules = read_head(in, find, ctx, ret, &pos, err);
        if (!rules)
            return PARSE_WRONG;
    }
    return parse_args(slice_skip(in, pos), rules, p->limits, arena, &ret->args, &ret->n_args, err);
}

static enum parser_event refuse(struct parser *p, uint64_t bytes, bool line, struct error *err)
{
    if (bytes > p->limits->stream * DROP_FACTOR) {
        error_set(err, ERR_TOOBIG, "This literal is too large to be read and dropped");
        return PARSER_FATAL;
    }
    begin_drop(p, bytes, line);
    return PARSER_BAD;
}

static enum parser_event too_long(struct parser *p, struct slice in, struct parsed *ret,
                                  size_t *ret_used, struct error *err)
{
    size_t pos, line = p->line;

    if (p->mode == PARSER_COMMAND)
        read_tag(in, ret->tag, &pos);
    error_set(err, ERR_LIMIT, "A command may be %u bytes long", p->limits->command);
    begin_drop(p, 0, true);
    *ret_used = line + drop(p, slice_skip(in, line));
    return PARSER_BAD;
}

static bool too_large_unasked(const struct parser *p, uint64_t n)
{
    return p->limits->unasked && n > p->limits->unasked;
}

/* The line up to `end` (behind its LF) ends in a literal's head. */
static enum parser_event at_literal(struct parser *p, struct slice in, size_t end, uint64_t n,
                                    bool sync, parser_find find, void *ctx, struct arena *arena,
                                    struct parsed *ret, size_t *ret_used, struct error *err)
{
    struct slice head = slice_sub(in, 0, end);
    CLEANUP(arena_done) struct arena scratch = {0};
    enum parse_result r = read_command(p, head, find, ctx, &scratch, ret, err);

    *ret_used = end;
    if (r == PARSE_STREAM && !sync && too_large_unasked(p, n)) {
        error_set(err, ERR_TOOBIG, "This literal has to wait for a continuation request");
        return refuse(p, n, true, err);
    }
    if (r == PARSE_STREAM) {
        r = read_command(p, head, find, ctx, arena, ret, err);
        ret->stream = p->left = n;
        ret->stream_sync = sync;
        parser_set_mode(p, PARSER_BYTES);
        return PARSER_STREAM;
    }
    if (r == PARSE_NEED && n > p->limits->literal) {
        error_set(err, ERR_TOOBIG, "This literal may be %u bytes long", p->limits->literal);
        r = PARSE_WRONG;
    } else if (r == PARSE_NEED && (n > p->limits->command || end + n >= p->limits->command)) {
        error_set(err, ERR_LIMIT, "A command may be %u bytes long", p->limits->command);
        r = PARSE_WRONG;
    } else if (r == PARSE_NEED && ++p->literals > p->limits->literals) {
        error_set(err, ERR_LIMIT, "A command may have %u literals", p->limits->literals);
        r = PARSE_WRONG;
    }
    if (r == PARSE_NEED && !sync && too_large_unasked(p, n)) {
        error_set(err, ERR_TOOBIG, "This literal has to wait for a continuation request");
        r = PARSE_WRONG;
    }
    if (r != PARSE_NEED)
        return refuse(p, sync ? 0 : n, !sync, err);
    *ret_used = 0;
    p->scanned = p->line = end + (size_t)n;
    return sync ? PARSER_CONTINUE : PARSER_WAIT;
}

static enum parser_event next_line(struct parser *p, struct slice in, size_t end,
                                   struct parsed *ret, size_t *ret_used)
{
    ret->line = without_line_end(slice_sub(in, 0, end));
    *ret_used = end;
    p->scanned = p->line = 0;
    return PARSER_DONE;
}

enum parser_event parser_next(struct parser *p, struct slice in, parser_find find, void *ctx,
                              struct arena *arena, struct parsed *ret, size_t *ret_used,
                              struct error *err)
{
    size_t end;
    ssize_t lf;
    uint64_t n;
    bool sync;

    *ret_used = 0;
    if (p->skip_bytes || p->skip_line) {
        *ret_used = drop(p, in);
        return PARSER_WAIT;
    }
    for (;;) {
        enum parser_event event;

        lf = in.n > p->scanned ? slice_find(slice_skip(in, p->scanned), '\n') : -1;
        end = lf < 0 ? in.n : p->scanned + (size_t)lf + 1;
        if (end > p->limits->command || (lf < 0 && in.n >= p->limits->command))
            return too_long(p, in, ret, ret_used, err);
        if (lf < 0) {
            p->scanned = MAX(p->scanned, in.n);
            return PARSER_WAIT;
        }
        if (p->mode == PARSER_LINE)
            return next_line(p, in, end, ret, ret_used);
        if (!literal_at_end(without_line_end(slice_sub(in, p->line, end)), &n, &sync))
            break;
        event = at_literal(p, in, end, n, sync, find, ctx, arena, ret, ret_used, err);
        if (event != PARSER_WAIT)
            return event;
    }
    *ret_used = end;
    if (read_command(p, slice_sub(in, 0, end), find, ctx, arena, ret, err) != PARSE_OK) {
        parser_set_mode(p, PARSER_COMMAND);
        return PARSER_BAD;
    }
    parser_set_mode(p, PARSER_COMMAND);
    return PARSER_DONE;
}
