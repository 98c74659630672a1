/* SPDX-License-Identifier: MPL-2.0 */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/pop3/impl.h"

void pop3_settings_default(struct pop3_settings *settings)
{
    *settings = (struct pop3_settings){
        .mark_seen = true,
        .auth_failures = 3,
        .bad_commands = 20,
        .user_connections = 50,
        .login_timeout_ms = 60 * 1000,
        .idle_timeout_ms = 10 * 60 * 1000,
    };
}

struct session_service *pop3_service_new(const struct pop3_settings *settings, struct mail *mail,
                                         struct auth *auth)
{
    struct pop3_service *service = NEW(struct pop3_service);

    service->settings = *settings;
    service->mail = mail;
    service->auth = auth;
    service->delays = delays_new();
    service->service = (struct session_service){
        .name = "pop3",
        .refusal = "-ERR [SYS/TEMP] Too many connections\r\n",
        .open = pop3_session_open,
        .context = service,
    };
    return &service->service;
}

void pop3_service_free(struct session_service *base)
{
    struct pop3_service *service;

    if (!base)
        return;
    service = base->context;
    delays_free(service->delays);
    free(service);
}
