/* SPDX-License-Identifier: MPL-2.0 */
/* The inside of build.h: build.c drives, build_message.c and build_mailbox.c judge. */
#pragma once

#include "lib/mail/build.h"
#include "lib/mail/state_impl.h"

struct builder {
    const struct build_limits *limits;
    struct state *work; /* the state that the intents before leave; its seq is the record's */
    struct arena *arena;
    struct op_list {
        struct op *items;
        size_t n, cap;
    } ops,              /* accepted and applied */
        fresh;          /* of the intent that is being judged */
    struct buf encoded; /* of `ops`, to know their size */
};

/* A segment is not loaded; never an intent's result. */
#define BUILD_NOT_LOADED (-ERR_COUNT_)

/* Each judges one intent on b->work: adds what is to be done to b->fresh and fills in the results.
 * 0; minus the kind of refusal, with intent->error filled; or BUILD_NOT_LOADED. */
typedef int judge_fn(struct builder *b, struct build_item *item);
judge_fn judge_append, judge_flags, judge_expunge, judge_transfer, judge_undelete;
judge_fn judge_create, judge_rename, judge_delete, judge_subscribe, judge_set, judge_account,
    judge_close;

struct op *builder_op(struct builder *b, enum op_kind kind);
/* Refused. */
int refuse(struct intent *it, enum err kind, const char *why);
int refuse_missing(struct intent *it);
/* The mailbox that append, deliver, copy, move, undelete name; NULL if there is none. */
const struct mailbox *builder_target(const struct builder *b, const struct intent *it);
