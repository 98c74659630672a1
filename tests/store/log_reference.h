/* SPDX-License-Identifier: MPL-2.0 */
/* What an account must be, told by its log alone: the plain reference of check_log.
 *
 * It reads every record the moment it is there (past all faults), applies its ops to plain arrays
 * that share no code with lib/mail's states, checks what each op may do, and keeps the state at
 * every seq: both its own and the one that state_fold makes, which must agree. All that nodes show
 * and answer is held against these.
 */
#pragma once

#include "lib/mail/record.h"
#include "lib/mail/state.h"
#include "lib/store/store.h"

struct ref_message {
    uint32_t uid, size;
    uint64_t id, modseq, keywords; /* keywords: a sum of hashes */
    uint8_t system;
};

/* Annotations that are drawn: /private/a, ...; of one mailbox at most so many. */
#define REF_VALUES      4
#define REF_VALUES_MAX  2
#define REF_VALUE_FIRST "=2" /* set only where there is none (intent's if_absent) */

struct ref_box {
    uint64_t id;
    char name[64];
    char values[REF_VALUES][8]; /* of annotations; "": none */
    uint32_t uidvalidity, uidnext;
    struct ref_message *items;
    size_t n, cap;
};

struct ref_state {
    uint64_t seq, used;
    bool closed;
    struct ref_box *items;
    size_t n, cap;
    struct state *st; /* folded by lib/mail from record 1 */
};

/* How the reference says that an invariant is broken; may be called from any check. */
struct ref_judge {
    void (*violated)(void *ctx, const char *invariant, const char *fmt, ...) PRINTF_LIKE(3, 4);
    /* A message was named by a record: is its document there? Called while the record is looked at.
     */
    void (*named)(void *ctx, uint64_t account, uint64_t message, uint32_t size);
    void *ctx;
};

struct reference;
struct reference *reference_new(struct store *truth, uint64_t account,
                                const struct ref_judge *judge);
void reference_free(struct reference *r);
/* Reads what is new in the log. */
void reference_observe(struct reference *r);
uint64_t reference_head(const struct reference *r);
/* NULL: there is no such seq (yet). */
const struct ref_state *reference_at(const struct reference *r, uint64_t seq);
const struct ref_box *ref_box_by_id(const struct ref_state *s, uint64_t id);
const struct ref_message *ref_message_by_uid(const struct ref_box *box, uint32_t uid);
/* Did the message of that size ever come in? (Sizes are unique.) */
bool reference_applied(const struct reference *r, uint32_t size);
/* Did it by record seq, and where? */
bool reference_applied_at(const struct reference *r, uint32_t size, uint64_t seq,
                          uint64_t *ret_mailbox, uint32_t *ret_uid);
/* Everything of the state on a node (loaded) must be what it is here at that seq (I6, I25). */
void reference_compare(struct reference *r, const struct state *st, const char *whose);
