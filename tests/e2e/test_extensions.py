#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Each extension that CAPABILITY offers is used once, over a connection that imaplib made."""
import re
import zlib

from harness import Eider, check, main

NODES = True
TEXT = b'From: Anna <anna@example.org>\r\nSubject: %s\r\nDate: Mon, %d Feb 2022 21:52:25 -0800\r\n' \
       b'Message-ID: <%d@example.org>\r\n%s\r\nbody of %d\r\n'


class Talk:
    """Raw commands and answers. Remembers which capabilities the tests have asked of it."""

    def __init__(self, eider, account):
        self.imap = eider.imap(account)
        self.number = 0
        self.inflate = self.deflate = None
        self.read_ahead = b''
        names = self.imap.capability()[1][0].decode().split()
        self.offered = set(names)
        check(len(names) == len(self.offered), f'each once: {names}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.imap.shutdown()

    def has(self, capability):
        return capability in self.offered

    def send(self, data):
        if self.deflate:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.imap.send(data)

    def fill(self):
        data = self.imap.sock.recv(65536)
        check(data, 'the server is there')
        self.read_ahead += self.inflate.decompress(data)

    def read_line(self):
        if not self.inflate:
            return self.imap.readline()
        while b'\n' not in self.read_ahead:
            self.fill()
        line, _, self.read_ahead = self.read_ahead.partition(b'\n')
        return line + b'\n'

    def read(self, n):
        if not self.inflate:
            return self.imap.read(n)
        while len(self.read_ahead) < n:
            self.fill()
        data, self.read_ahead = self.read_ahead[:n], self.read_ahead[n:]
        return data

    def read_answer(self):
        """One line with the literals in it."""
        line = self.read_line()
        check(line.endswith(b'\r\n'), f'a line: {line}')
        while size := re.search(rb'~?\{(\d+)\}\r\n$', line):
            line += self.read(int(size[1]))
            line += self.read_line()
        return line[:-2]

    def ask(self, command, status='OK'):
        """The tagged text, and the untagged answers."""
        self.number += 1
        tag = b'e%d ' % self.number
        self.send(tag + (command if isinstance(command, bytes) else command.encode()) + b'\r\n')
        untagged = []
        while not (line := self.read_answer()).startswith(tag):
            untagged.append(line)
        end = line[len(tag):].decode()
        check(end.startswith(status), f'{command}: {end} {untagged}')
        return end, untagged

    def one(self, command, pattern):
        """The answer that begins with the pattern; there is one."""
        found = [line for line in self.ask(command)[1] if re.match(pattern, line)]
        check(len(found) == 1, f'{command} gives {pattern}: {found}')
        return found[0]


def fill(talk, n=5):
    talk.ask('SELECT INBOX')
    subjects = [b'delta', b'alpha', b'charlie', b'bravo', b'Re: alpha']
    for i in range(1, n + 1):
        refers = b'References: <2@example.org>\r\n' if i == 5 else b''
        text = TEXT % (subjects[i - 1], i, i, refers, i)
        talk.ask(b'APPEND INBOX {%d+}\r\n%s' % (len(text), text))
    talk.ask('NOOP')


def test_search(store):
    with Eider(store) as eider, Talk(eider, eider.account('anna@example.org')) as talk:
        fill(talk)
        check(talk.one('UID SEARCH RETURN (MIN MAX COUNT ALL) 2:4', rb'\* ESEARCH').endswith(
            b'UID MIN 2 MAX 4 COUNT 3 ALL 2:4'), 'ESEARCH')
        check(talk.one('SEARCH RETURN () 1:2', rb'\* ESEARCH').endswith(b' ALL 1:2'), 'RETURN ()')
        talk.ask('SEARCH RETURN (SAVE) SUBJECT alpha')
        check(talk.one('UID SEARCH RETURN (ALL) UID $', rb'\* ESEARCH').endswith(b'UID ALL 2,5'),
              'SEARCHRES')
        check(talk.one('UID SEARCH RETURN (PARTIAL -1:-2) ALL', rb'\* ESEARCH').endswith(
            b'PARTIAL (-1:-2 4:5)'), 'PARTIAL')
        check(talk.one('UID SEARCH YOUNGER 3600', rb'\* SEARCH') == b'* SEARCH 1 2 3 4 5', 'WITHIN')
        check(talk.one('UID SEARCH OLDER 3600', rb'\* SEARCH') == b'* SEARCH', 'WITHIN')
        check(talk.one('UID SORT (SUBJECT) UTF-8 ALL', rb'\* SORT') == b'* SORT 2 5 4 3 1', 'SORT')
        check(talk.one('UID SORT (REVERSE DATE) UTF-8 ALL', rb'\* SORT') == b'* SORT 5 4 3 2 1', 'SORT')
        check(talk.one('UID SORT (DISPLAYFROM) UTF-8 ALL', rb'\* SORT') == b'* SORT 1 2 3 4 5',
              'SORT=DISPLAY')
        check(talk.one('UID SORT RETURN (MIN COUNT) (SUBJECT) UTF-8 ALL', rb'\* ESEARCH').endswith(
            b'UID MIN 2 COUNT 5'), 'ESORT')
        for how in ('ORDEREDSUBJECT', 'REFERENCES', 'REFS'):
            if talk.has('THREAD=' + how):
                check(b'(2 5)' in talk.one(f'UID THREAD {how} UTF-8 ALL', rb'\* THREAD'), how)


def test_synchronise(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        with Talk(eider, anna) as talk, Talk(eider, anna) as other:
            fill(talk)
            check('QRESYNC' in talk.one('ENABLE QRESYNC', rb'\* ENABLED').decode(), 'ENABLE')
            status = talk.one('STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ)', rb'\* STATUS')
            validity, modseq = (int(n) for n in re.findall(rb'(?:UIDVALIDITY|MODSEQ) (\d+)', status))
            other.ask('SELECT INBOX')
            other.ask(r'UID STORE 2 +FLAGS.SILENT (\Flagged)')
            other.ask(r'UID STORE 4 +FLAGS.SILENT (\Deleted)')
            other.ask('EXPUNGE')
            talk.ask('CLOSE')
            answers = talk.ask(f'SELECT INBOX (QRESYNC ({validity} {modseq}))')[1]
            check(b'* VANISHED (EARLIER) 4' in answers, f'VANISHED: {answers}')
            check([line for line in answers if b' FETCH ' in line and rb'\Flagged' in line], f'{answers}')
            answers = talk.ask(f'UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)')[1]
            check(b'* VANISHED (EARLIER) 4' in answers and len(answers) == 2, f'{answers}')
            answers = talk.ask(rf'UID STORE 1:2 (UNCHANGEDSINCE {modseq}) +FLAGS (\Seen)')
            check('[MODIFIED 2]' in answers[0], f'MODIFIED: {answers}')
            answers = talk.ask(f'UID SEARCH MODSEQ {modseq + 1}')[1]
            check(answers[-1].startswith(b'* SEARCH 1 2 (MODSEQ '), f'MODSEQ: {answers}')
            other.ask('UID MOVE 1 Archive')
            check(b'* VANISHED 1' in talk.ask('NOOP')[1], 'VANISHED')
            check(talk.ask('UNSELECT')[0].startswith('OK'), 'UNSELECT')


def test_notifications(store):
    """RFC 5465 and RFC 5267: what happens is told while no command is in progress."""
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        with Talk(eider, anna) as talk, Talk(eider, anna) as other:
            fill(talk)
            said = talk.ask('NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[]) MessageExpunge '
                            'FlagChange)) (personal (MessageNew MessageExpunge MailboxName))')[1]
            check(any(b'STATUS "Archive" (MESSAGES 0' in line for line in said), f'{said}')
            check(talk.one('UID SEARCH RETURN (UPDATE COUNT) FLAGGED', rb'\* ESEARCH').endswith(
                b'COUNT 0'), 'nothing is flagged')
            other.ask('SELECT INBOX')
            other.ask(r'UID STORE 2 +FLAGS.SILENT (\Flagged)')
            check(talk.read_answer() == rb'* 2 FETCH (UID 2 FLAGS (\Flagged))', 'FlagChange')
            check(talk.read_answer().endswith(b' UID ADDTO (0 2)'), 'CONTEXT=SEARCH')
            other.ask('UID COPY 2 Archive')
            check(talk.read_answer().startswith(b'* STATUS "Archive" (MESSAGES 1 UIDNEXT 2 '), 'STATUS')
            other.ask('CREATE Lists')
            check(talk.read_answer().endswith(b'"/" "Lists"'), 'MailboxName')
            large = b'Subject: large\r\n\r\n' + (b'z' * 70 + b'\r\n') * 5000
            eider.deliver(anna.login, large)
            check(talk.read_answer() == b'* 6 EXISTS', 'a delivery')
            line = talk.read_answer()
            check(line.startswith(b'* 6 FETCH (UID 6 BODY[] {') and line.endswith(large + b')'), 'all of it')
            other.ask(r'UID STORE 2 +FLAGS.SILENT (\Deleted)')
            check(b'FETCH (UID 2' in talk.read_answer(), 'FlagChange')
            other.ask('EXPUNGE')
            check(talk.read_answer().endswith(b' UID REMOVEFROM (0 2)'), 'before the EXPUNGE')
            check(talk.read_answer() == b'* 2 EXPUNGE', 'MessageExpunge')
            found = talk.ask('ESEARCH IN (personal) RETURN (COUNT) ALL')[1]
            check(sorted(re.search(rb'MAILBOX (\S+) .* COUNT (\d+)', line).groups() for line in found) ==
                  [(b'"Archive"', b'1'), (b'"INBOX"', b'5')], f'MULTISEARCH: {found}')
            check(talk.one('UIDBATCHES 500', rb'\* UIDBATCHES').endswith(b' 6:1'), 'UIDBATCHES')
            talk.ask('NOTIFY NONE')


def test_mailboxes(store):
    with Eider(store) as eider, Talk(eider, eider.account('anna@example.org')) as talk:
        fill(talk, 2)
        check('[MAILBOXID (' in talk.ask(r'CREATE Important (USE (\Important))')[0], 'CREATE')
        line = talk.one('LIST (SPECIAL-USE) "" "I*" RETURN (SUBSCRIBED CHILDREN)', rb'\* LIST')
        check(rb'\Important' in line and rb'\HasNoChildren' in line, f'LIST: {line}')
        answers = talk.ask('LIST "" (INBOX Sent) RETURN (STATUS (MESSAGES SIZE))')[1]
        check(len([line for line in answers if line.startswith(b'* STATUS')]) == 2, f'{answers}')
        size = sum(int(n) for n in re.findall(rb'RFC822.SIZE (\d+)', b''.join(
            talk.ask('FETCH 1:* RFC822.SIZE')[1])))
        check(f'SIZE {size}'.encode() in talk.one('STATUS INBOX (SIZE)', rb'\* STATUS'), 'STATUS=SIZE')
        limit = re.search(rb'APPENDLIMIT (\d+)', talk.one('STATUS INBOX (APPENDLIMIT)', rb'\* STATUS'))[1]
        check(talk.has(f'APPENDLIMIT={limit.decode()}'), 'APPENDLIMIT')
        check(re.search(rb'MAILBOXID \(\S+\)', talk.one('STATUS INBOX (MAILBOXID)', rb'\* STATUS')), 'id')
        talk.ask('ENABLE IMAP4rev2 UTF8=ACCEPT')
        talk.ask('CREATE "Grü&ße"'.encode())
        check('"Grü&ße"'.encode() in talk.one('LIST "" "Gr*"', rb'\* LIST'), 'names in UTF-8')
        check(b'NAMESPACE (("" "/"))' in talk.one('NAMESPACE', rb'\* NAMESPACE'), 'NAMESPACE')


def test_messages(store):
    with Eider(store) as eider, Talk(eider, eider.account('anna@example.org')) as talk:
        fill(talk, 2)
        said = talk.ask(b'APPEND INBOX (\\Seen) {17+}\r\nSubject: 3\r\n\r\nthr (\\Draft) {17+}\r\n'
                        b'Subject: 4\r\n\r\nfou')[0]
        check(re.search(r'\[APPENDUID \d+ 3:4\]', said), f'MULTIAPPEND: {said}')
        said = b'\n'.join(talk.ask(b'UID REPLACE 4 INBOX (\\Draft) {17+}\r\nSubject: 5\r\n\r\nfiv')[1])
        check(b'APPENDUID' in said and b' EXPUNGE' in said, f'REPLACE: {said}')
        base64 = (b'MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n'
                  b'Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n')
        talk.ask(b'APPEND INBOX {%d+}\r\n%s' % (len(base64), base64))
        line = talk.one('UID FETCH 6 (BINARY.PEEK[1] BINARY.SIZE[1])', rb'\* \d+ FETCH')
        check(b'{3}\r\n\0\1\2' in line and b'BINARY.SIZE[1] 3' in line, f'BINARY: {line}')
        line = talk.one('UID FETCH 1 (EMAILID THREADID SAVEDATE PREVIEW)', rb'\* 1 FETCH')
        for what in (rb'EMAILID \(\S+\)', rb'THREADID \(\S+\)', rb'SAVEDATE "', rb'PREVIEW "body of 1'):
            check(re.search(what, line), f'{what}: {line}')
        check(talk.one('UID SEARCH SAVEDSINCE 1-Jan-2020', rb'\* SEARCH') == b'* SEARCH 1 2 3 5 6', 'date')
        email = re.search(rb'EMAILID \((\S+)\)', line)[1]
        check(talk.one(b'UID SEARCH EMAILID ' + email, rb'\* SEARCH') == b'* SEARCH 1', 'EMAILID')
        said, answers = talk.ask('UID MOVE 1:2 Archive')
        check(any(b'COPYUID' in line for line in answers) or 'COPYUID' in said, f'UIDPLUS: {answers}')
        talk.ask(r'UID STORE 3 +FLAGS (\Deleted)')
        check(b'* 1 EXPUNGE' in talk.ask('UID EXPUNGE 3')[1], 'UID EXPUNGE')


def compress(talk):
    talk.ask('COMPRESS DEFLATE')
    talk.deflate = zlib.compressobj(wbits=-15)
    talk.inflate = zlib.decompressobj(wbits=-15)
    talk.ask('SELECT INBOX')
    check(len(talk.ask('UID FETCH 1:* (FLAGS BODY.PEEK[])')[1]) == 5, 'all, through DEFLATE')
    talk.ask('COMPRESS DEFLATE', 'BAD')


def test_sessions(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        with Talk(eider, anna) as talk:
            fill(talk)
            check(b'"Eider"' in talk.one('ID ("name" "test")', rb'\* ID'), 'ID')
            talk.ask('UNAUTHENTICATE')
            talk.ask('SELECT INBOX', 'BAD')
            talk.ask(f'LOGIN {anna.login} {anna.password}')
            talk.ask('SELECT INBOX')
            compress(talk)


def test_quota_and_metadata(store):
    with Eider(store) as eider, Talk(eider, eider.account('anna@example.org')) as talk:
        fill(talk, 2)
        check(talk.has('QUOTA=RES-STORAGE') and talk.has('QUOTA=RES-MESSAGE'), 'resources')
        root = re.match(rb'\* QUOTAROOT "?INBOX"? (.*)', talk.one('GETQUOTAROOT INBOX', rb'\* QUOTAROOT'))[1]
        talk.one(b'GETQUOTA ' + root, rb'\* QUOTA ')
        talk.ask('SETMETADATA INBOX (/private/comment "mine")')
        check(b'mine' in talk.one('GETMETADATA INBOX /private/comment', rb'\* METADATA'), 'it is kept')
        talk.ask('SETMETADATA INBOX (/private/comment NIL)')


def test_urls(store):
    """More of it is in test_urlauth.py."""
    with Eider(store) as eider, Talk(eider, eider.account('anna@example.org')) as talk:
        fill(talk, 1)
        check(talk.has('URLAUTH') and talk.has('URLAUTH=BINARY'), 'URLAUTH')
        rump = 'imap://anna%40example.org@eider.example.org/INBOX/;UID=1/;SECTION=TEXT;URLAUTH=authuser'
        url = re.match(rb'\* GENURLAUTH (.*)', talk.one(f'GENURLAUTH "{rump}" INTERNAL', rb'\* GENURL'))[1]
        answer = talk.one(b'URLFETCH ' + url, rb'\* URLFETCH')
        check(answer == b'* URLFETCH %s {11}\r\nbody of 1\r\n' % url, f'URLFETCH: {answer}')
        answer = talk.one(b'URLFETCH (%s BINARY)' % url, rb'\* URLFETCH')
        check(answer.endswith(b' (BINARY {11}\r\nbody of 1\r\n)'), f'BINARY: {answer}')
        check('OK' in talk.ask('RESETKEY')[0], 'RESETKEY')
        check(talk.one(b'URLFETCH ' + url, rb'\* URLFETCH').endswith(b' NIL'), 'it is worth nothing now')


if __name__ == '__main__':
    main(globals())
