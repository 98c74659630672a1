/* SPDX-License-Identifier: MPL-2.0 */
/* Jobs wait at their destination; links take them.
 *
 * A `destination` is a domain and what its messages ask of TLS (REQUIRETLS, TLS-Required: No): so
 * all jobs at one can go over any of its links. It looks up its servers, remembers that for as long
 * as it holds, and has up to `concurrency` links.
 *
 * A `link` is one connection, or the attempt to get one: it goes through the servers and their
 * addresses, in order, until one is ready for mail, and then takes job after job. What it leaves
 * waiting, another link takes. If none of the servers can be had and no other link is ready, all
 * jobs at the destination are answered, and it counts as dead for a while.
 *
 * One lock guards destinations, their jobs and links. Nothing is called with it held that calls
 * back: `done` of jobs comes after it is given back.
 */
#include "lib/queue/transport.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <uthash.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/net/net.h"
#include "lib/queue/plan.h"
#include "lib/queue/resolve.h"
#include "lib/queue/smtp_client.h"

#define PORT             25
#define STS_PORT         443
#define CONCURRENCY      10
#define BUSY_WAIT_MS     1000
#define DEAD_MS          30000 /* after the first failure; doubles up to ... */
#define DEAD_MAX_MS      (30 * 60 * 1000)
#define DESTINATIONS_MAX 50000 /* remembered; those with jobs are never forgotten */
#define SWEEP            16    /* looked at for each new one */
#define CLASSES          3

/* What a destination's messages ask of TLS, as the first byte of its key. */
enum { CLASS_USUAL = 'u', CLASS_REQUIRE = 'r', CLASS_OPTIONAL = 'o' };

TAILQ_HEAD(job_list, transport_job);
TAILQ_HEAD(link_list, link);

struct reason {
    enum transport_result result;
    unsigned code;
    char status[16];
    char text[1000];
    char remote[256];
};

struct destination {
    UT_hash_handle hh;
    struct transport *t;
    const struct transport_route *route; /* NULL: by MX */
    struct job_list waiting;
    size_t waiting_n;
    size_t busy_n; /* jobs that links have */
    struct link_list idle;
    unsigned links_n; /* all */
    unsigned idle_n, trying_n;
    unsigned room; /* links that may be there now: grows with success */
    struct resolved *servers;
    bool resolving;
    int64_t dead_until;
    unsigned failures;          /* in a row */
    struct queue_envelope asks; /* require_tls, tls_optional: for plans */
    char key[];                 /* class, destination */
};

struct link {
    struct smtp_owner owner;
    struct destination *d;
    TAILQ_ENTRY(link) link;
    struct session *session;
    struct resolved *servers;
    size_t host, address; /* which is tried now, or is connected */
    bool in_plain;        /* the attempt is the fallback without TLS */
    bool idle;
    bool ready; /* has asked for a job once */
    unsigned jobs;
    struct plan plan;
    struct reason last; /* why the last attempt failed */
};

struct transport {
    struct transport_settings settings;
    struct net *net;
    struct tls_client *tls;
    struct dns *dns;
    struct resolver *resolver;
    struct netaddr source4, source6; /* n 0: any */
    pthread_mutex_t lock;
    struct destination *destinations;
    bool stopped;
    struct transport_counters counters; /* under the lock */
};

/* ---- Results ---- */

static void set_reason(struct reason *r, enum transport_result result, unsigned code,
                       const char *status, const char *text, const char *remote)
{
    r->result = result;
    r->code = code;
    snprintf(r->status, sizeof r->status, "%s", status);
    snprintf(r->text, sizeof r->text, "%s", text);
    snprintf(r->remote, sizeof r->remote, "%s", remote);
}

static void answer_rest(struct transport_job *job, const struct reason *why)
{
    for (size_t i = 0; i < job->n; i++) {
        struct transport_recipient *r = &job->recipients[i];

        if (r->status)
            continue;
        r->result = why->result;
        r->code = why->code;
        r->status = arena_str(&job->arena, slice_str(why->status));
        r->text = arena_str(&job->arena, slice_str(why->text));
        r->remote = arena_str(&job->arena, slice_str(why->remote));
    }
}

/* Under the lock. */
static void count_results(struct transport *t, const struct transport_job *job)
{
    for (size_t i = 0; i < job->n; i++) {
        t->counters.delivered += job->recipients[i].result == TRANSPORT_DELIVERED;
        t->counters.later += job->recipients[i].result == TRANSPORT_LATER;
        t->counters.failed += job->recipients[i].result == TRANSPORT_FAILED;
    }
    t->counters.jobs--;
}

static void run_done(struct pool_job *pool_job)
{
    struct transport_job *job = CONTAINER_OF(pool_job, struct transport_job, pool_job);

    job->done(job);
}

/* Under the lock: all that wait; `done` follows on workers. */
static void answer_waiting(struct destination *d, const struct reason *why)
{
    struct transport_job *job;

    while ((job = TAILQ_FIRST(&d->waiting))) {
        TAILQ_REMOVE(&d->waiting, job, link);
        d->waiting_n--;
        answer_rest(job, why);
        count_results(d->t, job);
        job->pool_job.run = run_done;
        pool_submit(net_workers(d->t->net), &job->pool_job);
    }
}

static void log_failure(const struct destination *d, const struct reason *why)
{
    struct log_line l;

    log_begin(&l, LOG_WARN_, "destination_failed");
    log_str(&l, "destination", slice_str(d->key + 1));
    log_str(&l, "server", slice_str(why->remote));
    log_str(&l, "status", slice_str(why->status));
    log_num(&l, "wait_s", (d->dead_until - clock_mono_ms()) / 1000);
    log_str(&l, "reason", slice_str(why->text));
    log_end(&l);
}

/* Under the lock. Jobs that were on their way when it was found dead find the same once more, which
 * is no reason to wait longer. */
static void be_dead(struct destination *d, const struct reason *why)
{
    int64_t ms = DEAD_MAX_MS, now = clock_mono_ms();

    if (d->dead_until <= now) {
        if (d->failures < 6)
            ms = MIN((int64_t)DEAD_MS << d->failures, (int64_t)DEAD_MAX_MS);
        d->failures++;
        d->dead_until = now + ms;
    }
    d->room = 1;
    log_failure(d, why);
    answer_waiting(d, why);
}

/* ---- Destinations ---- */

static bool is_unused(const struct destination *d)
{
    return d->waiting_n == 0 && d->busy_n == 0 && d->links_n == 0 && !d->resolving;
}

static void forget(struct destination *d)
{
    HASH_DEL(d->t->destinations, d);
    resolved_unref(d->servers);
    free(d);
}

/* The longest known are looked at first; those that are not forgotten go to the end. */
static void sweep(struct transport *t)
{
    int64_t now = clock_mono_ms();
    bool full = HASH_COUNT(t->destinations) > DESTINATIONS_MAX;
    struct destination *d, *next;
    unsigned seen = 0;

    HASH_ITER (hh, t->destinations, d, next) {
        bool holds = d->dead_until > now || (d->servers && d->servers->until_ms > now);

        if (++seen > SWEEP)
            break;
        if (is_unused(d) && (full || !holds)) {
            forget(d);
        } else {
            HASH_DEL(t->destinations, d);
            HASH_ADD_KEYPTR(hh, t->destinations, d->key, strlen(d->key), d);
        }
    }
}

static bool route_fits(const struct transport_route *route, const char *destination)
{
    const char *domain = route->domain;
    size_t n = strlen(destination), suffix = strlen(domain);

    if (strcmp(domain, "*") == 0 || strcasecmp(domain, destination) == 0)
        return true;
    return domain[0] == '.' && n > suffix && strcasecmp(destination + n - suffix, domain) == 0;
}

static const struct transport_route *find_route(const struct transport *t, const char *destination)
{
    for (size_t i = 0; i < t->settings.routes_n; i++)
        if (route_fits(&t->settings.routes[i], destination))
            return &t->settings.routes[i];
    return NULL;
}

static void make_key(char class, const char *destination, struct buf *out)
{
    buf_add_byte(out, (uint8_t) class);
    for (; *destination; destination++)
        buf_add_byte(out, byte_lower((uint8_t)*destination));
}

static struct destination *find_destination(struct transport *t, char class,
                                            const char *destination)
{
    CLEANUP(buf_done) struct buf key = buf_make(1024);
    struct destination *d;

    make_key(class, destination, &key);
    HASH_FIND_STR(t->destinations, buf_cstr(&key), d);
    return d;
}

static struct destination *make_destination(struct transport *t, char class,
                                            const char *destination)
{
    CLEANUP(buf_done) struct buf key = buf_make(1024);
    struct destination *d;

    sweep(t);
    make_key(class, destination, &key);
    d = mem_zalloc(sizeof *d + key.n + 1);
    memcpy(d->key, key.p, key.n);
    d->t = t;
    d->route = find_route(t, destination);
    d->asks.require_tls = class == CLASS_REQUIRE;
    d->asks.tls_optional = class == CLASS_OPTIONAL;
    d->room = MIN(2u, t->settings.concurrency);
    TAILQ_INIT(&d->waiting);
    TAILQ_INIT(&d->idle);
    HASH_ADD_KEYPTR(hh, t->destinations, d->key, key.n, d);
    return d;
}

/* ---- Links: one attempt after the other ---- */

static void dispatch(struct destination *d);

static const struct resolve_host *host_of(const struct link *k)
{
    return &k->servers->hosts[k->host];
}

static void note_refusal(struct link *k, const char *why)
{
    k->d->t->counters.policy_refused++;
    log_text(LOG_WARN_, "tls_policy", "%s, server %s: passed over: %s", k->d->key + 1,
             host_of(k)->name, why);
    set_reason(&k->last, TRANSPORT_LATER, 0, k->d->asks.require_tls ? "5.7.30" : "4.7.5", why,
               host_of(k)->name);
    /* RFC 8689 4.2.1: what the message asks for is not to be had; waiting would not help */
    if (k->d->asks.require_tls)
        k->last.result = TRANSPORT_FAILED;
}

/* Moves on to a server that may be used, from where the link is. False: there is none left. */
static bool find_attempt(struct link *k)
{
    for (; k->host < k->servers->n; k->host++, k->address = 0) {
        const struct destination *d = k->d;

        k->plan = d->route ? plan_for_route(d->route, &d->asks)
                           : plan_for_mx(k->servers, host_of(k), &d->asks);
        if (k->plan.refused)
            note_refusal(k, k->plan.refused);
        else if (k->address < host_of(k)->n)
            return true;
    }
    return false;
}

static SSL *prepare_tls(const struct link *k)
{
    const struct resolve_host *host = host_of(k);
    struct tls_target target = {.verify = k->plan.verify,
                                .name = host->dane ? host->tlsa_name : host->name,
                                .tlsa = host->tlsa,
                                .tlsa_n = host->tlsa_n};

    if (k->plan.verify == TLS_VERIFY_DANE)
        target.other_name = k->d->key + 1; /* RFC 7672 3.2.2: the domain itself will do */
    if (k->in_plain || (k->plan.tls == SMTP_TLS_NEVER && !k->plan.implicit))
        return NULL;
    return tls_client_prepare(k->d->t->tls, &target);
}

static void connect_link(struct link *k)
{
    const struct transport *t = k->d->t;
    const struct transport_route *route = k->d->route;
    const struct netaddr *to = &host_of(k)->addresses[k->address];
    const struct netaddr *from = to->sa.any.sa_family == AF_INET6 ? &t->source6 : &t->source4;
    struct smtp_client_settings settings = {.helo = t->settings.hostname,
                                            .host = host_of(k)->name,
                                            .tls = k->in_plain || k->plan.implicit ? SMTP_TLS_NEVER
                                                                                   : k->plan.tls,
                                            .timeout_ms = t->settings.timeout_ms,
                                            .idle_ms = t->settings.idle_ms,
                                            .messages_max = t->settings.messages_max};
    struct net_target target = {.to = *to,
                                .from = from->n > 0 ? from : NULL,
                                .connect_ms = t->settings.connect_ms,
                                .implicit_tls = k->plan.implicit,
                                .ssl = prepare_tls(k)};

    if (route && route->user[0]) {
        settings.user = route->user;
        settings.password = route->password;
    }
    k->session = smtp_client_new(&settings, &k->owner);
    net_connect(t->net, &target, k->session);
}

static void free_link(struct link *k)
{
    resolved_unref(k->servers);
    free(k);
}

/* Under the lock. The link is gone; if it was the last hope, so are the jobs. Where others still
 * try, they will find out the same; where one is ready, it goes on taking jobs. */
static void end_link(struct link *k, bool failed)
{
    struct destination *d = k->d;

    d->links_n--;
    d->t->counters.connections--;
    if (failed && d->links_n == 0)
        be_dead(d, &k->last);
    else if (!failed)
        dispatch(d);
    free_link(k);
}

/* Under the lock: the current attempt failed. */
static void try_again(struct link *k, enum smtp_end how)
{
    struct destination *d = k->d;

    if (how == SMTP_END_TLS && k->plan.fallback && !k->in_plain) {
        log_text(LOG_INFO_, "tls_fallback", "%s, server %s: %s; once more without", d->key + 1,
                 host_of(k)->name, k->last.text);
        k->in_plain = true;
    } else {
        k->in_plain = false;
        k->address++;
    }
    if (!d->t->stopped && find_attempt(k)) {
        connect_link(k);
        return;
    }
    d->trying_n--;
    end_link(k, true);
}

/* ---- Links: what their sessions tell ---- */

static struct link *link_of(struct smtp_owner *o)
{
    return CONTAINER_OF(o, struct link, owner);
}

static void log_ready(const struct link *k)
{
    const struct session_peer *peer = &k->session->peer;
    struct log_line l;

    log_begin(&l, LOG_INFO_, "smtp_out");
    log_str(&l, "destination", slice_str(k->d->key + 1));
    log_str(&l, "server", slice_str(host_of(k)->name));
    log_str(&l, "remote", slice_str(peer->remote));
    log_str(&l, "policy", slice_str(k->plan.name));
    log_str(&l, "tls", slice_str(peer->tls ? peer->tls_version : "none"));
    if (peer->tls && peer->tls_verified)
        log_str(&l, "verified", slice_str(k->plan.verify == TLS_VERIFY_DANE ? "dane" : "ca"));
    else if (peer->tls)
        log_str(&l, "unverified", slice_str(peer->failure));
    log_end(&l);
}

/* Under the lock. */
static void be_ready(struct link *k)
{
    struct transport_counters *n = &k->d->t->counters;
    const struct session_peer *peer = &k->session->peer;

    k->ready = true;
    k->d->trying_n--;
    k->d->failures = 0;
    k->d->dead_until = 0;
    n->connected++;
    n->plain += !peer->tls;
    n->tls += peer->tls;
    n->tls_dane += peer->tls && peer->tls_verified && k->plan.verify == TLS_VERIFY_DANE;
    n->tls_ca += peer->tls && peer->tls_verified && k->plan.verify != TLS_VERIFY_DANE;
    log_ready(k);
    /* RFC 8461 5: in testing nothing is refused, but it would have been */
    if (strcmp(k->plan.name, "sts-testing") == 0 &&
        (!peer->tls || !peer->tls_verified || !sts_matches(&k->servers->sts, host_of(k)->name)))
        log_text(LOG_WARN_, "tls_policy", "%s, server %s: would be refused by its MTA-STS policy",
                 k->d->key + 1, host_of(k)->name);
}

static void set_idle(struct link *k, bool idle)
{
    if (k->idle == idle)
        return;
    k->idle = idle;
    k->d->idle_n += idle ? 1 : -1u;
    if (idle)
        TAILQ_INSERT_HEAD(&k->d->idle, k, link);
    else
        TAILQ_REMOVE(&k->d->idle, k, link);
}

static struct transport_job *link_next(struct smtp_owner *o)
{
    struct link *k = link_of(o);
    struct destination *d = k->d;

    pthread_mutex_lock(&d->t->lock);
    if (!k->ready)
        be_ready(k);
    struct transport_job *job = TAILQ_FIRST(&d->waiting);
    set_idle(k, !job);
    if (job) {
        TAILQ_REMOVE(&d->waiting, job, link);
        d->waiting_n--;
        d->busy_n++;
        d->t->counters.reused += k->jobs > 0;
        k->jobs++;
    }
    pthread_mutex_unlock(&d->t->lock);
    return job;
}

static void link_answered(struct smtp_owner *o, struct transport_job *job)
{
    struct destination *d = link_of(o)->d;

    pthread_mutex_lock(&d->t->lock);
    d->busy_n--;
    d->room = MIN(d->room + 1, d->t->settings.concurrency);
    count_results(d->t, job);
    dispatch(d);
    pthread_mutex_unlock(&d->t->lock);
    job->done(job);
}

static void link_leaves(struct smtp_owner *o)
{
    struct link *k = link_of(o);

    pthread_mutex_lock(&k->d->t->lock);
    set_idle(k, false);
    pthread_mutex_unlock(&k->d->t->lock);
}

static void link_ended(struct smtp_owner *o, enum smtp_end how, unsigned code, const char *why,
                       struct transport_job *untouched)
{
    struct link *k = link_of(o);
    struct destination *d = k->d;
    struct transport *t = d->t;

    pthread_mutex_lock(&t->lock);
    if (untouched) {
        d->busy_n--;
        d->waiting_n++;
        TAILQ_INSERT_HEAD(&d->waiting, untouched, link);
    }
    if (k->ready) {
        end_link(k, false);
    } else {
        t->counters.unreachable++;
        set_reason(&k->last, TRANSPORT_LATER, code,
                   code >= 400 && code < 500 ? "4.0.0"
                   : how == SMTP_END_TLS     ? "4.7.5"
                                             : "4.4.1",
                   why, host_of(k)->name);
        try_again(k, how);
    }
    if (t->stopped)
        answer_waiting(d, &(struct reason){.result = TRANSPORT_LATER,
                                           .status = "4.3.2",
                                           .text = "this server is being stopped"});
    pthread_mutex_unlock(&t->lock);
}

/* Under the lock. */
static void start_link(struct destination *d)
{
    struct link *k = NEW(struct link);

    k->owner = (struct smtp_owner){link_next, link_answered, link_leaves, link_ended};
    k->d = d;
    k->servers = d->servers;
    atomic_fetch_add(&k->servers->refs, 1);
    d->links_n++;
    d->trying_n++;
    d->t->counters.connections++;
    set_reason(&k->last, TRANSPORT_LATER, 0, "4.4.1", "no server could be reached", "");
    if (find_attempt(k)) {
        connect_link(k);
    } else {
        d->trying_n--;
        end_link(k, true);
    }
}

/* ---- Dispatch ---- */

static void on_resolved(void *context, struct resolved *r)
{
    struct destination *d = context;
    struct reason why;

    pthread_mutex_lock(&d->t->lock);
    d->resolving = false;
    if (r->outcome == RESOLVE_OK) {
        resolved_unref(d->servers);
        d->servers = r;
        dispatch(d);
    } else {
        set_reason(&why, r->outcome == RESOLVE_FAILED ? TRANSPORT_FAILED : TRANSPORT_LATER, 0,
                   r->status, r->text, "");
        if (r->outcome == RESOLVE_FAILED)
            answer_waiting(d, &why); /* an answer, not a failure */
        else if (d->links_n == d->trying_n)
            be_dead(d, &why); /* else links that are ready take what waits, DNS or not */
        resolved_unref(r);
    }
    pthread_mutex_unlock(&d->t->lock);
}

static void resolve(struct destination *d)
{
    const struct transport_route *route = d->route;

    if (d->resolving)
        return;
    d->resolving = true;
    if (route)
        resolve_server(d->t->resolver, route->host, route->port, on_resolved, d);
    else
        resolve_destination(d->t->resolver, d->key + 1, on_resolved, d);
}

/* Under the lock: sees to it that somebody takes what waits. */
static void dispatch(struct destination *d)
{
    struct link *k;
    size_t woken = 0;

    if (d->waiting_n == 0 || d->t->stopped)
        return;
    TAILQ_FOREACH (k, &d->idle, link) {
        if (woken++ == d->waiting_n)
            break;
        k->session->wake(k->session);
    }
    if (d->idle_n + d->trying_n >= d->waiting_n || d->links_n >= d->room)
        return;
    if (!d->servers || clock_mono_ms() >= d->servers->until_ms) {
        resolve(d);
        return;
    }
    /* a start that fails at once ends in be_dead, which leaves nothing waiting */
    while (d->links_n < d->room && d->idle_n + d->trying_n < d->waiting_n)
        start_link(d);
}

void transport_send(struct transport *t, struct transport_job *job)
{
    char class = job->envelope->require_tls    ? CLASS_REQUIRE
                 : job->envelope->tls_optional ? CLASS_OPTIONAL
                                               : CLASS_USUAL;
    struct reason stopped = {
        .result = TRANSPORT_LATER, .status = "4.3.2", .text = "this server is being stopped"};

    for (size_t i = 0; i < job->n; i++)
        job->recipients[i] = (struct transport_recipient){.to = job->recipients[i].to};
    pthread_mutex_lock(&t->lock);
    struct destination *d = find_destination(t, class, job->destination);
    if (!d)
        d = make_destination(t, class, job->destination);
    t->counters.jobs++;
    TAILQ_INSERT_TAIL(&d->waiting, job, link);
    d->waiting_n++;
    if (t->stopped)
        answer_waiting(d, &stopped);
    else
        dispatch(d);
    pthread_mutex_unlock(&t->lock);
}

unsigned transport_room(struct transport *t, const char *destination, int64_t *ret_wait_ms)
{
    static const char classes[CLASSES] = {CLASS_USUAL, CLASS_REQUIRE, CLASS_OPTIONAL};
    size_t most = (size_t)t->settings.concurrency * 2, jobs = 0;
    int64_t now = clock_mono_ms(), wait = BUSY_WAIT_MS;
    bool dead = false;

    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < CLASSES; i++) {
        const struct destination *d = find_destination(t, classes[i], destination);

        jobs += d ? d->waiting_n + d->busy_n : 0;
        if (d && classes[i] == CLASS_USUAL && d->dead_until > now) {
            dead = true;
            wait = d->dead_until - now;
        }
    }
    pthread_mutex_unlock(&t->lock);
    if (!dead && jobs < most)
        return (unsigned)(most - jobs);
    if (ret_wait_ms)
        *ret_wait_ms = wait;
    return 0;
}

struct transport_counters transport_read_counters(struct transport *t)
{
    pthread_mutex_lock(&t->lock);
    struct transport_counters ret = t->counters;
    pthread_mutex_unlock(&t->lock);
    return ret;
}

/* ---- Life ---- */

static int parse_source(const char *text, struct netaddr *ret, struct error *err)
{
    if (!text || !*text)
        return 0;
    CLEANUP_FREE char *full = mem_printf(strchr(text, ':') ? "[%s]:0" : "%s:0", text);
    return netaddr_parse(full, ret, err);
}

static struct transport_settings with_defaults(struct transport_settings s)
{
    if (s.port == 0)
        s.port = PORT;
    if (s.sts_port == 0)
        s.sts_port = STS_PORT;
    if (s.concurrency == 0)
        s.concurrency = CONCURRENCY;
    return s;
}

static int make_resolver(struct transport *t, struct error *err)
{
    const struct transport_settings *s = &t->settings;
    struct loop *loop = loops_get(net_loops(t->net), 0);
    struct dns_settings dns = {
        .servers = s->servers, .trust_anchor = s->trust_anchor, .deadline_ms = s->dns_timeout_ms};
    struct resolver_settings resolver = {.hostname = s->hostname,
                                         .port = s->port,
                                         .sts_port = s->sts_port,
                                         .family = (enum resolve_family)s->family,
                                         .dane = !s->no_dane,
                                         .sts = !s->no_sts,
                                         .ca_file = s->ca_file,
                                         .local_networks = s->local_networks,
                                         .local_networks_n = s->local_networks_n};
    int rc = dns_is_built_in ? dns_new(&dns, loop, &t->dns, err) : 0;

    return rc < 0 ? rc : resolver_new(&resolver, t->dns, loop, &t->resolver, err);
}

int transport_new(const struct transport_settings *settings, struct net *net,
                  struct transport **ret, struct error *err)
{
    struct transport *t = NEW(struct transport);
    int rc;

    t->settings = with_defaults(*settings);
    t->net = net;
    pthread_mutex_init(&t->lock, NULL);
    rc = parse_source(t->settings.source4, &t->source4, err);
    if (rc == 0)
        rc = parse_source(t->settings.source6, &t->source6, err);
    if (rc == 0)
        rc = tls_client_new(t->settings.ca_file, &t->tls, err);
    if (rc == 0)
        rc = make_resolver(t, err);
    if (rc < 0) {
        transport_stop(t);
        transport_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

static void nothing(void *arg)
{
}

/* After the loop has taken what was posted, no lookup begins; those that have are answered by the
 * end of the DNS, and by the end of the threads that fetch. */
static void end_lookups(struct transport *t)
{
    struct loop *loop = loops_get(net_loops(t->net), 0);

    loop_call(loop, nothing, NULL);
    dns_free(TAKE(t->dns));
    resolver_free(TAKE(t->resolver));
}

void transport_stop(struct transport *t)
{
    struct reason why = {
        .result = TRANSPORT_LATER, .status = "4.3.2", .text = "this server is being stopped"};
    struct destination *d, *next;

    if (!t || t->stopped)
        return;
    pthread_mutex_lock(&t->lock);
    t->stopped = true;
    HASH_ITER (hh, t->destinations, d, next)
        answer_waiting(d, &why);
    pthread_mutex_unlock(&t->lock);
    end_lookups(t);
}

void transport_free(struct transport *t)
{
    if (!t)
        return;
    while (t->destinations)
        forget(t->destinations);
    tls_client_free(t->tls);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
