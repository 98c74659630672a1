# SPDX-License-Identifier: MPL-2.0
"""The arithmetic of tools/capacity: what so many users need.

    constants = measured(json.load(open('tests/bench/scale.json')))
    need = size(Load(users=1_000_000), constants)

CONSTANTS is the one table of what a message costs; each row says where it comes from. The formulas
are size() and the functions below it, from top to bottom; docs/capacity.md explains them.
"""
import dataclasses
import math
import statistics

DAY = 86400
MEASURED, DERIVED, ASSUMED = 'measured', 'derived', 'assumed'


class Trouble(Exception):
    """A sentence for a person."""


# ---- what is asked ----

@dataclasses.dataclass(frozen=True)
class Load:
    """What users do, and on what machines; each field is an option of tools/capacity."""
    users: float = 1000
    sent: float = 10            # messages a user sends in a day
    received: float = 40        # and is sent
    size: float = 50            # kB of a message, the mean
    retention: float = 365      # days that a message is kept
    connections: float = 1.0    # held open for each user in the busy hour
    logins: float = 8           # connections that a user makes in a day: hash of the password, TLS
    peak: float = 3.0           # busiest second by the mean one
    zones: int = 3              # data centres of one region; one may be down. 1: no spare
    node_cores: float = 8       # of a machine with Eider
    node_ram: float = 32        # GB
    store_cores: float = 8      # of a member of MongoDB
    store_ram: float = 64       # GB
    store_disk: float = 4       # TB


# ---- what a message costs ----

def row(cell, nodes, kind, mail, *path):
    """The median of the rows of tests/bench/scale.py's JSON with these names."""
    def find(found):
        values = []
        for r in found['rows']:
            if (r['cell'], r['nodes'], r['kind'], r['mail']) == (cell, nodes, kind, mail):
                for key in path:
                    r = r.get(key, 0)
                values.append(r)
        if not values:
            raise Trouble(f'the measurement has no row "{cell}, {nodes} nodes, {kind}, {mail}"')
        return statistics.median(values)
    return find


def fact(*names):
    """The sum of facts; those of tables that stayed empty are not there."""
    def find(found):
        if names[0] not in found['facts']:
            raise Trouble(f'the measurement has no fact "{names[0]}"')
        return sum(found['facts'].get(n, 0) for n in names)
    return find


def minus(one, other):
    return lambda found: max(0.0, one(found) - other(found))


def per_kb(small, large):
    """What a kB adds: between plain texts and mail of all sizes."""
    return lambda found: (max(0.0, large(found) - small(found)) /
                          (found['facts']['size.mix'] - found['facts']['size.texts']) * 1000)


def scaled(one, factor):
    return lambda found: one(found) * factor


def cpu(kind, part, cell='one', mail='texts', nodes=1):
    return row(cell, nodes, kind, mail, 'cpu_ms', part)


def line_fixed(small, large):
    """Where a line through plain texts and mail of all sizes meets no bytes at all."""
    return lambda found: small(found) - per_kb(small, large)(found) * found['facts']['size.texts'] / 1000


def of_store(what):
    """(of texts, of mail of all sizes)"""
    return (row('one', 1, 'delivery', 'texts', 'store', what), row('mail', 1, 'delivery', 'mix', 'store', what))


def stored(mail):
    """Bytes that stay of a message: content, and who uses its parts."""
    return fact(f'bytes.{mail}.messages', f'bytes.{mail}.blobs', f'bytes.{mail}.bloblinks')


@dataclasses.dataclass(frozen=True)
class Constant:
    name: str
    unit: str
    kind: str
    source: str
    of: object      # a number, or a function of the measurement


CONSTANTS = [Constant(*c) for c in (
    # processor time of a delivery; `_kb`: of each kB of the message beyond the 6 of the plain texts
    ('delivery_node', 'ms', MEASURED, 'one: Eider', cpu('delivery', 'eider')),
    ('delivery_node_kb', 'ms/kB', MEASURED, 'mail less one: Eider',
     per_kb(cpu('delivery', 'eider'), cpu('delivery', 'eider', 'mail', 'mix'))),
    ('delivery_node_alone', 'ms', MEASURED, 'alone: Eider, nothing to share a commit with',
     cpu('delivery', 'eider', 'alone')),
    ('delivery_store', 'ms', MEASURED, 'one: mongod', cpu('delivery', 'primary')),
    ('delivery_store_kb', 'ms/kB', MEASURED, 'mail less one: mongod',
     per_kb(cpu('delivery', 'primary'), cpu('delivery', 'primary', 'mail', 'mix'))),
    ('delivery_store_alone', 'ms', MEASURED, 'alone: mongod', cpu('delivery', 'primary', 'alone')),
    ('delivery_set', '', MEASURED, 'set by one: the primary of three by the only one',
     lambda f: cpu('delivery', 'primary', 'set')(f) / cpu('delivery', 'primary')(f)),
    ('delivery_secondary', 'ms', MEASURED, 'set: a secondary', scaled(cpu('delivery', 'secondaries', 'set'), 0.5)),
    ('delivery_front', 'ms', MEASURED, 'one: HAProxy', cpu('delivery', 'haproxy')),
    ('upkeep_node', 'ms', MEASURED, 'upkeep less one: snapshots, text index',
     minus(cpu('delivery', 'eider', 'upkeep'), cpu('delivery', 'eider'))),
    ('upkeep_store', 'ms', MEASURED, 'upkeep less one: mongod',
     minus(cpu('delivery', 'primary', 'upkeep'), cpu('delivery', 'primary'))),
    ('session_node', 'ms', MEASURED, 'one: Eider', cpu('session', 'eider')),
    ('session_store', 'ms', MEASURED, 'one: mongod', cpu('session', 'primary')),
    ('session_secondary', 'ms', MEASURED, 'set: a secondary', scaled(cpu('session', 'secondaries', 'set'), 0.5)),
    ('session_front', 'ms', MEASURED, 'one: HAProxy', cpu('session', 'haproxy')),
    ('session_commits', '', MEASURED, 'one: records a session', row('one', 1, 'session', 'texts', 'commits')),
    ('login_node', 'ms', MEASURED, 'logins: first less again (argon2id, default cost)',
     minus(fact('login.first.cpu_ms'), fact('login.again.cpu_ms'))),
    ('tls_node', 'ms', MEASURED, 'logins: a handshake, ECDSA P-256', fact('tls.cpu_ms')),
    ('look_node', 'ms', MEASURED, 'memory: an open account is compared with the store', fact('look.node_ms')),
    ('look_store', 'ms', MEASURED, 'memory: the same, mongod', fact('look.store_ms')),
    ('look_interval', 's', ASSUMED, 'mail.poll_interval, its default', 20),
    ('submission', 'deliveries', MEASURED, 'a message that is sent, through the queue and out, by one to people here '
     '(docs/performance.md, MongoDB, 8 and 32 connections): Eider\'s processor time', 3.1),
    # memory
    ('memory_node', 'MB', MEASURED, 'memory: a node without clients', scaled(fact('memory.node'), 1e-6)),
    ('memory_caches', 'MB', ASSUMED, 'cache.*, defaults: 256 + 256 + 64 + 64', 640),
    ('memory_connection', 'kB', MEASURED, 'in IDLE, with TLS: docs/performance.md, 5,000 of them', 19.8),
    ('memory_account', 'kB', MEASURED, 'memory: a small account, open', scaled(fact('memory.account'), 1e-3)),
    ('memory_selected', 'bytes', MEASURED, 'memory: a message in an open mailbox, not looked at',
     fact('memory.message.selected')),
    ('memory_message', 'bytes', MEASURED, 'memory: a message in a mailbox of which FETCH asked for all',
     fact('memory.message')),
    ('touched', '', ASSUMED, 'of mailboxes that are open: those of which a client asked for all; others ask for what '
     'is new', 0.2),
    ('memory_front', 'kB', MEASURED, 'memory: a connection through HAProxy', scaled(fact('memory.front'), 1e-3)),
    # bytes
    ('stored_fixed', 'bytes', DERIVED, 'upkeep, mail: a line through both sizes',
     line_fixed(stored('texts'), stored('mix'))),
    ('stored_kb', 'bytes/kB', DERIVED, 'upkeep, mail: random attachments, so base64 undone and hardly compressed',
     per_kb(stored('texts'), stored('mix'))),
    ('stored_index', 'bytes', DERIVED, 'upkeep: segments, snapshots; docs/search.md: an index of 9.4 % of the texts',
     lambda f: fact('bytes.texts.segments', 'bytes.texts.snapshots')(f) + 0.094 * f['facts']['size.texts']),
    ('stored_log', 'bytes', MEASURED, 'one: records, until they are trimmed', fact('bytes.texts.log')),
    ('disk_share', '', ASSUMED, 'of a disk that may be full', 0.7),
    ('written_fixed', 'bytes', DERIVED, 'one, mail: journal, oplog, data, one member; a line through both sizes',
     line_fixed(*of_store('written'))),
    ('written_kb', 'bytes/kB', DERIVED, 'the same', per_kb(*of_store('written'))),
    ('oplog_fixed', 'bytes', DERIVED, 'one, mail: the oplog', line_fixed(*of_store('oplog'))),
    ('oplog_kb', 'bytes/kB', DERIVED, 'the same', per_kb(*of_store('oplog'))),
    ('flushes', '', MEASURED, 'one: flushes of the journal a delivery',
     row('one', 1, 'delivery', 'texts', 'store', 'flushes')),
    ('flushes_alone', '', MEASURED, 'alone: the same', row('alone', 1, 'delivery', 'texts', 'store', 'flushes')),
    ('flushes_most', '1/s', ASSUMED, 'more flushes of one journal are not needed: the next takes all that waits', 1000),
    ('cold', '', ASSUMED, 'of bodies that are read: from the disk, not from memory', 0.5),
    ('hot_days', 'days', ASSUMED, 'of mail that MongoDB must have in memory for that', 0.1),
    # limits
    ('busy', '', ASSUMED, 'of cores, at the peak, with one zone down', 0.6),
    ('mongos', 'ms', ASSUMED, 'of routing a delivery in a sharded cluster; none was tried', 0.3),
    ('shards_most', '', ASSUMED, 'in one sharded cluster; larger ones exist, none was tried', 100),
    ('hint', 'us', ASSUMED, 'Redis sends one message to one node', 2),
    ('hint_late', 'ms', ASSUMED, 'when all nodes have something to tell at once, the last hears it so late', 20),
    ('front_connections', '', ASSUMED, 'of one HAProxy: below 28,000 to a port of each node', 250000),
    ('node_connections', '', ASSUMED, 'of one Eider; 5,000 were tried', 50000),
)]


def measured(found):
    """{name: value} of all constants."""
    return {c.name: float(c.of(found) if callable(c.of) else c.of) for c in CONSTANTS}


# ---- what it takes ----

def ceil(x):
    """Up to a whole number, but not for what floating point added."""
    return max(0, math.ceil(x - 1e-9))


def rates(load):
    """Per second; `_peak`: in the busiest."""
    each = load.users / DAY
    mean = {'deliveries': each * load.received, 'submissions': each * load.sent,
            'sessions': each * load.received, 'logins': each * load.logins}
    return {**mean, **{k + '_peak': v * load.peak for k, v in mean.items()}}


def messages(r, c):
    """All that is stored, in deliveries a second: those, what is sent (with its copy in Sent)."""
    return r['deliveries_peak'] + c['submission'] * r['submissions_peak']


def node_cores(load, r, c, sharded):
    base = c['delivery_node_alone' if sharded else 'delivery_node'] + c['upkeep_node']
    delivery = base + c['delivery_node_kb'] * max(0, load.size - 6)
    ms = (messages(r, c) * delivery + r['sessions_peak'] * c['session_node'] +
          r['logins_peak'] * (c['login_node'] + c['tls_node']) +
          load.users * load.connections / c['look_interval'] * c['look_node'])
    return ms / 1000


def store_cores(load, r, c, sharded):
    """(of all primaries, of all secondaries together)"""
    base = c['delivery_store_alone' if sharded else 'delivery_store'] + c['upkeep_store']
    delivery = (base + c['delivery_store_kb'] * max(0, load.size - 6)) * c['delivery_set']
    looks = load.users * load.connections / c['look_interval'] * c['look_store']
    primary = messages(r, c) * delivery + r['sessions_peak'] * c['session_store'] * c['delivery_set'] + looks
    secondary = messages(r, c) * c['delivery_secondary'] + r['sessions_peak'] * c['session_secondary']
    return primary / 1000, 2 * secondary / 1000


def stored_bytes(load, c):
    """Of one copy of everything."""
    a_day = load.users * (load.received + load.sent)
    each = c['stored_fixed'] + c['stored_kb'] * load.size + c['stored_index']
    return a_day * (load.retention * each + 2 * c['stored_log'])


def with_spare(n, zones):
    """So many that n are left when a zone is down; as many in each zone."""
    if zones < 2:
        return n
    return zones * ceil(n / (zones - 1))


def node_ram(load, c):
    """(GB for what clients hold, MB that each node has anyway)"""
    held = load.users * load.connections
    kept = (load.received + load.sent) * load.retention
    message = c['touched'] * c['memory_message'] + (1 - c['touched']) * c['memory_selected']
    each = c['memory_connection'] * 1e3 + c['memory_account'] * 1e3 + kept * message
    return held * each / 1e9, c['memory_node'] + c['memory_caches']


def nodes_for(load, r, c, sharded):
    """What each limit alone would ask for, before spares."""
    held, base = node_ram(load, c)
    return {'processor': ceil(node_cores(load, r, c, sharded) / (load.node_cores * c['busy'])),
            'memory': ceil(held / max(0.1, load.node_ram * 0.8 - base / 1000)),
            'connections': ceil(load.users * load.connections / c['node_connections'])}


def shards_for(load, r, c):
    primary, _ = store_cores(load, r, c, False)
    alone, _ = store_cores(load, r, c, True)
    whole = load.store_cores * c['busy']
    hot = load.users * (load.received + load.sent) * c['hot_days'] * (c['stored_fixed'] + c['stored_kb'] * load.size)
    return {'processor': ceil(primary / whole) if primary <= whole else ceil(alone / whole),
            'disk': ceil(stored_bytes(load, c) / (load.store_disk * 1e12 * c['disk_share'])),
            'memory': ceil(hot / (load.store_ram * 0.5 * 1e9))}


def disk_operations(load, r, c, shards):
    """Writes and reads a second of the busiest member of one shard."""
    flushes = c['flushes_alone' if shards > 1 else 'flushes']
    commits = (messages(r, c) + r['sessions_peak'] * c['session_commits']) / shards
    written = messages(r, c) / shards * (c['written_fixed'] + c['written_kb'] * load.size)
    reads = r['sessions_peak'] / shards * c['cold'] * (1 + load.size / 128)
    return min(c['flushes_most'], commits * flushes) + written / 128e3, reads, written


def size(load, c):
    """{name: number} of all that is needed, and {name: which limit asked for most}."""
    r = rates(load)
    shards = shards_for(load, r, c)
    n_shards = max(1, *shards.values())
    sharded = n_shards > 1
    nodes = nodes_for(load, r, c, sharded)
    n_nodes = max(load.zones, with_spare(max(1, *nodes.values()), load.zones))
    # of how many nodes one Redis tells each in time
    cell_nodes = int(math.sqrt(c['hint_late'] * 1000 / c['hint']))
    cells = max(ceil(n_nodes / cell_nodes), ceil(n_shards / c['shards_most']))
    primary, secondary = store_cores(load, r, c, sharded)
    members = 3 if load.zones > 1 else 1
    writes, reads, written = disk_operations(load, r, c, n_shards)
    held, base = node_ram(load, c)
    commits = messages(r, c) + r['sessions_peak'] * c['session_commits']
    front = (messages(r, c) * c['delivery_front'] + r['sessions_peak'] * c['session_front']) / 1000
    hold = load.users * load.connections
    fronts = max(1 if load.zones < 2 else 2, ceil(hold / c['front_connections']),
                 ceil(front / (load.node_cores * c['busy'])))
    kb = 1000 * load.size
    need = {
        **{k: r[k] for k in ('deliveries', 'deliveries_peak', 'submissions_peak', 'sessions_peak', 'logins_peak')},
        'connections': hold, 'commits_peak': commits,
        'nodes': n_nodes, 'nodes_cores': node_cores(load, r, c, sharded),
        'node_ram_used': held / max(1, n_nodes - n_nodes / load.zones * (load.zones > 1)) + base / 1000,
        'shards': n_shards, 'members': members * n_shards, 'primaries_cores': primary,
        'secondaries_cores': secondary if members > 1 else 0,
        'mongos_cores': messages(r, c) * c['mongos'] / 1000 if sharded else 0,
        'stored_tb': stored_bytes(load, c) / 1e12, 'disk_tb': stored_bytes(load, c) * members / c['disk_share'] / 1e12,
        'oplog_gb': load.users * (load.received + load.sent) / n_shards *
        (c['oplog_fixed'] + c['oplog_kb'] * load.size) / 1e9,
        'member_writes': writes, 'member_reads': reads, 'member_written_mb': written / 1e6,
        'replicated_mbit': (members - 1) * messages(r, c) * (c['oplog_fixed'] + c['oplog_kb'] * load.size) * 8 / 1e6,
        'mail_in_mbit': (r['deliveries_peak'] + r['submissions_peak']) * kb * 8 / 1e6,
        'mail_out_mbit': (r['sessions_peak'] + r['submissions_peak']) * kb * 8 / 1e6,
        'redis_mbit': commits / cells * 16 * n_nodes / cells * 8 / 1e6,
        'hint_ms': (n_nodes / cells) ** 2 * c['hint'] / 1000,
        'cells': cells, 'redis': 3 * cells if load.zones > 1 else 1, 'fronts': fronts, 'front_cores': front,
        'front_ram': hold / fronts * c['memory_front'] / 1e6,
        'sweep_days': load.users / n_nodes / DAY,
    }
    return need, {'nodes': max(nodes, key=nodes.get) if n_nodes > load.zones else 'a spare in each zone',
                  'shards': max(shards, key=shards.get) if sharded else 'nothing: one set is enough'}


# ---- how it is shown ----

NAMES = [
    ('deliveries', 'deliveries/s, mean', '{:,.1f}'), ('deliveries_peak', 'deliveries/s, peak', '{:,.1f}'),
    ('submissions_peak', 'messages sent/s, peak', '{:,.1f}'), ('sessions_peak', 'sessions/s, peak', '{:,.1f}'),
    ('logins_peak', 'logins/s, peak', '{:,.1f}'), ('connections', 'connections held', '{:,.0f}'),
    ('commits_peak', 'records/s, peak', '{:,.1f}'),
    ('nodes_cores', 'cores that Eider keeps busy', '{:,.2f}'), ('nodes', 'Eider nodes, spares in', '{:,.0f}'),
    ('node_ram_used', 'GB of memory on each, one zone down', '{:,.1f}'),
    ('primaries_cores', 'cores that primaries keep busy', '{:,.2f}'),
    ('secondaries_cores', 'cores that secondaries keep busy', '{:,.2f}'),
    ('mongos_cores', 'cores of mongos', '{:,.2f}'),
    ('shards', 'shards', '{:,.0f}'), ('members', 'members of MongoDB', '{:,.0f}'),
    ('stored_tb', 'TB of mail, one copy', '{:,.2f}'), ('disk_tb', 'TB of disks', '{:,.2f}'),
    ('oplog_gb', 'GB of oplog a day, each shard', '{:,.1f}'),
    ('member_writes', 'writes/s of a primary', '{:,.0f}'), ('member_reads', 'reads/s of a primary\'s disk', '{:,.0f}'),
    ('member_written_mb', 'MB/s written by a member', '{:,.2f}'),
    ('mail_in_mbit', 'Mbit/s of mail in', '{:,.1f}'), ('mail_out_mbit', 'Mbit/s of mail out', '{:,.1f}'),
    ('replicated_mbit', 'Mbit/s between members', '{:,.1f}'),
    ('cells', 'cells', '{:,.0f}'), ('redis', 'Redis servers (3 a cell)', '{:,.0f}'),
    ('redis_mbit', 'Mbit/s out of each Redis master', '{:,.1f}'),
    ('hint_ms', 'ms until all of a cell have heard', '{:,.2f}'),
    ('fronts', 'HAProxy machines', '{:,.0f}'), ('front_cores', 'cores that HAProxy keeps busy', '{:,.2f}'),
    ('front_ram', 'GB of memory on each', '{:,.1f}'),
    ('sweep_days', 'days between two sweeps of an account, at best', '{:,.2f}'),
]


def table(columns):
    """Markdown; columns: [(title, need)]."""
    lines = ['| | ' + ' | '.join(t for t, _ in columns) + ' |', '| --- |' + ' --- |' * len(columns)]
    for name, words, form in NAMES:
        lines.append(f'| {words} | ' + ' | '.join(form.format(need[name]) for _, need in columns) + ' |')
    return '\n'.join(lines) + '\n'


def constants_table(c):
    lines = ['| constant | value | unit | | from |', '| --- | --- | --- | --- | --- |']
    for row_ in CONSTANTS:
        lines.append(f'| `{row_.name}` | {number(c[row_.name])} | {row_.unit} | {row_.kind} | {row_.source} |')
    return '\n'.join(lines) + '\n'


def number(x):
    return f'{x:,.0f}' if abs(x) >= 1000 else f'{x:.3g}'


# ---- what was measured ----

PARTS = {'eider': 'Eider', 'primary': 'mongod', 'secondaries': 'two secondaries', 'redis': 'Redis',
         'haproxy': 'HAProxy', 'load': 'load'}


def rows_table(found):
    """Medians of the rounds."""
    lines = ['| cell | nodes | what | 1/s | p50, p99 ms | ' + ' | '.join(PARTS.values()) +
             ' | all | Eider, mongod: cores | others |', '| --- ' * (8 + len(PARTS)) + '|']
    kinds = dict.fromkeys((r['cell'], r['nodes'], r['kind'], r['mail']) for r in found['rows'])
    for names in kinds:
        of = lambda *path, n=names: row(*n, *path)(found)
        cpu_ms = [of('cpu_ms', part) for part in PARTS]
        lines.append('| ' + ' | '.join((
            names[0], str(names[1]), f'{names[2]}, {names[3]}', f'{of("rate"):,.0f}',
            f'{of("p50_ms"):.1f}, {of("p99_ms"):.1f}', *(f'{x:.2f}' if x else '' for x in cpu_ms), f'{sum(cpu_ms):.2f}',
            f'{of("cores", "eider"):.2f}, {of("cores", "primary"):.2f}', f'{of("others_cores"):.2f}')) + ' |')
    return '\n'.join(lines) + '\n'


def summary_table(found):
    """What the rows come to."""
    def each(cell, kind, *parts, nodes=1):
        return sum(row(cell, nodes, kind, 'texts', 'cpu_ms', p)(found) for p in parts)

    def line(words, kind_to_number):
        return f'| {words} | ' + ' | '.join(f'{kind_to_number(k):,.0f}' for k in ('delivery', 'session')) + ' |'

    def rate(cell):
        return lambda kind: row(cell, 1, kind, 'texts', 'rate')(found)

    def per_core(cell, *parts):
        return lambda kind: 1000 / each(cell, kind, *parts)
    lines = ['| | deliveries/s | sessions/s |', '| --- | --- | --- |',
             line('measured: one node on a core of its own, all else on the other', rate('apart')),
             line('derived: that core, were it all the node\'s (1 s by its time for each)', per_core('apart', 'eider')),
             line('measured: Eider, mongod and Redis on one core, HAProxy and load on the other', rate('one-cpu')),
             line('derived: that core, were it all theirs', per_core('one-cpu', 'eider', 'primary', 'redis')),
             line('measured: all on both cores, one mongod', rate('one')),
             line('derived: a core of Eider, one node', per_core('one', 'eider')),
             line('derived: a core of mongod, the only member', per_core('one', 'primary')),
             line('derived: a core of the primary of three', per_core('set', 'primary')),
             line('measured: SQLite, one process', rate('sqlite'))]
    return '\n'.join(lines) + '\n'


STORE = {'journal': 'journal', 'oplog': 'oplog', 'written': 'written to disks', 'net_in': 'into the primary',
         'net_out': 'out of it', 'file': 'file', 'flushes': 'flushes'}


def store_table(found):
    """What a delivery or a session cost the store."""
    lines = ['| cell | nodes | what | records | batches | lost slots | ' + ' | '.join(STORE.values()) + ' |',
             '| --- ' * (6 + len(STORE)) + '|']
    kinds = dict.fromkeys((r['cell'], r['nodes'], r['kind'], r['mail']) for r in found['rows'])
    for names in kinds:
        of = lambda *path, n=names: row(*n, *path)(found)
        values = [of('store', k) for k in STORE]
        lines.append('| ' + ' | '.join((
            names[0], str(names[1]), f'{names[2]}, {names[3]}', f'{of("commits"):.2f}', f'{of("batches"):.2f}',
            f'{of("conflicts"):.3f}', *(number(x) if x else '' for x in values))) + ' |')
    return '\n'.join(lines) + '\n'


def facts_table(found):
    lines = ['| | |', '| --- | --- |']
    lines += [f'| `{name}` | {value:,.4g} |' if abs(value) < 1000 else f'| `{name}` | {value:,.0f} |'
              for name, value in sorted(found['facts'].items())]
    return '\n'.join(lines) + '\n'


def about_line(found):
    about = found['about']
    lines = [f'{about["cores"]} cores ({about["cpu"]}), Linux {about["kernel"]}. Load of the machine, by others too, '
             'before and after each cell:\n',
             '| cell | date | rounds | seconds each | load |', '| --- | --- | --- | --- | --- |']
    lines += [f'| {cell} | {a["date"]} | {a["rounds"]} | {a["seconds"]:g} | {a["load"][0]:.1f}, {a["load"][1]:.1f} |'
              for cell, a in about['cells'].items()]
    return '\n'.join(lines) + '\n'


# ---- docs/capacity.md ----

EXAMPLES = [('1,000', Load()), ('1 million', Load(users=1e6)), ('1 million, kept 7 days', Load(users=1e6, retention=7)),
            ('1 billion', Load(users=1e9))]


def sections(found):
    """{name: text} of what stands in the page between `<!-- capacity: NAME -->` and `<!-- end -->`."""
    c = measured(found)
    return {'about': about_line(found), 'summary': summary_table(found), 'rows': rows_table(found),
            'store': store_table(found), 'facts': facts_table(found), 'constants': constants_table(c),
            'sizes': table([(title, size(load, c)[0]) for title, load in EXAMPLES])}


def fill(page, texts):
    """The page with these sections; Trouble if it has other ones."""
    parts = page.split('<!-- capacity: ')
    out, seen = parts[0], []
    for part in parts[1:]:
        name, rest = part.split(' -->', 1)
        if name not in texts or '<!-- end -->' not in rest:
            raise Trouble(f'the page has a section "{name}" that cannot be filled')
        seen.append(name)
        out += f'<!-- capacity: {name} -->\n{texts[name]}<!-- end -->' + rest.split('<!-- end -->', 1)[1]
    if missing := set(texts) - set(seen):
        raise Trouble(f'the page lacks the sections {", ".join(sorted(missing))}')
    return out
