/* SPDX-License-Identifier: MPL-2.0 */
/* URLFETCH (RFC 4467), with BODYPARTSTRUCTURE, BINARY and BODY (RFC 5524).
 *
 * One response a URL. The octets come by slices, as those of FETCH. */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "protocols/imap/body_part.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/url_data.h"
#include "protocols/imap/urlauth.h"

#define WORK_MS 100 /* then others have their turn */

struct urlfetch {
    size_t at; /* the argument under way */
    struct slice text;
    unsigned wants; /* enum urlfetch_word, as bits; 0: the plain form */
    struct imap_url url;
    struct url_data data;
    bool open, begun;       /* data is; the response is */
    bool decoding, unknown; /* what BINARY takes off is being counted; cannot be taken off */
    bool streaming;         /* a part of the literal was sent by an earlier run */
    int64_t until;          /* clock_mono_ms() */
};

static void urlfetch_free(void *context)
{
    struct urlfetch *f = context;

    if (f->open)
        url_data_close(&f->data);
    free(f);
}

/* --- opening -----------------------------------------------------------------------------------
 */

/* RFC 5524 section 3.1: "Metadata items MUST NOT appear more than once per URL requested, and
 * clients MUST NOT request both BINARY and BODY." */
static int read_wants(struct command *cmd, const struct arg *words, unsigned *ret)
{
    *ret = 0;
    for (size_t i = 0; words->kind && i < words->n; i++) {
        unsigned word = (unsigned)words->items[i].word;

        if (*ret & word)
            return imap_bad(cmd, "Each item once");
        *ret |= word;
    }
    if ((*ret & (URLFETCH_BINARY | URLFETCH_BODY)) == (URLFETCH_BINARY | URLFETCH_BODY))
        return imap_bad(cmd, "BINARY or BODY, not both");
    return 0;
}

static int open_url(struct imap *im, struct command *cmd, struct urlfetch *f)
{
    const struct urlauth_asker asker = {
        .mail = im->service->mail,
        .directory = auth_directory(im->service->auth),
        .hosts = im->service->settings.url_hosts,
        .account = im->user.account,
        .login = im->user.login,
    };
    struct account *account;
    struct state *st;
    int r = imap_url_parse(f->text, &cmd->arena, &f->url, &cmd->err);

    if (r == 0)
        r = urlauth_admit(&asker, &f->url, &account, &st, &cmd->err);
    if (r < 0)
        return r;
    r = url_data_open(account, st, &f->url, &f->data, &cmd->err);
    state_unref(st);
    account_unref(account);
    f->open = r == 0;
    f->decoding = r == 0 && f->wants & URLFETCH_BINARY;
    return r;
}

static void write_url(struct imap *im, const struct urlfetch *f)
{
    buf_add_str(&im->s.out, "* URLFETCH ");
    imap_write_string(&im->s.out, f->text);
}

/* Section 8: "The returned data string is NIL if the URL is invalid for any reason (including
 * validation failure)." */
static int begin(struct imap *im, struct command *cmd, struct urlfetch *f)
{
    int r = open_url(im, cmd, f);

    if (r != -ERR_INVALID && r != -ERR_NOPERM && r != -ERR_NOTFOUND)
        return r;
    cmd->err = (struct error){0};
    write_url(im, f);
    buf_add_str(&im->s.out, " NIL\r\n");
    f->at++;
    return 0;
}

/* --- BODYPARTSTRUCTURE -------------------------------------------------------------------------
 */

/* Of what is no part, but some of its header. */
static int write_header_structure(struct urlfetch *f, struct buf *out, struct error *err)
{
    uint64_t lines = 0;
    int r = url_data_lines(&f->data, &lines, err);

    buf_printf(out,
               "(\"TEXT\" \"RFC822-HEADERS\" NIL NIL NIL \"8BIT\" %" PRIu64 " %" PRIu64
               " NIL NIL NIL NIL)",
               f->data.size, lines);
    return r;
}

/* RFC 5524 section 3.2: "It will reflect any conversions or decoding that have taken place." */
static int write_structure(struct urlfetch *f, struct buf *out, struct error *err)
{
    const struct imap_section *s = f->url.section;
    struct fetch_part *part = &f->data.part;
    struct slice found;
    uint64_t lines;
    int r = fetch_part_need(part, MDIGEST_NO_BODYSTRUCTURE, err);

    if (r < 0)
        return r;
    buf_add_str(out, " (BODYPARTSTRUCTURE ");
    if ((s->kind != SECTION_ALL && s->kind != SECTION_TEXT) ||
        !body_part_find(part->digest.bodystructure, s->numbers, s->n_numbers, &found))
        r = write_header_structure(f, out, err);
    else if (s->kind == SECTION_TEXT && s->n_numbers && body_part_message(found, &found))
        buf_add_slice(out, found);
    else if (!url_data_was_encoded(&f->data, &lines) ||
             !body_part_decoded(found, f->data.size, lines, out))
        buf_add_slice(out, found);
    buf_add_byte(out, ')');
    return r;
}

/* --- octets ------------------------------------------------------------------------------------
 */

static int count_decoded(struct urlfetch *f, struct error *err)
{
    int r = url_data_decode(&f->data, f->until, err);

    if (r == 0)
        return RUN_AGAIN;
    f->unknown = r == -ERR_NOPERM;
    f->decoding = false;
    return r > 0 || f->unknown ? 0 : r;
}

static int write_head(struct imap *im, struct urlfetch *f, struct error *err)
{
    struct buf *out = &im->s.out;
    int r = 0;

    write_url(im, f);
    if (f->wants & URLFETCH_STRUCTURE)
        r = write_structure(f, out, err);
    if (f->wants & URLFETCH_BODY)
        buf_add_str(out, " (BODY");
    if (f->wants & URLFETCH_BINARY)
        buf_add_str(out, " (BINARY");
    if (f->unknown)
        buf_add_str(out, " NIL");
    else if (f->wants != URLFETCH_STRUCTURE)
        buf_printf(out, " %s{%" PRIu64 "}\r\n", url_data_has_nul(&f->data) ? "~" : "",
                   f->data.size);
    if (f->unknown || f->wants == URLFETCH_STRUCTURE)
        f->data.left = 0;
    f->begun = true;
    return r;
}

static void write_end(struct imap *im, struct urlfetch *f)
{
    if (f->wants & (URLFETCH_BODY | URLFETCH_BINARY))
        buf_add_byte(&im->s.out, ')');
    buf_add_str(&im->s.out, "\r\n");
    url_data_close(&f->data);
    f->open = f->begun = f->streaming = f->unknown = false;
    f->at++;
}

static int write_data(struct imap *im, struct urlfetch *f, struct error *err)
{
    int r = 0;

    if (f->decoding)
        r = count_decoded(f, err);
    if (r == 0 && !f->begun)
        r = write_head(im, f, err);
    while (r == 0 && f->data.left && im->s.out.n < SESSION_SLICE) {
        r = url_data_read(&f->data, &im->s.out, err);
        r = MIN(r, 0);
    }
    if (r == 0 && f->data.left)
        r = RUN_AGAIN;
    if (r == 0)
        write_end(im, f);
    return r;
}

/* What cannot be read is said by NO, but not in the middle of a literal. */
static int go_on(struct imap *im, struct urlfetch *f, struct error *err)
{
    size_t start = im->s.out.n;
    int r = write_data(im, f, err);

    if (r < 0 && f->streaming)
        return -ERR_UNKNOWN_OUTCOME;
    if (r < 0)
        im->s.out.n = start;
    f->streaming = r == RUN_AGAIN && f->begun;
    return r;
}

/* --- the command -------------------------------------------------------------------------------
 */

static int take_argument(struct command *cmd, struct urlfetch *f)
{
    const struct arg *arg = &cmd->parsed.args[0].items[f->at];
    bool list = arg->kind == RULE_LIST;

    f->text = list ? arg->items[0].text : arg->text;
    return list ? read_wants(cmd, &arg->items[1], &f->wants) : 0;
}

/* All of them, before the first one is answered. */
static int check_arguments(struct command *cmd)
{
    struct urlfetch f = {0};
    int r = 0;

    for (; f.at < cmd->parsed.args[0].n && r == 0; f.at++)
        r = take_argument(cmd, &f);
    return r;
}

int cmd_urlfetch(struct imap *im, struct command *cmd)
{
    struct urlfetch *f = cmd->context;
    int r = f ? 0 : check_arguments(cmd);

    if (r < 0)
        return r;
    if (!f) {
        cmd->context = f = NEW(struct urlfetch);
        cmd->context_free = urlfetch_free;
    }
    f->until = clock_mono_ms() + WORK_MS;
    while (r == 0 && f->at < cmd->parsed.args[0].n) {
        if (im->s.out.n >= SESSION_SLICE || clock_mono_ms() >= f->until)
            return RUN_AGAIN;
        if (!f->open) {
            f->wants = 0;
            (void)!take_argument(cmd, f);
            r = begin(im, cmd, f);
        }
        if (r == 0 && f->open)
            r = go_on(im, f, &cmd->err);
    }
    return r;
}
