/* SPDX-License-Identifier: MPL-2.0 */
/* What became of a record, and answers that need none. docs/log.md section 3 is the argument.
 *
 * An unknown outcome is settled in the slot itself: as long as a majority does not have something
 * there, the record may still land. So it is read; if it is empty, something is put there, the same
 * record once more or a noop, and it is read again. Every conclusion counts only if the reply that
 * gives it is in time (mail_in_time): later the slot may have been trimmed, and empty proves
 * nothing.
 */
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "lib/mail/commit_impl.h"
#include "lib/mail/snapshot.h"

#define STEPPED_ROUNDS 300 /* stepped nodes have no time to run out */
#define SAME_ROUNDS    4 /* so often the same record is tried again, then a noop takes its place */

enum verdict {
    OURS,     /* the record is in */
    LOST,     /* something else is, for good */
    OPEN,     /* not known yet: once more */
    GIVEN_UP, /* never to be known */
};

static void give_up(struct turn *t)
{
    atomic_fetch_add(&t->account->mail->committer->counters.given_up, 1);
    account_drop(t->account);
    turn_answer(t, -ERR_UNKNOWN_OUTCOME, "it is not known whether it was done");
    turn_end(t);
}

void turn_committed(struct turn *t, int64_t time)
{
    struct account *a = t->account;
    uint64_t seq = t->base->seq + 1;

    if (!mail_in_time(a->mail, t->seen, time)) {
        give_up(t);
        return;
    }
    account_adopt(a, TAKE(t->built.st), time);
    turn_answer(t, 1, NULL);
    account_tell(a, seq);
    snapshot_wanted(a, seq);
    turn_end(t);
}

/* --- finding out ----------------------------------------------------------------------------- */

/* Is the document in the slot this record? Another's is recognised by its txid. */
static bool is_ours(const struct turn *t, struct slice head)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct record rec;

    return record_decode(head, t->base->seq + 1, &arena, &rec, NULL) == 0 &&
           memcmp(rec.txid, t->txid, TXID_SIZE) == 0;
}

static enum verdict look_into_slot(struct turn *t, int64_t *ret_time)
{
    struct mail *mail = t->account->mail;
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    if (store_get(mail->store, STORE_LOG, (struct slice[]){KEY_SLICE(t->key)}, 1, STORE_HEAD,
                  STORE_MAJORITY, &docs, NULL) < 0)
        return OPEN;
    mail_heard(mail, docs.time);
    *ret_time = docs.time;
    if (!mail_in_time(mail, t->seen, docs.time))
        return GIVEN_UP;
    if (!docs.items[0].found)
        return OPEN;
    return is_ours(t, docs.items[0].head) ? OURS : LOST;
}

/* One insert into the slot; TAKEN and unknown are for the next look to tell. */
static enum verdict put_into_slot(struct turn *t, struct slice bytes, enum verdict when_done,
                                  int64_t *ret_time)
{
    struct mail *mail = t->account->mail;
    struct store_item item = turn_record_item(t, bytes, 0);
    int r = store_insert(mail->store, &item, 1, ret_time, NULL);

    if (r < 0 || item.outcome != STORE_DONE)
        return OPEN;
    mail_heard(mail, *ret_time);
    return mail_in_time(mail, t->seen, *ret_time) ? when_done : GIVEN_UP;
}

static enum verdict put_noop(struct turn *t, int64_t *ret_time)
{
    struct built noop = {0};
    uint8_t txid[TXID_SIZE];
    enum verdict v;

    random_bytes(txid, sizeof txid);
    build_noop(t->base, MAX(mail_clock(t->account->mail), t->base->t_ms), txid, &noop);
    v = put_into_slot(t, buf_slice(&noop.bytes), LOST, ret_time);
    built_done(&noop);
    if (v == LOST)
        atomic_fetch_add(&t->account->mail->committer->counters.fences, 1);
    return v;
}

static bool wanted_still(const struct turn *t)
{
    const struct pending *p;
    int64_t now = commit_now(t->account->mail->committer);

    STAILQ_FOREACH (p, &t->pendings, link)
        if (p->deadline_ms <= now)
            return false;
    return true;
}

/* The record alone may go in only if its messages are known to be there. */
static enum verdict one_round(struct turn *t, int round, int64_t *ret_time)
{
    uint64_t broken = t->account->mail->broken;
    enum verdict v;

    if ((broken & BREAK_TXID || PLANTED(txid_unchecked)) && t->outcome == STORE_TAKEN) {
        *ret_time = t->seen;
        return OURS;
    }
    v = look_into_slot(t, ret_time);
    if (v != OPEN || *ret_time == 0)
        return v;
    if (broken & BREAK_FENCE || PLANTED(fence_skipped)) {
        turn_answer(t, -ERR_UNAVAILABLE, "taken for refused");
        return LOST;
    }
    /* Either settles it, and the same record again saves a rebuild; but what is rarely done is
     * rarely right, so every other slot sees a noop first. */
    if (round < SAME_ROUNDS && (t->base->seq + (uint64_t)round) % 2 == 0 && turn_all_stored(t) &&
        wanted_still(t))
        return put_into_slot(t, buf_slice(&t->built.bytes), OURS, ret_time);
    return put_noop(t, ret_time);
}

static bool only_flags(const struct turn *t)
{
    const struct pending *p;

    STAILQ_FOREACH (p, &t->pendings, link)
        if (p->intent->kind != INTENT_FLAGS)
            return false;
    return true;
}

/* No attempt is alive: the intents are built again on a newer state. */
static void lost(struct turn *t)
{
    struct mail *mail = t->account->mail;

    atomic_fetch_add(&mail->committer->counters.lost, 1);
    if (PLANTED(lost_flag) && only_flags(t))
        turn_answer(t, 0, NULL);
    if (mail->broken & BREAK_READ)
        account_adopt(t->account, TAKE(t->built.st), mail_clock(mail));
    else
        account_set_behind(t->account);
    turn_requeue(t, 0);
}

/* Where there is much to settle, turns come late to it: they get one round, and a next one only if
 * they have not waited twice their time. */
static int64_t settle_until(const struct turn *t)
{
    int64_t wait = t->account->mail->settings.commit_wait_ms, last = 0;
    const struct pending *p;

    STAILQ_FOREACH (p, &t->pendings, link)
        last = MAX(last, p->deadline_ms);
    return MIN(clock_mono_ms(), last) + wait;
}

void turn_settle(struct turn *t)
{
    struct mail *mail = t->account->mail;
    int64_t until = settle_until(t);
    enum verdict v = OPEN;
    int64_t time = 0;

    for (int round = 0; v == OPEN; round++) {
        time = 0;
        if (round > 0 && (!mail_sleep(mail, MIN(20 << MIN(round, 5), 500)) ||
                          (mail->stepped ? round > STEPPED_ROUNDS : clock_mono_ms() > until)))
            v = GIVEN_UP;
        else
            v = one_round(t, round, &time);
    }
    if (v == OURS)
        turn_committed(t, time);
    else if (v == LOST)
        lost(t);
    else
        give_up(t);
}

/* --- answers without a record ---------------------------------------------------------------- */

/* "These bytes are stored already" cannot become false; all else must be true now. */
static bool only_duplicates(const struct turn *t)
{
    const struct pending *p;

    STAILQ_FOREACH (p, &t->pendings, link)
        if (p->intent->result != 0 || !p->intent->duplicate)
            return false;
    return true;
}

static void answer_without(struct turn *t)
{
    atomic_fetch_add(&t->account->mail->committer->counters.without_record, 1);
    turn_answer(t, 1, NULL);
    turn_end(t);
}

void turn_confirm(struct turn *t)
{
    struct error err = {0};
    uint64_t seq = t->base->seq;
    int r;

    if (only_duplicates(t) || t->account->mail->broken & BREAK_NOTHING) {
        answer_without(t);
        return;
    }
    r = account_catch_up(t->account, STORE_LINEARIZABLE, &err);
    if (r == -ERR_UNAVAILABLE) {
        turn_requeue(t, 200);
        return;
    }
    if (r < 0) {
        turn_answer(t, r, err.text);
        turn_end(t);
        return;
    }
    r = turn_build(t, &err);
    if (r == 0 && t->built.bytes.n == 0 && t->base->seq >= seq)
        answer_without(t);
    else
        turn_requeue(t, 0);
}

/* --- fences of sweeps ------------------------------------------------------------------------ */

int commit_noop(struct account *a, const struct state *st, int64_t seen, struct error *err)
{
    struct mail *mail = a->mail;
    struct key16 key = key_pair(a->id, st->seq + 1), after = key_pair(a->id, st->seq);
    struct built noop = {0};
    struct store_item item;
    uint8_t txid[TXID_SIZE];
    int64_t time = 0;
    int r;

    random_bytes(txid, sizeof txid);
    build_noop(st, MAX(mail_clock(mail), st->t_ms), txid, &noop);
    item = (struct store_item){.table = STORE_LOG,
                               .key = KEY_SLICE(key),
                               .head = buf_slice(&noop.bytes),
                               .after = store_is_atomic(mail->store) ? KEY_SLICE(after)
                                                                     : (struct slice){0}};
    r = store_insert(mail->store, &item, 1, &time, err);
    if (r == 0)
        mail_heard(mail, time);
    if (r == 0 && item.outcome == STORE_DONE && mail_in_time(mail, seen, time)) {
        account_adopt(a, TAKE(noop.st), time);
        account_tell(a, st->seq + 1);
    } else {
        account_set_behind(a);
        r = r < 0 ? r : error_set(err, ERR_CONFLICT, "somebody else wrote to the account");
    }
    built_done(&noop);
    return r;
}
