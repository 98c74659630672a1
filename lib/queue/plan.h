/* SPDX-License-Identifier: MPL-2.0 */
/* plan: how safe a connection to a server has to be. Pure: what the DNS, MTA-STS and the message
 * say goes in, one decision comes out.
 *
 *   what is known                             STARTTLS   verified by    else
 *   the message says TLS-Required: No         may        nobody         plain text
 *   TLSA records that cannot be had           -          -              the server is passed over
 *   TLSA records (DANE, RFC 7672)             must       the records    passed over
 *   MTA-STS enforce, server in the policy     must       CA and name    passed over
 *   MTA-STS enforce, server not in it         -          -              passed over
 *   the message says REQUIRETLS               must       CA and name    passed over
 *   nothing, or MTA-STS testing               may        nobody         plain text
 */
#pragma once

#include "lib/queue/resolve.h"
#include "lib/queue/smtp_client.h"

struct plan {
    const char *refused; /* why the server is passed over; NULL: it is not */
    enum smtp_tls tls;
    enum tls_verify verify;
    bool implicit;    /* TLS from the first byte on */
    bool fallback;    /* where the handshake fails, once more in plain text */
    const char *name; /* of the policy, for logs: "dane", "sts", "sts-testing", ... */
};

struct plan plan_for_mx(const struct resolved *r, const struct resolve_host *host,
                        const struct queue_envelope *message);
struct plan plan_for_route(const struct transport_route *route,
                           const struct queue_envelope *message);
