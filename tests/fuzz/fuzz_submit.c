/* SPDX-License-Identifier: MPL-2.0 */
/* Whole SMTP sessions over a node in memory: submission that is logged in; lines that begin with
 * '2': submission that is not; '3': LMTP; '4': an account in sandbox mode; with URLs of messages
 * for bytes 1 and 2. The node lives for a number of inputs and is made anew then. The input as a
 * message besides: line ends and header. */
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "protocols/submit/header.h"
#include "protocols/submit/lines.h"
#include "tests/session/drive.h"
#include "tests/session/submit_world.h"

#define INPUTS_PER_WORLD 300
#define SESSIONS         4

static void add_sandbox(struct submit_world *w)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_account ann;
    struct error err = {0};
    uint64_t id;

    if (!submit_world_account(w, "ann@example.org", &id) ||
        directory_account_get(w->node->directory, id, &a, &ann, &err) < 0)
        abort();
    ann.sandbox = true;
    if (directory_account_update(w->node->directory, &ann, &err) < 0)
        abort();
}

static struct submit_world *world(void)
{
    static struct submit_world *w;
    static unsigned inputs;
    struct submit_settings settings;

    log_set_level(LOG_ERROR_);
    if (w && ++inputs % INPUTS_PER_WORLD == 0) {
        submit_world_free(w);
        w = NULL;
    }
    if (!w) {
        w = submit_world_new();
        settings = w->settings;
        settings.save_sent = true;
        settings.smtp.no_solicit = "net.example:ADV org.example:ADULT";
        submit_world_set(w, &settings);
        add_sandbox(w);
        imap_world_fill(w->node, S("INBOX"), 3);
    }
    return w;
}

static void send_line(struct submit_world *w, struct drive *d, struct slice line)
{
    static const char *const rumps[] = {
        "imap://joe@test.example/INBOX/;UID=1;URLAUTH=submit+joe",
        "imap://joe@test.example/INBOX/;UID=2/;SECTION=1;URLAUTH=user+ann",
    };
    CLEANUP(buf_done) struct buf text = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] >= 1 && line.p[i] <= ARRAY_LEN(rumps) && text.n < 20000)
            imap_world_url(w->node, slice_str(rumps[line.p[i] - 1]), &text);
        else
            buf_add_byte(&text, line.p[i]);
    }
    drive_send(d, buf_slice(&text));
}

static void converse(struct submit_world *w, struct slice rest)
{
    struct drive d[SESSIONS];
    static const char *const how[SESSIONS] = {"", "plain", "lmtp", ""};

    for (size_t i = 0; i < SESSIONS; i++)
        drive_init(&d[i], submit_world_open(w, slice_str(how[i])));
    drive_send(&d[0], S("EHLO c\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\n"));
    drive_send(&d[3], S("EHLO c\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n"));
    while (rest.n) {
        ssize_t lf = slice_find(rest, '\n');
        struct slice line = slice_sub(rest, 0, lf < 0 ? rest.n : (size_t)lf + 1);
        size_t n = line.p[0] >= '2' && line.p[0] <= '4' ? line.p[0] - '1' : 0;

        send_line(w, &d[n], slice_skip(line, n > 0));
        rest = slice_skip(rest, line.n);
    }
    for (size_t i = 0; i < SESSIONS; i++) {
        drive_pump(&d[i]);
        drive_eof(&d[i]);
        if (d[i].got.n && d[i].got.p[d[i].got.n - 1] != '\n')
            abort(); /* whole lines only */
        drive_done(&d[i]);
    }
}

static int collect(void *ctx, struct slice bytes)
{
    buf_add_slice(ctx, bytes);
    return 0;
}

static int mend(struct slice in, size_t step, struct buf *out)
{
    struct lines l = {0};
    int r = 0;

    for (size_t at = 0; at < in.n && r == 0; at += step)
        r = lines_feed(&l, slice_sub(in, at, at + step), collect, out);
    return r < 0 ? r : lines_finish(&l, collect, out);
}

/* However it is cut, the same comes out, and CR and LF stand together only. */
static void check_lines(struct slice in)
{
    CLEANUP(buf_done) struct buf whole = buf_make(1 << 20), bytewise = buf_make(1 << 20);

    if (mend(in, in.n + 1, &whole) != mend(in, 1, &bytewise))
        abort();
    if (memchr(in.p, 0, in.n))
        return;
    if (!slice_eq(buf_slice(&whole), buf_slice(&bytewise)))
        abort();
    for (size_t i = 0; i < whole.n; i++)
        if ((whole.p[i] == '\r' && (i + 1 == whole.n || whole.p[i + 1] != '\n')) ||
            (whole.p[i] == '\n' && (i == 0 || whole.p[i - 1] != '\r')))
            abort();
}

/* What was put right needs nothing more. */
static void check_header(struct slice in)
{
    CLEANUP(buf_done) struct buf once = buf_make(1 << 20), twice = buf_make(1 << 20);
    struct submit_fixes fixes = {.from = "a@b.c", .sender = "a@b.c", .message_id = "x@y"};
    CLEANUP(arena_done) struct arena a = {0};
    ssize_t lf = slice_find(in, '\n');
    struct submit_header h;

    if (submit_header_absent(slice_sub(in, 0, lf < 0 ? in.n : (size_t)lf + 1)))
        return;
    submit_header_read(in, &a, &h);
    submit_header_write(&h, &fixes, &once);
    submit_header_read(buf_slice(&once), &a, &h);
    submit_header_write(&h, &fixes, &twice);
    if (!h.from_fields || !h.has_date || !h.has_message_id || h.has_bcc ||
        !slice_eq(buf_slice(&once), buf_slice(&twice)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);

    if (size == 0 || size > 20000)
        return 0;
    converse(world(), in);
    check_lines(in);
    check_header(in);
    return 0;
}
