/* SPDX-License-Identifier: MPL-2.0 */
/* Reading in order of what is likely: a group, a name and <address>, a bare address; what none of
 * them fits is an address with marks in the place of what is missing. The marks and which of them
 * goes where agree with Dovecot, so that a client sees the same list from both. */
#include "lib/mime/address.h"

#include "lib/mime/header.h"
#include "lib/mime/scan.h"

struct reader {
    struct scan s;
    struct arena *arena;
    struct buf text, comment;
    struct address now; /* the one being read */
    struct address *first, **last;
    size_t left;
};

static struct slice keep(struct reader *r)
{
    return arena_slice(r->arena, buf_slice(&r->text));
}

static void add(struct reader *r)
{
    struct address *a;

    if (r->left > 0) {
        a = ARENA_NEW(r->arena, struct address);
        *a = r->now;
        *r->last = a;
        r->last = &a->next;
        r->left--;
    }
    r->now = (struct address){0};
}

static void add_mended(struct reader *r)
{
    if (!r->now.mailbox.p) {
        r->now.mailbox = S("MISSING_MAILBOX");
        r->now.invalid = true;
    }
    if (r->now.domain.n == 0) {
        r->now.domain = S("MISSING_DOMAIN");
        r->now.invalid = true;
    }
    add(r);
}

/* Words between dots; dots may also come first, last or twice, as real addresses have them, and
 * blanks around them (obs-local-part). */
static int read_dotted(struct reader *r)
{
    int ret = -1;

    for (;;) {
        while (scan_peek(&r->s) == '.') {
            buf_add_byte(&r->text, '.');
            r->s.p++;
            ret = scan_cfws(&r->s);
            if (ret <= 0)
                return ret;
        }
        if (scan_peek(&r->s) == '@')
            return ret;
        ret = scan_atom(&r->s, &r->text);
        if (ret <= 0 || *r->s.p != '.')
            return ret;
    }
}

static int read_local_part(struct reader *r)
{
    int ret;

    r->text.n = 0;
    if (scan_peek(&r->s) == '"')
        ret = scan_quoted_string(&r->s, &r->text);
    else
        ret = read_dotted(r);
    if (ret < 0)
        return -1;
    r->now.mailbox = keep(r);
    return ret;
}

static int read_domain(struct reader *r)
{
    int ret;

    r->text.n = 0;
    ret = scan_domain(&r->s, &r->text);
    if (ret < 0)
        return -1;
    r->now.domain = keep(r);
    return ret;
}

/* obs-domain-list = *(CFWS / ",") "@" domain *("," [CFWS] ["@" domain]); 1 if it is one. */
static int read_route(struct reader *r)
{
    int ret;

    r->text.n = 0;
    for (;;) {
        if (r->s.p >= r->s.end)
            return 0;
        if (*r->s.p != '@')
            break;
        if (r->text.n > 0)
            buf_add_byte(&r->text, ',');
        buf_add_byte(&r->text, '@');
        ret = scan_domain(&r->s, &r->text);
        if (ret <= 0)
            return ret;
        while (scan_cfws(&r->s) > 0 && *r->s.p == ',')
            r->s.p++;
    }
    r->now.route = keep(r);
    return 1;
}

/* "<" [route ":"] local-part "@" domain ">" */
static int read_angle(struct reader *r)
{
    r->s.p++;
    if (scan_cfws(&r->s) <= 0)
        return -1;
    if (*r->s.p == '@') {
        if (read_route(r) > 0 && scan_peek(&r->s) == ':') {
            r->s.p++;
        } else {
            r->now.route = S("INVALID_ROUTE");
            if (r->s.p >= r->s.end)
                return -1;
        }
        if (scan_cfws(&r->s) <= 0)
            return -1;
    }
    if (*r->s.p != '>') {
        if (read_local_part(r) <= 0)
            return -1;
        if (*r->s.p == '@' && read_domain(r) <= 0)
            return -1;
    }
    if (*r->s.p != '>')
        return -1;
    r->s.p++;
    return scan_cfws(&r->s);
}

static int read_name_and_angle(struct reader *r)
{
    r->text.n = 0;
    if (scan_phrase(&r->s, &r->text) <= 0 || *r->s.p != '<')
        return -1;
    if (r->text.n > 0)
        r->now.name = keep(r);
    if (read_angle(r) < 0) {
        r->now.domain = S("SYNTAX_ERROR");
        r->now.invalid = true;
    }
    return r->s.p < r->s.end;
}

/* No domain and no comment: one word alone is a mailbox, more of them are somebody's name. */
static void settle_bare_words(struct reader *r, bool quoted)
{
    size_t was;

    buf_add_byte(&r->text, ' ');
    was = r->text.n;
    (void)scan_phrase(&r->s, &r->text);
    if (r->text.n != was) {
        r->now.mailbox = (struct slice){0};
        r->now.name = keep(r);
    } else if (!quoted) {
        r->now.domain = S("");
    }
    r->now.invalid = true;
}

static int read_bare(struct reader *r)
{
    bool quoted = scan_peek(&r->s) == '"', has_domain = false;
    int ret, domain_ret;

    r->comment.n = 0;
    ret = read_local_part(r);
    if (ret <= 0)
        r->now.invalid = true;
    if (ret != 0 && scan_peek(&r->s) == '@') {
        has_domain = true;
        domain_ret = read_domain(r);
        if (domain_ret <= 0)
            ret = domain_ret;
    }
    if (r->comment.n > 0) {
        r->now.name = arena_slice(r->arena, buf_slice(&r->comment));
    } else if (!has_domain) {
        settle_bare_words(r, quoted);
        ret = -1;
    }
    return ret;
}

static int read_mailbox(struct reader *r)
{
    const uint8_t *start = r->s.p;
    int ret = read_name_and_angle(r);

    if (ret < 0) {
        r->s.p = start;
        ret = r->s.p < r->s.end ? read_bare(r) : -1;
        if (r->now.invalid && !r->now.name.p && r->now.mailbox.p && !r->now.domain.p) {
            r->now.name = r->now.mailbox;
            r->now.mailbox = (struct slice){0};
        }
    }
    if (ret < 0)
        r->now.invalid = true;
    add_mended(r);
    return ret;
}

/* The mailboxes of a group; 1, 0 or -1 as the scan functions. */
static int read_members(struct reader *r)
{
    int ret = 1;

    for (;;) {
        (void)read_mailbox(r);
        if (scan_peek(&r->s) != ',')
            return ret;
        r->s.p++;
        if (scan_cfws(&r->s) <= 0)
            return -1;
    }
}

/* group = display-name ":" [mailbox-list] ";" ; -1 only if it is no group at all. */
static int read_group(struct reader *r)
{
    int ret;

    r->text.n = 0;
    if (scan_phrase(&r->s, &r->text) <= 0 || *r->s.p != ':')
        return -1;
    r->s.p++;
    ret = scan_cfws(&r->s);
    r->now.mailbox = keep(r);
    r->now.invalid = ret <= 0;
    add(r);
    if (ret > 0 && *r->s.p != ';')
        ret = read_members(r);
    if (ret >= 0) {
        if (scan_peek(&r->s) == ';') {
            r->s.p++;
            ret = scan_cfws(&r->s);
        } else {
            ret = -1;
        }
    }
    r->now.invalid = ret < 0;
    add(r);
    return ret != 0;
}

static void read_list(struct reader *r)
{
    const uint8_t *start;
    int ret;

    while (r->left > 0) {
        start = r->s.p;
        ret = read_group(r);
        if (ret < 0) {
            r->s.p = start;
            ret = read_mailbox(r);
        }
        if (ret == 0 || scan_peek(&r->s) != ',')
            return;
        r->s.p++;
        ret = scan_cfws(&r->s);
        if (ret < 0)
            add_mended(r); /* it ends with garbage */
        if (ret <= 0)
            return;
    }
}

struct address *address_list_parse(struct arena *a, struct slice value)
{
    struct reader r = {
        .s = scan_of(value),
        .arena = a,
        .text = buf_make(BUF_MAX_DEFAULT),
        .comment = buf_make(BUF_MAX_DEFAULT),
        .left = ADDRESS_MAX,
    };

    r.last = &r.first;
    r.s.comment = &r.comment;
    if (scan_cfws(&r.s) > 0)
        read_list(&r);
    buf_done(&r.text);
    buf_done(&r.comment);
    return r.first;
}

static void write_mailbox(struct buf *out, const struct address *a)
{
    if (a->name.n) {
        header_decode(out, a->name);
        buf_add_byte(out, ' ');
    }
    if (a->name.n || a->route.n)
        buf_add_byte(out, '<');
    if (a->route.n) {
        buf_add_slice(out, a->route);
        buf_add_byte(out, ':');
    }
    buf_add_slice(out, a->mailbox);
    buf_add_byte(out, '@');
    buf_add_slice(out, a->domain);
    if (a->name.n || a->route.n)
        buf_add_byte(out, '>');
}

void address_list_text(struct buf *out, const struct address *list)
{
    bool first = true;

    for (const struct address *a = list; a; a = a->next) {
        if (!a->domain.p && !a->mailbox.p) { /* the end of a group */
            buf_add_byte(out, ';');
            continue;
        }
        if (!first)
            buf_add_str(out, ", ");
        first = !a->domain.p;
        if (a->domain.p) {
            write_mailbox(out, a);
            continue;
        }
        header_decode(out, a->mailbox);
        buf_add_str(out, ": ");
    }
}
