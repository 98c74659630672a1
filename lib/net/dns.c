/* SPDX-License-Identifier: MPL-2.0 */
/* A question is known to libunbound by a number, and to us by its place in a list. libunbound's
 * thread makes ub_fd readable; ub_process then calls back, on the loop. The deadline is a timer
 * there as well: it cancels the question, so that it is answered once. */
#include "lib/net/dns.h"

#ifdef HAVE_UNBOUND
#include <stdio.h>
#include <unistd.h>

#include <unbound.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

const bool dns_is_built_in = true;

#define DEADLINE_MS 20000
#define CLASS_IN    1
#define RECORD_MAX  ((size_t)8192) /* bytes of one record that is shown */

struct question {
    TAILQ_ENTRY(question) link;
    struct dns *dns;
    struct loop_timer timer;
    int id; /* libunbound's */
    char *name;
    void (*done)(void *context, const struct dns_answer *answer);
    void *context;
};

struct dns {
    struct ub_ctx *ctx;
    struct loop *loop;
    struct event event;
    bool listening;
    int64_t deadline_ms;
    TAILQ_HEAD(, question) questions;
};

/* ---- Settings ---- */

static int set_option(struct ub_ctx *ctx, const char *name, const char *value, struct error *err)
{
    int rc = ub_ctx_set_option(ctx, name, value);

    return rc == 0 ? 0
                   : error_set(err, ERR_INVALID, "DNS: %s %s: %s", name, value, ub_strerror(rc));
}

static int set_servers(struct ub_ctx *ctx, const char *servers, struct error *err)
{
    struct slice rest = slice_trim(slice_str(servers));

    if (slice_eq(rest, S("recursive")))
        return 0;
    if (rest.n == 0) {
        (void)ub_ctx_resolvconf(ctx, NULL); /* a machine without one asks the zones' servers */
        return 0;
    }
    while (rest.n > 0) {
        size_t n = strcspn((const char *)rest.p, " ,");
        CLEANUP_FREE char *one = slice_dup(slice_sub(rest, 0, n));

        rest = slice_skip(rest, n + strspn((const char *)rest.p + n, " ,"));
        int rc = ub_ctx_set_fwd(ctx, one);
        if (rc != 0)
            return error_set(err, ERR_INVALID, "%s is not the address of a DNS server", one);
    }
    return 0;
}

static int set_anchor(struct ub_ctx *ctx, const char *file, struct error *err)
{
    if (!*file)
        return 0;
    if (access(file, R_OK) != 0)
        return error_set(err, ERR_NOTFOUND, "cannot read the trust anchor %s: %m", file);
    int rc = ub_ctx_add_ta_file(ctx, file);
    return rc == 0 ? 0
                   : error_set(err, ERR_INVALID, "%s is not a file of trust anchors: %s", file,
                               ub_strerror(rc));
}

static const char *const options[][2] = {
    {"do-not-query-localhost:", "no"}, /* a resolver on this machine is the usual case */
    {"edns-buffer-size:", "1232"},      {"qname-minimisation:", "yes"}, {"msg-cache-size:", "4m"},
    {"rrset-cache-size:", "8m"},        {"key-cache-size:", "2m"},      {"neg-cache-size:", "1m"},
    {"cache-max-negative-ttl:", "300"},
};

static int set_up(struct ub_ctx *ctx, const struct dns_settings *settings, struct error *err)
{
    int rc = 0;

    ub_ctx_debugout(ctx, NULL);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(options); i++)
        rc = set_option(ctx, options[i][0], options[i][1], err);
    if (rc == 0)
        rc = set_servers(ctx, settings->servers ? settings->servers : "", err);
    if (rc == 0)
        rc = set_anchor(ctx, settings->trust_anchor ? settings->trust_anchor : "", err);
    if (rc == 0 && ub_ctx_async(ctx, 1) != 0)
        rc = error_set(err, ERR_UNAVAILABLE, "DNS: no thread");
    return rc;
}

/* ---- Answers ---- */

static void answer(struct question *q, const struct dns_answer *a)
{
    TAILQ_REMOVE(&q->dns->questions, q, link);
    loop_timer_done(&q->timer);
    q->done(q->context, a);
    free(q->name);
    free(q);
}

static void answer_temporary(struct question *q, const char *why)
{
    struct dns_answer a = {.outcome = DNS_TEMPORARY, .canonical = q->name, .why = why};

    answer(q, &a);
}

/* Lower case, without the last dot; NULL: nothing that is a name. */
static const char *clean_name(const char *name, char ret[static DNS_NAME_MAX])
{
    size_t n = name ? strlen(name) : 0;

    if (n > 0 && name[n - 1] == '.')
        n--;
    if (n == 0 || n >= DNS_NAME_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++)
        ret[i] = (char)byte_lower((uint8_t)name[i]);
    ret[n] = '\0';
    return dns_is_hostname(ret) ? ret : NULL;
}

static size_t take_records(const struct ub_result *r, struct slice *ret)
{
    size_t n = 0;

    for (size_t i = 0; r->havedata && r->data[i] && n < DNS_RECORDS_MAX; i++)
        if (r->len[i] >= 0 && (size_t)r->len[i] <= RECORD_MAX)
            ret[n++] = slice_of(r->data[i], (size_t)r->len[i]);
    return n;
}

static void answered(void *context, int error, struct ub_result *r)
{
    struct question *q = context;
    struct slice records[DNS_RECORDS_MAX];
    char canonical[DNS_NAME_MAX], why[160];

    if (error != 0 || !r) {
        answer_temporary(q, ub_strerror(error));
        ub_resolve_free(r);
        return;
    }
    struct dns_answer a = {
        .secure = r->secure, .records = records, .ttl = (unsigned)MAX(r->ttl, 0)};
    const char *name = clean_name(r->canonname, canonical);

    a.canonical = name ? name : q->name;
    if (r->bogus) {
        snprintf(why, sizeof why, "%s", r->why_bogus ? r->why_bogus : "DNSSEC check failed");
        a.outcome = DNS_BOGUS;
        a.why = why;
        a.secure = false;
    } else if (r->nxdomain) {
        a.outcome = DNS_NONE;
    } else if (r->rcode != 0) {
        a.outcome = DNS_TEMPORARY;
        a.why = r->rcode == 2 ? "the DNS servers fail" : "the DNS servers refuse to answer";
    } else {
        a.n = take_records(r, records);
    }
    answer(q, &a);
    ub_resolve_free(r);
}

static void too_late(struct loop_timer *timer)
{
    struct question *q = CONTAINER_OF(timer, struct question, timer);

    ub_cancel(q->dns->ctx, q->id);
    answer_temporary(q, "the DNS servers do not answer");
}

void dns_ask(struct dns *dns, const char *name, enum dns_type type,
             void (*done)(void *context, const struct dns_answer *answer), void *context)
{
    struct question *q = NEW(struct question);

    q->dns = dns;
    q->done = done;
    q->context = context;
    q->name = mem_strdup(name);
    TAILQ_INSERT_TAIL(&dns->questions, q, link);
    loop_timer_init(&q->timer, dns->loop, too_late);
    bool asked = ub_resolve_async(dns->ctx, q->name, type, CLASS_IN, q, answered, &q->id) == 0;
    loop_timer_set(&q->timer, clock_mono_ms() + (asked ? dns->deadline_ms : 0));
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct dns *dns = arg;

    (void)ub_process(dns->ctx);
}

/* ---- Life ---- */

static void listen_on_loop(void *arg)
{
    struct dns *dns = arg;

    event_assign(&dns->event, loop_base(dns->loop), ub_fd(dns->ctx), EV_READ | EV_PERSIST,
                 on_readable, dns);
    dns->listening = event_add(&dns->event, NULL) == 0;
}

static void end_on_loop(void *arg)
{
    struct dns *dns = arg;
    struct question *q;

    if (dns->listening)
        event_del(&dns->event);
    while ((q = TAILQ_FIRST(&dns->questions))) {
        ub_cancel(dns->ctx, q->id);
        answer_temporary(q, "shutdown");
    }
}

int dns_new(const struct dns_settings *settings, struct loop *loop, struct dns **ret,
            struct error *err)
{
    struct dns *dns = NEW(struct dns);
    int rc;

    dns->loop = loop;
    dns->deadline_ms = settings->deadline_ms ? settings->deadline_ms : DEADLINE_MS;
    TAILQ_INIT(&dns->questions);
    dns->ctx = ub_ctx_create();
    rc = dns->ctx ? set_up(dns->ctx, settings, err)
                  : error_set(err, ERR_UNAVAILABLE, "libunbound cannot be set up");
    if (rc == 0) {
        loop_call(loop, listen_on_loop, dns);
        if (!dns->listening)
            rc = error_set(err, ERR_UNAVAILABLE, "DNS: no event");
    }
    if (rc < 0)
        dns_free(dns);
    else
        *ret = dns;
    return rc;
}

void dns_free(struct dns *dns)
{
    if (!dns)
        return;
    if (dns->ctx) {
        loop_call(dns->loop, end_on_loop, dns);
        ub_ctx_delete(dns->ctx);
    }
    free(dns);
}

#else

const bool dns_is_built_in = false;

int dns_new(const struct dns_settings *settings, struct loop *loop, struct dns **ret,
            struct error *err)
{
    return error_set(err, ERR_UNAVAILABLE, "this Eider was built without libunbound: no DNS");
}

void dns_free(struct dns *dns)
{
}

void dns_ask(struct dns *dns, const char *name, enum dns_type type,
             void (*done)(void *context, const struct dns_answer *answer), void *context)
{
}

#endif
