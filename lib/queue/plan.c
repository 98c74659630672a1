/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/plan.h"

static const struct plan may = {
    .tls = SMTP_TLS_MAY, .verify = TLS_VERIFY_NONE, .fallback = true, .name = "opportunistic"};

static struct plan must(enum tls_verify verify, const char *name)
{
    return (struct plan){.tls = SMTP_TLS_MUST, .verify = verify, .name = name};
}

static struct plan refuse(const char *name, const char *why)
{
    return (struct plan){.refused = why, .name = name};
}

struct plan plan_for_mx(const struct resolved *r, const struct resolve_host *host,
                        const struct queue_envelope *message)
{
    struct plan testing = may;

    if (message->tls_optional)
        return may;
    if (host->unsafe)
        return refuse("dane", host->unsafe);
    if (host->dane)
        return must(TLS_VERIFY_DANE, "dane");
    if (r->sts.mode == STS_ENFORCE && !sts_matches(&r->sts, host->name))
        return refuse("sts", "the server is not in the domain's MTA-STS policy");
    if (r->sts.mode == STS_ENFORCE)
        return must(TLS_VERIFY_NAME, "sts");
    if (message->require_tls && !r->mx_secure)
        return refuse("requiretls", "nothing proves that the server is the domain's (REQUIRETLS)");
    if (message->require_tls)
        return must(TLS_VERIFY_NAME, "requiretls");
    testing.name = r->sts.mode == STS_TESTING ? "sts-testing" : may.name;
    return testing;
}

struct plan plan_for_route(const struct transport_route *route,
                           const struct queue_envelope *message)
{
    enum tls_verify verify =
        route->verify || message->require_tls ? TLS_VERIFY_NAME : TLS_VERIFY_NONE;
    struct plan plan = must(verify, "route");

    plan.implicit = route->tls == TRANSPORT_TLS_IMPLICIT;
    if (message->require_tls)
        return plan;
    if (route->tls == TRANSPORT_TLS_NONE)
        plan.tls = SMTP_TLS_NEVER;
    if (route->tls == TRANSPORT_TLS_OPPORTUNISTIC) {
        plan = may;
        plan.name = "route";
        plan.fallback = !route->user[0]; /* a password does not go where TLS just broke */
    }
    return plan;
}
