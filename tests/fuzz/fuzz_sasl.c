/* SPDX-License-Identifier: MPL-2.0 */
/* A client that speaks SASL badly: the first byte chooses the mechanism, lines are its messages.
 * Nobody may get in without the password, which is not in the dictionary, or a token that was
 * signed by a key which nobody has. The client's certificate names somebody who is not here. */
#include <stdlib.h>
#include <string.h>

#include "lib/auth/jwt.h"
#include "lib/auth/oauth.h"
#include "lib/auth/sasl.h"
#include "lib/base/mem.h"
#include "lib/store/store.h"

static struct auth *make_auth(void)
{
    static const struct directory_options names = {.delimiter = '+', .default_domain = "b.org"};
    static const struct oauth_issuer issuer = {.issuer = "https://id.example.org",
                                               .audience = "mail",
                                               .keys = "/dev/null/keys",
                                               .algorithms = JWT_ES256,
                                               .introspection = "",
                                               .claim = "email",
                                               .scope = ""};
    static const struct oauth_options oauth = {.issuers = &issuer,
                                               .issuers_n = 1,
                                               .timeout_ms = 1000,
                                               .key_age_ms = 1 << 30,
                                               .key_floor_ms = 1 << 30};
    static const struct auth_options options = {.cost = {.argon2_memory = 8,
                                                         .argon2_passes = 1,
                                                         .scram_iterations = 4096,
                                                         .scram_sha1_iterations = 4096},
                                                .hash_threads = 1,
                                                .hostname = "mx.b.org",
                                                .oauth = &oauth};
    CLEANUP(buf_done) struct buf hash = buf_make(1000), scram = buf_make(1000);
    CLEANUP(buf_done) struct buf sha1 = buf_make(1000);
    struct directory_account joe = {.login = "joe@b.org"};
    struct directory *d;
    struct store *store;
    struct auth *auth;
    uint64_t id;

    if (store_open("memory:", NULL, &store, NULL) < 0)
        abort();
    d = directory_new(store, &names);
    if (password_hash(S("correct horse battery"), &options.cost, &hash, NULL) < 0 ||
        password_scram(S("correct horse battery"), SCRAM_SHA256, 4096, &scram, NULL) < 0 ||
        password_scram(S("correct horse battery"), SCRAM_SHA1, 4096, &sha1, NULL) < 0)
        abort();
    joe.hash = buf_cstr(&hash);
    joe.scram = buf_cstr(&scram);
    joe.scram_sha1 = buf_cstr(&sha1);
    if (directory_domain_add(d, S("b.org"), NULL) < 0 ||
        directory_account_add(d, &joe, NULL, NULL, &id, NULL) < 0 ||
        auth_new(d, &options, &auth, NULL) < 0)
        abort();
    return auth;
}

static struct slice next_line(struct slice *rest)
{
    ssize_t at = slice_find(*rest, '\n');
    struct slice line = slice_sub(*rest, 0, at < 0 ? rest->n : (size_t)at);

    *rest = slice_skip(*rest, at < 0 ? rest->n : (size_t)at + 1);
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"PLAIN",         "LOGIN",
                                        "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS",
                                        "SCRAM-SHA-1",   "SCRAM-SHA-1-PLUS",
                                        "OAUTHBEARER",   "XOAUTH2",
                                        "EXTERNAL"};
    static struct auth *auth; /* one for the whole run */
    struct session_peer peer = {.remote = "unix",
                                .tls = true,
                                .tls_client = "nobody@b.org\nann@b.org",
                                .has_cb_exporter = true,
                                .cb_end_point_n = 32,
                                .cb_unique_n = 12};
    CLEANUP(buf_done) struct buf challenge = buf_make(65536);
    struct slice rest = slice_of(data, size), first;
    struct sasl_exchange *x = NULL;
    struct auth_user user;
    int64_t not_before;
    size_t mechanism;
    int r;

    if (size < 2)
        return 0;
    if (!auth)
        auth = make_auth();
    mechanism = ((data[0] & 3u) | (data[0] >> 1 & 12u)) % ARRAY_LEN(names);
    rest = slice_skip(rest, 1);
    first = next_line(&rest);
    r = sasl_start(auth, AUTH_IMAP, slice_str(names[mechanism]), &peer, data[0] & 4 ? &first : NULL,
                   &x, &challenge, &user, &not_before, NULL);
    for (int i = 0; r == 1 && i < 6; i++)
        r = sasl_step(x, next_line(&rest), &challenge, &user, &not_before, NULL);
    if (r == 0)
        abort();
    sasl_free(x);
    return 0;
}
