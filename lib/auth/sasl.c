/* SPDX-License-Identifier: MPL-2.0 */
/* SASL by libsasl2, in this process and without its files.
 *
 * PLAIN and SCRAM are its plugins; LOGIN, which later versions have dropped, is two questions and
 * stands here. libsasl2 asks us back: checkpass() for PLAIN, lookup() (an auxprop plugin) for the
 * verifier of SCRAM. What we find out there is kept in the exchange, since libsasl2's own return
 * codes mix wrong passwords with stores that do not answer:
 *
 *   - verdict: what the callback found; looked at before libsasl2's result
 *   - pwcheck_method is none, or after our "no" it would go on and ask others
 *   - users who are not there get a verifier that nothing fits (attempt_scram), or the exchange
 *     would end one step earlier for them
 *   - the auxprop plugin is asked twice (for authid and authzid) and answers the first only
 *   - mech_list names what we store verifiers for; what the client is offered, sasl_mechanisms()
 *     says: sasl_listmech() writes past its buffer when a channel binding is set (2.1.28)
 *   - one channel binding fits in a connection: the client's first message says which
 *   - its nonces are drawn from 48 bits of seed; a replay would have to meet the same one
 *
 * Tokens and certificates need nothing of libsasl2: sasl_bearer.c, sasl_external.c.
 *
 * To add a mechanism: a row in `mechanisms`; if it is one of libsasl2's, its name in mech_list and
 * its file in verify_file; else a family and its first step.
 */
#include "lib/auth/sasl.h"

#include <pthread.h>
#include <sasl/sasl.h>
#include <sasl/saslplug.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auth/sasl_impl.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define OTHER_MAX         4096   /* bytes of a message without a token */
#define CALLBACK_EXCHANGE 0x9001 /* ours: leads a plugin to the exchange */

typedef int (*any_callback)(void);
#define CALLBACK(fn) ((any_callback)(void (*)(void))(fn))

enum family { FAMILY_EXTERNAL, FAMILY_SCRAM, FAMILY_OAUTH, FAMILY_PLAIN, FAMILY_LOGIN };

static const struct {
    const char *name;
    enum family family;
    enum scram_hash hash;
    bool plus; /* with channel binding */
} mechanisms[MECHANISMS] = {
    [EXTERNAL] = {"EXTERNAL", FAMILY_EXTERNAL, 0, false},
    [SCRAM_SHA_256_PLUS] = {"SCRAM-SHA-256-PLUS", FAMILY_SCRAM, SCRAM_SHA256, true},
    [SCRAM_SHA_256] = {"SCRAM-SHA-256", FAMILY_SCRAM, SCRAM_SHA256, false},
    [SCRAM_SHA_1_PLUS] = {"SCRAM-SHA-1-PLUS", FAMILY_SCRAM, SCRAM_SHA1, true},
    [SCRAM_SHA_1] = {"SCRAM-SHA-1", FAMILY_SCRAM, SCRAM_SHA1, false},
    [OAUTHBEARER] = {"OAUTHBEARER", FAMILY_OAUTH, 0, false},
    [XOAUTH2] = {"XOAUTH2", FAMILY_OAUTH, 0, false},
    [PLAIN] = {"PLAIN", FAMILY_PLAIN, 0, false},
    [LOGIN] = {"LOGIN", FAMILY_LOGIN, 0, false},
};

/* ---- libsasl2 asks ---- */

static int getopt_answer(void *context, const char *plugin, const char *option, const char **result,
                         unsigned *len)
{
    static const struct {
        const char *option, *value;
    } options[] = {{"mech_list", "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN"},
                   {"pwcheck_method", "none"},
                   {"auxprop_plugin", "eider"},
                   {"log_level", "0"}};

    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (strcmp(option, options[i].option) == 0) {
            *result = options[i].value;
            if (len)
                *len = (unsigned)strlen(*result);
            return SASL_OK;
        }
    return SASL_FAIL;
}

/* Loads the two plugins that we use and nothing else that happens to be installed. */
static int verify_file(void *context, const char *file, sasl_verify_type_t type)
{
    const char *name = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;

    if (type == SASL_VRFY_PLUGIN &&
        (strncmp(name, "libscram.", 9) == 0 || strncmp(name, "libplain.", 9) == 0))
        return SASL_OK;
    return SASL_CONTINUE;
}

static int no_log(void *context, int level, const char *message)
{
    return SASL_OK;
}

static int find_user(struct sasl_exchange *x, struct slice name)
{
    if (x->begun)
        return x->looked ? 0 : -ERR_AUTH;
    x->begun = true;
    x->verdict =
        attempt_begin(&x->attempt, x->auth, x->service, &x->peer, name, &x->not_before, &x->error);
    x->looked = x->verdict == 0;
    return x->verdict;
}

static int checkpass(sasl_conn_t *conn, void *context, const char *user, const char *pass,
                     unsigned passlen, struct propctx *props)
{
    struct sasl_exchange *x = context;

    if (find_user(x, slice_str(user)) == 0)
        x->verdict = attempt_password(&x->attempt, slice_of(pass, passlen), &x->user,
                                      &x->not_before, &x->error);
    return x->verdict == 0 ? SASL_OK : SASL_BADAUTH;
}

/* Only oneself may be asked for. Both names are as typed: compared as the directory has them. */
static int proxy_policy(sasl_conn_t *conn, void *context, const char *requested, unsigned rlen,
                        const char *identity, unsigned alen, const char *realm, unsigned urlen,
                        struct propctx *props)
{
    struct sasl_exchange *x = context;
    CLEANUP(arena_done) struct arena a = {0};
    struct address wanted, real;

    if (slice_eq(slice_of(requested, rlen), slice_of(identity, alen)))
        return SASL_OK;
    if (address_parse(auth_directory(x->auth), slice_of(requested, rlen), false, &a, &wanted,
                      NULL) == 0 &&
        address_parse(auth_directory(x->auth), slice_of(identity, alen), false, &a, &real, NULL) ==
            0 &&
        strcmp(wanted.full, real.full) == 0)
        return SASL_OK;
    return SASL_NOAUTHZ;
}

static int lookup(void *glob_context, sasl_server_params_t *params, unsigned flags,
                  const char *user, unsigned ulen)
{
    const struct propval *asked = params->utils->prop_get(params->propctx);
    struct sasl_exchange *x = NULL;
    int (*unused)(void) = NULL;

    if (flags & SASL_AUXPROP_AUTHZID)
        return SASL_OK;
    if (params->utils->getcallback(params->utils->conn, CALLBACK_EXCHANGE, &unused, (void **)&x) !=
            SASL_OK ||
        !x)
        return SASL_FAIL;
    for (; asked && asked->name; asked++) {
        const char *verifier;

        if (strcmp(asked->name, "*authPassword") != 0 || asked->values)
            continue;
        if (find_user(x, slice_of(user, ulen)) < 0)
            return SASL_FAIL;
        verifier = attempt_scram(&x->attempt, mechanisms[x->mechanism].hash);
        params->utils->prop_set(params->propctx, asked->name, verifier, -1);
    }
    return SASL_OK;
}

static int nothing(void)
{
    return SASL_OK;
}

static int auxprop_init(const sasl_utils_t *utils, int max_version, int *out_version,
                        sasl_auxprop_plug_t **plug, const char *name)
{
    /* libsasl2 wants it without const and changes nothing in it. */
    static const sasl_auxprop_plug_t plugin = {.auxprop_lookup = lookup, .name = (char *)"eider"};

    if (max_version < SASL_AUXPROP_PLUG_VERSION)
        return SASL_BADVERS;
    *out_version = SASL_AUXPROP_PLUG_VERSION;
    *plug = (sasl_auxprop_plug_t *)&plugin;
    return SASL_OK;
}

/* ---- the library ---- */

static void *mutex_new(void)
{
    pthread_mutex_t *m = NEW(pthread_mutex_t);

    pthread_mutex_init(m, NULL);
    return m;
}

static int mutex_lock(void *m)
{
    return pthread_mutex_lock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static int mutex_unlock(void *m)
{
    return pthread_mutex_unlock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static void mutex_free(void *m)
{
    pthread_mutex_destroy(m);
    free(m);
}

static bool offers_scram(void)
{
    sasl_conn_t *conn = NULL;
    const char *list = NULL;
    bool yes;

    if (sasl_server_new("imap", "localhost", NULL, NULL, NULL, NULL, 0, &conn) != SASL_OK)
        return false;
    /* No binding is set here: see the top. */
    yes = sasl_listmech(conn, NULL, "", " ", "", &list, NULL, NULL) == SASL_OK &&
          strstr(list, "SCRAM-SHA-256") && strstr(list, "SCRAM-SHA-1");
    sasl_dispose(&conn);
    return yes;
}

/* libsasl2 has one state per process, so we have one fact about it. Set once. */
static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static bool library_has_scram;

static void library_start(void)
{
    static const sasl_callback_t callbacks[] = {{SASL_CB_GETOPT, CALLBACK(getopt_answer), NULL},
                                                {SASL_CB_VERIFYFILE, CALLBACK(verify_file), NULL},
                                                {SASL_CB_LOG, CALLBACK(no_log), NULL},
                                                {SASL_CB_LIST_END, NULL, NULL}};

    sasl_set_mutex(mutex_new, mutex_lock, mutex_unlock, mutex_free);
    if (sasl_server_init(callbacks, NULL) == SASL_OK &&
        sasl_auxprop_add_plugin("eider", auxprop_init) == SASL_OK)
        library_has_scram = offers_scram();
}

bool sasl_library_ready(void)
{
    pthread_once(&library_once, library_start);
    return library_has_scram;
}

/* ---- what is offered ---- */

static bool has_binding(const struct session_peer *peer)
{
    return peer->has_cb_exporter || peer->cb_end_point_n > 0 || peer->cb_unique_n > 0;
}

static bool offered(const struct auth *auth, const struct session_peer *peer, enum mechanism m)
{
    switch (mechanisms[m].family) {
    case FAMILY_EXTERNAL:
        return peer->tls_client[0] != '\0';
    case FAMILY_SCRAM:
        return auth_has_scram(auth, mechanisms[m].hash) &&
               (!mechanisms[m].plus || has_binding(peer));
    case FAMILY_OAUTH:
        return auth_oauth(auth) && auth_plaintext_allowed(auth, peer);
    case FAMILY_PLAIN:
    case FAMILY_LOGIN:
        break;
    }
    return auth_plaintext_allowed(auth, peer);
}

size_t sasl_mechanisms(const struct auth *auth, const struct session_peer *peer,
                       const char *ret[static SASL_MECHANISMS_MAX])
{
    size_t n = 0;

    for (enum mechanism m = 0; m < MECHANISMS; m++)
        if (offered(auth, peer, m))
            ret[n++] = mechanisms[m].name;
    return n;
}

/* ---- an exchange ---- */

int sasl_ended(struct sasl_exchange *x, int result)
{
    x->state = ENDED;
    return result;
}

/* libsasl2 has said no, or yes: what is it in truth? */
static int settle(struct sasl_exchange *x, int r, struct error *err)
{
    if (x->verdict < 0) {
        if (err)
            *err = x->error;
        return sasl_ended(x, x->verdict);
    }
    if (r == SASL_OK && x->looked && x->attempt.usable)
        return sasl_ended(x, 0);
    x->not_before = 0;
    /* Behind the first message everything wrong is a wrong proof, a wrong binding too. */
    if (!x->looked || (r == SASL_BADPROT && x->state == WANTS_FIRST))
        return sasl_ended(x, error_set(err, ERR_INVALID, "the client's message is malformed"));
    return sasl_ended(x, attempt_fail(&x->attempt, NULL, &x->not_before, err));
}

static void give(struct buf *challenge, const char *text, unsigned n)
{
    if (n)
        buf_add(challenge, text, n);
}

static int start_library(struct sasl_exchange *x, const char *mechanism, struct slice first,
                         struct buf *challenge, struct error *err)
{
    const char *out = NULL;
    unsigned n = 0;
    int r;

    x->callbacks[0] = (sasl_callback_t){SASL_CB_SERVER_USERDB_CHECKPASS, CALLBACK(checkpass), x};
    x->callbacks[1] = (sasl_callback_t){SASL_CB_PROXY_POLICY, CALLBACK(proxy_policy), x};
    x->callbacks[2] = (sasl_callback_t){CALLBACK_EXCHANGE, nothing, x};
    x->callbacks[3] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
    r = sasl_server_new("imap", auth_hostname(x->auth), NULL, NULL, NULL, x->callbacks, 0,
                        &x->conn);
    if (r == SASL_OK && x->binding.name)
        r = sasl_setprop(x->conn, SASL_CHANNEL_BINDING, &x->binding);
    if (r != SASL_OK)
        return sasl_ended(
            x, error_set(err, ERR_INTERNAL, "libsasl2: %s", sasl_errstring(r, NULL, NULL)));
    r = sasl_server_start(x->conn, mechanism, (const char *)first.p, (unsigned)first.n, &out, &n);
    if (r != SASL_CONTINUE || x->verdict < 0)
        return settle(x, r, err);
    give(challenge, out, n);
    x->state = WANTS_FINAL;
    return 1;
}

/* `first` begins with the name of a type. False: this connection has none of it. */
static bool find_binding(const struct session_peer *peer, struct slice first,
                         sasl_channel_binding_t *ret)
{
    const struct {
        const char *name;
        const uint8_t *data;
        size_t n;
    } all[] = {
        {"tls-exporter", peer->cb_exporter, peer->has_cb_exporter ? sizeof peer->cb_exporter : 0},
        {"tls-server-end-point", peer->cb_end_point, peer->cb_end_point_n},
        {"tls-unique", peer->cb_unique, peer->cb_unique_n},
    };
    ssize_t end = slice_find(first, ',');
    struct slice type = slice_sub(first, 0, end < 0 ? 0 : (size_t)end);

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].n && slice_eq(type, slice_str(all[i].name))) {
            *ret = (sasl_channel_binding_t){all[i].name, 0, all[i].n, all[i].data};
            return true;
        }
    return false;
}

/* RFC 5802 section 6: the first letters of the client's first message say what it thinks of
 * channel binding. Chooses what libsasl2 is given, and refuses what does not go together. */
static int choose_binding(struct sasl_exchange *x, struct slice first, struct error *err)
{
    bool plus = mechanisms[x->mechanism].plus;

    if (plus != slice_starts(first, S("p=")))
        return error_set(err, ERR_INVALID, "the mechanism and its channel binding do not agree");
    /* "If the flag is set to "y" and the server supports channel binding, the server MUST fail
     * authentication": somebody took the -PLUS out of our list on its way. */
    if (slice_starts(first, S("y,")) && has_binding(&x->peer))
        return error_set(err, ERR_AUTH, "somebody hides the channel binding from the client");
    if (!plus)
        return 0;
    if (!find_binding(&x->peer, slice_skip(first, 2), &x->binding))
        return error_set(err, ERR_INVALID, "there is no channel binding of that type");
    return 0;
}

/* libsasl2 2.1.28 loses the memory of names that are longer than its own buffer of 1 KB, and
 * anybody may send such names before he has logged in. No login is as long. */
#define NAMES_MAX 1000

int sasl_refuse_long_names(struct slice names, struct error *err)
{
    return names.n > NAMES_MAX ? error_set(err, ERR_INVALID, "the user name is too long") : 0;
}

static int scram_first(struct sasl_exchange *x, struct slice first, struct buf *challenge,
                       struct error *err)
{
    int r = sasl_refuse_long_names(first, err);

    if (r == 0)
        r = choose_binding(x, first, err);
    return r < 0 ? sasl_ended(x, r)
                 : start_library(x, mechanisms[x->mechanism].name, first, challenge, err);
}

static int scram_final(struct sasl_exchange *x, struct slice response, struct buf *challenge,
                       struct error *err)
{
    const char *out = NULL;
    unsigned n = 0;
    int r = sasl_server_step(x->conn, (const char *)response.p, (unsigned)response.n, &out, &n);

    /* The signature is for those only who are let in. */
    if (r != SASL_CONTINUE || !x->attempt.main_usable)
        return settle(x, r == SASL_CONTINUE ? SASL_BADAUTH : r, err);
    give(challenge, out, n);
    x->state = WANTS_EMPTY;
    return 1;
}

static int scram_end(struct sasl_exchange *x, struct slice response, struct error *err)
{
    const char *out = NULL;
    unsigned n = 0;
    int r;

    if (response.n)
        return sasl_ended(x, error_set(err, ERR_INVALID, "an empty response was due"));
    r = sasl_server_step(x->conn, "", 0, &out, &n);
    if (r == SASL_OK)
        attempt_succeed(&x->attempt, &x->user);
    return settle(x, r, err);
}

static int plain_first(struct sasl_exchange *x, struct slice response, struct buf *challenge,
                       struct error *err)
{
    ssize_t to = slice_find(response, '\0');
    ssize_t end = to < 0 ? -1 : slice_find(slice_skip(response, (size_t)to + 1), '\0');
    int r = sasl_refuse_long_names(
        slice_sub(response, 0, end < 0 ? response.n : (size_t)to + (size_t)end + 1), err);

    if (r < 0)
        return sasl_ended(x, r);
    r = start_library(x, mechanisms[PLAIN].name, response, challenge, err);
    return r > 0 ? sasl_ended(x, error_set(err, ERR_INVALID, "the client's message is malformed"))
                 : r;
}

static int login_first(struct sasl_exchange *x, struct slice name, struct buf *challenge,
                       struct error *err)
{
    if (find_user(x, name) < 0)
        return settle(x, SASL_FAIL, err);
    buf_add_str(challenge, "Password:");
    x->state = WANTS_PASSWORD;
    return 1;
}

static int login_password(struct sasl_exchange *x, struct slice password, struct error *err)
{
    x->verdict = attempt_password(&x->attempt, password, &x->user, &x->not_before, &x->error);
    return settle(x, SASL_OK, err);
}

/* ---- steps ---- */

static int (*const first_steps[])(struct sasl_exchange *x, struct slice response,
                                  struct buf *challenge, struct error *err) = {
    [FAMILY_EXTERNAL] = sasl_external_first,
    [FAMILY_SCRAM] = scram_first,
    [FAMILY_OAUTH] = sasl_oauth_first,
    [FAMILY_PLAIN] = plain_first,
    [FAMILY_LOGIN] = login_first,
};

static int step(struct sasl_exchange *x, struct slice response, struct buf *challenge,
                struct error *err)
{
    size_t max = mechanisms[x->mechanism].family == FAMILY_OAUTH ? SASL_RESPONSE_MAX : OTHER_MAX;

    if (response.n > max)
        return sasl_ended(x,
                          error_set(err, ERR_LIMIT, "the response is longer than %zu bytes", max));
    switch (x->state) {
    case WANTS_FIRST:
        return first_steps[mechanisms[x->mechanism].family](x, response, challenge, err);
    case WANTS_PASSWORD:
        return login_password(x, response, err);
    case WANTS_FINAL:
        return scram_final(x, response, challenge, err);
    case WANTS_EMPTY:
        return scram_end(x, response, err);
    case WANTS_ANYTHING:
        return sasl_oauth_end(x, err);
    case ENDED:
        break;
    }
    return error_set(err, ERR_INTERNAL, "the exchange is over");
}

int sasl_step(struct sasl_exchange *x, struct slice response, struct buf *challenge,
              struct auth_user *ret_user, int64_t *ret_not_before, struct error *err)
{
    int r;

    buf_reset(challenge, SASL_RESPONSE_MAX);
    x->not_before = 0;
    /* libsasl2 takes {NULL, 0} for "no message", which is not the same as an empty one. */
    r = step(x, response.n ? response : S(""), challenge, err);
    *ret_not_before = x->not_before;
    if (r == 0)
        *ret_user = x->user;
    return r;
}

int sasl_start(struct auth *auth, enum auth_service service, struct slice mechanism,
               const struct session_peer *peer, const struct slice *initial,
               struct sasl_exchange **ret, struct buf *challenge, struct auth_user *ret_user,
               int64_t *ret_not_before, struct error *err)
{
    struct sasl_exchange *x;
    enum mechanism m = 0;
    int r = 1;

    *ret = NULL;
    *ret_not_before = 0;
    buf_reset(challenge, SASL_RESPONSE_MAX);
    while (m < MECHANISMS && !slice_ieq(mechanism, slice_str(mechanisms[m].name)))
        m++;
    if (m == MECHANISMS || !offered(auth, peer, m))
        return error_set(err, ERR_NOTFOUND, "the mechanism is not available");
    x = NEW(struct sasl_exchange);
    x->auth = auth;
    x->service = service;
    x->peer = *peer;
    x->mechanism = m;
    x->verdict = 1;
    if (initial)
        r = sasl_step(x, *initial, challenge, ret_user, ret_not_before, err);
    else if (m == LOGIN)
        buf_add_str(challenge, "Username:");
    if (r == 1)
        *ret = x;
    else
        sasl_free(x);
    return r;
}

void sasl_free(struct sasl_exchange *x)
{
    if (!x)
        return;
    if (x->conn)
        sasl_dispose(&x->conn);
    if (x->begun)
        attempt_done(&x->attempt);
    secret_wipe(x, sizeof *x);
    free(x);
}
