/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/pop3/line.h"

static bool has_controls(struct slice line)
{
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] < ' ' || line.p[i] == 0x7f)
            return true;
    return false;
}

static size_t word_length(struct slice s)
{
    ssize_t blank = slice_find(s, ' ');

    return blank < 0 ? s.n : (size_t)blank;
}

static void split(struct pop3_line *line)
{
    struct slice s = slice_trim(line->rest);

    while (s.n) {
        size_t n = word_length(s);

        if (line->n_args == POP3_ARGS_MAX) {
            line->more = true;
            return;
        }
        line->args[line->n_args++] = slice_sub(s, 0, n);
        s = slice_trim(slice_skip(s, n));
    }
}

int pop3_line_parse(struct slice line, struct pop3_line *ret)
{
    size_t n = word_length(line);

    *ret = (struct pop3_line){0};
    if (n == 0 || n >= sizeof ret->verb || has_controls(line))
        return -ERR_INVALID;
    for (size_t i = 0; i < n; i++) {
        if (!byte_is_alpha(line.p[i]) && !byte_is_digit(line.p[i]))
            return -ERR_INVALID;
        ret->verb[i] = (char)byte_upper(line.p[i]);
    }
    ret->rest = slice_skip(line, n + 1);
    split(ret);
    return 0;
}
