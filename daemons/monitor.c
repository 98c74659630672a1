/* SPDX-License-Identifier: MPL-2.0 */
#include "daemons/monitor.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "daemons/node.h"
#include "daemons/sending.h"
#include "lib/auth/login.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/pool.h"
#include "lib/bus/bus.h"
#include "lib/mail/mail.h"
#include "lib/mail/sweep.h"
#include "lib/store/store.h"
#include "protocols/http/http.h"
#include "protocols/imap/imap.h"
#include "protocols/pop3/pop3.h"

#define PROBE_EVERY_MS 1000 /* whoever asks more often gets the last answer */
#define PROBE_LATE_MS  5000 /* a store that has not answered for so long is away */
#define PROBE_WAIT_MS  300  /* whoever asks waits so long for the store, load balancers are short */

struct monitor {
    struct node *node;
    struct session_service *service;
    struct histogram *imap, *pop3;
    int64_t started_ms; /* wall clock */
    _Atomic bool draining;
    struct pool *prober; /* one thread, which may wait for the store; NULL: who asks waits */
    struct pool_job job;
    pthread_mutex_t lock; /* the probe */
    pthread_cond_t probed;
    bool probing;
    int64_t probed_ms, answered_ms; /* when one began; when the last good one ended */
    struct error failure;           /* of the last one; text "": it was good */
};

/* --- ready ------------------------------------------------------------------------------------ */

/* One at a time asks the store; others are told what is known. */
static bool begin_probe(struct monitor *m, int64_t now)
{
    pthread_mutex_lock(&m->lock);
    bool mine = !m->probing && now - m->probed_ms >= PROBE_EVERY_MS;
    if (mine) {
        m->probing = true;
        m->probed_ms = now;
    }
    pthread_mutex_unlock(&m->lock);
    return mine;
}

static void probe(struct pool_job *job)
{
    struct monitor *m = CONTAINER_OF(job, struct monitor, job);
    struct error err = {0};
    int64_t time;
    int r = store_time(m->node->store, &time, &err);

    pthread_mutex_lock(&m->lock);
    m->probing = false;
    m->failure = err;
    if (r == 0)
        m->answered_ms = clock_mono_ms();
    pthread_cond_broadcast(&m->probed);
    pthread_mutex_unlock(&m->lock);
}

/* With the lock held. */
static void await_probe(struct monitor *m)
{
    struct timespec end;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += PROBE_WAIT_MS * 1000000L;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    while (m->probing && rc == 0)
        rc = pthread_cond_timedwait(&m->probed, &m->lock, &end);
}

static bool store_answers(struct monitor *m)
{
    int64_t now = clock_mono_ms();

    if (begin_probe(m, now)) {
        if (m->prober)
            pool_submit(m->prober, &m->job);
        else
            probe(&m->job);
    }
    pthread_mutex_lock(&m->lock);
    await_probe(m);
    bool answered = !m->probing && !m->failure.text[0];
    /* an election is over within this time, and sessions wait for it */
    bool lately = m->answered_ms && now - m->answered_ms < PROBE_LATE_MS;
    pthread_mutex_unlock(&m->lock);
    return answered || lately;
}

/* HAProxy takes 503 for dead, and may then break connections off; with "disable-on-404" it takes
 * 404 for "nobody new, please", which is what is meant. */
static unsigned not_ready(const struct http_request *r)
{
    return slice_eq(r->query, S("status=404")) ? 404 : 503;
}

static void show_ready(void *monitor, const struct http_request *r, struct slice body,
                       struct http_response *response)
{
    struct monitor *m = monitor;

    if (atomic_load(&m->draining)) {
        response->status = not_ready(r);
        response->close = true;
        buf_add_str(&response->body, "draining\n");
    } else if (!store_answers(m)) {
        response->status = not_ready(r);
        buf_add_str(&response->body, "the store does not answer\n");
    } else {
        buf_add_str(&response->body, "ready\n");
    }
}

static void show_health(void *monitor, const struct http_request *r, struct slice body,
                        struct http_response *response)
{
    struct monitor *m = monitor;

    response->close = atomic_load(&m->draining);
    buf_add_str(&response->body, "alive\n");
}

/* --- metrics ---------------------------------------------------------------------------------- */

static void one(struct buf *out, enum metrics_type type, const char *name, uint64_t value,
                const char *help)
{
    metrics_family(out, name, type, help);
    metrics_sample(out, name, "", value);
}

static void counter(struct buf *out, const char *name, uint64_t value, const char *help)
{
    one(out, METRICS_COUNTER, name, value, help);
}

static void gauge(struct buf *out, const char *name, uint64_t value, const char *help)
{
    one(out, METRICS_GAUGE, name, value, help);
}

/* Resident pages, from /proc: what the kernel thinks we take. */
static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (!f)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void tell_process(const struct monitor *m, struct buf *out)
{
    metrics_family(out, "eider_build_info", METRICS_GAUGE, "The version, as a label.");
    metrics_sample(out, "eider_build_info", "version=\"" EIDER_VERSION "\"", 1);
    gauge(out, "process_start_time_seconds", (uint64_t)m->started_ms / 1000,
          "When the process began, in seconds since 1970.");
    gauge(out, "process_resident_memory_bytes", resident_bytes(), "Resident memory.");
    gauge(out, "eider_draining", atomic_load(&m->draining), "1 while it ends.");
}

static void tell_net(const struct node *node, struct buf *out)
{
    struct net_counters c = net_read_counters(node->net);

    gauge(out, "eider_connections", c.open, "Connections that are open.");
    counter(out, "eider_connections_accepted_total", c.accepted, "Connections taken.");
    counter(out, "eider_connections_refused_total", c.refused,
            "Connections turned away at a limit.");
    counter(out, "eider_connections_broken_total", c.broken,
            "Connections that ended without a good-bye.");
    counter(out, "eider_accept_pauses_total", c.accept_pauses,
            "Times that file descriptors ran out.");
    counter(out, "eider_proxy_headers_bad_total", c.proxy_bad,
            "PROXY headers that were missing, damaged or not allowed.");
    counter(out, "eider_tls_handshakes_total", c.tls_done, "TLS handshakes that were finished.");
    counter(out, "eider_tls_failures_total", c.tls_failed, "TLS handshakes that failed.");
    counter(out, "eider_received_bytes_total", c.bytes_in, "Octets from clients, without TLS.");
    counter(out, "eider_sent_bytes_total", c.bytes_out, "Octets to clients, without TLS.");
    counter(out, "eider_steps_total", c.steps, "Pieces of work that workers did for sessions.");
    gauge(out, "eider_workers_running", c.workers.running, "Workers that run a step.");
    gauge(out, "eider_workers_waiting", c.workers.waiting, "Steps that wait for a worker.");
    counter(out, "eider_workers_waited_microseconds_total", c.workers.waited_us,
            "Time that steps waited for a worker.");
}

static void tell_commands(struct buf *out, const char *protocol, const struct histogram *times,
                          size_t n, const char *(*name)(size_t))
{
    for (size_t i = 0; i < n; i++) {
        CLEANUP(buf_done) struct buf labels = buf_make(200);

        if (histogram_count(&times[i]) == 0)
            continue;
        metrics_label(&labels, "protocol", slice_str(protocol));
        metrics_label(&labels, "command", slice_str(name(i)));
        metrics_histogram(out, "eider_command_seconds", buf_cstr(&labels), &times[i]);
    }
}

static void tell_all_commands(const struct monitor *m, struct buf *out)
{
    metrics_family(out, "eider_command_seconds", METRICS_HISTOGRAM,
                   "Working time of commands that were answered, without the client's.");
    tell_commands(out, "imap", m->imap, imap_command_count(), imap_command_name);
    tell_commands(out, "pop3", m->pop3, pop3_command_count(), pop3_command_name);
}

static void tell_mail(const struct node *node, struct buf *out)
{
    struct mail_counters c = mail_read_counters(node->mail);

    counter(out, "eider_intents_total", c.intents, "Changes that were asked for.");
    counter(out, "eider_commits_total", c.records, "Records that were sent to be committed.");
    counter(out, "eider_commit_batches_total", c.batches, "Batches that they left in.");
    counter(out, "eider_commit_conflicts_total", c.conflicts,
            "Records whose place another node had taken; they were built again.");
    counter(out, "eider_commit_unknown_total", c.looked_up,
            "Records whose outcome was not known at first and was found out.");
    counter(out, "eider_commit_fences_total", c.fences,
            "Fences put where a record is not to come any more.");
    counter(out, "eider_commit_given_up_total", c.given_up,
            "Changes whose outcome stayed unknown; their clients were disconnected.");
    counter(out, "eider_intents_without_record_total", c.without_record,
            "Changes that changed nothing.");
    counter(out, "eider_snapshots_total", c.snapshots, "Snapshots of accounts saved.");
    gauge(out, "eider_replicas", c.accounts, "Accounts in memory.");
    gauge(out, "eider_replicas_idle", c.idle_accounts, "Accounts in memory that nobody uses.");
    gauge(out, "eider_replicas_idle_bytes", c.idle_bytes, "Memory of these.");
    gauge(out, "eider_replicas_held_bytes", c.held_bytes, "Memory of the others.");
    counter(out, "eider_replicas_unloaded_total", c.unloaded,
            "How often one in use gave up what can be read again, to make room.");
}

static void tell_sweeper(const struct node *node, struct buf *out)
{
    struct swept c = sweeper_read_counters(node->sweeper);

    counter(out, "eider_swept_accounts_total", c.accounts, "Accounts that the sweep looked at.");
    counter(out, "eider_swept_expired_total", c.expired, "Messages expunged for their age.");
    counter(out, "eider_swept_messages_total", c.messages, "Messages removed for good.");
    counter(out, "eider_swept_links_total", c.links + c.blobs.links_removed,
            "Uses of blobs by messages removed.");
    counter(out, "eider_swept_fences_total", c.noops,
            "Records put into logs before messages were removed.");
    counter(out, "eider_swept_records_total", c.records, "Records trimmed from logs.");
    counter(out, "eider_swept_segments_total", c.segments, "Old segments of snapshots removed.");
    counter(out, "eider_swept_blobs_marked_total", c.blobs.marked,
            "Blobs that nobody uses, found and marked to be removed.");
    counter(out, "eider_swept_blobs_total", c.blobs.deleted, "Blobs removed.");
    counter(out, "eider_swept_erased_total", c.erased, "Deleted accounts that were erased.");
}

static void tell_logins(const struct node *node, struct buf *out)
{
    static const char name[] = "eider_logins_total";
    static const struct {
        enum conf_protocol listener;
        enum auth_service service;
        const char *name;
    } rows[] = {{CONF_IMAP, AUTH_IMAP, "imap"},
                {CONF_POP3, AUTH_POP3, "pop3"},
                {CONF_SUBMISSION, AUTH_SMTP, "submission"}};

    metrics_family(out, name, METRICS_COUNTER, "Attempts to log in, by what became of them.");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int k = 0; k < AUTH_OUTCOMES_ && node->protocols & 1u << rows[i].listener; k++) {
            CLEANUP(buf_done) struct buf labels = buf_make(200);

            metrics_label(&labels, "protocol", slice_str(rows[i].name));
            metrics_label(&labels, "result", slice_str(auth_outcome_name((enum auth_outcome)k)));
            metrics_sample(out, name, buf_cstr(&labels),
                           auth_count(node->auth, rows[i].service, (enum auth_outcome)k));
        }
}

static void tell_submission(const struct node *node, struct buf *out)
{
    const struct submit_counters *c = &node->sent;
    static const char refused[] = "eider_submission_refused_total";
    static const char recipients[] = "eider_submission_recipients_total";

    counter(out, "eider_submission_messages_total", c->messages, "Messages that users sent.");
    counter(out, "eider_submission_sandboxed_total", c->sandboxed,
            "Of these, those caught in sandbox mode.");
    metrics_family(out, recipients, METRICS_COUNTER, "Recipients of the others.");
    metrics_sample(out, recipients, "place=\"here\"", c->local);
    metrics_sample(out, recipients, "place=\"queue\"", c->queued);
    counter(out, "eider_submission_urls_total", c->urls, "Pieces of messages taken by BURL.");
    metrics_family(out, refused, METRICS_COUNTER, "Messages that were not taken.");
    metrics_sample(out, refused, "reason=\"sender\"", c->refused_sender);
    metrics_sample(out, refused, "reason=\"rate\"", c->refused_rate);
    metrics_sample(out, refused, "reason=\"content\"", c->refused_content);
    metrics_sample(out, refused, "reason=\"failure\"", c->failed);
}

static void tell_store(const struct node *node, struct buf *out)
{
    static const char name[] = "eider_store_seconds", failed[] = "eider_store_failures_total";
    char labels[100];

    metrics_family(out, name, METRICS_HISTOGRAM, "Round trips to the store.");
    for (int v = 0; v < STORE_VERBS_; v++) {
        snprintf(labels, sizeof labels, "verb=\"%s\"", store_verb_name(v));
        metrics_histogram(out, name, labels, &store_counters(node->store, v)->times);
    }
    metrics_family(out, failed, METRICS_COUNTER, "Round trips that failed.");
    for (int v = 0; v < STORE_VERBS_; v++) {
        const struct store_verb_counters *c = store_counters(node->store, v);

        snprintf(labels, sizeof labels, "verb=\"%s\",outcome=\"unavailable\"", store_verb_name(v));
        metrics_sample(out, failed, labels, atomic_load(&c->unavailable));
        snprintf(labels, sizeof labels, "verb=\"%s\",outcome=\"unknown\"", store_verb_name(v));
        metrics_sample(out, failed, labels, atomic_load(&c->unknown));
    }
}

static void tell_bus(const struct node *node, struct buf *out)
{
    struct bus_counters c = bus_read_counters(node->bus);

    gauge(out, "eider_bus_connected", c.connected, "1 while hints flow.");
    counter(out, "eider_bus_published_total", c.published, "Hints sent.");
    counter(out, "eider_bus_received_total", c.received, "Hints that came.");
    counter(out, "eider_bus_gaps_total", c.gaps, "Times that all accounts were looked at again.");
    counter(out, "eider_bus_lost_total", c.lost, "Connections to Redis that broke or failed.");
}

static void tell_queue(const struct node *node, struct buf *out)
{
    struct runner_counters c;

    if (!node->sending)
        return;
    c = sending_runner_counters(node->sending);
    gauge(out, "eider_queue_running", c.running, "Queue entries that are being attempted.");
    gauge(out, "eider_queue_due", c.known, "Queue entries that are due, as far as known here.");
    gauge(out, "eider_queue_destinations", c.destinations, "Destinations of these.");
    counter(out, "eider_queue_attempts_total", c.attempts, "Attempts to send an entry.");
    counter(out, "eider_queue_delivered_total", c.delivered, "Recipients delivered to.");
    counter(out, "eider_queue_deferred_total", c.deferred, "Recipients put off.");
    counter(out, "eider_queue_failed_total", c.failed, "Recipients refused for good.");
    counter(out, "eider_queue_expired_total", c.expired, "Entries that became too old.");
    counter(out, "eider_queue_bounces_total", c.bounces, "Bounces delivered.");
    counter(out, "eider_queue_warnings_total", c.warnings, "Delay warnings delivered.");
    counter(out, "eider_queue_reports_total", c.reports, "Reports of success delivered.");
    counter(out, "eider_queue_notices_dropped_total", c.dropped, "Notices to nobody.");
    counter(out, "eider_queue_leases_total", c.leases, "Entries leased.");
    counter(out, "eider_queue_leases_lost_total", c.leases_lost, "Entries that another node had.");
    counter(out, "eider_queue_index_rows_total", c.rows_read, "Rows read of the due index.");
    counter(out, "eider_queue_swept_total", c.swept, "Documents that the sweep removed.");
}

static void show_metrics(void *monitor, const struct http_request *r, struct slice body,
                         struct http_response *response)
{
    struct monitor *m = monitor;
    struct buf *out = &response->body;

    response->type = "text/plain; version=0.0.4; charset=utf-8";
    response->close = atomic_load(&m->draining);
    tell_process(m, out);
    tell_net(m->node, out);
    tell_all_commands(m, out);
    tell_mail(m->node, out);
    tell_sweeper(m->node, out);
    if (m->node->auth)
        tell_logins(m->node, out);
    if (m->node->protocols & 1u << CONF_SUBMISSION)
        tell_submission(m->node, out);
    tell_store(m->node, out);
    tell_bus(m->node, out);
    tell_queue(m->node, out);
}

/* --- the whole -------------------------------------------------------------------------------- */

static const struct http_route routes[] = {
    {"/healthz", HTTP_GET, show_health},
    {"/readyz", HTTP_GET, show_ready},
    {"/metrics", HTTP_GET, show_metrics},
};

struct monitor *monitor_new(struct node *node)
{
    struct monitor *m = NEW(struct monitor);
    struct http_settings settings = {0};
    pthread_condattr_t attributes;

    m->node = node;
    m->started_ms = clock_wall_ms();
    m->probed_ms = -PROBE_EVERY_MS;
    m->job.run = probe;
    if (pool_new("monitor", 1, &m->prober, NULL) < 0)
        m->prober = NULL;
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&m->probed, &attributes);
    pthread_condattr_destroy(&attributes);
    m->imap = NEW_ARRAY(struct histogram, imap_command_count());
    m->pop3 = NEW_ARRAY(struct histogram, pop3_command_count());
    m->service = http_service_new(&settings, routes, ARRAY_LEN(routes), m);
    return m;
}

void monitor_free(struct monitor *m)
{
    if (!m)
        return;
    http_service_free(m->service);
    pool_free(m->prober);
    pthread_cond_destroy(&m->probed);
    pthread_mutex_destroy(&m->lock);
    free(m->imap);
    free(m->pop3);
    free(m);
}

struct session_service *monitor_service(struct monitor *m)
{
    return m->service;
}

void monitor_drain(struct monitor *m)
{
    atomic_store(&m->draining, true);
}

struct histogram *monitor_imap_times(struct monitor *m)
{
    return m->imap;
}

struct histogram *monitor_pop3_times(struct monitor *m)
{
    return m->pop3;
}
