/* SPDX-License-Identifier: MPL-2.0 */
/* The machine reads octets in one of six states:
 *
 *   HEADER_START  at the start of a header line
 *   HEADER_LINE   within one
 *   BODY_START    at the start of a body line, a line end before it may be held
 *   BODY_LINE     within one
 *   BODY_CR       within one, behind a CR that may be the first half of a line end
 *   SKIP_LINE     behind a boundary, up to the line end
 *
 * What is not decided yet is held in `hold`: the line end before the current line (it belongs to a
 * boundary, if one follows) and the first octets of a line that may be a boundary. A boundary is
 * decided at its line end or after LINE_MAX octets, so the hold is small and every cut of the input
 * takes the same way. Octets that cannot matter are passed on in runs.
 */
#include "lib/mime/parse.h"

#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/mime/part.h"

#define LINE_MAX_ (2 + PART_BOUNDARY_MAX + 4) /* dashes, boundary, dashes and line end */

enum state {
    HEADER_START,
    HEADER_LINE,
    BODY_START,
    BODY_LINE,
    BODY_CR,
    SKIP_LINE,
};

struct boundary {
    struct mime_part *part;
    struct slice text;
};

struct mime_parser {
    struct mime_limits limits;
    struct mime_sink sink;
    struct arena arena;
    struct buf header, scratch;
    uint32_t headers_left; /* octets of header blocks that may still be kept */

    enum state state;
    struct mime_part *root, *part; /* part: the innermost open one */
    uint32_t depth, parts;
    VEC(struct boundary) boundaries; /* the innermost last */

    uint64_t pos; /* octets taken from the input, the hold with them */
    uint64_t lf;  /* LFs in them */
    uint8_t hold[2 + LINE_MAX_ + 2];
    uint8_t nhold, nnl;  /* octets held; how many of them are the line end before the line */
    uint8_t header_nl;   /* octets of the line end before this header line */
    bool header_last_cr; /* the last octet of the header so far is CR */
    uint64_t blank_at;   /* where the last empty line that ended a header block ends */
    uint8_t blank_nl;    /* octets of it */
    bool header_cut;     /* the header block is larger than what is kept */
};

static void emit(struct mime_parser *p, enum mime_bytes kind, const uint8_t *s, size_t n)
{
    if (n > 0 && p->sink.bytes)
        p->sink.bytes(p->sink.ctx, p->part, kind, slice_of(s, n));
}

static void emit_body(struct mime_parser *p, const uint8_t *s, size_t n)
{
    emit(p, p->part->kind == MIME_LEAF ? MIME_BYTES_BODY : MIME_BYTES_GLUE, s, n);
}

/* Is there any boundary to look for? At the limit of parts all that follows is one body. */
static bool looking(const struct mime_parser *p)
{
    return p->boundaries.n > 0 && p->parts < p->limits.parts;
}

/* --- the tree --- */

static void part_append(struct mime_parser *p, uint64_t at)
{
    struct mime_part *part = ARENA_NEW(&p->arena, struct mime_part), **to;

    part->parent = p->part;
    part->header_start = at;
    if (p->part) {
        /* the last child is found by p->part->next, which no open part uses yet */
        to = p->part->next ? &p->part->next->next : &p->part->child;
        *to = part;
        p->part->next = part;
    } else {
        p->root = part;
    }
    p->part = part;
    p->depth++;
    p->parts++;
    p->header.n = 0;
    p->header_cut = false;
    p->header_nl = 0;
    p->header_last_cr = false;
    p->state = HEADER_START;
}

/* `lines` has held the LFs before the body until now. */
static void part_close(struct mime_parser *p, uint64_t end, uint64_t lf)
{
    struct mime_part *part = p->part;

    part->end = end < part->body_start ? part->body_start : end;
    part->lines = lf > part->lines ? lf - part->lines : 0;
    part->next = NULL;
    p->part = part->parent;
    p->depth--;
}

static void keep_header(struct mime_parser *p)
{
    struct mime_part *part = p->part;
    size_t n = p->header.n;

    part->header_cut = p->header_cut;
    if (n > p->headers_left) {
        n = 0;
        part->header_cut = part->opaque = true;
    }
    p->headers_left -= (uint32_t)n;
    part->header = arena_slice(&p->arena, slice_of(p->header.p, n));
}

/* The header block is complete; `at` and `lf` are where the body starts. `blank`: an empty line
 * ended it (only then does a multipart begin). Leaves the machine in the state of the body, or of
 * the header of the message within. */
static void header_end(struct mime_parser *p, uint64_t at, uint64_t lf, bool blank)
{
    struct mime_part *part = p->part;
    struct slice boundary;
    bool deep = p->depth >= p->limits.depth;

    keep_header(p);
    part->body_start = at;
    part->lines = lf;
    part_read_header(&p->arena, &p->scratch, part, &boundary);
    if (part->kind == MIME_MESSAGE && (deep || p->parts >= p->limits.parts))
        part->opaque = true;
    if (part->kind == MIME_MULTIPART && boundary.p && blank && !part->opaque) {
        if (deep)
            part->opaque = true;
        else
            *VEC_PUSH(&p->boundaries) = (struct boundary){part, boundary};
    }
    if (part->opaque) {
        part->kind = MIME_LEAF;
        part->is_text = false;
    }
    if (p->sink.header)
        p->sink.header(p->sink.ctx, part);
    p->state = BODY_START;
    if (part->kind == MIME_MESSAGE)
        part_append(p, at);
}

/* --- boundaries --- */

/* Which boundary the line (without its dashes and line end) is, or -1. */
static ssize_t boundary_match(const struct mime_parser *p, struct slice line)
{
    bool dashes = line.n > 2 && line.p[line.n - 1] == '-' && line.p[line.n - 2] == '-';
    ssize_t best = -1;
    size_t best_n = 0;

    for (size_t i = p->boundaries.n; i-- > 0;) {
        struct slice text = p->boundaries.items[i].text;

        if (!slice_starts(line, text) || (best >= 0 && text.n <= best_n))
            continue;
        best = (ssize_t)i;
        best_n = text.n;
        /* exactly this one, or its end: there can be no better one */
        if (text.n == line.n || (dashes && text.n == line.n - 2))
            break;
    }
    return best;
}

/* The held line as boundary_match wants it. */
static struct slice held_line(const struct mime_parser *p)
{
    struct slice line = slice_of(p->hold + p->nnl, (size_t)(p->nhold - p->nnl));

    if (line.n > 0 && line.p[line.n - 1] == '\n') {
        line.n--;
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
    }
    return slice_sub(line, 2, 2 + PART_BOUNDARY_MAX + 4);
}

static void after_boundary_line(struct mime_parser *p)
{
    p->nhold = p->nnl = 0;
    if (p->boundaries.n > 0 && p->boundaries.items[p->boundaries.n - 1].part == p->part)
        part_append(p, p->pos);
    else
        p->state = BODY_START; /* epilogue */
}

/* A boundary right behind the empty line that ends a header: that line end belongs to the boundary
 * (RFC 2046: body-part := MIME-part-headers [CRLF *OCTET]), and the part has no body at all. The
 * same goes for a message/rfc822 whose message would have started there. */
static void close_empty(struct mime_parser *p, const struct mime_part *outer, uint64_t lf)
{
    uint64_t at = p->blank_at - p->blank_nl;
    struct mime_part *part;

    while (p->part != outer && p->part->body_start == p->blank_at) {
        part = p->part;
        part->body_start = at;
        if (part->header_start == p->blank_at)
            part->header_start = at;
        else if (!part->header_cut)
            part->header.n -= p->blank_nl;
        part_close(p, at, lf - 1);
    }
}

/* The hold is a line end and boundary number i. `end`, `lf`: where the bodies before it end. */
static void boundary_take(struct mime_parser *p, size_t i, uint64_t end, uint64_t lf)
{
    struct mime_part *part = p->boundaries.items[i].part;
    size_t n = p->boundaries.items[i].text.n;
    const uint8_t *line = p->hold + p->nnl, *behind = line + 2 + n;
    bool last = p->hold + p->nhold >= behind + 2 && behind[0] == '-' && behind[1] == '-';

    if (p->blank_nl > 0 && p->nnl == 0 && end == p->blank_at)
        close_empty(p, part, lf);
    while (p->part != part)
        part_close(p, end, lf);
    p->boundaries.n = last ? i : i + 1;
    emit(p, MIME_BYTES_GLUE, p->hold, p->nhold);
    if (p->hold[p->nhold - 1] == '\n') {
        after_boundary_line(p);
    } else {
        p->nhold = p->nnl = 0;
        p->state = SKIP_LINE;
    }
}

/* --- header lines --- */

static void header_add(struct mime_parser *p, const uint8_t *s, size_t n)
{
    size_t room = p->limits.header_kept - p->header.n;

    if (n == 0)
        return;
    buf_add(&p->header, s, MIN(n, room));
    p->header_cut |= n > room;
    emit(p, MIME_BYTES_HEADER, s, n);
    if (s[n - 1] == '\n')
        p->header_nl = (n > 1 ? s[n - 2] == '\r' : p->header_last_cr) ? 2 : 1;
    p->header_last_cr = s[n - 1] == '\r';
}

/* What is held is header text after all. */
static void header_release(struct mime_parser *p)
{
    bool line_end = p->hold[p->nhold - 1] == '\n';

    header_add(p, p->hold, p->nhold);
    p->nhold = 0;
    p->state = line_end ? HEADER_START : HEADER_LINE;
}

/* The held line is boundary i, within a header. RFC 2046 wants an empty line before a body, but
 * parts without one, header and all, are common. The line end before the boundary is taken from
 * the header; an outer message/rfc822 keeps it in its body. */
static void header_interrupted(struct mime_parser *p, size_t i)
{
    uint64_t line_start = p->pos - p->nhold, at = line_start - p->header_nl;
    uint64_t lf = p->lf - (p->hold[p->nhold - 1] == '\n');
    struct mime_part *outer = p->boundaries.items[i].part, *part = p->part, *inner;

    header_end(p, at, lf - (p->header_nl > 0), false);
    if (p->state == HEADER_START)
        header_end(p, at, lf - (p->header_nl > 0), false);
    for (bool last = at == line_start; !last && p->part != outer;) {
        inner = p->part;
        last = inner == part;
        part_close(p, at, lf - (at < line_start));
    }
    boundary_take(p, i, line_start, lf);
}

/* A line that starts with two dashes has been held to its end, or as far as it matters. */
static void header_line_decide(struct mime_parser *p)
{
    ssize_t i = boundary_match(p, held_line(p));

    if (i >= 0)
        header_interrupted(p, (size_t)i);
    else
        header_release(p);
}

static void header_start_byte(struct mime_parser *p, uint8_t c)
{
    p->hold[p->nhold++] = c;
    p->pos++;
    p->lf += c == '\n';
    if (c == '\n' && (p->nhold == 1 || (p->nhold == 2 && p->hold[0] == '\r'))) {
        header_add(p, p->hold, p->nhold);
        p->blank_at = p->pos;
        p->blank_nl = p->nhold;
        p->nhold = 0;
        header_end(p, p->pos, p->lf, true);
    } else if (p->nhold == 1 && (c == '\r' || (c == '-' && looking(p)))) {
        return;
    } else if (p->hold[0] == '-' && p->hold[1] == '-' && looking(p) && p->nhold >= 2) {
        if (c == '\n' || p->nhold == LINE_MAX_)
            header_line_decide(p);
    } else {
        header_release(p);
    }
}

/* Runs of whole lines whose first octets say that they are ordinary. */
static const uint8_t *header_lines(struct mime_parser *p, const uint8_t *s, const uint8_t *end)
{
    const uint8_t *from = s, *lf;

    while ((lf = memchr(s, '\n', (size_t)(end - s)))) {
        s = lf + 1;
        p->lf++;
        if (s == end || *s == '\r' || *s == '\n' || *s == '-') {
            p->state = HEADER_START;
            break;
        }
    }
    if (!lf)
        s = end;
    p->pos += (uint64_t)(s - from);
    header_add(p, from, (size_t)(s - from));
    return s;
}

/* --- body lines --- */

static void hold_set(struct mime_parser *p, const uint8_t *s, uint8_t n)
{
    memmove(p->hold, s, n);
    p->nhold = p->nnl = n;
}

/* What is held is body text after all; its own line end or CR stays held. */
static void body_release(struct mime_parser *p)
{
    uint8_t last = p->hold[p->nhold - 1], keep = 0;

    p->state = BODY_LINE;
    if (last == '\n') {
        keep = p->nhold > p->nnl + 1 && p->hold[p->nhold - 2] == '\r' ? 2 : 1;
        p->state = BODY_START;
    } else if (last == '\r' && p->nhold > p->nnl) {
        keep = 1;
        p->state = BODY_CR;
    }
    emit_body(p, p->hold, (size_t)(p->nhold - keep));
    hold_set(p, p->hold + p->nhold - keep, keep);
}

static void body_line_decide(struct mime_parser *p)
{
    ssize_t i = boundary_match(p, held_line(p));
    uint64_t lf = p->lf - (p->hold[p->nhold - 1] == '\n' && p->nhold > p->nnl) - (p->nnl > 0);

    if (i >= 0)
        boundary_take(p, (size_t)i, p->pos - p->nhold, lf);
    else
        body_release(p);
}

static void body_start_byte(struct mime_parser *p, uint8_t c)
{
    uint8_t n;

    p->hold[p->nhold++] = c;
    p->pos++;
    p->lf += c == '\n';
    n = (uint8_t)(p->nhold - p->nnl);
    if (!looking(p) || (n <= 2 && c != '-'))
        body_release(p);
    else if (n > 2 && (c == '\n' || n == LINE_MAX_))
        body_line_decide(p);
}

static void body_cr_byte(struct mime_parser *p, uint8_t c)
{
    if (c == '\n') {
        p->hold[1] = c;
        p->nhold = p->nnl = 2;
        p->pos++;
        p->lf++;
        p->state = BODY_START;
    } else {
        emit_body(p, p->hold, 1);
        p->nhold = p->nnl = 0;
        p->state = BODY_LINE;
    }
}

/* Nothing to look for: count and pass on. */
static const uint8_t *body_rest(struct mime_parser *p, const uint8_t *s, const uint8_t *end)
{
    emit_body(p, s, (size_t)(end - s));
    p->pos += (uint64_t)(end - s);
    for (; (s = memchr(s, '\n', (size_t)(end - s))); s++)
        p->lf++;
    return end;
}

/* Within a line: runs of lines up to one that may be a boundary, or the end of this input. */
static const uint8_t *body_lines(struct mime_parser *p, const uint8_t *s, const uint8_t *end)
{
    const uint8_t *from = s, *lf;
    uint8_t nl = 0;

    if (!looking(p))
        return body_rest(p, s, end);
    while ((lf = memchr(s, '\n', (size_t)(end - s)))) {
        p->lf++;
        s = lf + 1;
        if (s == end || *s == '-') {
            nl = lf > from && lf[-1] == '\r' ? 2 : 1;
            p->state = BODY_START;
            break;
        }
    }
    if (!lf) {
        s = end;
        if (end[-1] == '\r') {
            nl = 1;
            p->state = BODY_CR;
        }
    }
    emit_body(p, from, (size_t)(s - from) - nl);
    p->pos += (uint64_t)(s - from);
    hold_set(p, s - nl, nl);
    return s;
}

static const uint8_t *skip_line(struct mime_parser *p, const uint8_t *s, const uint8_t *end)
{
    const uint8_t *lf = memchr(s, '\n', (size_t)(end - s)), *stop = lf ? lf + 1 : end;

    emit(p, MIME_BYTES_GLUE, s, (size_t)(stop - s));
    p->pos += (uint64_t)(stop - s);
    if (lf) {
        p->lf++;
        after_boundary_line(p);
    }
    return stop;
}

void mime_parser_feed(struct mime_parser *p, struct slice bytes)
{
    const uint8_t *s = bytes.p, *end = s + bytes.n;

    while (s < end) {
        switch (p->state) {
        case HEADER_START:
            header_start_byte(p, *s++);
            break;
        case HEADER_LINE:
            s = header_lines(p, s, end);
            break;
        case BODY_START:
            body_start_byte(p, *s++);
            break;
        case BODY_CR:
            body_cr_byte(p, *s);
            s += p->state == BODY_START;
            break;
        case BODY_LINE:
            s = body_lines(p, s, end);
            break;
        case SKIP_LINE:
            s = skip_line(p, s, end);
            break;
        }
    }
}

struct mime_parser *mime_parser_new(const struct mime_limits *limits, const struct mime_sink *sink)
{
    struct mime_parser *p = NEW(struct mime_parser);

    p->limits = limits ? *limits : MIME_LIMITS_DEFAULT;
    if (sink)
        p->sink = *sink;
    p->headers_left = p->limits.headers_kept;
    p->header = buf_make(BUF_MAX_DEFAULT);
    p->scratch = buf_make(BUF_MAX_DEFAULT);
    part_append(p, 0);
    return p;
}

/* The input ends: what is held is decided with what there is. */
static void hold_end(struct mime_parser *p)
{
    size_t n = (size_t)(p->nhold - p->nnl);
    bool dashes = n >= 2 && p->hold[p->nnl] == '-' && p->hold[p->nnl + 1] == '-' && looking(p);

    if (p->nhold == 0)
        return;
    if (p->state == HEADER_START) {
        if (dashes)
            header_line_decide(p);
        else
            header_release(p);
    } else if (p->state == BODY_START && dashes) {
        body_line_decide(p);
    }
    if (p->nhold > 0) {
        emit_body(p, p->hold, p->nhold);
        p->nhold = p->nnl = 0;
    }
}

const struct mime_part *mime_parser_finish(struct mime_parser *p)
{
    hold_end(p);
    while (p->state == HEADER_START || p->state == HEADER_LINE)
        header_end(p, p->pos, p->lf, false);
    while (p->part)
        part_close(p, p->pos, p->lf);
    p->boundaries.n = 0;
    return p->root;
}

void mime_parser_free(struct mime_parser *p)
{
    if (!p)
        return;
    VEC_DONE(&p->boundaries);
    buf_done(&p->header);
    buf_done(&p->scratch);
    arena_done(&p->arena);
    free(p);
}

const struct mime_part *mime_part_find(const struct mime_part *root, const uint32_t *numbers,
                                       size_t n)
{
    const struct mime_part *at = root;

    for (size_t i = 0; i < n && at; i++) {
        uint32_t number = numbers[i];

        if (i > 0 && at->kind == MIME_LEAF)
            return NULL;
        if (i > 0 && at->kind == MIME_MESSAGE)
            at = at->child;
        if (at->kind == MIME_MULTIPART) {
            for (at = number ? at->child : NULL; at && number > 1; number--)
                at = at->next;
        } else if (number != 1) {
            return NULL; /* a message that is no multipart is its own part 1 */
        }
    }
    return at;
}
