/* SPDX-License-Identifier: MPL-2.0 */
/* What the queue keeps in the store, as bytes. Inside lib/queue, and for its tests.
 *
 *   STORE_QUEUE         id              envelope, or a tombstone: a submission that was given up
 *   STORE_QUEUEBODIES   id piece        up to QUEUE_PIECE bytes of the message
 *   STORE_QUEUEENTRIES  id number       entry: the recipients at one destination and their results
 *   STORE_QUEUEDUE      when id number turn
 *                                       row: look at that entry then. An entry names its row
 * (row_ms, turn); a row that it does not name is stale. turn rises with each move, so no row is
 * ever written twice
 *
 * All documents of one submission hold its tag (random): an entry counts if the envelope under its
 * id has the same tag. Every change of an entry holds a mark (random), so that whoever got no reply
 * can see whether the change is his.
 *
 * Decoders are bounded: what they give lies in the arena or in the bytes given. -ERR_INTERNAL:
 * damaged, or of a newer format.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/queue/queue.h"

#define QUEUE_TAG_SIZE         12
#define QUEUE_PIECE            ((size_t)1 << 20)
#define QUEUE_ENTRY_RECIPIENTS 100  /* RFC 5321 4.5.3.1.8: what every server takes at once */
#define QUEUE_TEXT_MAX         1000 /* bytes of a reply that are kept */

struct queue_tag {
    uint8_t b[QUEUE_TAG_SIZE];
};

static inline bool queue_tag_eq(const struct queue_tag *a, const struct queue_tag *b)
{
    return memcmp(a->b, b->b, QUEUE_TAG_SIZE) == 0;
}

/* --- envelopes ------------------------------------------------------------------------------- */

struct queue_stored {
    bool tombstone; /* then all below is empty */
    struct queue_tag tag;
    uint64_t size;                  /* octets of the body */
    unsigned entries;               /* numbers 0 ... entries - 1 */
    struct queue_envelope envelope; /* its recipients are in the entries */
};
void queue_stored_encode(const struct queue_stored *stored, struct buf *out);
int queue_stored_decode(struct slice head, struct arena *arena, struct queue_stored *ret,
                        struct error *err) MUST_USE;

/* --- entries --------------------------------------------------------------------------------- */

/* Numbers are stored. */
enum queue_state {
    QUEUE_WAITING = 0,
    QUEUE_DELIVERED = 1,
    QUEUE_FAILED = 2,
};
/* What the sender is still to be told of a recipient. */
enum queue_notice {
    QUEUE_NO_NOTICE = 0,
    QUEUE_NOTICE_FAILED = 1,
    QUEUE_NOTICE_DELIVERED = 2, /* to a server that does not tell of success itself */
    QUEUE_NOTICE_DELAYED = 3,
    QUEUE_NOTICES_
};

struct queue_target {
    struct queue_recipient to;
    enum queue_state state;
    enum queue_notice notice;
    uint32_t notice_number; /* which one tells of it; 0: not decided yet (queue_entry.notices) */
    /* of the last attempt */
    unsigned code;
    bool relayed_dsn;
    const char *status, *text, *remote;
    int64_t when_ms; /* 0: none yet */
};

struct queue_entry {
    /* of the document */
    uint64_t id;
    uint16_t number;
    uint64_t version;
    int64_t read_ms; /* store time of the reply that it is from */
    /* its bytes */
    struct queue_tag tag;
    uint64_t mark;
    bool done;               /* all is final and told; nothing but tag and mark is kept */
    bool held;               /* by the administrator; no row */
    int64_t due_ms;          /* when it is to be attempted */
    int64_t row_ms;          /* its row */
    uint32_t turn;           /* its row, too */
    int64_t lease_ms;        /* leased until then; 0: free */
    uint64_t owner;          /* by this runner */
    unsigned attempts;       /* made */
    unsigned warned;         /* delay warnings made, or not wanted */
    bool by_told;            /* DELIVERBY's notice likewise */
    uint32_t notices;        /* made or being made: numbers them */
    int64_t notice_ms;       /* when the last one was decided */
    const char *destination; /* domain in A-labels, lower case, or "[address]" */
    struct queue_target *targets;
    size_t n;
};
void queue_entry_encode(const struct queue_entry *entry, struct buf *out);
int queue_entry_decode(uint64_t id, uint16_t number, struct slice head, struct arena *arena,
                       struct queue_entry *ret, struct error *err) MUST_USE;

/* --- rows of the due index ------------------------------------------------------------------- */

struct queue_row {
    /* of the key */
    int64_t when_ms;
    uint64_t id;
    uint16_t number;
    uint32_t turn;
    /* its bytes */
    int priority;
    int64_t deadline_ms; /* to be looked at then, however busy the destination is; 0: not known */
    struct slice destination;
};
void queue_row_encode(const struct queue_row *row, struct buf *out);
int queue_row_decode(struct slice key, struct slice head, struct queue_row *ret,
                     struct error *err) MUST_USE;

/* --- pieces ---------------------------------------------------------------------------------- */

/* head: whose it is. body: compressed, or as it is where that is no use. */
void queue_piece_head(const struct queue_tag *tag, struct buf *out);
bool queue_piece_is_ours(struct slice head, const struct queue_tag *tag);
void queue_piece_pack(struct slice bytes, struct buf *out);
int queue_piece_unpack(struct slice packed, struct buf *out, struct error *err) MUST_USE;
