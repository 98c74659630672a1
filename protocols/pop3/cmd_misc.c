/* SPDX-License-Identifier: MPL-2.0 */
/* CAPA (RFC 2449), UTF8 and LANG (RFC 6856), NOOP, QUIT. */
#include "protocols/pop3/impl.h"

int pop3_capa(struct pop3 *p, const struct pop3_line *line)
{
    pop3_ok(p, "Capabilities");
    pop3_capabilities(p, &p->s.out);
    buf_add_str(&p->s.out, ".\r\n");
    return 0;
}

/* RFC 6856 section 2.1. Names and passwords are UTF-8 in any case, and messages are given as they
 * came in: one with UTF-8 in its header is not made another for clients that do not know of it,
 * which the RFC would have, since its octets are what the client was promised (I33). */
int pop3_utf8(struct pop3 *p, const struct pop3_line *line)
{
    return pop3_ok(p, "UTF-8");
}

/* RFC 6856 section 3: all that is said here is English. */
int pop3_lang(struct pop3 *p, const struct pop3_line *line)
{
    if (line->n_args == 0) {
        pop3_ok(p, "Languages");
        buf_add_str(&p->s.out, "en English\r\ni-default English\r\n.\r\n");
        return 0;
    }
    if (slice_ieq(line->args[0], S("i-default")))
        return pop3_ok(p, "i-default English");
    if (slice_eq(line->args[0], S("*")) || slice_ieq(line->args[0], S("en")) ||
        slice_istarts(line->args[0], S("en-")))
        return pop3_ok(p, "en English");
    return pop3_no(p, NULL, "This language is not spoken here");
}

int pop3_noop(struct pop3 *p, const struct pop3_line *line)
{
    return pop3_ok(p, "Here");
}

/* RFC 1939 section 6: what could not be removed is said, and the session ends in any case. */
int pop3_quit(struct pop3 *p, const struct pop3_line *line)
{
    int r = 0;

    if (p->state == POP3_TRANSACTION)
        r = maildrop_commit(&p->drop, p->service->settings.mark_seen, &p->err);
    if (r == 0)
        pop3_ok(p, "Good bye");
    else if (r != -ERR_UNKNOWN_OUTCOME)
        buf_add_str(&p->s.out, "-ERR [SYS/TEMP] The messages are not deleted, try again later\r\n");
    pop3_close(p);
    return 0;
}
