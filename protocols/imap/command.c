/* SPDX-License-Identifier: MPL-2.0 */
/* The table of commands. To add one: a row here, its rules in rules.c, its handler in a cmd_*.c. */
#include "protocols/imap/impl.h"

#include "lib/base/mem.h"

const struct command_row imap_commands[] = {
    {"CAPABILITY", IMAP_ANY, 0, imap_rules_none, cmd_capability, "3501 6.1.1", NULL},
    {"NOOP", IMAP_ANY, CMD_PRESENT, imap_rules_none, cmd_noop, "3501 6.1.2", NULL},
    {"LOGOUT", IMAP_ANY, CMD_QUIET | CMD_ALONE, imap_rules_none, cmd_logout, "3501 6.1.3", NULL},
    {"ID", IMAP_ANY, 0, imap_rules_id, cmd_id, "2971", "ID"},

    {"STARTTLS", IMAP_NOT_AUTHENTICATED, CMD_ALONE, imap_rules_none, cmd_starttls, "3501 6.2.1",
     NULL},
    {"AUTHENTICATE", IMAP_NOT_AUTHENTICATED, CMD_ALONE, imap_rules_authenticate, cmd_authenticate,
     "3501 6.2.2, 4959", "SASL-IR"},
    {"LOGIN", IMAP_NOT_AUTHENTICATED, CMD_ALONE, imap_rules_login, cmd_login, "3501 6.2.3", NULL},

    {"UNAUTHENTICATE", IMAP_IN, CMD_QUIET | CMD_ALONE, imap_rules_none, cmd_unauthenticate, "8437",
     "UNAUTHENTICATE"},
    {"ENABLE", IMAP_IN, 0, imap_rules_enable, cmd_enable, "5161", "ENABLE"},
    {"SELECT", IMAP_IN, CMD_QUIET | CMD_ALONE, imap_rules_select, cmd_select, "3501 6.3.1, 7162",
     "CONDSTORE QRESYNC"},
    {"EXAMINE", IMAP_IN, CMD_QUIET | CMD_ALONE, imap_rules_select, cmd_examine, "3501 6.3.2", NULL},
    {"CREATE", IMAP_IN, 0, imap_rules_create, cmd_create, "3501 6.3.3, 6154 3",
     "CREATE-SPECIAL-USE"},
    {"DELETE", IMAP_IN, 0, imap_rules_mailbox, cmd_delete, "3501 6.3.4", NULL},
    {"RENAME", IMAP_IN, 0, imap_rules_rename, cmd_rename, "3501 6.3.5", NULL},
    {"SUBSCRIBE", IMAP_IN, 0, imap_rules_mailbox, cmd_subscribe, "3501 6.3.6", NULL},
    {"UNSUBSCRIBE", IMAP_IN, 0, imap_rules_mailbox, cmd_unsubscribe, "3501 6.3.7", NULL},
    {"LIST", IMAP_IN, 0, imap_rules_list, cmd_list, "3501 6.3.8, 3348, 5258, 6154",
     "SPECIAL-USE LIST-EXTENDED LIST-STATUS"},
    {"LSUB", IMAP_IN, 0, imap_rules_lsub, cmd_lsub, "3501 6.3.9", NULL},
    {"STATUS", IMAP_IN, 0, imap_rules_status, cmd_status, "3501 6.3.10, 8438", "STATUS=SIZE"},
    {"GETMETADATA", IMAP_IN, 0, imap_rules_getmetadata, cmd_getmetadata, "5464 4.2",
     "METADATA LIST-METADATA"},
    {"SETMETADATA", IMAP_IN, 0, imap_rules_setmetadata, cmd_setmetadata, "5464 4.3", NULL},
    {"GETQUOTA", IMAP_IN, 0, imap_rules_getquota, cmd_getquota, "9208 4.1.1",
     "QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE QUOTA=RES-MAILBOX"},
    {"GETQUOTAROOT", IMAP_IN, 0, imap_rules_mailbox, cmd_getquotaroot, "9208 4.1.2", NULL},
    {"SETQUOTA", IMAP_IN, 0, imap_rules_setquota, cmd_setquota, "9208 4.1.3", "QUOTASET"},
    {"APPEND", IMAP_IN, 0, imap_rules_append, cmd_append, "3501 6.3.11, 3502", "MULTIAPPEND"},
    {"GENURLAUTH", IMAP_IN, CMD_PIECES, imap_rules_genurlauth, cmd_genurlauth, "4467 7", "URLAUTH"},
    {"RESETKEY", IMAP_IN, CMD_PIECES, imap_rules_resetkey, cmd_resetkey, "4467 7", NULL},
    {"URLFETCH", IMAP_IN, CMD_PIECES, imap_rules_urlfetch, cmd_urlfetch, "4467 7, 5524",
     "URLAUTH=BINARY"},
    {"NAMESPACE", IMAP_IN, 0, imap_rules_none, cmd_namespace, "2342", "NAMESPACE"},
    /* RFC 5465 section 3.1: "a successful NOTIFY SET command implies an implicit NOOP command" */
    {"NOTIFY", IMAP_IN, CMD_PRESENT, imap_rules_notify, cmd_notify, "5465 3.1", "NOTIFY"},
    {"COMPRESS", IMAP_IN, CMD_QUIET | CMD_ALONE, imap_rules_compress, cmd_compress, "4978 3",
     "COMPRESS=DEFLATE"},
    {"IDLE", IMAP_IN, CMD_PRESENT, imap_rules_none, cmd_idle, "2177", "IDLE"},

    {"CHECK", IMAP_SELECTED, CMD_PRESENT | CMD_PIECES, imap_rules_none, cmd_noop, "3501 6.4.1",
     NULL},
    {"CLOSE", IMAP_SELECTED, CMD_QUIET | CMD_ALONE | CMD_PIECES, imap_rules_none, cmd_close,
     "3501 6.4.2", NULL},
    {"UNSELECT", IMAP_SELECTED, CMD_QUIET | CMD_ALONE | CMD_PIECES, imap_rules_none, cmd_unselect,
     "3691", "UNSELECT"},
    {"EXPUNGE", IMAP_SELECTED, CMD_NEEDS_WRITE | CMD_EXPUNGES | CMD_PIECES, imap_rules_none,
     cmd_expunge, "3501 6.4.3", NULL},
    {"UID EXPUNGE", IMAP_SELECTED, CMD_UID | CMD_NEEDS_WRITE | CMD_EXPUNGES | CMD_PIECES,
     imap_rules_set, cmd_expunge, "4315 2.1", "UIDPLUS"},
    {"SEARCH", IMAP_SELECTED, CMD_SEQ, imap_rules_search, cmd_search,
     "3501 6.4.4, 4731, 5182, 9394", "ESEARCH SEARCHRES WITHIN PARTIAL CONTEXT=SEARCH"},
    {"UID SEARCH", IMAP_SELECTED, CMD_UID, imap_rules_search, cmd_search, "3501 6.4.8", NULL},
    {"SORT", IMAP_SELECTED, CMD_SEQ, imap_rules_sort, cmd_sort, "5256 3, 5957, 5267 3",
     "SORT SORT=DISPLAY ESORT CONTEXT=SORT"},
    {"UID SORT", IMAP_SELECTED, CMD_UID, imap_rules_sort, cmd_sort, "5256 3", NULL},
    {"ESEARCH", IMAP_IN, CMD_UID, imap_rules_esearch, cmd_esearch, "7377", "MULTISEARCH"},
    {"CANCELUPDATE", IMAP_SELECTED, CMD_PIECES, imap_rules_cancelupdate, cmd_cancelupdate,
     "5267 4.3.5", NULL},
    {"THREAD", IMAP_SELECTED, CMD_SEQ, imap_rules_thread, cmd_thread, "5256 3",
     "THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS"},
    {"UID THREAD", IMAP_SELECTED, CMD_UID, imap_rules_thread, cmd_thread, "5256 3", NULL},
    {"UIDBATCHES", IMAP_SELECTED, CMD_UID | CMD_PIECES, imap_rules_uidbatches, cmd_uidbatches,
     "10022", "UIDBATCHES"},
    {"FETCH", IMAP_SELECTED, CMD_SEQ | CMD_PIECES, imap_rules_fetch, cmd_fetch, "3501 6.4.5", NULL},
    {"UID FETCH", IMAP_SELECTED, CMD_UID | CMD_PIECES, imap_rules_fetch, cmd_fetch, "3501 6.4.8",
     NULL},
    {"STORE", IMAP_SELECTED, CMD_SEQ | CMD_NEEDS_WRITE | CMD_PIECES, imap_rules_store, cmd_store,
     "3501 6.4.6", NULL},
    {"UID STORE", IMAP_SELECTED, CMD_UID | CMD_NEEDS_WRITE | CMD_PIECES, imap_rules_store,
     cmd_store, "3501 6.4.8", NULL},
    /* COPY and MOVE take sequence numbers, but RFC 3501 7.4.1 lets EXPUNGE be sent with COPY, and
     * MOVE must send it (RFC 6851 3.3). */
    {"COPY", IMAP_SELECTED, CMD_NUMBERS | CMD_PIECES, imap_rules_copy, cmd_copy, "3501 6.4.7",
     NULL},
    {"UID COPY", IMAP_SELECTED, CMD_UID | CMD_PIECES, imap_rules_copy, cmd_copy, "3501 6.4.8",
     NULL},
    /* and REPLACE does, once it is done (RFC 8508 3.4) */
    {"REPLACE", IMAP_SELECTED, CMD_NUMBERS | CMD_NEEDS_WRITE | CMD_EXPUNGES | CMD_PIECES,
     imap_rules_replace, cmd_replace, "8508 3.2", "REPLACE"},
    {"UID REPLACE", IMAP_SELECTED, CMD_UID | CMD_NEEDS_WRITE | CMD_EXPUNGES | CMD_PIECES,
     imap_rules_replace, cmd_replace, "8508 3.3", NULL},
    {"MOVE", IMAP_SELECTED, CMD_NUMBERS | CMD_NEEDS_WRITE | CMD_EXPUNGES | CMD_PIECES,
     imap_rules_copy, cmd_move, "6851 3.1", "MOVE"},
    {"UID MOVE", IMAP_SELECTED, CMD_UID | CMD_NEEDS_WRITE | CMD_EXPUNGES | CMD_PIECES,
     imap_rules_copy, cmd_move, "6851 3.2", NULL},
};
const size_t imap_commands_n = ARRAY_LEN(imap_commands);

size_t imap_command_count(void)
{
    return imap_commands_n;
}

const char *imap_command_name(size_t i)
{
    return imap_commands[i].name;
}

static const struct command_row *row_named(struct slice name)
{
    for (size_t i = 0; i < imap_commands_n; i++)
        if (slice_eq(name, slice_str(imap_commands[i].name)))
            return &imap_commands[i];
    return NULL;
}

const struct command_row *imap_command_row(const char *name)
{
    return row_named(slice_str(name));
}

const struct rule *imap_command_find_any(void *ctx, struct slice name, const void **ret_verb,
                                         struct error *err)
{
    const struct command_row *row = row_named(name);

    if (!row) {
        error_set(err, ERR_INVALID, "No command is called %.*s", SLICE_FMT(name));
        return NULL;
    }
    *ret_verb = row;
    return row->rules;
}

const struct rule *imap_command_find(void *ctx, struct slice name, const void **ret_verb,
                                     struct error *err)
{
    const struct imap *im = ctx;
    const struct command_row *row = row_named(name);

    if (row && !(row->states & im->state)) {
        error_set(err, ERR_INVALID, "%s is not possible now: %s", row->name,
                  im->state == IMAP_NOT_AUTHENTICATED    ? "log in first"
                  : row->states & IMAP_NOT_AUTHENTICATED ? "you are logged in"
                                                         : "select a mailbox first");
        return NULL;
    }
    return imap_command_find_any(ctx, name, ret_verb, err);
}
