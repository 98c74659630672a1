/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/pop3/maildrop.h"

#include "lib/base/mem.h"

int maildrop_open(struct maildrop *drop, struct account *account, struct error *err)
{
    struct state *st = account_state(account);
    const struct mailbox *inbox = state_mailbox_named(st, S("INBOX"));
    int r;

    *drop = (struct maildrop){.account = account};
    if (inbox)
        r = mailbox_load(account, st, inbox->id, 0, UINT32_MAX, &drop->box, err);
    else
        r = error_set(err, ERR_NOTFOUND, "the account has no INBOX");
    state_unref(st);
    return r;
}

void maildrop_done(struct maildrop *drop)
{
    if (drop->box)
        mailbox_unref(drop->box);
    uidset_done(&drop->deleted);
    uidset_done(&drop->seen);
    *drop = (struct maildrop){0};
}

uint32_t maildrop_total(const struct maildrop *drop)
{
    return drop->box->sum.exists;
}

uint32_t maildrop_count(const struct maildrop *drop)
{
    return drop->box->sum.exists - (uint32_t)uidset_count(&drop->deleted);
}

uint64_t maildrop_bytes(const struct maildrop *drop)
{
    return drop->box->sum.bytes - drop->deleted_bytes;
}

bool maildrop_get(const struct maildrop *drop, uint64_t number, struct message *ret)
{
    return number >= 1 && number <= drop->box->sum.exists &&
           mailbox_at(drop->box, (uint32_t)number - 1, ret) &&
           !uidset_has(&drop->deleted, ret->uid);
}

void maildrop_delete(struct maildrop *drop, const struct message *m)
{
    uidset_add(&drop->deleted, m->uid);
    drop->deleted_bytes += m->size;
}

void maildrop_reset(struct maildrop *drop)
{
    uidset_clear(&drop->deleted);
    drop->deleted_bytes = 0;
}

void maildrop_uid(const struct maildrop *drop, uint32_t uid, uint8_t ret[MAILDROP_UID])
{
    uint64_t id = (uint64_t)drop->box->uidvalidity << 32 | uid;

    for (size_t i = 0; i < MAILDROP_UID; i++)
        ret[i] = (uint8_t) "0123456789abcdef"[id >> (60 - 4 * i) & 15];
}

/* What it was named by is the mailbox's id and uids, so a message can never be taken for another.
 */
int maildrop_commit(struct maildrop *drop, bool mark_seen, struct error *err)
{
    struct uidset seen = uidset_minus(&drop->seen, &drop->deleted);
    struct intent flags = {.kind = INTENT_FLAGS,
                           .account = drop->account,
                           .mailbox = drop->box->id,
                           .uids = seen,
                           .flags = {.system = FLAG_SEEN},
                           .how = FLAGS_ADD};
    struct intent expunge = {.kind = INTENT_EXPUNGE,
                             .account = drop->account,
                             .mailbox = drop->box->id,
                             .uids = drop->deleted};
    struct intent *intents[2];
    size_t n = 0;

    if (mark_seen && seen.n)
        intents[n++] = &flags;
    if (drop->deleted.n)
        intents[n++] = &expunge;
    mail_commit(account_mail(drop->account), intents, n);
    if (expunge.result < 0)
        *err = expunge.error;
    intent_done(&flags);
    intent_done(&expunge);
    uidset_done(&seen);
    return expunge.result;
}
