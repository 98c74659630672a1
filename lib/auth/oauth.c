/* SPDX-License-Identifier: MPL-2.0 */
/* SECURITY: RFC 8725. A token names its issuer, the issuer's settings name the algorithms, a key
 * serves one algorithm; issuer, audience and times are checked of every signed token. The key set
 * of one issuer never checks tokens of another. A token is shown to an issuer's introspection only
 * if it is opaque or names that issuer.
 */
#include "lib/auth/oauth.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>
#include <uthash.h>

#include "lib/auth/fetch.h"
#include "lib/auth/jwt.h"
#include "lib/auth/password.h"
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#define WAITING    (4 * OAUTH_REQUESTS) /* more would wait longer than their clients */
#define ANSWER_MAX ((size_t)64 << 10)   /* of an introspection */
#define LOGIN_MAX  1024
#define CACHE_MAX  10000
#define REFUSED_MS 10000 /* for so long an answer "not active" is remembered at most */

/* One issuer's key set, shared by those who check by it while another one is read. */
struct key_set {
    atomic_int refs;
    struct jwks *keys;
};

struct issuer {
    struct oauth_issuer settings; /* strings in the oauth's arena */
    pthread_mutex_t reading;      /* held while the set is read: by one at a time */
    pthread_mutex_t lock;         /* guards the rest */
    struct key_set *set;          /* NULL: none yet */
    int64_t read_ms, tried_ms;    /* clock_mono_ms(); 0: never */
    atomic_int waiting;           /* for `reading` */
};

struct answer {
    uint8_t key[SHA256_SIZE]; /* of issuer and token */
    int64_t until_ms;         /* clock_mono_ms() */
    int verdict;              /* 0 or minus an enum err */
    char *login;
    TAILQ_ENTRY(answer) by_age;
    UT_hash_handle hh;
};
TAILQ_HEAD(answers, answer);

struct oauth {
    struct oauth_options options;
    struct arena arena;
    struct issuer *issuers;
    struct password_gate *gate; /* over requests, not hashes */
    uint8_t secret[32];
    pthread_mutex_t lock; /* over the answers */
    struct answer *answers;
    struct answers by_age;
    size_t answers_n;
    atomic_ullong accepted, refused, requests, failed, cached;
};

/* ---- answers remembered ---- */

static void answer_drop(struct oauth *o, struct answer *a)
{
    HASH_DEL(o->answers, a);
    TAILQ_REMOVE(&o->by_age, a, by_age);
    o->answers_n--;
    free(a->login);
    free(a);
}

static void answer_key(struct oauth *o, const struct issuer *issuer, struct slice token,
                       uint8_t ret[static SHA256_SIZE])
{
    CLEANUP(buf_done) struct buf text = buf_make(JWT_MAX + 16);

    buf_add_be64(&text, (uint64_t)(issuer - o->issuers));
    buf_add_slice(&text, token);
    digest_hmac_sha256(slice_of(o->secret, sizeof o->secret), buf_slice(&text), ret);
}

/* True: *ret_verdict and, if it is 0, *login. */
static bool answer_find(struct oauth *o, const uint8_t key[static SHA256_SIZE], int *ret_verdict,
                        struct buf *login)
{
    struct answer *a;
    bool found;

    pthread_mutex_lock(&o->lock);
    HASH_FIND(hh, o->answers, key, SHA256_SIZE, a);
    if (a && a->until_ms <= clock_mono_ms()) {
        answer_drop(o, a);
        a = NULL;
    }
    found = a != NULL;
    if (found) {
        *ret_verdict = a->verdict;
        buf_add_str(login, a->login);
    }
    pthread_mutex_unlock(&o->lock);
    return found;
}

static void answer_keep(struct oauth *o, const uint8_t key[static SHA256_SIZE], int verdict,
                        const char *login, int64_t keep_ms)
{
    struct answer *a;

    if (keep_ms <= 0)
        return;
    pthread_mutex_lock(&o->lock);
    HASH_FIND(hh, o->answers, key, SHA256_SIZE, a);
    if (a)
        answer_drop(o, a);
    if (o->answers_n >= CACHE_MAX)
        answer_drop(o, TAILQ_FIRST(&o->by_age));
    a = NEW(struct answer);
    memcpy(a->key, key, SHA256_SIZE);
    a->until_ms = clock_mono_ms() + keep_ms;
    a->verdict = verdict;
    a->login = mem_strdup(login);
    HASH_ADD(hh, o->answers, key, SHA256_SIZE, a);
    TAILQ_INSERT_TAIL(&o->by_age, a, by_age);
    o->answers_n++;
    pthread_mutex_unlock(&o->lock);
}

/* ---- making ---- */

static const char *copy(struct oauth *o, const char *text)
{
    return arena_str(&o->arena, slice_str(text ? text : ""));
}

static void copy_issuer(struct oauth *o, const struct oauth_issuer *from, struct issuer *to)
{
    to->settings = (struct oauth_issuer){.issuer = copy(o, from->issuer),
                                         .audience = copy(o, from->audience),
                                         .keys = copy(o, from->keys),
                                         .algorithms = from->algorithms,
                                         .introspection = copy(o, from->introspection),
                                         .client_id = copy(o, from->client_id),
                                         .client_secret = copy(o, from->client_secret),
                                         .cafile = copy(o, from->cafile),
                                         .claim = copy(o, from->claim),
                                         .scope = copy(o, from->scope),
                                         .leeway_ms = from->leeway_ms};
    pthread_mutex_init(&to->reading, NULL);
    pthread_mutex_init(&to->lock, NULL);
}

static bool is_url(const char *text)
{
    return strstr(text, "://") != NULL;
}

static int check_issuer(const struct oauth_issuer *i, struct error *err)
{
    if (!*i->issuer)
        return error_set(err, ERR_INVALID, "issuer is missing");
    if (!*i->keys && !*i->introspection)
        return error_set(err, ERR_INVALID, "%s: keys or introspection is wanted", i->issuer);
    if (*i->keys && !*i->audience)
        return error_set(err, ERR_INVALID,
                         "%s: audience is wanted, or tokens for others would let in", i->issuer);
    if (*i->keys && !i->algorithms)
        return error_set(err, ERR_INVALID, "%s: algorithms are RS256, ES256, EdDSA", i->issuer);
    if ((is_url(i->keys) && !fetch_url_allowed(i->keys)) ||
        (*i->introspection && !fetch_url_allowed(i->introspection)))
        return error_set(err, ERR_INVALID,
                         "%s: an https:// URL is wanted (http:// only to this machine)", i->issuer);
    if (!*i->claim)
        return error_set(err, ERR_INVALID, "%s: claim is missing", i->issuer);
    return 0;
}

int oauth_check_options(const struct oauth_options *options, struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < options->issuers_n; i++)
        r = check_issuer(&options->issuers[i], err);
    return r;
}

int oauth_new(const struct oauth_options *options, struct oauth **ret, struct error *err)
{
    struct oauth *o;
    int r = oauth_check_options(options, err);

    if (r < 0)
        return r;
    o = NEW(struct oauth);
    o->options = *options;
    o->issuers = NEW_ARRAY(struct issuer, MAX(options->issuers_n, (size_t)1));
    for (size_t i = 0; i < options->issuers_n; i++)
        copy_issuer(o, &options->issuers[i], &o->issuers[i]);
    o->options.issuers = NULL;
    o->gate = password_gate_new(OAUTH_REQUESTS, WAITING);
    pthread_mutex_init(&o->lock, NULL);
    TAILQ_INIT(&o->by_age);
    random_bytes(o->secret, sizeof o->secret);
    *ret = o;
    return 0;
}

static void set_unref(struct key_set *set)
{
    if (!set || atomic_fetch_sub(&set->refs, 1) != 1)
        return;
    jwks_free(set->keys);
    free(set);
}

void oauth_free(struct oauth *o)
{
    struct answer *a;

    if (!o)
        return;
    while ((a = TAILQ_FIRST(&o->by_age)))
        answer_drop(o, a);
    for (size_t i = 0; i < o->options.issuers_n; i++) {
        set_unref(o->issuers[i].set);
        pthread_mutex_destroy(&o->issuers[i].reading);
        pthread_mutex_destroy(&o->issuers[i].lock);
    }
    free(o->issuers);
    password_gate_free(o->gate);
    pthread_mutex_destroy(&o->lock);
    secret_wipe(o->secret, sizeof o->secret);
    arena_done(&o->arena);
    free(o);
}

/* ---- requests ---- */

static void log_failure(const struct issuer *issuer, const char *what, const char *why)
{
    struct log_line line;

    log_begin(&line, LOG_WARN_, "oauth");
    log_str(&line, "issuer", slice_str(issuer->settings.issuer));
    log_str(&line, "failed", slice_str(what));
    log_str(&line, "reason", slice_str(why));
    log_end(&line);
}

static int request(struct oauth *o, const struct issuer *issuer, struct fetch *f, const char *what,
                   struct buf *out, struct error *err)
{
    struct error why = {0};
    int r = password_gate_enter(o->gate);

    if (r < 0)
        return error_set(err, ERR_UNAVAILABLE, "too many tokens are being checked");
    f->cafile = issuer->settings.cafile;
    f->timeout_ms = o->options.timeout_ms;
    atomic_fetch_add(&o->requests, 1);
    r = fetch_run(f, out, &why);
    password_gate_leave(o->gate);
    if (r == 0)
        return 0;
    atomic_fetch_add(&o->failed, 1);
    log_failure(issuer, what, why.text);
    return error_set(err, ERR_UNAVAILABLE, "the issuer of the token does not answer");
}

/* ---- key sets ---- */

static int read_file(const char *path, struct buf *out, struct error *err)
{
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;

    if (fd < 0)
        return error_set(err, ERR_UNAVAILABLE, "cannot open %s: %m", path);
    while (n > 0) {
        uint8_t *p = buf_reserve(out, 4096);

        if (!p)
            return error_set(err, ERR_UNAVAILABLE, "%s is too long", path);
        n = read(fd, p, 4096);
        if (n < 0)
            return error_set(err, ERR_UNAVAILABLE, "cannot read %s: %m", path);
        out->n += (size_t)n;
    }
    return 0;
}

static int read_keys(struct oauth *o, struct issuer *issuer, struct jwks **ret)
{
    CLEANUP(buf_done) struct buf text = buf_make(JWKS_MAX);
    struct fetch f = {.url = issuer->settings.keys};
    struct error err = {0};
    int r;

    if (is_url(issuer->settings.keys))
        return request(o, issuer, &f, "keys", &text, NULL) < 0
                   ? -ERR_UNAVAILABLE
                   : jwks_parse(buf_slice(&text), ret, NULL);
    r = read_file(issuer->settings.keys, &text, &err);
    if (r == 0)
        r = jwks_parse(buf_slice(&text), ret, &err);
    if (r < 0)
        log_failure(issuer, "keys", err.text);
    return r;
}

static struct key_set *set_ref(struct issuer *issuer)
{
    struct key_set *set;

    pthread_mutex_lock(&issuer->lock);
    set = issuer->set;
    if (set)
        atomic_fetch_add(&set->refs, 1);
    pthread_mutex_unlock(&issuer->lock);
    return set;
}

/* Is it time to read the set? seen: the one that did not do, or NULL. */
static bool is_due(struct oauth *o, struct issuer *issuer, const struct key_set *seen, bool missed)
{
    int64_t now = clock_mono_ms();
    bool due;

    pthread_mutex_lock(&issuer->lock);
    if (issuer->set != seen)
        due = false; /* somebody has read another one meanwhile */
    else if (issuer->tried_ms && now - issuer->tried_ms < o->options.key_floor_ms)
        due = false;
    else
        due = !issuer->set || missed || now - issuer->read_ms >= o->options.key_age_ms;
    pthread_mutex_unlock(&issuer->lock);
    return due;
}

static void read_set(struct oauth *o, struct issuer *issuer)
{
    struct key_set *fresh = NULL, *old = NULL;
    struct jwks *keys = NULL;
    int r = read_keys(o, issuer, &keys);
    int64_t now = clock_mono_ms();

    if (r == 0) {
        fresh = NEW(struct key_set);
        atomic_init(&fresh->refs, 1);
        fresh->keys = keys;
    }
    pthread_mutex_lock(&issuer->lock);
    issuer->tried_ms = now;
    if (fresh) {
        old = issuer->set;
        issuer->set = fresh;
        issuer->read_ms = now;
    }
    pthread_mutex_unlock(&issuer->lock);
    set_unref(old);
}

/* False: somebody else is at it, and we do without. */
static bool begin_reading(struct issuer *issuer, bool must_wait)
{
    bool ours = pthread_mutex_trylock(&issuer->reading) == 0;

    if (ours || !must_wait)
        return ours;
    if (atomic_fetch_add(&issuer->waiting, 1) < WAITING) {
        pthread_mutex_lock(&issuer->reading);
        ours = true;
    }
    atomic_fetch_sub(&issuer->waiting, 1);
    return ours;
}

/* A reference to the set to check by; read anew if it is time to. missed: `seen` has not the key
 * that is wanted. Those who need the same set wait for the one who reads it, up to a number; those
 * who can do with an old one do not. NULL: there is none. */
static struct key_set *current_set(struct oauth *o, struct issuer *issuer,
                                   const struct key_set *seen, bool missed)
{
    if (is_due(o, issuer, seen, missed) && begin_reading(issuer, !seen || missed)) {
        if (is_due(o, issuer, seen, missed))
            read_set(o, issuer);
        pthread_mutex_unlock(&issuer->reading);
    }
    return set_ref(issuer);
}

/* ---- signed tokens ---- */

static int take_login(const struct issuer *issuer, const json_t *claims, struct buf *login,
                      struct error *err)
{
    const char *text = jwt_claim(claims, issuer->settings.claim);

    if (!*text || strlen(text) > LOGIN_MAX)
        return error_set(err, ERR_AUTH, "the token does not say whose it is");
    buf_add_str(login, text);
    return 0;
}

static struct jwt_rules rules_of(const struct issuer *issuer, bool introspected)
{
    const struct oauth_issuer *s = &issuer->settings;

    return (struct jwt_rules){.issuer = s->issuer,
                              .audience = s->audience,
                              .scope = s->scope,
                              .introspected = introspected,
                              .now_s = clock_wall_ms() / 1000,
                              .leeway_s = s->leeway_ms / 1000};
}

static int verify(struct oauth *o, struct issuer *issuer, const struct jwt *t, struct error *err)
{
    struct key_set *set = set_ref(issuer), *newer;
    int r = -ERR_NOTFOUND;

    newer = current_set(o, issuer, set, false);
    set_unref(set);
    set = newer;
    if (set)
        r = jwt_verify(t, set->keys, issuer->settings.algorithms, err);
    if (set && r == -ERR_NOTFOUND) {
        newer = current_set(o, issuer, set, true);
        if (newer != set)
            r = jwt_verify(t, newer->keys, issuer->settings.algorithms, err);
        set_unref(newer);
    }
    if (!set)
        return error_set(err, ERR_UNAVAILABLE, "the keys of the token's issuer cannot be read");
    set_unref(set);
    return r == -ERR_NOTFOUND ? error_set(err, ERR_AUTH, "no key has signed the token") : r;
}

static int check_signed(struct oauth *o, struct issuer *issuer, const struct jwt *t,
                        struct buf *login, struct error *err)
{
    struct jwt_rules rules = rules_of(issuer, false);
    int r;

    /* Cheap things first; the claims are looked at again when they can be believed. */
    r = jwt_check_claims(t->claims, &rules, err);
    if (r < 0 && r != -ERR_NOPERM)
        return r;
    r = verify(o, issuer, t, err);
    if (r == 0)
        r = jwt_check_claims(t->claims, &rules, err);
    return r < 0 ? r : take_login(issuer, t->claims, login, err);
}

/* ---- introspection ---- */

static void json_done(json_t **j)
{
    json_decref(*j);
}

static int ask(struct oauth *o, struct issuer *issuer, struct slice token, json_t **ret,
               struct error *err)
{
    CLEANUP(buf_done) struct buf form = buf_make(4 * JWT_MAX), body = buf_make(ANSWER_MAX);
    CLEANUP(buf_done) struct buf user = buf_make(4096), password = buf_make(4096);
    struct fetch f = {.url = issuer->settings.introspection};
    int r;

    buf_add_str(&form, "token_type_hint=access_token&token=");
    fetch_add_encoded(&form, token);
    /* RFC 6749 section 2.3.1: encoded, then put together. */
    fetch_add_encoded(&user, slice_str(issuer->settings.client_id));
    fetch_add_encoded(&password, slice_str(issuer->settings.client_secret));
    f.form = buf_cstr(&form);
    f.user = buf_cstr(&user);
    f.password = buf_cstr(&password);
    r = request(o, issuer, &f, "introspection", &body, err);
    secret_wipe(form.p, form.n);
    secret_wipe(password.p, password.n);
    if (r < 0)
        return r;
    *ret = jwt_load_json(buf_slice(&body));
    if (json_is_object(*ret))
        return 0;
    atomic_fetch_add(&o->failed, 1);
    log_failure(issuer, "introspection", "the answer is no JSON object");
    return error_set(err, ERR_UNAVAILABLE, "the issuer of the token does not answer");
}

/* How long the answer may be remembered. */
static int64_t keep_ms(const struct oauth *o, const json_t *answer, int verdict)
{
    int64_t ms = verdict == 0 ? o->options.cache_ms : MIN(o->options.cache_ms, (int64_t)REFUSED_MS);
    double exp = json_number_value(json_object_get(answer, "exp"));
    double left = exp * 1000 - (double)clock_wall_ms();

    if (exp > 0 && left < (double)ms)
        ms = left < 0 ? 0 : (int64_t)left;
    return ms;
}

static int introspect(struct oauth *o, struct issuer *issuer, struct slice token, struct buf *login,
                      struct error *err)
{
    struct jwt_rules rules = rules_of(issuer, true);
    CLEANUP(json_done) json_t *answer = NULL;
    uint8_t key[SHA256_SIZE];
    size_t before = login->n;
    int r;

    answer_key(o, issuer, token, key);
    if (answer_find(o, key, &r, login)) {
        atomic_fetch_add(&o->cached, 1);
        return r < 0 ? error_set(err, (enum err) - r, "the token is not valid") : 0;
    }
    r = ask(o, issuer, token, &answer, err);
    if (r < 0)
        return r;
    if (!json_is_true(json_object_get(answer, "active")))
        r = error_set(err, ERR_AUTH, "the token is not valid");
    if (r == 0)
        r = jwt_check_claims(answer, &rules, err);
    if (r == 0)
        r = take_login(issuer, answer, login, err);
    answer_keep(o, key, r, r == 0 ? buf_cstr(login) + before : "", keep_ms(o, answer, r));
    return r;
}

/* ---- the check ---- */

/* RFC 6750 section 2.1. */
static bool is_b64token(struct slice token)
{
    size_t n = token.n;

    while (n && token.p[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++)
        if (!byte_is_alpha(token.p[i]) && !byte_is_digit(token.p[i]) &&
            !memchr("-._~+/", token.p[i], 6))
            return false;
    return n > 0;
}

static int check_jwt(struct oauth *o, struct slice token, struct buf *login, struct error *err)
{
    struct jwt t;
    int r = jwt_parse(token, &t, err);
    const char *iss;

    if (r < 0)
        return r == -ERR_LIMIT ? r : -ERR_AUTH;
    iss = jwt_claim(t.claims, "iss");
    r = error_set(err, ERR_AUTH, "nobody here knows the token's issuer");
    for (size_t i = 0; i < o->options.issuers_n; i++) {
        struct issuer *issuer = &o->issuers[i];

        if (strcmp(issuer->settings.issuer, iss) != 0)
            continue;
        r = *issuer->settings.keys ? check_signed(o, issuer, &t, login, err)
                                   : introspect(o, issuer, token, login, err);
        break;
    }
    jwt_done(&t);
    return r;
}

/* Each issuer that can be asked, until one knows it. */
static int check_opaque(struct oauth *o, struct slice token, struct buf *login, struct error *err)
{
    int r = error_set(err, ERR_AUTH, "the token is not valid");

    for (size_t i = 0; i < o->options.issuers_n; i++) {
        if (!*o->issuers[i].settings.introspection)
            continue;
        r = introspect(o, &o->issuers[i], token, login, err);
        if (r != -ERR_AUTH)
            break;
    }
    return r;
}

int oauth_check(struct oauth *o, struct slice token, struct buf *login, struct error *err)
{
    size_t before = login->n;
    int r;

    if (token.n > JWT_MAX)
        r = error_set(err, ERR_LIMIT, "the token is longer than %d bytes", JWT_MAX);
    else if (!is_b64token(token))
        r = error_set(err, ERR_AUTH, "that is no token");
    else
        r = (jwt_looks_like(token) ? check_jwt : check_opaque)(o, token, login, err);
    if (r < 0)
        login->n = before;
    atomic_fetch_add(r == 0 ? &o->accepted : &o->refused, 1);
    return r;
}

const char *oauth_scope(const struct oauth *o)
{
    return o->options.issuers_n ? o->issuers[0].settings.scope : "";
}

const char *oauth_issuer_url(const struct oauth *o)
{
    const char *url = o->options.issuers_n ? o->issuers[0].settings.issuer : "";

    return strncmp(url, "https://", 8) == 0 ? url : "";
}

struct oauth_counters oauth_read_counters(const struct oauth *o)
{
    return (struct oauth_counters){.accepted = atomic_load(&o->accepted),
                                   .refused = atomic_load(&o->refused),
                                   .requests = atomic_load(&o->requests),
                                   .failed = atomic_load(&o->failed),
                                   .cached = atomic_load(&o->cached)};
}
