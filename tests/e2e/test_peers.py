#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Postfix and OpenSMTPD as peers in both directions: they deliver to Eider by LMTP, and its queue
delivers to them, found by their MX in a signed zone (to Postfix by DANE)."""
import email
import os
import smtplib
import subprocess

from harness import Eider, check, free_ports, main, wait_for
from peers import Authority, Knot, OpenSMTPD, Postfix
from test_lmtp import messages
from test_queue import fields, inbox, wait_empty
from test_submit import Client, header

PORT = free_ports(1)[0]  # of all that are found by MX
PLACES = {'postfix.peers.example': '127.0.0.2', 'opensmtpd.peers.example': '127.0.0.3'}
SAFE = 'postfix.peers.example'  # has TLS and TLSA records
ODD = b'.a dot\r\n..two\r\n.\x20\r\n' + b'x' * 900 + b'\r\n\r\nthe end\r\n'
LONG = b''.join(b'%070d\r\n' % i for i in range(20000))


class World:
    """DNS and CA for those that are found by MX."""

    def __init__(self):
        self.ca = Authority()
        os.chmod(self.ca.folder, 0o755)
        lines = []
        for domain, address in PLACES.items():
            lines += [f'{domain}. MX 10 mx.{domain}.', f'mx.{domain}. A {address}']
        record = self.ca.tlsa(f'mx.{SAFE}')
        lines.append(f'_{PORT}._tcp.mx.{SAFE}. TLSA {record}')
        self.knot = Knot({'peers.example': lines}, signed=('peers.example',))

    def settings(self):
        return (f'dns = {{ servers = "{self.knot.address}"; trust_anchor = "{self.knot.anchor}"; }};\n'
                f'sending = {{ port = {PORT}; local_networks = [ "127.0.0.0/8" ]; idle = "100ms"; }};\n'
                'queue = { poll_interval = "50ms"; retry_first = "200ms"; retry_max = "500ms"; };\n')

    def close(self):
        self.knot.close()
        self.ca.close()


def test_the_queue_delivers_to_both(store):
    world = World()
    peers = [Postfix(SAFE, certificate=world.ca.make(f'mx.{SAFE}'), address=PLACES[SAFE], port=PORT),
             OpenSMTPD('opensmtpd.peers.example', address=PLACES['opensmtpd.peers.example'], port=PORT)]
    try:
        with Eider(store, world.settings()) as eider:
            anna = eider.account('anna@example.org')
            to = [f'{name}@{domain}' for domain in PLACES for name in ('joe', 'ann', 'nobody')]
            with Client(eider, anna) as client:
                for i in range(10):
                    client.sendmail(anna.login, to[:2] + to[3:5], header(f'number {i}') + b'\r\n' + ODD)
                client.sendmail(anna.login, to, header('long') + b'\r\n' + LONG)
            wait_empty(eider, 120)
            for peer in peers:
                for name in ('joe', 'ann'):
                    wait_for(lambda: len(peer.mailbox(name)) >= 11, 60, f'{name}: {peer.log()[-2000:]}')
                    got = [email.message_from_bytes(m)['Subject'] for m in peer.mailbox(name)]
                    check(sorted(got) == sorted([*(f'number {i}' for i in range(10)), 'long']), f'once each: {got}')
                texts = {m.partition(b'\n\n')[2] for m in peer.mailbox('joe')}
                check(texts == {ODD.replace(b'\r', b''), LONG.replace(b'\r', b'')}, 'the bytes')
            bounces = wait_for(lambda: (b := inbox(eider, anna)) if len(inbox(eider, anna)) == 2 else None, 60, 'two bounces')
            told = sorted(group['Final-Recipient'] for b in bounces for group in fields(b))
            check(told == sorted(f'rfc822;{t}' for t in to if 'nobody' in t), f'about whom: {told}')
            out = [line for line in eider.log().decode().splitlines() if ' smtp_out ' in line]
            safe = [line for line in out if SAFE in line]
            check(safe and all('policy=dane' in line and 'tls=TLS' in line for line in safe), out)
    finally:
        for peer in peers:
            peer.close()
        world.close()


def give(peer, to, content):
    with smtplib.SMTP(peer.address, peer.port, timeout=60) as client:
        check(not client.sendmail('someone@elsewhere.example', to, content), 'taken')


def delivered_by(store, make, n, retry=None):
    """What they get for accounts of Eider arrives, once, and what has to wait comes later."""
    with Eider(store) as eider:
        anna, ben = eider.account('anna@example.org'), eider.account('ben@example.org')
        peer = make(eider)
        try:
            for i in range(n):
                give(peer, [anna.login, ben.login], b'Subject: number %d\r\n\r\n' % i + ODD)
            give(peer, [anna.login], b'Subject: long\r\n\r\n' + LONG)
            wait_for(lambda: len(messages(eider, anna)) == n + 1, 120, f'all for Anna: {peer.log()[-3000:]}')
            wait_for(lambda: len(messages(eider, ben)) == n, 120, 'all for Ben')
            texts = {m.partition(b'\r\n\r\n')[2] for m in messages(eider, anna)}
            check(texts == {ODD, LONG}, 'the bytes')
            check({email.message_from_bytes(m)['Return-Path'] for m in messages(eider, anna)} ==
                  {'<someone@elsewhere.example>'}, 'the sender')
            if not retry:
                return
            eider.stop()
            give(peer, [ben.login], b'Subject: later\r\n\r\nx\r\n')
            wait_for(lambda: 'refused' in peer.log(), 60, f'it has to wait: {peer.log()[-3000:]}')
            eider.start()
            wait_for(lambda: retry(peer) or len(messages(eider, ben)) == n + 1, 90, f'it comes later: {peer.log()[-3000:]}')
            check(len(messages(eider, ben)) == n + 1, 'once')
        finally:
            peer.close()


def again_postfix(peer):
    subprocess.run(['postqueue', '-c', str(peer.config), '-f'], check=False)


def test_postfix_delivers_by_lmtp(store):
    delivered_by(store, lambda eider: Postfix('example.org', extra=(
        f'virtual_transport = lmtp:inet:127.0.0.1:{eider.lmtp_port}\nvirtual_mailbox_maps = static:all\n')),
        20, again_postfix)


def test_postfix_delivers_by_lmtp_over_a_unix_socket():
    with Eider('sqlite') as eider:
        anna = eider.account('anna@example.org')
        os.chmod(eider.folder, 0o755)
        os.chmod(eider.lmtp_path, 0o666)
        peer = Postfix('example.org', extra=f'virtual_transport = lmtp:unix:{eider.lmtp_path}\n'
                       'virtual_mailbox_maps = static:all\n')
        try:
            give(peer, [anna.login], b'Subject: hello\r\n\r\n' + ODD)
            wait_for(lambda: len(messages(eider, anna)) == 1, 60, f'it comes: {peer.log()[-3000:]}')
        finally:
            peer.close()


def test_opensmtpd_delivers_by_lmtp(store):
    """By its relay, which speaks LMTP as well as SMTP, and waits five seconds between two messages. When
    the replies for two recipients come together it takes the second for too much, and sends the message
    once more: it is known then (I24)."""
    delivered_by(store, lambda eider: OpenSMTPD('own.example', (
        f'action "eider" relay host "lmtp://127.0.0.1:{eider.lmtp_port}"\n'
        'match from any for domain "example.org" action "eider"')), 3)


def test_opensmtpd_delivers_by_its_lmtp_agent():
    """A process for each message; the recipient is what rcpt-to makes of it."""
    with Eider('sqlite') as eider:
        anna = eider.account('anna@example.org')
        peer = OpenSMTPD('own.example', (
            'table all { "@example.org" = vmail }\n'
            f'action "eider" lmtp "127.0.0.1:{eider.lmtp_port}" rcpt-to virtual <all>\n'
            'match from any for domain "example.org" action "eider"'))
        try:
            for i in range(5):
                give(peer, [anna.login], b'Subject: number %d\r\n\r\n' % i + ODD)
            wait_for(lambda: len(messages(eider, anna)) == 5, 60, f'they come: {peer.log()[-3000:]}')
            check({m.partition(b'\r\n\r\n')[2] for m in messages(eider, anna)} == {ODD}, 'the bytes')
        finally:
            peer.close()


if __name__ == '__main__':
    main(globals())
