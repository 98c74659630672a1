/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/imap.h"

#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

/* What a client may send before it has logged in: a SASL response of SASL_RESPONSE_MAX bytes in
 * base64 fits, and nothing that would cost memory. */
#define BEFORE_LOGIN_COMMAND 12352
#define BEFORE_LOGIN_LITERAL 2048

void imap_settings_default(struct imap_settings *settings)
{
    *settings = (struct imap_settings){
        .message_max = (uint64_t)50 << 20,
        .literal_max = 64 << 10,
        .command_max = 256 << 10,
        .nesting_max = 50,
        .arguments_max = 50000,
        .set_max = 20000,
        .search_terms_max = 1000,
        .append_messages = 1000,
        .append_memory = (size_t)32 << 20,
        .auth_failures = 3,
        .bad_commands = 20,
        .user_connections = 50,
        .login_timeout_ms = 60 * 1000,
        .idle_timeout_ms = 30 * 60 * 1000,
        .keepalive_ms = 2 * 60 * 1000,
        .progress_ms = 10 * 1000,
    };
}

#define LITERAL_MINUS 4096 /* RFC 7888 section 5 */

static struct parse_limits limits_of(const struct imap_settings *s)
{
    return (struct parse_limits){
        .command = s->command_max,
        .literal = s->literal_max,
        .stream = s->message_max,
        .literals = 200, /* what is before each is parsed again */
        .nesting = s->nesting_max,
        .arguments = s->arguments_max,
        .set = s->set_max,
        .unasked = s->literal_minus ? LITERAL_MINUS : 0,
    };
}

struct session_service *imap_service_new(const struct imap_settings *settings, struct mail *mail,
                                         struct auth *auth)
{
    struct imap_service *service = NEW(struct imap_service);

    service->settings = *settings;
    service->settings.comment = mem_strdup(settings->comment ? settings->comment : "");
    service->settings.admin = mem_strdup(settings->admin ? settings->admin : "");
    service->settings.url_hosts = mem_strdup(settings->url_hosts ? settings->url_hosts : "");
    service->mail = mail;
    service->auth = auth;
    service->after_login = limits_of(settings);
    service->after_login_utf8 = service->after_login;
    service->after_login_utf8.utf8 = true;
    service->before_login = service->after_login;
    service->before_login.command = MIN(settings->command_max, (uint32_t)BEFORE_LOGIN_COMMAND);
    service->before_login.literal = MIN(settings->literal_max, (uint32_t)BEFORE_LOGIN_LITERAL);
    service->before_login.arguments = MIN(settings->arguments_max, 200u);
    service->before_login.literals = 60; /* ID has 30 pairs (RFC 2971 section 3.3) */
    service->service = (struct session_service){
        .name = "imap",
        .refusal = "* BYE [LIMIT] Too many connections\r\n",
        .open = imap_session_open,
        .context = service,
    };
    return &service->service;
}

void imap_service_free(struct session_service *service)
{
    struct imap_service *s = service ? service->context : NULL;

    if (!s)
        return;
    free((char *)s->settings.comment);
    free((char *)s->settings.admin);
    free((char *)s->settings.url_hosts);
    free(s);
}
