/* SPDX-License-Identifier: MPL-2.0 */
/* The inside of states, for state*.c, build.c, snapshot_format.c and view.c only.
 *
 *   state -> mailbox -> segment -> rows -> chunk
 *
 * Every one of them is reference-counted, and may be changed by a caller who is known to be its
 * only holder (and that of everything above it): the `own` functions see to that, by copying where
 * it is not so. Copies of a piece share all that is below it. One change does happen under other
 * holders' eyes: the rows of a segment are filled in when it is loaded (segment_attach), once,
 * atomically; and its stamp is set when it is stored.
 */
#pragma once

#include <stdatomic.h>

#include "lib/mail/flagset.h"
#include "lib/mail/ledger.h"
#include "lib/mail/state.h"

/* Messages as columns, in uid order. The columns are in one piece of memory behind the struct. */
struct chunk {
    _Atomic uint32_t refs;
    uint32_t n, cap; /* cap <= CHUNK_MESSAGES */
    uint64_t *modseq, *id;
    int64_t *date;
    uint32_t *uid, *size, *saved, *flags; /* flags: index in the account's table */
};

/* The messages of a loaded segment; belongs to that segment alone. */
struct rows {
    struct chunk **chunks; /* none empty */
    uint32_t *starts;      /* messages of the segment before each chunk */
    size_t n, cap;
};

struct segment {
    _Atomic uint32_t refs;
    uint32_t first, last; /* uids of the first and the last message */
    uint32_t count;       /* messages; never 0 in a mailbox */
    _Atomic uint64_t
        stamp; /* it is stored under (mailbox, first, stamp); 0: not, or changed since */
    _Atomic(struct rows *) rows; /* NULL: not loaded */
    _Atomic uint64_t summary;    /* packed segment_summary; 0: not worked out since a change */
};

/* What SELECT asks of a segment; manifests have it, so that nothing need be loaded for it. */
struct segment_summary {
    uint32_t unseen;                /* messages without \Seen */
    const struct flagset *keywords; /* all that its messages have, in one set, as a manifest said;
                                       NULL: see its rows (segment_keywords) */
};

struct names {
    _Atomic uint32_t refs;
    struct slice *items; /* sorted; each its own memory */
    size_t n;
    size_t cap; /* room that is known of; 0 where items was made to measure */
};

struct values {
    _Atomic uint32_t refs;
    struct value {
        struct slice key, value;
    } * items; /* by key */
    size_t n;
};

/* --- state_rows.c: chunks, rows, segments ---------------------------------------------------- */

struct chunk *chunk_new(uint32_t cap);
void chunk_unref(struct chunk *c);
struct rows *rows_new(void);
void rows_free(struct rows *rows);
/* Takes the caller's reference to c. */
void rows_add(struct rows *rows, struct chunk *c);
/* Drops empty chunks, joins small neighbours, counts again. Gives the number of messages. */
uint32_t rows_tidy(struct rows *rows);
/* The chunk, copied if somebody else holds it. */
struct chunk *rows_own_chunk(struct rows *rows, size_t at);

struct segment *segment_new(void); /* loaded and empty */
/* A loaded segment, to be changed: copied if somebody else holds it, without its stamp. */
struct segment *mailbox_own_segment(struct mailbox *box, size_t at);
struct segment *segment_ref(struct segment *s);
void segment_unref(struct segment *s);
static inline struct rows *segment_rows(const struct segment *s)
{
    return atomic_load_explicit(&((struct segment *)s)->rows, memory_order_acquire);
}
/* After a change of its rows: first, last, count; no stamp any more. */
void segment_refresh(struct segment *s);
/* Is it loaded though it could be loaded again at any time? */
bool segment_can_unload(const struct segment *s);
/* The same without its rows; the caller's. */
struct segment *segment_unloaded(const struct mailbox *box, struct segment *s);
/* False: not known, and the segment is not loaded. */
bool segment_summarize(const struct mailbox *box, struct segment *s, struct segment_summary *ret);
void segment_set_summary(struct segment *s, const struct segment_summary *summary);
/* All keywords of the messages of a loaded segment, sorted; how many. Not a set of the account's
 * table: there are too many that could be, and no message has one. */
size_t segment_keywords(const struct mailbox *box, const struct segment *s, struct arena *arena,
                        struct slice **ret);
/* Appends a message with a uid above all; the segment is the caller's alone, loaded and not full.
 */
void segment_append(struct segment *s, const struct message *m);
/* Moves all of `from` (the caller's alone, as `to`; both loaded) to the end of `to`. */
void segment_join(struct segment *to, struct segment *from);
void chunk_message(const struct mailbox *box, const struct chunk *c, size_t at,
                   struct message *ret);
/* Index of the first message with a uid at or above; c->n if none. */
size_t chunk_search(const struct chunk *c, uint32_t uid);
/* The chunk (of a loaded segment) that has the message at `index`. */
size_t rows_chunk_at(const struct rows *rows, uint32_t index);

/* --- state.c --------------------------------------------------------------------------------- */

struct mailbox *mailbox_new(uint64_t id, struct slice name, struct flagsets *flagsets);
void mailbox_rename(struct mailbox *box, struct slice name);
/* Takes the caller's reference. Segments come in uid order. */
void mailbox_add_segment(struct mailbox *box, struct segment *s);
/* After segments were changed: drops empty ones, joins small loaded neighbours, counts again. */
void mailbox_refresh(struct mailbox *box);
/* The first segment whose last uid is at or above; n_segments if none. */
size_t mailbox_segment_at(const struct mailbox *box, uint32_t uid);
bool segment_is_among(const struct segment *s, const struct uidset *uids);
/* Calls need for each unloaded segment that has uids of the set (NULL: any). */
typedef void need_fn(void *ctx, uint64_t mailbox, uint32_t first, uint32_t last);
bool mailbox_needs(const struct mailbox *box, const struct uidset *uids, need_fn *need, void *ctx);

/* A copy that is the caller's alone and shares all mailboxes. */
struct state *state_copy(const struct state *st);
/* NULL: no such mailbox. The state must be the caller's alone. */
struct mailbox *state_own_mailbox(struct state *st, uint64_t id);
/* Takes the caller's reference; its id is above all others. */
void state_add_mailbox(struct state *st, struct mailbox *box);
void state_remove_mailbox(struct state *st, uint64_t id);
/* After the name of a mailbox has changed. */
void state_renamed(struct state *st, uint64_t id);
bool state_is_inbox(const struct mailbox *box);

/* --- state_names.c --------------------------------------------------------------------------- */

struct names *names_new(void);
struct names *names_ref(struct names *names);
void names_unref(struct names *names);
bool names_has(const struct names *names, struct slice name);
/* Replaces *names by a changed copy, or changes it where the caller is the only holder. */
void names_set(struct names **names, struct slice name, bool on);
struct values *values_new(void);
struct values *values_ref(struct values *values);
void values_unref(struct values *values);
struct slice values_get(const struct values *values, struct slice key);
void values_set(struct values **values, struct slice key, struct slice value); /* empty: remove */
void values_each(const struct values *values, value_fn *f, void *ctx);
size_t names_bytes(const struct names *names);
size_t values_bytes(const struct values *values);

/* --- state_fold.c, for build.c --------------------------------------------------------------- */

/* A working copy for record st->seq + 1 at t_ms (never below st's time). */
struct state *state_begin(const struct state *st, int64_t t_ms);
/* Applies one op, the index-th of its record. -ERR_INTERNAL: it does not apply; the working copy is
 * then of no use. */
int state_apply(struct state *work, const struct op *op, size_t index, struct error *err) MUST_USE;
/* The end of a record: windows; sums and usage are taken from it where they are given. */
int state_end(struct state *work, const struct record *rec, struct error *err) MUST_USE;
int64_t state_undelete_ms(const struct state *st);
