/* SPDX-License-Identifier: MPL-2.0 */
/* SECURITY: what an observer can learn of a failed attempt is its answer and its time. All failures
 * take the same way: the same reads of the store (directory_account_find), a hash computed (the
 * account's, or a fake one of the cost that new passwords have), the same sentence, and an answer
 * that is due at a time counted from the attempt's start, not its end.
 */
#include "lib/auth/login.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>
#include <uthash.h>

#include "lib/auth/app_password.h"
#include "lib/auth/directory_impl.h"
#include "lib/auth/login_impl.h"
#include "lib/auth/oauth.h"
#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#define NAME_MAX_ 1024 /* bytes of a login as typed */
/* More waiting for a hash slot than this would wait longer than their clients. */
#define WAITING_PER_SLOT 200
#define SALT_SIZE        16

/* ---- the login cache ---- */

struct cached {
    uint8_t key[SHA256_SIZE]; /* of account, its version and the password */
    int64_t until_ms;
    TAILQ_ENTRY(cached) by_use;
    UT_hash_handle hh;
};
TAILQ_HEAD(cached_list, cached);

static const struct service_row {
    enum auth_service service;
    const char *name;
} services[] = {{AUTH_IMAP, "imap"}, {AUTH_POP3, "pop3"}, {AUTH_SMTP, "submission"}};

#define SERVICES ARRAY_LEN(services)

struct auth {
    struct directory *directory;
    struct auth_options options;
    char *hostname;
    char *fake_hash;         /* of a random password */
    uint8_t fake_secret[32]; /* the same on all nodes: salts of users who are not there */
    uint8_t cache_secret[32];
    bool has_scram;
    struct oauth *oauth;
    struct password_gate *gate;
    struct limiter *limiter;
    struct connections *connections;
    pthread_mutex_t lock; /* over the cache */
    struct cached *cache;
    struct cached_list by_use;
    unsigned cached_n;
    _Atomic uint64_t counts[SERVICES][AUTH_OUTCOMES_];
};

static void cache_drop(struct auth *auth, struct cached *c)
{
    HASH_DEL(auth->cache, c);
    TAILQ_REMOVE(&auth->by_use, c, by_use);
    auth->cached_n--;
    free(c);
}

static bool cache_has(struct auth *auth, const uint8_t key[static SHA256_SIZE], int64_t now)
{
    struct cached *c;
    bool has = false;

    pthread_mutex_lock(&auth->lock);
    HASH_FIND(hh, auth->cache, key, SHA256_SIZE, c);
    if (c && c->until_ms <= now)
        cache_drop(auth, c);
    else
        has = c != NULL;
    pthread_mutex_unlock(&auth->lock);
    return has;
}

static void cache_add(struct auth *auth, const uint8_t key[static SHA256_SIZE], int64_t now)
{
    struct cached *c;

    if (auth->options.cache_ttl_ms <= 0 || auth->options.cache_entries == 0)
        return;
    pthread_mutex_lock(&auth->lock);
    HASH_FIND(hh, auth->cache, key, SHA256_SIZE, c);
    if (!c) {
        if (auth->cached_n >= auth->options.cache_entries)
            cache_drop(auth, TAILQ_FIRST(&auth->by_use));
        c = NEW(struct cached);
        memcpy(c->key, key, SHA256_SIZE);
        HASH_ADD(hh, auth->cache, key, SHA256_SIZE, c);
        TAILQ_INSERT_TAIL(&auth->by_use, c, by_use);
        auth->cached_n++;
    }
    /* Counted from the real check: a client that comes every minute is checked again some day. */
    c->until_ms = now + auth->options.cache_ttl_ms;
    pthread_mutex_unlock(&auth->lock);
}

/* ---- making ---- */

static int make_fake_hash(struct auth *auth, struct error *err)
{
    CLEANUP(buf_done) struct buf password = buf_make(100), hash = buf_make(PASSWORD_HASH_MAX);
    int r;

    password_random(&password);
    r = password_hash(buf_slice(&password), &auth->options.cost, &hash, err);
    if (r == 0)
        auth->fake_hash = mem_strdup(buf_cstr(&hash));
    return r;
}

static unsigned cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : (unsigned)n;
}

int auth_new(struct directory *directory, const struct auth_options *options, struct auth **ret,
             struct error *err)
{
    struct auth *auth = NEW(struct auth);
    unsigned slots = options->hash_threads ? options->hash_threads : cores();
    int r;

    auth->directory = directory;
    auth->options = *options;
    auth->hostname = mem_strdup(options->hostname ? options->hostname : "localhost");
    auth->options.hostname = NULL;
    auth->gate = password_gate_new(slots, slots * WAITING_PER_SLOT);
    auth->limiter =
        limiter_new(AUTH_FREE_FAILURES, options->failure_delay_ms, options->failure_delay_max_ms);
    auth->connections = connections_new();
    pthread_mutex_init(&auth->lock, NULL);
    TAILQ_INIT(&auth->by_use);
    random_bytes(auth->cache_secret, sizeof auth->cache_secret);
    auth->has_scram = sasl_library_ready();
    auth->options.oauth = NULL;
    r = make_fake_hash(auth, err);
    if (r == 0 && options->oauth && options->oauth->issuers_n)
        r = oauth_new(options->oauth, &auth->oauth, err);
    if (r == 0)
        r = directory_secret(directory, auth->fake_secret, err);
    if (r == 0)
        *ret = auth;
    else
        auth_free(auth);
    return r;
}

void auth_free(struct auth *auth)
{
    struct cached *c;

    if (!auth)
        return;
    while ((c = TAILQ_FIRST(&auth->by_use)))
        cache_drop(auth, c);
    pthread_mutex_destroy(&auth->lock);
    limiter_free(auth->limiter);
    connections_free(auth->connections);
    oauth_free(auth->oauth);
    password_gate_free(auth->gate);
    secret_wipe(auth->fake_secret, sizeof auth->fake_secret);
    secret_wipe(auth->cache_secret, sizeof auth->cache_secret);
    free(auth->fake_hash);
    free(auth->hostname);
    free(auth);
}

struct directory *auth_directory(const struct auth *auth)
{
    return auth->directory;
}

struct connections *auth_connections(const struct auth *auth)
{
    return auth->connections;
}

bool auth_has_scram(const struct auth *auth, enum scram_hash hash)
{
    return auth->has_scram && password_scram_iterations(&auth->options.cost, hash) > 0;
}

struct oauth *auth_oauth(const struct auth *auth)
{
    return auth->oauth;
}

const char *auth_hostname(const struct auth *auth)
{
    return auth->hostname;
}

bool auth_plaintext_allowed(const struct auth *auth, const struct session_peer *peer)
{
    return peer->tls || peer->trusted || auth->options.plaintext_without_tls;
}

/* ---- counting ---- */

const char *auth_outcome_name(enum auth_outcome outcome)
{
    static const char *const names[AUTH_OUTCOMES_] = {
        [AUTH_WELCOME] = "ok",        [AUTH_WRONG] = "wrong",
        [AUTH_UNKNOWN] = "unknown",   [AUTH_DISABLED] = "disabled",
        [AUTH_REFUSED] = "refused",   [AUTH_TOO_MANY] = "too_many_failures",
        [AUTH_NO_TLS] = "without_tls"};

    return names[outcome];
}

static size_t service_place(enum auth_service service)
{
    size_t i = 0;

    while (i + 1 < SERVICES && services[i].service != service)
        i++;
    return i;
}

uint64_t auth_count(const struct auth *auth, enum auth_service service, enum auth_outcome outcome)
{
    return atomic_load(&auth->counts[service_place(service)][outcome]);
}

static void count(struct auth *auth, enum auth_service service, enum auth_outcome outcome)
{
    atomic_fetch_add(&auth->counts[service_place(service)][outcome], 1);
}

static void refuse(struct auth *auth, enum auth_service service, enum auth_outcome outcome,
                   const char *remote, const char *login)
{
    struct log_line l;

    count(auth, service, outcome);
    log_begin(&l, LOG_INFO_, "login_refused");
    log_str(&l, "protocol", slice_str(services[service_place(service)].name));
    log_str(&l, "remote", slice_str(remote));
    if (*login)
        log_str(&l, "account", slice_str(login));
    log_str(&l, "reason", slice_str(auth_outcome_name(outcome)));
    log_end(&l);
}

/* ---- an attempt ---- */

/* SASLprep and the directory's own rules; a name that is none stays as typed, to be counted. */
static const char *normalise_name(struct auth *auth, struct slice name, struct arena *a)
{
    CLEANUP(buf_done) struct buf prepared = buf_make(PASSWORD_MAX * 64);
    struct address address;

    if (name.n <= NAME_MAX_ && password_prepare(name, &prepared, NULL) == 0 &&
        address_parse(auth->directory, buf_slice(&prepared), false, a, &address, NULL) == 0)
        return address.full;
    return arena_str(a, slice_sub(name, 0, NAME_MAX_));
}

static const struct directory_account nobody = {
    .login = "", .hash = "", .scram = "", .scram_sha1 = ""};

/* t->name is set. */
static int admit(struct attempt *t, const struct session_peer *peer, int64_t *ret_not_before,
                 struct error *err)
{
    struct limiter *limiter = t->auth->limiter;

    *ret_not_before = 0;
    snprintf(t->remote, sizeof t->remote, "%s", peer->remote);
    limiter_identify(limiter, peer->remote, slice_str(t->name), &t->who);
    if (limiter_admit(limiter, &t->who, t->start_ms))
        return 0;
    *ret_not_before = t->start_ms + limiter_delay(limiter, &t->who, t->start_ms);
    refuse(t->auth, t->service, AUTH_TOO_MANY, t->remote, "");
    return error_set(err, ERR_LIMIT, "too many failed logins; try again later");
}

static int look_up(struct attempt *t, const char *name, struct error *err)
{
    int r =
        directory_account_find(t->auth->directory, slice_str(name), &t->arena, &t->account, err);

    if (r < 0 && r != -ERR_NOTFOUND && r != -ERR_INVALID)
        return r;
    if (r < 0)
        t->account = nobody;
    t->usable = r == 0 && t->account.status == ACCOUNT_ENABLED;
    t->main_usable = t->usable && !(t->account.refused & t->service);
    return 0;
}

static void begin(struct attempt *t, struct auth *auth, enum auth_service service)
{
    *t = (struct attempt){
        .auth = auth, .service = service, .start_ms = clock_mono_ms(), .account = nobody};
}

int attempt_begin(struct attempt *t, struct auth *auth, enum auth_service service,
                  const struct session_peer *peer, struct slice name, int64_t *ret_not_before,
                  struct error *err)
{
    int r;

    begin(t, auth, service);
    t->name = normalise_name(auth, name, &t->arena);
    r = admit(t, peer, ret_not_before, err);
    return r < 0 ? r : look_up(t, t->name, err);
}

int attempt_begin_unnamed(struct attempt *t, struct auth *auth, enum auth_service service,
                          const struct session_peer *peer, struct slice shown,
                          int64_t *ret_not_before, struct error *err)
{
    CLEANUP(buf_done) struct buf name = buf_make(100);
    uint8_t hash[SHA256_SIZE];

    begin(t, auth, service);
    digest_hmac_sha256(slice_of(auth->cache_secret, sizeof auth->cache_secret), shown, hash);
    buf_add_str(&name, "@"); /* which no login begins with */
    hex_encode(&name, slice_of(hash, sizeof hash));
    t->name = arena_str(&t->arena, buf_slice(&name));
    return admit(t, peer, ret_not_before, err);
}

int attempt_look_up(struct attempt *t, struct slice name, struct error *err)
{
    return look_up(t, normalise_name(t->auth, name, &t->arena), err);
}

bool attempt_is_for(struct attempt *t, struct slice name)
{
    return strcmp(normalise_name(t->auth, name, &t->arena), t->name) == 0;
}

void attempt_done(struct attempt *t)
{
    arena_done(&t->arena);
}

static enum auth_outcome why_failed(const struct attempt *t)
{
    if (!t->account.id)
        return AUTH_UNKNOWN;
    if (t->account.status != ACCOUNT_ENABLED)
        return AUTH_DISABLED;
    return t->main_usable ? AUTH_WRONG : AUTH_REFUSED;
}

int attempt_fail(struct attempt *t, const uint8_t *guess, int64_t *ret_not_before,
                 struct error *err)
{
    static const uint8_t unknown[16];
    int64_t now = clock_mono_ms();

    *ret_not_before =
        t->start_ms + limiter_failed(t->auth->limiter, &t->who, guess ? guess : unknown, now);
    refuse(t->auth, t->service, why_failed(t), t->remote, t->account.login);
    return error_set(err, ERR_AUTH, "wrong name or password");
}

void attempt_succeed(struct attempt *t, struct auth_user *ret_user)
{
    limiter_succeeded(t->auth->limiter, &t->who, clock_mono_ms());
    count(t->auth, t->service, AUTH_WELCOME);
    *ret_user = (struct auth_user){.account = t->account.id,
                                   .message_size = t->account.message_size,
                                   .connections = t->account.connections,
                                   .admin = t->account.admin};
    snprintf(ret_user->login, sizeof ret_user->login, "%s", t->account.login);
}

/* What a cached login is found by. The account's version changes with its document. */
static void cache_key(struct attempt *t, struct slice password, uint8_t ret[static SHA256_SIZE])
{
    uint8_t text[16 + PASSWORD_MAX];

    put_be64(text, t->account.id);
    put_be64(text + 8, t->account.version);
    memcpy(text + 16, password.p, password.n);
    digest_hmac_sha256(slice_of(t->auth->cache_secret, sizeof t->auth->cache_secret),
                       slice_of(text, 16 + password.n), ret);
    secret_wipe(text, sizeof text);
}

/* 0 it fits, -ERR_AUTH, -ERR_UNAVAILABLE. */
static int compare(struct attempt *t, struct slice password, struct error *err)
{
    const char *hash = *t->account.hash    ? t->account.hash
                       : *t->account.scram ? t->account.scram
                                           : t->account.scram_sha1;
    bool real = t->main_usable && *hash;
    int r = password_gate_enter(t->auth->gate);

    if (r < 0)
        return error_set(err, ERR_UNAVAILABLE, "too many logins at the moment");
    r = password_verify(password, real ? hash : t->auth->fake_hash);
    password_gate_leave(t->auth->gate);
    if (r == -ERR_UNAVAILABLE)
        return error_set(err, ERR_UNAVAILABLE, "no memory to check a password in");
    return r == 0 && real ? 0 : -ERR_AUTH;
}

int attempt_password(struct attempt *t, struct slice password, struct auth_user *ret_user,
                     int64_t *ret_not_before, struct error *err)
{
    uint8_t key[SHA256_SIZE];
    int r;

    /* Longer than any password is: no work for it, for nobody. */
    if (password.n == 0 || password.n > PASSWORD_MAX)
        return attempt_fail(t, NULL, ret_not_before, err);
    if (t->usable && app_password_check(&t->account, password, t->service, clock_wall_ms()) == 1) {
        attempt_succeed(t, ret_user);
        return 0;
    }
    cache_key(t, password, key);
    if (!t->main_usable || !cache_has(t->auth, key, t->start_ms)) {
        r = compare(t, password, err);
        if (r == -ERR_AUTH)
            return attempt_fail(t, key, ret_not_before, err);
        if (r < 0)
            return r;
        cache_add(t->auth, key, clock_mono_ms());
    }
    attempt_succeed(t, ret_user);
    return 0;
}

/* A verifier that no password fits: its keys are hashes of nothing that anybody has. Its salt is
 * the same each time and on each node, or the difference would show who is there. */
static void fake_scram(struct attempt *t, enum scram_hash hash, struct buf *out)
{
    static const char *const parts[] = {"salt", "stored", "server"};
    uint8_t bytes[3][SHA256_SIZE];

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const char *text = arena_printf(&t->arena, "%s%s %s", parts[i],
                                        hash == SCRAM_SHA256 ? "" : "-sha1", t->name);

        digest_hmac_sha256(slice_of(t->auth->fake_secret, sizeof t->auth->fake_secret),
                           slice_str(text), bytes[i]);
    }
    password_scram_write(hash, password_scram_iterations(&t->auth->options.cost, hash),
                         slice_of(bytes[0], SALT_SIZE), bytes[1], bytes[2], out);
}

const char *attempt_scram(struct attempt *t, enum scram_hash hash)
{
    CLEANUP(buf_done) struct buf fake = buf_make(PASSWORD_HASH_MAX);
    const char *own = hash == SCRAM_SHA1 ? t->account.scram_sha1 : t->account.scram;

    /* Made in any case: its time must not tell either. */
    fake_scram(t, hash, &fake);
    return *own ? own : arena_str(&t->arena, buf_slice(&fake));
}

int auth_login(struct auth *auth, enum auth_service service, const struct session_peer *peer,
               struct slice login, struct slice password, struct auth_user *ret_user,
               int64_t *ret_not_before, struct error *err)
{
    CLEANUP(attempt_done) struct attempt t = {0};
    int r;

    *ret_not_before = 0;
    if (!auth_plaintext_allowed(auth, peer)) {
        refuse(auth, service, AUTH_NO_TLS, peer->remote, "");
        return error_set(err, ERR_NOPERM, "passwords are not taken without TLS");
    }
    r = attempt_begin(&t, auth, service, peer, login, ret_not_before, err);
    if (r == 0)
        r = attempt_password(&t, password, ret_user, ret_not_before, err);
    return r;
}
