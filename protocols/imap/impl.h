/* SPDX-License-Identifier: MPL-2.0 */
/* Inside protocols/imap: the session, the command under way, and what handlers may call.
 *
 * A handler gets a parsed command and works in straight lines; it may block on the store. It
 * appends untagged responses to im->s.out and returns
 *   0             done: the session tells what changed in the mailbox, then "tag OK [code] text"
 *   RUN_AGAIN     it has produced a slice; it is run again when the client has read it
 *   RUN_WAIT      it has set a phase that waits for the client (IDLE, a literal, SASL)
 *   -ERR_x        refused: "tag NO [code] sentence" by the table in reply.c
 * What must outlive one run is in cmd->context, or allocated in cmd->arena.
 */
#pragma once

#include "lib/auth/sasl.h"
#include "lib/base/arena.h"
#include "lib/base/metrics.h"
#include "lib/base/session.h"
#include "lib/mail/message.h"
#include "lib/mail/view.h"
#include "protocols/imap/imap.h"
#include "protocols/imap/parser.h"

struct imap;
struct command;
struct binary_mark; /* fetch_binary.h */
struct notify;      /* notify.h */
struct context;     /* context.c */

/* RFC 3501 section 3, as bits for the table of commands. */
enum imap_state {
    IMAP_NOT_AUTHENTICATED = 1,
    IMAP_AUTHENTICATED = 2,
    IMAP_SELECTED = 4,
    IMAP_LOGOUT = 8,
};
#define IMAP_ANY (IMAP_NOT_AUTHENTICATED | IMAP_AUTHENTICATED | IMAP_SELECTED)
#define IMAP_IN  (IMAP_AUTHENTICATED | IMAP_SELECTED)

/* What goes on in the session; the rows of session.c say how each phase steps and what it wants. */
enum imap_phase {
    PHASE_GREETING,
    PHASE_READ,    /* between commands, or within one that is not whole yet */
    PHASE_RUN,     /* a handler that is to be run again */
    PHASE_LITERAL, /* a command with a streamed literal: bytes, then the rest of its line */
    PHASE_AUTH,    /* a SASL exchange */
    PHASE_IDLE,
    PHASE_DELAY, /* the answer to a failed login is held back */
    PHASE_PUSH,  /* what NOTIFY and contexts want, behind commands, between them and in IDLE */
    PHASE_TELL,  /* handler done; telling what changed before the tagged line */
    PHASE_TLS,   /* waiting for the handshake */
    PHASE_CLOSED,
    PHASES_
};

enum { RUN_AGAIN = 1, RUN_WAIT = 2 };

enum command_flags {
    CMD_SEQ = 1,          /* takes sequence numbers: no EXPUNGE may be sent (RFC 3501 7.4.1, I7) */
    CMD_UID = 2,          /* its FETCH responses have UID */
    CMD_PRESENT = 4,      /* compares with the store before it tells what changed */
    CMD_QUIET = 8,        /* tells nothing of the selected mailbox */
    CMD_NEEDS_WRITE = 16, /* refused in a mailbox that was opened by EXAMINE */
    /* Why a client should wait for the answer before it sends another (RFC 3501 section 5.5). Here
     * commands run strictly one after the other, so nothing depends on it; NOTIFY and parallel
     * commands will. */
    CMD_ALONE = 32,    /* changes the state of the connection */
    CMD_EXPUNGES = 64, /* with QRESYNC, its OK says HIGHESTMODSEQ (RFC 7162 section 3.2.7) */
    /* Has the messages that it looks at loaded itself (imap_resolve does; view_load). For all other
     * commands of the selected state the whole mailbox is loaded before they run. */
    CMD_PIECES = 128,
    CMD_NUMBERS = 256, /* takes sequence numbers, though EXPUNGE may be sent */
};

struct command_row {
    const char *name; /* upper case, "UID FETCH" */
    unsigned states;  /* in which it may be given */
    unsigned flags;
    const struct rule *rules;
    int (*run)(struct imap *im, struct command *cmd);
    const char *rfc;        /* "3501 6.4.5" */
    const char *capability; /* what it stands for in CAPABILITY; NULL: the base protocol */
};
extern const struct command_row imap_commands[];
extern const size_t imap_commands_n;
/* parser_find over the table; ctx is struct imap. */
const struct rule *imap_command_find(void *ctx, struct slice name, const void **ret_verb,
                                     struct error *err);
/* For the fuzz target of the parser: every command, whatever the state. */
const struct rule *imap_command_find_any(void *ctx, struct slice name, const void **ret_verb,
                                         struct error *err);
/* NULL: there is none of that name. */
const struct command_row *imap_command_row(const char *name);

/* The command under way. */
struct command {
    struct parsed parsed;
    const struct command_row *row;
    struct arena arena;
    struct error err;
    int64_t spent_us;     /* on it in steps before this one */
    int result;           /* of the handler, while what changed is told */
    bool numbers;         /* has sequence numbers although its row says no (UID SEARCH) */
    enum imap_phase next; /* after the answer: PHASE_READ, or what the handler wants */
    const char *status;   /* NULL: OK or what the table says; "BAD" */
    const char *code; /* response code without brackets; NULL: what the table says. The arena's */
    const char *text; /* of an OK; NULL: "Done" */
    uint32_t limited; /* RFC 9738: the lowest uid that was worked on; 0: all were */
    void *context;    /* the handler's; freed by context_free */
    void (*context_free)(void *context);
    /* PHASE_LITERAL: bytes of the literal, and what follows it. Same results as run; a failure
     * drops what is left of the command. */
    int (*bytes)(struct imap *im, struct command *cmd, struct slice bytes);
    int (*more)(struct imap *im, struct command *cmd);
    const struct rule *more_rules;
};

/* What ENABLE has switched on (RFC 5161). */
enum imap_enabled {
    ENABLED_CONDSTORE = 1,
    ENABLED_QRESYNC = 2,   /* never without CONDSTORE */
    ENABLED_UTF8 = 4,      /* UTF8=ACCEPT */
    ENABLED_REV2 = 8,      /* IMAP4rev2 */
    ENABLED_METADATA = 16, /* RFC 5464 section 4.1 */
    ENABLED_UIDONLY = 64,  /* RFC 9586 */
};

struct imap_service {
    struct session_service service;
    struct imap_settings settings;
    struct mail *mail;
    struct auth *auth;
    struct parse_limits before_login, after_login, after_login_utf8;
};

struct imap {
    struct session s; /* first */
    struct imap_service *service;
    enum imap_state state;
    enum imap_phase phase;
    struct parser parser;
    struct command cmd;
    bool shutdown;                 /* say BYE when the command is done */
    bool bye;                      /* close when the command is answered */
    bool compressed, compress_now; /* COMPRESS is active; is to begin behind this step's output */
    unsigned bad_in_a_row, failed_logins;
    unsigned enabled;    /* enum imap_enabled */
    int64_t deadline_ms; /* of the login or of idling */
    int64_t delay_until_ms;
    int64_t mark_us;         /* since then this step works on the command under way */
    int64_t keepalive_at_ms; /* in IDLE */

    struct auth_user user;
    bool counted; /* in auth_connections */
    struct account *account;
    struct sasl_exchange *sasl;
    struct watch *watch; /* while in IDLE */
    bool idle_more;      /* IDLE has more to tell than one slice */

    struct state *metadata_seen; /* all annotations of which the client knows; NULL: not told */
    struct notify *notify;       /* NULL: there was no NOTIFY */
    struct context *contexts;    /* of the selected mailbox, in the order in which they were made */
    enum imap_phase push_back;   /* PHASE_PUSH: where it came from, READ or IDLE */

    struct urlauth_seen {
        uint64_t account, mailbox; /* marks of the secrets */
        bool changed;              /* since the client was told */
    } urlauth;                     /* of the selected mailbox */

    struct view *view;          /* the selected mailbox */
    uint64_t mailbox;           /* its id */
    struct binary_mark *binary; /* where the last FETCH BINARY ended; NULL: there was none */
    bool read_only;
    struct uidset saved;                /* uids of the saved search result, "$" (RFC 5182) */
    bool modseq_told;                   /* a MODSEQ was told by the command under way */
    const struct flagsets *keywords_of; /* the keywords told by FLAGS: of this table, so many */
    size_t keywords_told;
};

/* --- session.c ---------------------------------------------------------------------------------
 */

void imap_set_state(struct imap *im, enum imap_state to);
void imap_set_phase(struct imap *im, enum imap_phase to);
/* Ends the conversation: "* BYE text", close. */
void imap_bye(struct imap *im, const char *code, const char *text);
/* Ends a command; it is as new. */
void imap_command_done(struct command *cmd);
/* A message's largest size for this user. */
uint64_t imap_message_max(const struct imap *im);

/* --- reply.c -----------------------------------------------------------------------------------
 */

/* The tagged line of a finished command. */
void imap_reply(struct imap *im, struct command *cmd, int result);
/* BAD with the sentence in cmd->err. */
void imap_reply_bad(struct imap *im, struct command *cmd);
/* Fill cmd and give a handler's result: return imap_bad(cmd, "..."). */
int imap_bad(struct command *cmd, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_USE;
int imap_no(struct command *cmd, const char *code, const char *fmt, ...) PRINTF_LIKE(3, 4) MUST_USE;
/* The capabilities as they are now, without a leading blank. */
void imap_write_capabilities(const struct imap *im, struct buf *out);
/* cmd->code of a login's OK: the capabilities, which change with it. */
void imap_code_capabilities(const struct imap *im, struct command *cmd);
/* Strings and names to this client may be UTF-8 (RFC 6855, RFC 9051). */
bool imap_takes_utf8(const struct imap *im);
/* A mailbox name (UTF-8), quoted: in modified UTF-7 unless the client takes UTF-8. */
void imap_write_mailbox(const struct imap *im, struct buf *out, struct slice name);
/* Any bytes without NUL: quoted, or a literal. */
void imap_write_string(struct buf *out, struct slice s);
/* "* 5 FETCH (", or after ENABLE UIDONLY "* 1207 UIDFETCH (" */
void imap_write_fetch(struct imap *im, uint32_t seq, uint32_t uid);
/* cmd->code: "BADURL url" (RFC 4469 section 4.1). */
const char *imap_badurl(struct command *cmd, struct slice url);
/* BAD: a sequence number after ENABLE UIDONLY. */
int imap_uid_required(struct command *cmd) MUST_USE;
/* "FLAGS (\Seen $Work)" */
void imap_write_flags(struct buf *out, const struct flagset *flags);
/* "17-Jul-1996 02:44:25 +0000" with its quotes */
void imap_write_date(struct buf *out, int64_t seconds);

/* --- selected.c: the selected mailbox -----------------------------------------------------------
 */

/* Opens a mailbox of the state and makes it the selected one. */
void imap_select(struct imap *im, const struct mailbox *box, bool read_only);
void imap_unselect(struct imap *im);
/* Takes in the newest state (`present`: compared with the store); tells nothing yet.
 * -ERR_NOTFOUND: the mailbox does not exist any more. */
int imap_update(struct imap *im, bool present, struct error *err) MUST_USE;
/* FLAGS and PERMANENTFLAGS, if a keyword has come since they were told. */
void imap_tell_keywords(struct imap *im);
/* "* 1 FETCH (UID 7 FLAGS (...) MODSEQ (n))", UID and MODSEQ as the client wants them. */
void imap_write_changed(struct imap *im, uint32_t seq, const struct message *m, bool uid);
/* "MODSEQ (n)" */
void imap_write_modseq(struct imap *im, uint64_t modseq);
/* Tells a slice of what may be told; true: there is more. */
bool imap_tell(struct imap *im, bool allow_expunge, bool uid);
/* From now on MODSEQ is told (RFC 7162 section 3.1). */
void imap_enable_condstore(struct imap *im);
/* UIDs or sequence numbers -> uids in view, whose messages are loaded then. BAD for a number that
 * does not exist. */
int imap_resolve(struct imap *im, struct command *cmd, const struct arg *set, bool by_uid,
                 struct uidset *ret) MUST_USE;
/* The same in another view of this account's. */
int imap_resolve_in(struct imap *im, struct view *view, struct command *cmd, const struct arg *set,
                    bool by_uid, struct uidset *ret) MUST_USE;
/* The same by the command's kind of number. */
int imap_resolve_set(struct imap *im, struct command *cmd, const struct arg *set,
                     struct uidset *ret) MUST_USE;
/* Commits one intent of this account; its result, and its sentence in cmd->err. */
int imap_commit(struct imap *im, struct command *cmd, struct intent *intent) MUST_USE;
/* Takes the uids below off a set. */
void imap_drop_below(struct uidset *uids, uint32_t uid);
/* Messages in view whose uids are in the set; they are loaded. */
uint64_t imap_count(const struct view *view, const struct uidset *uids);
/* RFC 9738: leaves of uids in view, loaded, as many as a command may work on, the highest ones, and
 * notes in cmd what the tagged line has to say. only_deleted: the others do not count. */
void imap_limit(const struct imap *im, struct view *view, struct command *cmd, struct uidset *uids,
                bool only_deleted);
/* NO for a command that cannot be done in part, if it is about more messages than it may be. saves:
 * it puts them into a mailbox. */
int imap_limit_check(const struct imap *im, struct command *cmd, uint64_t messages,
                     bool saves) MUST_USE;
/* Are messages in the set that are expunged, but not yet for this client? */
bool imap_any_gone(const struct imap *im, const struct uidset *uids);

/* --- qresync.c: what a client that comes back has missed ----------------------------------------
 */

/* Uids that a client is to be told of by VANISHED (EARLIER), and how many ranges have been. */
struct vanished {
    struct uidset uids;
    size_t told;
};
/* Those of `known` (NULL: of all) that left the selected mailbox since the mod-sequence; perhaps
 * more that are not there, never fewer (I11). */
void imap_find_vanished(const struct imap *im, const struct state *st, uint64_t since,
                        const struct uidset *known, struct uidset *ret);
/* Tells a slice; true: there is more. */
bool imap_tell_vanished(struct imap *im, struct vanished *v);
/* One VANISHED response with the ranges from one on; so many as one line takes. */
void imap_write_vanished(struct buf *out, const struct uidset *uids, size_t from, bool earlier);
#define VANISHED_RANGES 1000 /* of one line */

/* --- service.c ---------------------------------------------------------------------------------
 */

struct session *imap_session_open(struct session_service *service, const struct session_peer *peer);

/* --- cmd_status.c ------------------------------------------------------------------------------
 */

/* A STATUS response with the items of the list `words`; nothing is written on failure. May block
 * (DELETED-STORAGE). */
int imap_write_status(struct imap *im, struct state *st, const struct mailbox *box,
                      const struct arg *words, struct error *err) MUST_USE;

/* --- metadata_tell.c ---------------------------------------------------------------------------
 */

/* ENABLE METADATA: from now on changes of annotations are told. */
void imap_enable_metadata(struct imap *im);
/* Tells what others have changed (`present`: compared with the store). */
void imap_metadata_tell(struct imap *im, bool present);
/* The same, behind an own change of these entries (mailbox 0: of the server), which are not told.
 */
void imap_metadata_own(struct imap *im, uint64_t mailbox, const struct slice *names, size_t n);
/* The session ends, or another user begins. */
void imap_metadata_forget(struct imap *im);

/* --- push.c ------------------------------------------------------------------------------------
 */

/* All that may be said while no command is under way, or IDLE is. May block. 0; RUN_AGAIN: call it
 * again when the client has read; -ERR_NOTFOUND, -ERR_CONFLICT as imap_update;
 * -ERR_UNKNOWN_OUTCOME: half of a response is sent, and the rest cannot be had. */
int imap_push(struct imap *im, bool idle) MUST_USE;
/* Makes the command a UID FETCH that nobody has sent, of these uids; nothing if there are none.
 * items: a LIST of FETCH items, which must outlive it. Then the steps, till one gives 0: it is
 * done, and as new. Also RUN_AGAIN, -ERR_UNKNOWN_OUTCOME. */
void imap_pushed_fetch_begin(struct command *cmd, const struct uidset *uids,
                             const struct arg *items);
int imap_pushed_fetch_step(struct imap *im, struct command *cmd) MUST_USE;

/* --- context.c: RFC 5267 ------------------------------------------------------------------------
 */

/* Before view_update. */
void imap_contexts_update(struct imap *im, const struct mailbox *old, const struct mailbox *now);
/* Before all EXPUNGEs that the view has are told: what they take out of the results. */
void imap_contexts_expunge(struct imap *im);
/* Part of imap_push: looks at what has changed, and tells. */
int imap_contexts_push(struct imap *im) MUST_USE;
/* Is one in the middle of it? Then nothing else may be written. */
bool imap_contexts_busy(const struct imap *im);
/* The mailbox is not selected any more. */
void imap_contexts_end(struct imap *im);

/* --- notify.c: RFC 5465 --------------------------------------------------------------------------
 */

/* Kinds of news (VIEW_x) that the client wants to hear of the selected mailbox now. */
unsigned imap_notify_selected(const struct imap *im);
/* These uids have been announced by EXISTS. */
void imap_notify_arrived(struct imap *im, uint32_t first, uint32_t last);
void imap_notify_unselected(struct imap *im);
/* Are changes of this mailbox's annotations to be told? NULL: the server's. */
bool imap_notify_wants_metadata(const struct imap *im, const struct state *st,
                                const struct mailbox *box);
/* Behind a command: a slice of what has become of the mailboxes that are not selected. */
void imap_notify_tell(struct imap *im);
/* The same, behind an own change: of these names and what is above and below them; of a mailbox
 * into which `count` messages came, with uids from `first` on. These are not told. */
void imap_notify_own_names(struct imap *im, struct slice a, struct slice b);
void imap_notify_own_messages(struct imap *im, uint64_t mailbox, uint32_t first, uint64_t count);
/* The session ends, or another user begins. */
void imap_notify_end(struct imap *im);

/* --- cmd_urlauth.c ------------------------------------------------------------------------------
 */

/* A mailbox has been selected in this state: says which mechanisms there are. */
void imap_urlauth_selected(struct imap *im, const struct state *st);
/* The newest state, and the selected mailbox in it. */
void imap_urlauth_update(struct imap *im, const struct state *st, const struct mailbox *box);
/* If somebody gave it another key (RESETKEY). */
void imap_urlauth_tell(struct imap *im);

/* --- cmd_list.c --------------------------------------------------------------------------------
 */

/* One mailbox of the state in a LIST response, as if LIST had been asked for it. old_name (UTF-8,
 * not empty: in OLDNAME, RFC 9051 section 6.3.9.7) only for clients that have shown to understand
 * extended responses. */
void imap_write_list(struct imap *im, const struct state *st, const struct mailbox *box,
                     struct slice old_name);
/* A name that no mailbox has any more. */
void imap_write_list_gone(struct imap *im, struct slice name, struct slice old_name);
/* A name with or without a mailbox: \NonExistent, \Subscribed. */
void imap_write_list_name(struct imap *im, const struct state *st, struct slice name);

/* --- handlers ----------------------------------------------------------------------------------
 */

int cmd_login(struct imap *im, struct command *cmd);
int cmd_authenticate(struct imap *im, struct command *cmd);
int cmd_authenticate_line(struct imap *im, struct command *cmd, struct slice line);
int cmd_starttls(struct imap *im, struct command *cmd);
int cmd_compress(struct imap *im, struct command *cmd);
int cmd_unauthenticate(struct imap *im, struct command *cmd);

int cmd_capability(struct imap *im, struct command *cmd);
int cmd_noop(struct imap *im, struct command *cmd);
int cmd_logout(struct imap *im, struct command *cmd);
int cmd_id(struct imap *im, struct command *cmd);
int cmd_enable(struct imap *im, struct command *cmd);
int cmd_idle(struct imap *im, struct command *cmd);
int cmd_idle_tell(struct imap *im, struct command *cmd);
int cmd_idle_line(struct imap *im, struct command *cmd, struct slice line);
void cmd_idle_end(struct imap *im);
int cmd_namespace(struct imap *im, struct command *cmd);
int cmd_notify(struct imap *im, struct command *cmd);

int cmd_select(struct imap *im, struct command *cmd);
int cmd_examine(struct imap *im, struct command *cmd);
int cmd_close(struct imap *im, struct command *cmd);
int cmd_unselect(struct imap *im, struct command *cmd);
int cmd_create(struct imap *im, struct command *cmd);
int cmd_delete(struct imap *im, struct command *cmd);
int cmd_rename(struct imap *im, struct command *cmd);
int cmd_subscribe(struct imap *im, struct command *cmd);
int cmd_unsubscribe(struct imap *im, struct command *cmd);
int cmd_status(struct imap *im, struct command *cmd);

int cmd_getmetadata(struct imap *im, struct command *cmd);
int cmd_setmetadata(struct imap *im, struct command *cmd);
int cmd_getquota(struct imap *im, struct command *cmd);
int cmd_getquotaroot(struct imap *im, struct command *cmd);
int cmd_setquota(struct imap *im, struct command *cmd);

int cmd_list(struct imap *im, struct command *cmd);
int cmd_lsub(struct imap *im, struct command *cmd);

int cmd_genurlauth(struct imap *im, struct command *cmd);
int cmd_resetkey(struct imap *im, struct command *cmd);
int cmd_urlfetch(struct imap *im, struct command *cmd);

int cmd_append(struct imap *im, struct command *cmd);
int cmd_replace(struct imap *im, struct command *cmd);
int cmd_fetch(struct imap *im, struct command *cmd);
int cmd_store(struct imap *im, struct command *cmd);
int cmd_expunge(struct imap *im, struct command *cmd);
int cmd_search(struct imap *im, struct command *cmd);
int cmd_sort(struct imap *im, struct command *cmd);
int cmd_esearch(struct imap *im, struct command *cmd);
int cmd_cancelupdate(struct imap *im, struct command *cmd);
int cmd_thread(struct imap *im, struct command *cmd);
int cmd_uidbatches(struct imap *im, struct command *cmd);
int cmd_copy(struct imap *im, struct command *cmd);
int cmd_move(struct imap *im, struct command *cmd);
