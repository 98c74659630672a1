/* SPDX-License-Identifier: MPL-2.0 */
/* STANDARDS: RFC 6409, RFC 5321, RFC 4954, RFC 3461 (what a recipient may be told), RFC 3463. */
#include "protocols/submit/submit.h"

#include <arpa/inet.h>

#include "lib/base/codec.h"
#include "protocols/smtp/deliver.h"
#include "protocols/submit/impl.h"

static int submit_mail(void *service, struct smtp_transaction *t, struct smtp_reply *reply)
{
    struct submit *s = service;
    const struct client *client = t->client;

    /* the null path is what a client's own reports (RFC 8098) come from; in the sandbox nobody is
     * deceived */
    if (client->sandbox || !*t->sender)
        return 0;
    return submit_check_name(s, client, t->sender, "sender", reply);
}

/* --- recipients ----------------------------------------------------------------------------------
 */

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 section 4.1.3). */
static bool is_literal(struct slice domain)
{
    struct in6_addr address;
    char text[64];
    bool v6;

    if (domain.n < 3 || domain.n >= sizeof text || domain.p[0] != '[' ||
        domain.p[domain.n - 1] != ']')
        return false;
    domain = slice_sub(domain, 1, domain.n - 1);
    v6 = slice_istarts(domain, S("IPv6:"));
    domain = slice_skip(domain, v6 ? 5 : 0);
    memcpy(text, domain.p, domain.n);
    text[domain.n] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, &address) == 1;
}

/* An address elsewhere in the form that the queue wants: the local part as the client wrote it, the
 * domain in A-labels. */
struct elsewhere {
    const char *text;
    bool full; /* a domain with a dot, or a literal */
    bool literal;
};

static int parse_address(struct submit *s, const char *text, struct arena *a, struct elsewhere *ret)
{
    const char *at = strrchr(text, '@');
    struct slice local = slice_of(text, at ? (size_t)(at - text) : 0);
    struct address address;
    struct error err;
    int r;

    /* RFC 6409 section 4.2: "all domains in the SMTP envelope be fully-qualified" */
    if (!at || !at[1])
        return -ERR_INVALID;
    if (at[1] == '[') {
        if (!is_literal(slice_str(at + 1)))
            return -ERR_INVALID;
        *ret = (struct elsewhere){.text = text, .full = true, .literal = true};
        text = arena_printf(a, "%.*s@literal.invalid", SLICE_FMT(local)); /* the local part alone */
        return address_parse(s->parts.directory, slice_str(text), false, a, &address, &err);
    }
    r = address_parse(s->parts.directory, slice_str(text), false, a, &address, &err);
    if (r < 0)
        return r;
    ret->text = arena_printf(a, "%.*s@%s", SLICE_FMT(local), address.domain);
    ret->full = strchr(address.domain, '.') != NULL;
    return 0;
}

/* Nobody here is called so. Is that somebody elsewhere? */
static int not_here(struct submit *s, struct smtp_transaction *t, const struct elsewhere *to,
                    struct rcpt *rcpt, struct smtp_reply *reply)
{
    struct error err = {0};
    int r = to->literal
                ? 0
                : directory_domain_is_local(s->parts.directory, strrchr(to->text, '@') + 1, &err);

    if (r != 0) {
        delivery_rcpt_reply(reply, r < 0 ? r : -ERR_NOTFOUND);
        return r < 0 ? r : -ERR_NOTFOUND;
    }
    if (!to->full) {
        smtp_reply_set(reply, 550, "5.1.2", "The domain is not fully qualified");
        return -ERR_INVALID;
    }
    if (!s->parts.queue) {
        smtp_reply_set(reply, 550, "5.7.1", "This server sends no mail to others");
        return -ERR_NOPERM;
    }
    rcpt->items = ARENA_NEW(&t->arena, struct directory_recipient);
    rcpt->items[0] = (struct directory_recipient){.foreign = to->text, .login = "", .detail = ""};
    rcpt->n = 1;
    return 0;
}

static int check_found(struct submit *s, const struct smtp_transaction *t, const struct rcpt *rcpt,
                       struct smtp_reply *reply)
{
    for (size_t i = 0; i < rcpt->n; i++) {
        uint64_t max = rcpt->items[i].message_size;

        if (max && t->size > max) {
            smtp_reply_set(reply, 552, "5.2.3", "The user takes messages of %llu octets at most",
                           (unsigned long long)max);
            return -ERR_TOOBIG;
        }
        if (rcpt->items[i].foreign && !s->parts.queue) {
            smtp_reply_set(reply, 550, "5.7.1",
                           "The address is forwarded, and this server sends no mail to others");
            return -ERR_NOPERM;
        }
    }
    return 0;
}

static int submit_rcpt(void *service, struct smtp_transaction *t, struct smtp_recipient *recipient,
                       struct smtp_reply *reply)
{
    struct submit *s = service;
    const struct client *client = t->client;
    struct rcpt *rcpt = ARENA_NEW(&t->arena, struct rcpt);
    struct elsewhere to = {0};
    struct error err = {0};
    int r = parse_address(s, recipient->address, &t->arena, &to);

    recipient->context = rcpt;
    rcpt->address = to.text;
    if (r == 0 && client->sandbox)
        return 0;
    if (r == 0)
        r = directory_resolve(s->parts.directory, slice_str(recipient->address), RESOLVE_FOREIGN,
                              &t->arena, &rcpt->items, &rcpt->n, &err);
    if (r == -ERR_NOTFOUND || (r == -ERR_INVALID && to.text))
        return not_here(s, t, &to, rcpt, reply);
    if (r < 0) {
        delivery_rcpt_reply(reply, r);
        return r;
    }
    return check_found(s, t, rcpt, reply);
}

/* --- the service ---------------------------------------------------------------------------------
 */

static const struct smtp_ops submit_ops = {
    .login = submit_login,
    .mail = submit_mail,
    .rcpt = submit_rcpt,
    .begin = submit_begin,
    .feed = submit_feed,
    .url = submit_url,
    .finish = submit_finish,
    .abort = submit_abort,
};

static const struct smtp_dialect submit_dialect = {
    .name = "ESMTP",
    .log_name = "submission",
    .with = "ESMTP",
    .with_utf8 = "UTF8SMTP",
    .extensions = SMTP_EHLO | SMTP_HELO | SMTP_PIPELINING | SMTP_SIZE | SMTP_STARTTLS |
                  SMTP_ENHANCED | SMTP_EIGHT | SMTP_BINARY | SMTP_CHUNKING | SMTP_UTF8 | SMTP_AUTH |
                  SMTP_DSN | SMTP_LIMITS | SMTP_HOLD | SMTP_DELIVERBY | SMTP_PRIORITY |
                  SMTP_REQUIRETLS | SMTP_BURL | SMTP_SOLICIT,
    .ops = &submit_ops,
};

struct session_service *submit_service_new(const struct submit_settings *settings,
                                           const struct submit_parts *parts)
{
    struct submit *s = NEW(struct submit);

    s->settings = *settings;
    s->parts = *parts;
    return smtp_service_new(&submit_dialect, &settings->smtp, s);
}

void submit_service_free(struct session_service *service)
{
    if (!service)
        return;
    free(smtp_service_context(service));
    smtp_service_free(service);
}
