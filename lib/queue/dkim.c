/* SPDX-License-Identifier: MPL-2.0 */
/* Signing. The body is hashed as it passes; of the header only those fields are kept that are
 * signed, since their order in the hash is that of the h= tag and not that of the message.
 *
 * Which fields: those that RFC 6376 5.4.1 names, as often as they occur. Those that a reader takes
 * for the sender, the subject or the shape of the message are named once more than they occur
 * (5.4.2), so that none can be added later. Trace fields are added on the way and are not signed.
 */
#include "lib/queue/dkim.h"

#include <stdio.h>

#include <openssl/err.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/queue/crlf.h"
#include "lib/queue/dkim_impl.h"

#define FOLD_AT       76
#define INSTANCES_MAX 64 /* of one field; more are left unsigned */

static const struct signed_field {
    const char *name; /* lower case */
    bool once_more;
} signed_fields[] = {
    {"from", true},
    {"sender", true},
    {"reply-to", true},
    {"to", true},
    {"cc", true},
    {"subject", true},
    {"date", true},
    {"message-id", true},
    {"in-reply-to", true},
    {"references", true},
    {"mime-version", true},
    {"content-type", true},
    {"content-transfer-encoding", true},
    {"content-disposition", false},
    {"content-id", false},
    {"content-description", false},
    {"resent-date", false},
    {"resent-from", false},
    {"resent-sender", false},
    {"resent-to", false},
    {"resent-cc", false},
    {"resent-message-id", false},
    {"list-id", false},
    {"list-help", false},
    {"list-unsubscribe", false},
    {"list-unsubscribe-post", false},
    {"list-subscribe", false},
    {"list-post", false},
    {"list-owner", false},
    {"list-archive", false},
};
#define FIELDS ARRAY_LEN(signed_fields)

/* One field that is kept: its canonical form, in `kept`. */
struct kept_field {
    size_t from, to;
    unsigned char field; /* index into signed_fields */
};

struct dkim_signer {
    struct crlf crlf;
    bool in_body;
    struct buf line;   /* header: the field that is being read, with its folded lines */
    bool line_is_full; /* it ends with CR LF: the next byte says whether it goes on */
    struct buf kept;
    bool too_large;
    VEC(struct kept_field) fields;
    struct digest_ctx *body;
    struct {                /* relaxed canonicalisation of the body (RFC 6376 3.4.4) */
        uint64_t line_ends; /* CR LFs that count only if something follows */
        bool space;         /* white space that counts only if something follows in the line */
        bool any;           /* something was hashed */
    } relaxed;
};

struct dkim_signer *dkim_signer_new(void)
{
    struct dkim_signer *s = NEW(struct dkim_signer);

    s->line = buf_make(DKIM_HEADER_MAX);
    s->kept = buf_make(DKIM_HEADER_MAX);
    s->body = digest_new();
    return s;
}

void dkim_signer_free(struct dkim_signer *s)
{
    if (!s)
        return;
    buf_done(&s->line);
    buf_done(&s->kept);
    VEC_DONE(&s->fields);
    digest_free(s->body);
    free(s);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* ---- Header ---- */

/* RFC 6376 3.4.2: name in lower case, unfolded, runs of white space as one space, none at the ends
 * of the value. Without the CR LF. */
static void add_relaxed(struct buf *out, struct slice name, struct slice value)
{
    bool space = false, any = false;

    for (size_t i = 0; i < name.n; i++)
        buf_add_byte(out, byte_lower(name.p[i]));
    buf_add_byte(out, ':');
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];

        if (c == '\r' || c == '\n')
            continue;
        if (is_space(c)) {
            space = any;
            continue;
        }
        if (space)
            buf_add_byte(out, ' ');
        buf_add_byte(out, c);
        space = false;
        any = true;
    }
}

static void keep_field(struct dkim_signer *s)
{
    struct slice line = buf_slice(&s->line);
    ssize_t colon = slice_find(line, ':');
    struct slice name = slice_trim(slice_sub(line, 0, colon < 0 ? 0 : (size_t)colon));

    for (size_t i = 0; i < FIELDS; i++) {
        if (!slice_ieq(name, slice_str(signed_fields[i].name)))
            continue;
        struct kept_field *f = VEC_PUSH(&s->fields);
        *f = (struct kept_field){.from = s->kept.n, .field = (unsigned char)i};
        add_relaxed(&s->kept, name, slice_skip(line, (size_t)colon + 1));
        f->to = s->kept.n;
        s->too_large |= buf_full(&s->line) || buf_full(&s->kept);
        break;
    }
    buf_reset(&s->line, 4096);
    s->line_is_full = false;
}

/* Takes a line, or the beginning of one, from the front of `in`. */
static void feed_header(struct dkim_signer *s, struct slice *in)
{
    if (s->line_is_full && !is_space(in->p[0]))
        keep_field(s);

    ssize_t lf = slice_find(*in, '\n');
    size_t n = lf < 0 ? in->n : (size_t)lf + 1;
    size_t at = s->line.n;

    buf_add(&s->line, in->p, n);
    *in = slice_skip(*in, n);
    s->line_is_full = lf >= 0;
    if (lf >= 0 && at == 0 && n == 2) {
        s->in_body = true;
        buf_done(&s->line);
    }
}

/* ---- Body ---- */

static void hash_line_ends(struct dkim_signer *s)
{
    for (; s->relaxed.line_ends > 0; s->relaxed.line_ends--)
        digest_add(s->body, S("\r\n"));
}

static void hash_text(struct dkim_signer *s, struct slice text)
{
    hash_line_ends(s);
    if (s->relaxed.space)
        digest_add(s->body, S(" "));
    s->relaxed.space = false;
    s->relaxed.any = true;
    digest_add(s->body, text);
}

/* Clean line ends only: a CR is followed by its LF, maybe in the next piece. */
static void feed_body(struct dkim_signer *s, struct slice in)
{
    const uint8_t *p = in.p, *end = in.p + in.n;

    while (p < end) {
        const uint8_t *from = p;

        while (p < end && !is_space(*p) && *p != '\r' && *p != '\n')
            p++;
        if (p > from)
            hash_text(s, slice_of(from, (size_t)(p - from)));
        if (p == end)
            break;
        if (*p == '\n') {
            s->relaxed.line_ends++;
            s->relaxed.space = false;
        } else if (*p != '\r') {
            s->relaxed.space = true;
        }
        p++;
    }
}

static void end_body(struct dkim_signer *s, uint8_t ret_hash[static SHA256_SIZE])
{
    if (s->relaxed.any)
        digest_add(s->body, S("\r\n")); /* one of those that wait, or the one that is missing */
    digest_end(s->body, ret_hash);
    s->body = NULL;
}

static void feed_clean(struct dkim_signer *s, struct slice in)
{
    while (in.n > 0 && !s->in_body)
        feed_header(s, &in);
    if (in.n > 0)
        feed_body(s, in);
}

void dkim_signer_feed(struct dkim_signer *s, struct slice bytes)
{
    CLEANUP(buf_done) struct buf clean = buf_make(BUF_MAX_DEFAULT);

    while (bytes.n > 0) {
        struct slice piece = slice_sub(bytes, 0, (size_t)64 << 10);

        buf_reset(&clean, SIZE_MAX);
        crlf_feed(&s->crlf, piece, &clean);
        feed_clean(s, buf_slice(&clean));
        bytes = slice_skip(bytes, piece.n);
    }
}

static void end_input(struct dkim_signer *s)
{
    uint8_t room[2];
    struct buf rest = {.p = room, .cap_now = sizeof room, .max = sizeof room};

    crlf_end(&s->crlf, &rest);
    feed_clean(s, buf_slice(&rest));
    if (!s->in_body && s->line.n > 0)
        keep_field(s);
}

/* ---- The signature ---- */

/* Text that is folded between items. */
struct folded {
    struct buf *out;
    size_t column;
};

static void add_item(struct folded *f, const char *item, size_t n)
{
    if (f->column + n > FOLD_AT) {
        buf_add_slice(f->out, S("\r\n\t"));
        f->column = 8;
    }
    buf_add(f->out, item, n);
    f->column += n;
}

static void add_base64(struct folded *f, struct slice bytes)
{
    CLEANUP(buf_done) struct buf text = buf_make(4096);

    base64_encode(&text, bytes);
    for (size_t at = 0; at < text.n;) {
        size_t room = f->column < FOLD_AT ? FOLD_AT - f->column : 0;
        size_t n = MIN(MAX(room, (size_t)1), text.n - at);

        add_item(f, (const char *)text.p + at, n);
        at += n;
    }
}

/* From the bottom up, as RFC 6376 5.4.2 has it. `order` gets the fields' indices, h their names. */
static void choose_fields(struct dkim_signer *s, struct folded *h, size_t *order, size_t *ret_n)
{
    bool first = true;

    *ret_n = 0;
    for (size_t i = 0; i < FIELDS; i++) {
        unsigned seen = 0;
        char item[40];

        for (size_t k = s->fields.n; k-- > 0 && seen < INSTANCES_MAX;)
            if (s->fields.items[k].field == i) {
                order[(*ret_n)++] = k;
                seen++;
            }
        /* a name that is not signed to its last instance must not be named once more: the next
         * instance would be taken for it */
        unsigned names = seen + (signed_fields[i].once_more && seen < INSTANCES_MAX);

        for (unsigned k = 0; k < names; k++) {
            int n = snprintf(item, sizeof item, "%s%s", first ? "" : ":", signed_fields[i].name);

            add_item(h, item, (size_t)n);
            first = false;
        }
    }
}

struct signing {
    struct dkim_signer *signer;
    const size_t *order;
    size_t order_n;
    struct slice h; /* the h= tag's value, folded */
    uint8_t body_hash[SHA256_SIZE];
    int64_t now_ms;
};

static void write_tags(const struct signing *w, const struct dkim_key *key, struct folded *f)
{
    const char *name = "DKIM-Signature: ";

    buf_printf(f->out,
               "%sv=1; a=%s; c=relaxed/relaxed;\r\n\td=%s;\r\n\ts=%s; t=%lld;\r\n\th=", name,
               dkim_algorithm_name(key->algorithm), key->domain, key->selector,
               (long long)(w->now_ms / 1000));
    buf_add_slice(f->out, w->h);
    buf_add_slice(f->out, S(";\r\n\tbh="));
    base64_encode(f->out, slice_of(w->body_hash, SHA256_SIZE));
    buf_add_slice(f->out, S(";\r\n\tb="));
    f->column = 8 + 2;
}

/* RFC 6376 3.7: the fields with CR LF, then the signature's own, b= empty, without. */
static void hash_header(const struct signing *w, struct slice own, uint8_t ret[static SHA256_SIZE],
                        struct buf *data)
{
    struct dkim_signer *s = w->signer;

    for (size_t i = 0; i < w->order_n; i++) {
        const struct kept_field *f = &s->fields.items[w->order[i]];

        buf_add_slice(data, slice_sub(buf_slice(&s->kept), f->from, f->to));
        buf_add_slice(data, S("\r\n"));
    }
    add_relaxed(data, S("dkim-signature"), slice_skip(own, sizeof "DKIM-Signature:" - 1));
    digest_sha256(buf_slice(data), ret);
}

/* RSA signs the data by way of its hash; Ed25519 signs the hash as its message (RFC 8463 3). */
static int sign_data(EVP_PKEY *key, enum dkim_algorithm algorithm, struct slice data,
                     const uint8_t hash[static SHA256_SIZE], struct buf *ret)
{
    bool rsa = algorithm == DKIM_RSA_SHA256;
    const uint8_t *p = rsa ? data.p : hash;
    size_t p_n = rsa ? data.n : SHA256_SIZE, n = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, rsa ? EVP_sha256() : NULL, NULL, key) == 1 &&
              EVP_DigestSign(ctx, NULL, &n, p, p_n) == 1;
    uint8_t *to = ok ? buf_reserve(ret, n) : NULL;

    ok = to && EVP_DigestSign(ctx, to, &n, p, p_n) == 1;
    if (ok)
        ret->n += n;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok ? 0 : -ERR_INTERNAL;
}

static int sign_with(const struct signing *w, const struct dkim_key *key, EVP_PKEY *ready,
                     struct buf *out, struct error *err)
{
    CLEANUP(buf_done) struct buf field = buf_make(DKIM_HEADER_MAX);
    CLEANUP(buf_done) struct buf data = buf_make(DKIM_HEADER_MAX * 2);
    CLEANUP(buf_done) struct buf signature = buf_make(4096);
    struct folded f = {.out = &field};
    uint8_t hash[SHA256_SIZE];

    write_tags(w, key, &f);
    hash_header(w, buf_slice(&field), hash, &data);
    if (buf_full(&field) || buf_full(&data))
        return error_set(err, ERR_TOOBIG, "the header is too large to be signed");
    if (sign_data(ready, key->algorithm, buf_slice(&data), hash, &signature) < 0)
        return error_set(err, ERR_INTERNAL, "the DKIM key %s of %s does not sign", key->selector,
                         key->domain);
    add_base64(&f, buf_slice(&signature));
    buf_add_slice(&field, S("\r\n"));
    buf_add_slice(out, buf_slice(&field));
    return 0;
}

static int sign_with_set(struct dkim_signer *s, const struct dkim_set *set, struct buf *out,
                         struct error *err)
{
    CLEANUP(buf_done) struct buf h = buf_make(DKIM_HEADER_MAX);
    CLEANUP_FREE size_t *order = NEW_ARRAY(size_t, s->fields.n + 1);
    struct signing w = {.signer = s, .order = order, .now_ms = clock_wall_ms()};
    struct folded names = {.out = &h, .column = 8 + 2};
    int signed_n = 0;

    choose_fields(s, &names, order, &w.order_n);
    w.h = buf_slice(&h);
    end_body(s, w.body_hash);
    for (size_t i = 0; i < set->n; i++) {
        if (dkim_key_status(&set->keys[i], w.now_ms) != DKIM_ACTIVE)
            continue;
        int rc = sign_with(&w, &set->keys[i], set->ready[i], out, err);
        if (rc < 0)
            return rc;
        signed_n++;
    }
    return signed_n;
}

int dkim_sign(struct dkim *dkim, struct dkim_signer *s, const char *domain, struct buf *out,
              struct error *err)
{
    struct dkim_set *set;
    size_t before = out->n;
    int rc = dkim_set_get(dkim, domain, &set, err);

    if (rc < 0)
        return rc;
    end_input(s);
    if (set->n == 0)
        rc = 0;
    else if (s->too_large)
        rc = error_set(err, ERR_TOOBIG, "the header is too large to be signed");
    else
        rc = sign_with_set(s, set, out, err);
    if (rc < 0)
        out->n = before;
    dkim_set_unref(set);
    return rc;
}

int dkim_signs(struct dkim *dkim, const char *domain, struct error *err)
{
    int64_t now = clock_wall_ms();
    struct dkim_set *set;
    int r = dkim_set_get(dkim, domain, &set, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < set->n && r == 0; i++)
        r = dkim_key_status(&set->keys[i], now) == DKIM_ACTIVE;
    dkim_set_unref(set);
    return r;
}
