# SPDX-License-Identifier: MPL-2.0
"""IMAP clients that believe what they are told: one that keeps a mailbox by EXISTS, EXPUNGE and FETCH alone,
as they come by NOOP and IDLE (I7 to I9), and one that comes back with QRESYNC (I11)."""
import re
import socket

from clients import BOXES, ROW, TIMEOUT, Client, named, numbers

KEPT = 12  # earlier moments that a client may come back from, of each mailbox


class Wire:
    """IMAP, answers in the order in which they came."""

    def __init__(self, host):
        self.socket = socket.create_connection((host, 143), TIMEOUT)
        self.file = self.socket.makefile('rb')
        self.n = 0
        if not self.line().startswith(b'* OK'):
            raise OSError('no greeting')

    def line(self):
        """One answer, with its literals."""
        data = b''
        while True:
            part = self.file.readline()
            if not part.endswith(b'\r\n'):
                raise EOFError('the connection broke')
            data += part
            if not (literal := re.search(rb'\{(\d+)\}\r\n$', part)):
                return data
            data += self.file.read(int(literal[1]))

    def until_tagged(self):
        """(OK, NO or BAD; its text; the untagged answers before it)."""
        told = []
        while not (line := self.line()).startswith(b'w%d ' % self.n):
            if line.startswith(b'* BYE'):
                raise EOFError('BYE')
            told.append(line)
        _, kind, text = line.split(b' ', 2)
        return kind.decode(), text, told

    def send(self, text):
        self.n += 1
        self.socket.sendall(b'w%d %s\r\n' % (self.n, text.encode()))

    def command(self, text):
        self.send(text)
        return self.until_tagged()

    def idle(self, rest):
        """rest() while the server may talk."""
        self.send('IDLE')
        told = []
        while not (line := self.line()).startswith(b'+'):
            if line.startswith(b'w'):
                return 'NO', line, told
            told.append(line)
        rest()
        self.socket.sendall(b'DONE\r\n')
        kind, text, more = self.until_tagged()
        return kind, text, told + more

    def close(self):
        self.file.close()
        self.socket.close()


def need(answer):
    """What was told; a refusal ends the session."""
    kind, text, told = answer
    if kind != 'OK':
        raise OSError(text)
    return told


def code(told, name):
    """The number of a response code."""
    for line in told:
        if found := re.search(rb'\[' + name.encode() + rb' (\d+)', line):
            return int(found[1])
    return None


def fetched(line):
    """(sequence number, uid, modseq, flags, token, size) of a FETCH, each None where it is not told; or None."""
    head = re.match(rb'\* (\d+) FETCH ', line)
    if not head:
        return None
    uid, modseq = re.search(rb'UID (\d+)', line), re.search(rb'MODSEQ \((\d+)\)', line)
    flags, size = re.search(rb'FLAGS \(([^)]*)\)', line), re.search(rb'RFC822\.SIZE (\d+)', line)
    token = re.search(rb'(?i)X-Token: (\S+)', line)
    return (int(head[1]), uid and int(uid[1]), modseq and int(modseq[1]),
            sorted(flags[1].decode().split()) if flags else None, token and token[1].decode(), size and int(size[1]))


def rows_of(told, box):
    found = [fetched(line) for line in told]
    return sorted(named([[f[1], f[2], f[3], f[4], f[5]] for f in found if f and f[1] and f[5] is not None], box))


class Watcher(Client):
    """Has one mailbox open and does nothing but listen."""

    def session(self):
        wire = Wire(self.host)
        try:
            need(wire.command(f'LOGIN {self.account.login} {self.account.password}'))
            self.wrong, self.began = [], self.history.now()
            self.box = self.chance.choice(BOXES)
            told = need(wire.command(f'SELECT {self.box} (CONDSTORE)'))
            self.validity = code(told, 'UIDVALIDITY')
            self.rows = []  # [uid, modseq, flags, token, size] by sequence number; None: announced only
            self.apply(told, 'SELECT')
            for _ in range(self.chance.randint(5, 20)):
                if self.stopping.is_set():
                    break
                self.round(wire)
            wire.command('LOGOUT')
        finally:
            wire.close()
            if self.wrong:
                self.note(self.began, 'watch', 'ok', box=self.box, wrong=self.wrong)

    def round(self, wire):
        listen = self.chance.random() < 0.6
        if listen:
            self.apply(need(wire.idle(lambda: self.rest(2))), 'IDLE')
        else:
            self.rest()
        began = self.history.now()
        self.apply(need(wire.command('NOOP')), 'NOOP')
        unknown = [n for n, row in enumerate(self.rows, 1) if row is None]
        if unknown:  # the new ones are the last
            self.apply(need(wire.command(f'FETCH {unknown[0]}:{len(self.rows)} {ROW}')), 'FETCH')
        if any(row is None for row in self.rows):
            return  # others came meanwhile, or one is gone and not announced yet: NO [EXPUNGEISSUED] or left out
        self.note(began, 'see', 'ok', box=self.box, session=f'{self.name}.{self.began:.3f}', uidvalidity=self.validity,
                  uidnext=2 ** 32, highest=2 ** 63, messages=sorted(named(self.rows, self.box)))
        if self.chance.random() < 0.3:
            self.recount(wire)

    def recount(self, wire):
        """Numbers and UIDs are as announced."""
        known = [row[0] for row in self.rows]
        told = need(wire.command('UID SEARCH ALL'))
        found = [int(n) for line in told if line.startswith(b'* SEARCH') for n in line.split()[2:]]
        self.apply(told, 'UID SEARCH')
        if set(known) - set(found):  # gone meanwhile: then we are told so at the latest now
            self.apply(need(wire.command('NOOP')), 'NOOP')
        left = {row[0] for row in self.rows if row}
        if found != [uid for uid in known if uid in found] or (set(known) - set(found)) & left:
            self.wrong.append(f'UIDs are {found}, and {known} were announced')

    def apply(self, told, command):
        for line in told:
            if found := re.match(rb'\* (\d+) (EXISTS|EXPUNGE)', line):
                self.count(int(found[1]), found[2], command)
            elif row := fetched(line):
                self.update(row, line)

    def count(self, n, what, command):
        if what == b'EXISTS':
            if n < len(self.rows):
                self.wrong.append(f'EXISTS {n} after {len(self.rows)}')
            self.rows += [None] * (n - len(self.rows))
        elif command == 'FETCH':
            self.wrong.append(f'EXPUNGE {n} during {command}')
        elif n > len(self.rows):
            self.wrong.append(f'EXPUNGE {n} of {len(self.rows)}')
        else:
            del self.rows[n - 1]

    def update(self, row, line):
        n, uid, modseq, flags, token, size = row
        if n > len(self.rows):
            self.wrong.append(f'FETCH of {n} of {len(self.rows)}: {line[:100]!r}')
            return
        before = self.rows[n - 1]
        if before and uid and uid != before[0]:
            self.wrong.append(f'number {n} was UID {before[0]}, is {uid}')
        elif before and flags is not None and modseq:
            before[1:3] = modseq, flags
        elif not before and None not in (uid, modseq, flags, token, size):
            self.rows[n - 1] = [uid, modseq, flags, token, size]


class Syncer(Client):
    """Comes back from what it knew some time ago, and asks what has changed."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.known = {box: [] for box in BOXES}  # (uidvalidity, modseq, uids)

    def session(self):
        wire = Wire(self.host)
        try:
            need(wire.command(f'LOGIN {self.account.login} {self.account.password}'))
            need(wire.command('ENABLE QRESYNC'))
            for box in BOXES:
                self.sync(wire, box)
            wire.command('LOGOUT')
        finally:
            wire.close()
        self.rest()

    def sync(self, wire, box):
        began = self.history.now()
        validity, since, known = self.chance.choice(self.known[box]) if self.known[box] else (0, 0, [])
        with_known = f' {",".join(map(str, known))}' if known and self.chance.random() < 0.7 else ''
        told = need(wire.command(f'SELECT {box} (QRESYNC ({validity} {since}{with_known}))' if since else f'SELECT {box}'))
        highest, now_validity = code(told, 'HIGHESTMODSEQ'), code(told, 'UIDVALIDITY')
        after = need(wire.command(f'UID FETCH 1:* {ROW}'))
        rows = rows_of(after, box)
        changed = [f for f in map(fetched, told) if f and f[1]]
        self.note(began, 'see', 'ok', box=box, session=f'{self.name}.{began:.3f}', uidvalidity=now_validity,
                  uidnext=2 ** 32, highest=2 ** 63, messages=rows)
        if since and validity == now_validity:
            self.note(began, 'sync', 'ok', box=box, since=since, highest=highest, known=known, limited=bool(with_known),
                      vanished=vanished(told, True), later=vanished(after, False),
                      changed=[[f[1], f[2], f[3]] for f in changed], messages=[row[:3] for row in rows])
        self.known[box] = (self.known[box] + [(now_validity, highest, [row[0] for row in rows])])[-KEPT:]
        if self.chance.random() < 0.05:
            self.known[box] = self.known[box][:1]  # and long ago
        need(wire.command('UNSELECT'))


def vanished(told, earlier):
    word = rb'\* VANISHED \(EARLIER\) (\S+)' if earlier else rb'\* VANISHED ([\d:,]+)'
    return sorted({n for line in told if (found := re.match(word, line)) for n in numbers(found[1])})
