#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Checks a history (history.py) against what mail means: checker.py FILE

What happened in between is not known, only what was asked, answered and seen; so each rule says what
must be so in any order of events that fits the answers. Rules, by the invariants they come from:

  I21, I22, I24  in the end a message that was taken is there once; one whose fate was not told, once or not
                 at all; and from then on, every later look sees it until somebody asks for its removal
  I23            what was refused for good is never seen
  I25            what was seen is not gone unless its removal was asked for; what was removed stays removed;
                 one (mailbox, UID, MODSEQ) has one set of flags, whoever looks
  I1 to I4       UIDs rise, name one message for ever; UIDNEXT is above them; UIDVALIDITY does not change
  I5, I10        MODSEQ and HIGHESTMODSEQ never go back in a session, and a change raises them
  I7 to I9       EXISTS, EXPUNGE and FETCH are such that a client that believes them knows what is there
  I11            whoever comes back with QRESYNC is told all that has changed and gone, and nothing false
  I15            APPENDUID and COPYUID name the message that is seen there
  I16            a message that is moved is in one mailbox
  I29            what was queued arrives, what was refused does not
  I30            a UIDL names one message, and a message has one
  I31            what is older than its mailbox keeps it goes, and nothing else
  I32            a deleted account takes nothing more
  I33            a message is read as it was written

A node may show an earlier moment for a while when a primary is replaced (I20), so a look counts as later
only if it began LATE seconds after.
"""
import bisect
import collections
import sys

LATE = 15
STORE_SECOND = 2      # the store's clock shows whole seconds
EXPIRED_LATE = 45     # so long after its time a message may be there when all is well
NEVER = float('inf')


class Checker:
    def __init__(self, history):
        self.entries = history
        self.violations = []
        self.puts = collections.defaultdict(list)     # token -> append, deliver
        self.removals = collections.defaultdict(list)  # token -> expunge
        self.moves = collections.defaultdict(list)
        self.flags = collections.defaultdict(list)    # token -> flags
        self.looks = []
        self.known = {}
        self.keeps = {}  # (account, box): for how many seconds
        kind = {'append': self.puts, 'deliver': self.puts, 'copy': self.puts, 'expunge': self.removals,
                'move': self.moves}
        for e in history:
            if e['op'] in kind:
                for token in e.get('tokens') or [e['token']]:
                    kind[e['op']][e['account'], token].append(e)
            elif e['op'] == 'keeps':
                self.keeps[e['account'], e['box']] = e['seconds']
            elif e['op'] == 'flags':
                for token in e['tokens']:
                    self.flags[e['account'], token].append(e)
            elif e['op'] in ('see', 'final'):
                self.looks.append(e)

    def broken(self, rule, text):
        self.violations.append(f'{rule}: {text}')

    def check(self):
        self.check_identity()
        self.check_sessions()
        self.check_tokens()
        self.check_presence()
        self.check_pop3()
        self.check_given()
        self.check_syncs()
        self.check_queue()
        self.check_deleted()
        for e in self.entries:
            if e['op'] == 'watch':
                for text in e['wrong']:
                    self.broken('I7, I8, I9', f'{e["box"]} of {e["account"]}, entry {e["n"]}: {text}')
            elif e['op'] == 'read' and not e['good']:
                self.broken('I33, I27', f'{e["token"]} of {e["account"]} is read otherwise than written, entry {e["n"]}')
        self.check_end()
        return self.violations

    # -- who is who --

    def check_identity(self):
        validity, named, flags = {}, {}, {}
        for look in self.looks:
            box = look['account'], look['box']
            if validity.setdefault(box, look['uidvalidity']) != look['uidvalidity']:
                self.broken('I3', f'UIDVALIDITY of {box} was {validity[box]}, is {look["uidvalidity"]} in {look["n"]}')
            tokens = [m[3] for m in look['messages']]
            for token, times in collections.Counter(tokens).items():
                if times > 1:
                    self.broken('I21', f'{token} is {times} times in {box}, look {look["n"]}')
            for uid, modseq, shown, token, size in look['messages']:
                if named.setdefault((box, uid), (token, size)) != (token, size):
                    self.broken('I4', f'UID {uid} of {box} was {named[box, uid]}, is {(token, size)} in {look["n"]}')
                if flags.setdefault((box, uid, modseq), shown) != shown:
                    self.broken('I25', f'UID {uid} of {box} at MODSEQ {modseq} had {flags[box, uid, modseq]}, '
                                f'has {shown} in {look["n"]}')
                if uid >= look['uidnext']:
                    self.broken('I2', f'UID {uid} of {box} and UIDNEXT {look["uidnext"]} in {look["n"]}')
                if modseq > look['highest']:
                    self.broken('I10', f'MODSEQ {modseq} of {box} above HIGHESTMODSEQ {look["highest"]} in {look["n"]}')

    def check_sessions(self):
        last = {}
        for look in self.looks:
            key = look['account'], look['box'], look['session']
            now = {m[0]: m for m in look['messages']}
            if key in last:
                before, known = last[key]
                self.compare(before, look, known, now)
            known = last[key][1] if key in last else {}
            last[key] = look, {**known, **now}

    def compare(self, before, look, known, now):
        """Two looks of one session at one mailbox."""
        where = f'{look["box"]} of {look["account"]}, looks {before["n"]} and {look["n"]}'
        for what, rule in (('highest', 'I10'), ('uidnext', 'I2')):
            if look[what] < before[what]:
                self.broken(rule, f'{what} went from {before[what]} to {look[what]}: {where}')
        for uid, modseq, flags, token, _ in look['messages']:
            if uid not in known:
                if known and uid < max(known):
                    self.broken('I1', f'UID {uid} came after {max(known)}: {where}')
            elif modseq < known[uid][1]:
                self.broken('I5', f'MODSEQ of UID {uid} went from {known[uid][1]} to {modseq}: {where}')
            elif flags != known[uid][2] and modseq == known[uid][1]:
                self.broken('I5', f'flags of UID {uid} changed, its MODSEQ {modseq} did not: {where}')

    # -- what is there --

    def check_tokens(self):
        """Nothing comes from nowhere, or from a refusal."""
        for look in self.looks:
            for _, _, _, token, _ in look['messages']:
                puts = self.puts.get((look['account'], token))
                if not puts:
                    self.broken('I34', f'{token} of {look["account"]} was never put there, look {look["n"]}')
                elif all(p['result'] == 'failed' for p in puts):
                    self.broken('I23', f'{token} of {look["account"]} was refused and is there, look {look["n"]}')

    def arrivals(self, account, token, box):
        """What may have put it into this mailbox."""
        return [e for e in self.puts.get((account, token), []) if e['box'] == box and e['result'] != 'failed'] + \
            [e for e in self.moves.get((account, token), []) if e['to'] == box and e['result'] != 'failed']

    def expires(self, account, token, box):
        """From when on it may be gone because of its age."""
        keep = self.keeps.get((account, box))
        if not keep:
            return NEVER
        return min((e['began'] for e in self.arrivals(account, token, box)), default=NEVER) + keep - STORE_SECOND

    def leaves(self, account, token, box):
        """From when on it may be gone: somebody has asked for it, or its time is over."""
        asked = [e['began'] for e in self.removals.get((account, token), []) + self.moves.get((account, token), [])
                 if e['result'] != 'failed' and e['box'] == box]
        return min([*asked, self.expires(account, token, box)])

    def check_presence(self):
        by_box = collections.defaultdict(list)
        for look in self.looks:
            by_box[look['account'], look['box']].append(look)
        put = collections.defaultdict(dict)
        for (owner, token), puts in self.puts.items():
            for p in puts:
                if p['result'] == 'ok':
                    shown = put[owner, p['box']]
                    shown[token] = min(shown.get(token, NEVER), p['ended'])
        for (account, box), looks in by_box.items():
            shown = put[account, box]  # token: when it was first known to be there
            for look in looks:
                for m in look['messages']:
                    shown[m[3]] = min(shown.get(m[3], NEVER), look['ended'])
            self.check_missing(account, box, looks, shown)
            self.check_returns(account, box, looks)

    def check_missing(self, account, box, looks, shown):
        """What is known to be there is in each later look, until it may be gone."""
        waiting = sorted(((since, token) for token, since in shown.items()), reverse=True)
        present = {}  # token: from when on it may be gone
        for look in sorted(looks, key=lambda e: e['began'] - (0 if e['op'] == 'final' else LATE)):
            late = 0 if look['op'] == 'final' else LATE
            while waiting and waiting[-1][0] + late <= look['began']:
                _, token = waiting.pop()
                present[token] = self.leaves(account, token, box)
            here = {m[3] for m in look['messages']}
            for token, leaves in list(present.items()):
                if leaves <= look['began'] - LATE:
                    del present[token]
                elif token not in here and leaves >= look['ended']:
                    self.broken('I21, I25', f'{token} was in {box} of {account} at {shown[token]}, nobody has removed it, '
                                f'and it is not there in look {look["n"]}')

    def check_returns(self, account, box, looks):
        """What is gone stays gone."""
        gone = {}     # token: when it was seen to be gone
        for look in sorted(looks, key=lambda e: e['began']):
            late = 0 if look['op'] == 'final' else LATE
            here = {m[3] for m in look['messages']}
            for token in here:
                if self.moves.get((account, token)):
                    continue
                for e in self.removals.get((account, token), []):
                    if e['result'] == 'ok' and e['ended'] + late <= look['began'] and e['box'] == box:
                        self.broken('I25', f'{token} was removed from {box} of {account} (entry {e["n"]}) and is there '
                                    f'in look {look["n"]}')
                if token in gone and gone[token][0] + late <= look['began']:
                    self.broken('I25', f'{token} was gone from {box} of {account} in look {gone[token][1]} and is there '
                                f'in look {look["n"]}')
            for token in self.seen_before(account, box, look, here):
                gone.setdefault(token, (look['ended'], look['n']))

    def seen_before(self, account, box, look, here):
        """Those that an earlier look of this mailbox had, and this one has not."""
        known = self.known.setdefault((account, box), {})
        missing = [token for token, since in known.items() if token not in here and since + LATE < look['began']]
        for token in missing:
            del known[token]
        for token in here:
            known.setdefault(token, look['ended'])
        return missing

    def check_pop3(self):
        named, uidls = {}, {}
        for e in self.entries:
            if e['op'] != 'uidl':
                continue
            if len({m[0] for m in e['messages']}) != len(e['messages']):
                self.broken('I30', f'a UIDL twice in {e["n"]}')
            for uidl, size, token in e['messages']:
                key = e['account'], uidl
                if token and named.setdefault(key, token) != token:
                    self.broken('I30', f'UIDL {uidl} was {named[key]}, is {token} in {e["n"]}')
                if uidls.setdefault(key, size) != size:
                    self.broken('I30', f'UIDL {uidl} had {uidls[key]} octets, has {size} in {e["n"]}')

    def check_given(self):
        """APPENDUID and COPYUID."""
        validity, named, places = {}, {}, collections.defaultdict(set)
        for look in self.looks:
            box = look['account'], look['box']
            validity[box] = look['uidvalidity']
            for uid, _, _, token, _ in look['messages']:
                named[box, uid] = token
                places[box, token].add(uid)
        for e in self.entries:
            box = e.get('account'), e.get('to', e.get('box'))
            for token, uid in e.get('given', ()):
                if validity.get(box, e['validity']) != e['validity']:
                    self.broken('I15', f'UIDVALIDITY of {box} is {validity[box]}, and {e["validity"]} in entry {e["n"]}')
                if named.get((box, uid), token) != token:
                    self.broken('I15', f'UID {uid} of {box} is {named[box, uid]}, and {token} in entry {e["n"]}')
                if places.get((box, token)) and uid not in places[box, token] and len(self.moves.get((e['account'], token), [])) <= 1:
                    self.broken('I15', f'{token} of {box} has UID {places[box, token]}, and {uid} in entry {e["n"]}')

    def check_syncs(self):
        for e in self.entries:
            if e['op'] == 'sync':
                self.check_sync(e)

    def check_sync(self, e):
        where = f'{e["box"]} of {e["account"]} since {e["since"]}, entry {e["n"]}'
        here = {uid: (modseq, flags) for uid, modseq, flags in e['messages']}
        changed = {uid: (modseq, flags) for uid, modseq, flags in e['changed']}
        lost = set(e['known']) - set(here) - set(e['vanished']) - set(e['later'])
        if e['highest'] < e['since']:  # the node shows an earlier moment, in which the newest are not there yet
            lost = {uid for uid in lost if uid < max(here, default=0)}
        if lost:
            self.broken('I11', f'{sorted(lost)} are gone and not told: {where}')
        if wrong := set(e['vanished']) & set(here):
            self.broken('I11', f'{sorted(wrong)} are told to be gone and are there: {where}')
        for uid, (modseq, flags) in here.items():
            asked = not e['limited'] or uid in e['known']  # RFC 7162 3.2.5.1: of these alone
            if asked and e['since'] < modseq <= e['highest'] and uid not in changed:
                self.broken('I11', f'UID {uid} has changed ({modseq}) and was not told: {where}')
            if uid in changed and changed[uid][0] == modseq and changed[uid][1] != flags:
                self.broken('I11', f'UID {uid} was told as {changed[uid]} and is {modseq, flags}: {where}')

    def check_queue(self):
        arrived = collections.Counter((e['token'], to) for e in self.entries if e['op'] == 'arrive' for to in e['to'])
        for e in self.entries:
            if e['op'] != 'send':
                continue
            for to in e['to']:
                if e['result'] == 'ok' and not arrived[e['token'], to]:
                    self.broken('I29, I21', f'{e["token"]} for {to} was queued and has not arrived, entry {e["n"]}')
                if e['result'] == 'failed' and arrived[e['token'], to]:
                    self.broken('I29, I23', f'{e["token"]} for {to} was refused and has arrived, entry {e["n"]}')
        strange = {token for token, _ in arrived} - {e['token'] for e in self.entries if e['op'] == 'send'}
        if strange:
            self.broken('I29', f'{sorted(strange)[:5]} have arrived, and nobody has sent them')

    def check_deleted(self):
        gone = {e['account']: e for e in self.entries if e['op'] == 'delete' and e['result'] == 'ok'}
        for e in self.entries:
            if e['op'] in ('append', 'deliver', 'login') and e['result'] == 'ok' and e['account'] in gone and \
                    e['began'] > gone[e['account']]['ended']:
                self.broken('I32', f'{e["op"]} to {e["account"]} in entry {e["n"]}, after it was deleted in entry '
                            f'{gone[e["account"]]["n"]}')

    # -- the end --

    def check_end(self):
        final = collections.defaultdict(dict)  # account: {(view, box): messages}
        for look in self.looks:
            if look['op'] == 'final':
                final[look['account']][look['view'], look['box']] = look['messages']
        for account, views in final.items():
            numbers = sorted({view for view, _ in views})
            boxes = sorted({box for _, box in views})
            self.check_age(account, {b: views[numbers[-1], b] for b in boxes})
            for box in boxes:
                for view in numbers[1:]:
                    if views[view, box] != views[numbers[0], box] and (account, box) not in self.keeps:
                        self.broken('I6', f'{box} of {account} is shown differently in the end')
            self.count_in_the_end(account, {b: views[numbers[0], b] for b in boxes})
        if not final:
            self.broken('the test', 'there is no last look')

    def check_age(self, account, boxes):
        end = max(look['began'] for look in self.looks if look['op'] == 'final' and look['account'] == account)
        for box, messages in boxes.items():
            for m in messages if (account, box) in self.keeps else []:
                came = max((e['ended'] for e in self.arrivals(account, m[3], box)), default=NEVER)
                if came + self.keeps[account, box] + EXPIRED_LATE < end:
                    self.broken('I31', f'{m[3]} came into {box} of {account} at {came} and is there at {end}')

    def may_have_expired(self, account, token):
        end = self.looks[-1]['ended']
        return any(self.expires(account, token, box) < end for owner, box in self.keeps if owner == account)

    def count_in_the_end(self, account, boxes):
        places = collections.Counter(m[3] for messages in boxes.values() for m in messages)
        flags = {m[3]: m[2] for messages in boxes.values() for m in messages}
        for (owner, token), puts in self.puts.items():
            if owner != account:
                continue
            n = places.get(token, 0)
            removals = [e for e in self.removals.get((owner, token), []) if e['result'] != 'failed']
            if n > 1:
                self.broken('I16' if self.moves.get((owner, token)) else 'I22, I24', f'{token} of {owner} is there {n} times')
            if n == 0 and not removals and any(p['result'] == 'ok' for p in puts) and \
                    not self.may_have_expired(owner, token):
                self.broken('I21', f'{token} of {owner} was taken and is not there in the end')
            if n == 1 and not removals and not self.moves.get((owner, token)) and not token.endswith('/copy'):
                self.check_flags(owner, token, flags[token])

    def check_flags(self, account, token, shown):
        """Of what nobody moved or removed: each flag as one of the last commands left it."""
        told = self.flags.get((account, token), [])
        for flag in {e['flag'] for e in told}:
            ops = [e for e in told if e['flag'] == flag and e['result'] != 'failed']
            done = sorted(e['began'] for e in ops if e['result'] == 'ok')
            last = [e for e in ops if bisect.bisect_right(done, e['ended']) == len(done)]
            possible = {e['on'] for e in last} | ({False} if not done else set())
            if (flag in shown) not in possible:
                self.broken('I21', f'{flag} of {token} of {account} is {flag in shown} in the end, and should be '
                            f'{possible}: entries {[e["n"] for e in ops]}')
        strange = {f for f in shown if not f.startswith('\\Recent')} - {e['flag'] for e in told}
        if strange:
            self.broken('I25', f'{token} of {account} has {strange}, which nobody has set')


def main():
    from history import load
    history = load(sys.argv[1])
    violations = Checker(history).check()
    for text in violations[:50]:
        print(text)
    print(f'{len(history)} entries, {len(violations)} violations')
    return 1 if violations else 0


if __name__ == '__main__':
    sys.exit(main())
