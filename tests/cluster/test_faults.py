#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The proof: a cluster of three (tools/cluster) under clients and faults, and what they saw checked.

    test_faults.py [--faults N | --seconds N] [--seed N|random] [--keep FILE] [--dir DIR]

Ends with "N passed, N failed". The history of a run that failed is kept (--keep, default in the temporary folder) for
tests/cluster/checker.py. Needs root, and an Eider built with -Dplant=any (fault points; EIDER_BIN names its folder).
"""
import argparse
import collections
import imaplib
import json
import os
import pathlib
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / 'tools'), str(HERE)]
import checker
import housekeeping
import senders
import waits
from clients import BOXES, COPIES, ROW, TROUBLE, Mta, Popper, Reader, parse_messages
from clusters import Cluster, Trouble, await_that
from driver import Driver, end_of_trouble
from history import History, load
from tenants import Account, Tenant
from watchers import Syncer, Watcher

BIN = pathlib.Path(os.environ.get('EIDER_BIN', ROOT / 'build' / 'faults' / 'daemons'))
PASSWORD = 'Correct-Horse-7'
SETTINGS = '''
auth = { plaintext_without_tls = true; argon2_memory = "1M"; argon2_passes = 1; scram_iterations = 4096;
         scram_sha1_iterations = 0; failure_delay = 0; };
mail = { poll_interval = "2s"; snapshot_after = 16; index_after = 64; horizon = "HORIZONs"; undelete_window = "3s";
         sweep_interval = "200ms"; expire = "25s"; };
pop3 = { mark_seen = false; };
submission = { account_messages = 0; account_recipients = 0; address_messages = 0; address_recipients = 0; };
queue = { lease = "5s"; retry_first = "1s"; retry_max = "4s"; poll_interval = "200ms"; horizon = "HORIZONs";
          sweep_interval = "3s"; };
sending = { routes = ( { domain = "far.example"; host = "10.0.0.254"; port = 2525; tls = "none"; } );
            connect_timeout = "2s"; timeout = "5s"; local_networks = [ "198.18.0.0/15" ]; };
shutdown = { drain = "2s"; };
'''
MORE_WORK = 180  # seconds that clients go on, at most, when the faults are over
# Who has mail, and for how many seconds it stays: (login, age of the account, of its mailboxes, what then counts).
# Of the domains, example.org has "never", brief.example an age of its own, and server.example that of the servers.
PEOPLE = (('anna@example.org', None, {}, {}), ('bert@example.org', None, {}, {}), ('shared@example.org', None, {}, {}),
          ('fred@example.org', 20, {}, {'INBOX': 20, 'Work': 20}),
          ('gina@example.org', None, {'Work': 15}, {'Work': 15}),
          ('dora@brief.example', None, {}, {'INBOX': 18, 'Work': 18}),
          ('emil@server.example', None, {}, {'INBOX': 25, 'Work': 25}))
# Seconds that a client may wait, whatever it does, when the primary is killed, frozen, cut off. The aim
# is 6 and 8; a machine on which all of the cluster shares two busy cores gets some more. The faults show all but
# the last two as well.
WAITS = (('the primary is killed', 12, lambda c: c.kill(c.primary())),
         ('the primary is frozen', 16, lambda c: c.freeze(c.primary())),
         ('the primary steps down', 10, lambda c: c.step_down()),
         ("the primary's machine is cut off", 16, lambda c: c.part('node' + c.primary()[-1])),
         ('all Eiders are restarted, one after the other', 6, lambda c: roll(c)),
         ('Redis is gone for good', 6, lambda c: [c.kill(f'{kind}{i}') for kind in ('redis', 'sentinel')
                                                 for i in (1, 2, 3)]))


def roll(cluster):
    """What an upgrade does: each drains, ends, begins; the next one when HAProxy has it back."""
    for part in cluster.kinds('eider'):
        part.stop(seconds=40)
        part.start()
        part.await_ready()
        time.sleep(2)


def context():
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


class Tests:
    def __init__(self):
        self.passed = self.failed = 0

    def run(self, name, function, *arguments):
        began = time.monotonic()
        try:
            function(*arguments)
            self.passed += 1
            print(f'ok   {name} ({time.monotonic() - began:.1f} s)', flush=True)
        except Exception as failure:
            self.failed += 1
            print(f'FAIL {name}: {failure!r}', flush=True)


def cli(cluster, *words, stdin=''):
    done = subprocess.run(cluster.cli_words(*words), input=stdin.encode(), capture_output=True, timeout=300,
                          check=False)
    if done.returncode:
        raise AssertionError(f'eider {" ".join(words)}: {done.stdout[-2000:].decode()} {done.stderr[-2000:].decode()}')
    return done.stdout.decode()


def made(cluster, login):
    """An account; with these horizons a machine that stands still for seconds may refuse it."""
    try:
        cli(cluster, 'account', 'add', login, '--password-stdin', stdin=PASSWORD + '\n')
        return True
    except AssertionError as refusal:
        return 'is taken' in str(refusal)


def make_accounts(cluster):
    """[Account], in the order of PEOPLE."""
    for domain, age in (('example.org', 'never'), ('brief.example', '18s'), ('server.example', None)):
        cli(cluster, 'domain', 'add', domain)
        if age:
            cli(cluster, 'expire', 'set', domain, age)
    accounts = [Account(login, PASSWORD) for login, *_ in PEOPLE]
    for account, (login, age, boxes, _) in zip(accounts, PEOPLE, strict=True):
        await_that(lambda who=login: made(cluster, who), 60, f'{login} is made')
        account.id = json.loads(cli(cluster, 'account', 'show', login, '--json'))['id']
        with imaplib.IMAP4(cluster.front, timeout=30) as imap:
            imap.login(login, PASSWORD)
            imap.create(BOXES[1])
            if login.startswith('anna'):
                imap.create(COPIES)
        if age:
            cli(cluster, 'expire', 'set', login, f'{age}s')
        for box, seconds in boxes.items():
            cli(cluster, 'expire', 'set', login, f'{seconds}s', '--mailbox', box)
    return accounts


# ---- waits ----

def is_temporary(said):
    """In the protocol's own words: come again."""
    return any(word in str(said) for word in ('[UNAVAILABLE]', '451 4.', '[SYS/TEMP]'))


def check_waits(cluster, account, judge, few):
    """Sessions live on: what cannot be done now is refused for now, and all go on by themselves (I36).
    judge: they also wait no longer than they must, which only a quiet machine can tell. few: only what the faults
    do not show."""
    with waits.Watch(cluster, account, context()) as watch:
        if watch.await_success(60):
            raise AssertionError('nothing works')
        late = []
        for what, most, do in WAITS[-2:] if few else WAITS:
            watch.reset()
            do(cluster)
            time.sleep(1)
            left = watch.await_success(90)
            print(f'     {what}:', flush=True)
            watch.report()
            late += [f'{what}: {w.title} waited {w.longest:.1f} s' for w in watch.workers if judge and w.longest > most]
            late += [f'{what}: {title} does not go on' for title in left]
            late += [f'{what}: {w.title} was refused: {r}' for w in watch.workers for r in w.refused
                     if judge or not is_temporary(r[1])]
            end_of_trouble(cluster)
            watch.await_success(60)
    if late:
        raise AssertionError('; '.join(late))


# ---- the proof ----

def plant(cluster, name):
    """From now on the Eiders have that bug."""
    for eider in cluster.kinds('eider') if name else []:
        cluster.environment[eider.name] = cluster.environment['all'] = {'EIDER_PLANT': name}
        cluster.kill(eider.name)
        cluster.heal(eider.name)
        eider.await_ready()


def crowd(cluster, accounts, history, seed):
    anna, bert, shared, fred, gina, dora, emil = accounts
    who = [(Mta, anna, 0.3), (Reader, anna, 0.3), (Mta, bert, 0.3), (Popper, bert, 0.5), (Mta, shared, 0.3),
           (Mta, shared, 0.3), (Reader, shared, 0.3), (Reader, shared, 0.3), (Popper, shared, 1), (Watcher, shared, 0.5),
           (Syncer, shared, 1), (Syncer, anna, 1), (Mta, fred, 2), (Watcher, fred, 0.5), (Syncer, fred, 1),
           (Mta, gina, 2), (Reader, gina, 1), (Mta, dora, 2), (Reader, dora, 2), (Mta, emil, 2), (Popper, emil, 2)]
    return [kind(f'{kind.__name__.lower()}{i}', cluster.front, account, history, seed, pace)
            for i, (kind, account, pace) in enumerate(who)] + \
        [senders.Sender(f'sender{i}', cluster.front, anna, history, seed, 0.5, here=[anna, bert, shared, fred])
         for i in (1, 2)] + \
        [Tenant(f'tenant{i}', cluster, history, seed, PASSWORD, 1) for i in (1, 2)]


def last_look(cluster, accounts, history):
    """Three times, which round robin makes once on each node."""
    for view in range(3):
        for account in accounts:
            await_that(lambda v=view, a=account: look_once(cluster, a, history, v), 60, 'the last look')


def look_once(cluster, account, history, view):
    try:
        with imaplib.IMAP4(cluster.front, timeout=30) as imap:
            imap.login(account.login, PASSWORD)
            for box in BOXES + ((COPIES,) if account.login.startswith('anna') else ()):
                began = history.now()
                imap.select(box, readonly=True)
                validity = int(imap.untagged_responses['UIDVALIDITY'][-1])
                messages = parse_messages(imap.uid('FETCH', '1:*', ROW)[1], box)
                history.add(began, who='end', account=account.name, op='final', result='ok', box=box, view=view,
                            session=f'end{view}', uidvalidity=validity, uidnext=2 ** 32, highest=2 ** 63,
                            messages=messages)
        return True
    except TROUBLE:
        return False


def under_fire(cluster, clients, driver, scraper, options):
    """Clients at work and faults, for the time that was asked for; the clients go on until every kind of
    housekeeping has happened, which on a slow machine takes longer."""
    for client in clients:
        client.start()
    driver.start()
    began = time.monotonic()
    try:
        while driver.count < options.faults and not driver.failure and time.monotonic() < began + options.seconds:
            time.sleep(0.2)
            tell_progress(driver, began)
        driver.end()
        seconds = time.monotonic() - began
        end_of_trouble(cluster)
        end = time.monotonic() + MORE_WORK
        while not options.no_housekeeping and not all(scraper.total.values()) and time.monotonic() < end:
            time.sleep(0.5)
    finally:
        driver.stopping.set()
        for client in clients:
            client.stopping.set()
        driver.end()
        end_of_trouble(cluster)
        for client in clients:
            client.join(90)
    if late := [c.name for c in clients if c.is_alive()]:
        raise AssertionError(f'clients that do not end: {late}')
    if wrong := [f'{c.name}: {c.failure!r}' for c in clients if c.failure]:
        raise AssertionError(f'clients that fell: {wrong}')
    return seconds


def tell_progress(driver, began):
    """Every hundred faults."""
    if driver.count // 100 > driver.told:
        driver.told = driver.count // 100
        print(f'     {driver.count} faults after {time.monotonic() - began:.0f} s', flush=True)


def delete_leftovers(cluster):
    """An `account add` that broke off may leave an account that no address leads to; fsck finds it, and who has
    made it removes it."""
    said = subprocess.run(cluster.cli_words('fsck', '--all', '--quick', '--json'), capture_output=True, timeout=300,
                          check=False).stdout.decode().splitlines()
    found = [one['account'] for one in map(json.loads, said)
             if one.get('problem') == 'login address does not lead to the account' and one['text'].startswith('tenant')]
    for account in found:
        cli(cluster, 'account', 'delete', '--yes', account)
    return found


def what_is_left(cluster, gone, accounts, options):
    """[violations]: what is looked at afterwards does not depend on it."""
    try:
        housekeeping.check(cluster, gone, [a.id for a in accounts], lambda *words: cli(cluster, *words),
                           options.horizon)
    except AssertionError as failure:
        return [str(failure)]
    return []


def prove(cluster, accounts, options):
    history = History(options.keep)
    for account, (*_, keeps) in zip(accounts, PEOPLE, strict=True):
        for box, seconds in keeps.items():
            history.add(0, who='test', account=account.name, op='keeps', box=box, seconds=seconds)
    sink = senders.Sink(cluster.outside, history, random.Random(options.seed))
    scraper = housekeeping.Scraper(cluster)
    scraper.start()
    clients = crowd(cluster, accounts, history, options.seed)
    driver = Driver(cluster, history, options.seed, options.only)
    seconds, gone, trouble = 0, [], []
    try:
        seconds = under_fire(cluster, clients, driver, scraper, options)
        gone = [account for client in clients if isinstance(client, Tenant) for account in client.gone]
        gone += delete_leftovers(cluster)
        if not options.no_housekeeping:
            trouble += what_is_left(cluster, gone, accounts, options)
        last_look(cluster, accounts, history)
    except (AssertionError, Trouble) as failure:
        trouble.append(str(failure))
    finally:
        done = scraper.end()
        history.close()
        sink.close()
    violations = trouble + checker.Checker(load(options.keep)).check()
    logs, attempts = senders.check_logs([cluster.parts[f'eider{i}'].folder / f'eider{i}.out' for i in (1, 2, 3)])
    tell(history, driver, seconds, done, gone, attempts, options)
    if not options.no_housekeeping:
        violations += [f'I27, I32: no {what} in this run' for name, what in housekeeping.WORK.items() if not done[name]]
    violations += logs
    if violations:
        raise AssertionError(f'{len(violations)} violations, seed {options.seed}, history {options.keep}:\n' +
                             '\n'.join(violations[:20]))


def tell(history, driver, seconds, done, gone, attempts, options):
    by_op = collections.defaultdict(dict)
    for (op, result), n in sorted(history.counts.items(), key=str):
        by_op[op][result] = n
    said = {op: n for op, n in by_op.items() if op not in ('fault', 'keeps', 'final', 'arrive', 'watch')}
    commands = sum(n for results in said.values() for n in results.values())
    good = sum(results.get('ok', 0) for results in said.values())
    print(f'     seed {options.seed}: {driver.count} faults in {seconds:.0f} s, {driver.points_met} of them at a point of '
          f'a commit: {dict(sorted(driver.counts.items()))}\n'
          f'     {commands} commands, {good} done, {good / max(driver.count, 1):.0f} for each fault: {dict(by_op)}\n'
          f'     {attempts} attempts of the queue, {len(gone)} accounts deleted; housekeeping: '
          f'{ {what: done[name] for name, what in housekeeping.WORK.items()} }', flush=True)


def check_store(cluster):
    cli(cluster, 'fsck', '--all')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--faults', type=int, help='so many, unless --seconds are over before')
    p.add_argument('--seconds', type=int, help='default 30; 0: no faults, only the waits')
    p.add_argument('--horizon', type=int, default=20, help='seconds after which what nobody needs is removed')
    p.add_argument('--seed', default='1')
    p.add_argument('--keep', default=None)
    p.add_argument('--no-housekeeping', action='store_true', help='do not wait until all that is to go has gone')
    p.add_argument('--no-waits', action='store_true', help='only the faults')
    p.add_argument('--few-waits', action='store_true', help='of the waits, only what the faults do not show')
    p.add_argument('--judge-waits', action='store_true', help='fail where a client waits too long')
    p.add_argument('--only', choices=('all', 'set'), default='all', help='set: only faults of MongoDB')
    p.add_argument('--dir')
    options = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('told to end'))  # the cluster is taken down first
    if options.seconds is None:
        options.seconds = 30 if options.faults is None else 10 ** 9
    options.faults = options.faults or 10 ** 9
    if options.seed == 'random':
        options.seed = str(random.randrange(10 ** 9))
    folder = options.dir or tempfile.mkdtemp(prefix='eider-cluster-')
    options.keep = options.keep or f'{folder}.history'
    planted = os.environ.pop('EIDER_PLANT', None)  # not before the store is made
    tests = Tests()
    cluster = Cluster(folder, settings=SETTINGS.replace('HORIZON', str(options.horizon)), eider=BIN / 'eider')
    try:
        began = time.monotonic()
        with cluster:
            print(f'     up after {time.monotonic() - began:.1f} s, on {cluster.front}', flush=True)
            accounts = make_accounts(cluster)
            plant(cluster, planted)
            if options.seconds:
                tests.run('I1-I5 I7-I11 I15 I16 I21-I25 I27 I29-I33 nothing is lost, doubled or reordered', prove, cluster, accounts,
                          options)
            tests.run('I6 I26 I27 eider fsck --all', check_store, cluster)
            if not options.no_waits:
                waiter = Account('waits@example.org', PASSWORD)
                cli(cluster, 'account', 'add', waiter.login, '--password-stdin', stdin=PASSWORD + '\n')
                with imaplib.IMAP4(cluster.front, timeout=30) as imap:
                    imap.login(waiter.login, PASSWORD)
                    imap.append('INBOX', None, None, b'Subject: first\r\n\r\nx\r\n')
                tests.run('I36 what a client waits', check_waits, cluster, waiter, options.judge_waits,
                          options.few_waits)
    finally:
        if not tests.failed and not options.dir:
            shutil.rmtree(folder, ignore_errors=True)
            pathlib.Path(options.keep).unlink(missing_ok=True)
    print(f'{tests.passed} passed, {tests.failed} failed')
    return 1 if tests.failed or not tests.passed else 0


if __name__ == '__main__':
    sys.exit(main())
