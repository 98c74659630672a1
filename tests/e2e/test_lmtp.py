#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""LMTP as MTAs speak it: smtplib, swaks and raw bytes; addresses, limits, extensions, retries."""
import random
import re
import socket
import subprocess
import threading

from harness import Eider, check, client_context, main, wait_for

MESSAGE = b'From: a@example.net\r\nSubject: hello\r\n\r\nHow are you?\r\n'
BIG = 30 << 20


class Wire:
    """Bytes as they are."""

    def __init__(self, eider, path=None):
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(60)
            self.socket.connect(path)
        else:
            self.socket = socket.create_connection(('127.0.0.1', eider.lmtp_port), 60)
        self.file = self.socket.makefile('rb')
        check(self.reply().startswith(b'220 '), 'it greets')

    def reply(self):
        """All lines of one reply; b'' at the end of the connection."""
        lines = b''
        while line := self.file.readline():
            lines += line
            if line[3:4] != b'-':
                break
        return lines

    def send(self, data):
        self.socket.sendall(data)

    def say(self, command):
        self.send(command + b'\r\n')
        return self.reply()

    def begin(self, *to, sender=b'<sender@example.net>'):
        check(self.say(b'LHLO client.example.org').startswith(b'250'), 'LHLO')
        check(self.say(b'MAIL FROM:' + sender).startswith(b'250'), 'MAIL')
        for address in to:
            check(self.say(b'RCPT TO:<' + address.encode() + b'>').startswith(b'250'), address)

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def messages(eider, account, mailbox='INBOX'):
    """All of a mailbox, byte for byte."""
    with eider.imap(account) as imap:
        if imap.select(mailbox)[0] != 'OK' or imap.untagged_responses['EXISTS'][-1] == b'0':
            return []
        return [i[1] for i in imap.fetch('1:*', 'BODY.PEEK[]')[1] if isinstance(i, tuple)]


def without_trace(message):
    head, rest = message.split(b'\r\n', 1)
    check(head.startswith(b'Return-Path: <'), f'Return-Path comes first: {head}')
    head, rest = rest.split(b'\r\n', 1)
    check(head.startswith(b'Delivered-To: '), f'then Delivered-To: {head}')
    return re.sub(rb'^Received: [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*', b'', rest, count=1)


def rcpt_reply(eider, address, mail=b'MAIL FROM:<s@example.net>'):
    with Wire(eider) as wire:
        wire.say(b'LHLO x.example')
        wire.say(mail)
        return wire.say(b'RCPT TO:<' + address.encode() + b'>')


def test_every_command_answers_as_it_should(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        table = [(b'MAIL FROM:<a@b.example>', b'503'), (b'HELO x', b'500'), (b'EHLO x', b'500'),
                 (b'LHLO', b'501'), (b'LHLO client.example.org', b'250'), (b'NOOP', b'250'),
                 (b'RSET', b'250'), (b'VRFY anna@example.org', b'252'), (b'HELP', b'214'),
                 (b'DATA', b'503'), (b'RCPT TO:<anna@example.org>', b'503'),
                 (b'MAIL FROM:anna', b'501'), (b'MAIL FROM:<a@b.example> NO=1', b'555'),
                 (b'MAIL FROM:<>', b'250'), (b'MAIL FROM:<>', b'503'), (b'DATA', b'503'),
                 (b'RCPT TO:<>', b'501'), (b'RCPT TO:<nobody@example.org>', b'550 5.1.1'),
                 (b'RCPT TO:<anna@elsewhere.example>', b'550'),
                 (b'DATA', b'503'), (b'RCPT TO:<anna@example.org>', b'250'), (b'DATA now', b'501'),
                 (b'NONSENSE', b'500'), (b'x' * 5000, b'500'), (b'DATA', b'354'),
                 (MESSAGE + b'.', b'250'), (b'QUIT', b'221')]
        with Wire(eider) as wire:
            for command, reply in table:
                got = wire.say(command)
                check(got.startswith(reply), f'{command[:60]}: {got}')
            check(wire.reply() == b'', 'QUIT closes')
        check([without_trace(m) for m in messages(eider, anna)] == [MESSAGE], 'stored as sent')


def test_addresses_find_their_accounts(store):
    settings = 'delivery = { delimiter = "+"; };'
    with Eider(store, settings) as eider:
        anna, bert = eider.account('anna@example.org'), eider.account('bert@example.org')
        eider.cli('alias', 'add', 'all@example.org', anna.login, bert.login)
        eider.cli('alias', 'add', 'boss@example.org', 'bert@example.org')
        with eider.imap(anna) as imap:
            imap.create('Lists')

        eider.deliver('anna+Lists@example.org', MESSAGE + b'plus')
        check(len(messages(eider, anna, 'Lists')) == 1, 'plus-addressing finds a mailbox')
        eider.deliver('ANNA@Example.ORG', MESSAGE + b'case')
        check(len(messages(eider, anna)) == 1, 'case does not matter')
        eider.deliver('all@example.org', MESSAGE + b'alias')
        check(len(messages(eider, anna)) == 2 and len(messages(eider, bert)) == 1, 'an alias')
        eider.deliver(['boss@example.org', 'bert@example.org', 'all@example.org'], MESSAGE)
        check(len(messages(eider, bert)) == 2, 'three ways to one account are one message')

        reply = rcpt_reply(eider, 'nobody@example.org')
        check(reply.startswith(b'550 5.1.1'), f'an unknown user: {reply}')
        eider.cli('alias', 'add', '@example.org', anna.login)
        before = len(messages(eider, anna))
        eider.deliver('nobody@example.org', MESSAGE + b'catch')
        check(len(messages(eider, anna)) == before + 1, 'the catch-all')
        eider.deliver(bert.login, MESSAGE + b'not caught')
        check(len(messages(eider, anna)) == before + 1, 'takes no one else\'s mail')
        eider.cli('account', 'set', '--disable', bert.login)
        # who gets the mail for an address is remembered for a second (lib/auth/directory_cache.c)
        wait_for(lambda: rcpt_reply(eider, bert.login).startswith(b'550 5.2.1'), 20, 'a disabled account is refused')


def test_over_quota_is_answered_as_set(store):
    for setting, reply in (('temporary', b'452 4.2.2'), ('permanent', b'552 5.2.2')):
        with Eider(store, f'delivery = {{ over_quota = "{setting}"; }};') as eider:
            anna, bert = eider.account('anna@example.org'), eider.account('bert@example.org')
            eider.cli('account', 'set', '--quota', '10K', anna.login)
            with Wire(eider) as wire:
                wire.begin(anna.login, bert.login)
                wire.say(b'DATA')
                first = wire.say(MESSAGE + b'x' * 70 * 200 + b'\r\n.')
                check(first.startswith(reply), f'{setting}: {first}')
                check(wire.reply().startswith(b'250'), 'the other recipient gets it')
            check(messages(eider, anna) == [] and len(messages(eider, bert)) == 1, 'and only he')
            eider.deliver(anna.login, MESSAGE)
            check(len(messages(eider, anna)) == 1, 'what fits is taken')


def test_size_is_said_and_kept(store):
    with Eider(store, 'limits = { message_size = "100K"; };') as eider:
        anna = eider.account('anna@example.org')
        with Wire(eider) as wire:
            check(b'SIZE 102400' in wire.say(b'LHLO x.example'), 'SIZE is said')
            reply = wire.say(b'MAIL FROM:<a@b.example> SIZE=102401')
            check(reply.startswith(b'552'), f'declared too large: {reply}')
        with Wire(eider) as wire:
            wire.begin(anna.login)
            wire.say(b'DATA')
            wire.send(MESSAGE + (b'y' * 70 + b'\r\n') * 3000 + b'.\r\n')
            reply = wire.reply()
            check(reply.startswith(b'552 5.3.4'), f'found too large: {reply}')
            check(wire.say(b'NOOP').startswith(b'250'), 'and in step')
        check(messages(eider, anna) == [], 'nothing of it is stored')


def test_chunking_binary_and_utf8(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        binary = b'Subject: b\r\nContent-Transfer-Encoding: binary\r\n\r\n' + bytes(range(256)) * 40
        with Wire(eider) as wire:
            offered = wire.say(b'LHLO x.example')
            for word in (b'PIPELINING', b'CHUNKING', b'BINARYMIME', b'SMTPUTF8', b'8BITMIME',
                         b'ENHANCEDSTATUSCODES', b'STARTTLS'):
                check(word in offered, f'{word} is offered')
            wire.say(b'MAIL FROM:<a@b.example> BODY=BINARYMIME')
            wire.say(b'RCPT TO:<anna@example.org>')
            check(wire.say(b'DATA').startswith(b'503'), 'no DATA with BINARYMIME')
            for i in range(0, len(binary), 1000):
                part = binary[i:i + 1000]
                wire.send(b'BDAT %d\r\n' % len(part) + part)
                check(wire.reply().startswith(b'250'), 'a chunk')
            check(wire.say(b'BDAT 0 LAST').startswith(b'250'), 'the last')
            utf8 = 'Subject: Grüße\r\n\r\nÄÖÜ ß .\r\n'.encode()
            wire.say('MAIL FROM:<jörg@bücher.example> SMTPUTF8 BODY=8BITMIME'.encode())
            wire.say(b'RCPT TO:<anna@example.org>')
            wire.send(b'BDAT %d LAST\r\n' % len(utf8) + utf8)
            check(wire.reply().startswith(b'250'), 'SMTPUTF8')
            reply = wire.say('MAIL FROM:<jörg@bücher.example>'.encode())
            check(reply.startswith(b'553'), f'not unless it is said: {reply}')
        got = messages(eider, anna)
        check([without_trace(m) for m in got] == [binary, utf8], 'byte for byte')
        check(b'UTF8LMTP' in got[1], 'with UTF8LMTP')


def test_all_of_it_in_one_write(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        with Wire(eider) as wire:
            one = (b'MAIL FROM:<a@b.example>\r\nRCPT TO:<anna@example.org>\r\n'
                   b'RCPT TO:<nobody@example.org>\r\nDATA\r\n')
            content = [MESSAGE + b'%d\r\n' % i for i in range(5)]
            wire.send(b'LHLO x.example\r\n' + one)
            codes = [wire.reply()[:3] for _ in range(5)]
            check(codes == [b'250', b'250', b'250', b'550', b'354'], f'{codes}')
            for i in range(5):
                wire.send(content[i] + b'.\r\n' + (one if i < 4 else b'QUIT\r\n'))
                codes = [wire.reply()[:3] for _ in range(5 if i < 4 else 2)]
                good = [b'250', b'250', b'250', b'550', b'354'] if i < 4 else [b'250', b'221']
                check(codes == good, f'{i}: {codes}')
        check([without_trace(m) for m in messages(eider, anna)] == content, 'all five, in order')


def test_a_hundred_recipients(store):
    accounts = 100 if store == 'sqlite' else 20  # making one takes MongoDB many journaled writes
    with Eider(store) as eider:
        eider.cli('domain', 'add', 'example.org')
        lines = ''.join(f'u{i}@example.org\t{{PLAIN}}pass-word-{i}\n' for i in range(accounts))
        eider.cli('account', 'add', '--file', '-', stdin=lines)
        with Wire(eider) as wire:
            wire.begin(*(f'u{i % accounts}+tag{i}@example.org' for i in range(100)))
            wire.say(b'DATA')
            wire.send(MESSAGE + b'.\r\n')
            replies = [wire.reply() for _ in range(100)]
            check(all(r.startswith(b'250') for r in replies), f'a reply each: {replies}')
        for i in (0, accounts // 2, accounts - 1):
            with eider.imap() as imap:
                imap.login(f'u{i}@example.org', f'pass-word-{i}')
                check(imap.select()[1] == [b'1'], f'u{i} has it')


def test_I24_the_same_bytes_again_are_stored_once(store):
    with Eider(store) as eider:
        anna, bert = eider.account('anna@example.org'), eider.account('bert@example.org')
        for _ in range(3):
            eider.deliver(anna.login, MESSAGE)
        check(len(messages(eider, anna)) == 1, 'one, however often it comes')
        threads = [threading.Thread(target=eider.deliver, args=(anna.login, MESSAGE + b'race\r\n'))
                   for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(len(messages(eider, anna)) == 2, 'at once too')
        eider.restart()
        eider.deliver([anna.login, bert.login], MESSAGE)
        check(len(messages(eider, anna)) == 2, 'after a restart')
        check(len(messages(eider, bert)) == 1, 'another account is another delivery')
        eider.deliver(anna.login, MESSAGE, sender='other@example.net')
        check(len(messages(eider, anna)) == 3, 'another sender too')


def test_smuggling_ends_no_message(store):
    """Only CRLF . CRLF ends it; whatever else looks so is content, or refused."""
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        stored = 0
        for end in (b'\n.\n', b'\n.\r\n', b'\r.\r', b'\r\n.\n', b'\r\n.\r', b'\r.\r\n',
                    b'\r\n\0.\r\n'):
            smuggled = b'MAIL FROM:<evil@b.example>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n'
            with Wire(eider) as wire:
                wire.begin(anna.login)
                wire.say(b'DATA')
                wire.send(MESSAGE + b'first' + end + smuggled + b'Subject: second\r\n\r\nx\r\n.\r\n')
                reply = wire.reply()
                wire.send(b'QUIT\r\n')
                rest = wire.reply()
                check(rest == b'' or rest.startswith(b'221'), f'{end}: one reply only: {rest}')
                stored += reply.startswith(b'250')
        got = messages(eider, anna)
        check(len(got) == stored, f'{stored} stored, {len(got)} seen')
        check(all(b'evil@' not in m.split(b'\r\n\r\n')[0] for m in got), 'none from the smuggler')
        dots = b'Subject: dots\r\n\r\n.\r\n..\r\n...x\r\n'
        eider.deliver(anna.login, dots)
        check(without_trace(messages(eider, anna)[-1]) == dots, 'dots are unstuffed')


def test_a_unix_socket_and_tls(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        with Wire(eider, eider.lmtp_path) as wire:
            check(b'STARTTLS' not in wire.say(b'LHLO x.example'), 'no TLS inside the machine')
            wire.begin(anna.login)
            wire.say(b'DATA')
            check(wire.say(MESSAGE + b'unix\r\n.').startswith(b'250'), 'by the UNIX socket')
        with Wire(eider) as wire:
            wire.begin(anna.login)
            check(wire.say(b'STARTTLS').startswith(b'503'), 'not within a transaction')
            wire.say(b'RSET')
            wire.send(b'STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n')
            check(wire.reply().startswith(b'220'), 'STARTTLS')
            try:
                secure = client_context().wrap_socket(wire.socket)
                secure.sendall(b'NOOP\r\n')
                check(b'5.1.0' not in secure.recv(1000), 'what was pipelined in plain is not done')
            except OSError:
                pass  # a server that refuses the handshake is as right
        with eider.lmtp() as lmtp:
            lmtp.starttls(context=client_context())
            check(not lmtp.sendmail('s@example.net', anna.login, MESSAGE + b'tls\r\n'), 'by TLS')
        got = messages(eider, anna)
        check(len(got) == 2 and b'with LMTPS' in got[1] and b'TLS' in got[1], 'LMTPS is told')


def test_swaks_delivers(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        for words in (['--server', '127.0.0.1', '--port', str(eider.lmtp_port)],
                      ['--server', '127.0.0.1', '--port', str(eider.lmtp_port), '--tls'],
                      ['--server', '127.0.0.1', '--port', str(eider.lmtp_port), '--pipeline'],
                      ['--socket', eider.lmtp_path]):
            done = subprocess.run(['swaks', '--protocol', 'LMTP', *words, '--from', 's@example.net',
                                   '--to', anna.login, '--header', f'Subject: {words[-1]}'],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                                  stdin=subprocess.DEVNULL, check=False)
            check(done.returncode == 0, f'swaks {words}: {done.stdout.decode()[-2000:]}')
        check(len(messages(eider, anna)) == 4, 'all four')


def test_thirty_megabytes_both_ways(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        lines = random.Random(7).randbytes(BIG // 2).hex().encode()
        body = b''.join(lines[i:i + 76] + b'\r\n' for i in range(0, len(lines), 76))
        message = b'Subject: large\r\n\r\n' + body
        eider.deliver(anna.login, message)
        with eider.imap(anna) as imap:
            imap.select()
            got = imap.fetch('1', 'BODY.PEEK[]')[1][0][1]
            check(without_trace(got) == message, 'in by LMTP, out by IMAP')
            check(imap.append('INBOX', None, None, message)[0] == 'OK', 'APPEND')
            imap.noop()
            check(imap.fetch('2', 'BODY.PEEK[]')[1][0][1] == message, 'in and out by IMAP')
            size = imap.fetch('2', 'RFC822.SIZE')[1][0]
            check(b'RFC822.SIZE %d' % len(message) in size, f'its size: {size}')
            part = imap.fetch('2', f'BODY.PEEK[]<{BIG - 1000}.500>')[1][0][1]
            check(part == message[BIG - 1000:BIG - 500], 'a piece of it')


if __name__ == '__main__':
    main(globals())
