/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/intake.h"

#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/mime/text.h"

#define PREVIEW_MAX 1024 /* octets; 200 characters of 4 octets fit */

struct intake {
    struct mime_parser *parser;
    struct skeleton_writer *skeleton; /* NULL: none is made */
    struct text_preview *preview;
    const struct mime_part *root;
};

static void on_header(void *ctx, const struct mime_part *part)
{
    struct intake *in = ctx;

    text_preview_header(in->preview, part);
}

static void on_bytes(void *ctx, const struct mime_part *part, enum mime_bytes kind, struct slice s)
{
    struct intake *in = ctx;

    text_preview_bytes(in->preview, part, kind, s);
    if (in->skeleton)
        skeleton_writer_bytes(in->skeleton, part, kind, s);
}

struct intake *intake_new(skeleton_blob_fn *blob, void *ctx, const struct mime_limits *limits)
{
    struct intake *in = NEW(struct intake);
    struct mime_sink sink = {.ctx = in, .header = on_header, .bytes = on_bytes};

    in->preview = text_preview_new();
    if (blob)
        in->skeleton = skeleton_writer_new(blob, ctx);
    in->parser = mime_parser_new(limits, &sink);
    return in;
}

int intake_feed(struct intake *in, struct slice bytes)
{
    mime_parser_feed(in->parser, bytes);
    return in->skeleton ? skeleton_writer_status(in->skeleton) : 0;
}

int intake_finish(struct intake *in, struct buf *ret_digest, struct buf *ret_skeleton)
{
    struct buf preview = buf_make(PREVIEW_MAX), unwanted = buf_make(BUF_MAX_DEFAULT);
    int ret = 0;

    in->root = mime_parser_finish(in->parser);
    if (in->skeleton)
        ret = skeleton_writer_finish(in->skeleton, ret_skeleton ? ret_skeleton : &unwanted);
    if (ret == 0 && ret_digest) {
        text_preview_finish(in->preview, &preview);
        mdigest_build(ret_digest, in->root, buf_slice(&preview), NULL);
    }
    buf_done(&preview);
    buf_done(&unwanted);
    return ret;
}

const struct mime_part *intake_root(const struct intake *in)
{
    return in->root;
}

void intake_free(struct intake *in)
{
    if (!in)
        return;
    mime_parser_free(in->parser);
    skeleton_writer_free(in->skeleton);
    text_preview_free(in->preview);
    free(in);
}
