/* SPDX-License-Identifier: MPL-2.0 */
/* The parser of IMAP commands alone. The first byte says how the rest is cut; however it is cut,
 * the same must come out as in one piece. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

static const struct parse_limits limits = {
    .command = 2000,
    .literal = 300,
    .stream = 500,
    .literals = 8,
    .nesting = 10,
    .arguments = 200,
    .set = 30,
};

static void tell_args(const struct arg *args, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "(%d %d %d %.*s", (int)args[i].kind, args[i].word, (int)args[i].malformed,
                   SLICE_FMT(args[i].text));
        tell_args(args[i].items, args[i].n, out);
        buf_add_byte(out, ')');
    }
}

static bool take_bytes(struct parser *p, struct buf *in, struct buf *out)
{
    size_t n = MIN((size_t)p->left, in->n);

    buf_add(out, in->p, n);
    parser_took(p, n, imap_rules_append_more);
    buf_consume(in, n);
    return true;
}

static bool one(struct parser *p, struct buf *in, struct buf *out, bool *fatal)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct parsed c = {.tag = "*"};
    struct error err = {0};
    enum parser_event event;
    size_t used;

    if (!parser_ready(p, buf_slice(in)))
        return false;
    if (p->mode == PARSER_BYTES)
        return take_bytes(p, in, out);
    event = parser_next(p, buf_slice(in), imap_command_find_any, NULL, &arena, &c, &used, &err);
    if (event != PARSER_WAIT)
        buf_printf(out, "\n%d %s %s %llu ", (int)event, c.tag, err.text,
                   (unsigned long long)c.stream);
    if (event == PARSER_DONE || event == PARSER_STREAM)
        tell_args(c.args, c.n_args, out);
    if (used > in->n)
        abort();
    buf_consume(in, used);
    *fatal = event == PARSER_FATAL;
    return !*fatal;
}

static void run(struct slice text, size_t step, struct buf *out)
{
    struct buf in = buf_make(BUF_MAX_DEFAULT);
    struct parser p;
    bool fatal = false;

    parser_init(&p, &limits);
    for (size_t at = 0; at < text.n && !fatal; at += step) {
        buf_add_slice(&in, slice_sub(text, at, at + step));
        while (one(&p, &in, out, &fatal))
            ;
    }
    buf_done(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = buf_make(BUF_MAX_DEFAULT), cut = buf_make(BUF_MAX_DEFAULT);

    if (size < 2)
        return 0;
    run(slice_of(data + 1, size - 1), size, &whole);
    run(slice_of(data + 1, size - 1), 1 + data[0] % 64u, &cut);
    if (!slice_eq(buf_slice(&whole), buf_slice(&cut)))
        abort();
    buf_done(&whole);
    buf_done(&cut);
    return 0;
}
