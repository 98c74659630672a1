/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/auth/fetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>

#include "lib/base/mem.h"

#define CONNECT_SHARE 2 /* connecting may take this part of the time */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void library_start(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        abort();
}

bool fetch_url_allowed(const char *url)
{
    static const char *const local[] = {"http://localhost", "http://127.0.0.1", "http://[::1]"};

    if (strncmp(url, "https://", 8) == 0)
        return url[8] != '\0' && url[8] != '/';
    for (size_t i = 0; i < ARRAY_LEN(local); i++) {
        size_t n = strlen(local[i]);

        if (strncmp(url, local[i], n) == 0 && (url[n] == ':' || url[n] == '/' || !url[n]))
            return !strchr(url, '@'); /* "localhost:x@elsewhere" */
    }
    return false;
}

void fetch_add_encoded(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];

        if (byte_is_alpha(c) || byte_is_digit(c) || c == '-' || c == '.' || c == '_')
            buf_add_byte(out, c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

static size_t take_body(char *p, size_t size, size_t n, void *context)
{
    struct buf *out = context;

    buf_add(out, p, size * n);
    return buf_full(out) ? 0 : size * n;
}

static void easy_free(CURL **c)
{
    curl_easy_cleanup(*c);
}

static void headers_free(struct curl_slist **s)
{
    curl_slist_free_all(*s);
}

static void set_request(CURL *c, const struct fetch *f)
{
    curl_easy_setopt(c, CURLOPT_URL, f->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)f->timeout_ms);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)(f->timeout_ms / CONNECT_SHARE));
    if (f->cafile && *f->cafile)
        curl_easy_setopt(c, CURLOPT_CAINFO, f->cafile);
    if (f->form)
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, f->form);
    if (f->user && *f->user) {
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(c, CURLOPT_USERNAME, f->user);
        curl_easy_setopt(c, CURLOPT_PASSWORD, f->password ? f->password : "");
    }
}

int fetch_run(const struct fetch *f, struct buf *out, struct error *err)
{
    CLEANUP(headers_free) struct curl_slist *headers = NULL;
    CLEANUP(easy_free) CURL *c = NULL;
    char text[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURLcode r;

    pthread_once(&library_once, library_start);
    c = curl_easy_init();
    headers = curl_slist_append(NULL, "Accept: application/json");
    if (!c || !headers)
        return error_set(err, ERR_UNAVAILABLE, "libcurl does not start");
    set_request(c, f);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, out);
    r = curl_easy_perform(c);
    if (buf_full(out))
        return error_set(err, ERR_LIMIT, "the answer is longer than %zu bytes", out->max);
    if (r != CURLE_OK)
        return error_set(err, ERR_UNAVAILABLE, "%s", *text ? text : curl_easy_strerror(r));
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return error_set(err, ERR_UNAVAILABLE, "the server answers with status %ld", status);
    return 0;
}
