/* SPDX-License-Identifier: MPL-2.0 */
#include "daemons/settings.h"

#include <string.h>
#include <unistd.h>

#include "lib/auth/jwt.h"
#include "lib/base/log.h"

void settings_directory(const struct conf *c, struct directory_options *ret)
{
    *ret = (struct directory_options){.delimiter = c->delivery.delimiter[0],
                                      .default_domain = c->auth.default_domain};
}

void settings_password(const struct conf *c, struct password_cost *ret)
{
    *ret = (struct password_cost){
        .scheme = c->auth.scheme == CONF_HASH_YESCRYPT ? PASSWORD_YESCRYPT : PASSWORD_ARGON2ID,
        .argon2_memory = (uint32_t)(c->auth.argon2_memory / 1024),
        .argon2_passes = c->auth.argon2_passes,
        .yescrypt_cost = c->auth.yescrypt_cost,
        .scram_iterations = c->auth.scram_iterations,
        .scram_sha1_iterations = c->auth.scram_sha1_iterations};
}

void settings_auth(const struct conf *c, struct auth_options *ret)
{
    *ret = (struct auth_options){.plaintext_without_tls = c->auth.plaintext_without_tls,
                                 .hash_threads = c->auth.hash_threads,
                                 .cache_ttl_ms = c->auth.cache_ttl,
                                 .cache_entries = c->auth.cache_entries,
                                 .failure_delay_ms = c->auth.failure_delay,
                                 .failure_delay_max_ms = c->auth.failure_delay_max,
                                 .hostname = c->hostname};
    settings_password(c, &ret->cost);
}

void settings_oauth(const struct conf *c, struct settings_oauth *ret)
{
    ret->options = (struct oauth_options){.issuers = ret->issuers,
                                          .issuers_n = c->auth.oauth.n,
                                          .timeout_ms = c->auth.oauth_timeout,
                                          .key_age_ms = c->auth.oauth_key_age,
                                          .key_floor_ms = c->auth.oauth_key_floor,
                                          .cache_ms = c->auth.oauth_cache};
    for (size_t i = 0; i < c->auth.oauth.n; i++) {
        const struct conf_issuer *from = &c->auth.oauth.items[i];
        unsigned algorithms = 0;

        if (!jwt_algorithms_parse(from->algorithms, &algorithms))
            algorithms = 0; /* which oauth_check_options refuses */
        ret->issuers[i] = (struct oauth_issuer){.issuer = from->issuer,
                                                .audience = from->audience,
                                                .keys = from->keys,
                                                .algorithms = algorithms,
                                                .introspection = from->introspection,
                                                .client_id = from->client_id,
                                                .client_secret = from->client_secret,
                                                .cafile = from->cafile,
                                                .claim = from->claim,
                                                .scope = from->scope,
                                                .leeway_ms = from->leeway};
    }
}

void settings_mail(const struct conf *c, struct mail_settings *ret)
{
    mail_settings_default(ret);
    ret->snapshot_records = (int)c->mail.snapshot_after;
    ret->sweep_pause_ms = (int)c->mail.sweep_interval;
    ret->horizon_ms = c->mail.horizon;
    ret->guard_ms = c->mail.horizon / 2;
    ret->poll_ms = (int)c->mail.poll_interval;
    ret->commit_wait_ms = (int)c->mail.store_wait;
    ret->replica_bytes = c->cache.replicas;
    ret->unload_after_ms = (int)c->cache.keep;
    ret->content_cache_bytes = c->cache.digests;
    ret->sortkeys_bytes = c->cache.sort_keys;
    ret->index_after = (int)c->mail.index_after;
    ret->index_bytes = c->cache.index;
    ret->sights_max = c->cache.sights;
    ret->message_max = c->limits.message_size;
    ret->mailboxes_max = c->limits.mailboxes;
    ret->name_max = c->limits.mailbox_name;
    ret->name_depth = c->limits.mailbox_levels;
    ret->metadata_max = (uint32_t)c->limits.metadata_size;
    ret->metadata_entries = c->limits.metadata_entries;
}

void settings_runner(const struct conf *c, struct runner_settings *ret)
{
    runner_settings_default(ret);
    ret->hostname = c->hostname;
    ret->concurrency = c->queue.concurrency;
    ret->workers = c->queue.workers;
    ret->retry_first_ms = c->queue.retry_first;
    ret->retry_factor = c->queue.retry_growth / 100.0;
    ret->retry_max_ms = c->queue.retry_max;
    ret->expiry_ms = c->queue.expiry;
    ret->warn_ms[0] = c->queue.warn;
    ret->lease_ms = c->queue.lease;
    ret->poll_ms = c->queue.poll_interval;
    ret->return_max = c->queue.return_size;
    ret->sweep_ms = c->queue.sweep_interval;
}

struct network *settings_networks(struct conf *c, const struct conf_network *list, size_t n)
{
    struct network *ret = arena_array(&c->arena, n + 1, sizeof *ret);

    for (size_t i = 0; i < n; i++) {
        bool v4 = IN6_IS_ADDR_V4MAPPED(&list[i].address) && list[i].bits >= 96;

        ret[i].v6 = !v4;
        ret[i].bits = (uint8_t)(v4 ? list[i].bits - 96 : list[i].bits);
        memcpy(ret[i].bytes, list[i].address.s6_addr + (v4 ? 12 : 0), v4 ? 4 : 16);
    }
    return ret;
}

static struct transport_route *routes_of(struct conf *c)
{
    struct transport_route *list = arena_array(&c->arena, c->sending.routes.n + 1, sizeof *list);

    for (size_t i = 0; i < c->sending.routes.n; i++) {
        const struct conf_route *r = &c->sending.routes.items[i];

        list[i] = (struct transport_route){.domain = r->domain,
                                           .host = r->host,
                                           .port = (uint16_t)r->port,
                                           .tls = (enum transport_tls)r->tls,
                                           .verify = r->verify,
                                           .user = r->user,
                                           .password = r->password};
    }
    return list;
}

/* A machine without the package of the default file sends without DNSSEC; a file that was named
 * must be there. */
static const char *anchor_of(const struct conf *c)
{
    const char *file = c->dns.trust_anchor;

    if (strcmp(file, CONF_TRUST_ANCHOR) != 0 || access(file, R_OK) == 0)
        return file;
    log_text(LOG_WARN_, "dns", "there is no %s (Debian: dns-root-data): no DNSSEC, no DANE", file);
    return "";
}

void settings_transport(struct conf *c, struct transport_settings *ret)
{
    *ret = (struct transport_settings){
        .hostname = c->hostname,
        .routes = routes_of(c),
        .routes_n = c->sending.routes.n,
        .port = (uint16_t)c->sending.port,
        .sts_port = (uint16_t)c->sending.mta_sts_port,
        .servers = c->dns.servers,
        .trust_anchor = anchor_of(c),
        .dns_timeout_ms = c->dns.timeout,
        .ca_file = c->sending.ca_file,
        .source4 = c->sending.source_ipv4,
        .source6 = c->sending.source_ipv6,
        .family = (enum transport_family)c->sending.family,
        .no_dane = !c->sending.dane,
        .no_sts = !c->sending.mta_sts,
        .local_networks =
            settings_networks(c, c->sending.local_networks.items, c->sending.local_networks.n),
        .local_networks_n = c->sending.local_networks.n,
        .concurrency = c->sending.connections,
        .messages_max = c->sending.messages,
        .idle_ms = c->sending.idle,
        .timeout_ms = c->sending.timeout,
        .connect_ms = c->sending.connect_timeout};
}
