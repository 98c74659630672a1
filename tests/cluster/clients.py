# SPDX-License-Identifier: MPL-2.0
"""Clients that do random things through HAProxy and write down what came of it (history.py). They
never give up: whatever breaks, they come again, as mail programs and MTAs do."""
import imaplib
import poplib
import random
import re
import smtplib
import threading
import time

BOXES = ('INBOX', 'Work')
FLAGS = (r'\Seen', r'\Flagged', r'\Answered', 'Later')
TROUBLE = (OSError, EOFError, imaplib.IMAP4.error, smtplib.SMTPException, poplib.error_proto, AttributeError)
TIMEOUT = 25


def make_message(token, chance):
    lines = chance.choice((0, 0, 1, 50, 900))
    body = b''.join(b'%016x some text\r\n' % chance.getrandbits(64) for _ in range(lines))
    return b'Subject: fault test\r\nX-Token: ' + token.encode() + b'\r\n\r\n' + body


class Client(threading.Thread):
    def __init__(self, name, host, account, history, seed):
        super().__init__(name=name, daemon=True)
        self.host, self.account, self.history = host, account, history
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

    def note(self, began, op, result, **more):
        self.history.add(began, who=self.name, account=self.account.login, op=op, result=result, **more)


class Mta(Client):
    """Hands each message over until it is taken or refused for good."""

    def session(self):
        token = self.token()
        message = make_message(token, self.chance)
        while not self.attempt(token, message):
            time.sleep(0.05 + self.chance.random() * 0.2)
        self.stopping.wait(self.chance.random() * 0.1)

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
    """IMAP: appends, flags, moves, expunges, and looks."""

    def session(self):
        imap = imaplib.IMAP4(self.host, timeout=TIMEOUT)
        try:
            imap.login(self.account.login, self.account.password)
            self.look_number = f'{self.name}.{self.history.now():.3f}'
            for _ in range(self.chance.randint(3, 12)):
                box = self.chance.choice(BOXES)
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
            imap.logout()
        finally:
            imap.shutdown()

    def look(self, imap, box):
        """{uid: token} of the selected mailbox."""
        began = self.history.now()
        kind, said = imap.status(box, '(UIDVALIDITY UIDNEXT HIGHESTMODSEQ)')
        if kind != 'OK':
            return {}
        before = {k: int(v) for k, v in re.findall(r'(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)', said[0].decode())}
        kind, said = imap.uid('FETCH', '1:*', '(UID MODSEQ FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (X-TOKEN)])')
        if kind != 'OK':
            return {}
        messages = parse_messages(said)
        kind, said = imap.status(box, '(UIDNEXT HIGHESTMODSEQ)')
        if kind != 'OK':
            return {}
        after = {k: int(v) for k, v in re.findall(r'(UIDNEXT|HIGHESTMODSEQ) (\d+)', said[0].decode())}
        self.note(began, 'see', 'ok', box=box, session=self.look_number, uidvalidity=before['UIDVALIDITY'],
                  uidnext=after['UIDNEXT'], highest=after['HIGHESTMODSEQ'], messages=messages)
        return {m[0]: m[3] for m in messages}

    def act(self, imap, box, uids):
        self.chance.choices((self.append, self.flag, self.move, self.expunge), (5, 5, 2, 1))[0](imap, box, uids)

    def command(self, op, run, **what):
        """One command that changes something; 'unknown' when the connection breaks."""
        began, result = self.history.now(), 'unknown'
        try:
            kind, said = run()
            result = 'ok' if kind == 'OK' else 'failed'
            return kind, said
        finally:
            self.note(began, op, result, **what)

    def append(self, imap, box, uids):
        token = self.token()
        message = make_message(token, self.chance)
        self.command('append', lambda: imap.append(box, None, None, message), token=token, box=box)

    def flag(self, imap, box, uids):
        if not uids:
            return
        chosen = self.chance.sample(sorted(uids), min(len(uids), self.chance.choice((1, 1, 3))))
        on, flag = self.chance.random() < 0.6, self.chance.choice(FLAGS)
        self.command('flags', lambda: imap.uid('STORE', ','.join(map(str, chosen)), ('+' if on else '-') + 'FLAGS.SILENT',
                                               f'({flag})'),
                     tokens=[uids[u] for u in chosen], box=box, flag=flag, on=on)

    def move(self, imap, box, uids):
        if not uids:
            return
        uid = self.chance.choice(sorted(uids))
        to = BOXES[1 - BOXES.index(box)]
        self.command('move', lambda: imap.uid('MOVE', str(uid), to), token=uids.pop(uid), box=box, to=to)

    def expunge(self, imap, box, uids):
        if not uids:
            return
        uid = self.chance.choice(sorted(uids))
        kind, _ = self.command('flags', lambda: imap.uid('STORE', str(uid), '+FLAGS.SILENT', r'(\Deleted)'),
                               tokens=[uids[uid]], box=box, flag=r'\Deleted', on=True)
        if kind == 'OK':
            self.command('expunge', lambda: imap.uid('EXPUNGE', str(uid)), token=uids.pop(uid), box=box)


def parse_messages(said):
    found = []
    for item in said:
        if not isinstance(item, tuple):
            continue
        head = item[0].decode()
        token = re.search(rb'(?i)X-Token: (\S+)', item[1])
        found.append([int(re.search(r'UID (\d+)', head)[1]), int(re.search(r'MODSEQ \((\d+)\)', head)[1]),
                      sorted(re.search(r'FLAGS \(([^)]*)\)', head)[1].split()), token[1].decode() if token else None,
                      int(re.search(r'RFC822\.SIZE (\d+)', head)[1])])
    return sorted(found)


class Popper(Client):
    """POP3: lists, reads the heads of some, deletes one now and then."""

    def session(self):
        began = self.history.now()
        pop = poplib.POP3(self.host, timeout=TIMEOUT)
        try:
            pop.user(self.account.login)
            pop.pass_(self.account.password)
            uidls = {n: u for n, u in (line.decode().split() for line in pop.uidl()[1])}
            sizes = {n: int(s) for n, s in (line.decode().split() for line in pop.list()[1])}
            tokens = {}
            for n in self.chance.sample(sorted(uidls), min(len(uidls), 5)):
                head = b'\n'.join(pop.top(int(n), 0)[1])
                tokens[n] = re.search(rb'(?i)X-Token: (\S+)', head)[1].decode()
            self.note(began, 'uidl', 'ok', session=f'{self.name}.{began:.3f}',
                      messages=[[uidls[n], sizes[n], tokens.get(n)] for n in uidls])
            self.finish(pop, tokens)
        finally:
            pop.close()
        self.stopping.wait(0.1 + self.chance.random() * 0.3)

    def finish(self, pop, tokens):
        token = None
        if tokens and self.chance.random() < 0.3:
            n, token = self.chance.choice(sorted(tokens.items()))
            pop.dele(int(n))
        began, result = self.history.now(), 'unknown'
        try:
            pop.quit()
            result = 'ok'
        except poplib.error_proto as failure:
            result = 'failed' if b'-ERR' in str(failure).encode() and 'SYS/TEMP' in str(failure) else 'unknown'
            raise
        finally:
            if token:
                self.note(began, 'expunge', result, token=token, box='INBOX')
