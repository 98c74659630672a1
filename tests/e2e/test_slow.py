#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Slow and hostile clients cost only themselves (I35): hundreds that stop in the middle of a command, one
that reads 30 MB at a byte a second, some that send without end. Others are served as before, and the
server's memory stays bounded."""
import pathlib
import socket
import threading
import time

from harness import Eider, check, main, wait_for

STOPPED = 500
BIG = 30 << 20
TIMES_SLOWER = 10  # no tighter: the machine may be busy
AT_LEAST = 5.0  # seconds that are no sign of anything
MEMORY = 200 << 20  # more than this on top of what it had, for all of them, is a leak of some sort


def memory(eider):
    for line in pathlib.Path(f'/proc/{eider.process.pid}/status').read_text().splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) << 10
    return 0


def connections(eider):
    """Clients' connections that the server holds open."""
    ports = (eider.imap_port, eider.imaps_port, eider.lmtp_port)
    listening = 0x0A
    rows = [row.split() for row in pathlib.Path('/proc/net/tcp').read_text().splitlines()[1:]]
    return sum(int(row[1].split(':')[1], 16) in ports and int(row[3], 16) != listening and
               row[9] != '0' for row in rows)


def visit(eider, account):
    """Seconds that a user waits for LOGIN, SELECT and FETCH."""
    began = time.monotonic()
    with eider.imap(account) as imap:
        check(imap.select()[0] == 'OK', 'SELECT')
        check(imap.fetch('1', '(FLAGS BODY.PEEK[])')[1][0], 'FETCH')
    return time.monotonic() - began


def deliver(eider, account, number):
    began = time.monotonic()
    eider.deliver(account.login, b'Subject: %d\r\n\r\nhello\r\n' % number)
    return time.monotonic() - began


def serve_times(eider, account, first):
    """Of a few visits and deliveries: the slowest each."""
    visits, deliveries = [], []
    for i in range(5):
        deliveries.append(deliver(eider, account, first + i))
        visits.append(visit(eider, account))
    return max(visits), max(deliveries)


def check_served(before, after):
    for what, quiet, busy in zip(('LOGIN, SELECT, FETCH', 'a delivery'), before, after):
        check(busy < max(AT_LEAST, TIMES_SLOWER * quiet), f'{what}: {quiet:.2f} s, now {busy:.2f} s')


def connect(port, data):
    s = socket.create_connection(('127.0.0.1', port), 30)
    s.sendall(data)
    return s


def stop_halfway(eider, sockets):
    """As many as hold all states of a protocol: before a line's end, in a literal, in DATA, in TLS."""
    halves = [(eider.imap_port, b'a LOG'), (eider.imap_port, b'a LOGIN {20}\r\nhalf'),
              (eider.imap_port, b'a AUTHENTICATE PLAIN\r\nAGFub'),
              (eider.imap_port, b''), (eider.imaps_port, b'\x16\x03\x01\x02\x00\x01\x00'),
              (eider.lmtp_port, b'LHL'), (eider.lmtp_port, b'LHLO x.example\r\nMAIL FR'),
              (eider.lmtp_port, b'LHLO x.example\r\nMAIL FROM:<a@b.example>\r\n'
                                b'RCPT TO:<bert@example.org>\r\nDATA\r\nSubject: half'),
              (eider.lmtp_port, b'LHLO x.example\r\nMAIL FROM:<a@b.example>\r\n'
                                b'RCPT TO:<bert@example.org>\r\nBDAT 100000\r\nSubject: half'),
              (eider.imaps_port, b'')]
    for i in range(STOPPED):
        sockets.append(connect(*halves[i % len(halves)]))


class Sipper:
    """Asks for 30 MB and reads a byte a second, in a window as small as the kernel allows."""

    def __init__(self, eider, account, command):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(60)
        self.socket.connect(('127.0.0.1', eider.imap_port))
        self.socket.sendall(f'a LOGIN {account.login} {account.password}\r\n'
                            f'b SELECT INBOX\r\nc {command}\r\n'.encode())
        self.got, self.stopping = 0, threading.Event()
        self.thread = threading.Thread(target=self.sip)
        self.thread.start()

    def sip(self):
        while not self.stopping.wait(0 if self.got < 2000 else 1):
            if not self.socket.recv(100 if self.got < 2000 else 1):
                return
            self.got += 1

    def close(self):
        self.stopping.set()
        self.thread.join(70)
        self.socket.close()


def test_I35_half_commands_and_a_sipping_reader(store):
    with Eider(store, 'limits = { message_size = "50M"; };') as eider:
        anna, bert = eider.account('anna@example.org'), eider.account('bert@example.org')
        eider.deliver(anna.login, b'Subject: big\r\n\r\n' + (b'x' * 76 + b'\r\n') * (BIG // 78))
        before = serve_times(eider, bert, 0)
        quiet, had, open_before = memory(eider), connections(eider), []
        try:
            sippers = []
            stop_halfway(eider, open_before)
            for command in ('FETCH 1 BODY[]', 'FETCH 1 BODY.PEEK[]', 'FETCH 1 (BODY[TEXT] BODY[1])'):
                sippers.append(Sipper(eider, anna, command))
            wait_for(lambda: all(s.got > 20 for s in sippers), 60, 'they have begun to read')
            after = serve_times(eider, bert, 100)
            check_served(before, after)
            grown = memory(eider) - quiet
            check(grown < MEMORY, f'{grown >> 20} MB more for {STOPPED} connections and 3 readers')
            check(visit(eider, anna), 'who reads slowly elsewhere is served too')
        finally:
            for s in open_before:
                s.close()
            for s in sippers:
                s.close()
        wait_for(lambda: connections(eider) <= had, 60, 'all is given back')
        check_served(before, serve_times(eider, bert, 200))


def flood(port, hello, piece, pieces):
    """Sends without reading until it is cut off or all is sent; True: it was cut off."""
    s = connect(port, hello)
    s.settimeout(5)
    try:
        for _ in range(pieces):
            s.sendall(piece)
    except TimeoutError:
        return False  # the server takes no more: as good
    except OSError:
        return True
    finally:
        s.close()
    return False


def test_I35_floods_are_bounded(store):
    """A line, a literal, a command list that never end; many commands whose answers nobody reads."""
    with Eider(store) as eider:
        bert = eider.account('bert@example.org')
        before = serve_times(eider, bert, 0)
        quiet = memory(eider)
        login = f'a LOGIN {bert.login} {bert.password}\r\nb SELECT INBOX\r\n'.encode()
        floods = [(eider.imap_port, b'a ', b'x' * 65536, 600),
                  (eider.imap_port, b'a LOGIN ' + b'(' * 100, b'(' * 65536, 600),
                  (eider.imap_port, login + b'c FETCH 1:', b'1,' * 32768, 600),
                  (eider.imap_port, login, b'c FETCH 1:* (BODY.PEEK[] ENVELOPE)\r\n' * 1000, 300),
                  (eider.imap_port, login + b'c APPEND INBOX {4000000000}\r\n', b'x' * 65536, 600),
                  (eider.imap_port, login + b'c APPEND INBOX {1000+}\r\n', b'x' * 65536, 600),
                  (eider.lmtp_port, b'', b'x' * 65536, 600),
                  (eider.lmtp_port, b'LHLO x\r\n', b'NOOP\r\n' * 10000, 300),
                  (eider.lmtp_port, b'LHLO x\r\nMAIL FROM:<a@b.example>\r\n',
                   b'RCPT TO:<bert@example.org>\r\n' * 1000, 100)]
        threads = [threading.Thread(target=flood, args=f) for f in floods]
        highest = 0
        for thread in threads:
            thread.start()
        while any(t.is_alive() for t in threads):
            deliver(eider, bert, int(time.monotonic() * 1000))
            visit(eider, bert)
            highest = max(highest, memory(eider) - quiet)
        check(highest < MEMORY, f'{highest >> 20} MB more at the highest')
        check_served(before, serve_times(eider, bert, 10 ** 9))


def test_who_does_not_log_in_is_let_go():
    with Eider(settings='limits = { login_timeout = "2s"; };') as eider:
        had = connections(eider)
        sockets = [connect(eider.imap_port, b'a L'), connect(eider.imap_port, b'')]
        wait_for(lambda: connections(eider) > had, 20, 'they are connected')
        wait_for(lambda: connections(eider) <= had, 60, 'and let go after a while')
        for s in sockets:
            s.close()


def test_who_does_not_begin_tls_is_let_go_as_soon():
    with Eider(settings='limits = { login_timeout = "2s"; };') as eider:
        with socket.create_connection(('127.0.0.1', eider.imaps_port), 20) as silent:
            check(silent.recv(1) == b'', 'before the 30 s that a handshake may take otherwise')


if __name__ == '__main__':
    main(globals())
