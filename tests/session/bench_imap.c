/* SPDX-License-Identifier: MPL-2.0 */
/* How fast one IMAP session is, without sockets: bench_imap [messages]. Build it with -O2. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "tests/session/drive.h"
#include "tests/session/imap_world.h"

/* One step after the other, output thrown away, as a client that reads at once would see it. Last
 * comes the longest step. */
static void measure(struct drive *d, const char *command, unsigned messages)
{
    int64_t began = clock_mono_us(), took;
    size_t bytes;
    char line[200];

    snprintf(line, sizeof line, "a %s\r\n", command);
    buf_reset(&d->got, 0);
    d->longest_us = 0;
    drive_send(d, slice_str(line));
    took = clock_mono_us() - began;
    bytes = d->got.n;
    printf("%-57s %8.1f ms %10.0f messages/s %8.1f MB/s %6.1f ms  %.30s\n", command,
           (double)took / 1000, messages * 1e6 / (double)took, (double)bytes / (double)took,
           (double)d->longest_us / 1000,
           slice_search(buf_slice(&d->got), S("\r\na OK")) >= 0 ? "" : buf_cstr(&d->got));
}

int main(int argc, char **argv)
{
    static const char *const commands[] = {
        "SELECT INBOX",
        "FETCH 1:* FLAGS",
        "FETCH 1:* FLAGS",
        "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)",
        "FETCH 1:* ENVELOPE",
        "FETCH 1:* ENVELOPE",
        "FETCH 1:* BODYSTRUCTURE",
        "FETCH 1:* BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)]",
        "FETCH 1:* BODY.PEEK[]",
        "UID SEARCH UNSEEN",
        "UID SEARCH FROM ann",
        "UID SEARCH BODY nothing",
        "UID SORT (ARRIVAL) UTF-8 ALL",
        "UID SORT (SUBJECT DATE) UTF-8 ALL",
        "UID SORT (SUBJECT DATE) UTF-8 ALL",
        "UID SORT RETURN (PARTIAL -1:-50) (REVERSE DATE) UTF-8 ALL",
        "UID THREAD ORDEREDSUBJECT UTF-8 ALL",
        "UID THREAD REFERENCES UTF-8 ALL",
        "UID THREAD REFS UTF-8 ALL",
        "STORE 1:* +FLAGS.SILENT (\\Seen)",
        "STORE 1:* +FLAGS (\\Flagged)",
        "UID COPY 1:* Archive",
        "STATUS Archive (MESSAGES)",
    };
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100000;
    struct imap_world *w = imap_world_new();
    struct drive d;
    int64_t began = clock_mono_ms();

    if (!imap_world_fill(w, S("INBOX"), n))
        return 1;
    printf("%u messages appended in %lld ms\n", n, (long long)(clock_mono_ms() - began));
    drive_init(&d, imap_world_open(w, S("")));
    drive_send(&d, S("l LOGIN joe secret\r\n"));
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        measure(&d, commands[i], n);
    drive_done(&d);
    imap_world_free(w);
    return 0;
}
