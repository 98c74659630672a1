/* SPDX-License-Identifier: MPL-2.0 */
/* settings: from the configuration to what the libraries take, for daemons and commands alike. */
#pragma once

#include "lib/auth/login.h"
#include "lib/auth/oauth.h"
#include "lib/conf/conf.h"
#include "lib/mail/mail.h"
#include "lib/net/netaddr.h"
#include "lib/queue/runner.h"
#include "lib/store/store.h"

/* All borrow strings from the configuration. */
void settings_directory(const struct conf *c, struct directory_options *ret);
void settings_auth(const struct conf *c, struct auth_options *ret);
/* For auth_options.oauth; must stay where it is while that is used. */
struct settings_oauth {
    struct oauth_options options;
    struct oauth_issuer issuers[16];
};
void settings_oauth(const struct conf *c, struct settings_oauth *ret);
void settings_mail(const struct conf *c, struct mail_settings *ret);
void settings_runner(const struct conf *c, struct runner_settings *ret);
/* Lists lie in the configuration's arena: only while it is nobody else's. */
void settings_transport(struct conf *c, struct transport_settings *ret);
/* The same networks as lib/net has them; lib/conf keeps v4 ones as mapped v6 ones. */
struct network *settings_networks(struct conf *c, const struct conf_network *list, size_t n);
/* The cost of new passwords. */
void settings_password(const struct conf *c, struct password_cost *ret);
