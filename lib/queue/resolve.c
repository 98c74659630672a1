/* SPDX-License-Identifier: MPL-2.0 */
/* A lookup goes through stages; each asks all that it can ask at once and ends when all has been
 * answered (`waiting` is 0):
 *
 *   MX         the MX records, and the TXT record of MTA-STS
 *   ADDRESSES  A and AAAA of all hosts
 *   TLSA       of the hosts whose addresses are proved, if the MX records are
 *   POLICY     the MTA-STS policy, where none with this id is remembered
 *
 * All of it runs on one loop, so nothing is locked; the policy's text comes from a thread and is
 * posted back.
 */
#include "lib/queue/resolve.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <uthash.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/pool.h"

#define TTL_MIN         60u   /* seconds that a result holds at least */
#define TTL_MAX         3600u /* and at most */
#define FAILED_TTL      60u
#define FETCH_THREADS   2
#define POLICIES_MAX    10000
#define POLICY_RETRY_MS (5 * 60 * 1000) /* after a fetch that failed (RFC 8461 3.3) */

/* A policy that was fetched, or could not be. */
struct policy {
    UT_hash_handle hh;
    char id[STS_ID_MAX];
    struct sts_policy policy; /* mode STS_NONE: there is none in force */
    int64_t until_ms;         /* max_age */
    int64_t retry_ms;         /* do not fetch before */
    struct arena arena;
    char domain[];
};

struct resolver {
    struct resolver_settings settings;
    struct dns *dns;
    struct loop *loop;
    struct pool *fetchers;
    struct policy *policies; /* on the loop */
};

enum stage { STAGE_MX, STAGE_ADDRESSES, STAGE_TLSA, STAGE_POLICY };

struct lookup;

/* What is asked about one host. */
struct host_lookup {
    struct lookup *lookup;
    struct resolve_host *host;
    bool v4_secure, v6_secure, temporary;
    size_t v4_n, v6_n;
    struct netaddr v4[RESOLVE_ADDRESSES_MAX / 2], v6[RESOLVE_ADDRESSES_MAX / 2];
    const char *canonical;
    bool tlsa_again; /* asked at the canonical name; the plain one is next */
};

struct lookup {
    struct resolver *r;
    char *destination;
    uint16_t port;
    bool by_mx;
    void (*done)(void *context, struct resolved *result);
    void *context;
    struct loop_task task; /* begin; the policy is there */
    struct resolved *out;
    enum stage stage;
    unsigned waiting;
    unsigned ttl;
    struct host_lookup hosts[RESOLVE_HOSTS_MAX];

    char sts_id[STS_ID_MAX];
    bool sts_seen;
    struct netaddr sts_addresses[4];
    size_t sts_addresses_n;
    struct pool_job fetch;
    struct buf sts_text;
    int sts_rc;
    struct error sts_error;
};

void resolved_unref(struct resolved *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    arena_done(&r->arena);
    free(r);
}

/* ---- The end of a lookup ---- */

static void finish(struct lookup *l)
{
    unsigned ttl = l->out->outcome == RESOLVE_OK ? MIN(MAX(l->ttl, TTL_MIN), TTL_MAX) : FAILED_TTL;

    l->out->until_ms = clock_mono_ms() + (int64_t)ttl * 1000;
    l->done(l->context, l->out);
    buf_done(&l->sts_text);
    free(l->destination);
    free(l);
}

static void fail(struct lookup *l, enum resolve_outcome outcome, const char *status,
                 const char *text)
{
    struct resolved *out = l->out;

    out->outcome = outcome;
    out->status = status;
    out->text = arena_printf(&out->arena, "%s: %s", l->destination, text);
    out->n = 0;
}

static void note_ttl(struct lookup *l, const struct dns_answer *a)
{
    if (a->outcome == DNS_OK && a->n > 0)
        l->ttl = MIN(l->ttl, a->ttl);
}

/* ---- Addresses ---- */

static void set_port(struct netaddr *a, uint16_t port)
{
    if (a->sa.any.sa_family == AF_INET6)
        a->sa.v6.sin6_port = htons(port);
    else
        a->sa.v4.sin_port = htons(port);
}

static bool from_record(struct slice record, bool v6, uint16_t port, struct netaddr *ret)
{
    *ret = (struct netaddr){0};
    if (record.n != (v6 ? 16u : 4u))
        return false;
    if (v6) {
        ret->sa.v6.sin6_family = AF_INET6;
        memcpy(&ret->sa.v6.sin6_addr, record.p, 16);
        ret->n = sizeof ret->sa.v6;
    } else {
        ret->sa.v4.sin_family = AF_INET;
        memcpy(&ret->sa.v4.sin_addr, record.p, 4);
        ret->n = sizeof ret->sa.v4;
    }
    set_port(ret, port);
    return true;
}

/* Loopback, "this host", link-local, multicast, v4 inside of v6: what a stranger's DNS may name
 * only to make us speak to ourselves or to our neighbours' machines. */
static bool is_odd_address(const struct netaddr *a)
{
    if (a->sa.any.sa_family == AF_INET) {
        uint32_t v = ntohl(a->sa.v4.sin_addr.s_addr);

        return v >> 24 == 127 || v >> 24 == 0 || v >> 28 >= 14 || v >> 16 == 0xa9fe;
    }
    const struct in6_addr *v = &a->sa.v6.sin6_addr;

    return IN6_IS_ADDR_LOOPBACK(v) || IN6_IS_ADDR_UNSPECIFIED(v) || IN6_IS_ADDR_MULTICAST(v) ||
           IN6_IS_ADDR_LINKLOCAL(v) || IN6_IS_ADDR_V4MAPPED(v) || IN6_IS_ADDR_V4COMPAT(v);
}

static bool may_connect(const struct lookup *l, const struct netaddr *a)
{
    const struct resolver_settings *s = &l->r->settings;

    return !l->by_mx || !is_odd_address(a) ||
           network_any_has(s->local_networks, s->local_networks_n, a);
}

static size_t take_addresses(struct lookup *l, const struct dns_answer *a, bool v6,
                             struct netaddr *ret, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n && n < max; i++)
        if (from_record(a->records[i], v6, l->port, &ret[n]) && may_connect(l, &ret[n]))
            n++;
    return n;
}

/* Servers that are named by several addresses share the work. */
static void shuffle(struct netaddr *list, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)(random_u64() % i);
        struct netaddr t = list[i - 1];

        list[i - 1] = list[k];
        list[k] = t;
    }
}

/* One of each kind in turn, so that a kind that leads nowhere costs one attempt only. */
static void order_addresses(struct host_lookup *h)
{
    enum resolve_family family = h->lookup->r->settings.family;
    struct resolve_host *host = h->host;
    size_t v4_n = family == RESOLVE_V6_ONLY ? 0 : h->v4_n;
    size_t v6_n = family == RESOLVE_V4_ONLY ? 0 : h->v6_n;
    bool v6_turn = family != RESOLVE_V4_FIRST;
    size_t i4 = 0, i6 = 0;

    shuffle(h->v4, h->v4_n);
    shuffle(h->v6, h->v6_n);
    host->addresses = arena_array(&h->lookup->out->arena, v4_n + v6_n + 1, sizeof *host->addresses);
    while (i4 < v4_n || i6 < v6_n) {
        bool v6 = i4 == v4_n || (v6_turn && i6 < v6_n);

        host->addresses[host->n++] = v6 ? h->v6[i6++] : h->v4[i4++];
        v6_turn = !v6;
    }
}

static bool parse_numeric(const char *text, uint16_t port, struct netaddr *ret)
{
    bool v6 = strchr(text, ':') != NULL;
    CLEANUP_FREE char *full = mem_printf(v6 ? "[%s]:%u" : "%s:%u", text, port);

    return strlen(text) < 64 && text[0] != '/' && netaddr_parse(full, ret, NULL) == 0 &&
           !netaddr_is_unix(ret);
}

static struct resolve_host *add_host(struct lookup *l, const char *name)
{
    struct resolved *out = l->out;
    struct resolve_host *host = &out->hosts[out->n];
    struct host_lookup *h = &l->hosts[out->n++];

    host->name = arena_str(&out->arena, slice_str(name));
    *h = (struct host_lookup){.lookup = l, .host = host};
    return host;
}

/* ---- Stages ---- */

static void advance(struct lookup *l);

static void answered(struct lookup *l)
{
    if (--l->waiting == 0)
        advance(l);
}

static void ask(struct lookup *l, const char *name, enum dns_type type,
                void (*done)(void *, const struct dns_answer *), void *context)
{
    l->waiting++;
    dns_ask(l->r->dns, name, type, done, context);
}

/* ---- MX ---- */

static int compare_mx(const void *a, const void *b)
{
    return (int)((const struct dns_mx *)a)->preference -
           (int)((const struct dns_mx *)b)->preference;
}

size_t resolve_sort_mx(struct dns_mx *mx, size_t n, const char *self)
{
    size_t left = n;

    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)(random_u64() % i);
        struct dns_mx t = mx[i - 1];

        mx[i - 1] = mx[k];
        mx[k] = t;
    }
    qsort(mx, n, sizeof *mx, compare_mx);
    for (size_t i = n; i-- > 0;)
        if (strcasecmp(mx[i].host, self) == 0)
            for (left = i; left > 0 && mx[left - 1].preference == mx[i].preference;)
                left--;
    return left;
}

static void take_mx(struct lookup *l, const struct dns_answer *a)
{
    struct dns_mx list[DNS_RECORDS_MAX];
    size_t n = 0, usable;

    for (size_t i = 0; i < a->n; i++)
        n += dns_parse_mx(a->records[i], &list[n]) == 0;
    if (n == 1 && list[0].host[0] == '\0') {
        fail(l, RESOLVE_FAILED, "5.1.10", "the domain takes no mail (null MX)");
        return;
    }
    if (n == 0) {
        fail(l, RESOLVE_LATER, "4.4.4", "its MX records name no host");
        return;
    }
    usable = resolve_sort_mx(list, n, l->r->settings.hostname);
    if (usable == 0) {
        fail(l, RESOLVE_FAILED, "5.4.6", "mail for it comes back to this server");
        return;
    }
    for (size_t i = 0; i < MIN(usable, (size_t)RESOLVE_HOSTS_MAX); i++)
        if (dns_is_hostname(list[i].host))
            add_host(l, list[i].host);
}

static void on_mx(void *context, const struct dns_answer *a)
{
    struct lookup *l = context;

    note_ttl(l, a);
    l->out->mx_secure = a->secure;
    if (a->outcome == DNS_NONE)
        fail(l, RESOLVE_FAILED, "5.1.2", "there is no such domain");
    else if (a->outcome == DNS_OK && a->n == 0)
        add_host(l, l->destination); /* RFC 5321 5.1: the implicit MX */
    else if (a->outcome == DNS_OK)
        take_mx(l, a);
    else
        fail(l, RESOLVE_LATER, a->outcome == DNS_BOGUS ? "4.7.0" : "4.4.3", a->why);
    answered(l);
}

static void on_sts_record(void *context, const struct dns_answer *a)
{
    struct lookup *l = context;
    unsigned found = 0;

    for (size_t i = 0; i < a->n; i++) {
        CLEANUP(buf_done) struct buf text = buf_make(4096);

        if (dns_parse_txt(a->records[i], &text) == 0 &&
            sts_parse_record(buf_slice(&text), l->sts_id) == 0)
            found++;
    }
    l->sts_seen = found == 1; /* RFC 8461 3.1: with several there is none */
    answered(l);
}

/* ---- Addresses and TLSA of hosts ---- */

static void on_a(void *context, const struct dns_answer *a)
{
    struct host_lookup *h = context;

    note_ttl(h->lookup, a);
    h->temporary |= a->outcome == DNS_TEMPORARY || a->outcome == DNS_BOGUS;
    h->v4_secure = a->secure;
    h->v4_n = take_addresses(h->lookup, a, false, h->v4, ARRAY_LEN(h->v4));
    if (h->v4_n > 0 && !h->canonical)
        h->canonical = arena_str(&h->lookup->out->arena, slice_str(a->canonical));
    answered(h->lookup);
}

static void on_aaaa(void *context, const struct dns_answer *a)
{
    struct host_lookup *h = context;

    note_ttl(h->lookup, a);
    h->temporary |= a->outcome == DNS_TEMPORARY || a->outcome == DNS_BOGUS;
    h->v6_secure = a->secure;
    h->v6_n = take_addresses(h->lookup, a, true, h->v6, ARRAY_LEN(h->v6));
    if (h->v6_n > 0 && !h->canonical)
        h->canonical = arena_str(&h->lookup->out->arena, slice_str(a->canonical));
    answered(h->lookup);
}

static void take_tlsa(struct host_lookup *h, const struct dns_answer *a, const char *name)
{
    struct arena *arena = &h->lookup->out->arena;
    struct resolve_host *host = h->host;
    struct dns_tlsa t;

    host->dane = true;
    host->tlsa_name = name;
    host->tlsa = arena_array(arena, a->n, sizeof *host->tlsa);
    for (size_t i = 0; i < a->n; i++) {
        if (dns_parse_tlsa(a->records[i], &t) < 0)
            continue;
        struct slice data = arena_slice(arena, t.data);
        host->tlsa[host->tlsa_n++] =
            (struct tls_tlsa){t.usage, t.selector, t.matching, data.p, data.n};
    }
}

static void ask_tlsa(struct host_lookup *h, const char *host);

static void on_tlsa(void *context, const struct dns_answer *a)
{
    struct host_lookup *h = context;
    struct arena *arena = &h->lookup->out->arena;
    const char *name = h->tlsa_again ? h->canonical : h->host->name;

    note_ttl(h->lookup, a);
    if (a->outcome == DNS_TEMPORARY || a->outcome == DNS_BOGUS) {
        /* RFC 7672 2.1.2: an attacker could have taken them away */
        h->host->unsafe = arena_printf(arena, "its TLSA records cannot be had: %s", a->why);
    } else if (a->outcome == DNS_OK && a->secure && a->n > 0) {
        take_tlsa(h, a, name);
    } else if (h->tlsa_again) {
        h->tlsa_again = false;
        ask_tlsa(h, h->host->name);
    }
    answered(h->lookup);
}

static void ask_tlsa(struct host_lookup *h, const char *host)
{
    CLEANUP_FREE char *name = mem_printf("_%u._tcp.%s", h->lookup->port, host);

    ask(h->lookup, name, DNS_TLSA, on_tlsa, h);
}

static void ask_addresses(struct lookup *l)
{
    l->stage = STAGE_ADDRESSES;
    l->waiting++; /* for this function */
    for (size_t i = 0; i < l->out->n; i++) {
        ask(l, l->out->hosts[i].name, DNS_A, on_a, &l->hosts[i]);
        ask(l, l->out->hosts[i].name, DNS_AAAA, on_aaaa, &l->hosts[i]);
    }
    answered(l);
}

/* RFC 7672 2.2.2: TLSA records mean something only if the way to them is proved; asking for those
 * of a zone that is not signed may even fail at broken servers. */
static void ask_all_tlsa(struct lookup *l)
{
    l->stage = STAGE_TLSA;
    l->waiting++;
    for (size_t i = 0; i < l->out->n; i++) {
        struct host_lookup *h = &l->hosts[i];
        bool secure = (h->v4_n == 0 || h->v4_secure) && (h->v6_n == 0 || h->v6_secure);

        if (!l->by_mx || !l->r->settings.dane || !l->out->mx_secure || !secure || !h->canonical)
            continue;
        h->tlsa_again = strcmp(h->canonical, h->host->name) != 0;
        ask_tlsa(h, h->tlsa_again ? h->canonical : h->host->name);
    }
    answered(l);
}

/* ---- The policy ---- */

static struct policy *find_policy(struct resolver *r, const char *domain)
{
    struct policy *p;

    HASH_FIND_STR(r->policies, domain, p);
    return p;
}

static void drop_policy(struct resolver *r, struct policy *p)
{
    HASH_DEL(r->policies, p);
    arena_done(&p->arena);
    free(p);
}

static struct policy *make_policy(struct resolver *r, const char *domain)
{
    struct policy *p = mem_zalloc(sizeof *p + strlen(domain) + 1);

    if (HASH_COUNT(r->policies) >= POLICIES_MAX)
        drop_policy(r, r->policies); /* the longest there */
    strcpy(p->domain, domain);
    HASH_ADD_KEYPTR(hh, r->policies, p->domain, strlen(domain), p);
    return p;
}

static void use_policy(struct lookup *l)
{
    struct policy *p = find_policy(l->r, l->destination);
    struct sts_policy *out = &l->out->sts;

    if (!p || p->policy.mode == STS_NONE || clock_mono_ms() >= p->until_ms)
        return;
    const char **mx = arena_array(&l->out->arena, p->policy.mx_n + 1, sizeof *mx);
    *out = p->policy;
    for (size_t i = 0; i < out->mx_n; i++)
        mx[i] = arena_str(&l->out->arena, slice_str(p->policy.mx[i]));
    out->mx = mx;
}

/* A fetch that fails leaves what is remembered in force (RFC 8461 5.1). */
static void keep_policy(struct lookup *l)
{
    int64_t now = clock_mono_ms();
    struct policy *p = find_policy(l->r, l->destination);
    struct sts_policy fresh = {0};
    struct arena arena = {0};

    if (l->sts_rc == 0)
        l->sts_rc = sts_parse_policy(buf_slice(&l->sts_text), &arena, &fresh);
    if (!p)
        p = make_policy(l->r, l->destination);
    if (l->sts_rc < 0) {
        log_text(LOG_WARN_, "mta_sts", "%s: %s", l->destination,
                 l->sts_error.text[0] ? l->sts_error.text : "the policy makes no sense");
        arena_done(&arena);
        p->retry_ms = now + POLICY_RETRY_MS;
        return;
    }
    arena_done(&p->arena);
    p->arena = arena;
    p->policy = fresh;
    p->until_ms = now + (int64_t)fresh.max_age * 1000;
    p->retry_ms = 0;
    memcpy(p->id, l->sts_id, sizeof p->id);
}

static void policy_is_there(struct loop_task *task)
{
    struct lookup *l = CONTAINER_OF(task, struct lookup, task);

    keep_policy(l);
    answered(l);
}

static void run_fetch(struct pool_job *job)
{
    struct lookup *l = CONTAINER_OF(job, struct lookup, fetch);
    const struct resolver_settings *s = &l->r->settings;

    l->sts_text = buf_make(STS_POLICY_MAX);
    l->sts_rc = sts_fetch(l->destination, l->sts_addresses, l->sts_addresses_n, s->sts_port,
                          s->ca_file, &l->sts_text, &l->sts_error);
    l->task.run = policy_is_there;
    loop_post(l->r->loop, &l->task);
}

static void on_sts_address(void *context, const struct dns_answer *a)
{
    struct lookup *l = context;
    bool v6 = a->n > 0 && a->records[0].n == 16;
    size_t have = l->sts_addresses_n, max = have + 2;

    l->sts_addresses_n += take_addresses(l, a, v6, &l->sts_addresses[have],
                                         MIN(max, ARRAY_LEN(l->sts_addresses)) - have);
    answered(l);
}

static bool must_fetch(struct lookup *l)
{
    struct policy *p = find_policy(l->r, l->destination);
    int64_t now = clock_mono_ms();

    if (!l->sts_seen)
        return false;
    return !p || (now >= p->retry_ms && (strcmp(p->id, l->sts_id) != 0 || now >= p->until_ms));
}

/* Before the servers' own addresses are known: both are asked for at once. */
static void ask_policy_addresses(struct lookup *l)
{
    CLEANUP_FREE char *name = mem_printf("mta-sts.%s", l->destination);

    if (!must_fetch(l))
        return;
    ask(l, name, DNS_A, on_sts_address, l);
    ask(l, name, DNS_AAAA, on_sts_address, l);
}

static void fetch_policy(struct lookup *l)
{
    l->stage = STAGE_POLICY;
    l->waiting++;
    if (must_fetch(l)) {
        l->waiting++;
        l->fetch.run = run_fetch;
        pool_submit(l->r->fetchers, &l->fetch);
    }
    answered(l);
}

/* ---- Putting it together ---- */

/* Hosts without addresses go; without any host left the destination has to wait, or is none. */
static void settle_hosts(struct lookup *l)
{
    struct resolved *out = l->out;
    bool temporary = false;
    size_t n = 0;

    for (size_t i = 0; i < out->n; i++) {
        order_addresses(&l->hosts[i]);
        temporary |= l->hosts[i].temporary;
        if (out->hosts[i].n > 0)
            out->hosts[n++] = out->hosts[i];
    }
    out->n = n;
    use_policy(l);
    if (n > 0)
        return;
    if (temporary)
        fail(l, RESOLVE_LATER, "4.4.3", "the addresses of its servers cannot be had");
    else if (l->by_mx)
        fail(l, RESOLVE_FAILED, "5.4.4", "its servers have no address");
    else
        fail(l, RESOLVE_LATER, "4.4.4", "the server has no address");
}

static void advance(struct lookup *l)
{
    if (l->out->outcome != RESOLVE_OK) {
        finish(l);
        return;
    }
    switch (l->stage) {
    case STAGE_MX:
        l->waiting++;
        if (l->by_mx)
            ask_policy_addresses(l);
        ask_addresses(l);
        answered(l);
        break;
    case STAGE_ADDRESSES:
        ask_all_tlsa(l);
        break;
    case STAGE_TLSA:
        fetch_policy(l);
        break;
    default:
        settle_hosts(l);
        finish(l);
        break;
    }
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]"; true: it is a literal, good or bad. */
static bool take_literal(struct lookup *l)
{
    size_t n = strlen(l->destination);
    struct netaddr address;

    if (l->destination[0] != '[')
        return false;
    CLEANUP_FREE char *text = slice_dup(slice_of(l->destination + 1, n > 2 ? n - 2 : 0));
    const char *numeric = strncasecmp(text, "IPv6:", 5) == 0 ? text + 5 : text;

    if (!parse_numeric(numeric, l->port, &address) || !may_connect(l, &address)) {
        fail(l, RESOLVE_FAILED, "5.1.2", "mail cannot be sent to this address");
        return true;
    }
    struct resolve_host *host = add_host(l, numeric);
    host->addresses = arena_array(&l->out->arena, 1, sizeof address);
    host->addresses[host->n++] = address;
    return true;
}

static bool take_numeric(struct lookup *l)
{
    struct netaddr address;

    if (l->by_mx || !parse_numeric(l->destination, l->port, &address))
        return false;
    struct resolve_host *host = add_host(l, l->destination);
    host->addresses = arena_array(&l->out->arena, 1, sizeof address);
    host->addresses[host->n++] = address;
    return true;
}

static void begin(struct loop_task *task)
{
    struct lookup *l = CONTAINER_OF(task, struct lookup, task);

    l->waiting = 1;
    if (take_literal(l) || take_numeric(l)) {
        finish(l);
        return;
    }
    if (!dns_is_hostname(l->destination)) {
        fail(l, RESOLVE_FAILED, "5.1.2", "this is not a domain");
    } else if (!l->r->dns) {
        fail(l, RESOLVE_LATER, "4.4.3", "this server was built without DNS");
    } else if (l->by_mx) {
        CLEANUP_FREE char *name = mem_printf("_mta-sts.%s", l->destination);

        ask(l, l->destination, DNS_MX, on_mx, l);
        if (l->r->settings.sts && dns_is_hostname(name))
            ask(l, name, DNS_TXT, on_sts_record, l);
    } else {
        add_host(l, l->destination);
    }
    answered(l);
}

static void start(struct resolver *r, const char *destination, uint16_t port, bool by_mx,
                  void (*done)(void *, struct resolved *), void *context)
{
    struct lookup *l = NEW(struct lookup);

    l->r = r;
    l->destination = mem_strdup(destination);
    l->port = port;
    l->by_mx = by_mx;
    l->done = done;
    l->context = context;
    l->ttl = TTL_MAX;
    l->out = NEW(struct resolved);
    l->out->refs = 1;
    l->out->hosts = arena_array(&l->out->arena, RESOLVE_HOSTS_MAX, sizeof *l->out->hosts);
    l->task.run = begin;
    loop_post(r->loop, &l->task);
}

void resolve_destination(struct resolver *r, const char *destination,
                         void (*done)(void *context, struct resolved *result), void *context)
{
    start(r, destination, r->settings.port, true, done, context);
}

void resolve_server(struct resolver *r, const char *host, uint16_t port,
                    void (*done)(void *context, struct resolved *result), void *context)
{
    start(r, host, port, false, done, context);
}

int resolver_new(const struct resolver_settings *settings, struct dns *dns, struct loop *loop,
                 struct resolver **ret, struct error *err)
{
    struct resolver *r = NEW(struct resolver);
    int rc = pool_new("mta-sts", FETCH_THREADS, &r->fetchers, err);

    if (rc < 0) {
        free(r);
        return rc;
    }
    r->settings = *settings;
    r->dns = dns;
    r->loop = loop;
    *ret = r;
    return 0;
}

static void nothing(void *arg)
{
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    pool_free(r->fetchers);
    loop_call(r->loop, nothing, NULL); /* what they posted comes before it */
    while (r->policies)
        drop_policy(r, r->policies);
    free(r);
}
