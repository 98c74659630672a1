/* SPDX-License-Identifier: MPL-2.0 */
/* The grammar of all commands: RFC 3501 section 9 and its extensions, as tables. */
#include "protocols/imap/rules.h"

const struct rule imap_rules_none[] = {{RULE_END}};

/* --- login, options ----------------------------------------------------------------------------
 */

const struct rule imap_rules_login[] = {
    {RULE_ASTRING, 0, NULL, "a user name"},
    {RULE_ASTRING, 0, NULL, "a password"},
    {RULE_END},
};

const struct rule imap_rules_authenticate[] = {
    {RULE_ATOM, 0, NULL, "a mechanism"},
    {RULE_BASE64, RULE_OPTIONAL, NULL, "an initial response in base64"},
    {RULE_END},
};

/* RFC 2971 section 3.3; pairs are not enforced, as clients exist that send one string too few */
static const struct rule id_strings[] = {
    {RULE_NSTRING, RULE_OPTIONAL | RULE_MANY},
    {RULE_END},
};
static const struct word nil_word[] = {{"NIL", 0}, {NULL}};
static const struct rule id_choice[] = {
    {RULE_LIST, 0, id_strings},
    {RULE_WORD, 0, nil_word, "a list or NIL"},
    {RULE_END},
};
const struct rule imap_rules_id[] = {{RULE_CHOICE, 0, id_choice}, {RULE_END}};

const struct rule imap_rules_enable[] = {
    {RULE_ATOM, RULE_MANY, NULL, "a capability"},
    {RULE_END},
};

static const struct word compress_words[] = {{"DEFLATE", 0}, {NULL}};
const struct rule imap_rules_compress[] = {
    {RULE_WORD, 0, compress_words, "compression mechanism"},
    {RULE_END},
};

/* --- mailboxes ---------------------------------------------------------------------------------
 */

const struct rule imap_rules_mailbox[] = {{RULE_MAILBOX}, {RULE_END}};

/* RFC 7162 section 3.2.5: UIDVALIDITY, mod-sequence, known uids, numbers and their uids */
static const struct rule qresync_match[] = {
    {RULE_SET, 0, NULL, "known sequence numbers"},
    {RULE_SET, 0, NULL, "their UIDs"},
    {RULE_END},
};
static const struct rule qresync_inner[] = {
    {RULE_NUMBER, 0, NULL, "a UIDVALIDITY"},
    {RULE_NUMBER64, 0, NULL, "a mod-sequence"},
    {RULE_SET, RULE_OPTIONAL, NULL, "known UIDs"},
    {RULE_LIST, RULE_OPTIONAL, qresync_match},
    {RULE_END},
};
static const struct rule qresync_list[] = {{RULE_LIST, 0, qresync_inner}, {RULE_END}};
static const struct word select_words[] = {
    {"CONDSTORE", SELECT_CONDSTORE},           /* RFC 7162 section 3.1.8 */
    {"QRESYNC", SELECT_QRESYNC, qresync_list}, /* RFC 7162 section 3.2.5 */
    {NULL},
};
static const struct rule select_list[] = {
    {RULE_WORD, RULE_MANY, select_words, "SELECT parameter"},
    {RULE_END},
};
const struct rule imap_rules_select[] = {
    {RULE_MAILBOX},
    {RULE_LIST, RULE_OPTIONAL, select_list},
    {RULE_END},
};

static const struct rule use_inner[] = {
    {RULE_ATTRIBUTE, RULE_OPTIONAL | RULE_MANY, NULL, "a special use"},
    {RULE_END},
};
static const struct rule use_list[] = {{RULE_LIST, 0, use_inner}, {RULE_END}};
static const struct word create_words[] = {
    {"USE", CREATE_USE, use_list}, /* RFC 6154 section 3 */
    {NULL},
};
static const struct rule create_list[] = {
    {RULE_WORD, RULE_MANY, create_words, "CREATE parameter"},
    {RULE_END},
};
const struct rule imap_rules_create[] = {
    {RULE_MAILBOX},
    {RULE_LIST, RULE_OPTIONAL, create_list},
    {RULE_END},
};

const struct rule imap_rules_rename[] = {
    {RULE_MAILBOX, 0, NULL, "a mailbox name"},
    {RULE_MAILBOX, 0, NULL, "the new mailbox name"},
    {RULE_END},
};

static const struct word status_words[] = {
    {"MESSAGES", STATUS_MESSAGES},
    {"RECENT", STATUS_RECENT},
    {"UIDNEXT", STATUS_UIDNEXT},
    {"UIDVALIDITY", STATUS_UIDVALIDITY},
    {"UNSEEN", STATUS_UNSEEN},
    {"HIGHESTMODSEQ", STATUS_HIGHESTMODSEQ},     /* RFC 7162 section 3.1.7 */
    {"DELETED", STATUS_DELETED},                 /* RFC 9051 section 6.3.11 */
    {"SIZE", STATUS_SIZE},                       /* RFC 8438 */
    {"MAILBOXID", STATUS_MAILBOXID},             /* RFC 8474 section 4.3 */
    {"APPENDLIMIT", STATUS_APPENDLIMIT},         /* RFC 7889 section 3.1 */
    {"DELETED-STORAGE", STATUS_DELETED_STORAGE}, /* RFC 9208 section 4.1.4 */
    {NULL},
};
static const struct rule status_inner[] = {
    {RULE_WORD, RULE_MANY, status_words, "status item"},
    {RULE_END},
};
static const struct rule status_list[] = {
    {RULE_LIST, 0, status_inner, "a list of status items"},
    {RULE_END},
};

/* RFC 5464 section 5. The options stand before the mailbox in its grammar, behind it in its
 * examples: both are taken. */
static const struct rule metadata_maxsize[] = {{RULE_NUMBER}, {RULE_END}};
static const struct word depth_words[] = {
    {"0", DEPTH_0}, {"1", DEPTH_1}, {"INFINITY", DEPTH_INFINITY}, {NULL}};
static const struct rule metadata_depth[] = {{RULE_WORD, 0, depth_words, "depth"}, {RULE_END}};
static const struct word metadata_options[] = {
    {"MAXSIZE", METADATA_MAXSIZE, metadata_maxsize},
    {"DEPTH", METADATA_DEPTH, metadata_depth},
    {NULL},
};
static const struct rule metadata_option_list[] = {
    {RULE_WORD, RULE_MANY, metadata_options, "GETMETADATA option"},
    {RULE_END},
};
static const struct rule metadata_entry_list[] = {
    {RULE_ASTRING, RULE_MANY, NULL, "an entry"},
    {RULE_END},
};
static const struct rule metadata_entries[] = {
    {RULE_LIST, 0, metadata_entry_list},
    {RULE_ASTRING, 0, NULL, "an entry"},
    {RULE_END},
};
static const struct rule metadata_either_item[] = {
    {RULE_WORD, 0, metadata_options},
    {RULE_ASTRING, 0, NULL, "an entry or a GETMETADATA option"},
    {RULE_END},
};
static const struct rule metadata_either_list[] = {
    {RULE_CHOICE, RULE_MANY, metadata_either_item},
    {RULE_END},
};
static const struct rule metadata_either[] = {
    {RULE_LIST, 0, metadata_either_list},
    {RULE_ASTRING, 0, NULL, "an entry"},
    {RULE_END},
};
const struct rule imap_rules_getmetadata[] = {
    {RULE_LIST, RULE_OPTIONAL, metadata_option_list},
    {RULE_MAILBOX},
    {RULE_CHOICE, 0, metadata_either, "entries"},
    {RULE_CHOICE, RULE_OPTIONAL, metadata_entries, "entries"},
    {RULE_END},
};
static const struct rule metadata_pair[] = {
    {RULE_ASTRING, 0, NULL, "an entry"},
    {RULE_VALUE, 0, NULL, "a value"},
    {RULE_END},
};
static const struct rule metadata_pairs[] = {
    {RULE_GROUP, RULE_MANY, metadata_pair},
    {RULE_END},
};
const struct rule imap_rules_setmetadata[] = {
    {RULE_MAILBOX},
    {RULE_LIST, 0, metadata_pairs, "a list of entries and values"},
    {RULE_END},
};

/* RFC 9208 section 7 */
const struct rule imap_rules_getquota[] = {{RULE_ASTRING, 0, NULL, "a quota root"}, {RULE_END}};
static const struct rule quota_resource[] = {
    {RULE_ATOM, 0, NULL, "a resource"},
    {RULE_NUMBER64, 0, NULL, "a limit"},
    {RULE_END},
};
static const struct rule quota_resources[] = {
    {RULE_GROUP, RULE_OPTIONAL | RULE_MANY, quota_resource},
    {RULE_END},
};
const struct rule imap_rules_setquota[] = {
    {RULE_ASTRING, 0, NULL, "a quota root"},
    {RULE_LIST, 0, quota_resources, "a list of limits"},
    {RULE_END},
};

/* RFC 5258 section 6 */
static const struct word list_select_words[] = {
    {"SUBSCRIBED", LIST_SUBSCRIBED}, {"SPECIAL-USE", LIST_SPECIAL_USE}, /* RFC 6154 section 5.2 */
    {"REMOTE", LIST_REMOTE},         {"RECURSIVEMATCH", LIST_RECURSIVEMATCH}, {NULL},
};
static const struct rule list_select[] = {
    {RULE_WORD, RULE_OPTIONAL | RULE_MANY, list_select_words, "LIST selection option"},
    {RULE_END},
};
static const struct rule list_metadata[] = {
    {RULE_CHOICE, 0, metadata_entries, "entries"},
    {RULE_END},
};
static const struct word list_return_words[] = {
    {"SUBSCRIBED", LIST_SUBSCRIBED},
    {"CHILDREN", LIST_CHILDREN},
    {"SPECIAL-USE", LIST_SPECIAL_USE},
    {"STATUS", LIST_STATUS, status_list},       /* RFC 5819 */
    {"METADATA", LIST_METADATA, list_metadata}, /* RFC 9590 */
    {NULL},
};
static const struct rule list_return_inner[] = {
    {RULE_WORD, RULE_OPTIONAL | RULE_MANY, list_return_words, "LIST return option"},
    {RULE_END},
};
static const struct rule list_return_list[] = {{RULE_LIST, 0, list_return_inner}, {RULE_END}};
static const struct word list_return[] = {{"RETURN", LIST_RETURN, list_return_list}, {NULL}};
static const struct rule list_patterns[] = {
    {RULE_PATTERN, RULE_MANY},
    {RULE_END},
};
static const struct rule list_pattern_choice[] = {
    {RULE_LIST, 0, list_patterns},
    {RULE_PATTERN},
    {RULE_END},
};
const struct rule imap_rules_list[] = {
    {RULE_LIST, RULE_OPTIONAL, list_select},
    {RULE_MAILBOX, 0, NULL, "a reference name"},
    {RULE_CHOICE, 0, list_pattern_choice, "a mailbox pattern"},
    {RULE_WORD, RULE_OPTIONAL, list_return},
    {RULE_END},
};
const struct rule imap_rules_lsub[] = {
    {RULE_MAILBOX, 0, NULL, "a reference name"},
    {RULE_PATTERN},
    {RULE_END},
};

const struct rule imap_rules_status[] = {
    {RULE_MAILBOX},
    {RULE_LIST, 0, status_inner, "a list of status items"},
    {RULE_END},
};

/* --- messages ----------------------------------------------------------------------------------
 */

/* RFC 6855 section 4: "UTF8 (~{n}" here, ")" behind the literal */
static const struct rule utf8_literal[] = {{RULE_STREAM, 0, NULL, "a literal"}, {RULE_END}};
static const struct rule utf8_list[] = {{RULE_LIST, 0, utf8_literal}, {RULE_END}};

/* RFC 4469 section 5. Where a TEXT comes, its literal ends what is read here, and
 * imap_rules_append_more goes on; where all are URLs, what may follow the list (RFC 3502) is
 * behind it. */
static const struct rule append_data[];
static const struct rule url_rules[] = {{RULE_ASTRING, 0, NULL, "a URL"}, {RULE_END}};
static const struct word catenate_parts[] = {
    {"TEXT", CATENATE_TEXT, utf8_literal},
    {"URL", CATENATE_URL, url_rules},
    {NULL},
};
static const struct rule catenate_list[] = {
    {RULE_WORD, RULE_MANY, catenate_parts, "TEXT or URL"},
    {RULE_END},
};
static const struct rule catenate_rules[] = {
    {RULE_LIST, 0, catenate_list},
    {RULE_FLAG_LIST, RULE_OPTIONAL},
    {RULE_DATE_TIME, RULE_OPTIONAL},
    {RULE_CHOICE, RULE_OPTIONAL, append_data},
    {RULE_END},
};
static const struct word append_words[] = {
    {"UTF8", APPEND_UTF8, utf8_list},
    {"CATENATE", APPEND_CATENATE, catenate_rules},
    {NULL},
};
static const struct rule append_data[] = {
    {RULE_WORD, 0, append_words},
    {RULE_STREAM, 0, NULL, "a literal"},
    {RULE_END},
};
const struct rule imap_rules_append[] = {
    {RULE_MAILBOX},
    {RULE_FLAG_LIST, RULE_OPTIONAL},
    {RULE_DATE_TIME, RULE_OPTIONAL},
    {RULE_CHOICE, 0, append_data, "a literal"},
    {RULE_END},
};

/* RFC 8508 section 5; the set must be one number */
const struct rule imap_rules_replace[] = {
    {RULE_SET, 0, NULL, "the number of a message"},
    {RULE_MAILBOX},
    {RULE_FLAG_LIST, RULE_OPTIONAL},
    {RULE_DATE_TIME, RULE_OPTIONAL},
    {RULE_CHOICE, 0, append_data, "a literal"},
    {RULE_END},
};

/* Behind a message: the end, or (RFC 3502) another one. */
const struct rule imap_rules_append_more[] = {
    {RULE_WORD, RULE_OPTIONAL | RULE_MANY, catenate_parts, "TEXT or URL"},
    {RULE_CLOSE, RULE_OPTIONAL | RULE_TIGHT},
    {RULE_FLAG_LIST, RULE_OPTIONAL},
    {RULE_DATE_TIME, RULE_OPTIONAL},
    {RULE_CHOICE, RULE_OPTIONAL, append_data},
    {RULE_END},
};

/* --- URLAUTH: RFC 4467 section 9, RFC 5524 section 5 -------------------------------------------
 */

static const struct rule genurlauth_pair[] = {
    {RULE_ASTRING, 0, NULL, "a URL"},
    {RULE_ATOM, 0, NULL, "a mechanism"},
    {RULE_END},
};
const struct rule imap_rules_genurlauth[] = {
    {RULE_GROUP, RULE_MANY, genurlauth_pair},
    {RULE_END},
};

const struct rule imap_rules_resetkey[] = {
    {RULE_MAILBOX, RULE_OPTIONAL},
    {RULE_ATOM, RULE_OPTIONAL | RULE_MANY, NULL, "a mechanism"},
    {RULE_END},
};

static const struct word urlfetch_words[] = {
    {"BODY", URLFETCH_BODY},
    {"BINARY", URLFETCH_BINARY},
    {"BODYPARTSTRUCTURE", URLFETCH_STRUCTURE},
    {NULL},
};
static const struct rule urlfetch_list[] = {
    {RULE_ASTRING, 0, NULL, "a URL"},
    {RULE_WORD, RULE_OPTIONAL | RULE_MANY, urlfetch_words, "URLFETCH item"},
    {RULE_END},
};
static const struct rule urlfetch_choice[] = {
    {RULE_LIST, 0, urlfetch_list},
    {RULE_ASTRING, 0, NULL, "a URL"},
    {RULE_END},
};
const struct rule imap_rules_urlfetch[] = {
    {RULE_CHOICE, RULE_MANY, urlfetch_choice, "a URL"},
    {RULE_END},
};

/* --- sets, and what is done to them ------------------------------------------------------------
 */

const struct rule imap_rules_set[] = {{RULE_SET}, {RULE_END}};

const struct rule imap_rules_copy[] = {{RULE_SET}, {RULE_MAILBOX}, {RULE_END}};

static const struct rule body_rules[] = {
    {RULE_SECTION, RULE_OPTIONAL | RULE_TIGHT},
    {RULE_PARTIAL, RULE_OPTIONAL | RULE_TIGHT},
    {RULE_END},
};
static const struct rule peek_rules[] = {
    {RULE_SECTION, RULE_TIGHT},
    {RULE_PARTIAL, RULE_OPTIONAL | RULE_TIGHT},
    {RULE_END},
};
static const struct rule size_rules[] = {{RULE_SECTION, RULE_TIGHT}, {RULE_END}};
/* RFC 8970 section 3.1. "PREVIEW (CHANGEDSINCE 5)" is the list of FETCH's own modifiers. */
static const struct word preview_words[] = {{"LAZY", 0}, {NULL}};
static const struct rule preview_list[] = {
    {RULE_WORD, RULE_MANY, preview_words, "PREVIEW modifier"},
    {RULE_END},
};
static const struct rule preview_rules[] = {
    {RULE_LIST, RULE_OPTIONAL | RULE_LOOK, preview_list},
    {RULE_END},
};
#define FETCH_ITEMS                                                                                \
    {"UID", FETCH_UID}, {"FLAGS", FETCH_FLAGS}, {"INTERNALDATE", FETCH_INTERNALDATE},              \
        {"RFC822.SIZE", FETCH_SIZE}, {"MODSEQ", FETCH_MODSEQ}, {"ENVELOPE", FETCH_ENVELOPE},       \
        {"BODYSTRUCTURE", FETCH_BODYSTRUCTURE}, {"BODY", FETCH_BODY, body_rules},                  \
        {"BODY.PEEK", FETCH_BODY_PEEK, peek_rules}, {"RFC822", FETCH_RFC822},                      \
        {"RFC822.HEADER", FETCH_RFC822_HEADER}, {"RFC822.TEXT", FETCH_RFC822_TEXT},                \
        {"RFC822.PEEK", FETCH_RFC822_PEEK}, {"RFC822.TEXT.PEEK", FETCH_RFC822_TEXT_PEEK},          \
        {"SAVEDATE", FETCH_SAVEDATE}, {"PREVIEW", FETCH_PREVIEW, preview_rules},                   \
        {"EMAILID", FETCH_EMAILID}, {"THREADID", FETCH_THREADID},                                  \
        {"BINARY", FETCH_BINARY, peek_rules}, {"BINARY.PEEK", FETCH_BINARY_PEEK, peek_rules},      \
        {"BINARY.SIZE", FETCH_BINARY_SIZE, size_rules},
static const struct word fetch_words[] = {FETCH_ITEMS{NULL}};
static const struct word fetch_words_alone[] = {
    FETCH_ITEMS{"ALL", FETCH_ALL}, {"FULL", FETCH_FULL}, {"FAST", FETCH_FAST}, {NULL}};
static const struct rule fetch_list[] = {
    {RULE_WORD, RULE_MANY, fetch_words, "FETCH item"},
    {RULE_END},
};
static const struct rule fetch_choice[] = {
    {RULE_LIST, 0, fetch_list},
    {RULE_WORD, 0, fetch_words_alone, "FETCH item"},
    {RULE_END},
};
static const struct rule modseq_rules[] = {{RULE_NUMBER64, 0, NULL, "a mod-sequence"}, {RULE_END}};
static const struct rule range_rules[] = {{RULE_RANGE}, {RULE_END}};
static const struct word fetch_modifiers[] = {
    {"CHANGEDSINCE", FETCH_CHANGEDSINCE, modseq_rules}, /* RFC 7162 section 3.1.4.1 */
    {"PARTIAL", FETCH_PARTIAL, range_rules},            /* RFC 9394 section 3.3 */
    {"VANISHED", FETCH_VANISHED},                       /* RFC 7162 section 3.2.6 */
    {NULL},
};
static const struct rule fetch_modifier_list[] = {
    {RULE_WORD, RULE_MANY, fetch_modifiers, "FETCH modifier"},
    {RULE_END},
};
const struct rule imap_rules_fetch[] = {
    {RULE_SET},
    {RULE_CHOICE, 0, fetch_choice, "a FETCH item"},
    {RULE_LIST, RULE_OPTIONAL, fetch_modifier_list},
    {RULE_END},
};

/* --- NOTIFY: RFC 5465 section 8 ----------------------------------------------------------------
 */

static const struct rule filter_name_list[] = {{RULE_MAILBOX, RULE_MANY}, {RULE_END}};
static const struct rule filter_name_choice[] = {
    {RULE_LIST, 0, filter_name_list},
    {RULE_MAILBOX},
    {RULE_END},
};
static const struct rule filter_names[] = {
    {RULE_CHOICE, 0, filter_name_choice, "mailbox names"},
    {RULE_END},
};
#define FILTERS                                                                                    \
    {"SELECTED", FILTER_SELECTED}, {"SELECTED-DELAYED", FILTER_SELECTED_DELAYED},                  \
        {"INBOXES", FILTER_INBOXES}, {"PERSONAL", FILTER_PERSONAL},                                \
        {"SUBSCRIBED", FILTER_SUBSCRIBED}, {"SUBTREE", FILTER_SUBTREE, filter_names},              \
        {"MAILBOXES", FILTER_MAILBOXES, filter_names},
static const struct word notify_filters[] = {FILTERS{NULL}};
static const struct rule pushed_fetch[] = {{RULE_LIST, RULE_OPTIONAL, fetch_list}, {RULE_END}};
static const struct word notify_events[] = {
    {"MESSAGENEW", NOTIFY_MESSAGE_NEW, pushed_fetch},
    {"MESSAGEEXPUNGE", NOTIFY_MESSAGE_EXPUNGE},
    {"FLAGCHANGE", NOTIFY_FLAG_CHANGE},
    {"MAILBOXNAME", NOTIFY_MAILBOX_NAME},
    {"SUBSCRIPTIONCHANGE", NOTIFY_SUBSCRIPTION},
    {"MAILBOXMETADATACHANGE", NOTIFY_MAILBOX_METADATA},
    {"SERVERMETADATACHANGE", NOTIFY_SERVER_METADATA},
    {NULL},
};
/* "If the client requests information for events of an unsupported type, the server MUST refuse the
 * command with a tagged NO response (not a BAD)": any atom will do. */
static const struct rule notify_event_choice[] = {
    {RULE_WORD, 0, notify_events},
    {RULE_ATOM, 0, NULL, "an event"},
    {RULE_END},
};
static const struct rule notify_event_list[] = {
    {RULE_CHOICE, RULE_MANY, notify_event_choice, "an event"},
    {RULE_END},
};
static const struct word none_word[] = {{"NONE", NOTIFY_NONE}, {NULL}};
static const struct rule notify_events_choice[] = {
    {RULE_LIST, 0, notify_event_list},
    {RULE_WORD, 0, none_word, "a list of events or NONE"},
    {RULE_END},
};
static const struct rule notify_group[] = {
    {RULE_WORD, 0, notify_filters, "mailbox specifier"},
    {RULE_CHOICE, 0, notify_events_choice, "a list of events"},
    {RULE_END},
};
static const struct word notify_status[] = {{"STATUS", NOTIFY_STATUS}, {NULL}};
static const struct rule notify_set[] = {
    {RULE_WORD, RULE_OPTIONAL, notify_status},
    {RULE_LIST, RULE_MANY, notify_group, "a list of a mailbox specifier and events"},
    {RULE_END},
};
static const struct word notify_words[] = {
    {"NONE", NOTIFY_NONE},
    {"SET", NOTIFY_SET, notify_set},
    {NULL},
};
const struct rule imap_rules_notify[] = {
    {RULE_WORD, 0, notify_words, "SET or NONE"},
    {RULE_END},
};

/* RFC 10022 section 4: the size of a batch, and perhaps a range of batches */
const struct rule imap_rules_uidbatches[] = {
    {RULE_NUMBER, 0, NULL, "the messages of a batch"},
    {RULE_SET, RULE_OPTIONAL, NULL, "a range of batches"},
    {RULE_END},
};

/* --- STORE -------------------------------------------------------------------------------------
 */

static const struct word store_words[] = {
    {"FLAGS", STORE_SET},
    {"+FLAGS", STORE_ADD},
    {"-FLAGS", STORE_REMOVE},
    {"FLAGS.SILENT", STORE_SET | STORE_SILENT},
    {"+FLAGS.SILENT", STORE_ADD | STORE_SILENT},
    {"-FLAGS.SILENT", STORE_REMOVE | STORE_SILENT},
    {NULL},
};
static const struct word store_modifiers[] = {
    {"UNCHANGEDSINCE", STORE_UNCHANGEDSINCE, modseq_rules}, /* RFC 7162 section 3.1.3 */
    {NULL},
};
static const struct rule store_modifier_list[] = {
    {RULE_WORD, RULE_MANY, store_modifiers, "STORE modifier"},
    {RULE_END},
};
const struct rule imap_rules_store[] = {
    {RULE_SET},
    {RULE_LIST, RULE_OPTIONAL, store_modifier_list},
    {RULE_WORD, 0, store_words, "STORE item"},
    {RULE_FLAGS},
    {RULE_END},
};

/* --- SEARCH ------------------------------------------------------------------------------------
 */

static const struct word search_words[];
static const struct rule search_key_choice[];
static const struct rule search_keys[] = {
    {RULE_CHOICE, RULE_MANY, search_key_choice, "a search key"},
    {RULE_END},
};
static const struct rule search_key_choice[] = {
    {RULE_LIST, 0, search_keys},
    {RULE_SET},
    {RULE_WORD, 0, search_words, "search key"},
    {RULE_END},
};
static const struct rule search_one[] = {{RULE_CHOICE, 0, search_key_choice}, {RULE_END}};
static const struct rule search_two[] = {
    {RULE_CHOICE, 0, search_key_choice},
    {RULE_CHOICE, 0, search_key_choice},
    {RULE_END},
};
static const struct rule search_string[] = {{RULE_ASTRING}, {RULE_END}};
static const struct rule search_header[] = {
    {RULE_ASTRING, 0, NULL, "a header field name"},
    {RULE_ASTRING},
    {RULE_END},
};
static const struct rule search_atom[] = {{RULE_ATOM, 0, NULL, "a keyword"}, {RULE_END}};
static const struct rule search_date[] = {{RULE_DATE}, {RULE_END}};
/* RFC 9051 section 9: LARGER and SMALLER take a number64 */
static const struct rule search_number[] = {{RULE_NUMBER64}, {RULE_END}};
static const struct rule search_uid[] = {{RULE_NUMBER, 0, NULL, "a UID"}, {RULE_END}};
static const struct rule search_interval[] = {{RULE_NUMBER, 0, NULL, "seconds"}, {RULE_END}};

static const struct rule search_id[] = {{RULE_ASTRING, 0, NULL, "an object id"}, {RULE_END}};

/* RFC 7162 section 3.1.5: [entry-name entry-type-req] mod-sequence-valzer; flags have one
 * mod-sequence here, so which flag is named makes no difference */
static const struct word entry_types[] = {{"PRIV", 1}, {"SHARED", 2}, {"ALL", 3}, {NULL}};
static const struct rule search_modseq[] = {
    {RULE_STRING, RULE_OPTIONAL},
    {RULE_WORD, RULE_OPTIONAL, entry_types},
    {RULE_NUMBER64, 0, NULL, "a mod-sequence"},
    {RULE_END},
};

#define IS(flag)     (SEARCH_FLAG | (flag) << 8)
#define IS_NOT(flag) (SEARCH_UNFLAG | (flag) << 8)
static const struct word search_words[] = {
    {"ALL", SEARCH_ALL},
    {"ANSWERED", IS(FLAG_ANSWERED)},
    {"BCC", SEARCH_BCC, search_string},
    {"BEFORE", SEARCH_BEFORE, search_date},
    {"BODY", SEARCH_BODY, search_string},
    {"CC", SEARCH_CC, search_string},
    {"DELETED", IS(FLAG_DELETED)},
    {"DRAFT", IS(FLAG_DRAFT)},
    {"EMAILID", SEARCH_EMAILID, search_id},
    {"FLAGGED", IS(FLAG_FLAGGED)},
    {"FROM", SEARCH_FROM, search_string},
    {"HEADER", SEARCH_HEADER, search_header},
    {"KEYWORD", SEARCH_KEYWORD, search_atom},
    {"LARGER", SEARCH_LARGER, search_number},
    {"MODSEQ", SEARCH_MODSEQ, search_modseq},
    {"NEW", SEARCH_NEW},
    {"NOT", SEARCH_NOT, search_one},
    {"OLD", SEARCH_OLD},
    {"OLDER", SEARCH_OLDER, search_interval},
    {"ON", SEARCH_ON, search_date},
    {"OR", SEARCH_OR, search_two},
    {"RECENT", SEARCH_RECENT},
    {"SAVEDATESUPPORTED", SEARCH_SAVEDATESUPPORTED},
    {"SAVEDBEFORE", SEARCH_SAVEDBEFORE, search_date},
    {"SAVEDON", SEARCH_SAVEDON, search_date},
    {"SAVEDSINCE", SEARCH_SAVEDSINCE, search_date},
    {"SEEN", IS(FLAG_SEEN)},
    {"SENTBEFORE", SEARCH_SENTBEFORE, search_date},
    {"SENTON", SEARCH_SENTON, search_date},
    {"SENTSINCE", SEARCH_SENTSINCE, search_date},
    {"SINCE", SEARCH_SINCE, search_date},
    {"SMALLER", SEARCH_SMALLER, search_number},
    {"SUBJECT", SEARCH_SUBJECT, search_string},
    {"TEXT", SEARCH_TEXT, search_string},
    {"THREADID", SEARCH_THREADID, search_id},
    {"TO", SEARCH_TO, search_string},
    {"UID", SEARCH_UID, imap_rules_set},
    {"UIDAFTER", SEARCH_UIDAFTER, search_uid}, /* RFC 9738 */
    {"UIDBEFORE", SEARCH_UIDBEFORE, search_uid},
    {"UNANSWERED", IS_NOT(FLAG_ANSWERED)},
    {"UNDELETED", IS_NOT(FLAG_DELETED)},
    {"UNDRAFT", IS_NOT(FLAG_DRAFT)},
    {"UNFLAGGED", IS_NOT(FLAG_FLAGGED)},
    {"UNKEYWORD", SEARCH_UNKEYWORD, search_atom},
    {"UNSEEN", IS_NOT(FLAG_SEEN)},
    {"YOUNGER", SEARCH_YOUNGER, search_interval},
    {NULL},
};
static const struct rule charset_rules[] = {{RULE_ASTRING, 0, NULL, "a charset"}, {RULE_END}};
static const struct word charset_word[] = {{"CHARSET", SEARCH_CHARSET, charset_rules}, {NULL}};
/* RFC 4731 section 4; PARTIAL: RFC 9394 section 4, in its older form RFC 5267 section 5 */
static const struct word return_words[] = {
    {"MIN", RETURN_MIN},
    {"MAX", RETURN_MAX},
    {"ALL", RETURN_ALL},
    {"COUNT", RETURN_COUNT},
    {"SAVE", RETURN_SAVE}, /* RFC 5182 */
    {"PARTIAL", RETURN_PARTIAL, range_rules},
    {"CONTEXT", RETURN_CONTEXT},             /* RFC 5267 section 4 */
    {"UPDATE", RETURN_UPDATE, pushed_fetch}, /* with FETCH items: RFC 5465 section 7 */
    {NULL},
};
static const struct rule return_inner[] = {
    {RULE_WORD, RULE_OPTIONAL | RULE_MANY, return_words, "result option"},
    {RULE_END},
};
static const struct rule return_list[] = {{RULE_LIST, 0, return_inner}, {RULE_END}};
static const struct word return_word[] = {{"RETURN", 1, return_list}, {NULL}};
const struct rule imap_rules_search[] = {
    {RULE_WORD, RULE_OPTIONAL, return_word},
    {RULE_WORD, RULE_OPTIONAL, charset_word},
    {RULE_CHOICE, RULE_MANY, search_key_choice, "a search key"},
    {RULE_END},
};

/* RFC 7377 section 2.2; no scope options are defined yet */
static const struct word esearch_filters[] = {
    FILTERS{"SUBTREE-ONE", FILTER_SUBTREE_ONE, filter_names}, {NULL}};
static const struct rule esearch_in[] = {
    {RULE_WORD, RULE_MANY, esearch_filters, "mailbox specifier"},
    {RULE_LIST, RULE_OPTIONAL, imap_rules_none},
    {RULE_END},
};
static const struct rule esearch_in_list[] = {{RULE_LIST, 0, esearch_in}, {RULE_END}};
static const struct word esearch_word[] = {{"IN", 1, esearch_in_list}, {NULL}};
const struct rule imap_rules_esearch[] = {
    {RULE_WORD, RULE_OPTIONAL, esearch_word},
    {RULE_WORD, RULE_OPTIONAL, return_word},
    {RULE_WORD, RULE_OPTIONAL, charset_word},
    {RULE_CHOICE, RULE_MANY, search_key_choice, "a search key"},
    {RULE_END},
};

/* RFC 5267 section 5: "CANCELUPDATE" 1*(SP quoted) */
const struct rule imap_rules_cancelupdate[] = {
    {RULE_ASTRING, RULE_MANY, NULL, "a tag"},
    {RULE_END},
};

/* --- SORT, THREAD: RFC 5256 section 5 ----------------------------------------------------------
 */

#define SORT_KEYS                                                                                  \
    {"ARRIVAL", SORT_ARRIVAL}, {"CC", SORT_CC}, {"DATE", SORT_DATE}, {"FROM", SORT_FROM},          \
        {"SIZE", SORT_SIZE}, {"SUBJECT", SORT_SUBJECT}, {"TO", SORT_TO},                           \
        {"DISPLAYFROM", SORT_DISPLAYFROM}, {"DISPLAYTO", SORT_DISPLAYTO}, /* RFC 5957 */
static const struct word sort_keys[] = {SORT_KEYS{NULL}};
static const struct rule sort_key[] = {{RULE_WORD, 0, sort_keys, "sort key"}, {RULE_END}};
static const struct word sort_criteria[] = {SORT_KEYS{"REVERSE", SORT_REVERSE, sort_key}, {NULL}};
static const struct rule sort_list[] = {
    {RULE_WORD, RULE_MANY, sort_criteria, "sort criterion"},
    {RULE_END},
};
const struct rule imap_rules_sort[] = {
    {RULE_WORD, RULE_OPTIONAL, return_word}, /* RFC 5267 section 5 */
    {RULE_LIST, 0, sort_list, "a list of sort criteria"},
    {RULE_ASTRING, 0, NULL, "a charset"},
    {RULE_CHOICE, RULE_MANY, search_key_choice, "a search key"},
    {RULE_END},
};

static const struct word thread_words[] = {
    {"ORDEREDSUBJECT", THREAD_ORDEREDSUBJECT},
    {"REFERENCES", THREAD_REFERENCES},
    {"REFS", THREAD_REFS},
    {NULL},
};
const struct rule imap_rules_thread[] = {
    {RULE_WORD, 0, thread_words, "threading algorithm"},
    {RULE_ASTRING, 0, NULL, "a charset"},
    {RULE_CHOICE, RULE_MANY, search_key_choice, "a search key"},
    {RULE_END},
};
