/* SPDX-License-Identifier: MPL-2.0 */
/* conf: the settings of an Eider node, read from one libconfig file.
 *
 * Every setting is declared once, as a row (rows.h): name, type, unit, range, default, whether a
 * reload may change it, and a help text. The checker below, `eider config`, the sample file
 * etc/eider.conf and the manual page eider.conf(5) are all made from the rows, so that they cannot
 * disagree. To add a setting: a member here, a row in rows.c, then write etc/eider.conf and
 * docs/man/eider.conf.5 anew (`eider config defaults --sample`, `--manual`); a test says when these
 * are out of date.
 *
 * A `struct conf` is never changed after conf_load: any thread may read it, and a reload makes
 * another one. All strings and lists belong to it. Strings are never NULL ("" means: not set).
 * Sizes are bytes, durations are milliseconds.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"

enum conf_protocol { CONF_IMAP, CONF_LMTP, CONF_POP3, CONF_SUBMISSION, CONF_HTTP };
enum conf_tls { CONF_TLS_NONE, CONF_TLS_STARTTLS, CONF_TLS_IMPLICIT };
enum conf_route_tls {
    CONF_ROUTE_NONE,
    CONF_ROUTE_OPPORTUNISTIC,
    CONF_ROUTE_REQUIRED,
    CONF_ROUTE_IMPLICIT
}; /* as enum transport_tls */
enum conf_family {
    CONF_IPV6_FIRST,
    CONF_IPV4_FIRST,
    CONF_IPV6_ONLY,
    CONF_IPV4_ONLY
}; /* as enum transport_family */
enum conf_log_level { CONF_LOG_ERROR, CONF_LOG_WARN, CONF_LOG_INFO, CONF_LOG_DEBUG }; /* as log.h */
enum conf_tls_version { CONF_TLS_1_2, CONF_TLS_1_3 };
enum conf_over_quota { CONF_OVER_QUOTA_TEMPORARY, CONF_OVER_QUOTA_PERMANENT };
enum conf_hash { CONF_HASH_ARGON2ID, CONF_HASH_YESCRYPT };

/* One place to listen at: either path (UNIX socket) or address and port. */
struct conf_listener {
    int protocol;             /* enum conf_protocol */
    const char *address;      /* numeric IPv4 or IPv6; "*": every address, v4 and v6 */
    unsigned port;            /* 1-65535; 0 takes the protocol's own (see conf_load) */
    const char *path;         /* absolute; relative ones were put below `data` */
    unsigned mode;            /* of the socket file, e.g. 0660 */
    int tls;                  /* enum conf_tls */
    bool proxy;               /* every connection starts with a PROXY header (v1 or v2) */
    unsigned max_connections; /* of this listener; beyond it new ones are refused */
    unsigned max_per_address; /* per client (v6: per /64); 0: no limit */
    unsigned line;            /* in the file, for messages; 0: from the default */
};

struct conf_certificate {
    const char *certificate; /* PEM file: our certificate, then the chain */
    const char *key;         /* PEM file; "": in the same file */
    unsigned line;
};

/* Who gives tokens to our users (OAuth 2). What must be there: lib/auth/oauth.h. */
struct conf_issuer {
    const char *issuer, *audience;
    const char *keys; /* absolute path, or URL */
    const char *algorithms;
    const char *introspection;
    const char *client_id, *client_secret;
    const char *cafile;
    const char *claim, *scope;
    int64_t leeway; /* ms */
    unsigned line;
};

/* Of what is not sent to the servers that the DNS names. */
struct conf_route {
    const char *domain; /* destination in A-labels, ".example.org", or "*" */
    const char *host;   /* never "" after loading */
    unsigned port;      /* never 0 after loading */
    int tls;            /* enum conf_route_tls */
    bool verify;
    const char *user, *password; /* "": no AUTH */
    unsigned line;
};

/* IPv4 networks are kept as v4-mapped IPv6 ones (::ffff:a.b.c.d, bits + 96). */
struct conf_network {
    struct in6_addr address;
    unsigned bits; /* 0-128 */
};

/* A list: n items of the type that the member's comment names. */
#define CONF_LIST(type)                                                                            \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t n;                                                                                  \
    }

struct conf {
    struct arena arena; /* owns all below */
    const char *file;   /* the path it was read from; "": defaults only */

    const char *data;     /* absolute path of the data directory */
    const char *store;    /* "sqlite:/path/file" (absolute) or "mongodb://..." */
    const char *bus;      /* "local:", "redis://..." or "rediss://..." (bus.h) */
    const char *hostname; /* in greetings and trace headers; the machine's own if not set */
    struct {
        int level; /* enum conf_log_level; the numbers of enum log_level */
    } log;
    struct {
        unsigned loops;   /* threads that move bytes; never 0 after loading */
        unsigned workers; /* threads that run commands; never 0 after loading */
    } threads;
    CONF_LIST(struct conf_listener) listeners;
    struct {
        CONF_LIST(struct conf_network) networks; /* who may send PROXY headers */
    } proxy;
    struct {
        CONF_LIST(struct conf_certificate) certificates; /* the first is the default one */
        int min_version;                                 /* enum conf_tls_version */
        const char *ciphers;            /* TLS 1.2, OpenSSL's list syntax; "": OpenSSL's own */
        const char *ciphersuites;       /* TLS 1.3; "": OpenSSL's own */
        const char *client_authorities; /* PEM file; "": clients show no certificates */
    } tls;
    struct {
        bool plaintext_without_tls;
        const char *default_domain; /* for logins and addresses without one; "": refused */
        int scheme;                 /* enum conf_hash, for new passwords */
        uint64_t argon2_memory;     /* bytes */
        unsigned argon2_passes;
        unsigned yescrypt_cost;    /* 1-11, crypt(5) */
        unsigned scram_iterations; /* for new passwords */
        unsigned scram_sha1_iterations;
        unsigned hash_threads; /* password hashes computed at once; never 0 after loading */
        int64_t cache_ttl;     /* ms; 0: no login cache */
        unsigned cache_entries;
        int64_t failure_delay;     /* ms, after the first failure; doubles up to ... */
        int64_t failure_delay_max; /* ms */
        CONF_LIST(struct conf_issuer) oauth;
        int64_t oauth_timeout, oauth_key_age, oauth_key_floor, oauth_cache; /* ms */
    } auth;
    struct {
        uint64_t message_size; /* largest message by LMTP and APPEND */
        uint64_t literal;      /* largest literal that is not a message */
        uint64_t command;      /* one command with its non-message literals */
        unsigned nesting;      /* parentheses in a command */
        unsigned search_terms; /* keys in one SEARCH */
        unsigned sequence_set; /* ranges in one set */
        unsigned append_messages;
        uint64_t append_memory;
        unsigned messages, saved_messages; /* of one IMAP command (RFC 9738); 0: no limit */
        unsigned recipients;               /* of one transaction (LMTP, submission) */
        unsigned mailboxes;                /* of one account */
        unsigned mailbox_name;             /* bytes of a name */
        unsigned mailbox_levels;
        uint64_t metadata_size;    /* octets of an annotation */
        unsigned metadata_entries; /* of one mailbox */
        int64_t idle_timeout;   /* ms without a command, after login (RFC 3501: 30 min at least) */
        int64_t login_timeout;  /* ms from the connection to the login */
        int64_t write_timeout;  /* ms without progress on the client's side */
        unsigned auth_failures; /* then the connection is closed */
        bool literal_minus;     /* LITERAL- instead of LITERAL+ (RFC 7888) */
        unsigned bad_commands;  /* in a row, then the connection is closed */
        unsigned user_connections; /* of one account in this process; 0: no limit */
    } limits;
    struct {
        const char *comment, *admin; /* annotations of the server; "": none */
        const char *url_hosts;       /* with blanks between; "": hostname */
    } imap;
    struct {
        bool mark_seen;
        int64_t login_delay;  /* of one account, between two logins; 0: none */
        int64_t idle_timeout; /* of a client that is logged in */
    } pop3;
    struct {
        bool sandbox;      /* what anybody sends is caught in his own INBOX */
        bool save_sent;    /* a copy of what is sent goes into Sent */
        bool trace_client; /* trace fields name the client */
        unsigned account_messages, account_recipients; /* in an hour; 0: no limit */
        unsigned address_messages, address_recipients; /* of one client address */
        unsigned transactions;                         /* of one connection; 0: no limit */
        int64_t hold_max;                              /* FUTURERELEASE; 0: not offered */
        const char *no_solicit; /* classes with blanks between; "": none is refused */
        unsigned priority_max;  /* MT-PRIORITY */
    } submission;
    struct {
        const char *delimiter; /* one character, or "": no detail */
        int over_quota;        /* enum conf_over_quota */
    } delivery;
    struct {
        bool enabled;          /* a node that serves everything takes mail out of the queue, too */
        unsigned concurrency;  /* attempts at once */
        unsigned workers;      /* threads that wait for the store */
        int64_t retry_first;   /* ms, like the other times */
        unsigned retry_growth; /* percent */
        int64_t retry_max;
        int64_t expiry;
        int64_t warn; /* 0: never */
        int64_t lease;
        int64_t poll_interval;
        uint64_t return_size; /* octets of a message that a bounce returns whole */
        int64_t horizon;      /* ms */
        int64_t sweep_interval;
    } queue;
    struct {
        CONF_LIST(struct conf_route) routes;
        unsigned connections;                  /* to one destination */
        unsigned messages;                     /* of one connection */
        int64_t idle;                          /* ms, like the other times */
        int64_t timeout;                       /* of a reply */
        int64_t connect_timeout;               /* of one address */
        int family;                            /* enum conf_family */
        const char *source_ipv4, *source_ipv6; /* "": any */
        bool dane, mta_sts;
        const char *ca_file;                           /* "": the system's */
        CONF_LIST(struct conf_network) local_networks; /* that MX records may name */
        unsigned port, mta_sts_port;
    } sending;
    struct {
        const char *servers;      /* "": as /etc/resolv.conf says; "recursive"; addresses */
        const char *trust_anchor; /* "": no DNSSEC */
        int64_t timeout;          /* ms */
    } dns;
    struct {
        uint64_t account; /* bytes, given to new accounts; 0: none */
    } quota;
    struct {
        int64_t undelete_window; /* ms */
        unsigned snapshot_after; /* records */
        unsigned index_after;    /* messages outside the text index that extend it; 0: none */
        int64_t poll_interval;   /* ms */
        int64_t expire;          /* ms; 0: never */
        int64_t sweep_interval;  /* ms */
        int64_t horizon;         /* ms */
        int64_t store_wait;      /* ms */
    } mail;
    struct {
        uint64_t replicas;  /* bytes of account states kept in memory */
        int64_t keep;       /* ms */
        uint64_t digests;   /* bytes of message digests kept in memory */
        uint64_t sort_keys; /* bytes */
        uint64_t index;     /* bytes of parts of text indexes kept in memory */
        unsigned sights;    /* blobs remembered as seen alive */
    } cache;
    struct {
        int64_t drain; /* ms that a shutdown waits for commands in progress */
    } shutdown;
};

#define CONF_TRUST_ANCHOR "/usr/share/dns/root.key"

/* Where the file is when the command line names none. */
#define CONF_FILE_DEFAULT "/etc/eider/eider.conf"

/* Reads and checks a file. path NULL: the defaults alone. Unknown settings, wrong types, values
 * out of range and contradictions are refused.
 * 0; -ERR_NOTFOUND no such file; -ERR_NOPERM not readable; -ERR_INVALID with "file:line: ...". */
int conf_load(const char *path, struct conf **ret, struct error *err) MUST_USE;
/* The same from text in memory; `name` stands for the file in messages. For tests and fuzzing. */
int conf_parse(const char *text, const char *name, struct conf **ret, struct error *err) MUST_USE;
void conf_free(struct conf *c);

/* Appends the names of the settings that differ but need a restart, comma-separated; how many. */
size_t conf_needs_restart(const struct conf *running, const struct conf *fresh, struct buf *names);

/* Is the address (IPv4 as v4-mapped) in one of the networks? */
bool conf_network_has(const struct conf_network *list, size_t n, const struct in6_addr *address);
/* "10.0.0.0/8", "::1", ... 0 or -ERR_INVALID (also if bits are set behind the prefix). */
int conf_network_parse(const char *text, struct conf_network *ret) MUST_USE;

/* The names as the file has them ("imap", "starttls"). */
const char *conf_protocol_name(int protocol);
const char *conf_tls_name(int tls);

/* Is there enough to serve with: listeners, no two at one place, certificates that can be read? For
 * `eider serve` and `eider config check`; other commands do without. 0, -ERR_INVALID. */
int conf_check_serve(const struct conf *c, struct error *err) MUST_USE;

/* ---- for people (text.c) ---- */

/* Calls back for every setting with its value as the file would have it; passwords in URIs are
 * masked. */
void conf_each(const struct conf *c,
               void (*tell)(void *context, const char *name, const char *value, bool is_default),
               void *context);
/* The settings as a file that conf_parse takes, with all passwords: not for showing. */
void conf_write(const struct conf *c, struct buf *out);
/* etc/eider.conf: every setting explained, with its default, commented out. */
void conf_write_sample(struct buf *out);
/* docs/man/eider.conf.5, in mdoc. */
void conf_write_manual(struct buf *out);
