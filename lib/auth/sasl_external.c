/* SPDX-License-Identifier: MPL-2.0 */
/* EXTERNAL (RFC 4422 appendix A): the client's certificate says who it is. TLS has checked the
 * certificate and that the client has its key; its addresses are in peer.tls_client. */
#include "lib/auth/sasl_impl.h"

static struct slice next_name(struct slice *rest)
{
    ssize_t end = slice_find(*rest, '\n');
    struct slice name = slice_sub(*rest, 0, end < 0 ? rest->n : (size_t)end);

    *rest = slice_skip(*rest, name.n + 1);
    return name;
}

/* Is what the attempt began with an address of the certificate? */
static bool has_name(struct sasl_exchange *x)
{
    struct slice rest = slice_str(x->peer.tls_client);

    while (rest.n)
        if (attempt_is_for(&x->attempt, next_name(&rest)))
            return true;
    return false;
}

/* The first address that has an account. */
static int look_up_any(struct sasl_exchange *x, struct error *err)
{
    struct slice rest = slice_str(x->peer.tls_client);
    int r = 0;

    while (r == 0 && rest.n && !x->attempt.usable)
        r = attempt_look_up(&x->attempt, next_name(&rest), err);
    return r;
}

/* The message is who the client wants to be, or empty. */
int sasl_external_first(struct sasl_exchange *x, struct slice wanted, struct buf *challenge,
                        struct error *err)
{
    struct slice names = slice_str(x->peer.tls_client);
    int r = sasl_refuse_long_names(wanted, err);

    if (r < 0)
        return sasl_ended(x, r);
    x->begun = true;
    if (wanted.n)
        r = attempt_begin(&x->attempt, x->auth, x->service, &x->peer, wanted, &x->not_before, err);
    else
        r = attempt_begin_unnamed(&x->attempt, x->auth, x->service, &x->peer, names, &x->not_before,
                                  err);
    if (r == 0 && !wanted.n)
        r = look_up_any(x, err);
    if (r < 0)
        return sasl_ended(x, r);
    if (!x->attempt.usable || (wanted.n && !has_name(x)))
        return sasl_ended(x, attempt_fail(&x->attempt, NULL, &x->not_before, err));
    attempt_succeed(&x->attempt, &x->user);
    return sasl_ended(x, 0);
}
