/* SPDX-License-Identifier: MPL-2.0 */
/* IMAP URLs: of CATENATE, URLFETCH, GENURLAUTH and BURL; and parts of a BODYSTRUCTURE, which
 * follows the first line end. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/body_part.h"
#include "protocols/imap/url.h"
#include "protocols/imap/urlauth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_authorization(const struct imap_url *url, struct slice text)
{
    bool user = url->access == URL_SUBMIT || url->access == URL_USER;

    if (!url->host.n && (url->access || url->expires || url->user.n))
        abort();
    if (url->expires && !url->access)
        abort();
    if (user != (url->access_user.n > 0) || (url->mechanism.n > 0) != (url->token.n > 0))
        abort();
    if (!slice_starts(text, url->rump) || (url->token.n > 0) != (url->rump.n < text.n))
        abort();
    (void)!urlauth_is_our_host("mail.example.org [2001:db8::1]", url->host);
}

/* A rump that is given a token is a whole URL that says the same. */
static void check_rump(const struct imap_url *url, struct arena *arena)
{
    CLEANUP(buf_done) struct buf b = buf_make(2 * URL_MAX);
    struct imap_url whole;

    if (!url->access || url->token.n || url->rump.n > URL_MAX - 100)
        return;
    buf_add_slice(&b, url->rump);
    urlauth_add_token(NULL, NULL, url->rump, &b);
    if (imap_url_parse(buf_slice(&b), arena, &whole, NULL) < 0 ||
        !slice_eq(whole.rump, url->rump) || whole.access != url->access)
        abort();
}

static void try_structure(struct slice text)
{
    static const uint32_t numbers[][3] = {{1}, {2}, {1, 1}, {2, 1}, {1, 1, 1}, {2, 2, 1}};
    struct slice part, message;

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);
        size_t levels = 1;

        while (levels < 3 && numbers[i][levels])
            levels++;
        if (!body_part_find(text, numbers[i], levels, &part))
            continue;
        if (part.p < text.p || part.p + part.n > text.p + text.n)
            abort();
        if (body_part_decoded(part, 7, 1, &b) == (b.n == 0))
            abort();
        if (body_part_message(part, &message) && message.n >= part.n)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice text = slice_of(data, n);
    ssize_t end = slice_find(text, '\n');
    struct arena arena = {0};
    struct imap_url url;

    if (end >= 0) {
        try_structure(slice_skip(text, (size_t)end + 1));
        text = slice_sub(text, 0, (size_t)end);
    }
    if (imap_url_parse(text, &arena, &url, NULL) == 0) {
        if (!url.mailbox.n || !url.uid || !url.section || !url.count)
            abort();
        check_authorization(&url, text);
        check_rump(&url, &arena);
    }
    arena_done(&arena);
    return 0;
}
