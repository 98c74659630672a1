#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""What one node, one mongod and one core cost per message, for docs/capacity.md.

    scale.py [BUILD] [--nodes 1,2,3] [--seconds S] [--rounds N] [--only CELL,...] [--json FILE]
    scale.py --show FILE        the tables again

BUILD is a build folder made with --buildtype=release (tools/bench scale does that; build/release). All runs on this
machine: Eiders behind HAProxy (PROXY protocol, in turn) on one Redis and MongoDB; the load comes from here
too. So three nodes on two cores are no faster than one: what counts is the processor time of each
program for each message, read from /proc, and that it does not grow with the nodes. Cells:

    one       1, 2, 3 nodes on one mongod: deliveries of plain texts, then sessions
    alone     deliveries over one connection, so that none shares a commit with another
    set       the same as one on a replica set of three
    pinned    one node on a core of its own, mongod, Redis, HAProxy and the load on another; then
              Eider, mongod and Redis together on one core, HAProxy and the load on another
    mail      deliveries of mail of all sizes: what a kilobyte costs
    upkeep    many messages for few accounts: what snapshots and the text index add
    logins    a password's hash with the default cost; a TLS handshake
    memory    of a node, an idle connection, an account in memory, a message in it
    sqlite    one node with the embedded store

A session is made by SESSION and SELDOM below. FILE is what tools/capacity takes its measured
constants from (tests/bench/scale.json is the one that docs/capacity.md shows).
"""
import argparse
import concurrent.futures
import contextlib
import datetime
import json
import os
import pathlib
import platform
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

BENCH = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH.parent / 'e2e'), str(BENCH.parent.parent / 'tools')]
import sizing

CELLS = ('one', 'alone', 'set', 'pinned', 'mail', 'upkeep', 'logins', 'memory', 'sqlite')

# More than there are connections, so that deliveries share batches, not records; so many that an account
# gets fewer than 256 messages in a run (beyond, upkeep adds to the cost, which has a cell of its
# own); a prime, so that what happens in each fifth session happens to all.
USERS, FEW_USERS, MAKERS = 499, 37, 8
DOMAIN, PASSWORD = 'bench.example', 'secret'
UPKEEP, COSTLY, LARGE = 280, 60, 2600    # messages for each of the few; logins; messages in a large mailbox
MORE, LOOK_SECONDS = 2000, 2             # idle connections; mail.poll_interval while they are
UNREAD = 4                               # messages for each account that sessions have ahead, at least
# An MTA's connections, and clients at once, for each node: each gathers its own deliveries into commits, and a
# node more is there because there is more to do.
CONNECTIONS = 32

# What a mail program does that was told of new mail, or looks for it: it logs in, since mobile
# systems end connections in the background; asks for what is newest; the user reads one message that he has
# not read. %n is a message that no session has read yet.
SESSION = ('SELECT INBOX',
           'UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE) (PARTIAL -1:-4)',
           'UID FETCH %n (BODY.PEEK[])',
           'UID STORE %n +FLAGS.SILENT (\\Seen)')
# One in five messages is filed, one in seven deleted: a third of all is put away, as mailboxes that
# are kept small show. So a session writes 1.5 records.
SELDOM = ('5 UID MOVE %n Archive',
          '7 UID STORE %n +FLAGS.SILENT (\\Deleted)',
          '7 UID EXPUNGE %n')

TICK = os.sysconf('SC_CLK_TCK')
CORES = sorted(os.sched_getaffinity(0))


def parse():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('build', nargs='?', default=BENCH.parent.parent / 'build' / 'release')
    p.add_argument('--nodes', default='1,2,3')
    p.add_argument('--seconds', type=float, default=4, help='of each measurement')
    p.add_argument('--rounds', type=int, default=2)
    p.add_argument('--only', help='these cells; what FILE says of others stays')
    p.add_argument('--json', metavar='FILE', help='write everything there')
    p.add_argument('--show', metavar='FILE', help='show such a file')
    return p.parse_args()


# ---- what processes use ----

def cpu_of(pid):
    """Seconds of processor time, without children."""
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_of_machine():
    """Seconds that all cores were busy."""
    numbers = list(map(int, pathlib.Path('/proc/stat').read_text().split('\n')[0].split()[1:9]))
    return (sum(numbers) - numbers[3] - numbers[4]) / TICK


def written_by(pid):
    """Bytes that a process caused to be written to disks."""
    return int(re.search(r'^write_bytes: (\d+)', pathlib.Path(f'/proc/{pid}/io').read_text(), re.M)[1])


def memory_of(pid):
    """Bytes that are its own (PSS)."""
    return 1024 * int(re.search(r'^Pss:\s+(\d+)', pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text(), re.M)[1])


def move(pid, cpus):
    for thread in os.listdir(f'/proc/{pid}/task'):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cpus)


@contextlib.contextmanager
def on_cpus(cpus):
    """What is started within runs there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# ---- what is measured ----

class Mongods:
    """A replica set of so many members on loopback."""

    def __init__(self, members):
        mongod = subprocess.run([str(harness.ROOT / 'tools' / 'mongod')], stdout=subprocess.PIPE,
                                check=True).stdout.decode().split('\n')[-2]
        self.folder = tempfile.mkdtemp(prefix='eider-scale-')
        self.ports = harness.free_ports(members)
        self.processes = []
        try:
            self.start(mongod)
        except BaseException:
            self.stop()
            raise

    def start(self, mongod):
        for port in self.ports:
            os.mkdir(f'{self.folder}/{port}')
            self.processes.append(subprocess.Popen(
                [mongod, '--dbpath', f'{self.folder}/{port}', '--port', str(port), '--bind_ip', '127.0.0.1',
                 '--replSet', 'rs', '--nounixsocket', '--wiredTigerCacheSizeGB', '0.5', '--oplogSize', '1024'],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))
        config = {'_id': 'rs', 'members': [{'_id': i, 'host': f'127.0.0.1:{p}', 'priority': 2 - min(i, 1)}
                                           for i, p in enumerate(self.ports)],
                  'settings': {'electionTimeoutMillis': 10000, 'heartbeatIntervalMillis': 500}}
        harness.wait_for(lambda: (self.command({'replSetInitiate': config, '$db': 'admin'}) or {}).get('ok'), 60,
                         'the replica set is made')
        harness.wait_for(lambda: (self.command({'hello': 1, '$db': 'admin'}) or {}).get('isWritablePrimary'), 60,
                         'the first member is primary')

    def command(self, document, member=0):
        return harness.mongo_wire.command(('127.0.0.1', self.ports[member]), document, 30)

    def uri(self, database):
        return (f'mongodb://{",".join(f"127.0.0.1:{p}" for p in self.ports)}/{database}?replicaSet=rs'
                '&socketTimeoutMS=60000')  # slow is measured; it is no error

    def checkpoint(self):
        for i in range(len(self.ports)):
            self.command({'fsync': 1, '$db': 'admin'}, i)

    def look(self):
        """Counters of the primary."""
        s = self.command({'serverStatus': 1, '$db': 'admin'})
        oplog = self.command({'collStats': 'oplog.rs', '$db': 'local'})
        log = s['wiredTiger']['log']
        return {'journal': log['log bytes written'], 'flushes': log['log sync operations'],
                'oplog': oplog['size'], 'net_in': s['network']['bytesIn'], 'net_out': s['network']['bytesOut']}

    def tables(self, database):
        """{table: {count, data, disk}} after a checkpoint."""
        self.checkpoint()
        names = [c['name'] for c in
                 self.command({'listCollections': 1, '$db': database})['cursor']['firstBatch']]
        found = {}
        for name in names:
            s = self.command({'collStats': name, '$db': database})
            found[name] = {'count': s['count'], 'data': s['size'], 'disk': s['storageSize'] + s['totalIndexSize']}
        return found

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            harness.end_process(process, 30)
        shutil.rmtree(self.folder, ignore_errors=True)


def make_node_class():
    """harness is imported once EIDER_BIN is known."""
    class BenchNode(nodes.Node):
        """Tells its metrics; `cost`: of passwords as in production."""
        cost = False

        def make_config(self, settings, plaintext):
            self.http_port, = harness.free_ports(1)
            text = super().make_config(settings, plaintext).replace(
                'listeners = (\n', 'listeners = (\n    { protocol = "http"; address = "127.0.0.1"; port = '
                f'{self.http_port}; }},\n', 1)
            if self.cost:
                text = text.replace('argon2_memory = "1M"; argon2_passes = 1;', '')
            return text

        def metrics(self):
            with urllib.request.urlopen(f'http://127.0.0.1:{self.http_port}/metrics', timeout=10) as reply:
                return {k: float(v) for k, v in
                        re.findall(r'^(eider_\w+) ([\d.e+]+)$', reply.read().decode(), re.M)}
    return BenchNode


class World:
    """MongoDB, Redis, and as many nodes as are asked for. `cpus`: {part: set of cores}."""

    def __init__(self, members):
        self.cpus = {}
        self.mongods, self.redis = Mongods(members), nodes.Redis()
        self.nodes, self.haproxy = [], None
        self.each, self.first_uid = 0, 1  # messages that everybody has; the first that no session has read
        self.database = f'b{random.getrandbits(48):x}'
        self.made = False

    def place(self, cpus):
        """What runs, and what will be started."""
        self.cpus = cpus
        for pid in self.store_pids():
            move(pid, cpus.get('mongod', CORES))
        move(self.redis.process.pid, cpus.get('redis', CORES))

    def start(self, count, cost=False, settings='', users=True):
        node_class = make_node_class()
        node_class.cost = cost
        settings += f'bus = "redis://127.0.0.1:{self.redis.port}"; limits = {{ user_connections = 100000; }};'
        with on_cpus(self.cpus.get('eider')):
            self.nodes = [node_class('mongodb', settings, uri=self.mongods.uri(self.database)) for _ in range(count)]
        for node in self.nodes:
            harness.wait_for(lambda n=node: b'hints=flow' in n.log(), 30, 'hints flow')
        with on_cpus(self.cpus.get('haproxy')):
            self.haproxy = nodes.Haproxy([[getattr(n, f'proxied_{name}_port') for n in self.nodes]
                                          for name, _, _ in nodes.SERVICES])
        self.imap_port, _, self.lmtp_port = self.haproxy.ports[:3]
        if users and not self.made:
            make_users(self.nodes[0])
            self.made = True

    def stop_nodes(self):
        if self.haproxy:
            self.haproxy.stop()
        for node in self.nodes:
            node.close()
        self.nodes, self.haproxy = [], None

    def close(self):
        self.stop_nodes()
        self.redis.stop()
        self.mongods.stop()

    def pids(self):
        first, *others = [p.pid for p in self.mongods.processes]
        return {'eider': [n.process.pid for n in self.nodes], 'primary': [first], 'secondaries': others,
                'redis': [self.redis.process.pid], 'haproxy': [self.haproxy.process.pid]}

    def store_pids(self):
        return [p.pid for p in self.mongods.processes]

    def tables(self):
        return self.mongods.tables(self.database)

    def counters(self):
        totals = {}
        for node in self.nodes:
            for key, value in node.metrics().items():
                totals[key] = totals.get(key, 0) + value
        return totals

    checkpoint = property(lambda self: self.mongods.checkpoint)
    store_look = property(lambda self: self.mongods.look)


class Embedded:
    """One node with SQLite; the same to whoever measures."""

    def __init__(self):
        self.node = make_node_class()('sqlite', 'limits = { user_connections = 100000; };')
        self.nodes, self.cpus, self.each, self.first_uid = [self.node], {}, 0, 1
        self.imap_port, self.lmtp_port = self.node.imap_port, self.node.lmtp_port
        make_users(self.node)

    def pids(self):
        return {'eider': [self.node.process.pid]}

    def store_pids(self):
        return [self.node.process.pid]

    def counters(self):
        return self.node.metrics()

    def checkpoint(self):
        pass

    def store_look(self):
        return {'file': sum(p.stat().st_size for p in pathlib.Path(self.node.folder).glob('eider.db*'))}

    def close(self):
        self.node.close()


def make_users(node, name='user', count=USERS):
    """Several at a time: each is some writes, one after the other."""
    node.cli('domain', 'add', DOMAIN, status=None)
    lines = [f'{name}{i}@{DOMAIN}\t{{PLAIN}}{PASSWORD}\n' for i in range(1, count + 1)]
    words = [str(harness.BIN / 'eider'), 'account', 'add', '--file', '-', '-c', node.config]

    def make(k):
        subprocess.run(words, input=''.join(lines[k::MAKERS]).encode(), stdout=subprocess.DEVNULL, check=True)
    with concurrent.futures.ThreadPoolExecutor(MAKERS) as makers:
        list(makers.map(make, range(MAKERS)))


# ---- measuring ----

def look(world):
    return {'time': time.monotonic(), 'machine': cpu_of_machine(), 'self': time.process_time(),
            'load': sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]),
            'cpu': {part: sum(map(cpu_of, pids)) for part, pids in world.pids().items()},
            'counters': world.counters(), 'store': world.store_look()}


def difference(after, before):
    return {k: after[k] - before.get(k, 0) for k in after}


def measure(world, run):
    """run() gives the load's JSON and how many there were; what it took of everybody."""
    world.checkpoint()
    written = sum(map(written_by, world.store_pids()))
    before = look(world)
    result, count = run()
    after = look(world)
    world.checkpoint()
    cpu = difference(after['cpu'], before['cpu'])
    cpu['load'] = after['load'] - before['load']
    seconds = after['time'] - before['time']
    ours = sum(cpu.values()) + after['self'] - before['self']
    counters = difference(after['counters'], before['counters'])
    store = difference(after['store'], before['store'])
    store['written'] = sum(map(written_by, world.store_pids())) - written
    return {'rate': result['rate'], 'p50_ms': result['p50_ms'], 'p99_ms': result['p99_ms'], 'count': count,
            'seconds': result['seconds'], 'failed': result['failed'],
            'cpu_ms': {part: 1000 * c / count for part, c in cpu.items()},
            'cores': {part: c / seconds for part, c in cpu.items()},
            'others_cores': max(0, after['machine'] - before['machine'] - ours) / seconds,
            'commits': counters.get('eider_commits_total', 0) / count,
            'batches': counters.get('eider_commit_batches_total', 0) / count,
            'conflicts': counters.get('eider_commit_conflicts_total', 0) / count,
            'store': {k: v / count for k, v in store.items()},
            'flushes_per_second': store.get('flushes', 0) / seconds}


def load(world, program, *words):
    cpus = world.cpus.get('load')
    pin = ['taskset', '-c', ','.join(map(str, cpus))] if cpus else []
    done = subprocess.run([*pin, f'{OPTIONS.build}/tests/bench/{program}', *map(str, words)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{program}: {done.stderr[-500:]}')
    return json.loads(done.stdout)


def deliver(world, mail, seconds=None, users=USERS, messages=10000000, connections=None):
    result = load(world, 'lmtp_load', '--port', world.lmtp_port, '--messages', messages, '--users', users,
                  '--connections', connections or CONNECTIONS * len(world.nodes), '--seconds',
                  seconds or OPTIONS.seconds, '--domain', DOMAIN, MAIL / mail)
    world.each += result['messages'] // USERS if users == USERS else 0
    return result, result['messages']


def stock(world):
    """Something for sessions to read."""
    if world.each - world.first_uid < UNREAD:
        deliver(world, 'texts', seconds=300, messages=UNREAD * USERS)


def sessions(world, seconds=None):
    """As long as there are messages that no session has read."""
    words = [w for c in SESSION for w in ('--command', c)] + [w for c in SELDOM for w in ('--sometimes', c)]
    result = load(world, 'imap_load', '--port', world.imap_port, '--user', f'user%u@{DOMAIN}', '--password', PASSWORD,
                  '--sessions', '--users', USERS, '--clients', CONNECTIONS * len(world.nodes), '--seconds',
                  seconds or OPTIONS.seconds, '--count', (world.each - world.first_uid + 1) * USERS,
                  '--first', world.first_uid, *words)
    world.first_uid += -(-result['commands'] // USERS)
    return result, result['commands']


def log_in(world):
    """Everybody at every node, which remembers that for a while: passwords' hashes have a cell of their own."""
    load(world, 'imap_load', '--port', world.imap_port, '--user', f'user%u@{DOMAIN}', '--password', PASSWORD,
         '--sessions', '--users', USERS, '--clients', CONNECTIONS, '--count', USERS * len(world.nodes), '--command',
         'NOOP')


def both(world, note, **names):
    """Deliveries, then sessions on what was delivered. What each node has to read first is not measured."""
    deliver(world, 'texts', seconds=1)
    note(kind='delivery', mail='texts', **names, **measure(world, lambda: deliver(world, 'texts')))
    log_in(world)
    stock(world)
    sessions(world, seconds=1)
    stock(world)
    note(kind='session', mail='texts', **names, **measure(world, lambda: sessions(world)))


# ---- cells ----

class Run:
    """Cells note rows and facts. Those with one mongod share it, and its accounts."""

    def __init__(self):
        self.rows, self.facts, self.world = [], {}, None

    def note(self, **row):
        self.rows.append(row)
        parts = ' '.join(f'{k} {v:.3f}' for k, v in row['cpu_ms'].items() if v >= 0.0005)
        print(f'{row["cell"]:7} {row["nodes"]} {row["kind"]:9} {row["mail"]:6} {row["rate"]:8.0f}/s  '
              f'p50 {row["p50_ms"]:7.1f} p99 {row["p99_ms"]:7.1f} ms  CPU ms: {parts}  '
              f'(others: {row["others_cores"]:.2f} cores)', flush=True)

    def fact(self, name, value):
        self.facts[name] = value
        print(f'        {name} = {value:.6g}', flush=True)

    @contextlib.contextmanager
    def nodes_up(self, count=1, cpus=None, **how):
        if not self.world:
            self.world = World(1)
        self.world.place(cpus or {})
        self.world.start(count, **how)
        try:
            yield self.world
        finally:
            self.world.stop_nodes()
            self.world.place({})

    def close(self):
        if self.world:
            self.world.close()

    @staticmethod
    def counts():
        """1, 2, 3; 2, 3, 1; ..."""
        counts = [int(n) for n in OPTIONS.nodes.split(',')]
        for k in range(OPTIONS.rounds):
            yield from counts[k % len(counts):] + counts[:k % len(counts)]

    def one(self):
        for count in self.counts():
            with self.nodes_up(count) as world:
                both(world, self.note, cell='one', nodes=count)

    def alone(self):
        with self.nodes_up() as world:
            for _ in range(OPTIONS.rounds):
                self.note(cell='alone', nodes=1, kind='delivery', mail='texts',
                          **measure(world, lambda: deliver(world, 'texts', connections=1)))

    def set(self):
        with contextlib.closing(World(3)) as world:
            for count in self.counts():
                world.start(count)
                both(world, self.note, cell='set', nodes=count)
                world.stop_nodes()

    def pinned(self):
        if len(CORES) < 2:
            print('pinned: needs two cores')
            return
        here, there = {CORES[0]}, {CORES[1]}
        apart = {'eider': here, 'mongod': there, 'redis': there, 'haproxy': there, 'load': there}
        together = {'eider': here, 'mongod': here, 'redis': here, 'haproxy': there, 'load': there}
        for _ in range(OPTIONS.rounds):
            for cell, cpus in (('apart', apart), ('one-cpu', together)):
                with self.nodes_up(1, cpus) as world:
                    both(world, self.note, cell=cell, nodes=1)
                    self.fact(f'memory.{cell}.eider', memory_of(world.pids()['eider'][0]))
                    self.fact(f'memory.{cell}.mongod', memory_of(world.pids()['primary'][0]))

    def mail(self):
        with self.nodes_up() as world:
            deliver(world, 'mix', seconds=1)
            before = world.tables()
            for _ in range(OPTIONS.rounds):
                self.note(cell='mail', nodes=1, kind='delivery', mail='mix',
                          **measure(world, lambda: deliver(world, 'mix')))
            self.growth('mix', before, world.tables())

    def growth(self, name, before, after):
        """Bytes for each message that was delivered, by table."""
        count = after['messages']['count'] - before['messages']['count']
        for table in after:
            had = before.get(table, {'data': 0, 'disk': 0})
            data = (after[table]['data'] - had['data']) / count
            if data >= 0.5:
                self.fact(f'bytes.{name}.{table}', data)
        self.fact(f'disk.{name}', sum(after[t]['disk'] - before.get(t, {'disk': 0})['disk'] for t in after) / count)

    def upkeep(self):
        """As often as in an account's long life: about one snapshot and one piece of index each."""
        with self.nodes_up() as world:
            await_quiet(world)
            before = world.tables()

            def run():
                done = deliver(world, 'texts', seconds=90, users=FEW_USERS, messages=UPKEEP * FEW_USERS)
                await_quiet(world)
                return done
            self.note(cell='upkeep', nodes=1, kind='delivery', mail='texts', **measure(world, run))
            self.growth('texts', before, world.tables())

    def logins(self):
        """Each account once: no login is remembered yet."""
        with self.nodes_up(cost=True, users=False) as world:
            def run():
                result = load(world, 'imap_load', '--port', world.imap_port, '--user', f'cost%u@{DOMAIN}', '--password',
                              PASSWORD, '--sessions', '--users', COSTLY, '--clients', 2, '--seconds', 60, '--count',
                              COSTLY, '--command', 'NOOP')
                return result, result['commands']
            make_users(world.nodes[0], 'cost', COSTLY)
            world.nodes[0].restart()
            self.fact('login.first.cpu_ms', measure(world, run)['cpu_ms']['eider'])
            self.fact('login.again.cpu_ms', measure(world, run)['cpu_ms']['eider'])
            self.handshakes(world)

    def handshakes(self, world):
        node = world.nodes[0]
        before = cpu_of(node.process.pid)
        done = subprocess.run(['openssl', 's_time', '-connect', f'127.0.0.1:{node.imaps_port}', '-new', '-time', '3'],
                              capture_output=True, text=True, check=False)
        count = int(re.search(r'^(\d+) connections in', done.stdout, re.M)[1])
        self.fact('tls.cpu_ms', 1000 * (cpu_of(node.process.pid) - before) / count)

    def memory(self):
        """Of connections in IDLE, and of the accounts that they are on (as the node reckons it)."""
        with self.nodes_up(settings=f'mail = {{ poll_interval = "{LOOK_SECONDS}s"; }};') as world:
            node = world.nodes[0]
            self.fact('memory.node', memory_of(node.process.pid))
            deliver(world, 'texts', messages=USERS * 4, seconds=60)
            await_quiet(world)
            node.restart()
            log_in(world)
            pid, front = node.process.pid, world.haproxy.process.pid
            counters = node.metrics()
            self.fact('memory.account', counters['eider_replicas_idle_bytes'] / counters['eider_replicas_idle'])
            rest = rest_of(world)
            for part, cores in rest.items():
                self.fact(f'idle.{part}', cores)
            mine = [idle(world, i) for i in range(1, USERS + 1)]
            self.looks(rest, rest_of(world))
            before, before_front = memory_of(pid), memory_of(front)
            more = [idle(world, i % USERS + 1) for i in range(MORE)]
            time.sleep(1)
            self.fact('memory.connection', (memory_of(pid) - before) / MORE)
            self.fact('memory.front', (memory_of(front) - before_front) / MORE)
            for s in mine + more:
                s.close()
            self.memory_of_messages(world)

    def looks(self, rest, busy):
        """What it costs to compare an open account with the store."""
        each = USERS / LOOK_SECONDS
        self.fact('look.node_ms', 1000 * max(0, busy['eider'] - rest['eider']) / each)
        self.fact('look.store_ms', 1000 * max(0, busy['primary'] - rest['primary']) / each)

    def memory_of_messages(self, world):
        """Of large mailboxes that someone has open: eight more of them, when each thread has its heap from opening
        others. All but a few messages are in segments."""
        node = world.nodes[0]
        load(world, 'imap_load', '--port', world.imap_port, '--user', f'user%u@{DOMAIN}', '--password', PASSWORD,
             '--append', 'INBOX', '--dir', MAIL / 'short', '--batch', 10, '--count', 16 * LARGE, '--clients', 16)
        await_quiet(world)
        for name, command in (('memory.message.selected', None), ('memory.message', b'UID FETCH 1:* (FLAGS)')):
            node.restart()
            some = [idle(world, i % 8 + 1, command) for i in range(200)]
            before = memory_of(node.process.pid)
            some += [idle(world, i, command) for i in range(9, 17)]
            self.fact(name, max(0, memory_of(node.process.pid) - before) / (8 * LARGE))
            for s in some:
                s.close()

    def sqlite(self):
        with contextlib.closing(Embedded()) as world:
            for _ in range(OPTIONS.rounds):
                both(world, self.note, cell='sqlite', nodes=1)


def await_quiet(world):
    """Until what nodes do in the background is done: five seconds in which nothing came into the store."""
    end, same, before = time.monotonic() + 60, 0, None
    while time.monotonic() < end and same < 10:
        time.sleep(0.5)
        now = world.mongods.command({'dbStats': 1, '$db': world.database})['objects']
        same = same + 1 if now == before else 0
        before = now


def rest_of(world, seconds=6):
    """Cores that each part uses while nobody asks for anything."""
    before, began = look(world), time.monotonic()
    time.sleep(seconds)
    after, took = look(world), time.monotonic() - began
    return {part: c / took for part, c in difference(after['cpu'], before['cpu']).items()}


def idle(world, user, command=None):
    s = socket.create_connection(('127.0.0.1', world.imap_port))
    talk(s, None, b'* OK')
    talk(s, f'a LOGIN user{user}@{DOMAIN} {PASSWORD}'.encode(), b'a OK')
    talk(s, b'a SELECT INBOX', b'a OK')
    if command:
        talk(s, b'a ' + command, b'a OK')
    talk(s, b'a IDLE', b'+ ')
    return s


def talk(s, line, until):
    if line:
        s.sendall(line + b'\r\n')
    data = b''
    while until not in data[-2000:] or not data.endswith(b'\r\n'):
        more = s.recv(1 << 16)
        if not more:
            raise RuntimeError(f'connection lost: {data[-200:]}')
        data = data[-2000:] + more


# ---- what it says ----

def about():
    model = re.search(r'model name\s*: (.*)', pathlib.Path('/proc/cpuinfo').read_text())
    return {'cores': len(CORES), 'cpu': model[1] if model else '', 'kernel': platform.release(), 'cells': {}}


def begin():
    """What FILE says of the cells that are not measured now."""
    found = {'about': about(), 'rows': [], 'facts': {}}
    if OPTIONS.json and OPTIONS.only and pathlib.Path(OPTIONS.json).exists():
        found = json.loads(pathlib.Path(OPTIONS.json).read_text())
    return found


def take_cell(found, run, cell):
    """Measures one, and writes how far it all has come, should the next one fail."""
    run.rows, run.facts = [], {}
    for name in found['about']['cells'].get(cell, {}).get('facts', ()):
        found['facts'].pop(name, None)
    load_before = os.getloadavg()[0]
    getattr(run, cell)()
    found['about']['cells'][cell] = {
        'date': datetime.date.today().isoformat(), 'load': [load_before, os.getloadavg()[0]],
        'seconds': OPTIONS.seconds, 'rounds': OPTIONS.rounds, 'facts': list(run.facts)}
    found['rows'] = [r for r in found['rows'] if r['by'] != cell] + [{**r, 'by': cell} for r in run.rows]
    found['facts'].update(run.facts)
    if OPTIONS.json:
        pathlib.Path(OPTIONS.json).write_text(json.dumps(found, indent=1) + '\n')


def main():
    found, run = begin(), Run()
    for mail in ('texts', 'mix'):
        found['facts'][f'size.{mail}'] = statistics.mean(p.stat().st_size for p in (MAIL / mail).iterdir())
    with contextlib.closing(run):
        for cell in OPTIONS.only.split(',') if OPTIONS.only else CELLS:
            take_cell(found, run, cell)
    print(sizing.rows_table(found) + '\n' + sizing.facts_table(found))


if __name__ == '__main__':
    OPTIONS = parse()
    if OPTIONS.show:
        shown = json.loads(pathlib.Path(OPTIONS.show).read_text())
        print(sizing.rows_table(shown) + '\n' + sizing.facts_table(shown))
        sys.exit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended
    os.environ['EIDER_BIN'] = str(pathlib.Path(OPTIONS.build) / 'daemons')
    import harness
    import nodes
    with tempfile.TemporaryDirectory(prefix='bench-mail-') as FOLDER:
        MAIL = pathlib.Path(FOLDER)
        for KIND in ('texts', 'short', 'mix'):
            subprocess.run([sys.executable, str(BENCH / 'make_mail.py'), KIND, f'{FOLDER}/{KIND}'], check=True)
        try:
            main()
        finally:
            harness.Shared.end()
