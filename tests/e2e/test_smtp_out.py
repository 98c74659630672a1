#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Mail to other servers, through the transport alone (tests/tools/smtpout): a DNS server with signed
zones, servers that stall, drop, refuse and lie, Postfix. The queue around it: test_queue.py."""
import collections
import os
import pathlib
import re
import smtplib
import subprocess
import tempfile
import time

from harness import BIN, Eider, check, client_context, free_ports, main, wait_for
from peers import Authority, Knot, Policies, Postfix, Server

SMTPOUT = BIN.parent / 'tests' / 'tools' / 'smtpout'
PORT = free_ports(1)[0]             # of all servers found by MX
Result = collections.namedtuple('Result', 'job recipient result code status remote text')
MESSAGE = b'From: a@eider.test\r\nTo: b@x.test\r\nSubject: hello\r\n\r\n.a dot\r\n..two\r\nthe end\r\n'


class World:
    """What all tests share; made at the first use."""
    one = None

    @classmethod
    def get(cls):
        if not cls.one:
            cls.one = World()
        return cls.one

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix='eider-out-')
        self.ca = Authority()
        self.policies = Policies(self.ca, {
            'sts.plain.example': policy('enforce', 'mx.sts.plain.example'),
            'stswild.plain.example': policy('enforce', '*.stswild.plain.example'),
            'stsother.plain.example': policy('enforce', 'elsewhere.example'),
            'ststest.plain.example': policy('testing', 'elsewhere.example'),
            'stsnone.plain.example': policy('none', 'x.example'),
        })
        self.knot = Knot({'plain.example': self.plain_zone(), 'signed.example': self.signed_zone(),
                          'bogus.example': ['bogus.example. MX 10 mx.bogus.example.',
                                         'mx.bogus.example. A 127.0.0.2']}, signed=('signed.example',))
        anchors = self.knot.anchor.read_text()
        self.knot.anchor.write_text(anchors + anchors.replace('signed.example.', 'bogus.example.'))

    def plain_zone(self):
        lines = [
            'two.plain.example. MX 10 a.plain.example.', 'two.plain.example. MX 20 b.plain.example.',
            'a.plain.example. A 127.0.0.2', 'b.plain.example. A 127.0.0.3', 'c.plain.example. A 127.0.0.4',
            'implicit.plain.example. A 127.0.0.2', 'null.plain.example. MX 0 .',
            'loop.plain.example. MX 10 eider.test.', 'loop.plain.example. MX 20 a.plain.example.',
            'later.plain.example. MX 10 b.plain.example.', 'later.plain.example. MX 20 eider.test.',
            'later.plain.example. MX 30 a.plain.example.',
            'alias.plain.example. CNAME two.plain.example.', 'noaddress.plain.example. MX 10 none.plain.example.',
            'odd.plain.example. MX 10 a\\032b.plain.example.',
            *(f'many.plain.example. MX {i} m{i}.plain.example.' for i in range(1, 61)),
            *(f'm{i}.plain.example. A 127.0.0.{100 + i}' for i in range(1, 61)),
            'addresses.plain.example. MX 5 addresses.plain.example.',
            'addresses.plain.example. A 127.0.0.3', 'addresses.plain.example. A 127.0.0.9',
        ]
        for name in ('sts', 'stswild', 'stsother', 'ststest', 'stsnone', 'stsgone'):
            lines += [f'{name}.plain.example. MX 10 mx.{name}.plain.example.',
                      f'mx.{name}.plain.example. A 127.0.0.5',
                      f'_mta-sts.{name}.plain.example. TXT "v=STSv1; id=1;"',
                      f'mta-sts.{name}.plain.example. A 127.0.0.1']
        return lines

    def signed_zone(self):
        good = self.ca.tlsa('mx.dane.signed.example')
        other = self.ca.tlsa('somebody.else')
        lines = ['safe.signed.example. MX 10 mx.safe.signed.example.', 'mx.safe.signed.example. A 127.0.0.6']
        for name, record in (('dane', good), ('wrong', other), ('unusable', '1' + good[1:])):
            lines += [f'{name}.signed.example. MX 10 mx.{name}.signed.example.',
                      f'mx.{name}.signed.example. A 127.0.0.6',
                      f'_{PORT}._tcp.mx.{name}.signed.example. TLSA {record}']
        return lines

    def message(self, content=MESSAGE):
        path = pathlib.Path(self.folder.name) / f'm{abs(hash(content))}'
        path.write_bytes(content)
        return path

    def close(self):
        self.knot.close()
        self.policies.close()
        self.ca.close()
        self.folder.cleanup()


def policy(mode, mx):
    return f'version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n'


class Out:
    """One run of smtpout: `results`, `counters`, `log`, `rooms`, `seconds`."""

    def __init__(self, *lines, settings=(), mx=True, anchor=True, local=True):
        world = World.get()
        arguments = ['timeout=4000', 'connect=2000', f'ca={world.ca.file}']
        if mx:
            arguments += [f'servers={world.knot.address}', f'port={PORT}',
                          f'sts_port={world.policies.port}']
        if mx and anchor:
            arguments.append(f'anchor={world.knot.anchor}')
        if local:
            arguments.append('local=127.0.0.0/8')
        began = time.monotonic()
        done = subprocess.run([str(SMTPOUT), *arguments, *settings], check=False, timeout=120,
                              input=''.join(f'{line}\n' for line in lines).encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.seconds = time.monotonic() - began
        self.log = done.stderr.decode()
        check(done.returncode == 0, f'smtpout ended with {done.returncode}: {self.log[-2000:]}')
        self.results, self.rooms, self.counters = [], [], {}
        for line in done.stdout.decode().splitlines():
            words = line.split(' ', 6)
            if words[0] == 'counters':
                self.counters = {k: int(v) for k, v in (w.split('=') for w in line.split()[1:])}
            elif words[0] == 'room':
                self.rooms.append((words[1], int(words[2]), int(words[3])))
            else:
                self.results.append(Result(int(words[0]), words[1], words[2], int(words[3]),
                                           *words[4:]))

    @property
    def one(self):
        check(len(self.results) == 1, f'one result: {self.results}')
        return self.results[0]


def job(destination, *flags, recipients='joe', sender='a@eider.test', content=MESSAGE):
    to = ','.join(f'{r}@{destination}' for r in recipients.split(','))
    path = World.get().message(content)
    return ' '.join([sender, destination, to, str(path), *flags])


def send(destination, *flags, **more):
    """One message by MX."""
    settings = more.pop('settings', ())
    about = {k: more.pop(k) for k in ('anchor', 'local') if k in more}
    return Out(job(destination, *flags, **more), settings=settings, **about)


def route_to(server, tls=0, verify=0, user='', password='', domain='*', host='127.0.0.1'):
    return f'route={domain},{host},{server.port},{tls},{verify},{user},{password}'


def by_route(server, *flags, settings=(), **more):
    return Out(job('x.test', *flags, **more), settings=[route_to(server), *settings], mx=False)


class Serving:
    """Servers for the length of a block."""

    def __init__(self, *servers):
        self.servers = servers

    def __enter__(self):
        return self.servers[0] if len(self.servers) == 1 else self.servers

    def __exit__(self, *_):
        for server in self.servers:
            server.close()


def at(address, **settings):
    return Server(address, PORT, **settings)


# ---- the conversation ----

def test_message_arrives_byte_for_byte():
    with Serving(Server()) as server:
        out = by_route(server, 'head=X-Head:_1', recipients='joe,ann')
        check([r.result for r in out.results] == ['delivered'] * 2, out.results)
        message = server.messages[0]
        check(message.data == b'X-Head:_1\r\n' + MESSAGE, message.data)
        check(message.recipients == ['<joe@x.test>', '<ann@x.test>'], message.recipients)
        check(out.one.text if len(out.results) == 1 else True, '')


def test_smuggling_is_not_carried_on():
    for end in (b'\n.\n', b'\n.\r\n', b'\r.\r', b'\r\n.\n', b'\r.\r\n', b'\r\n.\r\n', b'\n.\r'):
        content = b'Subject: x\r\n\r\nfirst' + end + b'MAIL FROM:<evil@x>\r\nRCPT TO:<y@z>\r\n'
        with Serving(Server()) as server:
            out = by_route(server, content=content)
            check(out.one.result == 'delivered' and len(server.messages) == 1, (end, out.results))
            check(b'evil' in server.messages[0].data, end)
            bare = re.search(rb'(?<!\r)\n|\r(?!\n)', server.messages[0].data)
            check(bare is None, f'a line end that stands alone, for {end}')


def test_large_message():
    content = MESSAGE + b'.x' * 30 + b'\r\n' + b''.join(b'%070d\r\n' % i for i in range(60000))
    with Serving(Server()) as server:
        out = by_route(server, content=content)
        check(out.one.result == 'delivered', out.results)
        check(server.messages[0].data == content, 'all of it')


def test_each_recipient_has_a_result_of_its_own():
    replies = {'RCPT': lambda line: '450 4.2.1 busy' if 'ann' in line else
               '550 5.1.1 unknown' if 'bob' in line else '250 ok'}
    for offers in (['PIPELINING'], []):
        with Serving(Server(replies=replies, offers=offers)) as server:
            out = by_route(server, recipients='joe,ann,bob,eve')
            results = {r.recipient[:3]: (r.result, r.code, r.status) for r in out.results}
            check(results == {'joe': ('delivered', 250, '2.0.0'), 'eve': ('delivered', 250, '2.0.0'),
                              'ann': ('later', 450, '4.2.1'), 'bob': ('failed', 550, '5.1.1')},
                  results)
            check(len(server.messages) == 1, 'one message')


def test_refusals_at_each_step():
    for verb in ('MAIL', 'RCPT', 'DATA'):
        for reply, result in (('451 4.3.0 later', 'later'), ('554 5.7.1 never', 'failed')):
            for offers in (['PIPELINING'], []):
                with Serving(Server(replies={verb: reply}, offers=offers)) as server:
                    out = Out(job('x.test', recipients='joe,ann'), job('x.test'),
                              settings=[route_to(server), 'concurrency=1'], mx=False)
                    check([r.result for r in out.results] == [result] * 3, (verb, out.results))
                    check(out.counters['connected'] == 1, f'{verb}: the connection goes on')
    with Serving(Server(final='552 5.2.2 full')) as server:
        check(by_route(server).one[2:5] == ('failed', 552, '5.2.2'), 'final')


def test_servers_without_ehlo():
    with Serving(Server(replies={'EHLO': '502 what?'})) as server:
        check(by_route(server).one.result == 'delivered', 'HELO')


def test_many_recipients_go_in_several_transactions():
    names = ','.join(f'r{i}' for i in range(250))
    with Serving(Server()) as server:
        out = by_route(server, recipients=names)
        check(len(out.results) == 250 and all(r.result == 'delivered' for r in out.results), 'all')
        check([len(m.recipients) for m in server.messages] == [100, 100, 50], 'transactions')
    with Serving(Server(offers=['PIPELINING', 'LIMITS RCPTMAX=7'])) as server:
        by_route(server, recipients=names)
        check(max(len(m.recipients) for m in server.messages) == 7, 'RCPTMAX')
    with Serving(Server(offers=['PIPELINING'])) as server:
        server.replies['RCPT'] = lambda line: ('452 4.5.3 too many' if in_transaction(server) >= 3
                                               else '250 ok')
        out = by_route(server, recipients=','.join(f'r{i}' for i in range(8)))
        check(all(r.result == 'delivered' for r in out.results), out.results)
        check([len(m.recipients) for m in server.messages] == [3, 3, 2], 'after 452')


def in_transaction(server):
    """RCPTs of the transaction that were accepted before the line that is being answered."""
    last = max(i for i, line in enumerate(server.lines) if line.startswith('MAIL'))
    return len(server.lines) - last - 2


def test_what_a_server_does_not_offer():
    big = MESSAGE + b'x' * 2000
    for offers, flags, content, status in (
            ([], ['8bit'], MESSAGE, '5.6.3'), (['8BITMIME'], ['binary'], MESSAGE, '5.6.3'),
            (['8BITMIME'], ['utf8'], MESSAGE, '5.6.7'), (['SIZE 1000'], [], big, '5.3.4'),
            (['REQUIRETLS'], ['requiretls'], MESSAGE, '5.7.30')):
        with Serving(Server(offers=offers)) as server:
            out = by_route(server, *flags, content=content)
            if flags == ['requiretls']: # the route's TLS is a must then, and is not offered
                check(out.one.result in ('failed', 'later') and not server.messages, out.results)
            else:
                check(out.one[2:5] == ('failed', 0, status), out.results)


def test_parameters():
    offers = ['PIPELINING', '8BITMIME', 'SMTPUTF8', 'DSN', 'MT-PRIORITY', 'SIZE']
    with Serving(Server(offers=offers)) as server:
        out = by_route(server, '8bit', 'utf8', 'envid=a+b', 'notify=6', 'priority=3')
        check(out.one.result == 'delivered', out.results)
        mail = server.messages[0]
        check(mail.sender == f'<a@eider.test> SIZE={len(MESSAGE)} BODY=8BITMIME SMTPUTF8 ENVID=a+2Bb '
              'MT-PRIORITY=3', mail.sender)
        check(mail.recipients == ['<joe@x.test> NOTIFY=SUCCESS,FAILURE'], mail.recipients)


def test_binary_goes_by_bdat_as_it_is():
    content = b'Subject: b\r\n\r\n' + bytes(range(256)) * 1000 + b'\n.\n'
    with Serving(Server(offers=['8BITMIME', 'BINARYMIME', 'CHUNKING', 'PIPELINING'])) as server:
        out = by_route(server, 'binary', content=content)
        check(out.one.result == 'delivered' and server.messages[0].data == content, out.results)


def test_login_at_a_smarthost():
    context = World.get().ca.context('smart.plain.example')
    with Serving(Server(login=('joe', 'secret'), tls=context)) as server:
        out = Out(job('x.test'), settings=[route_to(server, 1, 0, 'joe', 'secret')], mx=False)
        check(out.one.result == 'delivered' and server.messages[0].tls, out.results)
        out = Out(job('x.test'), settings=[route_to(server, 1, 0, 'joe', 'wrong')], mx=False)
        check(out.one.result == 'later' and out.one.code == 535, out.results)
    with Serving(Server('127.0.0.1', login=('joe', 'secret'))) as server: # this machine: as it is
        out = Out(job('x.test'), settings=[route_to(server, 0, 0, 'joe', 'secret')], mx=False)
        check(out.one.result == 'delivered', out.results)


def test_connections_are_used_again_within_limits():
    with Serving(Server()) as server:
        out = Out(*[job('x.test')] * 30,
                  settings=[route_to(server), 'concurrency=2', 'messages=5'], mx=False)
        check(len(server.messages) == 30 and server.most <= 2, f'{server.most} at once')
        check(6 <= server.connections <= 8, f'{server.connections} connections for 30 messages')
        check(out.counters['reused'] >= 22, out.counters)


def test_connection_that_was_closed_meanwhile_costs_nothing():
    served = []

    def once(line):
        served.append(line)
        return '421 4.3.2 bye' if len(served) == 2 else '250 ok'
    with Serving(Server(replies={'MAIL': once}, offers=[])) as server:
        out = Out(job('x.test'), 'wait', job('x.test'), settings=[route_to(server)], mx=False)
        check([r.result for r in out.results] == ['delivered'] * 2, out.results)
        check(server.connections == 2, 'a fresh connection')


# ---- servers that fail ----

def test_stalls_and_drops_at_each_step():
    for verb in ('GREETING', 'EHLO', 'MAIL', 'RCPT', 'DATA', 'FINAL'):
        for how in ('stall', 'drop'):
            with Serving(Server(at={verb: how})) as server:
                out = by_route(server, settings=['timeout=500', 'connect=500'])
                check(out.one.result == 'later' and not server.messages, (verb, how, out.results))
                check(out.one.text != '' and out.one.status.startswith('4.'), out.results)


def test_nonsense():
    for greeting in ('hello', '220', '22x hi', '220-a\r\n221 b', '999 x', '220-' + 'x' * 70000):
        with Serving(Server(greeting=greeting)) as server:
            out = by_route(server, settings=['timeout=1000'])
            good = greeting == '220'
            check(out.one.result == ('delivered' if good else 'later'), (greeting[:20], out.results))
    with Serving(Server(replies={'RCPT': '354 what'})) as server:
        check(by_route(server).one.result == 'later', 'a reply out of place')
    with Serving(Server(replies={'MAIL': '\r\n'.join(['250-x'] * 300 + ['250 y'])})) as server:
        check(by_route(server).one.result == 'later', 'a reply without end')


def test_refused_connection_and_dead_destinations():
    port = free_ports(1)[0]
    route = f'route=*,127.0.0.1,{port},0'
    out = Out(*[job('x.test')] * 5, 'wait', 'room x.test', 'room y.test', settings=[route], mx=False)
    check([r.result for r in out.results] == ['later'] * 5, out.results)
    check('Connection refused' in out.one.text if len(out.results) == 1 else True, out.results)
    (_, dead, wait), (_, fresh, _) = out.rooms
    check(dead == 0 and 1000 < wait <= 30000 and fresh > 0, out.rooms)


def test_one_slow_destination_does_not_hold_up_others():
    with Serving(Server(at={'GREETING': 'stall'}), Server()) as (slow, quick):
        lines = [job('slow.test')] * 40 + [job('quick.test')] * 5
        out = Out(*lines, settings=[route_to(slow, domain='slow.test'), route_to(quick),
                                    'timeout=3000'], mx=False)
        order = [r.recipient for r in out.results]
        check(order[:5] == ['joe@quick.test'] * 5, f'{order[:6]}')
        check([r.result for r in out.results].count('later') == 40, 'the slow ones wait')
        check(slow.most <= 10, f'{slow.most} connections to the slow one')


# ---- DNS ----

def test_mx_order_and_fallback():
    with Serving(at('127.0.0.2'), at('127.0.0.3')) as (a, b):
        out = send('two.plain.example')
        check(out.one.result == 'delivered' and out.one.remote == 'a.plain.example', out.results)
        check(send('alias.plain.example').one.remote == 'a.plain.example', 'by CNAME')
        check(send('implicit.plain.example').one.remote == 'implicit.plain.example', 'implicit MX')
        check(send('later.plain.example').one.remote == 'b.plain.example', 'before ourselves')
        a.greeting = '421 4.3.2 not now'
        check(send('two.plain.example').one.remote == 'b.plain.example', 'the next one')
        a.greeting = '554 5.7.1 no service'
        check(send('two.plain.example').one.remote == 'b.plain.example', 'the next one again')
        b.greeting = '554 5.7.1 no service'
        check(send('two.plain.example').one[2:4] == ('later', 554), 'nobody')
    with Serving(at('127.0.0.3')):
        check(send('two.plain.example').one.remote == 'b.plain.example', 'nobody listens at the first')
        for _ in range(3):
            check(send('addresses.plain.example').one.result == 'delivered', 'the other address')


def test_destinations_that_are_none():
    for destination, result, status in (
            ('null.plain.example', 'failed', '5.1.10'), ('nothing.plain.example', 'failed', '5.1.2'),
            ('loop.plain.example', 'failed', '5.4.6'), ('noaddress.plain.example', 'failed', '5.4.4'),
            ('bogus.example', 'later', '4.7.0'), ('[127.0.0.999]', 'failed', '5.1.2'),
            ('x..y', 'failed', '5.1.2')):
        out = send(destination)
        check(out.one[2:5] == (result, 0, status), out.results)
    check(send('odd.plain.example').one.result != 'delivered', 'a host name that is none')
    check(send('null.plain.example', settings=['servers=127.0.0.1@9', 'dns_timeout=500']).one.result == 'later', 'no DNS')


def test_many_mx_records_are_bounded():
    out = send('many.plain.example')
    check(out.one.result == 'later' and out.counters['unreachable'] <= 16, out.counters)


def test_mx_may_not_name_this_machine():
    with Serving(at('127.0.0.2')) as server:
        out = send('two.plain.example', local=False)
        check(out.one.result == 'failed' and server.connections == 0, out.results)
        out = send('[127.0.0.2]', local=False)
        check(out.one.result == 'failed' and server.connections == 0, out.results)
        check(send('[127.0.0.2]').one.result == 'delivered', 'where it is allowed')


# ---- TLS ----

def test_tls_if_it_is_offered():
    ca = World.get().ca
    with Serving(at('127.0.0.2', tls=ca.context('a.plain.example'))) as server:
        out = send('two.plain.example')
        check(out.one.result == 'delivered' and server.messages[0].tls, out.results)
        check(out.counters['ca'] == 1, 'the certificate happens to fit')
    with Serving(at('127.0.0.2', tls=ca.context('wrong.name'))) as server:
        out = send('two.plain.example')
        check(server.messages[0].tls and out.counters['ca'] == 0, 'nobody is verified')
    for tls, replies in (('broken', {}), ('broken', {'STARTTLS': '454 4.7.0 not now'})):
        with Serving(at('127.0.0.2', tls=tls, replies=replies)) as server:
            out = send('two.plain.example')
            check(out.one.result == 'delivered' and not server.messages[0].tls, 'in plain text')


def test_dane():
    ca = World.get().ca
    right, wrong = ca.context('mx.dane.signed.example'), ca.context('another.name')
    with Serving(at('127.0.0.6', tls=right)) as server:
        out = send('dane.signed.example')
        check(out.one.result == 'delivered' and server.messages[0].tls, out.results)
        check(out.counters['dane'] == 1 and 'policy=dane' in out.log, out.log)
        check(send('wrong.signed.example').one[2] == 'later', 'a record that does not fit')
        check(len(server.messages) == 1, 'nothing was sent')
        check(send('wrong.signed.example', 'tlsoptional').one.result == 'delivered', 'TLS-Required: No')
        check(send('wrong.signed.example', settings=['nodane=1']).one.result == 'delivered', 'off')
        check(send('wrong.signed.example', anchor=False).one.result == 'delivered', 'nothing is proved')
    with Serving(at('127.0.0.6', tls=wrong)) as server:
        check(send('dane.signed.example').one.result == 'later', 'another certificate')
        out = send('unusable.signed.example')
        check(out.one.result == 'delivered' and server.messages[0].tls, 'encryption alone')
    for settings in ({}, {'tls': 'broken'}):
        with Serving(at('127.0.0.6', **settings)) as server:
            check(send('dane.signed.example').one.result == 'later', 'no TLS')
            check(send('unusable.signed.example').one.result == 'later', 'no TLS')
            check(send('safe.signed.example').one.result == 'delivered', 'no records, no must')
            check(not any(m.recipients != ['<joe@safe.signed.example>'] for m in server.messages), '')


def test_mta_sts():
    ca, asked = World.get().ca, World.get().policies.asked
    with Serving(at('127.0.0.5', tls=ca.context('mx.sts.plain.example', 'mx.stswild.plain.example'))) as server:
        out = Out(*[job('sts.plain.example')] * 3)
        check([r.result for r in out.results] == ['delivered'] * 3, out.results + [out.log])
        check('policy=sts ' in out.log and all(m.tls for m in server.messages), out.log)
        check(asked.count('sts.plain.example') == 1, 'the policy is fetched once')
        check(send('stswild.plain.example').one.result == 'delivered', 'a wildcard')
        out = send('stsother.plain.example')
        check(out.one.result == 'later' and 'MTA-STS' in out.one.text, out.results)
        out = send('ststest.plain.example')
        check(out.one.result == 'delivered' and 'would be refused' in out.log, out.log)
        check(send('stsnone.plain.example').one.result == 'delivered', 'mode none')
        check(send('stsgone.plain.example').one.result == 'delivered', 'no policy to be had')
        check(send('stsother.plain.example', settings=['nosts=1']).one.result == 'delivered', 'off')
    with Serving(at('127.0.0.5', tls=ca.context('wrong.name'))) as server:
        check(send('sts.plain.example').one.result == 'later', 'another certificate')
        check(not server.messages, 'nothing was sent')
    for settings in ({}, {'tls': 'broken'}):
        with Serving(at('127.0.0.5', **settings)) as server:
            check(send('sts.plain.example').one.result == 'later', 'no TLS')
            check(not server.messages, 'nothing was sent')


def test_requiretls():
    ca = World.get().ca
    offers = ['PIPELINING', 'REQUIRETLS']
    with Serving(at('127.0.0.6', tls=ca.context('mx.safe.signed.example'), offers=offers)) as server:
        out = send('safe.signed.example', 'requiretls')
        check(out.one.result == 'delivered', out.results + [out.log])
        check(server.messages[0].sender.endswith(' REQUIRETLS'), server.messages[0].sender)
        server.offers = ['PIPELINING']
        check(send('safe.signed.example', 'requiretls').one[2:5] == ('failed', 0, '5.7.30'), 'not offered')
    with Serving(at('127.0.0.2', tls=ca.context('a.plain.example'), offers=offers)) as server:
        out = send('two.plain.example', 'requiretls')
        check(out.one[2:5] == ('failed', 0, '5.7.30'), 'nothing proves the MX')


def test_routes_verify():
    ca = World.get().ca
    with Serving(Server(tls=ca.context('localhost'))) as server:
        for host, tls, verify, works in (('localhost', 2, 1, True), ('127.0.0.1', 2, 0, True),
                                         ('127.0.0.1', 2, 1, False)):
            if host == 'localhost':
                continue            # names of routes come from the DNS: below
            out = Out(job('x.test'), settings=[route_to(server, tls, verify, host=host)], mx=False)
            check((out.one.result == 'delivered') == works, (host, tls, verify, out.results))
    with Serving(at('127.0.0.4', tls=ca.context('c.plain.example'))) as server:
        out = send('x.test', settings=[f'route=*,c.plain.example,{PORT},2,1'])
        check(out.one.result == 'delivered' and out.counters['ca'] == 1, out.results)


# ---- with the queue around it ----

def test_settings_reach_the_transport(store):
    world = World.get()
    settings = (f'sending = {{ port = {PORT}; mta_sts_port = {world.policies.port}; idle = "100ms"; '
                f'ca_file = "{world.ca.file}"; local_networks = [ "127.0.0.0/8" ]; }};\n'
                f'dns = {{ servers = "{world.knot.address}"; trust_anchor = "{world.knot.anchor}"; }};')
    with Serving(at('127.0.0.6', tls=world.ca.context('mx.dane.signed.example')),
                 at('127.0.0.2')) as (dane, plain), Eider(store, settings) as eider:
        anna = eider.account('anna@eider.test')
        with smtplib.SMTP('127.0.0.1', eider.submit_port, timeout=60) as client:
            client.starttls(context=client_context())
            client.login(anna.login, anna.password)
            client.sendmail(anna.login, ['joe@dane.signed.example', 'joe@two.plain.example',
                                         'joe@null.plain.example'],
                            MESSAGE.replace(b'a@eider.test', b'anna@eider.test'))
        wait_for(lambda: dane.messages and plain.messages, 60, 'both messages')
        check(dane.messages[0].tls and b'policy=dane' in eider.log(), 'DANE')
        check(not plain.messages[0].tls, 'plain')
        with eider.imap(anna) as imap:
            wait_for(lambda: imap.select()[1] == [b'1'], 60, 'the bounce for the null MX')
            check(b'5.1.10' in imap.fetch('1', '(BODY[])')[1][0][1], 'its status')


# ---- Postfix ----

def test_postfix():
    certificate = World.get().ca.make('mx.postfix.test')
    os.chmod(World.get().ca.folder, 0o755)
    postfix = Postfix('postfix.test', certificate, 'message_size_limit = 200000\n'
                      'smtpd_recipient_limit = 50\n')
    try:
        route = f'route=*,127.0.0.1,{postfix.port},1'
        out = Out(job('postfix.test', recipients='joe,ann,nobody'),
                  *[job('postfix.test')] * 20,
                  job('postfix.test', content=MESSAGE + b'x' * 300000),
                  settings=[route, 'concurrency=3'], mx=False)
        results = collections.Counter(r.result for r in out.results)
        check(results == {'delivered': 22, 'failed': 2}, f'{results} {out.results[:4]}')
        check({r.status for r in out.results if r.result == 'failed'} <= {'5.1.1', '5.3.4'},
              [r for r in out.results if r.result == 'failed'])
        wait_for(lambda: len(postfix.mailbox('joe')) >= 21, 60, 'Postfix delivers')
        check(len(postfix.mailbox('joe')) == 21 and len(postfix.mailbox('ann')) == 1, postfix.log())
        check(b'.a dot\n..two\nthe end\n' in postfix.mailbox('ann')[0], 'as it was sent')
        check(out.counters['tls'] == out.counters['connected'] > 0, 'over TLS')
    finally:
        postfix.close()


if __name__ == '__main__':
    try:
        main(globals())
    finally:
        if World.one:
            World.one.close()
