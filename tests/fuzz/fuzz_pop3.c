/* SPDX-License-Identifier: MPL-2.0 */
/* Whole POP3 sessions over a node in memory: one that is logged in, and one that is not (lines that
 * begin with '2'). The node lives for a number of inputs and is made anew then. */
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "tests/session/drive.h"
#include "tests/session/pop3_world.h"

#define INPUTS_PER_WORLD 300

static struct pop3_world *world(void)
{
    static struct pop3_world *w;
    static unsigned inputs;

    log_set_level(LOG_ERROR_);
    if (w && ++inputs % INPUTS_PER_WORLD == 0) {
        pop3_world_free(w);
        w = NULL;
    }
    if (!w) {
        w = pop3_world_new();
        imap_world_fill(w->node, S("INBOX"), 5);
        imap_world_append(w->node, S("INBOX"), S("Subject: x\r\n\r\n.\n.\r\n..\r.\n"));
    }
    return w;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pop3_world *w = world();
    struct drive d[2];
    struct slice rest = slice_of(data, size);

    if (size > 20000)
        return 0;
    drive_init(&d[0], pop3_world_open(w, S("")));
    drive_init(&d[1], pop3_world_open(w, S("plain")));
    drive_send(&d[0], S("USER joe\r\nPASS secret\r\n"));
    while (rest.n) {
        ssize_t lf = slice_find(rest, '\n');
        struct slice line = slice_sub(rest, 0, lf < 0 ? rest.n : (size_t)lf + 1);
        bool second = line.p[0] == '2';

        drive_send(&d[second], slice_skip(line, second));
        rest = slice_skip(rest, line.n);
    }
    for (size_t i = 0; i < ARRAY_LEN(d); i++) {
        drive_pump(&d[i]);
        drive_eof(&d[i]);
        if (d[i].got.n && d[i].got.p[d[i].got.n - 1] != '\n')
            abort(); /* whole lines only */
        drive_done(&d[i]);
    }
    return 0;
}
