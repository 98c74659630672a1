/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/fetch_part.h"

#include "lib/base/mem.h"
#include "lib/mime/intake.h"

/* Of a header block larger than this, HEADER.FIELDS sees the beginning. */
#define HEADER_LOOKED_AT ((uint64_t)4 << 20)
#define CHUNK            ((size_t)64 << 10)

int fetch_part_content(struct fetch_part *p, struct error *err)
{
    return p->reader ? 0 : message_open(p->account, p->message, &p->reader, err);
}

/* Parses the content and makes a digest that leaves nothing out. */
static int rebuild(struct fetch_part *p, struct error *err)
{
    CLEANUP(buf_done) struct buf chunk = buf_make(BUF_MAX_DEFAULT);
    CLEANUP(buf_done) struct buf usual = buf_make(BUF_MAX_DEFAULT);
    struct intake *intake;
    struct mdigest d;
    uint64_t size;
    int r = fetch_part_content(p, err);

    if (r < 0)
        return r;
    size = message_size(p->reader);
    intake = intake_new(NULL, NULL, NULL);
    for (uint64_t at = 0; at < size && r == 0; at += CHUNK) {
        buf_reset(&chunk, CHUNK * 2);
        r = message_read(p->reader, at, CHUNK, &chunk, err);
        if (r == 0)
            r = intake_feed(intake, buf_slice(&chunk));
    }
    if (r == 0)
        r = intake_finish(intake, &usual, NULL);
    if (r == 0)
        r = mdigest_open(&d, buf_slice(&usual));
    if (r == 0) {
        buf_reset(&p->rebuilt, 0);
        mdigest_build(&p->rebuilt, intake_root(intake), d.preview, &mdigest_caps_none);
        r = mdigest_open(&p->digest, buf_slice(&p->rebuilt));
        p->complete = r == 0;
    }
    intake_free(intake);
    return r;
}

int fetch_part_open(struct fetch_part *p, struct account *account, uint64_t message,
                    struct slice bytes, struct error *err)
{
    *p = (struct fetch_part){
        .account = account, .message = message, .rebuilt = buf_make(BUF_MAX_DEFAULT)};
    if (bytes.n == 0)
        return error_set(err, ERR_NOTFOUND, "The message is gone");
    if (mdigest_open(&p->digest, bytes) == 0)
        return 0;
    return rebuild(p, err);
}

void fetch_part_done(struct fetch_part *p)
{
    if (p->reader)
        message_close(TAKE(p->reader));
    buf_done(&p->rebuilt);
    p->message = 0;
}

int fetch_part_need(struct fetch_part *p, uint32_t missing, struct error *err)
{
    return p->complete || !(p->digest.missing & missing) ? 0 : rebuild(p, err);
}

static int find(struct fetch_part *p, const struct imap_section *s, struct mdigest_section *ret,
                struct error *err)
{
    int r = mdigest_section_find(&p->digest, s->numbers, s->n_numbers, ret);

    if (r == -ERR_LIMIT && !p->complete) {
        r = rebuild(p, err);
        if (r < 0)
            return r;
        r = mdigest_section_find(&p->digest, s->numbers, s->n_numbers, ret);
    }
    if (r == -ERR_NOTFOUND || r == -ERR_LIMIT)
        return 0;
    return r < 0 ? r : 1;
}

int fetch_part_find(struct fetch_part *p, const struct imap_section *s, struct mdigest_section *ret,
                    struct error *err)
{
    if (s->n_numbers)
        return find(p, s, ret, err);
    *ret = (struct mdigest_section){.kind = MIME_MULTIPART, .body_len = p->digest.size};
    return 1;
}

int fetch_part_range(struct fetch_part *p, const struct imap_section *s, uint64_t *ret_offset,
                     uint64_t *ret_len, struct error *err)
{
    struct mdigest_section found;
    int r;

    if (s->kind == SECTION_ALL && s->n_numbers == 0) {
        *ret_offset = 0;
        *ret_len = p->digest.size;
        return 1;
    }
    r = find(p, s, &found, err);
    if (r <= 0)
        return r;
    switch (s->kind) {
    case SECTION_ALL:
        *ret_offset = found.body_offset;
        *ret_len = found.body_len;
        return 1;
    case SECTION_MIME:
        *ret_offset = found.header_offset;
        *ret_len = found.header_len;
        return 1;
    case SECTION_TEXT:
        *ret_offset = found.message_text_offset;
        *ret_len = found.message_text_len;
        return found.has_message;
    default:
        *ret_offset = found.message_header_offset;
        *ret_len = found.message_header_len;
        return found.has_message;
    }
}

int fetch_part_fields(struct fetch_part *p, const struct imap_section *s, struct buf *out,
                      struct error *err)
{
    CLEANUP(buf_done) struct buf header = buf_make(BUF_MAX_DEFAULT);
    bool negate = s->kind == SECTION_FIELDS_NOT;
    uint64_t offset, len;
    int r;

    if (s->n_numbers == 0 && mdigest_header_fields(&p->digest, s->fields, s->n_fields, negate, out))
        return 1;
    r = fetch_part_range(p, s, &offset, &len, err);
    if (r <= 0)
        return r;
    r = fetch_part_content(p, err);
    if (r == 0)
        r = message_read(p->reader, offset, (size_t)MIN(len, HEADER_LOOKED_AT), &header, err);
    if (r < 0)
        return r;
    mdigest_filter_header(buf_slice(&header), s->fields, s->n_fields, negate, out);
    return 1;
}
