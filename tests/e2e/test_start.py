#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""tools/start as a stranger uses it: a first start, a second one, a port in use, two side by side.

It builds into the folder of the programs under test, so nothing is built twice."""
import imaplib
import os
import re
import shutil
import signal
import smtplib
import subprocess
import tempfile

from harness import BIN, ROOT, check, client_context, free_ports, main

READY = b'Ctrl-C ends it.'


def start(folder, ports, *more):
    words = [str(ROOT / 'tools' / 'start'), '--data', folder, '--imap-port', str(ports[0]),
             '--imaps-port', str(ports[1]), '--lmtp-port', str(ports[2]), '--pop3-port', str(ports[3]),
             '--pop3s-port', str(ports[4]), '--submit-port', str(ports[5]),
             '--submits-port', str(ports[6]), *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env={**os.environ, 'EIDER_BUILD': str(BIN.parent.parent)},
                            start_new_session=True, preexec_fn=interruptible)


def interruptible():
    """What runs in the background of a script ignores SIGINT, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def read_until_ready(process):
    out = b''
    while READY not in out:
        more = os.read(process.stdout.fileno(), 4096)
        check(more, 'tools/start comes up: ' + out.decode(errors='replace'))
        out += more
    return out.decode()


def interrupt(process):
    """Ctrl-C: the signal goes to the whole group, as a terminal does it."""
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    check(process.returncode == 0, f'Ctrl-C ends it cleanly: {out}')


def password_in(text):
    return re.search(r'Password +(\S+)', text)[1]


def test_starts_again_and_beside_another():
    folder, other = tempfile.mkdtemp(prefix='eider-s-'), tempfile.mkdtemp(prefix='eider-s-')
    ports, other_ports = free_ports(7), free_ports(7)
    running = start(folder, ports)
    try:
        first = read_until_ready(running)
        imap = imaplib.IMAP4_SSL('127.0.0.1', ports[1], ssl_context=client_context())
        imap.login('demo@example.org', password_in(first))
        check(imap.select()[1] == [b'1'], 'the welcome message is there')
        check(b'Welcome to Eider' in imap.fetch('1', 'BODY.PEEK[HEADER]')[1][0][1], 'and is it')

        check('SANDBOX MODE: nothing leaves' in first, f'said plainly: {first}')
        with smtplib.SMTP('127.0.0.1', ports[5]) as client:
            client.starttls(context=client_context())
            client.login('demo@example.org', password_in(first))
            client.mail('demo@example.org')
            client.rcpt('friend@example.com')
            code, said = client.data(b'Subject: caught\r\n\r\nhello\r\n')
            check(code == 250 and b'[STATUS=new MSGID=M' in said, f'sending is caught: {said}')

        refused = start(other, ports)
        said = refused.communicate(timeout=300)[0].decode()
        check(refused.returncode == 1, 'a port in use is a failure')
        check(f'127.0.0.1:{ports[0]} is in use' in said, f'said plainly: {said}')

        beside = start(other, other_ports, '--check')
        said = beside.communicate(timeout=300)[0].decode()
        check(beside.returncode == 0, f'two side by side: {said}')

        interrupt(running)
        running = start(folder, ports)
        second = read_until_ready(running)
        check(password_in(second) == password_in(first), 'the password is the same')
        imap = imaplib.IMAP4_SSL('127.0.0.1', ports[1], ssl_context=client_context())
        imap.login('demo@example.org', password_in(second))
        check(imap.select()[1] == [b'2'], 'all is found again, and no second welcome')
        interrupt(running)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGTERM)
            running.wait(60)
        shutil.rmtree(folder)
        shutil.rmtree(other)


def test_wrong_options_are_explained():
    for words in (['--nonsense'], ['--data'], ['--imap-port', 'x']):
        done = subprocess.run([str(ROOT / 'tools' / 'start'), *words], capture_output=True,
                              check=False)
        check(done.returncode == 1 and done.stderr.startswith(b'tools/start: '), f'{words}')
    done = subprocess.run([str(ROOT / 'tools' / 'start'), '--help'], capture_output=True,
                          check=True)
    check(b'--lmtp-port' in done.stdout, '--help')


if __name__ == '__main__':
    main(globals())
