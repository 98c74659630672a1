/* SPDX-License-Identifier: MPL-2.0 */
#include <arpa/inet.h>

#include "lib/base/mem.h"
#include "protocols/submit/impl.h"

#define HOUR_MS ((int64_t)3600 * 1000)

static void later(struct smtp_reply *reply)
{
    smtp_reply_set(reply, 454, "4.7.0", "Accounts cannot be looked up, try again later");
}

/* Is the account's domain one whose mail stays here? 1, 0, or -ERR_x. */
static int domain_sandbox(struct submit *s, const char *login, struct arena *arena,
                          struct error *err)
{
    const char *at = strrchr(login, '@');
    struct directory_domain domain = {0};
    int r = at ? directory_domain_get(s->parts.directory, at + 1, arena, &domain, err) : 0;

    return r < 0 ? r : domain.sandbox;
}

int submit_login(void *service, const struct auth_user *user, struct arena *arena,
                 void **ret_client, struct smtp_reply *reply)
{
    struct submit *s = service;
    struct client *c = ARENA_NEW(arena, struct client);
    struct error err = {0};
    int r = directory_account_get(s->parts.directory, user->account, arena, &c->account, &err);

    if (r == 0)
        r = domain_sandbox(s, c->account.login, arena, &err);
    if (r < 0) {
        later(reply);
        return r;
    }
    c->sandbox = s->settings.sandbox || c->account.sandbox || r;
    c->save_sent = c->account.save_sent == DIRECTORY_AS_SERVER
                       ? s->settings.save_sent
                       : c->account.save_sent == DIRECTORY_YES;
    c->limits = s->settings.account;
    if (c->account.send_messages)
        c->limits.messages = c->account.send_messages;
    if (c->account.send_recipients)
        c->limits.recipients = c->account.send_recipients;
    *ret_client = c;
    return 0;
}

int submit_check_name(struct submit *s, const struct client *client, const char *address,
                      const char *what, struct smtp_reply *reply)
{
    struct error err = {0};
    int r = directory_may_send(s->parts.directory, &client->account, slice_str(address), &err);

    if (r > 0)
        return 0;
    if (r < 0) {
        smtp_reply_set(reply, 451, "4.3.0", "Addresses cannot be looked up, try again later");
        return r;
    }
    submit_count(&s->parts.counters->refused_sender, 1);
    smtp_reply_set(reply, 550, "5.7.1", "The %s <%.200s> is not an address of %s", what, address,
                   client->account.login);
    return -ERR_NOPERM;
}

/* --- limits ------------------------------------------------------------------------------------
 */

/* An IPv6 client has a /64 to choose from. */
static const char *network_of(const char *remote, struct arena *a)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr v6;

    if (inet_pton(AF_INET6, remote, &v6) != 1)
        return remote;
    memset(v6.s6_addr + 8, 0, 8);
    return arena_printf(a, "%s/64", inet_ntop(AF_INET6, &v6, text, sizeof text));
}

static int take(struct submit *s, const char *key, uint64_t n, unsigned limit,
                struct smtp_reply *reply)
{
    int64_t wait_ms = 0;
    int r = limit ? rates_take(s->parts.rates, slice_str(key), n, limit, HOUR_MS, &wait_ms) : 0;

    if (r != -ERR_LIMIT)
        return 0; /* whatever else is wrong with counting stops no mail */
    submit_count(&s->parts.counters->refused_rate, 1);
    smtp_reply_set(reply, 450, "4.7.1", "Too much mail in an hour, try again in %lld minutes",
                   (long long)(wait_ms / 60000 + 1));
    return r;
}

int submit_check_rates(struct submit *s, const struct smtp_transaction *t, struct smtp_reply *reply)
{
    const struct client *client = t->client;
    CLEANUP(arena_done) struct arena a = {0};
    const char *network = network_of(t->peer->remote, &a);
    const struct {
        const char *key;
        uint64_t n;
        unsigned limit;
    } rows[] = {
        {arena_printf(&a, "send.messages.%016llx", (unsigned long long)client->account.id), 1,
         client->limits.messages},
        {arena_printf(&a, "send.recipients.%016llx", (unsigned long long)client->account.id),
         t->recipients.n, client->limits.recipients},
        {arena_printf(&a, "send.messages.%s", network), 1, s->settings.address.messages},
        {arena_printf(&a, "send.recipients.%s", network), t->recipients.n,
         s->settings.address.recipients},
    };
    int r = 0;

    for (size_t i = 0; s->parts.rates && r == 0 && i < ARRAY_LEN(rows); i++)
        r = take(s, rows[i].key, rows[i].n, rows[i].limit, reply);
    return r;
}
