/* SPDX-License-Identifier: MPL-2.0 */
/* A session: one client's conversation in one protocol, without sockets.
 *
 * A protocol (protocols/imap, protocols/lmtp, ...) implements `struct session_ops`; a pump moves
 * the bytes (lib/net for sockets, tests/session for transcripts, fuzz targets). A session is fed
 * bytes in `in`, appends to `out`, and says in `want` what it waits for. It never blocks on the
 * client and never knows what the transport is; on a worker it may block on the store.
 *
 * Threads: a session belongs to one thread at a time. While it waits it is its loop thread's, and
 * only `ready` is called there; while it works it is a worker's, and `step` is called, and `ready`
 * between two steps. The pump hands it over; nothing in it needs a lock. `wake` may be called by
 * anybody at any time.
 *
 * The pump's part, in full:
 *   1. bytes arrive: append to `in` (never more than want.input_max - in.n); then 3
 *   2. hint, deadline or drained output that is wanted: note it in `events`; then 3
 *   3. if events are noted that are wanted, or ops->ready(s): run ops->step(s) on a worker
 *   4. send `out`; look at `want` again (also: starttls, compress, close), and wait
 * An end of input (SESSION_EOF) is noted only when `ready` is false, so commands before it
 * are answered; a session that does not set want.close then is closed once its output is sent, and
 * goes on only as long as it sets want.output. After a broken connection `out` goes nowhere.
 * `step` is not run for input or a hint while more than 64 KB of `out` wait to be read, nor for
 * input while want.output is set: a client that does not read gets no more work done.
 *
 * A session may also be the side that begins: a client of another server (net_connect). It is made
 * by whoever wants the connection, and `step` is run first, with events = 0, when it is there, or
 * once, with SESSION_FAILED, when it cannot be had. TLS is then that of a client. `free` is called
 * in any case, without a last step if the process ends.
 *
 * `step` handles a bounded slice of work: it returns after one command, or with want.output set
 * after about SESSION_SLICE bytes of output, and is run again when the client has read them.
 */
#pragma once

#include <stdint.h>

#include "lib/base/buf.h"

#define SESSION_SLICE ((size_t)256 << 10) /* bytes of output per step; want.output beyond it */

/* What the pump noted since the last step; step reads and the pump clears it. */
enum session_event {
    SESSION_INPUT = 1,     /* bytes were appended to `in` */
    SESSION_DRAINED = 2,   /* all of `out` has been sent */
    SESSION_HINT = 4,      /* somebody called wake() */
    SESSION_DEADLINE = 8,  /* want.deadline_ms has passed */
    SESSION_EOF = 16,      /* the client closed or broke the connection; no more input */
    SESSION_SHUTDOWN = 32, /* the daemon drains: finish the command, say good-bye, close */
    SESSION_TLS = 64,      /* the handshake asked for by want.starttls is done; see `peer` */
    SESSION_FAILED = 128,  /* outgoing: no connection, or no TLS: peer.failure. The last step */
};

/* The facts about the other side; filled by the pump, changed by it at SESSION_TLS only. */
struct session_peer {
    char remote[64]; /* numeric address, no port; "unix" for a UNIX socket */
    char local[64];
    uint16_t remote_port, local_port;
    bool tls;             /* the bytes are protected by TLS */
    bool trusted;         /* UNIX socket, or TLS taken off by a proxy from a trusted network */
    char tls_version[16]; /* "TLSv1.3" */
    char tls_cipher[64];
    char tls_sni[256]; /* server name the client asked for, or "" */
    /* Addresses (rfc822Name) of the client's certificate, with a \n between them; "" if it showed
     * none that one of tls.client_authorities has signed. */
    char tls_client[256];
    uint8_t cb_exporter[32]; /* RFC 9266 tls-exporter */
    bool has_cb_exporter;
    uint8_t cb_end_point[64]; /* RFC 5929 tls-server-end-point: hash of our certificate */
    uint8_t cb_end_point_n;   /* its length, 0: none */
    uint8_t cb_unique[64];    /* RFC 5929 tls-unique; TLS 1.2 with extended master secret only */
    uint8_t cb_unique_n;      /* its length, 0: none */
    /* Outgoing connections only. */
    bool tls_verified; /* the server has proved to be who it must be: by CA and name, or DANE */
    char failure[120]; /* SESSION_FAILED: why; with TLS that is not verified: why not */
};

struct session;

/* What the session waits for. Set by new, step and, on the loop thread, by ready. */
struct session_want {
    bool input;          /* read from the client */
    bool output;         /* step again (SESSION_DRAINED) once `out` is sent */
    bool hint;           /* step again (SESSION_HINT) after a wake() */
    bool starttls;       /* when `out` is sent: drop unread input, shake hands, SESSION_TLS */
    bool compress;       /* when `out` is sent: DEFLATE both ways (RFC 4978); cleared by the pump */
    bool close;          /* when `out` is sent: close */
    bool busy;           /* inside a command: a shutdown waits for its end, up to a limit */
    size_t input_max;    /* `in` never holds more than this */
    int64_t deadline_ms; /* clock_mono_ms() at which to step (SESSION_DEADLINE); 0: none */
};

struct session_ops {
    const char *name; /* "imap", "lmtp": for logs */
    /* Loop thread, or the worker's between steps; cheap, never blocks: would step do anything with
     * `in` as it is (a whole line, the bytes of a literal, ...)? May look at any field, may change
     * none but `want`. */
    bool (*ready)(struct session *s);
    /* Worker thread; see above. `events` as noted by the pump. */
    void (*step)(struct session *s, unsigned events);
    /* A worker thread, once, not during step: frees the session with all it holds. */
    void (*free)(struct session *s);
};

struct session {
    const struct session_ops *ops;
    struct buf in;  /* what the client sent and step has not consumed yet */
    struct buf out; /* what is to be sent and the pump has not taken yet */
    struct session_want want;
    struct session_peer peer;
    uint64_t id;    /* unique in this process, for logs; set by the pump before the first step */
    char user[128]; /* for logs: the login, or "" before; set by the protocol, in step only */
    /* Set by the pump before the first step; callable on any thread until free has returned. */
    void (*wake)(struct session *s);
    void *pump;
};

/* A service makes sessions for a listener: its settings, its account layer, its authentication. */
struct session_service {
    const char *name;
    /* Plain text sent to a client that is turned away because of a limit on connections, with its
     * CR LF ("* BYE ..." or "421 ..."); NULL: closed without a word. */
    const char *refusal;
    /* On a loop thread: must not block. open may look at peer; the pump copies it into s->peer when
     * open has returned. NULL: turned away like at a limit.
     * The first step follows at once with events = 0 (send the greeting). */
    struct session *(*open)(struct session_service *service, const struct session_peer *peer);
    void *context; /* the protocol's own */
};
