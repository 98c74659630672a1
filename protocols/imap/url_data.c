/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/url_data.h"

#include "lib/base/mem.h"

#define CHUNK ((size_t)64 << 10)

static int nothing_there(struct error *err)
{
    return error_set(err, ERR_NOTFOUND, "There is no such message or part");
}

/* --- opening -----------------------------------------------------------------------------------
 */

static int find_message(struct account *account, struct state *st, const struct imap_url *url,
                        uint64_t *ret, struct error *err)
{
    const struct mailbox *box = state_mailbox_named(st, url->mailbox);
    struct mailbox *loaded;
    struct message m;
    int r;

    if (!box || (url->uidvalidity && url->uidvalidity != box->uidvalidity))
        return nothing_there(err);
    r = mailbox_load(account, st, box->id, url->uid, url->uid, &loaded, err);
    if (r < 0)
        return r;
    if (mailbox_find(loaded, url->uid, &m))
        *ret = m.id;
    else
        r = nothing_there(err);
    mailbox_unref(loaded);
    return r;
}

static bool is_fields(const struct imap_section *s)
{
    return s->kind == SECTION_FIELDS || s->kind == SECTION_FIELDS_NOT;
}

static int find_part(struct url_data *d, struct error *err)
{
    const struct imap_url *url = d->url;
    uint64_t len, skip;
    int r;

    d->in_fields = is_fields(url->section);
    if (d->in_fields) {
        r = fetch_part_fields(&d->part, url->section, &d->fields, err);
        len = d->fields.n;
    } else {
        r = fetch_part_range(&d->part, url->section, &d->pos, &len, err);
    }
    if (r <= 0)
        return r < 0 ? r : nothing_there(err);
    skip = MIN(url->offset, len);
    d->pos += skip;
    d->size = d->left = MIN(len - skip, url->count);
    return 0;
}

static int open_message(struct url_data *d, uint64_t message, struct error *err)
{
    struct slice digest;
    int r = message_digests(d->account, &message, 1, &digest, &d->hold, err);

    if (r == 0)
        r = fetch_part_open(&d->part, d->account, message, digest, err);
    return r == 0 ? find_part(d, err) : r;
}

int url_data_open(struct account *account, struct state *st, const struct imap_url *url,
                  struct url_data *ret, struct error *err)
{
    uint64_t message = 0;
    int r = find_message(account, st, url, &message, err);

    *ret = (struct url_data){.url = url,
                             .fields = buf_make(BUF_MAX_DEFAULT),
                             .part = {.rebuilt = buf_make(BUF_MAX_DEFAULT)}};
    if (r < 0)
        return r;
    ret->account = account_ref(account);
    r = open_message(ret, message, err);
    if (r < 0)
        url_data_close(ret);
    return r;
}

void url_data_close(struct url_data *d)
{
    if (d->decodes)
        fetch_binary_done(&d->binary);
    fetch_part_done(&d->part);
    hold_release(d->hold);
    buf_done(&d->fields);
    if (d->account)
        account_unref(d->account);
    *d = (struct url_data){0};
}

/* --- reading -----------------------------------------------------------------------------------
 */

static int begin_decoding(struct url_data *d, struct error *err)
{
    static const struct binary_mark none;
    struct mdigest_section s;
    int r = fetch_part_find(&d->part, d->url->section, &s, err);

    if (r <= 0)
        return r < 0 ? r : nothing_there(err);
    if (s.kind == MIME_LEAF && s.encoding == MIME_UNKNOWN)
        return error_set(err, ERR_NOPERM, "The encoding of the part is not known");
    r = s.body_len ? fetch_part_content(&d->part, err) : 0;
    if (r < 0)
        return r;
    fetch_binary_begin(&d->binary, &d->part, &s, d->url->offset, d->url->count, &none);
    d->binary.counts_lines = true;
    d->decodes = true;
    return 0;
}

int url_data_decode(struct url_data *d, int64_t until_ms, struct error *err)
{
    int r = 0;

    if (d->url->section->kind != SECTION_ALL) /* headers and texts of messages have none */
        return 1;
    if (!d->decodes)
        r = begin_decoding(d, err);
    if (r == 0)
        r = fetch_binary_scan(&d->binary, &d->part, until_ms, err);
    if (r == 1)
        d->size = d->left = d->binary.size;
    return r;
}

bool url_data_has_nul(const struct url_data *d)
{
    return d->decodes && d->binary.nul;
}

static int read_range(struct url_data *d, size_t n, struct buf *out, struct error *err)
{
    size_t before = out->n;
    int r = fetch_part_content(&d->part, err);

    if (r == 0)
        r = message_read(d->part.reader, d->pos, n, out, err);
    if (r == 0 && out->n - before != n)
        r = error_set(err, ERR_INTERNAL, "A message is shorter than its digest says");
    return r < 0 ? r : (int)n;
}

int url_data_read(struct url_data *d, struct buf *out, struct error *err)
{
    size_t n = (size_t)MIN(d->left, (uint64_t)CHUNK);
    int r;

    if (!n)
        return 0;
    if (d->decodes) {
        do
            r = fetch_binary_read(&d->binary, &d->part, out, err);
        while (r == 0); /* a chunk before what PARTIAL asks for */
    } else if (d->in_fields) {
        buf_add_slice(out, slice_sub(buf_slice(&d->fields), (size_t)d->pos, (size_t)d->pos + n));
        r = (int)n;
    } else {
        r = read_range(d, n, out, err);
    }
    if (r < 0)
        return r;
    d->pos += (uint64_t)r;
    d->left -= MIN((uint64_t)r, d->left);
    return r;
}

bool url_data_was_encoded(const struct url_data *d, uint64_t *ret_lines)
{
    enum mime_encoding encoding = d->binary.at.transfer.encoding;

    *ret_lines = d->binary.lines;
    return d->decodes && (encoding == MIME_QP || encoding == MIME_BASE64);
}

int url_data_lines(struct url_data *d, uint64_t *ret, struct error *err)
{
    CLEANUP(buf_done) struct buf chunk = buf_make(4 * CHUNK);
    uint64_t pos = d->pos, left = d->left, n = 0;
    int r;

    while ((r = url_data_read(d, &chunk, err)) > 0) {
        for (size_t i = 0; i < chunk.n; i++)
            n += chunk.p[i] == '\n';
        chunk.n = 0;
    }
    d->pos = pos;
    d->left = left;
    *ret = n;
    return r;
}

int url_data_copy(struct account *account, struct state *st, const struct imap_url *url,
                  int (*write)(void *ctx, struct slice bytes), void *ctx, struct error *err)
{
    CLEANUP(buf_done) struct buf chunk = buf_make(4 * CHUNK);
    struct url_data data;
    int r = url_data_open(account, st, url, &data, err);

    if (r < 0)
        return r;
    while ((r = url_data_read(&data, &chunk, err)) > 0) {
        r = write(ctx, buf_slice(&chunk));
        if (r < 0)
            break;
        chunk.n = 0;
    }
    url_data_close(&data);
    return r;
}
