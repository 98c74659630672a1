/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/session/pop3_world.h"

#include <stdlib.h>

#include "lib/base/mem.h"

void pop3_world_set(struct pop3_world *w, const struct pop3_settings *settings)
{
    pop3_service_free(w->service);
    w->settings = *settings;
    w->service = pop3_service_new(settings, w->node->mail, w->node->auth);
}

struct pop3_world *pop3_world_new(void)
{
    struct pop3_world *w = NEW(struct pop3_world);
    struct pop3_settings settings;

    w->node = imap_world_new();
    pop3_settings_default(&settings);
    settings.starttls = true;
    pop3_world_set(w, &settings);
    return w;
}

void pop3_world_free(struct pop3_world *w)
{
    pop3_service_free(w->service);
    imap_world_free(w->node);
    free(w);
}

struct session *pop3_world_open(struct pop3_world *w, struct slice how)
{
    struct session_peer peer = {.remote = "192.0.2.1", .local = "192.0.2.2"};

    peer.tls = !slice_eq(how, S("plain"));
    return w->service->open(w->service, &peer);
}
