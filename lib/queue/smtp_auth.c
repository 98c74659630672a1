/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/smtp_auth.h"

#include <pthread.h>

#include <sasl/sasl.h>

#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define MESSAGE_MAX 8192

/* In the order of preference. */
static const struct {
    const char *name;
    bool plain;
} mechanisms[] = {
    {"SCRAM-SHA-256", false},
    {"SCRAM-SHA-1", false},
    {"PLAIN", true},
    {"LOGIN", true},
};

struct smtp_auth {
    sasl_conn_t *conn;
    sasl_callback_t callbacks[5];
    char *user;
    sasl_secret_t *secret;
    bool done; /* the last step left nothing open */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool ready;

static void init(void)
{
    ready = sasl_client_init(NULL) == SASL_OK;
}

static int get_name(void *context, int id, const char **ret, unsigned *ret_n)
{
    struct smtp_auth *auth = context;

    *ret = auth->user;
    if (ret_n)
        *ret_n = (unsigned)strlen(auth->user);
    return SASL_OK;
}

static int get_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **ret)
{
    struct smtp_auth *auth = context;

    *ret = auth->secret;
    return SASL_OK;
}

static void set_callbacks(struct smtp_auth *auth)
{
    typedef int (*callback)(void);

    auth->callbacks[0] = (sasl_callback_t){SASL_CB_USER, (callback)(void *)get_name, auth};
    auth->callbacks[1] = (sasl_callback_t){SASL_CB_AUTHNAME, (callback)(void *)get_name, auth};
    auth->callbacks[2] = (sasl_callback_t){SASL_CB_PASS, (callback)(void *)get_secret, auth};
    auth->callbacks[3] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
}

static struct smtp_auth *auth_new(const char *user, const char *password)
{
    struct smtp_auth *auth = NEW(struct smtp_auth);
    size_t n = strlen(password);

    auth->user = mem_strdup(user);
    auth->secret = mem_zalloc(sizeof *auth->secret + n + 1);
    auth->secret->len = n;
    memcpy(auth->secret->data, password, n);
    set_callbacks(auth);
    return auth;
}

void smtp_auth_free(struct smtp_auth *auth)
{
    if (!auth)
        return;
    if (auth->conn)
        sasl_dispose(&auth->conn);
    secret_wipe(auth->secret->data, auth->secret->len);
    free(auth->secret);
    free(auth->user);
    free(auth);
}

static bool is_offered(const char *offered, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = offered; (p = strstr(p, name)); p += n)
        if ((p == offered || p[-1] == ' ') && p[n] == ' ')
            return true;
    return false;
}

static const char *choose(const char *offered, bool safe)
{
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
        if ((safe || !mechanisms[i].plain) && is_offered(offered, mechanisms[i].name))
            return mechanisms[i].name;
    return NULL;
}

static void add_message(struct buf *out, const char *text, unsigned n, bool first)
{
    if (first) /* RFC 4954 4: an empty initial response is "=" */
        buf_add_byte(out, ' ');
    if (first && n == 0)
        buf_add_byte(out, '=');
    base64_encode(out, slice_of(text, n));
}

int smtp_auth_begin(const char *host, const char *user, const char *password, const char *offered,
                    bool safe, struct smtp_auth **ret, struct buf *out, struct error *err)
{
    const char *mechanism = choose(offered, safe), *used = NULL, *text = NULL;
    struct smtp_auth *auth;
    unsigned n = 0;

    pthread_once(&once, init);
    if (!mechanism)
        return error_set(err, ERR_NOTFOUND, "%s offers no way to log in that can be used%s", host,
                         safe ? "" : " without TLS");
    auth = auth_new(user, password);
    if (!ready ||
        sasl_client_new("smtp", host, NULL, NULL, auth->callbacks, 0, &auth->conn) != SASL_OK) {
        smtp_auth_free(auth);
        return error_set(err, ERR_INTERNAL, "libsasl2 cannot begin");
    }
    int rc = sasl_client_start(auth->conn, mechanism, NULL, &text, &n, &used);
    if (rc != SASL_OK && rc != SASL_CONTINUE) {
        smtp_auth_free(auth);
        return error_set(err, ERR_INTERNAL, "libsasl2 cannot do %s: %s", mechanism,
                         sasl_errstring(rc, NULL, NULL));
    }
    auth->done = rc == SASL_OK;
    buf_printf(out, "AUTH %s", mechanism);
    if (text)
        add_message(out, text, n, true);
    buf_add_slice(out, S("\r\n"));
    *ret = auth;
    return 0;
}

void smtp_auth_answer(struct smtp_auth *auth, struct slice challenge, struct buf *out)
{
    CLEANUP(buf_done) struct buf plain = buf_make(MESSAGE_MAX);
    const char *text = NULL;
    unsigned n = 0;
    int rc = base64_decode(&plain, slice_trim(challenge));

    if (rc == 0) {
        rc = sasl_client_step(auth->conn, buf_cstr(&plain), (unsigned)plain.n, NULL, &text, &n);
        auth->done = rc == SASL_OK;
        rc = rc == SASL_OK || rc == SASL_CONTINUE ? 0 : -1;
    }
    if (rc < 0)
        buf_add_byte(out, '*');
    else
        add_message(out, text, n, false);
    buf_add_slice(out, S("\r\n"));
}

bool smtp_auth_is_done(const struct smtp_auth *auth)
{
    return auth->done;
}
