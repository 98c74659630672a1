/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/structure.h"

#include "lib/mime/envelope.h"

#define DEFAULT_CHARSET "\"charset\" \"us-ascii\""

static void part_write(struct buf *out, const struct mime_part *part, bool extended);

static void params_write(struct buf *out, const struct mime_params *params, bool default_charset)
{
    bool charset = false;

    if (params->n == 0 && !default_charset) {
        buf_add_str(out, " NIL");
        return;
    }
    buf_add_str(out, " (");
    for (size_t i = 0; i < params->n; i++) {
        if (i > 0)
            buf_add_byte(out, ' ');
        charset |= slice_ieq(params->items[i].name, S("charset"));
        imap_nstring(out, params->items[i].name);
        buf_add_byte(out, ' ');
        imap_nstring(out, params->items[i].value);
    }
    if (default_charset && !charset) {
        if (params->n > 0)
            buf_add_byte(out, ' ');
        buf_add_str(out, DEFAULT_CHARSET);
    }
    buf_add_byte(out, ')');
}

/* body-ext: disposition, language, location. */
static void extension_write(struct buf *out, const struct mime_part *part)
{
    if (part->disposition.p) {
        buf_add_str(out, " (");
        imap_nstring(out, part->disposition);
        params_write(out, &part->disposition_params, false);
        buf_add_byte(out, ')');
    } else {
        buf_add_str(out, " NIL");
    }
    if (part->language_count > 0) {
        buf_add_str(out, " (");
        for (size_t i = 0; i < part->language_count; i++) {
            if (i > 0)
                buf_add_byte(out, ' ');
            imap_nstring(out, part->languages[i]);
        }
        buf_add_byte(out, ')');
    } else {
        buf_add_str(out, " NIL");
    }
    buf_add_byte(out, ' ');
    imap_nstring_unfolded(out, part->location);
}

static void multipart_write(struct buf *out, const struct mime_part *part, bool extended)
{
    /* body-type-mpart = 1*body: one without parts shows an empty text */
    if (!part->child)
        buf_add_str(out, extended ? "(\"text\" \"plain\" (" DEFAULT_CHARSET
                                    ") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"
                                  : "(\"text\" \"plain\" (" DEFAULT_CHARSET
                                    ") NIL NIL \"7bit\" 0 0)");
    for (const struct mime_part *p = part->child; p && !buf_full(out); p = p->next)
        part_write(out, p, extended);
    buf_add_byte(out, ' ');
    imap_nstring(out, part->subtype);
    if (extended) {
        params_write(out, &part->params, false);
        extension_write(out, part);
    }
}

static void type_write(struct buf *out, const struct mime_part *part)
{
    if (part->kind == MIME_MESSAGE) {
        buf_add_str(out, "\"message\" \"rfc822\"");
    } else if (part->opaque) {
        /* a client would look for the structure of a message or multipart */
        buf_add_str(out, "\"application\" \"octet-stream\"");
    } else if (!part->has_type) {
        buf_add_str(out, "\"text\" \"plain\"");
    } else {
        imap_nstring(out, part->type);
        buf_add_byte(out, ' ');
        imap_nstring(out, part->subtype);
    }
}

static void leaf_write(struct buf *out, const struct mime_part *part, bool extended)
{
    type_write(out, part);
    params_write(out, &part->params, part->is_text);
    buf_add_byte(out, ' ');
    imap_nstring_unfolded(out, part->id);
    buf_add_byte(out, ' ');
    imap_nstring_unfolded(out, part->description);
    buf_add_byte(out, ' ');
    imap_nstring(out, part->encoding_text.p ? part->encoding_text : S("7bit"));
    buf_add_byte(out, ' ');
    buf_add_u64(out, part->end - part->body_start);
    if (part->kind == MIME_MESSAGE) {
        buf_add_byte(out, ' ');
        envelope_write(out, part->child->header);
        buf_add_byte(out, ' ');
        part_write(out, part->child, extended);
    }
    if (part->is_text || part->kind == MIME_MESSAGE) {
        buf_add_byte(out, ' ');
        buf_add_u64(out, part->lines);
    }
    if (extended) {
        buf_add_byte(out, ' ');
        imap_nstring_unfolded(out, part->md5);
        extension_write(out, part);
    }
}

/* Recursion is as deep as the parser's limit of depth. */
static void part_write(struct buf *out, const struct mime_part *part, bool extended)
{
    buf_add_byte(out, '(');
    if (part->kind == MIME_MULTIPART)
        multipart_write(out, part, extended);
    else
        leaf_write(out, part, extended);
    buf_add_byte(out, ')');
}

void structure_write(struct buf *out, const struct mime_part *root, bool extended)
{
    part_write(out, root, extended);
}
