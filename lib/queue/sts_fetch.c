/* SPDX-License-Identifier: MPL-2.0 */
/* Addresses come from our own resolver, so curl asks no name server; no redirects, no proxies, no
 * other schemes (RFC 8461 3.3). */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "lib/base/mem.h"
#include "lib/queue/sts.h"

#define TIMEOUT_S 15L

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* "mta-sts.example.org:443:192.0.2.1,[2001:db8::1]" */
static struct curl_slist *resolve_line(const char *host, const struct netaddr *addresses, size_t n,
                                       uint16_t port)
{
    CLEANUP(buf_done) struct buf line = buf_make(4096);

    buf_printf(&line, "%s:%u:", host, port);
    for (size_t i = 0; i < n; i++) {
        bool v6 = addresses[i].sa.any.sa_family == AF_INET6;
        char text[64];

        netaddr_format_host(&addresses[i], text, sizeof text);
        buf_printf(&line, "%s%s%s%s", i ? "," : "", v6 ? "[" : "", text, v6 ? "]" : "");
    }
    return curl_slist_append(NULL, buf_cstr(&line));
}

static size_t take(char *p, size_t size, size_t n, void *context)
{
    struct buf *out = context;

    buf_add(out, p, n);
    return buf_full(out) ? 0 : n;
}

static void set_options(CURL *curl, const char *url, struct curl_slist *resolve,
                        const char *ca_file, struct buf *body, char *why)
{
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "Eider");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    if (ca_file && *ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
}

static int judge(CURL *curl, CURLcode code, const char *why, struct error *err)
{
    long status = 0;
    const char *type = NULL;

    if (code != CURLE_OK)
        return error_set(err, ERR_UNAVAILABLE, "%s", why[0] ? why : curl_easy_strerror(code));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    if (status != 200)
        return error_set(err, ERR_UNAVAILABLE, "HTTP status %ld", status);
    if (!type || strncasecmp(type, "text/plain", 10) != 0)
        return error_set(err, ERR_INVALID, "the policy is not text/plain");
    return 0;
}

int sts_fetch(const char *domain, const struct netaddr *addresses, size_t n, uint16_t port,
              const char *ca_file, struct buf *out, struct error *err)
{
    CLEANUP_FREE char *host = mem_printf("mta-sts.%s", domain);
    CLEANUP_FREE char *url = mem_printf("https://%s:%u/.well-known/mta-sts.txt", host, port);
    CLEANUP(buf_done) struct buf body = buf_make(STS_POLICY_MAX);
    char why[CURL_ERROR_SIZE] = "";
    CURL *curl;

    pthread_once(&once, init);
    if (n == 0)
        return error_set(err, ERR_UNAVAILABLE, "%s has no address", host);
    curl = curl_easy_init();
    if (!curl)
        return error_set(err, ERR_UNAVAILABLE, "libcurl cannot begin");
    struct curl_slist *resolve = resolve_line(host, addresses, n, port);
    set_options(curl, url, resolve, ca_file, &body, why);
    int rc = judge(curl, curl_easy_perform(curl), why, err);
    if (rc == 0)
        buf_add_slice(out, buf_slice(&body));
    curl_slist_free_all(resolve);
    curl_easy_cleanup(curl);
    return rc;
}
