/* SPDX-License-Identifier: MPL-2.0 */
/* directory: accounts, addresses and domains in the store, and who gets mail for an address.
 *
 * Three tables (lib/store), whose values are coded here:
 *   accounts   account(8)          -> struct directory_account
 *   addresses  normalised address  -> an account's login, or an alias: a list of addresses.
 *                                     "@domain" is the catch-all of a domain
 *   domains    normalised domain   -> struct directory_domain
 *
 * Many processes change them at once. Every change is an insert (fails if there) or is guarded by
 * the version read. An account is made in this order: account, mail log (the caller's `prepare`),
 * login address. The address is the commit point: what a crash leaves before it is an account that
 * nobody can reach, and directory_check names it. Renaming: new address, account, old address.
 * Closing: account marked, mail log closed, address removed; the marked account stays until its
 * mail is erased (directory_account_forget). In all states between, logins and mail go to the one
 * right account or are refused.
 *
 * Threads: all functions on any thread; they block on the store. Strings in results belong to the
 * arena given. Every function can return -ERR_UNAVAILABLE, -ERR_UNKNOWN_OUTCOME (changes only) and
 * -ERR_INTERNAL (damage); the ladders below name what else.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct store;
struct directory;

#define ADDRESS_MAX           320  /* bytes of a normalised address (RFC 5321: 64 + "@" + 255) */
#define DIRECTORY_TARGETS_MAX 1000 /* of one alias, and of one resolution in all */
#define DIRECTORY_DEPTH_MAX   10   /* alias of alias of ... */

struct directory_options {
    char delimiter;             /* between user and detail ("+"); 0: addresses have no detail */
    const char *default_domain; /* for logins and addresses without one; NULL or "": refused */
    /* A row that is not there is looked for again, linearizably: a primary that was elected a
     * moment ago may not know yet what a majority has. For tools that conclude something from it;
     * not where strangers ask, who would learn from the time that it takes who exists. */
    bool proves_absence;
};

/* Does not own the store. Options are copied. */
struct directory *directory_new(struct store *store,
                                const struct directory_options *options) MUST_USE;
void directory_free(struct directory *d);

/* ---- names ---- */

/* A checked and normalised address: NFC, lower case; domain as A-labels.
 * ("Jörg+News@Bücher.example" is user "jörg", detail "News", domain "xn--bcher-kva.example".) The
 * detail keeps its case. */
struct address {
    const char *key; /* user@domain, without detail */
    const char *user;
    const char *detail; /* "" if none */
    const char *domain;
    const char *full; /* user+detail@domain, the detail in lower case; equals key without one */
};

/* A mailbox of RFC 5321/6531 without the angle brackets: dot-string or quoted local part (quotes
 * are taken off), domain; no address literals, no source routes. "" user only where the text is
 * "@domain" and `catch_all`. Without a domain the default one is taken. 0 or -ERR_INVALID. */
int address_parse(const struct directory *d, struct slice text, bool catch_all, struct arena *a,
                  struct address *ret, struct error *err) MUST_USE;
/* A domain by IDNA 2008 (UTS 46), lower case, A-labels. 0 or -ERR_INVALID. */
int domain_normalise(struct slice text, struct arena *a, const char **ret,
                     struct error *err) MUST_USE;

/* ---- accounts ---- */

/* Numbers are stored: never change them. */
enum account_status {
    ACCOUNT_ENABLED = 1,
    ACCOUNT_DISABLED = 2, /* no logins, no mail; everything is kept */
    ACCOUNT_CLOSING = 3,  /* deleted: being erased */
};

/* What is logged in to: app passwords, and the main password of an account, may be for some of
 * these only. Each is a bit. Numbers are stored: never change them. */
enum auth_service {
    AUTH_IMAP = 1,
    AUTH_POP3 = 2,
    AUTH_SMTP = 4, /* submission */
};

#define DIRECTORY_APP_PASSWORDS_MAX     100 /* of one account */
#define DIRECTORY_APP_PASSWORD_NAME_MAX 100 /* bytes */

struct directory_app_password {
    const char *name;  /* UTF-8, for people; no two of an account have the same */
    unsigned services; /* bits of enum auth_service */
    int64_t created_ms;
    int64_t expires_ms; /* 0: never */
    uint8_t hash[32];   /* app_password.h */
};
/* Where an account may differ from the server. Numbers are stored. */
enum directory_choice { DIRECTORY_AS_SERVER = 0, DIRECTORY_YES = 1, DIRECTORY_NO = 2 };

#define DIRECTORY_SENDERS_MAX 4096 /* octets of directory_account.senders */

/* The quota is not here: it counts at commit, so it is a value in the account's log (lib/mail). */
struct directory_account {
    uint64_t id;         /* random, never 0, never reused */
    uint64_t version;    /* the store's, of the document: changes with every change of it */
    const char *login;   /* normalised address */
    const char *display; /* UTF-8, for people; "" if none */
    enum account_status status;
    int64_t created_ms;    /* wall clock */
    uint64_t message_size; /* largest message; 0: the server's limit */
    unsigned connections;  /* at once in one process; 0: the server's limit */
    bool admin;            /* may do to other accounts what a protocol offers (IMAP SETQUOTA) */
    const char *hash;      /* password.h; "": no password login */
    const char *scram;     /* SCRAM-SHA-256 verifier; "": none */
    const char *scram_sha1;
    unsigned refused; /* bits of enum auth_service: what hash and verifiers are not for */
    const struct directory_app_password *app_passwords;
    size_t app_passwords_n;
    /* of what it sends */
    bool sandbox;                    /* nothing leaves: all is caught in its own INBOX */
    enum directory_choice save_sent; /* a copy into Sent */
    unsigned send_messages;          /* in an hour; 0: the server's limit */
    unsigned send_recipients;        /* in an hour; 0: the server's limit */
    const char *senders;  /* whose mail it may send, besides its own addresses: addresses,
                             "@domain" or "*", normalised, with blanks between; "": nobody's */
    struct slice unknown; /* fields of a later format, kept when the account is written again */
};

/* Makes an account of login, display, status, limits and verifiers; the rest is filled in here.
 * prepare(context, id) (NULL: none) runs when the account is stored and not yet reachable; if it
 * fails, the account is taken back. -ERR_EXISTS the address is taken; -ERR_NOTFOUND the domain is
 * not ours; -ERR_INVALID no such login is possible; or what prepare returned. */
int directory_account_add(struct directory *d, const struct directory_account *wanted,
                          int (*prepare)(void *context, uint64_t id, struct error *err),
                          void *context, uint64_t *ret_id, struct error *err) MUST_USE;
/* -ERR_NOTFOUND. Closing accounts are found. */
int directory_account_get(struct directory *d, uint64_t id, struct arena *a,
                          struct directory_account *ret, struct error *err) MUST_USE;
/* By login as a person types it. -ERR_NOTFOUND also for aliases and for what cannot be a login. */
int directory_account_find(struct directory *d, struct slice login, struct arena *a,
                           struct directory_account *ret, struct error *err) MUST_USE;
/* Writes everything but id, login, created. account->version guards and is renewed.
 * -ERR_CONFLICT somebody changed it since it was read; -ERR_NOTFOUND. */
int directory_account_update(struct directory *d, struct directory_account *account,
                             struct error *err) MUST_USE;
/* account as read. -ERR_EXISTS, -ERR_CONFLICT, -ERR_NOTFOUND (domain), -ERR_INVALID. */
int directory_account_rename(struct directory *d, struct directory_account *account,
                             struct slice login, struct error *err) MUST_USE;
/* Closes it: nobody logs in and no mail comes any more. close(context, id) (NULL: none) runs when
 * the account is marked, before its address is free again. May be repeated after a failure. */
int directory_account_close(struct directory *d, uint64_t id,
                            int (*close)(void *context, uint64_t id, struct error *err),
                            void *context, struct error *err) MUST_USE;
/* Removes the record of a closing account when its mail is erased. -ERR_INVALID not closing. */
int directory_account_forget(struct directory *d, uint64_t id, struct error *err) MUST_USE;
/* In order of id, at most `limit` with id > after. *ret_n 0: there are no more. */
int directory_account_list(struct directory *d, uint64_t after, size_t limit, struct arena *a,
                           struct directory_account **ret, size_t *ret_n,
                           struct error *err) MUST_USE;

/* ---- addresses and domains ---- */

struct directory_alias {
    const char *address;  /* normalised; "@domain": catch-all */
    uint64_t account;     /* a login address: its account; 0: an alias */
    const char **targets; /* of an alias: normalised addresses, ours or foreign */
    size_t targets_n;
    uint64_t version;
};

/* Adds targets to the alias, which is made if it is not there. Targets that are there already are
 * left. -ERR_EXISTS it is an account's login; -ERR_NOTFOUND its domain is not ours; -ERR_INVALID;
 * -ERR_LIMIT too many targets; -ERR_CONFLICT others kept changing it. */
int directory_alias_add(struct directory *d, struct slice address, const struct slice *targets,
                        size_t n, struct error *err) MUST_USE;
/* Removes these targets (n 0: all); an alias without targets is gone. -ERR_NOTFOUND. */
int directory_alias_delete(struct directory *d, struct slice address, const struct slice *targets,
                           size_t n, struct error *err) MUST_USE;
/* In order of address, at most `limit` behind `after` ("" at first), logins among them. */
int directory_address_list(struct directory *d, const char *after, size_t limit, struct arena *a,
                           struct directory_alias **ret, size_t *ret_n, struct error *err) MUST_USE;

/* -ERR_EXISTS, -ERR_INVALID */
int directory_domain_add(struct directory *d, struct slice domain, struct error *err) MUST_USE;
/* -ERR_NOTFOUND; -ERR_INVALID addresses use it. */
int directory_domain_delete(struct directory *d, struct slice domain, struct error *err) MUST_USE;
int directory_domain_list(struct directory *d, const char *after, size_t limit, struct arena *a,
                          const char ***ret, size_t *ret_n, struct error *err) MUST_USE;
struct directory_domain {
    bool sandbox;         /* what its accounts send is caught in their own INBOX */
    bool has_expire;      /* its accounts' messages expire after ... */
    int64_t expire_ms;    /* 0: never; else the server's setting counts */
    uint64_t version;     /* the store's, of the document */
    struct slice unknown; /* fields of a later format, kept when the domain is written again */
};
/* 1 found, 0 it is not ours. `domain` is normalised. */
int directory_domain_get(struct directory *d, const char *domain, struct arena *a,
                         struct directory_domain *ret, struct error *err) MUST_USE;
/* domain as read; version guards. -ERR_CONFLICT, -ERR_NOTFOUND. */
int directory_domain_update(struct directory *d, const char *name,
                            const struct directory_domain *domain, struct error *err) MUST_USE;
/* 1 ours, 0 not. */
int directory_domain_is_local(struct directory *d, const char *domain, struct error *err) MUST_USE;

/* ---- who gets the mail ---- */

struct directory_recipient {
    uint64_t account;
    const char *login;     /* of the account: for Delivered-To */
    const char *detail;    /* "box" of user+box; "" if none */
    uint64_t message_size; /* 0: the server's limit */
    const char *foreign;   /* with RESOLVE_FOREIGN: an address elsewhere; account is 0 */
};

/* Give addresses elsewhere as well. Without it (nothing here sends mail yet) an address that leads
 * to any is refused with -ERR_NOPERM, since delivering to the others would lose a part silently. */
#define RESOLVE_FOREIGN 1u

/* The accounts that mail to `text` goes to, each once. Tried in turn: the address with its detail,
 * without, the catch-all. The detail goes on through aliases whose targets have none.
 * -ERR_NOTFOUND no such address, or not our domain; -ERR_INVALID not an address; -ERR_NOPERM the
 * account is disabled, or see above; -ERR_LIMIT aliases nested too deep or too many. A loop of
 * aliases is no error as long as it leads to somebody. */
int directory_resolve(struct directory *d, struct slice text, unsigned flags, struct arena *a,
                      struct directory_recipient **ret, size_t *ret_n, struct error *err) MUST_USE;

/* May the account send in the name of `address`? 1: mail for it reaches the account, or the account
 * may send for it (`senders`); 0: no, or it is no address. */
int directory_may_send(struct directory *d, const struct directory_account *account,
                       struct slice address, struct error *err) MUST_USE;
/* Normalises a list of senders, separated by blanks or commas. -ERR_INVALID, -ERR_LIMIT. */
int directory_senders_parse(const struct directory *d, struct slice text, struct arena *a,
                            const char **ret, struct error *err) MUST_USE;

/* ---- repair ---- */

enum directory_fault {
    DIRECTORY_UNREACHABLE,     /* an enabled account whose login address does not lead to it */
    DIRECTORY_DANGLING,        /* an address of an account that is not there */
    DIRECTORY_SECOND_ADDRESS,  /* a login address that is not the account's (any more) */
    DIRECTORY_CLOSING_ADDRESS, /* an address of a closing account */
    DIRECTORY_DAMAGED          /* a value that cannot be read */
};

/* Walks all accounts and addresses. Each fault is told to `tell`; with `repair` addresses that
 * lead nowhere are removed (guarded by version), unreachable accounts get their address back if
 * it is free. Run it with `repair` a while after the last `account add` or rename: what is being
 * made at the moment looks unfinished. Returns the number of faults. */
int directory_check(struct directory *d, bool repair,
                    void (*tell)(void *context, enum directory_fault fault, uint64_t account,
                                 const char *address, bool repaired),
                    void *context, struct error *err) MUST_USE;
