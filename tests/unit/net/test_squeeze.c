/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <string.h>
#include <zlib.h>

#include "lib/base/mem.h"
#include "lib/net/squeeze.h"

/* The other side: two zlib streams that live as long as the connection, as clients have them. */
struct peer {
    z_stream out, in;
};

static void peer_open(struct peer *p)
{
    memset(p, 0, sizeof *p);
    cr_assert_eq(deflateInit2(&p->out, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    cr_assert_eq(inflateInit2(&p->in, -15), Z_OK);
}

static void peer_close(struct peer *p)
{
    deflateEnd(&p->out);
    inflateEnd(&p->in);
}

static struct buf peer_pack(struct peer *p, struct slice bytes, int flush)
{
    struct buf out = buf_make(BUF_MAX_DEFAULT);
    size_t room = bytes.n + bytes.n / 100 + 1000;

    p->out.next_in = (uint8_t *)bytes.p;
    p->out.avail_in = (uInt)bytes.n;
    p->out.next_out = buf_reserve(&out, room);
    p->out.avail_out = (uInt)room;
    deflate(&p->out, flush);
    cr_assert_eq(p->out.avail_in, 0);
    out.n = room - p->out.avail_out;
    return out;
}

static struct buf peer_unpack(struct peer *p, struct slice bytes, size_t room)
{
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    p->in.next_in = (uint8_t *)bytes.p;
    p->in.avail_in = (uInt)bytes.n;
    p->in.next_out = buf_reserve(&out, room);
    p->in.avail_out = (uInt)room;
    int rc = inflate(&p->in, Z_SYNC_FLUSH);
    cr_assert(rc == Z_OK || rc == Z_BUF_ERROR, "%d", rc);
    out.n = room - p->in.avail_out;
    return out;
}

static struct buf read_all(struct squeeze *s, size_t piece)
{
    struct buf out = buf_make(BUF_MAX_DEFAULT);
    ssize_t n;

    do {
        n = squeeze_read(s, buf_reserve(&out, piece), piece);
        cr_assert_geq(n, 0);
        out.n += (size_t)n;
    } while (n > 0);
    return out;
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 8;
}

/* Text that refers to what was before, so that a lost window would show. */
static struct buf make_text(unsigned *seed, size_t n)
{
    static const char *const words[] = {"a1 NOOP\r\n",
                                        "UID FETCH 1:* (FLAGS)\r\n",
                                        "* 7 EXISTS\r\n",
                                        "INBOX",
                                        "\\Seen",
                                        "BODY.PEEK[HEADER]",
                                        "x",
                                        "Quarterly"};
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    while (out.n < n) {
        if (next_random(seed) % 3)
            buf_add_str(&out, words[next_random(seed) % ARRAY_LEN(words)]);
        else
            buf_printf(&out, "%u", next_random(seed));
    }
    return out;
}

static void talk(int flush, size_t most, size_t piece, bool rests)
{
    struct squeeze *s = squeeze_new();
    struct peer p;
    unsigned seed = 7;

    peer_open(&p);
    for (int i = 0; i < 200; i++) {
        CLEANUP(buf_done) struct buf said = make_text(&seed, next_random(&seed) % most);
        CLEANUP(buf_done) struct buf packed = peer_pack(&p, buf_slice(&said), flush);
        CLEANUP(buf_done) struct buf answer = make_text(&seed, next_random(&seed) % most);
        CLEANUP(buf_done) struct buf out = buf_make(BUF_MAX_DEFAULT);
        struct buf got;

        squeeze_feed(s, buf_slice(&packed));
        got = read_all(s, piece);
        cr_assert(slice_eq(buf_slice(&got), buf_slice(&said)), "round %d", i);
        buf_done(&got);
        squeeze_write(s, buf_slice(&answer), &out);
        got = peer_unpack(&p, buf_slice(&out), answer.n + 100);
        cr_assert(slice_eq(buf_slice(&got), buf_slice(&answer)), "round %d", i);
        buf_done(&got);
        if (rests && next_random(&seed) % 2) {
            squeeze_rest(s);
            cr_assert(!squeeze_is_awake(s));
        }
    }
    peer_close(&p);
    squeeze_free(s);
}

Test(squeeze, both_directions_work_on_after_any_rest)
{
    talk(Z_SYNC_FLUSH, 300, 100000, false);
    talk(Z_SYNC_FLUSH, 300, 100000, true);
    talk(Z_SYNC_FLUSH, 20000, 1000, true);
    talk(Z_FULL_FLUSH, 3000, 77, true);
}

/* Ends between two blocks, but not at a byte: up to two bits belong to what comes next. */
Test(squeeze, rests_after_a_partial_flush)
{
    talk(Z_PARTIAL_FLUSH, 300, 100000, true);
    talk(Z_PARTIAL_FLUSH, 20000, 500, true);
    talk(Z_BLOCK, 3, 10, false);
}

Test(squeeze, input_byte_by_byte)
{
    struct squeeze *s = squeeze_new();
    struct peer p;
    unsigned seed = 3;

    peer_open(&p);
    for (int i = 0; i < 20; i++) {
        CLEANUP(buf_done) struct buf said = make_text(&seed, 200);
        CLEANUP(buf_done) struct buf packed = peer_pack(&p, buf_slice(&said), Z_SYNC_FLUSH);
        CLEANUP(buf_done) struct buf got = buf_make(BUF_MAX_DEFAULT);

        for (size_t k = 0; k < packed.n; k++) {
            struct buf some;

            squeeze_feed(s, slice_of(packed.p + k, 1));
            some = read_all(s, 50);
            buf_add_slice(&got, buf_slice(&some));
            buf_done(&some);
            squeeze_rest(s); /* also where that gives nothing back */
        }
        cr_assert(slice_eq(buf_slice(&got), buf_slice(&said)));
    }
    peer_close(&p);
    squeeze_free(s);
}

Test(squeeze, a_bomb_gives_what_there_is_room_for)
{
    struct squeeze *s = squeeze_new();
    struct buf zeros = buf_make(BUF_MAX_DEFAULT);
    uint8_t to[1000];
    size_t total = 0;
    struct peer p;

    peer_open(&p);
    memset(buf_reserve(&zeros, 10000000), 0, 10000000);
    zeros.n = 10000000;
    struct buf packed = peer_pack(&p, buf_slice(&zeros), Z_SYNC_FLUSH);
    cr_assert_lt(packed.n, 12000);
    squeeze_feed(s, buf_slice(&packed));
    while (squeeze_waits(s)) {
        ssize_t n = squeeze_read(s, to, sizeof to);

        cr_assert(n >= 0 && n <= (ssize_t)sizeof to);
        total += (size_t)n;
    }
    cr_assert_eq(total, zeros.n);
    buf_done(&packed);
    buf_done(&zeros);
    peer_close(&p);
    squeeze_free(s);
}

Test(squeeze, damage_and_an_end_are_failures)
{
    struct squeeze *s = squeeze_new();
    uint8_t to[100];
    struct peer p;

    squeeze_feed(s, S("a2 NOOP\r\n\377\377\377\377"));
    while (squeeze_read(s, to, sizeof to) > 0)
        ;
    cr_assert_eq(squeeze_read(s, to, sizeof to), -ERR_INVALID);
    squeeze_free(s);

    s = squeeze_new();
    peer_open(&p);
    struct buf packed = peer_pack(&p, S("a1 LOGOUT\r\n"), Z_FINISH);
    squeeze_feed(s, buf_slice(&packed));
    cr_assert_eq(squeeze_read(s, to, sizeof to), 11);
    cr_assert_eq(squeeze_read(s, to, sizeof to), -ERR_INVALID);
    buf_done(&packed);
    peer_close(&p);
    squeeze_free(s);
}
