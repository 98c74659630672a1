/* SPDX-License-Identifier: MPL-2.0 */
/* rules: the grammar of IMAP commands as data, and the tree that parsing gives.
 *
 * A command's arguments are an array of rules, ended by RULE_END. Each rule gives exactly one node
 * (struct arg), in order; a rule left out (RULE_OPTIONAL) gives a node of kind RULE_END, so a
 * handler finds its arguments by number. Between two rules stands one blank unless the second is
 * RULE_TIGHT. What a FETCH item, SEARCH key or option is called and takes is a row of a word table:
 *
 *   static const struct word fetch_words[] = {
 *       {"FLAGS", FETCH_FLAGS},
 *       {"BODY", FETCH_BODY, body_rules},          rules for what follows the word
 *
 * To add an extension's key or item: a row in rules.c and its value in the enum here; to add a
 * command: its rules, and a row in command.c.
 */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/bytes.h"
#include "lib/mail/view.h"

enum rule_kind {
    RULE_END = 0,
    RULE_ATOM,      /* text */
    RULE_ASTRING,   /* text */
    RULE_STRING,    /* text: quoted or literal */
    RULE_NSTRING,   /* text; NIL: text.p is NULL */
    RULE_MAILBOX,   /* text: UTF-8 in NFC, INBOX in upper case; `malformed` if no modified UTF-7 */
    RULE_PATTERN,   /* list-mailbox; text: UTF-8 with its wildcards; `malformed` */
    RULE_BASE64,    /* text as it came; "=" is the empty one (RFC 4959) */
    RULE_NUMBER,    /* number: 32 bits */
    RULE_NUMBER64,  /* number: 63 bits (RFC 7162) */
    RULE_SET,       /* set: a sequence set; "$" is the saved result (RFC 5182) */
    RULE_RANGE,     /* range: "1:10" or "-1:-10", positions in a result (RFC 9394) */
    RULE_FLAGS,     /* flags: in parentheses, or bare ones up to the end */
    RULE_FLAG_LIST, /* flags: in parentheses only */
    RULE_DATE,      /* date: seconds at 0:00 of the day, no zone */
    RULE_DATE_TIME, /* date: seconds since 1970 UTC */
    RULE_SECTION,   /* section: "[...]" of BODY */
    RULE_PARTIAL,   /* partial: "<offset.count>", 63 bits each (RFC 9051) */
    RULE_STREAM,    /* number: a literal that is not kept but streamed to the handler */
    RULE_CLOSE,     /* ")" of a list that was opened before a streamed literal */
    RULE_WORD,      /* word: the value of the row; items: what its rules gave */
    RULE_LIST,      /* "(" rules ")"; items */
    RULE_ATTRIBUTE, /* text: "\\" and an atom, as "\Sent" */
    RULE_VALUE,     /* text: quoted, literal or literal8 (RFC 3516); NIL: text.p is NULL */
    RULE_GROUP,     /* rules one after the other, as of RULE_MANY pairs; items */
    RULE_CHOICE,    /* the first of the rules that can begin here; gives that one's node */
};

enum { /* flags of a rule */
       RULE_OPTIONAL = 1,
       RULE_MANY =
           2, /* once or more, parted by blanks: one node of this kind, items are the matches */
       RULE_TIGHT = 4, /* no blank before it */
       RULE_LOOK =
           8, /* an optional LIST: left out unless its first rule can begin behind the "(" */
};

struct rule {
    enum rule_kind kind;
    unsigned flags;
    const void *of;   /* WORD: struct word[]; LIST, GROUP, CHOICE: struct rule[] */
    const char *what; /* for people: "user name" */
};

struct word {
    const char *name; /* upper case; NULL ends the table */
    int value;
    const struct rule *rules; /* of what follows, a blank before the first unless it is tight */
};

enum section_kind {
    SECTION_ALL,
    SECTION_HEADER,
    SECTION_FIELDS,
    SECTION_FIELDS_NOT,
    SECTION_TEXT,
    SECTION_MIME,
};

struct imap_section {
    uint32_t *numbers; /* of the part */
    size_t n_numbers;
    enum section_kind kind;
    struct slice *fields;
    size_t n_fields;
    struct slice text; /* as it is answered: without the brackets, in upper case but for fields */
};

struct arg {
    enum rule_kind kind; /* RULE_END: left out */
    bool many;           /* of a RULE_MANY: items are the matches */
    bool malformed;      /* MAILBOX, PATTERN */
    bool binary;         /* STREAM: a literal8 (RFC 3516 section 7) */
    int word;            /* WORD */
    struct slice text;
    struct slice
        given; /* MAILBOX, PATTERN: as the client wrote it: INBOX in any case, not in NFC */
    struct arg *items;
    size_t n; /* items */
    union {
        uint64_t number;
        int64_t date;
        struct {
            struct seq_range *items; /* as given; 0 is "*" */
            size_t n;
            bool saved; /* "$" is among them */
        } set;
        struct {
            uint32_t first, last; /* first <= last */
            bool from_end;        /* 1 is the last one */
        } range;
        struct flags flags;
        struct imap_section *section;
        struct {
            uint64_t offset, count;
        } partial;
    };
};

/* What bounds one command; from imap.h's settings. */
struct parse_limits {
    uint32_t command;  /* bytes of a command with its literals */
    uint32_t literal;  /* bytes of one literal that is not streamed */
    uint64_t stream;   /* bytes of a streamed one */
    unsigned literals; /* of one command */
    unsigned nesting;
    unsigned arguments;
    unsigned set;     /* ranges */
    bool utf8;        /* mailbox names are UTF-8, and strings may be (RFC 6855, RFC 9051) */
    uint64_t unasked; /* bytes of a literal that is sent without waiting (RFC 7888); 0: no limit */
};

enum parse_result {
    PARSE_OK,
    PARSE_NEED,   /* right so far; ends in the head of a literal whose bytes are not here yet */
    PARSE_STREAM, /* right so far; ends in the head of a literal that is to be streamed */
    PARSE_WRONG,
};

/* Reads the arguments in `in`, whose first byte is the one behind the command's name (or behind a
 * streamed literal). `in` ends with the command's last line end, or with the line end of a
 * literal's head. Nodes, texts and all live in the arena and borrow nothing from `in`.
 * PARSE_WRONG: err says what was expected where. */
enum parse_result parse_args(struct slice in, const struct rule *rules,
                             const struct parse_limits *limits, struct arena *arena,
                             struct arg **ret_args, size_t *ret_n, struct error *err);

/* A copy of a mailbox name in NFC; INBOX in any case is INBOX, also as the first level. */
struct slice imap_mailbox_name(struct arena *arena, struct slice utf8);

/* How many rules stand before RULE_END. */
size_t rules_count(const struct rule *rules);

enum fetch_word {
    FETCH_UID = 1,
    FETCH_FLAGS,
    FETCH_INTERNALDATE,
    FETCH_SIZE,
    FETCH_MODSEQ,
    FETCH_ENVELOPE,
    FETCH_BODYSTRUCTURE,
    FETCH_BODY,
    FETCH_BODY_PEEK,
    FETCH_RFC822,
    FETCH_RFC822_HEADER,
    FETCH_RFC822_TEXT,
    FETCH_ALL,
    FETCH_FULL,
    FETCH_FAST,
    FETCH_CHANGEDSINCE,
    FETCH_VANISHED,
    FETCH_RFC822_PEEK, /* RFC 1730 section 6.4.5; Outlook asks for it */
    FETCH_RFC822_TEXT_PEEK,
    FETCH_SAVEDATE,
    FETCH_PREVIEW,
    FETCH_EMAILID,
    FETCH_THREADID,
    FETCH_PARTIAL,
    FETCH_BINARY,
    FETCH_BINARY_PEEK,
    FETCH_BINARY_SIZE,
};

enum store_word {
    STORE_SET = 1,
    STORE_ADD,
    STORE_REMOVE,
    STORE_SILENT = 8, /* added to the three above */
    STORE_UNCHANGEDSINCE = 16,
};

enum status_word {
    STATUS_MESSAGES = 1,
    STATUS_RECENT,
    STATUS_UIDNEXT,
    STATUS_UIDVALIDITY,
    STATUS_UNSEEN,
    STATUS_HIGHESTMODSEQ,
    STATUS_MAILBOXID,
    STATUS_APPENDLIMIT,
    STATUS_DELETED,
    STATUS_SIZE,
    STATUS_DELETED_STORAGE,
};

enum search_word {
    SEARCH_CHARSET = 1,
    SEARCH_ALL,
    SEARCH_FLAG,   /* of the flag words, the row's value is this + the system flag's bit << 8 */
    SEARCH_UNFLAG, /* the same, not set */
    SEARCH_NEW,
    SEARCH_OLD,
    SEARCH_RECENT,
    SEARCH_KEYWORD,
    SEARCH_UNKEYWORD,
    SEARCH_BEFORE,
    SEARCH_ON,
    SEARCH_SINCE,
    SEARCH_SENTBEFORE,
    SEARCH_SENTON,
    SEARCH_SENTSINCE,
    SEARCH_LARGER,
    SEARCH_SMALLER,
    SEARCH_UID,
    SEARCH_MODSEQ,
    SEARCH_NOT,
    SEARCH_OR,
    SEARCH_BCC,
    SEARCH_CC,
    SEARCH_FROM,
    SEARCH_SUBJECT,
    SEARCH_TO,
    SEARCH_HEADER,
    SEARCH_BODY,
    SEARCH_TEXT,
    SEARCH_OLDER, /* RFC 5032 */
    SEARCH_YOUNGER,
    SEARCH_SAVEDBEFORE, /* RFC 8514 */
    SEARCH_SAVEDON,
    SEARCH_SAVEDSINCE,
    SEARCH_SAVEDATESUPPORTED,
    SEARCH_EMAILID, /* RFC 8474 */
    SEARCH_THREADID,
    SEARCH_UIDAFTER, /* RFC 9738 */
    SEARCH_UIDBEFORE,
};

/* RETURN options of SEARCH and SORT, as bits (RFC 4731, RFC 5182, RFC 9394). */
enum return_word {
    RETURN_MIN = 1,
    RETURN_MAX = 2,
    RETURN_ALL = 4,
    RETURN_COUNT = 8,
    RETURN_SAVE = 16,
    RETURN_PARTIAL = 32,
    RETURN_CONTEXT = 64, /* RFC 5267 */
    RETURN_UPDATE = 128,
};

enum sort_word {
    SORT_REVERSE = 1, /* items: the key that is reversed */
    SORT_ARRIVAL,
    SORT_CC,
    SORT_DATE,
    SORT_FROM,
    SORT_SIZE,
    SORT_SUBJECT,
    SORT_TO,
    SORT_DISPLAYFROM, /* RFC 5957 */
    SORT_DISPLAYTO,
};

enum thread_word {
    THREAD_ORDEREDSUBJECT = 1,
    THREAD_REFERENCES,
    THREAD_REFS, /* draft-ietf-morg-inthread */
};

enum list_word {
    LIST_SUBSCRIBED = 1,
    LIST_SPECIAL_USE,
    LIST_REMOTE,
    LIST_RECURSIVEMATCH,
    LIST_CHILDREN,
    LIST_STATUS,
    LIST_METADATA,
    LIST_RETURN,
};

enum metadata_word { METADATA_MAXSIZE = 1, METADATA_DEPTH };
enum metadata_depth { DEPTH_0, DEPTH_1, DEPTH_INFINITY };

/* RFC 5465 */
enum notify_word { NOTIFY_NONE = 1, NOTIFY_SET, NOTIFY_STATUS };

/* filter-mailboxes of NOTIFY, and of ESEARCH (RFC 7377) */
enum mailbox_filter_kind {
    FILTER_SELECTED = 1,
    FILTER_SELECTED_DELAYED,
    FILTER_INBOXES,
    FILTER_PERSONAL,
    FILTER_SUBSCRIBED,
    FILTER_SUBTREE, /* items of these three: names */
    FILTER_SUBTREE_ONE,
    FILTER_MAILBOXES,
};

/* As bits. */
enum notify_event {
    NOTIFY_MESSAGE_NEW = 1, /* items: FETCH items */
    NOTIFY_MESSAGE_EXPUNGE = 2,
    NOTIFY_FLAG_CHANGE = 4,
    NOTIFY_MAILBOX_NAME = 8,
    NOTIFY_SUBSCRIPTION = 16,
    NOTIFY_MAILBOX_METADATA = 32,
    NOTIFY_SERVER_METADATA = 64,
};

enum { SELECT_CONDSTORE = 1, SELECT_QRESYNC, CREATE_USE = 1 };
enum { APPEND_UTF8 = 1, APPEND_CATENATE };
enum { CATENATE_TEXT = 1, CATENATE_URL };

/* As bits. */
enum urlfetch_word { URLFETCH_BODY = 1, URLFETCH_BINARY = 2, URLFETCH_STRUCTURE = 4 };

extern const struct rule imap_rules_none[], imap_rules_login[], imap_rules_authenticate[],
    imap_rules_id[], imap_rules_enable[], imap_rules_mailbox[], imap_rules_select[],
    imap_rules_create[], imap_rules_rename[], imap_rules_list[], imap_rules_lsub[],
    imap_rules_status[], imap_rules_getmetadata[], imap_rules_setmetadata[], imap_rules_getquota[],
    imap_rules_setquota[], imap_rules_append[], imap_rules_replace[], imap_rules_append_more[],
    imap_rules_set[], imap_rules_fetch[], imap_rules_store[], imap_rules_search[],
    imap_rules_sort[], imap_rules_thread[], imap_rules_copy[], imap_rules_compress[],
    imap_rules_notify[], imap_rules_cancelupdate[], imap_rules_esearch[], imap_rules_uidbatches[],
    imap_rules_genurlauth[], imap_rules_resetkey[], imap_rules_urlfetch[];
