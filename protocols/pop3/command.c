/* SPDX-License-Identifier: MPL-2.0 */
/* The table of commands. To add one: a row here, its handler in a cmd_*.c. */
#include "lib/base/mem.h"
#include "protocols/pop3/impl.h"

static const struct pop3_row rows[] = {
    {"CAPA", POP3_ANY, 0, 0, pop3_capa, NULL},
    {"NOOP", POP3_TRANSACTION, 0, 0, pop3_noop, NULL},
    {"QUIT", POP3_ANY, 0, 0, pop3_quit, NULL},
    {"LANG", POP3_ANY, 0, 1, pop3_lang, "LANG"},
    {"UTF8", POP3_AUTHORIZATION, 0, 0, pop3_utf8, "UTF8 USER"},
    {"USER", POP3_AUTHORIZATION, POP3_FREE, 0, pop3_user, NULL},
    {"PASS", POP3_AUTHORIZATION, POP3_FREE, 0, pop3_pass, NULL},
    {"AUTH", POP3_AUTHORIZATION, 0, 2, pop3_auth, NULL},
    {"STLS", POP3_AUTHORIZATION, 0, 0, pop3_stls, NULL},
    {"STAT", POP3_TRANSACTION, 0, 0, pop3_stat, NULL},
    {"LIST", POP3_TRANSACTION, 0, 1, pop3_list, NULL},
    {"UIDL", POP3_TRANSACTION, 0, 1, pop3_uidl, "UIDL"},
    {"RETR", POP3_TRANSACTION, 1, 1, pop3_retr, NULL},
    {"TOP", POP3_TRANSACTION, 2, 2, pop3_top, "TOP"},
    {"DELE", POP3_TRANSACTION, 1, 1, pop3_dele, NULL},
    {"RSET", POP3_TRANSACTION, 0, 0, pop3_rset, NULL},
};

const struct pop3_row *pop3_row_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

size_t pop3_row_number(const struct pop3_row *row)
{
    return (size_t)(row - rows);
}

size_t pop3_command_count(void)
{
    return ARRAY_LEN(rows);
}

const char *pop3_command_name(size_t i)
{
    return rows[i].name;
}

/* RFC 2449 section 5: only what may differ between the states depends on the state. */
void pop3_capabilities(const struct pop3 *p, struct buf *out)
{
    const struct pop3_settings *settings = &p->service->settings;
    const char *mechanisms[SASL_MECHANISMS_MAX];
    size_t n = sasl_mechanisms(p->service->auth, &p->s.peer, mechanisms);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].capability)
            buf_printf(out, "%s\r\n", rows[i].capability);
    buf_add_str(out, "PIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nEXPIRE NEVER\r\n");
    if (settings->login_delay_s)
        buf_printf(out, "LOGIN-DELAY %u\r\n", settings->login_delay_s);
    if (auth_plaintext_allowed(p->service->auth, &p->s.peer))
        buf_add_str(out, "USER\r\n");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s %s%s", i ? "" : "SASL", mechanisms[i], i + 1 == n ? "\r\n" : "");
    if (settings->starttls && !p->s.peer.tls)
        buf_add_str(out, "STLS\r\n");
    buf_add_str(out, "IMPLEMENTATION Eider\r\n");
}
