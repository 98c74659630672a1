#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The outgoing queue, from submission to another server: whole processes, killed at each step."""
import contextlib
import email
import json
import pathlib
import sqlite3
import subprocess
import threading
import time

from harness import BIN, Eider, check, end_process, free_ports, main, wait_for
from peers import Server
from test_lmtp import messages
from test_submit import Client, header

DEAD = free_ports(1)[0]


def settings(peer, more=''):
    return f'''
queue = {{ lease = "1s"; poll_interval = "50ms"; retry_first = "200ms"; retry_max = "500ms"; {more} }};
sending = {{ timeout = "20s"; idle = "100ms"; routes = (
    {{ domain = "dead.example"; host = "127.0.0.1"; port = {DEAD}; tls = "none"; }},
    {{ domain = "*"; host = "127.0.0.1"; port = {peer.port}; tls = "none"; }} ); }};
shutdown = {{ drain = "2s"; }};
'''


def send(eider, account, *to, subject='hello'):
    with Client(eider, account) as client:
        client.sendmail(account.login, list(to), header(subject, to=to[0]) + b'\r\nthe text\r\n')


def entries(eider, *arguments):
    return [json.loads(line) for line in eider.cli('queue', 'list', '--json', *arguments).splitlines()]


def wait_empty(eider, seconds=60):
    wait_for(lambda: not entries(eider), seconds, 'the queue is empty')


def inbox(eider, account):
    return [email.message_from_bytes(m) for m in messages(eider, account)]


def fields(message):
    """The recipients' groups of fields of a report."""
    check(message.get_content_type() == 'multipart/report', message.get_content_type())
    status = message.get_payload()[1]
    return [dict(part.items()) for part in status.get_payload()[1:]]


def test_what_is_sent_arrives_and_what_is_refused_comes_back(store):
    peer = Server(replies={'RCPT': lambda line: '550 5.1.1 nobody here' if 'bad' in line else None})
    with Eider(store, settings(peer)) as eider:
        anna = eider.account('anna@example.org')
        send(eider, anna, 'good@peer.example', 'bad@peer.example', 'good@other.example')
        wait_empty(eider)
        check(sorted(r.split('>')[0] for m in peer.messages for r in m.recipients) ==
              ['<good@other.example', '<good@peer.example'], 'one copy each')
        check(all(m.data.endswith(b'\r\n\r\nthe text\r\n') for m in peer.messages), 'the bytes')
        bounce, = wait_for(lambda: inbox(eider, anna), 20, 'a bounce')
        group, = fields(bounce)
        check(group['Final-Recipient'] == 'rfc822;bad@peer.example' and group['Action'] == 'failed' and
              group['Status'] == '5.1.1', f'what it says: {group}')
        check(bounce['Return-Path'] == '<>' and 'hello' in str(bounce.get_payload()[2]), 'and returns')
        log = eider.log()
        check(b'result=failed' in log and b'result=delivered' in log, 'the log tells')
        check(log.count(b' recorded queue=') >= 2 and b'done=1' in log, 'and when it is known to all')
    peer.close()


def test_what_has_ended_is_kept_for_the_horizon_and_then_swept():
    peer = Server()
    with Eider(settings=settings(peer, 'horizon = "10s"; sweep_interval = "200ms";')) as eider:
        anna = eider.account('anna@example.org')
        began = time.monotonic()
        send(eider, anna, 'good@peer.example')
        wait_empty(eider)
        wait_for(lambda: not left(eider), 40, 'nothing is left')
        check(time.monotonic() - began >= 10, 'not before')
    peer.close()


def left(eider):
    with contextlib.closing(sqlite3.connect(f'{eider.folder}/eider.db', timeout=10)) as db:
        return sum(db.execute(f'SELECT count(*) FROM {table}').fetchone()[0]
                   for table in ('queue', 'queueentries', 'queuedue', 'queuebodies'))


def test_one_recipient_is_put_off_and_the_other_is_not_sent_to_again(store):
    slow = threading.Event()
    peer = Server(replies={'RCPT': lambda line: '450 4.2.1 later' if 'slow' in line and not slow.is_set()
                           else None})
    with Eider(store, settings(peer)) as eider:
        anna = eider.account('anna@example.org')
        send(eider, anna, 'quick@peer.example', 'slow@peer.example')
        wait_for(lambda: sum('slow' in line for line in peer.lines) >= 3, 60, 'three attempts')
        slow.set()
        wait_empty(eider)
        got = [r for m in peer.messages for r in m.recipients]
        check(sorted(got) == ['<quick@peer.example>', '<slow@peer.example>'], f'once each: {got}')
        check(sum('RCPT TO:<quick' in line for line in peer.lines) == 1, 'I29: and asked once')
        check(not inbox(eider, anna), 'nobody is told')
    peer.close()


def test_I29_killed_at_each_step_nothing_is_lost_and_nothing_recorded_sent_again(store):
    """Stalled there, kill -9, start: it arrives. (Behind the final dot it may have arrived already.)"""
    peer = Server()
    with Eider(store, settings(peer)) as eider:
        anna = eider.account('anna@example.org')
        for step in ('GREETING', 'MAIL', 'DATA', 'FINAL', 'after 250', 'after record'):
            peer.messages, peer.lines, peer.connections = [], [], 0
            peer.at = {step: 'stall'}
            send(eider, anna, 'x@peer.example', subject=step)
            if step.startswith('after'):
                wait_for(lambda: peer.messages, 30, step)
                if step == 'after record':
                    wait_empty(eider)
            elif step == 'GREETING':
                wait_for(lambda: peer.connections, 30, step)
            else:
                verb = 'DATA' if step == 'FINAL' else step
                wait_for(lambda: any(line.upper().startswith(verb) for line in peer.lines), 30, step)
            eider.kill()
            peer.at = {}
            eider.start()
            wait_for(lambda: peer.messages, 60, f'{step}: it arrives')
            wait_empty(eider)
            n = len(peer.messages)
            check(n == 1 or (step == 'after 250' and n == 2), f'{step}: {n} copies')
        check(not inbox(eider, anna), 'nothing came back')
        time.sleep(0.3)  # and nothing comes by itself: a chance for what must not be
        check(len(peer.messages) == 1, 'I29: sent after it was recorded')
    peer.close()


def test_a_bounce_is_made_once_by_nodes_that_die(store):
    peer = Server(final='554 5.6.0 no')
    with Eider(store, settings(peer)) as eider:
        anna = eider.account('anna@example.org')
        for i in range(6):
            send(eider, anna, f'x{i}@peer.example', subject=f'number {i}')
            wait_for(lambda: sum(line == 'DATA' for line in peer.lines) > i, 60, 'an attempt')
            time.sleep(0.01 * i)  # at another moment each time
            eider.kill()
            eider.start()
        wait_empty(eider)
        told = [g['Final-Recipient'] for m in inbox(eider, anna) for g in fields(m)]
        check(sorted(told) == [f'rfc822;x{i}@peer.example' for i in range(6)], f'one each: {told}')
    peer.close()


def test_another_node_takes_over(store):
    peer = Server(at={'MAIL': 'stall'})
    with Eider(store, settings(peer)) as one:
        anna = one.account('anna@example.org')
        shared = {'folder': one.folder, 'uri': one.uri}
        with Eider(store, settings(peer), **shared) as two:
            send(one, anna, 'x@peer.example')
            wait_for(lambda: any(line.startswith('MAIL') for line in peer.lines), 30, 'an attempt')
            one.kill()
            peer.at = {}
            wait_for(lambda: peer.messages, 60, 'the other node sends it')
            wait_empty(two)
            check(len(peer.messages) == 1, 'once')
        one.start()
    peer.close()


def hold(eider, account, seconds, *to, subject):
    with Client(eider, account) as client:
        client.sendmail(account.login, list(to), header(subject, to=to[0]) + b'\r\nthe text\r\n',
                        mail_options=[f'HOLDFOR={seconds}'])


def test_held_mail_for_people_here_is_delivered_here(store):
    """No server is asked: one that would take all of it hears nothing but what is for others."""
    peer = Server()
    with Eider(store, settings(peer)) as eider:
        anna, bert, carl = (eider.account(f'{name}@example.org') for name in ('anna', 'bert', 'carl'))
        eider.cli('alias', 'add', 'friends@example.org', carl.login, 'x@peer.example')
        eider.cli('alias', 'add', 'away@example.org', 'x@peer.example')
        began = time.monotonic()
        hold(eider, anna, 8, bert.login, 'friends@example.org', carl.login, 'away@example.org',
             'y@elsewhere.example', subject='held')
        check(not inbox(eider, bert) and not inbox(eider, carl), 'nothing comes before its time')
        got, = wait_for(lambda: inbox(eider, bert), 60, 'it comes')
        check(time.monotonic() - began >= 7.5, 'when its time has come')
        wait_empty(eider)
        check(got['Subject'] == 'held' and got.get_payload() == 'the text\r\n', 'it is the message')
        check(got['Return-Path'] == f'<{anna.login}>' and got['Delivered-To'] == bert.login and
              len(got.get_all('Received')) == 1 and 'ESMTPSA' in got['Received'], f'as if not held: {got.items()}')
        check(len(inbox(eider, carl)) == 1, 'once, though an alias leads there too')
        check(sorted(r for m in peer.messages for r in m.recipients) ==
              ['<x@peer.example>', '<y@elsewhere.example>'], 'whom an alias leads to elsewhere has it, once')
        check(not inbox(eider, anna), 'nobody is told anything')
    peer.close()


def since(eider, where, what):
    """Waits, as closely as can be, for the log to say so; a function that gives what it says from there."""
    def said():
        with open(eider.log_path, 'rb') as log:
            log.seek(where)
            return log.read()
    end = time.monotonic() + 60
    while what not in said():
        check(time.monotonic() < end, f'the log says {what}')
    return said


def test_I24_held_mail_is_delivered_once_by_nodes_that_die(store):
    """No route, no name server, nobody listening: the queue and the store are enough."""
    dead = f"""queue = {{ lease = "1s"; poll_interval = "50ms"; retry_first = "200ms"; retry_max = "500ms"; }};
dns = {{ servers = "127.0.0.1@{DEAD}"; }};"""
    with Eider(store, dead) as eider:
        anna, bert = eider.account('anna@example.org'), eider.account('bert@example.org')
        rounds, unrecorded = 6, 0
        for i in range(rounds):
            hold(eider, anna, 1, bert.login, subject=f'number {i}')
            said = since(eider, len(eider.log()), b' send queue=')  # it is in the account's log
            time.sleep(0.001 * i)
            eider.kill()
            unrecorded += b' recorded ' not in said()
            eider.start()
            wait_for(lambda: len(inbox(eider, bert)) > i, 60, 'it has come')
            wait_empty(eider)
        print(f'killed before the result was recorded: {unrecorded} of {rounds}')
        check(sorted(m['Subject'] for m in inbox(eider, bert)) == [f'number {i}' for i in range(rounds)],
              'each once')
        check(not inbox(eider, anna), 'nothing came back')


def test_held_mail_for_somebody_who_has_left_comes_back(store):
    peer = Server()
    with Eider(store, settings(peer)) as eider:
        anna, bert, carl = (eider.account(f'{name}@example.org') for name in ('anna', 'bert', 'carl'))
        hold(eider, anna, 10, bert.login, carl.login, subject='held')  # longer than it takes to delete him
        eider.cli('account', 'delete', '--yes', carl.login)
        bounce, = wait_for(lambda: inbox(eider, anna), 60, 'a bounce')
        group, = fields(bounce)
        check(group['Final-Recipient'] == f'rfc822;{carl.login}' and group['Status'] == '5.1.1', f'of carl: {group}')
        wait_empty(eider)
        check(len(inbox(eider, bert)) == 1 and not peer.connections, 'bert has it; no server was asked')
    peer.close()


def test_classes_of_mail_go_to_servers_that_know_them(store):
    peer = Server(offers=['8BITMIME', 'NO-SOLICITING org.example:ADULT'])
    with Eider(store, settings(peer) + 'submission = { no_solicit = "net.example:ADV org.example:X"; };') as eider:
        anna = eider.account('anna@example.org')
        with Client(eider, anna) as client:
            client.ehlo()
            check(client.esmtp_features['no-soliciting'] == 'net.example:ADV,org.example:X', 'what is refused is said')
            for i, options in enumerate((['SOLICIT=com.example:News,org.example:Y'], [])):
                client.sendmail(anna.login, [f'x{i}@peer.example'], header(f'one {i}') + b'\r\nx\r\n', options)
            wait_empty(eider)
            peer.offers = ['8BITMIME']
            client.sendmail(anna.login, ['y@other.example'], header('two') + b'\r\nx\r\n',
                            ['SOLICIT=com.example:News'])
            wait_empty(eider)
            check(client.mail(anna.login, ['SOLICIT=org.example:x'])[0] == 550, 'refused by the parameter')
            client.rset()
            client.mail(anna.login)
            client.rcpt('z@peer.example')
            code, text = client.data(b'Solicitation: net.example:adv\r\n' + header('three') + b'\r\nx\r\n')
            check(code == 550 and text.startswith(b'5.7.1 '), f'refused by the field: {code} {text}')
        said = {m.recipients[0]: m.sender.split(' SOLICIT=')[1:] for m in peer.messages}
        check(said == {'<x0@peer.example>': ['com.example:News,org.example:Y'], '<x1@peer.example>': [],
                       '<y@other.example>': []}, f'who hears of it: {said}')
    peer.close()


def test_a_dead_destination_delays_nobody(store):
    peer = Server()
    with Eider(store, settings(peer)) as eider:
        anna = eider.account('anna@example.org')
        with Client(eider, anna) as client:
            for i in range(60):
                client.sendmail(anna.login, [f'x{i}@dead.example'], header(f'dead {i}') + b'\r\nx\r\n')
            client.sendmail(anna.login, ['y@peer.example'], header('alive') + b'\r\nx\r\n')
        wait_for(lambda: peer.messages, 60, 'the one that can go out')
        check(len(entries(eider, '--destination', 'dead.example')) == 60, 'the others wait')
        check('dead.example\t60 entries' in eider.cli('queue', 'stats'), 'and are counted')
    peer.close()


def test_the_administrator_steers_it(store):
    peer = Server()
    with Eider(store, settings(peer, 'enabled = false;')) as eider:
        anna = eider.account('anna@example.org')
        send(eider, anna, 'x@peer.example', 'y@other.example')
        check(len(entries(eider)) == 2, 'nothing takes it: the queue is not run here')
        entry, = entries(eider, '--destination', 'peer.example', '--sender', anna.login)
        name = f'{entry["id"]}/{entry["entry"]}'
        check(eider.cli('queue', 'hold', name) == '1 of 1\n', 'held')
        check(entries(eider, '--held')[0]['state'] == 'held', 'and said to be')
        check('x@peer.example' in eider.cli('queue', 'show', entry['id']), 'shown')
        check(entries(eider, '--older', '1h') == [], 'none is so old')
        check(eider.cli('queue', 'delete', '--all', '--recipient', 'y@other.example') == '1 of 1\n', 'gone')
        check(len(entries(eider)) == 1, 'one is left')
        for arguments, status in ((('retry',), 64), (('show', 'x'), 64), (('show', '00' * 8), 64),
                                  (('show', '12' * 8), 67), (('hold', '12' * 8), 67),
                                  (('list', '--older', 'soon'), 64)):
            check(eider.cli('queue', *arguments, status=None)[0] == status, f'queue {arguments}')
        log = pathlib.Path(eider.folder) / 'log-queued'
        with open(log, 'wb') as out:
            queued = subprocess.Popen([str(BIN / 'eider-queued'), '-c', eider.config],
                                      stdin=subprocess.DEVNULL, stderr=out)
        try:
            wait_for(lambda: b' ready ' in log.read_bytes(), 30, 'eider-queued')
            time.sleep(0.3)  # a chance for what must not be
            check(not peer.messages, 'held is held')
            check(eider.cli('queue', 'release', name) == '1 of 1\n', 'released')
            wait_for(lambda: peer.messages, 30, 'it goes out')
            wait_empty(eider)
        finally:
            check(end_process(queued), 'eider-queued ends when it is told to')
    peer.close()


def test_a_stop_gives_back_what_is_under_way(store):
    """The transport's connection is broken, the lease returned: the next start need not wait for it."""
    peer = Server(at={'MAIL': 'stall'})
    with Eider(store, settings(peer)) as eider:
        pathlib.Path(eider.config).write_text(pathlib.Path(eider.config).read_text().replace(
            'lease = "1s"', 'lease = "10m"'))
        eider.stop()
        eider.start()
        anna = eider.account('anna@example.org')
        send(eider, anna, 'x@peer.example')
        wait_for(lambda: any(line.startswith('MAIL') for line in peer.lines), 30, 'an attempt')
        eider.stop()
        peer.at = {}
        eider.start()
        wait_for(lambda: peer.messages, 60, 'it goes out')
        wait_empty(eider)
    peer.close()


if __name__ == '__main__':
    main(globals())
