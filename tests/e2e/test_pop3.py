#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""POP3 with real clients: poplib, curl, fetchmail, mpop. Nothing is lost, doubled or fetched again."""
import os
import pathlib
import poplib
import re
import subprocess

from harness import Eider, check, client_context, main

poplib._MAXLINE = 1 << 20  # it refuses lines that are longer than RFC 5322 has them
CORPUS = [
    b'Subject: plain\r\n\r\none line\r\n',
    b'Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n\r\n.\r\n',
    b'Subject: no end of line\r\n\r\nlast',
    b'Subject: only a header\r\n',
    b'Subject: long\r\n\r\n' + b'x' * 200000 + b'\r\n' + b'.\r\n' * 70000,
    'Subject: Gr\u00fc\u00dfe\r\n\r\n\u2713\r\n'.encode(),
]


def connect(eider, account=None, tls=True):
    if tls:
        client = poplib.POP3_SSL('127.0.0.1', eider.pop3s_port, context=client_context(), timeout=60)
    else:
        client = poplib.POP3('127.0.0.1', eider.pop3_port, timeout=60)
    if account:
        client.user(account.login)
        client.pass_(account.password)
    return client


def fill(eider, account, messages):
    imap = eider.imap(account)
    for message in messages:
        check(imap.append('INBOX', None, None, message)[0] == 'OK', 'APPEND')
    imap.logout()


def as_sent(message):
    """What poplib gives for it: lines without their ends."""
    lines = message.split(b'\r\n')
    return lines[:-1] if lines[-1] == b'' else lines


def refused(function, *arguments):
    try:
        function(*arguments)
    except poplib.error_proto as error:
        return error.args[0]
    check(False, f'{function.__name__}{arguments} is refused')


def test_what_is_there(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        fill(eider, anna, CORPUS)
        pop = connect(eider, anna)
        check(pop.stat() == (len(CORPUS), sum(map(len, CORPUS))), 'STAT')
        listed = [line.split() for line in pop.list()[1]]
        check([int(n) for _, n in listed] == [len(m) for m in CORPUS], f'LIST: {listed}')
        for i, message in enumerate(CORPUS, 1):
            check(pop.retr(i)[1] == as_sent(message), f'RETR {i}')
            head, _, body = message.partition(b'\r\n\r\n')
            expected = as_sent(head.rstrip(b'\r\n') + b'\r\n')
            if body:
                expected += [b''] + as_sent(body)[:2]
            check(pop.top(i, 2)[1] == expected, f'TOP {i}')
        check(refused(pop.retr, 99).startswith(b'-ERR No such message'), 'RETR 99')
        check(refused(pop.dele, 0).startswith(b'-ERR'), 'DELE 0')
        pop.quit()


def test_one_after_the_other(store):
    """What is read ahead is what was asked for, whatever is deleted, skipped or large on the way."""
    messages = [b'Subject: %d\r\n\r\n' % i + b'.%d\r\n' % i * (30000 if i % 50 == 49 else i) for i in range(150)]
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        fill(eider, anna, messages)
        eider.restart()
        pop = connect(eider, anna)
        for i, message in enumerate(messages, 1):
            if i % 7:
                check(pop.retr(i)[1] == as_sent(message), f'RETR {i}')
                pop.dele(i)
            elif i % 2:
                pop.dele(i)
        pop.rset()
        pop.sock.sendall(b''.join(b'RETR %d\r\n' % i for i in range(1, 151)))  # RFC 2449 PIPELINING
        for i, message in enumerate(messages, 1):
            check(pop._getlongresp()[1] == as_sent(message), f'RETR {i} among many')
        pop.quit()


def test_I30_frozen_and_deleted_at_quit_only(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        fill(eider, anna, CORPUS[:4])
        pop = connect(eider, anna)
        uids = pop.uidl()[1]
        other = connect(eider, anna)
        check(other.uidl()[1] == uids, 'the same for two sessions')
        pop.dele(1)
        pop.dele(3)
        check(refused(pop.retr, 1).startswith(b'-ERR'), 'marked as deleted')
        check(refused(pop.dele, 1).startswith(b'-ERR'), 'DELE twice')
        eider.deliver(anna.login, b'Subject: new\r\n\r\nnew\r\n')
        imap = eider.imap(anna)
        imap.select()
        imap.store('2', '+FLAGS', r'(\Deleted)')
        imap.expunge()
        check(pop.stat()[0] == 2 and len(pop.list()[1]) == 2, 'nothing comes and nothing goes')
        check(pop.retr(2)[1] == as_sent(CORPUS[1]), 'what another has expunged is still there')
        pop.rset()
        check(pop.stat()[0] == 4, 'RSET')
        pop.dele(1)
        pop.sock.close()  # no QUIT
        other.dele(4)
        other.quit()
        imap.noop()
        check(imap.uid('SEARCH', 'ALL')[1] == [b'1 3 5'], f'after QUIT: {imap.uid("SEARCH", "ALL")}')
        check(imap.uid('SEARCH', 'SEEN')[1] in ([b''], [None]), 'not fetched, not seen')
        pop = connect(eider, anna)
        left = [line.split()[1] for line in pop.uidl()[1]]
        before = [line.split()[1] for line in uids]
        check(left[:2] == [before[0], before[2]], 'unique ids stay')
        check(left[2] not in before, 'and are new for what is new')
        pop.retr(2)
        pop.quit()
        imap.noop()
        check(imap.uid('SEARCH', 'SEEN')[1] == [b'3'], 'fetched, seen')


def test_logins(store):
    with Eider(store, plaintext=False) as eider:
        anna = eider.account('anna@example.org')
        plain = connect(eider, tls=False)
        capa = plain.capa()
        check('STLS' in capa and 'USER' not in capa and 'PLAIN' not in capa.get('SASL', ['PLAIN'])
              or 'SASL' not in capa, f'CAPA without TLS: {capa}')
        check(refused(plain.user, anna.login).startswith(b'-ERR [AUTH]'), 'no password without TLS')
        plain.stls(context=client_context())
        capa = plain.capa()
        for name in ('TOP', 'UIDL', 'USER', 'SASL', 'PIPELINING', 'RESP-CODES', 'AUTH-RESP-CODE', 'EXPIRE',
                     'UTF8', 'LANG', 'IMPLEMENTATION'):
            check(name in capa, f'{name} in CAPA: {capa}')
        check('STLS' not in capa and 'SCRAM-SHA-256-PLUS' in capa['SASL'], f'CAPA under TLS: {capa}')
        plain.user(anna.login)
        check(refused(plain.pass_, 'wrong').startswith(b'-ERR [AUTH]'), 'wrong password')
        check(refused(plain.stat).startswith(b'-ERR'), 'STAT before the login')
        plain.user(anna.login)
        plain.pass_(anna.password)
        plain.quit()


def test_through_curl(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        fill(eider, anna, CORPUS)
        for i, message in enumerate(CORPUS, 1):
            for auth in ('AUTH=PLAIN', 'AUTH=LOGIN'):
                done = subprocess.run(
                    ['curl', '-sS', '-k', '--max-time', '60', '--login-options', auth, '--user',
                     f'{anna.login}:{anna.password}', f'pop3s://127.0.0.1:{eider.pop3s_port}/{i}'],
                    stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
                check(done.returncode == 0 and done.stdout.rstrip(b'\r\n') == message.rstrip(b'\r\n'),
                      f'curl {i} {auth}: {done.returncode} {done.stderr}')


def script(folder, name, text):
    path = pathlib.Path(folder) / name
    path.write_text(text)
    path.chmod(0o700)
    return str(path)


def count_delivered(folder):
    return len(list((pathlib.Path(folder) / 'got').glob('*')))


def make_catcher(folder):
    (pathlib.Path(folder) / 'got').mkdir()
    return script(folder, 'catch', f'#!/bin/sh\nexec cat > "$(mktemp {folder}/got/XXXXXXXX)"\n')


def test_fetchmail_keeps_and_fetches_once(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        fill(eider, anna, CORPUS[:4])
        folder = eider.folder + '/fetchmail'
        os.mkdir(folder, 0o700)
        catch = make_catcher(folder)
        rc = script(folder, 'rc', f'''set idfile "{folder}/ids"
poll 127.0.0.1 service {eider.pop3s_port} protocol pop3 uidl user "{anna.login}" password "{anna.password}"
ssl sslproto "auto" no sslcertck keep mda "{catch}"
''')
        os.chmod(rc, 0o600)

        def fetch(*words):
            done = subprocess.run(['fetchmail', '-f', rc, '--pidfile', f'{folder}/pid', *words],
                                  env={**os.environ, 'HOME': folder, 'FETCHMAILHOME': folder},
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
            check(done.returncode in (0, 1), f'fetchmail: {done.returncode} {done.stdout} {done.stderr}')

        fetch()
        check(count_delivered(folder) == 4, 'all')
        eider.deliver(anna.login, b'Subject: new\r\n\r\nnew\r\n')
        fetch()
        check(count_delivered(folder) == 5, 'the new one, and none again')
        fetch('--fetchall', '--nokeep')
        check(count_delivered(folder) == 10, 'all once more')
        pop = connect(eider, anna)
        check(pop.stat()[0] == 0, 'and deleted')


def test_mpop_keeps_and_fetches_once(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        fill(eider, anna, CORPUS)
        folder = eider.folder + '/mpop'
        for name in ('', '/box', '/box/cur', '/box/new', '/box/tmp'):
            os.mkdir(folder + name, 0o700)
        rc = script(folder, 'rc', f'''account test
host 127.0.0.1
port {eider.pop3s_port}
user {anna.login}
password {anna.password}
auth scram-sha-256
tls on
tls_starttls off
tls_certcheck off
keep on
uidls_file {folder}/uidls
received_header off
delivery maildir {folder}/box
account default : test
''')
        os.chmod(rc, 0o600)

        def fetch():
            done = subprocess.run(['mpop', '-C', rc], stdin=subprocess.DEVNULL, capture_output=True,
                                  env={**os.environ, 'HOME': folder}, timeout=120, check=False)
            check(done.returncode == 0, f'mpop: {done.returncode} {done.stdout} {done.stderr}')
            return len(os.listdir(folder + '/box/new'))

        check(fetch() == len(CORPUS), 'all')
        got = sorted(pathlib.Path(p).read_bytes().rstrip(b'\n')
                     for p in pathlib.Path(folder + '/box/new').iterdir())
        check(got == sorted(m.replace(b'\r\n', b'\n').rstrip(b'\n') for m in CORPUS), 'as they are')
        eider.deliver(anna.login, b'Subject: new\r\n\r\nnew\r\n')
        check(fetch() == len(CORPUS) + 1, 'the new one, and none again')


def test_I36_store_down():
    with Eider('mongodb') as eider:
        from harness import Shared
        anna = eider.account('anna@example.org')
        fill(eider, anna, CORPUS[:2])
        pop = connect(eider, anna)
        pop.dele(1)
        mongod = Shared.get_mongod()
        mongod.process.send_signal(19)
        try:
            said = refused(connect, eider, anna)
            check(re.match(rb'-ERR \[SYS/TEMP\]', said), f'store down: {said}')
        finally:
            mongod.process.send_signal(18)
        pop.quit()
        pop = connect(eider, anna)
        check(pop.stat()[0] == 1, 'recovered without a restart')


NODES = ['test_what_is_there', 'test_I30_frozen_and_deleted_at_quit_only', 'test_fetchmail_keeps_and_fetches_once']


if __name__ == '__main__':
    main(globals())
