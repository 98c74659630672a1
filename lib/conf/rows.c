/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/conf/rows.h"

#include "lib/conf/conf.h"

#define KIB    UINT64_C(1024)
#define MIB    (KIB * 1024)
#define GIB    (MIB * 1024)
#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static const char *const protocols[] = {"imap", "lmtp", "pop3", "submission", "http", NULL};
static const char *const tls_modes[] = {"none", "starttls", "implicit", NULL};
static const char *const route_tls[] = {"none", "opportunistic", "required", "implicit", NULL};
static const char *const families[] = {"ipv6-first", "ipv4-first", "ipv6", "ipv4", NULL};
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const tls_versions[] = {"1.2", "1.3", NULL};
static const char *const over_quota[] = {"temporary", "permanent", NULL};
static const char *const schemes[] = {"argon2id", "yescrypt", NULL};

const char *conf_protocol_name(int protocol)
{
    return protocols[protocol];
}

const char *conf_tls_name(int tls)
{
    return tls_modes[tls];
}

#define AT(member) offsetof(struct conf_listener, member)
static const struct conf_row listener_rows[] = {
    {"protocol", CONF_ENUM, AT(protocol), "\"imap\"", .choices = protocols,
     .help = "What is spoken there. http tells load balancers and Prometheus how the node is "
             "(/healthz, /readyz, /metrics), without asking who they are: listen at an inner "
             "address."},
    {"address", CONF_STRING, AT(address), "\"*\"", .max = 63,
     .help = "A numeric IPv4 or IPv6 address, or \"*\" for all of both kinds. Not together with "
             "path."},
    {"port", CONF_UINT, AT(port), "0", .max = 65535,
     .help =
         "0 means the usual one: imap 143, or 993 with implicit TLS; pop3 110, or 995; submission "
         "587, or 465; lmtp 24; http 8080, or 8443."},
    {"path", CONF_STRING, AT(path), "\"\"", .max = 107, /* the end of sun_path */
     .help = "A UNIX socket instead of address and port; a relative path is below data."},
    {"mode", CONF_MODE, AT(mode), "\"0660\"", .max = 0777, .help = "Permissions of the socket."},
    {"tls", CONF_ENUM, AT(tls), "\"none\"", .choices = tls_modes,
     .help = "starttls: the client may switch it on; implicit: from the first byte."},
    {"proxy", CONF_BOOL, AT(proxy), "false",
     .help = "Every connection begins with a PROXY header (version 1 or 2), and only clients in "
             "proxy.networks may connect."},
    {"max_connections", CONF_UINT, AT(max_connections), "10000", .min = 1, .max = 1000000,
     .help = "At once, of this listener; what comes beyond is refused."},
    {"max_per_address", CONF_UINT, AT(max_per_address), "100", .max = 1000000,
     .help = "At once, of one client address (IPv6: of one /64); 0: no limit. Connections from "
             "trusted proxies count for the client that they name."},
    {NULL}};
#undef AT

#define AT(member) offsetof(struct conf_certificate, member)
static const struct conf_row certificate_rows[] = {
    {"certificate", CONF_STRING, AT(certificate), "\"\"", .max = 4095,
     .help = "PEM file with our certificate first, then the chain. Must be given; a relative path "
             "is below data."},
    {"key", CONF_STRING, AT(key), "\"\"", .max = 4095,
     .help = "PEM file with the private key; left out: the key is in the certificate's file."},
    {NULL}};
#undef AT

#define AT(member) offsetof(struct conf_issuer, member)
static const struct conf_row issuer_rows[] = {
    {"issuer", CONF_STRING, AT(issuer), "\"\"", .max = 1000,
     .help =
         "What its tokens have as \"iss\", to the letter, as \"https://id.example.org\". Must be "
         "given."},
    {"audience", CONF_STRING, AT(audience), "\"\"", .max = 1000,
     .help =
         "What must be in \"aud\": our name there. Must be given with keys, or tokens for others "
         "would let in."},
    {"keys", CONF_STRING, AT(keys), "\"\"", .max = 4000,
     .help = "Its JSON Web Key Set, for signed tokens (JWT): an https:// URL or a file (a relative "
             "path is below data)."},
    {"algorithms", CONF_STRING, AT(algorithms), "\"RS256 ES256 EdDSA\"", .max = 100,
     .help = "Signatures that are taken."},
    {"introspection", CONF_STRING, AT(introspection), "\"\"", .max = 4000,
     .help = "Its https:// URL for token introspection (RFC 7662), for tokens that are not signed, "
             "or all if there are no keys."},
    {"client_id", CONF_STRING, AT(client_id), "\"\"", .max = 1000,
     .help = "Who we are there (HTTP Basic)."},
    {"client_secret", CONF_STRING, AT(client_secret), "\"\"", .max = 1000, .hidden = true,
     .help = "And our password."},
    {"cafile", CONF_STRING, AT(cafile), "\"\"", .max = 4000,
     .help = "PEM file with the authorities that its https is checked by; left out: the system's."},
    {"claim", CONF_STRING, AT(claim), "\"email\"", .min = 1, .max = 100,
     .help = "Which claim of a token, or member of the introspection's answer, holds the login. An "
             "email that the issuer marks as not verified is not believed."},
    {"scope", CONF_STRING, AT(scope), "\"\"", .max = 1000,
     .help = "A scope that a token must have; left out: none."},
    {"leeway", CONF_DURATION, AT(leeway), "\"60s\"", .max = HOUR,
     .help = "By so much its clock may differ from ours."},
    {NULL}};
#undef AT

#define AT(member) offsetof(struct conf_route, member)
static const struct conf_row route_rows[] = {
    {"domain", CONF_STRING, AT(domain), "\"*\"", .min = 1, .max = 254,
     .help = "The recipients' domain, as A-labels (xn--...); \".example.org\": all domains below "
             "it; \"*\": all."},
    {"host", CONF_STRING, AT(host), "\"\"", .max = 253,
     .help = "The server that takes the mail: a name or a numeric address. Must be given."},
    {"port", CONF_UINT, AT(port), "0", .max = 65535,
     .help = "0: 465 with implicit TLS, 587 with a user, else 25."},
    {"tls", CONF_ENUM, AT(tls), "\"required\"", .choices = route_tls,
     .help = "none; opportunistic: if it is offered, whoever it is; required: STARTTLS and a "
             "certificate of a known CA for host; implicit: the same from the first byte on."},
    {"verify", CONF_BOOL, AT(verify), "true",
     .help = "false: with required and implicit, any certificate will do."},
    {"user", CONF_STRING, AT(user), "\"\"", .max = 255,
     .help = "Log in with this name: by SCRAM where that is offered, else, with TLS only, as it "
             "is."},
    {"password", CONF_STRING, AT(password), "\"\"", .max = 1000, .hidden = true,
     .help = "And this password."},
    {NULL}};
#undef AT

#define AT(member) offsetof(struct conf, member)
const struct conf_row conf_rows[] = {
    {"data", CONF_STRING, AT(data), "\"/var/lib/eider\"", .min = 1, .max = 4000,
     .help = "The directory for what this node keeps: the embedded database, sockets, "
             "certificates made at the first start."},
    {"store", CONF_STRING, AT(store), "\"sqlite:eider.db\"", .min = 7, .max = 4000, .secret = true,
     .help = "Where mail and accounts are: \"sqlite:FILE\", embedded, for one machine (a relative "
             "path is below data); or \"mongodb://HOST,HOST/DATABASE?OPTIONS\" (also "
             "mongodb+srv), shared by any number of nodes."},
    {"bus", CONF_STRING, AT(bus), "\"local:\"", .min = 6, .max = 4000, .secret = true,
     .help = "How nodes tell each other at once that an account has changed; without it they look "
             "every mail.poll_interval. \"local:\": one machine only; "
             "\"redis://USER:PASSWORD@HOST:PORT?prefix=NAME\", or rediss:// for TLS, for any "
             "number of nodes, with the same server and prefix (default \"eider\"; channels are "
             "the same in all databases of a server, so two clusters need two prefixes). "
             "With sentinel=NAME the hosts, separated by commas, are Sentinels that know the "
             "server by NAME (sentinel_user and sentinel_password are for them). For TLS: "
             "cafile, certfile, keyfile. Special characters in values as %XX. Nothing depends on "
             "what Redis keeps: it may be lost, or be away, and mail only shows later."},
    {"hostname", CONF_STRING, AT(hostname), "\"\"", .max = 255,
     .help = "Our name in greetings and trace headers. Left out: the machine's own."},

    {"listeners", CONF_GROUPS, AT(listeners),
     "( { protocol = \"imap\"; tls = \"starttls\"; }, { protocol = \"imap\"; tls = \"implicit\"; },"
     " { protocol = \"pop3\"; tls = \"starttls\"; }, { protocol = \"pop3\"; tls = \"implicit\"; },"
     " { protocol = \"submission\"; tls = \"starttls\"; },"
     " { protocol = \"submission\"; tls = \"implicit\"; },"
     " { protocol = \"lmtp\"; path = \"lmtp\"; } )",
     .max = 256, .members = listener_rows, .item_size = sizeof(struct conf_listener),
     .line_offset = offsetof(struct conf_listener, line),
     .help = "Where to listen, as a list of groups."},

    {"log", CONF_SECTION, .help = "Logging, to standard error or the journal."},
    {"log.level", CONF_ENUM, AT(log.level), "\"info\"", .reload = true, .choices = log_levels,
     .help = "Lines of this level and above it are written."},

    {"threads", CONF_SECTION, .help = "Threads of one process."},
    {"threads.loops", CONF_UINT, AT(threads.loops), "0", .max = 256,
     .help = "Threads that move bytes between clients and memory; 0: one for each core."},
    {"threads.workers", CONF_UINT, AT(threads.workers), "0", .max = 1024,
     .help =
         "Threads that run commands and wait for the store: so many commands can be under way at "
         "once, and so many deliveries share one commit; 0: 16 for each core, and 64 at least."},

    {"proxy", CONF_SECTION, .help = "Load balancers in front."},
    {"proxy.networks", CONF_NETWORKS, AT(proxy.networks), "[]", .max = 256,
     .help = "Networks whose PROXY headers are believed, as \"10.1.0.0/16\" or \"2001:db8::/32\". "
             "A client that such a header names as protected by TLS may send passwords as they "
             "are."},

    {"tls", CONF_SECTION, .help = "Transport security of listeners with tls other than none."},
    {"tls.certificates", CONF_GROUPS, AT(tls.certificates), "()", .max = 4096, .reload = true,
     .members = certificate_rows, .item_size = sizeof(struct conf_certificate),
     .line_offset = offsetof(struct conf_certificate, line),
     .help = "Certificates with their keys. The client's server name (SNI) picks the one that has "
             "the name; otherwise the first is shown. Without any, one is made at the first start, "
             "which "
             "no client trusts by itself."},
    {"tls.min_version", CONF_ENUM, AT(tls.min_version), "\"1.2\"", .reload = true,
     .choices = tls_versions, .help = "The oldest version of TLS that is spoken."},
    {"tls.ciphers", CONF_STRING, AT(tls.ciphers), "\"\"", .max = 2000, .reload = true,
     .help = "Ciphers of TLS 1.2 as in openssl-ciphers(1); left out: OpenSSL's choice."},
    {"tls.ciphersuites", CONF_STRING, AT(tls.ciphersuites), "\"\"", .max = 2000, .reload = true,
     .help = "Cipher suites of TLS 1.3; left out: OpenSSL's choice."},

    {"tls.client_authorities", CONF_STRING, AT(tls.client_authorities), "\"\"", .max = 4000,
     .reload = true,
     .help = "PEM file with the authorities whose certificates clients may log in with (SASL "
             "EXTERNAL): an rfc822Name in the certificate's subjectAltName is the login. "
             "Revocation lists may be in the same file; if there is one, there must be one of each "
             "authority. Left out: clients are not asked for certificates. Clients without one, or "
             "with another, are served all the same."},

    {"auth", CONF_SECTION, .help = "Logins."},
    {"auth.plaintext_without_tls", CONF_BOOL, AT(auth.plaintext_without_tls), "false",
     .help = "Allow passwords to be sent over connections without TLS (IMAP LOGIN, SASL PLAIN and "
             "LOGIN). SCRAM is allowed in any case, and UNIX sockets are safe anyway."},
    {"auth.default_domain", CONF_STRING, AT(auth.default_domain), "\"\"", .max = 255,
     .help = "Put behind logins and addresses that have no domain; left out: these are refused."},
    {"auth.scheme", CONF_ENUM, AT(auth.scheme), "\"argon2id\"", .choices = schemes,
     .help = "How new passwords are hashed."},
    {"auth.argon2_memory", CONF_SIZE, AT(auth.argon2_memory), "\"19M\"", .min = MIB, .max = 4 * GIB,
     .help = "Memory of one argon2id hash. Stored hashes keep what they have."},
    {"auth.argon2_passes", CONF_UINT, AT(auth.argon2_passes), "2", .min = 1, .max = 100,
     .help = "Passes over that memory."},
    {"auth.yescrypt_cost", CONF_UINT, AT(auth.yescrypt_cost), "5", .min = 1, .max = 11,
     .help = "Cost of a yescrypt hash, see crypt(5)."},
    {"auth.scram_iterations", CONF_UINT, AT(auth.scram_iterations), "30000", .max = 65536,
     .help = "Iterations of the SCRAM-SHA-256 verifier that is made with every new password; 0: "
             "make none, so that the account cannot log in by SCRAM; else 4096 at least. Clients "
             "pay for them at every login; many refuse more than 65536."},
    {"auth.scram_sha1_iterations", CONF_UINT, AT(auth.scram_sha1_iterations), "60000", .max = 65536,
     .help = "The same for SCRAM-SHA-1, which some clients have and SCRAM-SHA-256 not. (One of its "
             "iterations costs half as much, so there are twice as many: what is stored of a "
             "password is as strong as its weakest part.) 0: SCRAM-SHA-1 is not offered."},
    {"auth.hash_threads", CONF_UINT, AT(auth.hash_threads), "0", .max = 256,
     .help = "Password hashes computed at once; 0: one for each core."},
    {"auth.cache_ttl", CONF_DURATION, AT(auth.cache_ttl), "\"10m\"", .max = DAY,
     .help = "For how long a login that succeeded is remembered (as a keyed hash, in memory), so "
             "that the same one costs no password hash; 0: never. A changed password counts at "
             "once."},
    {"auth.cache_entries", CONF_UINT, AT(auth.cache_entries), "10000", .min = 1, .max = 10000000,
     .help = "Logins remembered at most."},
    {"auth.failure_delay", CONF_DURATION, AT(auth.failure_delay), "\"1s\"", .max = 10 * MINUTE,
     .help = "The answer to a failed login is held back for so long; each further failure from the "
             "same address, or for the same account, doubles it."},
    {"auth.failure_delay_max", CONF_DURATION, AT(auth.failure_delay_max), "\"15s\"", .max = HOUR,
     .help = "But not beyond this."},
    {"auth.oauth", CONF_GROUPS, AT(auth.oauth), "()", .max = 16, .members = issuer_rows,
     .item_size = sizeof(struct conf_issuer), .line_offset = offsetof(struct conf_issuer, line),
     .help = "Issuers of tokens (OAuth 2): with any, OAUTHBEARER and XOAUTH2 are offered, over TLS "
             "like passwords."},
    {"auth.oauth_timeout", CONF_DURATION, AT(auth.oauth_timeout), "\"5s\"", .min = 100,
     .max = MINUTE, .help = "A request for keys or introspection ends after so long."},
    {"auth.oauth_key_age", CONF_DURATION, AT(auth.oauth_key_age), "\"1h\"", .min = MINUTE,
     .max = 7 * DAY, .help = "Keys are read again after so long."},
    {"auth.oauth_key_floor", CONF_DURATION, AT(auth.oauth_key_floor), "\"30s\"", .min = 100,
     .max = HOUR,
     .help = "But no sooner than this after the last time, whatever keys tokens name."},
    {"auth.oauth_cache", CONF_DURATION, AT(auth.oauth_cache), "\"1m\"", .max = HOUR,
     .help = "An introspection's answer is remembered for so long, but not beyond the token's end; "
             "0: each login asks."},

    {"limits", CONF_SECTION, .help = "What one client may ask for. All are refused politely."},
    {"limits.message_size", CONF_SIZE, AT(limits.message_size), "\"50M\"", .min = 64 * KIB,
     .max = GIB, .reload = true,
     .help = "The largest message that is taken, by LMTP, by submission and by APPEND. (Large "
             "providers take 25 "
             "to 50 MB; Postfix hands on 10 MB unless message_size_limit is raised; Dovecot has "
             "no limit.)"},
    {"limits.literal", CONF_SIZE, AT(limits.literal), "\"64K\"", .min = KIB, .max = 16 * MIB,
     .reload = true, .help = "The largest literal in a command that is not a message."},
    {"limits.literal_minus", CONF_BOOL, AT(limits.literal_minus), "false", .reload = true,
     .help = "Offer LITERAL- instead of LITERAL+ (RFC 7888): a client has to ask before it sends a "
             "literal of more than 4 KB."},
    {"limits.command", CONF_SIZE, AT(limits.command), "\"256K\"", .min = 8 * KIB, .max = 64 * MIB,
     .reload = true,
     .help = "The largest command, literals included that are not messages. (RFC 7162 asks for 8 "
             "KB; clients send long lists of UIDs.)"},
    {"limits.nesting", CONF_UINT, AT(limits.nesting), "50", .min = 5, .max = 1000, .reload = true,
     .help = "Parentheses within each other in a command."},
    {"limits.search_terms", CONF_UINT, AT(limits.search_terms), "1000", .min = 10, .max = 100000,
     .reload = true, .help = "Keys in one SEARCH."},
    {"limits.sequence_set", CONF_UINT, AT(limits.sequence_set), "20000", .min = 100,
     .max = 10000000, .reload = true, .help = "Numbers and ranges in one set."},
    {"limits.append_messages", CONF_UINT, AT(limits.append_messages), "1000", .min = 1,
     .max = 100000, .reload = true,
     .help = "Messages in one APPEND (RFC 3502). They are stored all or none, so all of them "
             "wait for the last."},
    {"limits.append_memory", CONF_SIZE, AT(limits.append_memory), "\"32M\"", .min = MIB, .max = GIB,
     .reload = true,
     .help = "Memory that the messages of one APPEND may take while they wait. Parts of 16 KB and "
             "more take none: they go to the store at once."},
    {"limits.messages", CONF_UINT, AT(limits.messages), "0", .max = 10000000, .reload = true,
     .help =
         "Messages that one command of IMAP works on: FETCH, STORE, SEARCH, MOVE and UID EXPUNGE "
         "take the newest so many and say how far they came, others refuse more (RFC 9738, "
         "MESSAGELIMIT). Few clients know it yet, and others would miss messages. 0: no limit."},
    {"limits.saved_messages", CONF_UINT, AT(limits.saved_messages), "0", .max = 10000000,
     .reload = true,
     .help = "Messages that one COPY or APPEND stores; more are refused (RFC 9738, SAVELIMIT). Not "
             "used together with limits.messages. 0: no limit."},
    {"limits.recipients", CONF_UINT, AT(limits.recipients), "1000", .min = 100, .max = 100000,
     .reload = true,
     .help = "Recipients of one message, by LMTP and by submission. (RFC 5321: 100 at least.)"},
    {"limits.mailboxes", CONF_UINT, AT(limits.mailboxes), "10000", .min = 10, .max = 100000,
     .help = "Mailboxes of one account, and likewise the names that it subscribes to."},
    {"limits.mailbox_name", CONF_UINT, AT(limits.mailbox_name), "1000", .min = 64, .max = 1000,
     .help = "Bytes (UTF-8) of a mailbox's full name; of one level 255."},
    {"limits.mailbox_levels", CONF_UINT, AT(limits.mailbox_levels), "32", .min = 2, .max = 32,
     .help = "Levels of a mailbox's name."},
    {"limits.metadata_size", CONF_SIZE, AT(limits.metadata_size), "\"16K\"", .min = KIB,
     .max = 64 * KIB - 1,
     .help = "The largest annotation (IMAP METADATA). (RFC 5464: 1024 octets at least.)"},
    {"limits.metadata_entries", CONF_UINT, AT(limits.metadata_entries), "100", .min = 10,
     .max = 10000,
     .help = "Annotations of one mailbox, and of an account itself. (RFC 5464: 10 at least.)"},
    {"limits.idle_timeout", CONF_DURATION, AT(limits.idle_timeout), "\"30m\"", .min = MINUTE,
     .max = DAY, .reload = true,
     .help = "A client that is logged in and sends nothing for so long is disconnected. (RFC "
             "3501: 30 minutes at least.)"},
    {"limits.login_timeout", CONF_DURATION, AT(limits.login_timeout), "\"60s\"", .min = SECOND,
     .max = HOUR, .reload = true,
     .help = "A client that has not logged in after so long is disconnected; by LMTP and, "
             "after the login, by submission, one that sends nothing for five times as long. The "
             "time for a TLS handshake, too, if it is "
             "shorter than 30 seconds."},
    {"limits.write_timeout", CONF_DURATION, AT(limits.write_timeout), "\"5m\"", .min = SECOND,
     .max = HOUR, .help = "A client that takes none of its output for so long is disconnected."},
    {"limits.auth_failures", CONF_UINT, AT(limits.auth_failures), "3", .min = 1, .max = 100,
     .reload = true, .help = "Failed logins on one connection; then it is closed."},
    {"limits.bad_commands", CONF_UINT, AT(limits.bad_commands), "20", .min = 1, .max = 1000,
     .reload = true, .help = "Commands in a row that make no sense; then it is closed."},
    {"limits.user_connections", CONF_UINT, AT(limits.user_connections), "50", .max = 100000,
     .reload = true, .help = "Connections of one account to one process; 0: no limit."},

    {"imap", CONF_SECTION, .help = "What IMAP tells."},
    {"imap.comment", CONF_STRING, AT(imap.comment), "\"\"", .max = 1000, .reload = true,
     .help = "For all users: the server's annotation /shared/comment (RFC 5464)."},
    {"imap.admin", CONF_STRING, AT(imap.admin), "\"\"", .max = 1000, .reload = true,
     .help = "How to reach the administrator, as a URI (\"mailto:...\", \"tel:...\"): the server's "
             "annotation /shared/admin."},
    {"imap.url_hosts", CONF_STRING, AT(imap.url_hosts), "\"\"", .max = 1000, .reload = true,
     .help = "Names by which clients know this server, with blanks between, the same on all nodes: "
             "IMAP URLs with these are its own, for URLAUTH and for submission's BURL. \"*\": any "
             "name is. Left out: hostname."},

    {"pop3", CONF_SECTION, .help = "Clients that fetch by POP3."},
    {"pop3.mark_seen", CONF_BOOL, AT(pop3.mark_seen), "true", .reload = true,
     .help = "Messages that were fetched whole are marked as seen at QUIT, for those who read the "
             "same mail by IMAP too."},
    {"pop3.login_delay", CONF_DURATION, AT(pop3.login_delay), "0", .max = HOUR, .reload = true,
     .help = "An account may log in again after so long; earlier it is told LOGIN-DELAY. Counted "
             "by each process for itself, in whole seconds."},
    {"pop3.idle_timeout", CONF_DURATION, AT(pop3.idle_timeout), "\"10m\"", .min = 10 * MINUTE,
     .max = DAY, .reload = true,
     .help =
         "A client that is logged in and sends nothing for so long is disconnected, and what it "
         "has marked for deletion stays. (RFC 1939: 10 minutes at least.)"},

    {"submission", CONF_SECTION, .help = "Mail that users send."},
    {"submission.sandbox", CONF_BOOL, AT(submission.sandbox), "false", .reload = true,
     .help = "Sandbox mode for everybody: nothing leaves, and nobody else here gets anything; "
             "whatever an account sends lies in its own INBOX. Single accounts and domains: "
             "account sending --sandbox, domain set --sandbox."},
    {"submission.save_sent", CONF_BOOL, AT(submission.save_sent), "false", .reload = true,
     .help =
         "A copy of what an account sends is put into its mailbox for sent mail, as seen; "
         "account sending --save-sent says otherwise for an account. Mail programs that save such "
         "copies themselves would then have two."},
    {"submission.trace_client", CONF_BOOL, AT(submission.trace_client), "false", .reload = true,
     .help = "The Received field that is put in front of a message names the client and its "
             "address. Without it recipients do not see where the sender sits."},
    {"submission.account_messages", CONF_UINT, AT(submission.account_messages), "500",
     .max = 100000000, .reload = true,
     .help = "Messages that an account may send in an hour; 0: no limit. For an account: account "
             "sending --messages. On all nodes together where the bus is Redis."},
    {"submission.account_recipients", CONF_UINT, AT(submission.account_recipients), "2000",
     .max = 100000000, .reload = true,
     .help = "Recipients of all messages that an account sends in an hour; 0: no limit. For an "
             "account: account sending --recipients."},
    {"submission.address_messages", CONF_UINT, AT(submission.address_messages), "2000",
     .max = 100000000, .reload = true,
     .help = "Messages in an hour from one client address (IPv6: from one /64), whatever accounts "
             "it uses; 0: no limit."},
    {"submission.address_recipients", CONF_UINT, AT(submission.address_recipients), "10000",
     .max = 100000000, .reload = true,
     .help = "Recipients of these messages in an hour; 0: no limit."},
    {"submission.transactions", CONF_UINT, AT(submission.transactions), "1000", .max = 1000000,
     .reload = true,
     .help = "Messages on one connection; then the client has to connect again. 0: no limit."},
    {"submission.hold_max", CONF_DURATION, AT(submission.hold_max), "\"30d\"", .max = 366 * DAY,
     .reload = true,
     .help = "For so long a client may have a message held before it is sent (FUTURERELEASE); 0: "
             "this is not offered."},
    {"submission.priority_max", CONF_UINT, AT(submission.priority_max), "3", .max = 9,
     .reload = true,
     .help = "The highest priority that a client may give to a message (MT-PRIORITY, -9 to 9); "
             "a higher one is lowered to it."},
    {"submission.no_solicit", CONF_STRING, AT(submission.no_solicit), "\"\"", .max = 480,
     .reload = true,
     .help =
         "Classes of mail that are refused (NO-SOLICITING, RFC 3865), with blanks between, like "
         "\"net.example:ADV org.example:ADULT\": what a client calls so, by SOLICIT= or in a "
         "Solicitation field. \"\": none is."},

    {"delivery", CONF_SECTION, .help = "Delivery by LMTP, and of what users send to each other."},
    {"delivery.delimiter", CONF_STRING, AT(delivery.delimiter), "\"+\"", .max = 1,
     .help = "Between user and detail: user+box@domain is put into the mailbox box, if it exists. "
             "\"\": addresses have no detail. Must be what the MTA has as "
             "recipient_delimiter."},
    {"delivery.over_quota", CONF_ENUM, AT(delivery.over_quota), "\"temporary\"", .reload = true,
     .choices = over_quota,
     .help = "What the MTA is told when an account has no room: temporary (452, it tries again) "
             "or permanent (552, the sender is told at once). Held mail that users here send to "
             "each other is tried again, or bounced, likewise."},

    {"queue", CONF_SECTION, .help = "Mail on its way to other servers."},
    {"queue.enabled", CONF_BOOL, AT(queue.enabled), "true",
     .help = "eider serve takes mail out of the queue and sends it. Any number of nodes may do so; "
             "none has to, as long as one does, or eider-queued runs, which does not ask this."},
    {"queue.concurrency", CONF_UINT, AT(queue.concurrency), "200", .min = 1, .max = 10000,
     .help = "Attempts under way at once in this process, for all destinations together."},
    {"queue.workers", CONF_UINT, AT(queue.workers), "16", .min = 1, .max = 256,
     .help = "Threads that wait for the store on behalf of the queue."},
    {"queue.retry_first", CONF_DURATION, AT(queue.retry_first), "\"5m\"", .min = 1, .max = DAY,
     .help = "After the first attempt that failed for the time being, the next one is made so much "
             "later (a tenth more or less, by chance, like all intervals)."},
    {"queue.retry_growth", CONF_UINT, AT(queue.retry_growth), "200", .min = 100, .max = 1000,
     .help = "Each further interval is so many percent of the one before, up to "
             "queue.retry_max."},
    {"queue.retry_max", CONF_DURATION, AT(queue.retry_max), "\"4h\"", .min = 1, .max = 7 * DAY,
     .help = "The longest interval between two attempts."},
    {"queue.expiry", CONF_DURATION, AT(queue.expiry), "\"5d\"", .min = SECOND, .max = 60 * DAY,
     .help = "What is not delivered by then goes back to its sender."},
    {"queue.warn", CONF_DURATION, AT(queue.warn), "\"4h\"", .max = 60 * DAY,
     .help = "The sender of a message that is not delivered by then is told that it is delayed, "
             "once; 0: never."},
    {"queue.lease", CONF_DURATION, AT(queue.lease), "\"2m\"", .min = SECOND, .max = HOUR,
     .help = "For so long a node has an entry to itself; renewed while an attempt is under way. "
             "What a node had that died is tried by others when it has passed."},
    {"queue.poll_interval", CONF_DURATION, AT(queue.poll_interval), "\"1s\"", .min = 10,
     .max = HOUR,
     .help = "So often a node looks for what has become due. (What was submitted to the same "
             "process goes out at once.)"},
    {"queue.return_size", CONF_SIZE, AT(queue.return_size), "\"50K\"", .max = 64 * MIB,
     .help = "A bounce returns messages up to this size whole, unless the sender asked for the "
             "header only; of larger ones the header."},

    {"queue.horizon", CONF_DURATION, AT(queue.horizon), "\"24h\"", .min = 10 * SECOND,
     .max = 7 * DAY,
     .help = "What became of a message is kept for so long after its end, so that a late write "
             "cannot bring it back; a message that takes longer than half of it to be queued is "
             "not. The same on all nodes, always. Tests shorten it; nobody else should."},
    {"queue.sweep_interval", CONF_DURATION, AT(queue.sweep_interval), "\"10m\"", .min = SECOND / 10,
     .max = DAY,
     .help = "Rest between two rounds through the queue in which what has ended long ago is "
             "removed."},

    {"sending", CONF_SECTION, .help = "Servers that mail goes to (see docs/sending.md)."},
    {"sending.routes", CONF_GROUPS, AT(sending.routes), "()", .max = 1000, .members = route_rows,
     .item_size = sizeof(struct conf_route), .line_offset = offsetof(struct conf_route, line),
     .help = "Smarthosts: of these routes the first that fits the recipients' domain is taken. "
             "Where none fits, the DNS says where mail goes (MX)."},
    {"sending.connections", CONF_UINT, AT(sending.connections), "10", .min = 1, .max = 1000,
     .help = "Connections of this process to one destination at once. It begins with two and is "
             "raised as messages arrive."},
    {"sending.messages", CONF_UINT, AT(sending.messages), "100", .min = 1, .max = 100000,
     .help = "Messages on one connection; then another is made."},
    {"sending.idle", CONF_DURATION, AT(sending.idle), "\"5s\"", .min = 1, .max = 5 * MINUTE,
     .help = "A connection waits so long for a further message."},
    {"sending.timeout", CONF_DURATION, AT(sending.timeout), "\"5m\"", .min = 100, .max = HOUR,
     .help = "For a reply; two fifths of it for DATA, three fifths for a piece of the message to "
             "be taken, twice as long for the last word. (RFC 5321 4.5.3.2: 5 minutes.)"},
    {"sending.connect_timeout", CONF_DURATION, AT(sending.connect_timeout), "\"30s\"", .min = 100,
     .max = 5 * MINUTE, .help = "For a connection to one address of a server."},
    {"sending.family", CONF_ENUM, AT(sending.family), "\"ipv6-first\"", .choices = families,
     .help = "Which addresses of servers are used, and which first; a server's IPv4 and IPv6 "
             "addresses take turns."},
    {"sending.source_ipv4", CONF_STRING, AT(sending.source_ipv4), "\"\"", .max = 63,
     .help = "Our address towards servers with IPv4; left out: as the system chooses."},
    {"sending.source_ipv6", CONF_STRING, AT(sending.source_ipv6), "\"\"", .max = 63,
     .help = "And with IPv6."},
    {"sending.dane", CONF_BOOL, AT(sending.dane), "true",
     .help = "Heed TLSA records that DNSSEC proves (RFC 7672)."},
    {"sending.mta_sts", CONF_BOOL, AT(sending.mta_sts), "true",
     .help = "Heed MTA-STS policies (RFC 8461)."},
    {"sending.ca_file", CONF_STRING, AT(sending.ca_file), "\"\"", .max = 4095,
     .help = "PEM file with the CAs that are trusted for MTA-STS, REQUIRETLS and routes; left out: "
             "the system's."},
    {"sending.local_networks", CONF_NETWORKS, AT(sending.local_networks), "[]", .max = 256,
     .help = "Networks of loopback, link-local and the like that MX records may name "
             "nevertheless."},
    {"sending.port", CONF_UINT, AT(sending.port), "25", .min = 1, .max = 65535,
     .help = "Of servers that the DNS names; another one is for tests."},
    {"sending.mta_sts_port", CONF_UINT, AT(sending.mta_sts_port), "443", .min = 1, .max = 65535,
     .help = "Of MTA-STS policies; another one is for tests."},

    {"dns", CONF_SECTION, .help = "Where mail goes, by the DNS."},
    {"dns.servers", CONF_STRING, AT(dns.servers), "\"\"", .max = 1000,
     .help = "Who is asked: numeric addresses, separated by spaces, each with @PORT where it is "
             "not 53; \"recursive\": the servers of the domains themselves, from the root on; "
             "left out: what /etc/resolv.conf says. DNSSEC is checked here in any case, so the "
             "servers must let it through."},
    {"dns.trust_anchor", CONF_STRING, AT(dns.trust_anchor), "\"" CONF_TRUST_ANCHOR "\"",
     .max = 4095,
     .help = "File with the keys of the root (Debian: dns-root-data), or of other zones; \"\", or "
             "if the default one is not there: nothing is proved, so there is no DANE."},
    {"dns.timeout", CONF_DURATION, AT(dns.timeout), "\"20s\"", .min = 100, .max = 5 * MINUTE,
     .help = "For the answer to one question."},

    {"quota", CONF_SECTION, .help = "Room for mail."},
    {"quota.account", CONF_SIZE, AT(quota.account), "0", .max = UINT64_C(1) << 50, .reload = true,
     .help = "Given to new accounts unless account add says otherwise; 0: no limit."},

    {"mail", CONF_SECTION, .help = "The account log."},
    {"mail.undelete_window", CONF_DURATION, AT(mail.undelete_window), "\"24h\"", .max = 365 * DAY,
     .help = "For how long messages that were expunged are kept; given to new accounts."},
    {"mail.expire", CONF_DURATION, AT(mail.expire), "0", .max = 36500 * DAY, .reload = true,
     .help = "Messages that have been in their mailbox for so long are expunged, as a client would "
             "do it; 0: never. A domain, an account and a mailbox can say otherwise (eider "
             "expire)."},
    {"mail.sweep_interval", CONF_DURATION, AT(mail.sweep_interval), "\"1m\"", .min = SECOND / 10,
     .max = DAY,
     .help = "Rest between two rounds through all accounts, in which what is too old is expunged "
             "and what nobody uses any more is removed."},
    {"mail.horizon", CONF_DURATION, AT(mail.horizon), "\"24h\"", .min = 2 * SECOND, .max = 7 * DAY,
     .help = "What is not used any more is removed when so much time has passed in the store. The "
             "same on all nodes, always: half of it is how long a node may sleep and still trust "
             "what it knows. Tests shorten it; nobody else should."},
    {"mail.snapshot_after", CONF_UINT, AT(mail.snapshot_after), "256", .min = 16, .max = 65536,
     .help = "Records behind the last snapshot of an account after which a new one is made."},
    {"mail.poll_interval", CONF_DURATION, AT(mail.poll_interval), "\"20s\"", .min = SECOND,
     .max = HOUR,
     .help = "So often an account that a client has open is compared with the store, whatever the "
             "bus says: for so long a change on another node may go unnoticed while there are no "
             "hints."},
    {"mail.store_wait", CONF_DURATION, AT(mail.store_wait), "\"20s\"", .min = SECOND,
     .max = 10 * MINUTE,
     .help = "For so long, from the moment that the store stops answering, commands wait for it "
             "before they are refused for now (IMAP NO [UNAVAILABLE], POP3 [SYS/TEMP], LMTP 451). "
             "MongoDB elects a new primary in 2 to 15 s."},

    {"mail.index_after", CONF_UINT, AT(mail.index_after), "256", .max = 65536,
     .help = "Messages of an account that its text index does not know yet after which it is "
             "extended; SEARCH BODY and TEXT read these. 0: no text index is made or used."},

    {"cache", CONF_SECTION, .help = "Memory for what can be read again."},
    {"cache.replicas", CONF_SIZE, AT(cache.replicas), "\"256M\"", .max = 1024 * GIB,
     .help = "States of accounts. When they take more, those that nobody is using go first, then "
             "the lists of messages of those in use (keep); they are read again when needed."},
    {"cache.keep", CONF_DURATION, AT(cache.keep), "\"5s\"", .max = HOUR,
     .help = "How long an account in use keeps its lists of messages after it was last asked for "
             "something, even if replicas take too much."},
    {"cache.digests", CONF_SIZE, AT(cache.digests), "\"256M\"", .max = 1024 * GIB,
     .help = "Digests and contents of messages."},
    {"cache.sort_keys", CONF_SIZE, AT(cache.sort_keys), "\"64M\"", .max = 1024 * GIB,
     .help = "What SORT and THREAD compare, of mailboxes that nobody is sorting at the moment."},
    {"cache.index", CONF_SIZE, AT(cache.index), "\"64M\"", .max = 1024 * GIB,
     .help = "Parts of text indexes."},
    {"cache.sights", CONF_UINT, AT(cache.sights), "100000", .min = 1000, .max = 100000000,
     .help = "Shared attachments remembered as being there; 50 bytes each."},

    {"shutdown", CONF_SECTION, .help = "The end."},
    {"shutdown.drain", CONF_DURATION, AT(shutdown.drain), "\"30s\"", .max = HOUR, .reload = true,
     .help = "For so long a server that was told to stop waits for commands in progress."},
    {NULL}};
