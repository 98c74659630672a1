/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/session/submit_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/queue/format.h"

/* "secret", as in imap_world.c */
#define CHEAP_HASH "$5$rounds=1000$eider$zo9XHuGVxABHbbs5Zc6y/hw/TFOjFwq2LQVkQl8ObU4"

static int prepare(void *context, uint64_t id, struct error *err)
{
    struct submit_world *w = context;

    return mail_account_create(w->node->mail, id, &(struct mail_account_options){0}, err);
}

bool submit_world_account(struct submit_world *w, const char *login, uint64_t *ret_id)
{
    struct directory_account wanted = {
        .login = login, .status = ACCOUNT_ENABLED, .hash = CHEAP_HASH};
    struct error err = {0};
    int r = directory_account_add(w->node->directory, &wanted, prepare, w, ret_id, &err);

    if (r < 0)
        fprintf(stderr, "account %s: %s\n", login, err.text);
    return r == 0;
}

void submit_world_set(struct submit_world *w, const struct submit_settings *settings)
{
    struct submit_parts parts = {w->node->mail, w->node->directory, w->queue, w->rates,
                                 &w->counters};
    struct lmtp_settings lmtp = {.smtp = settings->smtp};

    submit_service_free(w->service);
    lmtp_service_free(w->lmtp);
    w->settings = *settings;
    w->service = submit_service_new(settings, &parts);
    w->lmtp = lmtp_service_new(&lmtp, w->node->mail, w->node->directory);
}

struct submit_world *submit_world_new(void)
{
    struct submit_world *w = NEW(struct submit_world);
    struct submit_settings settings;

    w->node = imap_world_new();
    w->queue = queue_new(w->node->store);
    w->rates = rates_memory_new(1000);
    settings = (struct submit_settings){
        .smtp = {.hostname = "test.example",
                 .message_max = 1 << 20,
                 .recipients_max = 100,
                 .bad_commands = 20,
                 .timeout_ms = 300000,
                 .starttls = true,
                 .auth = w->node->auth,
                 .login_timeout_ms = 60000,
                 .auth_failures = 3,
                 .user_connections = 50,
                 .hold_max_ms = 1000000000,
                 .by_min_s = 60,
                 .priority_max = 4,
                 .url_hosts = "test.example imap.example.org"},
        .trace_client = true,
    };
    submit_world_set(w, &settings);
    return w;
}

void submit_world_free(struct submit_world *w)
{
    submit_service_free(w->service);
    lmtp_service_free(w->lmtp);
    rates_free(w->rates);
    queue_free(w->queue);
    imap_world_free(w->node);
    free(w);
}

struct session *submit_world_open(struct submit_world *w, struct slice how)
{
    struct session_peer peer = {.remote = "192.0.2.1", .local = "192.0.2.2"};
    struct session_service *service = slice_eq(how, S("lmtp")) ? w->lmtp : w->service;

    if (slice_eq(how, S("imap")))
        return imap_world_open(w->node, how);
    peer.tls = !slice_eq(how, S("plain"));
    snprintf(peer.tls_version, sizeof peer.tls_version, "TLSv1.3");
    return service->open(service, &peer);
}

static void render_rest(const struct queue_envelope *e, struct buf *out)
{
    static const char *const bodies[] = {"7BIT", "8BITMIME", "BINARYMIME"};

    buf_printf(out, " BODY=%s", bodies[e->body]);
    if (e->utf8)
        buf_add_str(out, " SMTPUTF8");
    if (e->ret)
        buf_printf(out, " RET=%s", e->ret == QUEUE_RET_FULL ? "FULL" : "HDRS");
    if (*e->envid)
        buf_printf(out, " ENVID=%s", e->envid);
    if (e->hold_until_ms)
        buf_printf(out, " HOLD=%lld", (long long)(e->hold_until_ms - clock_wall_ms() + 500) / 1000);
    if (e->by)
        buf_printf(out, " BY=%lld;%c%s", (long long)(e->by_ms - clock_wall_ms() + 500) / 1000,
                   e->by == QUEUE_BY_RETURN ? 'R' : 'N', e->by_trace ? "T" : "");
    if (e->priority)
        buf_printf(out, " MT-PRIORITY=%d", e->priority);
    if (e->solicit && *e->solicit)
        buf_printf(out, " SOLICIT=%s", e->solicit);
    if (e->require_tls)
        buf_add_str(out, " REQUIRETLS");
    if (e->tls_optional)
        buf_add_str(out, " TLS-OPTIONAL");
}

static void render_recipients(struct submit_world *w, uint64_t id, struct arena *a, struct buf *out)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct store_query all = {
        .table = STORE_QUEUEENTRIES, .parts = STORE_HEAD, .level = STORE_MAJORITY};
    const char *between = " > ";

    if (store_range(w->node->memory, &all, &docs, NULL) < 0)
        return;
    for (size_t i = 0; i < docs.n; i++) {
        struct slice key = docs.items[i].key;
        struct queue_entry entry;

        if (get_be64(key.p) != id ||
            queue_entry_decode(id, get_be16(key.p + 8), docs.items[i].head, a, &entry, NULL) < 0)
            continue;
        for (size_t k = 0; k < entry.n; k++, between = ", ") {
            buf_printf(out, "%s%s", between, entry.targets[k].to.address);
            if (entry.targets[k].to.notify)
                buf_printf(out, " NOTIFY=%u", entry.targets[k].to.notify);
            if (*entry.targets[k].to.orcpt)
                buf_printf(out, " ORCPT=%s", entry.targets[k].to.orcpt);
        }
    }
}

size_t submit_world_queued(struct submit_world *w, struct buf *out)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    CLEANUP(arena_done) struct arena a = {0};
    struct store_query all = {.table = STORE_QUEUE, .parts = STORE_HEAD, .level = STORE_MAJORITY};
    struct queue_stored stored;

    if (store_range(w->node->memory, &all, &docs, NULL) < 0 || docs.n == 0)
        return 0;
    if (queue_stored_decode(docs.items[docs.n - 1].head, &a, &stored, NULL) < 0 || stored.tombstone)
        return 0;
    buf_add_str(out, stored.envelope.sender);
    render_recipients(w, get_be64(docs.items[docs.n - 1].key.p), &a, out);
    render_rest(&stored.envelope, out);
    return docs.n;
}
