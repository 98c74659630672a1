/* SPDX-License-Identifier: MPL-2.0 */
/* lib/mail, as the protocols see it: accounts, intents, commit.
 *
 *   struct mail       one per process (per node): store, committer, replicas in memory, caches
 *   struct account    one account's replica; shared by all who hold it; reference-counted
 *   struct intent     what somebody wants to be done; never a record, so that it can be built again
 *
 * A protocol opens an account at login, reads states (state.h) and commits intents. It never sees
 * a record, a slot or an unknown outcome other than as -ERR_UNKNOWN_OUTCOME (close the connection
 * without an answer; LMTP: 451). The protocol behind it is docs/log.md and tests/model.
 *
 * Threads: everything here may be called from any thread; what blocks says so.
 */
#pragma once

#include "lib/mail/state.h"
#include "lib/store/store.h"

struct mail;
struct account;
struct prepared; /* message.h: a message ready to be named by records */
struct bus;      /* lib/bus/bus.h; NULL: none */

struct mail_settings {
    int snapshot_records;       /* tail length that makes a snapshot; default 256 */
    int64_t guard_ms;           /* position guard; default 12 h. Tests shorten these three alike */
    int64_t horizon_ms;         /* age of snapshots, orphans, dying blobs; default 24 h */
    size_t replica_bytes;       /* memory for replicas; default 256 MiB */
    int unload_after_ms;        /* one in use keeps its segments so long after it was last asked,
                                   whatever they take; default 5,000 */
    size_t content_cache_bytes; /* memory for message contents and digests; default 256 MiB */
    size_t sortkeys_bytes;      /* memory for what SORT and THREAD compare; default 64 MiB */
    unsigned sights_max;        /* blobs remembered as seen alive; default 100,000 */
    int commit_wait_ms;   /* how long an intent may wait for an unreachable store; default 20,000 */
    int poll_ms;          /* compare held replicas with the store this often (no hints); 20,000 */
    uint64_t message_max; /* octets of one message; default 100 MiB */
    uint32_t mailboxes_max; /* per account, and subscriptions likewise; default 10,000 */
    uint32_t keywords_max;  /* distinct keywords of one account; default 1,000 */
    uint32_t name_max;      /* bytes of a mailbox name; default and at most 1,000 */
    uint32_t name_depth;    /* levels of one; default and at most 32 */
    uint32_t metadata_max;  /* octets of an annotation (RFC 5464); default 16,384; at most 65,535 */
    uint32_t metadata_entries; /* of one mailbox, and of the account itself; default 100 */
    int sweep_pause_ms;        /* between two rounds of the sweep; default 60,000 */
    int index_after;           /* messages outside the text index that make a segment of it; default
                                  256; 0: there is no index */
    size_t index_bytes;        /* memory for parts of text indexes; default 64 MiB */
};
void mail_settings_default(struct mail_settings *settings);

/* store and bus stay the caller's and must outlive it. Starts the committer's threads. */
int mail_new(struct store *store, struct bus *bus, const struct mail_settings *settings,
             struct mail **ret_mail, struct error *err) MUST_USE;
/* Waits for what is in flight. No account may be held. */
void mail_free(struct mail *mail);
struct store *mail_store(struct mail *mail);
const struct mail_settings *mail_settings(const struct mail *mail);

/* For /metrics: since the start, except where it says "now". */
struct mail_counters {
    uint64_t intents;          /* that were asked for */
    uint64_t batches, records; /* that went to the store; records of them that were committed */
    uint64_t conflicts;        /* slots that another node had first */
    uint64_t looked_up;        /* outcomes that were not known and were found out */
    uint64_t fences;           /* noops put in the place of what is not to come any more */
    uint64_t given_up;         /* intents that ended with an unknown outcome */
    uint64_t without_record;   /* intents that changed nothing */
    uint64_t snapshots;        /* of accounts, saved */
    uint64_t accounts;         /* replicas in memory, now */
    uint64_t idle_accounts;    /* of these that nobody holds, now */
    uint64_t idle_bytes;       /* memory of those, now */
    uint64_t held_bytes;       /* memory of the others, a moment ago */
    uint64_t unloaded;         /* how often one of these gave up what can be read again */
};
struct mail_counters mail_read_counters(struct mail *mail);

/* The first record of a new account: INBOX and the mailboxes of special use. -ERR_EXISTS if its log
 * has begun (fine when repeated after a crash). Blocks. */
struct mail_account_options {
    uint64_t quota_bytes, quota_messages; /* 0: none */
    uint64_t undelete_ms; /* how long what was expunged is kept; 0: the default, 24 h */
    bool only_inbox;      /* else also Drafts, Sent, Junk, Trash, Archive */
};
int mail_account_create(struct mail *mail, uint64_t account,
                        const struct mail_account_options *options, struct error *err) MUST_USE;

/* --- accounts -------------------------------------------------------------------------------- */

/* Blocks: opens from manifest and tail where the replica is not in memory, and in any case is as
 * new as the store when it returns. -ERR_NOTFOUND: no log; -ERR_UNAVAILABLE. */
int account_open(struct mail *mail, uint64_t account, struct account **ret_account,
                 struct error *err) MUST_USE;
/* The account's entry without any reading: for those who only commit (deliveries); the committer
 * opens it if it must. Never fails; account_unref. */
struct account *account_get(struct mail *mail, uint64_t account);
struct account *account_ref(struct account *account);
void account_unref(struct account *account);
uint64_t account_id(const struct account *account);
struct mail *account_mail(const struct account *account);

/* The newest state this node has; a reference for the caller. Does not block on the store. */
struct state *account_state(struct account *account);
/* Compares with the store first: for commands that must see the present (SELECT, STATUS, NOOP,
 * CHECK, a POP3 login). *ret_state may be NULL. Blocks. -ERR_UNAVAILABLE. A state is never older
 * than one that was shown on this node before (I10, I25). */
int account_refresh(struct account *account, struct state **ret_state, struct error *err) MUST_USE;

/* A version of mailbox `id` whose segments in [first, last] are loaded (0, UINT32_MAX: all). The
 * version is that of `st`; loading changes no content. Blocks if something is to load. Reference
 * for the caller. -ERR_NOTFOUND: no such mailbox in st; -ERR_UNAVAILABLE. */
int mailbox_load(struct account *account, struct state *st, uint64_t id, uint32_t first,
                 uint32_t last, struct mailbox **ret_mailbox, struct error *err) MUST_USE;

/* Has the account know all keywords of the mailbox (state_each_keyword), and finds the first
 * message without \Seen (its uid; 0: none). Loads one segment at most, unless the snapshot is of an
 * older version of Eider. Blocks. -ERR_UNAVAILABLE. */
int mailbox_load_summary(struct account *account, const struct mailbox *box, uint32_t *ret_unseen,
                         struct error *err) MUST_USE;

/* Calls wake(ctx) (from any thread; it must be quick and must not call back in here) whenever the
 * account's state moves on. Unwatch returns when no call is under way. */
struct watch;
struct watch *account_watch(struct account *account, void (*wake)(void *ctx), void *ctx);
void account_unwatch(struct watch *watch);

/* What annotations have before what the client wrote (see build.h). */
#define METADATA_MARK '='

/* Account values that mean something here; decimal numbers. Quotas: absent means none, 0 that
 * nothing may be added. */
#define VALUE_QUOTA_BYTES     "quota.bytes"
#define VALUE_QUOTA_MESSAGES  "quota.messages"
#define VALUE_QUOTA_MAILBOXES "quota.mailboxes"
#define VALUE_UNDELETE_MS     "undelete.ms"
#define VALUE_EXPIRE_MS       "expire.ms" /* of a mailbox too; see expire.h */
/* Hexadecimal random bytes, from which the keys of URLs are made (protocols/imap/urlauth.h); of a
 * mailbox too. */
#define VALUE_URLAUTH RECORD_SECRET_KEY

/* --- intents --------------------------------------------------------------------------------- */

enum intent_kind {
    INTENT_APPEND,  /* one message into a mailbox (IMAP APPEND, import) */
    INTENT_DELIVER, /* the same, once only: delivery hash (LMTP) */
    INTENT_FLAGS,   /* add, remove or replace flags of uids */
    INTENT_EXPUNGE, /* those of the uids that are there (and, if so asked, have \Deleted) */
    INTENT_COPY,
    INTENT_MOVE,
    INTENT_CREATE,
    INTENT_RENAME, /* with its inferiors; `from` may be a level that has only these; INBOX: moves
                      its messages instead (RFC 3501 6.3.5) */
    INTENT_DELETE,
    INTENT_SUBSCRIBE,
    INTENT_SET,     /* special uses and named values of a mailbox */
    INTENT_ACCOUNT, /* a named value of the account */
    INTENT_UNDELETE,
    INTENT_CLOSE, /* delete the account */
    INTENT_KINDS_
};

enum flags_how { FLAGS_ADD, FLAGS_REMOVE, FLAGS_REPLACE };

/* Zero it, set kind, account and what the kind needs, commit, read the results, intent_done.
 * Slices and `prepared` are borrowed until commit has returned. */
struct intent {
    enum intent_kind kind;
    struct account *account;
    uint64_t mailbox;  /* source or subject; append, deliver, copy, move: see target_* */
    struct slice from; /* rename: the old name, if mailbox is 0 */
    struct slice
        name; /* create, rename (new name), delete (name is looked up if mailbox is 0), subscribe;
                 append, deliver, copy, move, undelete: name of the target mailbox */
    bool else_inbox;           /* deliver: a target that is not there is INBOX instead */
    struct prepared *prepared; /* append, deliver */
    struct flags flags;        /* append, deliver, flags */
    enum flags_how how;
    int64_t date;  /* append, deliver: INTERNALDATE; 0: store time now, but with has_date */
    bool has_date; /* the beginning of 1970 */
    uint8_t delivery[DELIVERY_HASH_SIZE]; /* deliver */
    struct uidset uids;                   /* flags, expunge, copy, move: not owned */
    bool only_deleted; /* expunge: only those with \Deleted (EXPUNGE, CLOSE, UID EXPUNGE) */
    bool all_there;    /* expunge: all of the uids are there, else -ERR_CONFLICT (REPLACE) */
    bool has_since;    /* flags: UNCHANGEDSINCE */
    uint64_t since;
    bool on;                      /* subscribe */
    uint32_t uses;                /* create, set */
    struct slice key, value;      /* set, account */
    bool if_absent;               /* set, account: nothing to do where the key has a value */
    uint64_t message;             /* undelete */
    bool in_one_record_with_next; /* MULTIAPPEND and the like: all or nothing with the following one
                                   */

    /* results */
    int result; /* 0, or -ERR_x; see mail_commit */
    struct error error;
    uint64_t seq;   /* commit order: the record's number; or the state that the answer is true in */
    bool nothing;   /* 0 without a record: there was nothing to change */
    bool duplicate; /* deliver: these bytes had been stored before (answer 250) */
    uint64_t mailbox_id;  /* create: its id; append, copy, move: the target's */
    uint32_t uidvalidity; /* of the target (append, copy, move) */
    uint64_t message_id;  /* append, deliver: the message's (EMAILID); not of a duplicate */
    uint32_t uid;         /* append: the uid; copy, move: the first; the others follow in a row */
    struct uidset done;   /* flags: changed; expunge: removed; copy, move: source uids, in order */
    struct uidset late;   /* flags: not changed, modseq above `since` (MODIFIED) */
};
void intent_done(struct intent *intent);

/* Commits the intents (of any accounts; each for itself unless in_one_record_with_next), waits for
 * all answers. After it, account_state() of this node shows what was done. Blocks. Each intent's
 * result: 0                     done (or nothing, duplicate), durable on a majority (I21)
 *   -ERR_NOTFOUND         mailbox (or message) does not exist; account closed: -ERR_NOPERM
 *   -ERR_EXISTS           name taken
 *   -ERR_INVALID          a name, flag or uid that is not allowed (error says why)
 *   -ERR_NOPERM           INBOX cannot be deleted, account closed, ...
 *   -ERR_QUOTA, -ERR_LIMIT, -ERR_TOOBIG
 *   -ERR_CONFLICT         expunge with all_there: somebody else has removed one of them
 *   -ERR_UNAVAILABLE      not applied, now or later (I23)
 *   -ERR_UNKNOWN_OUTCOME  will not be known: answer nothing, close (LMTP: 451) */
void mail_commit(struct mail *mail, struct intent **intents, size_t n);
