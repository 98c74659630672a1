#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Thunderbird sets an account up, reads, changes, moves and deletes; hears by IDLE of what others do;
and after a restart fetches nothing that it has."""
import base64
import pathlib
import random
import re

from harness import Eider, check, main, wait_for
from thunderbird import Thunderbird

NODES = True
LARGE = base64.encodebytes(random.Random(1).randbytes(240000)).replace(b'\n', b'\r\n')  # hard to compress


def message(subject, body=b'hello\r\n'):
    return b'From: a@example.net\r\nTo: anna@example.org\r\nSubject: ' + subject + b'\r\n\r\n' + body


def server_side(imap, mailbox='INBOX'):
    """{subject: flags} as another client sees it."""
    if imap.select(mailbox)[0] != 'OK':
        return None
    answer = imap.fetch('1:*', '(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])')[1]
    return {re.search(rb'Subject: ([^\r]*)', item[1])[1].decode():
            set(re.search(rb'FLAGS \(([^)]*)\)', item[0])[1].decode().split())
            for item in answer if isinstance(item, tuple)}


def number(imap, subject):
    imap.select()
    return imap.search(None, 'SUBJECT', subject)[1][0].decode()


def subjects(bird, path):
    return [row[0] for row in bird.list(path)]


def shows(bird, path, expected, what):
    bird.until(lambda: check(subjects(bird, path) == expected, f'{subjects(bird, path)}') or True,
               what, 30)


def octets_out(eider):
    """What connections that have ended were sent."""
    return sum(int(n) for n in re.findall(rb'service=imap [^\n]* out=(\d+)', eider.log()))


def set_up(eider, bird, anna, tls):
    port = eider.imaps_port if tls else eider.imap_port
    submit = eider.submits_port if tls else eider.submit_port
    if tls:
        pem = (pathlib.Path(eider.folder) / 'self-signed.crt').read_text()
        for trusted in (port, submit):
            bird.trust('127.0.0.1', trusted, ''.join(pem.split('-----')[2].split()))
    bird.setUp('127.0.0.1', port, anna.login, anna.password, tls, submit)
    bird.open('INBOX')
    bird.until(lambda: {'INBOX', 'Plans', 'Plans/Deep', 'Sent', 'Trash', 'Drafts', 'Archive'} <=
               set(bird.folders()), 'the folders are there')
    bird.until(lambda: len(bird.list('INBOX')) == 6, 'the messages are there')
    check('hello 2' in bird.body('INBOX', 'm2'), 'a message can be read')
    check(bird.search('INBOX', 'hello 3') == ['m3'], 'and found on the server')
    bird.open('Plans/Deep')
    bird.until(lambda: subjects(bird, 'Plans/Deep') == ['deep'], 'below another one too')


def send(eider, bird, imap, bert):
    """To somebody here; the copy in Sent is Thunderbird's own."""
    bird.send(bert.login, 'sent by Thunderbird', 'Hello Bert\n.\n')
    with eider.imap(bert) as his:
        check(list(server_side(his)) == ['sent by Thunderbird'], 'it is there at once')
        check(b'User-Agent: Mozilla Thunderbird' in his.fetch('1', 'BODY.PEEK[HEADER]')[1][0][1], 'from it')
    at_server(bird, imap, 'Sent', {'sent by Thunderbird': {'\\Seen'}})


def at_server(bird, imap, mailbox, expected):
    """Thunderbird does some things at once, others when it comes to it."""
    bird.until(lambda: check(server_side(imap, mailbox) == expected, f'{server_side(imap, mailbox)}')
               or True, f'the server has it in {mailbox}', 30)


def change_from_thunderbird(bird, imap):
    bird.open('INBOX')
    bird.read('INBOX', 'm0')
    bird.flag('INBOX', 'm1')
    bird.tag('INBOX', 'm2', '$label1')
    left = {'m0': {'\\Seen'}, 'm1': {'\\Flagged'}, 'm2': {'$label1'}, 'large': set()}
    at_server(bird, imap, 'INBOX', {**left, 'm3': set(), 'm4': set()})
    bird.move('INBOX', 'Plans', 'm3', True)
    at_server(bird, imap, 'Plans', {'m3': set()})
    at_server(bird, imap, 'INBOX', {**left, 'm4': set()})
    bird.remove('INBOX', 'm4')
    at_server(bird, imap, 'Trash', {'m4': set()})
    at_server(bird, imap, 'INBOX', left)
    bird.move('INBOX', 'Archive', 'm0', False)
    at_server(bird, imap, 'Archive', {'m0': {'\\Seen'}})
    at_server(bird, imap, 'INBOX', left)
    bird.create('', 'Sch\u00f6n & gut')
    wait_for(lambda: imap.select('"Sch&APY-n &- gut"')[0] == 'OK', 60, 'a folder is made')


def change_behind_its_back(eider, bird, imap, anna):
    """INBOX is open in Thunderbird, which is in IDLE: none of this makes it ask."""
    bird.open('INBOX')
    bird.settle('INBOX')
    eider.deliver(anna.login, message(b'news'))
    bird.until(lambda: 'news' in subjects(bird, 'INBOX'), 'new mail comes by itself', 30)
    bird.settle('INBOX')
    imap.select()
    imap.store(number(imap, 'm1'), '-FLAGS', r'(\Flagged)')
    imap.store(number(imap, 'm0'), '+FLAGS', r'(\Flagged)')
    bird.until(lambda: {row[0] for row in bird.list('INBOX') if row[2]} == {'m0'},
               'flags change by themselves', 30)
    bird.settle('INBOX')
    check(imap.uid('MOVE', '3', 'Plans')[0] == 'OK', 'MOVE')
    shows(bird, 'INBOX', ['large', 'm0', 'm1', 'news'], 'what is gone goes by itself')


def come_again(eider, bird, imap, anna):
    """What was there stays there under its number, is not fetched again, and nothing is missed."""
    bird.until(lambda: bird.kept('INBOX') == 4, 'all are kept')
    before = bird.list('INBOX')
    bird.stop()
    fetched = octets_out(eider)
    check(fetched > 240000, f'the large message came over: {fetched}')
    eider.deliver(anna.login, message(b'while away'))
    imap.store(number(imap, 'm0'), '+FLAGS', r'(\Deleted)')
    imap.expunge()
    bird.start()
    bird.open('INBOX')
    shows(bird, 'INBOX', ['large', 'm1', 'news', 'while away'], 'it comes up to date')
    same = [row for row in before if row[0] != 'm0']
    check([row for row in bird.list('INBOX') if row[0] != 'while away'] == same, 'the same')
    check(len(bird.body('INBOX', 'large')) > 300000, 'what it has can be read')
    bird.stop()
    again = octets_out(eider) - fetched
    check(again < 60000, f'nothing is fetched again: {again} octets')


def test_a_person_uses_thunderbird(store):
    with Eider(store) as eider:
        anna, bert = eider.account('anna@example.org'), eider.account('bert@example.org')
        for i in range(5):
            eider.deliver(anna.login, message(b'm%d' % i, b'hello %d\r\n' % i))
        eider.deliver(anna.login, message(b'large', LARGE))
        with eider.imap(anna) as imap, Thunderbird(eider.folder) as bird:
            for name in ('Plans', 'Plans/Deep'):
                imap.create(name)
                imap.subscribe(name)
            imap.append('Plans/Deep', None, None, message(b'deep'))
            set_up(eider, bird, anna, store != 'nodes')
            send(eider, bird, imap, bert)
            change_from_thunderbird(bird, imap)
            change_behind_its_back(eider, bird, imap, anna)
            come_again(eider, bird, imap, anna)


if __name__ == '__main__':
    main(globals())
