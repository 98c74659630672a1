/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/session/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

#define CONNECTIONS 9
#define WAIT_MS     5000 /* for what other threads do: hints */

struct run {
    const struct run_ops *ops;
    const struct transcript *t;
    void *world;
    struct drive connections[CONNECTIONS + 1];
    bool open[CONNECTIONS + 1];
    struct catches catches;
    size_t bytewise; /* 1: byte by byte; 0: not */
    size_t cut;      /* where each block is cut; 0: nowhere */
    size_t longest;  /* block seen */
    bool failed;
};

static bool fail(struct run *run, const struct transcript_step *step, const char *what,
                 struct slice detail)
{
    fprintf(stderr, "%s:%u: [%s %zu] %s: %.*s\n", run->t->path, step->line,
            run->bytewise ? "bytewise" : "cut", run->cut, what, SLICE_FMT(detail));
    run->failed = true;
    return false;
}

static void open_connection(struct run *run, unsigned n, struct slice how)
{
    drive_init(&run->connections[n], run->ops->open(run->world, how));
    run->open[n] = true;
}

struct drive *run_connection(struct run *run, unsigned n)
{
    if (!run->open[n])
        open_connection(run, n, S(""));
    return &run->connections[n];
}

void run_quietly(struct run *run, unsigned n, const char *line, struct buf *answer)
{
    struct drive *d = run_connection(run, n);

    buf_reset(&d->got, 0);
    drive_send(d, slice_str(line));
    drive_send(d, S("\r\n"));
    buf_add_slice(answer, buf_slice(&d->got));
    buf_reset(&d->got, 0);
}

static void send_block(struct run *run, struct drive *d, struct slice bytes)
{
    run->longest = MAX(run->longest, bytes.n);
    if (run->bytewise) {
        for (size_t i = 0; i < bytes.n; i++)
            drive_send(d, slice_sub(bytes, i, i + 1));
        return;
    }
    if (run->cut && run->cut < bytes.n) {
        drive_send(d, slice_sub(bytes, 0, run->cut));
        bytes = slice_skip(bytes, run->cut);
    }
    drive_send(d, bytes);
}

/* The next line of the server; waits a while for what other threads bring about. */
static bool next_line(struct drive *d, struct slice *ret)
{
    int64_t until = clock_mono_ms() + WAIT_MS;
    struct timespec pause = {0, 1000000};

    for (;;) {
        ssize_t end;

        drive_pump(d);
        end = slice_search(buf_slice(&d->got), S("\r\n"));
        if (end >= 0) {
            *ret = slice_sub(buf_slice(&d->got), 0, (size_t)end);
            return true;
        }
        if (d->closed || clock_mono_ms() > until)
            return false;
        nanosleep(&pause, NULL);
    }
}

static bool expect(struct run *run, const struct transcript_step *step)
{
    struct drive *d = run_connection(run, step->connection);
    struct slice line;
    bool match;

    for (;;) {
        if (!next_line(d, &line))
            return fail(run, step, "nothing more came, expected", step->text);
        match = transcript_match(step->text, line, &run->catches);
        if (!match && step->kind == STEP_EXPECT) {
            fail(run, step, "expected", step->text);
            return fail(run, step, "came    ", line);
        }
        buf_consume(&d->got, line.n + 2);
        if (match)
            return true;
    }
}

static bool nothing_left(struct run *run, const struct transcript_step *step)
{
    for (unsigned i = 1; i <= CONNECTIONS; i++)
        if (run->open[i] && run->connections[i].got.n)
            return fail(run, step, "unexpected", buf_slice(&run->connections[i].got));
    return true;
}

/* --- directives --------------------------------------------------------------------------------
 */

static struct slice first_word(struct slice s, struct slice *ret_rest)
{
    ssize_t blank = slice_find(s, ' ');

    *ret_rest = blank < 0 ? (struct slice){0} : slice_trim(slice_skip(s, (size_t)blank));
    return blank < 0 ? s : slice_sub(s, 0, (size_t)blank);
}

static bool general(struct run *run, struct slice word, unsigned n, struct slice rest, bool *ret_ok)
{
    struct drive *d;
    uint64_t max;

    *ret_ok = true;
    if (slice_eq(word, S("open"))) {
        open_connection(run, n, rest);
        return true;
    }
    d = n ? &run->connections[n] : NULL;
    if (!d || !run->open[n])
        return false;
    if (slice_eq(word, S("eof")))
        drive_eof(d);
    else if (slice_eq(word, S("shutdown")))
        drive_shutdown(d);
    else if (slice_eq(word, S("wait")))
        drive_pump(d);
    else if (slice_eq(word, S("closed")))
        *ret_ok = d->closed;
    else if (slice_eq(word, S("max-steps")))
        *ret_ok = slice_to_u64(rest, SIZE_MAX / 2, &max) && d->steps <= max;
    else
        return false;
    return true;
}

static bool directive(struct run *run, const struct transcript_step *step)
{
    struct slice rest, word = first_word(step->text, &rest), after;
    struct slice number = first_word(rest, &after);
    unsigned n = number.n == 1 && byte_is_digit(number.p[0]) ? number.p[0] - '0' : 0;
    bool ok;

    if (!general(run, word, n, after, &ok))
        ok = run->ops->directive(run->world, run, word, rest);
    return ok || fail(run, step, "directive failed", step->text);
}

/* --- one run -----------------------------------------------------------------------------------
 */

/* All the client's lines up to the next of another kind or connection. */
static bool send_from(struct run *run, size_t *at)
{
    const struct transcript_step *first = &run->t->steps[*at];
    struct drive *d = run_connection(run, first->connection);
    struct buf block = buf_make(BUF_MAX_DEFAULT);
    bool ok = nothing_left(run, first);

    for (; ok && *at < run->t->n; ++*at) {
        const struct transcript_step *step = &run->t->steps[*at];

        if (step->kind != STEP_SEND || step->connection != first->connection)
            break;
        ok = transcript_expand(step->text, &run->catches, &block) ||
             fail(run, step, "a name that was not caught", step->text);
        if (!step->no_line_end)
            buf_add_str(&block, "\r\n");
    }
    if (ok)
        send_block(run, d, buf_slice(&block));
    buf_done(&block);
    return ok;
}

static void steps(struct run *run)
{
    bool ok = true;
    size_t at = 0;

    while (ok && at < run->t->n) {
        const struct transcript_step *step = &run->t->steps[at];

        if (step->kind == STEP_SEND) {
            ok = send_from(run, &at);
            continue;
        }
        ok = step->kind == STEP_DIRECTIVE ? directive(run, step) : expect(run, step);
        at++;
    }
    if (ok && run->t->n)
        nothing_left(run, &run->t->steps[run->t->n - 1]);
}

/* Returns the length of the longest block; 0: failed. */
static size_t play(const struct run_ops *ops, const struct transcript *t, bool bytewise, size_t cut)
{
    struct run *run = NEW(struct run);
    size_t longest;

    run->ops = ops;
    run->t = t;
    run->bytewise = bytewise;
    run->cut = cut;
    run->world = ops->world_new();
    steps(run);
    for (unsigned i = 1; i <= CONNECTIONS; i++)
        if (run->open[i])
            drive_done(&run->connections[i]);
    ops->world_free(run->world);
    longest = run->failed ? 0 : MAX(run->longest, (size_t)1);
    free(run);
    return longest;
}

/* Every offset is cut in some run; of very long blocks (messages), offsets ever further apart. */
static size_t next_cut(size_t cut)
{
    return cut < 120 ? cut + 1 : cut < 300 ? cut + 7 : cut * 2;
}

static bool play_all(const struct run_ops *ops, const char *path, bool quick)
{
    struct transcript t;
    size_t longest, runs = 2;
    bool ok;

    if (!transcript_load(&t, path))
        return false;
    longest = play(ops, &t, false, 0);
    ok = longest && (longest > 100000 || play(ops, &t, true, 0));
    for (size_t cut = 1; ok && !quick && cut < longest; cut = next_cut(cut), runs++)
        ok = play(ops, &t, false, cut);
    printf("%s %s (%zu runs)\n", ok ? "ok  " : "FAIL", path, runs);
    transcript_done(&t);
    return ok;
}

int run_main(const struct run_ops *ops, int argc, char **argv)
{
    bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0, ok = true;

    for (int i = 1 + quick; i < argc; i++)
        ok = play_all(ops, argv[i], quick) && ok;
    return ok ? 0 : 1;
}
