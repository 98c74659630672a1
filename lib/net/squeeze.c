/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/net/squeeze.h"

#include <stdlib.h>
#include <zlib.h>

#include "lib/base/mem.h"

#define LEVEL       5
#define MEM_LEVEL   8
#define WINDOW_BITS (-15) /* raw: RFC 4978 section 3 has no zlib header */
#define WINDOW      ((size_t)32 << 10)
#define PIECE       ((size_t)32 << 10) /* of output at a time */
#define PACK_FROM   256                /* smaller windows are kept as they are */

/* The last bytes that the client sent, as long as the expander is away. */
struct window {
    uint8_t *p;
    size_t n, packed; /* packed: bytes at p where they are fewer than n; else 0 */
};

struct squeeze {
    z_stream *out, *in; /* NULL: resting */
    struct window window;
    unsigned bits;   /* of the last byte fed that belong to the next block */
    uint8_t last;    /* that byte */
    struct buf left; /* fed and not expanded */
    bool more;       /* the expander has more than there was room for */
    bool dead;       /* damaged or ended */
};

struct squeeze *squeeze_new(void)
{
    struct squeeze *s = NEW(struct squeeze);

    s->left = buf_make(BUF_MAX_DEFAULT);
    return s;
}

static void drop_out(struct squeeze *s)
{
    if (s->out)
        deflateEnd(s->out);
    free(TAKE(s->out));
}

static void drop_in(struct squeeze *s)
{
    if (s->in)
        inflateEnd(s->in);
    free(TAKE(s->in));
}

static void drop_window(struct squeeze *s)
{
    free(s->window.p);
    s->window = (struct window){NULL, 0, 0};
}

void squeeze_free(struct squeeze *s)
{
    if (!s)
        return;
    drop_out(s);
    drop_in(s);
    drop_window(s);
    buf_done(&s->left);
    free(s);
}

/* --- out ---------------------------------------------------------------------------------------
 */

/* zlib fails here for want of memory only, and then we may abort (mem.h). */
static void sure(int rc)
{
    if (rc != Z_OK)
        abort();
}

void squeeze_write(struct squeeze *s, struct slice bytes, struct buf *out)
{
    if (!bytes.n)
        return;
    if (!s->out) {
        s->out = NEW(z_stream);
        sure(deflateInit2(s->out, LEVEL, Z_DEFLATED, WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY));
    }
    s->out->next_in = (uint8_t *)bytes.p;
    s->out->avail_in = (uInt)bytes.n;
    do {
        uint8_t *to = buf_reserve(out, PIECE);

        if (!to)
            abort(); /* the cap of an output buffer is far above a slice */
        s->out->next_out = to;
        s->out->avail_out = PIECE;
        deflate(s->out, Z_SYNC_FLUSH);
        out->n += PIECE - s->out->avail_out;
    } while (s->out->avail_out == 0);
}

/* --- in ----------------------------------------------------------------------------------------
 */

static void restore_window(struct squeeze *s)
{
    struct window *w = &s->window;
    uint8_t plain[WINDOW];
    uLongf n = sizeof plain;

    if (!w->n)
        return;
    if (w->packed)
        sure(uncompress(plain, &n, w->p, w->packed));
    sure(inflateSetDictionary(s->in, w->packed ? plain : w->p, (uInt)w->n));
    drop_window(s);
}

static void wake_in(struct squeeze *s)
{
    s->in = NEW(z_stream);
    sure(inflateInit2(s->in, WINDOW_BITS));
    restore_window(s);
    if (s->bits)
        sure(inflatePrime(s->in, (int)s->bits, s->last >> (8 - s->bits)));
}

void squeeze_feed(struct squeeze *s, struct slice bytes)
{
    buf_add_slice(&s->left, bytes);
}

bool squeeze_waits(const struct squeeze *s)
{
    return s->left.n > 0 || s->more;
}

ssize_t squeeze_read(struct squeeze *s, uint8_t *to, size_t n)
{
    size_t used, got;
    int rc;

    if (s->dead)
        return -ERR_INVALID;
    if (!squeeze_waits(s) || !n)
        return 0;
    if (!s->in)
        wake_in(s);
    s->in->next_in = s->left.p;
    s->in->avail_in = (uInt)s->left.n;
    s->in->next_out = to;
    s->in->avail_out = (uInt)n;
    rc = inflate(s->in, Z_SYNC_FLUSH);
    used = s->left.n - s->in->avail_in;
    got = n - s->in->avail_out;
    if (used)
        s->last = s->left.p[used - 1];
    buf_consume(&s->left, used);
    if (!s->left.n)
        buf_done(&s->left);
    s->more = s->in->avail_out == 0;
    s->dead = rc != Z_OK && rc != Z_BUF_ERROR;
    return got || !s->dead ? (ssize_t)got : -ERR_INVALID;
}

/* --- resting -----------------------------------------------------------------------------------
 */

/* zlib.h, inflate: data_type is 128 after the end of a block, plus the number of unused bits in the
 * last byte, plus 64 in the last block. */
static bool is_between_blocks(const z_stream *in)
{
    return in->data_type & 128 && !(in->data_type & 64) && (in->data_type & 63) < 8;
}

static void save_window(struct squeeze *s)
{
    uint8_t plain[WINDOW];
    uInt n = 0;
    uLongf packed = compressBound(WINDOW);
    CLEANUP_FREE uint8_t *to = mem_alloc(packed);

    inflateGetDictionary(s->in, plain, &n);
    if (n >= PACK_FROM && compress2(to, &packed, plain, n, LEVEL) == Z_OK && packed < n)
        s->window = (struct window){mem_dup(to, packed), n, packed};
    else if (n)
        s->window = (struct window){mem_dup(plain, n), n, 0};
}

void squeeze_rest(struct squeeze *s)
{
    drop_out(s);
    if (!s->in || squeeze_waits(s) || s->dead || !is_between_blocks(s->in))
        return;
    s->bits = (unsigned)s->in->data_type & 63;
    save_window(s);
    drop_in(s);
}

bool squeeze_is_awake(const struct squeeze *s)
{
    return s->out || (s->in && !squeeze_waits(s) && !s->dead && is_between_blocks(s->in));
}
