/* SPDX-License-Identifier: MPL-2.0 */
/* fetch_binary: a section decoded from its Content-Transfer-Encoding (RFC 3516), in fixed memory.
 *
 * A literal's size, and whether it must be a literal8 (NULs in it), have to be known before its
 * first octet. So a section is gone through twice: fetch_binary_scan counts and looks for NULs,
 * fetch_binary_read decodes again, from the beginning of the window that is asked for. Neither
 * keeps more than two chunks, and both go on where they stopped, so that no large part holds a
 * worker.
 *
 * A client that fetches a large part by pieces would have everything before each piece decoded
 * again: the session keeps a mark of where the last one ended (struct binary_mark).
 */
#pragma once

#include "lib/mime/transfer.h"
#include "protocols/imap/fetch_part.h"

/* How far the decoding of a section has come. */
struct binary_mark {
    uint64_t message; /* 0: of nothing */
    uint64_t offset;  /* of the section in the message */
    struct transfer transfer;
    uint64_t pos, out; /* octets of the section taken, octets that they gave */
};

struct fetch_binary {
    struct binary_mark at, window; /* window: the last mark before `from` */
    uint64_t len;                  /* octets of the section, encoded */
    uint64_t from, to;             /* the window, in decoded octets */
    uint64_t size;                 /* after the scan: octets in the window */
    bool counts_lines;             /* set before the scan: `lines` is wanted */
    uint64_t lines;                /* after the scan: line ends in the window */
    bool nul;                      /* after the scan: a NUL is among them */
    struct buf in, out;
};

/* The section as mdigest_section_find gave it; `from`, `count`: what is asked for (0, UINT64_MAX:
 * all). `mark` may be of anything. */
void fetch_binary_begin(struct fetch_binary *b, const struct fetch_part *p,
                        const struct mdigest_section *s, uint64_t from, uint64_t count,
                        const struct binary_mark *mark);
/* 1: size and nul are known; 0: it is `until_ms` (clock_mono_ms), call again. */
int fetch_binary_scan(struct fetch_binary *b, struct fetch_part *p, int64_t until_ms,
                      struct error *err) MUST_USE;
/* After the scan: appends the next octets of the window, one chunk at most; gives how many. */
int fetch_binary_read(struct fetch_binary *b, struct fetch_part *p, struct buf *out,
                      struct error *err) MUST_USE;
/* Where a window behind this one can begin. */
const struct binary_mark *fetch_binary_mark(const struct fetch_binary *b);
void fetch_binary_done(struct fetch_binary *b);
