/* SPDX-License-Identifier: MPL-2.0 */
/* Turns: what must be there before a record can be built, and building it. See commit_impl.h.
 *
 * A message may be named by a record when its id was made, it and its links were stored, and its
 * blobs were seen alive, all not longer than the guard before the record is built. What is older
 * is stored again under a new id: a sweep may be about to remove it, or a late delete of an earlier
 * sweep may still be on its way (docs/log.md section 4).
 */
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/commit_impl.h"
#include "lib/mail/message.h"
#include "lib/mail/snapshot.h"

#define RETRY_MS 200 /* after a failure of the store */

/* --- messages -------------------------------------------------------------------------------- */

static bool has_message(const struct pending *p)
{
    return p->intent->kind == INTENT_APPEND || p->intent->kind == INTENT_DELIVER;
}

/* Has a message that is not known to be stored, and is still to be named: not so where the record
 * was built already and it turned out a duplicate or refused. */
static bool wants_storing(const struct turn *t, const struct pending *p)
{
    return has_message(p) && !p->stored &&
           !(t->is_built && (p->intent->result != 0 || p->intent->duplicate));
}

static void forget_id(struct pending *p)
{
    p->message = 0;
    p->stored = p->born = 0;
    p->tried = false;
}

/* Repeatable, and with little choice, so that ids collide. */
static uint64_t coarse_random(struct mail *mail)
{
    uint64_t dice = atomic_fetch_add(&mail->coarse_dice, 2);

    return (dice * 0x9e3779b97f4a7c15u) >> 60;
}

static void ensure_id(struct mail *mail, struct pending *p)
{
    uint16_t random;

    if (p->message)
        return;
    random_bytes(&random, sizeof random);
    random_bytes(p->tag, sizeof p->tag);
    p->born = mail_clock(mail);
    /* messages that come one after the other lie so in the store, and are read so */
    p->message = (uint64_t)content_clock_fine(mail->content) << 16 | random;
    if (mail->coarse_dice)
        p->message = ((uint64_t)p->born / 3600000) << 16 | coarse_random(mail);
}

/* An id that is too old, stored or not, is given up. */
static void forget_if_old(struct mail *mail, struct pending *p)
{
    int64_t oldest = p->stored ? MIN(p->born, p->stored) : p->born;

    if (p->message && mail_clock(mail) - oldest > mail->settings.guard_ms &&
        !(mail->broken & BREAK_OLD))
        forget_id(p);
}

static bool sights_are_fresh(struct mail *mail, const struct pending *p)
{
    int64_t oldest, newest;

    if (!content_sights(mail->content, p->intent->prepared, &oldest, &newest))
        return false;
    return oldest == 0 || mail->broken & BREAK_OLD ||
           mail_clock(mail) - oldest <= mail->settings.guard_ms / 4 * 3;
}

/* Nothing to look up: stored, or never tried. */
static bool message_is_ready(struct mail *mail, struct pending *p)
{
    forget_if_old(mail, p);
    return sights_are_fresh(mail, p) && (p->stored || !p->tried);
}

size_t turn_item_count(const struct turn *t)
{
    const struct pending *p;
    size_t n = 0;

    STAILQ_FOREACH (p, &t->pendings, link)
        if (wants_storing(t, p))
            n += content_item_count(p->intent->prepared);
    return n;
}

void turn_fill_items(struct turn *t, struct store_item *items, uint32_t group)
{
    struct pending *p;

    STAILQ_FOREACH (p, &t->pendings, link) {
        size_t n;

        if (!wants_storing(t, p))
            continue;
        ensure_id(t->account->mail, p);
        n = content_item_count(p->intent->prepared);
        content_items(p->intent->prepared, t->account->id, p->message, p->tag, &t->arena, items);
        for (size_t i = 0; i < n; i++)
            items[i].group = group;
        items += n;
    }
}

/* time 0: the reply did not say when; then what is done counts as not known. */
static void note_message(struct mail *mail, struct pending *p, const struct store_item *items,
                         size_t n, int64_t time)
{
    size_t done = 0, refused = 0;

    for (size_t i = 0; i < n; i++) {
        bool ok = items[i].outcome == STORE_DONE ||
                  (items[i].outcome == STORE_TAKEN && mail->broken & BREAK_DUPLICATE);

        done += ok && time;
        refused += items[i].outcome == STORE_REFUSED;
    }
    if (done == n)
        p->stored = time;
    else if (refused < n)
        p->tried = true;
}

void turn_note_items(struct turn *t, const struct store_item *items, int64_t time)
{
    struct pending *p;

    STAILQ_FOREACH (p, &t->pendings, link) {
        size_t n;

        if (!wants_storing(t, p))
            continue;
        n = content_item_count(p->intent->prepared);
        note_message(t->account->mail, p, items, n, time);
        items += n;
    }
}

bool turn_all_stored(const struct turn *t)
{
    const struct pending *p;

    STAILQ_FOREACH (p, &t->pendings, link)
        if (wants_storing(t, p))
            return false;
    return true;
}

bool turn_is_in_doubt(const struct turn *t)
{
    const struct pending *p;

    STAILQ_FOREACH (p, &t->pendings, link)
        if (p->tried && !p->stored)
            return true;
    return false;
}

/* A message was sent, and it is not known what became of it. A taken key proves neither whose
 * document is there nor that it stays: a majority read does. Its age counts from then, not from
 * now. */
static int look_for_message(struct turn *t, struct pending *p, struct error *err)
{
    struct mail *mail = t->account->mail;
    CLEANUP(arena_done) struct arena arena = {0};
    CLEANUP(store_docs_done) struct store_docs message = {0}, links = {0};
    size_t n = content_item_count(p->intent->prepared);
    struct store_item *items = arena_array(&arena, n, sizeof *items);
    struct slice *keys = arena_array(&arena, n, sizeof *keys);
    int64_t oldest;
    int r;

    content_items(p->intent->prepared, t->account->id, p->message, p->tag, &arena, items);
    for (size_t i = 0; i < n; i++)
        keys[i] = items[i].key;
    r = store_get(mail->store, STORE_MESSAGES, keys, 1, STORE_HEAD, STORE_MAJORITY, &message, err);
    if (r == 0 && n > 1)
        r = store_get(mail->store, STORE_BLOBLINKS, keys + 1, n - 1, STORE_KEYS, STORE_MAJORITY,
                      &links, err);
    if (r < 0)
        return r;
    mail_heard(mail, message.time);
    p->tried = false;
    if (!message.items[0].found)
        return 0; /* once more, under the same id */
    if (!content_is_own(message.items[0].head, p->tag)) {
        forget_id(p);
        return 0;
    }
    oldest = message.items[0].stored_ms;
    for (size_t i = 0; i < links.n; i++) {
        if (!links.items[i].found)
            return 0;
        oldest = MIN(oldest, links.items[i].stored_ms);
    }
    p->stored = oldest;
    return 0;
}

/* --- readiness ------------------------------------------------------------------------------- */

static struct build_item *build_items(struct turn *t, bool with_ids)
{
    struct build_item *items = NEW_ARRAY(struct build_item, t->n + 1);
    struct pending *p;
    size_t i = 0;

    STAILQ_FOREACH (p, &t->pendings, link) {
        if (has_message(p) && with_ids)
            ensure_id(t->account->mail, p);
        items[i].intent = p->intent;
        items[i].message = p->message;
        items[i++].size = has_message(p) ? prepared_size(p->intent->prepared) : 0;
    }
    return items;
}

static bool take_base(struct turn *t)
{
    state_unref(TAKE(t->base));
    return account_fresh(t->account, &t->base, &t->seen);
}

static void what_is_needed(struct turn *t, struct needs *needs)
{
    struct build_item *items = build_items(t, false);

    *needs = (struct needs){.n = 0};
    build_needs(t->base, items, t->n, needs_note, needs);
    free(items);
}

bool turn_is_ready(struct turn *t)
{
    struct needs needs;
    struct pending *p;

    if (!take_base(t))
        return false;
    STAILQ_FOREACH (p, &t->pendings, link)
        if (has_message(p) && !message_is_ready(t->account->mail, p))
            return false;
    what_is_needed(t, &needs);
    return needs.n == 0;
}

static int prepare_position(struct turn *t, struct error *err)
{
    for (int i = 0; i < 3; i++) {
        int r;

        if (take_base(t))
            return 0;
        r = account_catch_up(t->account, STORE_MAJORITY, err);
        if (r < 0)
            return r;
    }
    return error_set(err, ERR_UNAVAILABLE, "the account cannot be brought up to date");
}

static int prepare_segments(struct turn *t, struct error *err)
{
    struct needs needs;

    for (;;) {
        int r;

        what_is_needed(t, &needs);
        if (needs.n == 0)
            return 0;
        r = snapshot_load_segments(t->account->mail, t->base, needs.ranges, needs.n, err);
        if (r == -ERR_CONFLICT) {
            account_drop(t->account);
            return error_set(err, ERR_UNAVAILABLE, "the account has to be opened again");
        }
        if (r < 0)
            return r;
    }
}

/* *ret_in_vain: a message that was sent is not there (yet). */
static int prepare_messages(struct turn *t, bool *ret_in_vain, struct error *err)
{
    struct mail *mail = t->account->mail;
    struct pending *p;
    int r = 0;

    STAILQ_FOREACH (p, &t->pendings, link) {
        if (!has_message(p))
            continue;
        forget_if_old(mail, p);
        if (!sights_are_fresh(mail, p))
            r = content_look(mail->content, p->intent->prepared, err);
        if (r == 0 && p->tried && !p->stored) {
            r = look_for_message(t, p, err);
            *ret_in_vain |= p->message && !p->stored;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* Whatever is the matter with one of the intents is the matter of all that wait with it: they are
 * of one account and one moment. */
void turn_prepare(struct turn *t)
{
    struct error err = {0};
    bool in_vain = false;
    int r = t->n ? prepare_position(t, &err) : 0;

    if (r == 0 && t->n)
        r = prepare_segments(t, &err);
    if (r == 0 && t->n)
        r = prepare_messages(t, &in_vain, &err);
    if (r == 0) {
        turn_requeue(t, in_vain ? RETRY_MS : 0);
    } else if (r == -ERR_UNAVAILABLE || r == -ERR_CONFLICT) {
        turn_requeue(t, RETRY_MS);
    } else {
        turn_answer(t, r == -ERR_CANCELLED ? -ERR_UNAVAILABLE : r, err.text);
        turn_end(t);
    }
}

/* --- building -------------------------------------------------------------------------------- */

void turn_unbuild(struct turn *t)
{
    if (t->is_built)
        built_done(&t->built);
    t->is_built = false;
    state_unref(TAKE(t->base));
}

int turn_build(struct turn *t, struct error *err)
{
    struct mail *mail = t->account->mail;
    struct build_limits limits = {.mailboxes_max = mail->settings.mailboxes_max,
                                  .keywords_max = mail->settings.keywords_max,
                                  .name_max = mail->settings.name_max,
                                  .name_depth = mail->settings.name_depth,
                                  .metadata_max = mail->settings.metadata_max,
                                  .metadata_entries = mail->settings.metadata_entries};
    struct build_item *items;
    int r;

    turn_unbuild(t);
    if (!take_base(t))
        return error_set(err, ERR_UNAVAILABLE, "the account is not up to date");
    items = build_items(t, true);
    random_bytes(t->txid, sizeof t->txid);
    r = build_record(t->base, items, t->n, MAX(mail_clock(mail), t->base->t_ms), t->txid, &limits,
                     &t->built, err);
    free(items);
    if (r < 0)
        return r;
    t->is_built = true;
    t->key = key_pair(t->account->id, t->base->seq + 1);
    t->after = key_pair(t->account->id, t->base->seq);
    turn_split(t, t->built.taken);
    return 0;
}

/* The predecessor must be there: what an atomic store checks in the same transaction. */
struct store_item turn_record_item(const struct turn *t, struct slice bytes, uint32_t group)
{
    const struct mail *mail = t->account->mail;
    bool guarded = t->base->seq > 0 && !(mail->broken & BREAK_POSITION);

    return (struct store_item){
        .table = STORE_LOG,
        .key = KEY_SLICE(t->key),
        .head = bytes,
        .group = group,
        .after = guarded && store_is_atomic(mail->store) ? KEY_SLICE(t->after) : (struct slice){0}};
}
