/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/session/imap_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/auth/sasl.h"
#include "lib/base/mem.h"
#include "lib/mail/message.h"
#include "protocols/imap/urlauth.h"

/* "secret", as cheap as it may be: these tests are not about hashing */
static const char *cheap_hash(void)
{
    return "$5$rounds=1000$eider$zo9XHuGVxABHbbs5Zc6y/hw/TFOjFwq2LQVkQl8ObU4";
}

static int prepare(void *context, uint64_t id, struct error *err)
{
    struct imap_world *w = context;

    return mail_account_create(w->mail, id, &(struct mail_account_options){0}, err);
}

static void must(int r, const struct error *err, const char *what)
{
    if (r < 0) {
        fprintf(stderr, "%s: %s: %s\n", what, err_name(r), err->text);
        abort();
    }
}

static void make_auth(struct imap_world *w)
{
    const struct directory_options options = {.delimiter = '+', .default_domain = "example.org"};
    const struct auth_options auth = {
        .cost = {.scheme = PASSWORD_YESCRYPT, .yescrypt_cost = 1, .scram_iterations = 4096},
        .hash_threads = 2,
        .cache_ttl_ms = 60000,
        .cache_entries = 100,
        .failure_delay_ms = 1,
        .failure_delay_max_ms = 2,
        .hostname = "test.example",
    };
    struct error err = {0};

    w->directory = directory_new(w->store, &options);
    must(auth_new(w->directory, &auth, &w->auth, &err), &err, "auth");
    must(directory_domain_add(w->directory, S("example.org"), &err), &err, "domain");
}

static uint64_t make_account(struct imap_world *w, const char *login)
{
    const struct directory_account account = {
        .login = login,
        .display = "Joe",
        .status = ACCOUNT_ENABLED,
        .hash = cheap_hash(),
        .scram = "",
    };
    struct error err = {0};
    uint64_t id = 0;

    must(directory_account_add(w->directory, &account, prepare, w, &id, &err), &err, "account");
    return id;
}

void imap_world_account(struct imap_world *w, struct slice login)
{
    char text[100];

    snprintf(text, sizeof text, "%.*s", SLICE_FMT(login));
    make_account(w, text);
}

bool imap_world_disable(struct imap_world *w, struct slice login)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct directory_account account;

    if (directory_account_find(w->directory, login, &arena, &account, NULL) < 0)
        return false;
    account.status = ACCOUNT_DISABLED;
    return directory_account_update(w->directory, &account, NULL) == 0;
}

struct imap_world *imap_world_new(void)
{
    struct imap_world *w = NEW(struct imap_world);
    struct mail_settings settings;
    struct error err = {0};

    must(store_open("memory:", NULL, &w->memory, &err), &err, "store");
    w->store = store_faulty_new(w->memory, &(struct fault_plan){0});
    mail_settings_default(&settings);
    settings.commit_wait_ms = 500;
    must(mail_new(w->store, NULL, &settings, &w->mail, &err), &err, "mail");
    make_auth(w);
    w->account = make_account(w, "joe@example.org");
    imap_settings_default(&w->settings);
    w->settings.starttls = true;
    w->settings.literal_max = 4096;
    w->settings.command_max = 20000;
    w->settings.message_max = 1 << 20;
    w->settings.url_hosts = "test.example imap.example.org";
    w->service = imap_service_new(&w->settings, w->mail, w->auth);
    return w;
}

void imap_world_free(struct imap_world *w)
{
    imap_service_free(w->service);
    auth_free(w->auth);
    directory_free(w->directory);
    mail_free(w->mail);
    store_close(w->store);
    store_close(w->memory);
    free(w);
}

struct session *imap_world_open(struct imap_world *w, struct slice how)
{
    struct session_peer peer = {.remote = "192.0.2.1", .local = "192.0.2.2"};
    struct session *s;

    peer.tls = !slice_eq(how, S("plain"));
    s = w->service->open(w->service, &peer);
    s->peer = peer;
    return s;
}

static struct prepared *prepare_bytes(struct imap_world *w, struct slice bytes)
{
    struct message_writer *writer = message_writer_new(w->mail);
    struct prepared *prepared;
    struct error err = {0};

    must(message_writer_feed(writer, bytes, &err), &err, "feed");
    must(message_writer_finish(writer, &prepared, &err), &err, "finish");
    message_writer_free(writer);
    return prepared;
}

static struct prepared *make_message(struct imap_world *w, unsigned number)
{
    struct buf text = buf_make(BUF_MAX_DEFAULT);
    struct prepared *prepared;

    buf_printf(&text,
               "From: Ann Author <ann@example.org>\r\nTo: Joe Reader <joe@example.org>\r\n"
               "Subject: Number %u\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n"
               "Message-ID: <%u@example.org>\r\n\r\nText of number %u.\r\n",
               number, number, number);
    prepared = prepare_bytes(w, buf_slice(&text));
    buf_done(&text);
    return prepared;
}

bool imap_world_append(struct imap_world *w, struct slice mailbox, struct slice bytes)
{
    struct intent intent =
                      {
                          .kind = INTENT_APPEND,
                          .name = mailbox,
                          .prepared = prepare_bytes(w, bytes),
                          .date = 760000000,
                      },
                  *list = &intent;
    struct error err = {0};
    int r;

    must(account_open(w->mail, w->account, &intent.account, &err), &err, "open");
    mail_commit(w->mail, &list, 1);
    r = intent.result;
    account_unref(intent.account);
    prepared_unref(intent.prepared);
    intent_done(&intent);
    return r == 0;
}

void imap_world_url(struct imap_world *w, struct slice rump, struct buf *out)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct intent secret = {.kind = INTENT_ACCOUNT,
                            .key = S(VALUE_URLAUTH),
                            .value = urlauth_secret(&arena),
                            .if_absent = true},
                  *list = &secret;
    struct error err = {0};
    struct imap_url url;
    struct state *st;

    must(imap_url_parse(rump, &arena, &url, &err), &err, "URL");
    must(account_open(w->mail, w->account, &secret.account, &err), &err, "open");
    mail_commit(w->mail, &list, 1);
    must(secret.result, &secret.error, "secret");
    st = account_state(secret.account);
    buf_add_slice(out, rump);
    urlauth_add_token(st, state_mailbox_named(st, url.mailbox), rump, out);
    state_unref(st);
    account_unref(secret.account);
    intent_done(&secret);
}

static bool fill_some(struct imap_world *w, struct account *a, struct slice mailbox, unsigned from,
                      unsigned n)
{
    struct intent *intents = NEW_ARRAY(struct intent, n), **list = NEW_ARRAY(struct intent *, n);
    bool ok = true;

    for (unsigned i = 0; i < n; i++) {
        intents[i] = (struct intent){
            .kind = INTENT_APPEND,
            .account = a,
            .name = mailbox,
            .prepared = make_message(w, from + i),
            .date = 760000000 + from + i,
        };
        list[i] = &intents[i];
    }
    mail_commit(w->mail, list, n);
    for (unsigned i = 0; i < n; i++) {
        ok = ok && intents[i].result == 0;
        prepared_unref(intents[i].prepared);
        intent_done(&intents[i]);
    }
    free(intents);
    free(list);
    return ok;
}

bool imap_world_fill(struct imap_world *w, struct slice mailbox, unsigned n)
{
    struct account *a;
    struct error err = {0};
    bool ok = true;

    must(account_open(w->mail, w->account, &a, &err), &err, "open");
    for (unsigned at = 0; at < n && ok; at += 500)
        ok = fill_some(w, a, mailbox, at + 1, MIN(500u, n - at));
    account_unref(a);
    return ok;
}
