/* SPDX-License-Identifier: MPL-2.0 */
/* Whole IMAP sessions over a node in memory: two that are logged in and have INBOX selected, and
 * one that is not. The first byte of a line says whose it is ('2': the second, '3': the third; else
 * the first), the rest is sent, with URLs that are authorized for bytes 1 to 3. The node lives for
 * a number of inputs and is made anew then. */
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "tests/session/drive.h"
#include "tests/session/imap_world.h"

#define INPUTS_PER_WORLD 300

static struct imap_world *world(void)
{
    static struct imap_world *w;
    static unsigned inputs;

    log_set_level(LOG_ERROR_);
    if (w && ++inputs % INPUTS_PER_WORLD == 0) {
        imap_world_free(w);
        w = NULL;
    }
    if (!w) {
        w = imap_world_new();
        imap_world_fill(w, S("INBOX"), 5);
    }
    return w;
}

static void send_line(struct imap_world *w, struct drive *d, struct slice line)
{
    static const char *const rumps[] = {
        "imap://joe@test.example/INBOX/;UID=1;URLAUTH=anonymous",
        "imap://joe@test.example/INBOX/;UID=2/;SECTION=1;URLAUTH=user+joe",
        "imap://joe@test.example/INBOX/;UID=3/;SECTION=TEXT/;PARTIAL=3.4;URLAUTH=authuser",
    };
    CLEANUP(buf_done) struct buf text = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] >= 1 && line.p[i] <= ARRAY_LEN(rumps) && text.n < 20000)
            imap_world_url(w, slice_str(rumps[line.p[i] - 1]), &text);
        else
            buf_add_byte(&text, line.p[i]);
    }
    drive_send(d, buf_slice(&text));
}

static void check_output(struct drive *d)
{
    /* lines, and the last one whole */
    if (d->got.n && d->got.p[d->got.n - 1] != '\n' && !d->closed)
        abort();
    buf_reset(&d->got, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct imap_world *w = world();
    struct drive d[3];
    struct slice rest = slice_of(data, size);

    if (size > 20000)
        return 0;
    for (int i = 0; i < 3; i++) {
        drive_init(&d[i], imap_world_open(w, i == 2 ? S("plain") : S("")));
        if (i < 2)
            drive_send(&d[i], S("l LOGIN joe secret\r\ns SELECT INBOX\r\n"));
        check_output(&d[i]);
    }
    while (rest.n) {
        ssize_t lf = slice_find(rest, '\n');
        struct slice line = slice_sub(rest, 0, lf < 0 ? rest.n : (size_t)lf + 1);
        int who = line.p[0] == '2' ? 1 : line.p[0] == '3' ? 2 : 0;

        send_line(w, &d[who], who ? slice_skip(line, 1) : line);
        check_output(&d[who]);
        rest = slice_skip(rest, line.n);
    }
    for (int i = 0; i < 3; i++) {
        drive_pump(&d[i]);
        drive_eof(&d[i]);
        drive_done(&d[i]);
    }
    return 0;
}
