#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Every command that Python's imaplib knows, and the answers it gives."""
import imaplib
import re
import ssl
import time

from harness import Eider, check, client_context, main

DATE = '"05-Feb-2021 12:34:56 +0130"'


def message(subject, body=b'hello\r\n', more=b''):
    return (b'From: Anna <anna@example.org>\r\nTo: bert@example.org\r\nDate: Mon, 7 Feb 2022 '
            b'21:52:25 -0800\r\nMessage-ID: <' + subject.replace(b' ', b'.') + b'@example.org>\r\n'
            + more + b'Subject: ' + subject + b'\r\n\r\n' + body)


def done(answer, what, status='OK'):
    """The data of a command that must end so."""
    check(answer[0] == status, f'{what}: {answer}')
    return answer[1]


def refused(imap, call, what):
    """NO or BAD, and the connection lives."""
    try:
        answer = call()
        check(answer[0] in ('NO', 'BAD'), f'{what} is refused: {answer}')
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error:
        pass
    done(imap.noop(), f'NOOP after {what}')


def flags_of(imap, uid):
    return set(imaplib.ParseFlags(done(imap.uid('FETCH', uid, '(FLAGS)'), 'FETCH FLAGS')[0]))


def append(imap, mailbox, flags, text, date=None):
    """The uid that APPENDUID names."""
    said = done(imap.append(mailbox, flags, date, text), 'APPEND')[0]
    return re.search(rb'\[APPENDUID \d+ (\d+)\]', said)[1].decode()


def test_the_way_in(store):
    with Eider(store, plaintext=False) as eider:
        anna = eider.account('anna@example.org')
        imap = eider.imap(tls=False)
        check('LOGINDISABLED' in imap.capabilities, 'no password in the clear')
        refused(imap, lambda: imap.login(anna.login, anna.password), 'LOGIN in the clear')
        done(imap.starttls(client_context()), 'STARTTLS')
        check('LOGINDISABLED' not in imap.capabilities, 'after STARTTLS')
        refused(imap, lambda: imap.xatom('STARTTLS'), 'a second STARTTLS')
        refused(imap, lambda: imap.login(anna.login, 'wrong'), 'a wrong password')
        refused(imap, lambda: imap.login('nobody@example.org', 'wrong'), 'nobody')
        check(imap.state == 'NONAUTH', 'still outside')
        done(imap.login(anna.login, anna.password), 'LOGIN')
        done(imap.logout(), 'LOGOUT', 'BYE')

        with eider.imap() as imap:
            plain = f'\0{anna.login}\0{anna.password}'
            done(imap.authenticate('PLAIN', lambda _: plain.encode()), 'AUTHENTICATE PLAIN')
        with eider.imap() as imap:
            imap.send(b'x AUTHENTICATE PLAIN\r\n')
            check(imap.readline().startswith(b'+'), 'it asks')
            imap.send(b'*\r\n')
            check(imap.readline().startswith(b'x BAD'), 'the client may give up')
            done(imap.login(anna.login, anna.password), 'LOGIN after that')


def test_mailboxes(store):
    with Eider(store) as eider:
        with eider.imap(eider.account('anna@example.org')) as imap:
            done(imap.namespace(), 'NAMESPACE')
            for name in ('A', 'A/B', 'A/B/C', '"with space"', '"&AOQ-"'):
                done(imap.create(name), f'CREATE {name}')
            refused(imap, lambda: imap.create('A'), 'CREATE of what is there')
            refused(imap, lambda: imap.create('INBOX'), 'CREATE INBOX')
            refused(imap, lambda: imap.delete('INBOX'), 'DELETE INBOX')
            refused(imap, lambda: imap.delete('nothing'), 'DELETE of nothing')
            refused(imap, lambda: imap.select('nothing'), 'SELECT of nothing')
            names = [line.rsplit(b' "/" ', 1)[1] for line in done(imap.list('""', 'A*'), 'LIST')]
            check({b'A', b'A/B', b'A/B/C'} <= {n.strip(b'"') for n in names}, f'LIST: {names}')
            names = done(imap.list('""', 'A/%'), 'LIST %')
            check(len(names) == 1 and b'A/B' in names[0], f'one level: {names}')
            check(done(imap.list('""', '""'), 'LIST ""') == [b'(\\Noselect) "/" ""'], 'delimiter')
            done(imap.subscribe('A/B'), 'SUBSCRIBE')
            check(b'A/B' in done(imap.lsub('""', 'A/*'), 'LSUB')[0], 'LSUB shows it')
            done(imap.unsubscribe('A/B'), 'UNSUBSCRIBE')
            append(imap, 'A/B/C', None, message(b'deep'))
            status = done(imap.status('A/B/C', '(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)'), 'STATUS')
            check(b'MESSAGES 1' in status[0] and b'UNSEEN 1' in status[0], f'{status}')
            done(imap.rename('A', 'Z'), 'RENAME')
            check(done(imap.select('Z/B/C'), 'SELECT') == [b'1'], 'a tree moves with its mail')
            renamed = done(imap.status('Z/B/C', '(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)'), 'STATUS')
            check(renamed[0].split(b'(')[1] == status[0].split(b'(')[1], 'UIDVALIDITY is kept')
            done(imap.unselect(), 'UNSELECT')
            done(imap.delete('Z/B/C'), 'DELETE')
            refused(imap, lambda: imap.select('Z/B/C'), 'SELECT of the deleted')


def test_append_fetch_store(store):
    with Eider(store) as eider:
        with eider.imap(eider.account('anna@example.org')) as imap:
            imap.select()
            text = message(b'first', b'x\r\n' * 1000)
            uid = append(imap, 'INBOX', r'(\Seen \Flagged $Work)', text, DATE)
            flags = flags_of(imap, uid)
            check({b'\\Seen', b'\\Flagged', b'$Work'} <= flags, f'{flags}')
            refused(imap, lambda: imap.append('nothing', None, None, text), 'APPEND to nothing')
            got = done(imap.uid('FETCH', uid, '(RFC822.SIZE INTERNALDATE BODY.PEEK[])'), 'FETCH')
            check(got[0][1] == text and b'RFC822.SIZE %d' % len(text) in got[0][0], 'bytes, size')
            said = re.search(rb'INTERNALDATE ("[^"]*")', b' '.join(
                i if isinstance(i, bytes) else i[0] for i in got))[1]
            check(imaplib.Internaldate2tuple(b'INTERNALDATE ' + said) ==
                  imaplib.Internaldate2tuple(b'INTERNALDATE ' + DATE.encode()), f'date: {said}')
            for what in ('ENVELOPE', 'BODYSTRUCTURE', 'BODY', 'FAST', 'ALL', 'FULL', '(UID FLAGS)',
                         'BODY.PEEK[HEADER]', 'BODY.PEEK[TEXT]', 'BODY.PEEK[1]', 'RFC822.HEADER',
                         'BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]', 'RFC822', 'RFC822.TEXT',
                         'BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)]', 'BODY.PEEK[]<10.20>'):
                check(done(imap.fetch('1', what), what) != [None], what)
            check(done(imap.fetch('1', 'BODY.PEEK[]<10.20>'), '<>')[0][1] == text[10:30], 'partial')
            unseen = append(imap, 'INBOX', None, message(b'second'))
            done(imap.noop(), 'NOOP')
            check(b'\\Seen' not in flags_of(imap, unseen), 'unseen')
            done(imap.uid('FETCH', unseen, 'BODY[]'), 'BODY[]')
            check(b'\\Seen' in flags_of(imap, unseen), 'BODY[] sets \\Seen')
            done(imap.uid('STORE', unseen, 'FLAGS', r'(\Draft)'), 'STORE FLAGS')
            check(flags_of(imap, unseen) == {b'\\Draft'}, 'replaced')
            done(imap.uid('STORE', unseen, '+FLAGS', r'(\Answered)'), 'STORE +FLAGS')
            done(imap.uid('STORE', unseen, '-FLAGS', r'(\Draft)'), 'STORE -FLAGS')
            check(flags_of(imap, unseen) == {b'\\Answered'}, 'added, removed')
            silent = done(imap.uid('STORE', unseen, '+FLAGS.SILENT', r'(\Seen)'), '.SILENT')
            check(silent == [None], f'silent: {silent}')
            refused(imap, lambda: imap.fetch('99', 'FLAGS'), 'a number that is not there')
            check(done(imap.uid('FETCH', '999', 'FLAGS'), 'UID') == [None], 'a uid is ignored')


def test_search(store):
    with Eider(store) as eider:
        with eider.imap(eider.account('anna@example.org')) as imap:
            imap.select()
            append(imap, 'INBOX', r'(\Seen)', message(b'apples and pears'), DATE)
            append(imap, 'INBOX', r'(\Flagged)', message(b'Pears', b'about cherries\r\n'))
            append(imap, 'INBOX', r'(\Deleted $Work)', message(
                'Gr\u00fc\u00dfe'.encode(), b'z' * 5000, b'X-List: fruit\r\n'))
            imap.noop()
            table = [('ALL', '1 2 3'), ('SUBJECT pears', '1 2'), ('BODY cherries', '2'),
                     ('TEXT cherries', '2'), ('SEEN', '1'), ('UNSEEN', '2 3'), ('FLAGGED', '2'),
                     ('DELETED', '3'), ('NOT DELETED', '1 2'), ('KEYWORD $Work', '3'),
                     ('LARGER 4000', '3'), ('SMALLER 4000', '1 2'), ('HEADER X-List fruit', '3'),
                     ('HEADER X-List ""', '3'), ('BEFORE 1-Jan-2022', '1'), ('UID 2:*', '2 3'),
                     ('ON 5-Feb-2021', '1'), ('SINCE 1-Jan-2022', '2 3'),
                     ('SENTON 7-Feb-2022', '1 2 3'), ('SENTBEFORE 7-Feb-2022', ''),
                     ('OR SEEN FLAGGED', '1 2'), ('(SEEN) NOT (FLAGGED)', '1'), ('2:3', '2 3'),
                     ('FROM anna TO bert', '1 2 3'), ('CC anyone', ''), ('NOT 1:2', '3')]
            for what, numbers in table:
                got = done(imap.search(None, what), what)[0].decode()
                check(got == numbers, f'SEARCH {what}: {got}')
            imap.literal = 'Gr\u00fc\u00dfe'.encode()
            got = done(imap.uid('SEARCH', 'CHARSET', 'UTF-8', 'SUBJECT'), 'UTF-8')[0]
            check(got == b'3', f'UTF-8: {got}')
            refused(imap, lambda: imap.search('KLINGON', 'ALL'), 'an unknown charset')


def test_copy_move_expunge(store):
    with Eider(store) as eider:
        with eider.imap(eider.account('anna@example.org')) as imap:
            imap.create('There')
            imap.select()
            texts = [message(b'number %d' % i) for i in range(6)]
            for text in texts:
                append(imap, 'INBOX', None, text)
            imap.noop()
            done(imap.copy('1:2', 'There'), 'COPY')
            check(imap.untagged_responses['COPYUID'][0].endswith(b' 1:2 1:2'), 'COPYUID')
            refused(imap, lambda: imap.copy('1', 'nothing'), 'COPY to nothing')
            done(imap.uid('COPY', '3', 'There'), 'UID COPY')
            done(imap.uid('MOVE', '4', 'There'), 'UID MOVE')
            check(done(imap.search(None, 'ALL'), 'ALL') == [b'1 2 3 4 5'], 'it is gone here')
            done(imap.store('1:2', '+FLAGS', r'(\Deleted)'), 'STORE')
            done(imap.uid('EXPUNGE', '2'), 'UID EXPUNGE')
            check(done(imap.uid('SEARCH', 'ALL'), 'ALL') == [b'1 3 5 6'], 'only what is named')
            imap.untagged_responses.clear()
            expunged = done(imap.expunge(), 'EXPUNGE')
            check(expunged == [b'1'], f'EXPUNGE: {expunged}')
            imap.store('1', '+FLAGS', r'(\Deleted)')
            done(imap.close(), 'CLOSE')
            check(done(imap.select('INBOX', readonly=True), 'EXAMINE') == [b'2'], 'CLOSE expunges')
            refused(imap, lambda: imap.store('1', '+FLAGS', r'(\Seen)'), 'STORE after EXAMINE')
            check(done(imap.select('There'), 'SELECT') == [b'4'], 'all came there')
            for number, text in zip('1234', texts):
                got = done(imap.fetch(number, 'BODY.PEEK[]'), 'FETCH')[0][1]
                check(got == text, f'{number} is the same')
            done(imap.check(), 'CHECK')


def test_what_imaplib_may_ask_and_we_do_not_have(store):
    with Eider(store) as eider:
        with eider.imap(eider.account('anna@example.org')) as imap:
            done(imap.enable('CONDSTORE'), 'ENABLE')
            imap.select()
            append(imap, 'INBOX', None, message(b'one'))
            for call in (lambda: imap.getacl('INBOX'), lambda: imap.myrights('INBOX'),
                         lambda: imap.xatom('NONSENSE'), lambda: imap.proxyauth('x'),
                         lambda: imap.search(None, 'NONSENSE'), lambda: imap.fetch('1', 'NONSENSE'),
                         lambda: imap.fetch('0', 'FLAGS'), lambda: imap.store('1', 'X', '(A)')):
                refused(imap, call, 'what is not there')
            done(imap.xatom('ID', '("name" "test")'), 'ID')


def test_two_clients_see_each_other(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        with eider.imap(anna) as one, eider.imap(anna) as two:
            one.select()
            two.select()
            append(one, 'INBOX', None, message(b'hello'))
            two.noop()
            check(two.untagged_responses['EXISTS'][-1] == b'1', 'EXISTS')
            one.noop()
            one.store('1', '+FLAGS', r'(\Seen \Deleted)')
            two.untagged_responses.clear()
            two.noop()
            check(b'\\Deleted' in two.untagged_responses['FETCH'][-1], 'flags')
            one.expunge()
            two.noop()
            check(two.untagged_responses['EXPUNGE'] == [b'1'], 'EXPUNGE')
            two.send(b'i IDLE\r\n')
            check(two.readline().startswith(b'+'), 'IDLE')
            began = time.monotonic()
            eider.deliver(anna.login, message(b'news'))
            check(two.readline() == b'* 1 EXISTS\r\n', 'IDLE tells of new mail')
            check(time.monotonic() - began < 20, 'and soon')
            two.send(b'DONE\r\n')
            check(two.readline().startswith(b'i OK'), 'DONE')


def test_tls_is_at_least_1_2():
    with Eider() as eider:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        old.set_ciphers('ALL:@SECLEVEL=0')
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        try:
            imaplib.IMAP4_SSL('127.0.0.1', eider.imaps_port, ssl_context=old, timeout=60)
        except OSError:
            return
        check(False, 'TLS 1.1 is refused')


NODES = ['test_mailboxes', 'test_append_fetch_store', 'test_copy_move_expunge', 'test_two_clients_see_each_other']


if __name__ == '__main__':
    main(globals())
