/* SPDX-License-Identifier: MPL-2.0 */
#include "daemons/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemons/monitor.h"
#include "daemons/sending.h"
#include "daemons/serve.h"
#include "daemons/settings.h"
#include "lib/auth/directory.h"
#include "lib/auth/login.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/bus/bus.h"
#include "lib/bus/rates.h"
#include "lib/mail/expire.h"
#include "lib/mail/mail.h"
#include "lib/mail/sweep.h"
#include "lib/queue/queue.h"
#include "lib/store/store.h"
#include "protocols/imap/imap.h"
#include "protocols/lmtp/lmtp.h"
#include "protocols/pop3/pop3.h"
#include "protocols/submit/submit.h"

#define SWEEP_PAUSE_MS   1000
#define FORGET_AT_ONCE   1000   /* entries of the directory */
#define RATES_KEYS_MAX   100000 /* in memory: accounts and addresses that send in an hour */
#define SELF_SIGNED_DAYS 825    /* what Apple's clients take at most */

/* ---- The parts below the network ---- */

static bool runs_queue(const struct node *node)
{
    return node->protocols & SERVE_QUEUE &&
           (node->conf->queue.enabled || node->protocols == SERVE_QUEUE);
}

static int open_store(struct node *node, struct error *err)
{
    const struct conf *c = node->conf;
    /* every worker may be in a call, the committer and the sweeper besides */
    struct store_settings settings = {
        .pool_size = (int)(c->threads.workers + (runs_queue(node) ? c->queue.workers : 0)) + 8,
        .wait_ms = (int)c->mail.store_wait};

    if (mkdir(c->data, 0700) != 0 && errno != EEXIST)
        return error_set(err, ERR_NOPERM, "cannot make the data folder %s: %m", c->data);
    return store_open(c->store, &settings, &node->store, err);
}

static uint64_t read_pulse(void *store)
{
    return store_pulse(store);
}

/* Changes by other processes on this machine (the `eider` command) show in the store's pulse, for
 * which mail looks itself where the bus is another than the local one. */
static int open_bus(struct node *node, struct error *err)
{
    struct bus_pulse pulse = {read_pulse, node->store};

    return bus_open(node->conf->bus, &pulse, &node->bus, err);
}

static void log_bus(struct bus *bus)
{
    struct bus_counters c = bus_read_counters(bus);
    struct log_line line;

    log_begin(&line, LOG_INFO_, "bus");
    log_num(&line, "published", (int64_t)c.published);
    log_num(&line, "received", (int64_t)c.received);
    log_num(&line, "gaps", (int64_t)c.gaps);
    log_num(&line, "lost", (int64_t)c.lost);
    log_end(&line);
}

static void log_submission(const struct node *node)
{
    const struct submit_counters *c = &node->sent;
    struct log_line line;

    if (!node->submission.n)
        return;
    log_begin(&line, LOG_INFO_, "submission");
    log_num(&line, "messages", (int64_t)c->messages);
    log_num(&line, "sandboxed", (int64_t)c->sandboxed);
    log_num(&line, "local", (int64_t)c->local);
    log_num(&line, "queued", (int64_t)c->queued);
    log_num(&line, "urls", (int64_t)c->urls);
    log_num(&line, "refused_sender", (int64_t)c->refused_sender);
    log_num(&line, "refused_rate", (int64_t)c->refused_rate);
    log_num(&line, "refused_content", (int64_t)c->refused_content);
    log_num(&line, "failed", (int64_t)c->failed);
    log_end(&line);
}

static int open_auth(struct node *node, struct error *err)
{
    struct directory_options names;
    struct settings_oauth oauth;
    struct auth_options options;

    settings_directory(node->conf, &names);
    settings_auth(node->conf, &options);
    settings_oauth(node->conf, &oauth);
    options.oauth = &oauth.options;
    node->directory = directory_new(node->store, &names);
    return auth_new(node->directory, &options, &node->auth, err);
}

/* The account's mail is gone; what remained in the directory kept its id from being used again. */
static void forget_account(void *node_, uint64_t account)
{
    struct node *node = node_;
    struct error err = {0};
    int rc = directory_account_forget(node->directory, account, &err);

    if (rc < 0 && rc != -ERR_NOTFOUND && rc != -ERR_CONFLICT) /* another node does it as well */
        log_text(LOG_WARN_, "sweep", "a deleted account stays in the directory: %s", err.text);
}

/* Deleted accounts of which nothing is left, but whose node died before it could say so; and those
 * that never had a log. */
static void forget_erased(void *node_)
{
    struct node *node = node_;
    struct directory_account *list;
    uint64_t after = 0;
    size_t n = 1;

    while (n) {
        CLEANUP(arena_done) struct arena a = {0};

        if (directory_account_list(node->directory, after, FORGET_AT_ONCE, &a, &list, &n, NULL) < 0)
            return;
        for (size_t i = 0; i < n; i++) {
            after = list[i].id;
            if (list[i].status == ACCOUNT_CLOSING &&
                sweep_account_remains(node->mail, list[i].id, NULL) == 0)
                forget_account(node, list[i].id);
        }
    }
}

/* What the account's domain says, or the settings. Who cannot be asked keeps everything. */
static int64_t expire_ms_of(void *node_, uint64_t account)
{
    struct node *node = node_;
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_account who;
    struct directory_domain domain;

    if (directory_account_get(node->directory, account, &a, &who, NULL) < 0 ||
        directory_domain_get(node->directory, strrchr(who.login, '@') + 1, &a, &domain, NULL) < 1)
        return EXPIRE_NEVER;
    return domain.has_expire ? domain.expire_ms : atomic_load(&node->expire_ms);
}

static int open_mail(struct node *node, struct error *err)
{
    struct mail_settings settings;

    settings_mail(node->conf, &settings);
    atomic_store(&node->expire_ms, node->conf->mail.expire);
    int rc = mail_new(node->store, node->bus, &settings, &node->mail, err);
    if (rc == 0)
        node->sweeper = sweeper_start(
            node->mail, (int)MIN(node->conf->mail.sweep_interval, (int64_t)SWEEP_PAUSE_MS),
            &(struct sweeper_hooks){forget_account, expire_ms_of, forget_erased, node});
    return rc;
}

/* What only those who send need. */
static int open_submission(struct node *node, struct error *err)
{
    if (node->protocols & 1u << CONF_SUBMISSION || runs_queue(node))
        node->queue = queue_new(node->store);
    if (node->queue)
        queue_set_horizon(node->queue, node->conf->queue.horizon);
    if (!(node->protocols & 1u << CONF_SUBMISSION))
        return 0;
    return rates_open(node->conf->bus, RATES_KEYS_MAX, &node->rates, err);
}

/* ---- TLS ---- */

static bool is_ours(const struct conf_listener *l, unsigned protocols)
{
    return protocols & 1u << l->protocol;
}

static bool wants_tls(const struct conf *c, unsigned protocols)
{
    for (size_t i = 0; i < c->listeners.n; i++)
        if (is_ours(&c->listeners.items[i], protocols) &&
            c->listeners.items[i].tls != CONF_TLS_NONE)
            return true;
    return false;
}

/* Until somebody brings a real certificate: one of our own, kept in the data folder. */
static int use_self_signed(struct conf *c, struct error *err)
{
    char *cert = arena_printf(&c->arena, "%s/self-signed.crt", c->data);
    char *key = arena_printf(&c->arena, "%s/self-signed.key", c->data);
    struct conf_certificate *pair = ARENA_NEW(&c->arena, struct conf_certificate);
    int rc = tls_make_self_signed(cert, key, &c->hostname, 1, SELF_SIGNED_DAYS, err);

    if (rc < 0)
        return rc;
    log_text(LOG_WARN_, "self_signed",
             "tls.certificates is empty: %s, which no client trusts by itself", cert);
    *pair = (struct conf_certificate){.certificate = cert, .key = key};
    c->tls.certificates.items = pair;
    c->tls.certificates.n = 1;
    return 0;
}

/* In the arena of conf. */
static struct tls_settings tls_settings_of(struct conf *c)
{
    struct tls_file_pair *pairs = arena_array(&c->arena, c->tls.certificates.n, sizeof *pairs);

    for (size_t i = 0; i < c->tls.certificates.n; i++)
        pairs[i] = (struct tls_file_pair){c->tls.certificates.items[i].certificate,
                                          c->tls.certificates.items[i].key};
    return (struct tls_settings){
        .pairs = pairs,
        .pairs_n = c->tls.certificates.n,
        .only_tls13 = c->tls.min_version == CONF_TLS_1_3,
        .ciphers = c->tls.ciphers,
        .ciphersuites = c->tls.ciphersuites,
        .client_authorities = c->tls.client_authorities,
    };
}

static int open_tls(struct node *node, struct error *err)
{
    struct conf *c = node->conf;

    if (!wants_tls(c, node->protocols))
        return 0;
    int rc = c->tls.certificates.n == 0 ? use_self_signed(c, err) : 0;
    if (rc < 0)
        return rc;

    struct tls_settings settings = tls_settings_of(c);

    return tls_new(&settings, &node->tls, err);
}

static int reload_tls(struct node *node, struct conf *fresh, struct error *err)
{
    if (!node->tls)
        return 0;
    int rc = fresh->tls.certificates.n == 0 ? use_self_signed(fresh, err) : 0;
    if (rc < 0)
        return rc;

    struct tls_settings settings = tls_settings_of(fresh);

    return tls_reload(node->tls, &settings, err);
}

/* ---- Listeners ---- */

static const char *url_hosts(const struct conf *c)
{
    return *c->imap.url_hosts ? c->imap.url_hosts : c->hostname;
}

static struct session_service *new_imap(struct node *node, const struct conf *c, bool starttls)
{
    struct imap_settings s;

    imap_settings_default(&s);
    s.starttls = starttls;
    s.literal_minus = c->limits.literal_minus;
    s.message_max = c->limits.message_size;
    s.literal_max = (uint32_t)c->limits.literal;
    s.command_max = (uint32_t)c->limits.command;
    s.nesting_max = c->limits.nesting;
    s.set_max = c->limits.sequence_set;
    s.search_terms_max = c->limits.search_terms;
    s.append_messages = c->limits.append_messages;
    s.append_memory = c->limits.append_memory;
    s.message_limit = c->limits.messages;
    s.save_limit = c->limits.saved_messages;
    s.auth_failures = c->limits.auth_failures;
    s.bad_commands = c->limits.bad_commands;
    s.user_connections = c->limits.user_connections;
    s.comment = c->imap.comment;
    s.admin = c->imap.admin;
    s.url_hosts = url_hosts(c);
    s.login_timeout_ms = c->limits.login_timeout;
    s.idle_timeout_ms = c->limits.idle_timeout;
    s.times = monitor_imap_times(node->monitor);
    *VEC_PUSH(&node->imap) = imap_service_new(&s, node->mail, node->auth);
    return node->imap.items[node->imap.n - 1];
}

static struct session_service *new_pop3(struct node *node, const struct conf *c, bool starttls)
{
    struct pop3_settings s;

    pop3_settings_default(&s);
    s.starttls = starttls;
    s.mark_seen = c->pop3.mark_seen;
    s.login_delay_s = (unsigned)(c->pop3.login_delay / 1000);
    s.idle_timeout_ms = c->pop3.idle_timeout;
    s.login_timeout_ms = c->limits.login_timeout;
    s.auth_failures = c->limits.auth_failures;
    s.bad_commands = c->limits.bad_commands;
    s.user_connections = c->limits.user_connections;
    s.times = monitor_pop3_times(node->monitor);
    *VEC_PUSH(&node->pop3) = pop3_service_new(&s, node->mail, node->auth);
    return node->pop3.items[node->pop3.n - 1];
}

static struct session_service *new_lmtp(struct node *node, const struct conf *c, bool starttls)
{
    struct lmtp_settings s = {
        .smtp = {.hostname = c->hostname,
                 .message_max = c->limits.message_size,
                 .recipients_max = c->limits.recipients,
                 .bad_commands = c->limits.bad_commands,
                 .timeout_ms = c->limits.login_timeout * 5,
                 .starttls = starttls},
        .over_quota_permanent = c->delivery.over_quota == CONF_OVER_QUOTA_PERMANENT,
    };

    *VEC_PUSH(&node->lmtp) = lmtp_service_new(&s, node->mail, node->directory);
    return node->lmtp.items[node->lmtp.n - 1];
}

static struct session_service *new_submission(struct node *node, const struct conf *c,
                                              bool starttls)
{
    const struct submit_parts parts = {node->mail, node->directory, node->queue, node->rates,
                                       &node->sent};
    struct submit_settings s = {
        .smtp = {.hostname = c->hostname,
                 .message_max = c->limits.message_size,
                 /* beyond it the client is told to send again for the rest */
                 .recipients_max = MIN(c->limits.recipients, (unsigned)QUEUE_RECIPIENTS_MAX),
                 .bad_commands = c->limits.bad_commands,
                 .timeout_ms = c->limits.login_timeout * 5,
                 .starttls = starttls,
                 .auth = node->auth,
                 .login_timeout_ms = c->limits.login_timeout,
                 .auth_failures = c->limits.auth_failures,
                 .user_connections = c->limits.user_connections,
                 .transactions_max = c->submission.transactions,
                 .hold_max_ms = c->submission.hold_max,
                 .priority_max = (int)c->submission.priority_max,
                 .url_hosts = url_hosts(c),
                 .no_solicit = c->submission.no_solicit},
        .sandbox = c->submission.sandbox,
        .save_sent = c->submission.save_sent,
        .trace_client = c->submission.trace_client,
        .account = {c->submission.account_messages, c->submission.account_recipients},
        .address = {c->submission.address_messages, c->submission.address_recipients},
    };

    *VEC_PUSH(&node->submission) = submit_service_new(&s, &parts);
    return node->submission.items[node->submission.n - 1];
}

static const char *listener_address(struct conf *c, const struct conf_listener *l)
{
    if (*l->path)
        return arena_printf(&c->arena, "unix:%s", l->path);
    return arena_printf(&c->arena, strchr(l->address, ':') ? "[%s]:%u" : "%s:%u", l->address,
                        l->port);
}

static struct session_service *new_service(struct node *node, const struct conf *c,
                                           const struct conf_listener *l)
{
    bool starttls = l->tls == CONF_TLS_STARTTLS;

    switch ((enum conf_protocol)l->protocol) {
    case CONF_IMAP:
        return new_imap(node, c, starttls);
    case CONF_POP3:
        return new_pop3(node, c, starttls);
    case CONF_HTTP:
        return monitor_service(node->monitor);
    case CONF_SUBMISSION:
        return new_submission(node, c, starttls);
    case CONF_LMTP:
        break;
    }
    return new_lmtp(node, c, starttls);
}

static int open_listener(struct node *node, const struct conf_listener *l, struct error *err)
{
    struct conf *c = node->conf;
    struct net_listener settings = {
        .address = listener_address(c, l),
        .implicit_tls = l->tls == CONF_TLS_IMPLICIT,
        .tls = l->tls == CONF_TLS_NONE ? NULL : node->tls,
        .unix_mode = l->mode,
        .max_connections = l->max_connections,
        .max_connections_per_client = l->max_per_address,
        .through_drain = l->protocol == CONF_HTTP,
        .proxy = l->proxy ? NET_PROXY_REQUIRED : NET_PROXY_OFF,
        .proxy_networks = settings_networks(c, c->proxy.networks.items, c->proxy.networks.n),
        .proxy_networks_n = c->proxy.networks.n,
    };

    return net_listen(node->net, &settings, new_service(node, c, l), err);
}

static void log_listener(const struct node *node, size_t i, const struct conf_listener *l)
{
    struct log_line line;

    log_begin(&line, LOG_INFO_, "listening");
    log_str(&line, "protocol", slice_str(conf_protocol_name(l->protocol)));
    log_str(&line, "address", slice_str(net_listener_address(node->net, i)));
    log_str(&line, "tls", slice_str(conf_tls_name(l->tls)));
    log_end(&line);
}

#define HANDSHAKE_MS_MAX 30000

/* Who has not got that far is no nearer to a login. */
static int64_t handshake_ms(const struct conf *c)
{
    return MIN(c->limits.login_timeout, (int64_t)HANDSHAKE_MS_MAX);
}

static int open_net(struct node *node, struct error *err)
{
    const struct conf *c = node->conf;
    struct net_settings settings = {.loops = c->threads.loops,
                                    .workers = c->threads.workers,
                                    .stall_ms = c->limits.write_timeout,
                                    .drain_busy_ms = c->shutdown.drain};
    int rc = net_new(&settings, &node->net, err);
    size_t opened = 0;

    if (rc == 0)
        net_set_handshake(node->net, handshake_ms(c));
    for (size_t i = 0; rc == 0 && i < c->listeners.n; i++) {
        if (!is_ours(&c->listeners.items[i], node->protocols))
            continue;
        rc = open_listener(node, &c->listeners.items[i], err);
        if (rc == 0)
            log_listener(node, opened++, &c->listeners.items[i]);
    }
    if (rc == 0 && opened == 0 && !runs_queue(node))
        rc = error_set(err, ERR_INVALID, "no listener of this protocol is configured");
    return rc;
}

/* Listeners are matched by their place in the list: it cannot change without a restart. */
static void reload_services(struct node *node, const struct conf *fresh)
{
    const struct conf *c = node->conf;

    for (size_t i = 0, ours = 0; i < c->listeners.n; i++)
        if (is_ours(&c->listeners.items[i], node->protocols))
            net_replace_service(node->net, ours++,
                                new_service(node, fresh, &c->listeners.items[i]));
}

int node_reload(struct node *node, struct conf *fresh, struct error *err)
{
    int rc = reload_tls(node, fresh, err);

    if (rc < 0)
        return rc;
    log_set_level((enum log_level)fresh->log.level);
    atomic_store(&node->expire_ms, fresh->mail.expire);
    net_set_handshake(node->net, handshake_ms(fresh));
    reload_services(node, fresh);
    *VEC_PUSH(&node->reloaded) = fresh;
    return 0;
}

/* ---- The whole ---- */

static int open_parts(struct node *node, struct error *err)
{
    int rc = open_store(node, err);

    if (rc == 0)
        rc = open_bus(node, err);
    if (rc == 0)
        rc = open_auth(node, err);
    if (rc == 0)
        rc = open_mail(node, err);
    node->monitor = monitor_new(node);
    if (rc == 0)
        rc = open_submission(node, err);
    if (rc == 0)
        rc = open_tls(node, err);
    if (rc == 0)
        rc = conf_check_serve(node->conf, err);
    if (rc == 0)
        rc = open_net(node, err);
    if (rc == 0 && runs_queue(node))
        rc = sending_new(node->conf, node->net, node->queue, node->mail, node->store,
                         node->directory, &node->sending, err);
    return rc;
}

int node_new(struct conf *conf, unsigned protocols, struct node **ret_node, struct error *err)
{
    struct node *node = NEW(struct node);

    node->conf = conf;
    node->protocols = protocols;
    int rc = open_parts(node, err);
    if (rc < 0)
        node_free(node);
    else
        *ret_node = node;
    return rc;
}

void node_free(struct node *node)
{
    if (!node)
        return;
    sending_stop(node->sending);
    net_free(node->net);
    sending_free(node->sending);
    for (size_t i = 0; i < node->lmtp.n; i++)
        lmtp_service_free(node->lmtp.items[i]);
    for (size_t i = 0; i < node->imap.n; i++)
        imap_service_free(node->imap.items[i]);
    for (size_t i = 0; i < node->pop3.n; i++)
        pop3_service_free(node->pop3.items[i]);
    log_submission(node);
    for (size_t i = 0; i < node->submission.n; i++)
        submit_service_free(node->submission.items[i]);
    VEC_DONE(&node->submission);
    VEC_DONE(&node->lmtp);
    VEC_DONE(&node->pop3);
    VEC_DONE(&node->imap);
    monitor_free(node->monitor);
    tls_free(node->tls);
    sweeper_stop(node->sweeper);
    rates_free(node->rates);
    queue_free(node->queue);
    if (node->auth)
        auth_free(node->auth);
    if (node->mail)
        mail_free(node->mail);
    if (node->bus)
        log_bus(node->bus);
    bus_close(node->bus);
    if (node->directory)
        directory_free(node->directory);
    if (node->store)
        store_close(node->store);
    for (size_t i = 0; i < node->reloaded.n; i++)
        conf_free(node->reloaded.items[i]);
    VEC_DONE(&node->reloaded);
    conf_free(node->conf);
    free(node);
}
