# SPDX-License-Identifier: MPL-2.0
"""Clients that do random things through HAProxy and write down what came of it (history.py). They
never give up: whatever breaks, they come again, as mail programs and MTAs do."""
import base64
import imaplib
import poplib
import random
import re
import smtplib
import threading
import time

BOXES = ('INBOX', 'Work')
COPIES = 'Copies'
FLAGS = (r'\Seen', r'\Flagged', r'\Answered', 'Later')
TROUBLE = (OSError, EOFError, imaplib.IMAP4.error, smtplib.SMTPException, poplib.error_proto, AttributeError)
TIMEOUT = 25
FULL = 60  # messages in a mailbox from which on its clients clear up
ROW = '(UID MODSEQ FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (X-TOKEN)])'
SHARED_PARTS = 30  # attachments that are stored once, whoever has them


def make_message(token):
    """The same for the same token, so that whoever reads it knows what should be there."""
    chance = random.Random(token)
    head = (b'From: anna@example.org\r\nDate: Sun, 29 Nov 2026 12:00:00 +0000\r\nMessage-ID: <' + token.encode() +
            b'@example.org>\r\nSubject: fault test\r\nX-Token: ' + token.encode() + b'\r\n')
    lines = chance.choice((0, 0, 0, 1, 1, 50, 50, 900))
    body = b''.join(b'%016x some text\r\n' % chance.getrandbits(64) for _ in range(lines))
    if chance.random() < 0.85:
        return head + b'\r\n' + body
    part = random.Random(f'part {chance.randrange(SHARED_PARTS)}')
    attached = base64.encodebytes(part.randbytes(part.randint(16000, 60000))).replace(b'\n', b'\r\n')
    return (head + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n' + body +
            b'--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n' + attached +
            b'--b--\r\n')


class Client(threading.Thread):
    def __init__(self, name, host, account, history, seed, pace=1.0):
        """pace: seconds of rest, about."""
        super().__init__(name=name, daemon=True)
        self.host, self.account, self.history, self.pace = host, account, history, pace
        self.chance = random.Random(f'{seed} {name}')
        self.stopping = threading.Event()
        self.numbers = 0
        self.failure = None

    def token(self):
        self.numbers += 1
        return f'{self.name}-{self.numbers}'

    def run(self):
        try:
            while not self.stopping.is_set():
                try:
                    self.session()
                except TROUBLE:
                    self.stopping.wait(0.1 + self.chance.random() * 0.3)
        except Exception as failure:  # the driver tells
            self.failure = failure
            raise

    def rest(self, part=1.0):
        self.stopping.wait(self.chance.random() * self.pace * part)

    def note(self, began, op, result, account=None, **more):
        self.history.add(began, who=self.name, account=(account or self.account).name, op=op, result=result, **more)


class Mta(Client):
    """Hands each message over until it is taken or refused for good."""

    def session(self):
        token = self.token()
        while not self.attempt(token, make_message(token)):
            time.sleep(0.05 + self.chance.random() * 0.2)
        self.rest()

    def attempt(self, token, message):
        """True: it is taken, or refused for good."""
        began, result = self.history.now(), 'unknown'
        try:
            with smtplib.LMTP(self.host, 24, local_hostname='mta', timeout=TIMEOUT) as lmtp:
                code = self.send(lmtp, message)
                result = 'ok' if code == 250 else 'failed' if code >= 500 else 'unknown'
        except TROUBLE:
            pass
        self.note(began, 'deliver', result, token=token, box='INBOX')
        return result != 'unknown'

    def send(self, lmtp, message):
        lmtp.ehlo_or_helo_if_needed()
        for code, _ in (lmtp.mail('mta@example.net'), lmtp.rcpt(self.account.login)):
            if code != 250:
                return code
        code = lmtp.data(message)[0]
        return code


class Reader(Client):
    """IMAP: appends, flags, moves, copies, expunges, reads, and looks."""
    boxes = BOXES

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.copied = set()

    def session(self):
        imap = imaplib.IMAP4(self.host, timeout=TIMEOUT)
        try:
            imap.login(self.account.login, self.account.password)
            self.look_number = f'{self.name}.{self.history.now():.3f}'
            for _ in range(self.chance.randint(3, 12)):
                box = self.chance.choice(self.boxes_of())
                kind, said = imap.select(box)
                if kind != 'OK':
                    continue
                uids = self.look(imap, box)
                for _ in range(self.chance.randint(1, 6)):
                    if self.stopping.is_set():
                        return
                    self.act(imap, box, uids)
                    self.stopping.wait(self.chance.random() * 0.05)
                self.look(imap, box)
                self.clear_up(imap, box, uids)
                self.rest()
            imap.logout()
        finally:
            imap.shutdown()

    def boxes_of(self):
        return (*BOXES, COPIES) if self.account.name == 'anna@example.org' else BOXES

    def look(self, imap, box):
        """{uid: token} of the selected mailbox."""
        began = self.history.now()
        kind, said = imap.status(box, '(UIDVALIDITY UIDNEXT HIGHESTMODSEQ)')
        if kind != 'OK':
            return {}
        before = {k: int(v) for k, v in re.findall(r'(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)', said[0].decode())}
        kind, said = imap.uid('FETCH', '1:*', ROW)
        if kind != 'OK':
            return {}
        messages = parse_messages(said, box)
        kind, said = imap.status(box, '(UIDNEXT HIGHESTMODSEQ)')
        if kind != 'OK':
            return {}
        after = {k: int(v) for k, v in re.findall(r'(UIDNEXT|HIGHESTMODSEQ) (\d+)', said[0].decode())}
        self.note(began, 'see', 'ok', box=box, session=self.look_number, uidvalidity=before['UIDVALIDITY'],
                  uidnext=after['UIDNEXT'], highest=after['HIGHESTMODSEQ'], messages=messages)
        return {m[0]: m[3] for m in messages}

    def act(self, imap, box, uids):
        self.chance.choices((self.append, self.flag, self.move, self.copy, self.expunge, self.read),
                            (5, 5, 2, 1, 1, 2))[0](imap, box, uids)

    def command(self, op, run, **what):
        """One command that changes something; 'unknown' when the connection breaks."""
        began, result = self.history.now(), 'unknown'
        try:
            kind, said = run(what)
            result = 'ok' if kind == 'OK' else 'failed'
            return kind
        finally:
            self.note(began, op, result, **what)

    def append(self, imap, box, uids):
        token = self.token()
        if box not in BOXES:
            return

        def run(what):
            kind, said = imap.append(box, None, None, make_message(token))
            if given := re.search(rb'APPENDUID (\d+) (\d+)', said[-1] or b''):
                what.update(given=[[token, int(given[2])]], validity=int(given[1]))
            return kind, said

        self.command('append', run, token=token, box=box)

    def flag(self, imap, box, uids):
        if not uids:
            return
        chosen = self.chance.sample(sorted(uids), min(len(uids), self.chance.choice((1, 1, 3))))
        on, flag = self.chance.random() < 0.6, self.chance.choice(FLAGS)
        self.command('flags', lambda _: imap.uid('STORE', ','.join(map(str, chosen)),
                                                 ('+' if on else '-') + 'FLAGS.SILENT', f'({flag})'),
                     tokens=[uids[u] for u in chosen], box=box, flag=flag, on=on)

    def transfer(self, imap, word, chosen, to, tokens, what):
        """COPY or MOVE, and what COPYUID says of it."""
        imap.untagged_responses.pop('COPYUID', None)
        kind, said = imap.uid(word, ','.join(map(str, chosen)), to)
        told = imap.untagged_responses.pop('COPYUID', None) or re.findall(rb'COPYUID ([^\]]*)', said[-1] or b'')
        if told and kind == 'OK':
            validity, source, target = told[-1].split()
            what.update(given=[[tokens[u], v] for u, v in zip(numbers(source), numbers(target), strict=True)],
                        validity=int(validity))
        return kind, said

    def move(self, imap, box, uids):
        if not uids or box not in BOXES:
            return
        uid = self.chance.choice(sorted(uids))
        to = BOXES[1 - BOXES.index(box)]
        token = uids[uid]
        self.command('move', lambda what: self.transfer(imap, 'MOVE', [uid], to, {uid: token}, what), token=token,
                     box=box, to=to)
        uids.pop(uid)

    def copy(self, imap, box, uids):
        """Once each, so a copy has a name of its own: TOKEN/copy."""
        if not uids or box not in BOXES or self.account.name != 'anna@example.org':
            return
        uid = self.chance.choice(sorted(uids))
        token = uids[uid]
        if token in self.copied:
            return
        self.copied.add(token)
        self.command('copy', lambda what: self.transfer(imap, 'COPY', [uid], COPIES, {uid: token + '/copy'}, what),
                     token=token + '/copy', box=COPIES)

    def read(self, imap, box, uids):
        """A whole message, octet by octet; LMTP and submission put fields before it."""
        if not uids:
            return
        uid = self.chance.choice(sorted(uids))
        began = self.history.now()
        kind, said = imap.uid('FETCH', str(uid), '(BODY.PEEK[])')
        for item in said if kind == 'OK' else []:
            if isinstance(item, tuple):
                self.note(began, 'read', 'ok', token=uids[uid], box=box,
                          good=item[1].endswith(make_message(uids[uid].removesuffix('/copy'))))

    def expunge(self, imap, box, uids):
        if uids:
            self.remove(imap, box, uids, [self.chance.choice(sorted(uids))])

    def clear_up(self, imap, box, uids):
        """The older half, when there are many."""
        if len(uids) > FULL and not self.stopping.is_set():
            self.remove(imap, box, uids, sorted(uids)[:len(uids) // 2])

    def remove(self, imap, box, uids, chosen):
        which, tokens = ','.join(map(str, chosen)), [uids[u] for u in chosen]
        kind = self.command('flags', lambda _: imap.uid('STORE', which, '+FLAGS.SILENT', r'(\Deleted)'), tokens=tokens,
                            box=box, flag=r'\Deleted', on=True)
        if kind == 'OK':
            self.command('expunge', lambda _: imap.uid('EXPUNGE', which), tokens=tokens, box=box)
            for uid in chosen:
                del uids[uid]


def numbers(text):
    """Of a set of UIDs, in its order."""
    found = []
    for part in text.decode().split(','):
        first, _, last = part.partition(':')
        found += range(int(first), int(last or first) + 1)
    return found


def parse_messages(said, box):
    found = []
    for item in said:
        if not isinstance(item, tuple):
            continue
        head = item[0].decode()
        token = re.search(rb'(?i)X-Token: (\S+)', item[1])
        found.append([int(re.search(r'UID (\d+)', head)[1]), int(re.search(r'MODSEQ \((\d+)\)', head)[1]),
                      sorted(re.search(r'FLAGS \(([^)]*)\)', head)[1].split()), token[1].decode() if token else None,
                      int(re.search(r'RFC822\.SIZE (\d+)', head)[1])])
    return sorted(named(found, box))


def named(rows, box):
    """What is a copy has a name that says so."""
    return [[*row[:3], row[3] + '/copy', row[4]] if box == COPIES and row[3] else row for row in rows]


class Popper(Client):
    """POP3: lists, reads the heads of some, deletes one now and then, and many when there are many."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.tokens = {}  # by UIDL, for ever

    def session(self):
        began = self.history.now()
        pop = poplib.POP3(self.host, timeout=TIMEOUT)
        try:
            pop.user(self.account.login)
            pop.pass_(self.account.password)
            uidls = {int(n): u for n, u in (line.decode().split() for line in pop.uidl()[1])}
            sizes = {int(n): int(s) for n, s in (line.decode().split() for line in pop.list()[1])}
            seen = self.read_heads(pop, uidls)
            self.note(began, 'uidl', 'ok', session=f'{self.name}.{began:.3f}',
                      messages=[[uidls[n], sizes[n], seen.get(n)] for n in uidls])
            self.finish(pop, {n: self.tokens[u] for n, u in uidls.items() if u in self.tokens})
        finally:
            pop.close()
        self.stopping.wait(0.1)
        self.rest()

    def read_heads(self, pop, uidls):
        """{number: token}; of those that are not known yet, and one that is."""
        new = [n for n, u in uidls.items() if u not in self.tokens]
        chosen = new[:20] + self.chance.sample(sorted(uidls), min(len(uidls), 1))
        seen = {}
        for n in chosen:
            head = b'\n'.join(pop.top(n, 0)[1])
            seen[n] = self.tokens[uidls[n]] = re.search(rb'(?i)X-Token: (\S+)', head)[1].decode()
        return seen

    def finish(self, pop, known):
        chosen = []
        if len(known) > FULL:
            chosen = sorted(known)[:len(known) // 2]
        elif known and self.chance.random() < 0.3:
            chosen = [self.chance.choice(sorted(known))]
        for n in chosen:
            pop.dele(n)
        began, result = self.history.now(), 'unknown'
        try:
            pop.quit()
            result = 'ok'
        except poplib.error_proto as failure:
            result = 'failed' if b'-ERR' in str(failure).encode() and 'SYS/TEMP' in str(failure) else 'unknown'
            raise
        finally:
            if chosen:
                self.note(began, 'expunge', result, tokens=[known[n] for n in chosen], box='INBOX')
