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
  I16            a message that is moved is in one mailbox
  I30            a UIDL names one message, and a message has one

A node may show an earlier moment for a while when a primary is replaced (I20), so a look counts as later
only if it began LATE seconds after.
"""
import bisect
import collections
import sys

LATE = 15


class Checker:
    def __init__(self, history):
        self.entries = history
        self.violations = []
        self.puts = collections.defaultdict(list)     # token -> append, deliver
        self.removals = collections.defaultdict(list)  # token -> expunge
        self.moves = collections.defaultdict(list)
        self.flags = collections.defaultdict(list)    # token -> flags
        self.looks = []
        for e in history:
            kind = {'append': self.puts, 'deliver': self.puts, 'expunge': self.removals, 'move': self.moves}
            if e['op'] in kind:
                kind[e['op']][e['account'], e['token']].append(e)
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

    def may_be_gone(self, account, token, box, until):
        """Somebody has asked for its removal from this mailbox before that time."""
        return any(e['result'] != 'failed' and e['began'] < until
                   for e in self.removals.get((account, token), []) + self.moves.get((account, token), [])
                   if e['box'] == box)

    def check_presence(self):
        by_box = collections.defaultdict(list)
        for look in self.looks:
            by_box[look['account'], look['box']].append(look)
        for (account, box), looks in by_box.items():
            shown = {}  # token: when it was first known to be there
            for (owner, token), puts in self.puts.items():
                if owner == account:
                    for p in puts:
                        if p['result'] == 'ok' and p['box'] == box:
                            shown[token] = min(shown.get(token, 1e9), p['ended'])
            for look in looks:
                for m in look['messages']:
                    shown[m[3]] = min(shown.get(m[3], 1e9), look['ended'])
            for look in looks:
                self.check_look(account, box, look, shown)

    def check_look(self, account, box, look, shown):
        here = {m[3] for m in look['messages']}
        late = 0 if look['op'] == 'final' else LATE
        for token, since in shown.items():
            if token not in here and since + late <= look['began'] and \
                    not self.may_be_gone(account, token, box, look['ended']):
                self.broken('I21, I25', f'{token} was in {box} of {account} at {since}, nobody has removed it, and it is '
                            f'not there in look {look["n"]}')
        for token in here:
            if self.moves.get((account, token)):
                continue
            for e in self.removals.get((account, token), []):
                if e['result'] == 'ok' and e['ended'] + late <= look['began']:
                    self.broken('I25', f'{token} was removed from {box} of {account} (entry {e["n"]}) and is there in '
                                f'look {look["n"]}')

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

    # -- the end --

    def check_end(self):
        final = collections.defaultdict(dict)  # account: {(view, box): messages}
        for look in self.looks:
            if look['op'] == 'final':
                final[look['account']][look['view'], look['box']] = look['messages']
        for account, views in final.items():
            numbers = sorted({view for view, _ in views})
            boxes = sorted({box for _, box in views})
            for box in boxes:
                for view in numbers[1:]:
                    if views[view, box] != views[numbers[0], box]:
                        self.broken('I6', f'{box} of {account} is shown differently in the end')
            self.count_in_the_end(account, {b: views[numbers[0], b] for b in boxes})
        if not final:
            self.broken('the test', 'there is no last look')

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
            if n == 0 and not removals and any(p['result'] == 'ok' for p in puts):
                self.broken('I21', f'{token} of {owner} was taken and is not there in the end')
            if n == 1 and not removals and not self.moves.get((owner, token)):
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
