#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The arithmetic of tools/capacity, with constants of round numbers; and that docs/capacity.md shows
what it says now.

    test_capacity.py ROOT
"""
import dataclasses
import json
import pathlib
import subprocess
import sys
import traceback

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[3])
sys.path.insert(0, str(ROOT / 'tools'))
import sizing

DAY = 86400
FREE = {c.name: 0.0 for c in sizing.CONSTANTS}
# What divides, and limits that are out of the way.
FREE.update(busy=0.5, look_interval=20, disk_share=0.5, hint=2, hint_late=20, shards_most=100, front_connections=1e12,
            node_connections=1e12, flushes_most=1000, delivery_set=1)
ONE = sizing.Load(users=DAY, sent=0, received=1, size=6, connections=0, logins=0, peak=1)  # one delivery a second


def size(load=ONE, constants=FREE, **changes):
    """changes: fields of the load, and constants."""
    fields = {k: v for k, v in changes.items() if hasattr(load, k)}
    costs = {k: v for k, v in changes.items() if not hasattr(load, k)}
    assert set(costs) <= set(constants)
    return sizing.size(dataclasses.replace(load, **fields), {**constants, **costs})


def equal(got, wanted):
    assert abs(got - wanted) <= 1e-6 * max(1, abs(wanted)), f'{got} is not {wanted}'


def test_rates_are_of_a_day_and_its_peak():
    r = sizing.rates(sizing.Load(users=1e6, sent=10, received=40, logins=8, peak=3))
    equal(r['deliveries'], 40e6 / DAY)
    equal(r['deliveries_peak'], 120e6 / DAY)
    equal(r['submissions_peak'], 30e6 / DAY)
    equal(r['logins_peak'], 24e6 / DAY)
    equal(r['sessions'], r['deliveries'])


def test_each_cost_is_added_once():
    for name, cores in (('delivery_node', 1), ('upkeep_node', 1), ('session_node', 1), ('delivery_node_kb', 0)):
        equal(size(**{name: 1000.0})[0]['nodes_cores'], cores)
    equal(size(size=16, delivery_node_kb=1000.0)[0]['nodes_cores'], 10)
    equal(size(logins=2, login_node=1000.0)[0]['nodes_cores'], 2)
    equal(size(logins=2, tls_node=1000.0)[0]['nodes_cores'], 2)
    equal(size(connections=1, look_node=1000.0)[0]['nodes_cores'], DAY / 20)
    equal(size(sent=1, delivery_node=1000.0, submission=3)[0]['nodes_cores'], 4)
    # all of it in the busiest second
    for name in ('delivery_node', 'session_node', 'login_node'):
        equal(size(peak=3, logins=1, **{name: 1000.0})[0]['nodes_cores'], 3)


def test_the_store_pays_too():
    equal(size(delivery_store=1000.0)[0]['primaries_cores'], 1)
    equal(size(delivery_store=1000.0, delivery_set=2)[0]['primaries_cores'], 2)
    equal(size(delivery_secondary=1000.0)[0]['secondaries_cores'], 2)
    equal(size(delivery_secondary=1000.0, zones=1)[0]['secondaries_cores'], 0)


def test_nodes_outlive_a_zone():
    # 8 cores, half of them busy: 40 cores are 10 nodes, 5 in each of three zones
    assert size(delivery_node=40000.0)[0]['nodes'] == 15
    assert size(delivery_node=40000.0, zones=1)[0]['nodes'] == 10
    assert size(delivery_node=40000.0, zones=2)[0]['nodes'] == 20
    assert size(delivery_node=40001.0)[0]['nodes'] == 18
    assert size()[0]['nodes'] == 3
    assert size(zones=1)[0]['nodes'] == 1


def test_memory_and_connections_ask_for_nodes():
    need, limits = size(connections=1, memory_connection=1000.0)     # 86.4 GB; 25.6 of each node's 32
    assert (need['nodes'], limits['nodes']) == (6, 'memory')
    need, limits = size(connections=1, node_connections=10000)
    assert (need['nodes'], limits['nodes']) == (15, 'connections')
    need, _ = size(connections=1, retention=10, memory_message=300.0, memory_selected=50.0, touched=0.2)
    equal(need['node_ram_used'], DAY * 10 * 100 / 1e9 / 2)


def test_disks_hold_what_is_kept():
    need, limits = size(retention=100, size=1000, stored_kb=1000.0, stored_fixed=0.0)   # 1 MB a message
    equal(need['stored_tb'], 8.64)
    equal(need['disk_tb'], 8.64 * 3 / 0.5)
    assert (need['shards'], need['members'], limits['shards']) == (5, 15, 'disk')
    assert size(retention=10, size=1000, stored_kb=1000.0)[0]['shards'] == 1
    # what is sent is kept in Sent; the log is kept for two days
    equal(size(sent=1, retention=100, stored_fixed=1000.0)[0]['stored_tb'], 2 * DAY * 100 * 1000 / 1e12)
    equal(size(sent=1, size=10, oplog_fixed=500.0, oplog_kb=100.0)[0]['oplog_gb'], 2 * DAY * 1500 / 1e9)
    equal(size(oplog_fixed=1e6)[0]['replicated_mbit'], 16)
    equal(size(stored_log=1e6)[0]['stored_tb'], 2 * DAY / 1e6)


def test_many_shards_do_not_share_commits():
    one = size(delivery_store=3000.0, delivery_store_alone=9000.0)
    assert (one[0]['shards'], one[0]['primaries_cores']) == (1, 3.0)
    two = size(delivery_store=5000.0, delivery_store_alone=9000.0)
    assert (two[0]['shards'], two[0]['primaries_cores'], two[1]['shards']) == (3, 9.0, 'processor')
    equal(size(delivery_store=5000.0, delivery_store_alone=9000.0, mongos=1000.0)[0]['mongos_cores'], 1)
    equal(one[0]['mongos_cores'], 0)


def test_a_flush_serves_all_that_wait():
    equal(size(flushes=0.5)[0]['member_writes'], 0.5)
    equal(size(ONE, users=DAY * 10000.0, flushes=0.5)[0]['member_writes'], 1000)
    need, _ = size(retention=100, size=1000, stored_kb=1000.0, flushes=0.1, flushes_alone=2.0)
    equal(need['member_writes'], 2.0 / need['shards'])
    equal(size(written_fixed=128e3)[0]['member_writes'], 1)


def test_cells_are_as_large_as_redis_tells_in_time():
    assert size(delivery_node=260000.0)[0]['cells'] == 1        # 99 nodes
    assert size(delivery_node=270000.0)[0]['cells'] == 2        # 102
    need, _ = size(delivery_node=260000.0)
    equal(need['hint_ms'], 99 * 99 * 2 / 1000)
    equal(need['redis_mbit'], 16 * 99 * 8 / 1e6)
    need, _ = size(delivery_node=270000.0)
    equal(need['redis_mbit'], 16 * 102 * 8 / 1e6 / 4)           # half of the hints, to half of the nodes
    need, _ = size(retention=100, size=100000, stored_kb=1000.0)
    assert (need['shards'], need['cells']) == (432, 5)


def test_twice_the_users_are_twice_the_work():
    constants = read()
    one, two = (sizing.size(sizing.Load(users=u), constants)[0] for u in (1e8, 2e8))
    for name in ('deliveries_peak', 'nodes_cores', 'stored_tb', 'mail_in_mbit', 'replicated_mbit', 'connections'):
        equal(two[name], 2 * one[name])


def read():
    return sizing.measured(json.loads((ROOT / 'tests' / 'bench' / 'scale.json').read_text()))


def test_constants_say_where_they_come_from():
    values = read()
    names = [c.name for c in sizing.CONSTANTS]
    assert len(set(names)) == len(names)
    for c in sizing.CONSTANTS:
        assert c.kind in (sizing.MEASURED, sizing.DERIVED, sizing.ASSUMED) and c.source
        assert values[c.name] >= 0 or c.name in ('stored_fixed', 'written_fixed', 'oplog_fixed'), c.name
    assert all(callable(c.of) for c in sizing.CONSTANTS if c.kind == sizing.DERIVED)


def test_lines_go_through_both_sizes():
    found = {'rows': [], 'facts': {'size.texts': 6000.0, 'size.mix': 56000.0, 'bytes.texts.messages': 4000.0,
                                   'bytes.mix.messages': 9000.0, 'bytes.mix.blobs': 20000.0}}
    values = {c.name: c.of(found) for c in sizing.CONSTANTS if c.name in ('stored_fixed', 'stored_kb')}
    equal(values['stored_kb'], 25000 / 50)
    equal(values['stored_fixed'] + 6 * values['stored_kb'], 4000)


def test_rows_are_medians_and_missing_ones_are_told():
    base = {'cell': 'one', 'nodes': 1, 'kind': 'delivery', 'mail': 'texts'}
    found = {'rows': [{**base, 'cpu_ms': {'eider': x}} for x in (1, 9, 2)], 'facts': {}}
    assert sizing.cpu('delivery', 'eider')(found) == 2
    for lacking in (sizing.cpu('session', 'eider'), sizing.fact('memory.node')):
        try:
            lacking(found)
        except sizing.Trouble as trouble:
            assert 'measurement has no' in str(trouble)
        else:
            raise AssertionError('nothing was told')


def test_a_page_is_filled_where_it_says_so():
    page = 'a\n<!-- capacity: x -->\nold\n<!-- end -->\nb\n'
    assert sizing.fill(page, {'x': 'new\n'}) == 'a\n<!-- capacity: x -->\nnew\n<!-- end -->\nb\n'
    for texts in ({}, {'x': '', 'y': ''}):
        try:
            sizing.fill(page, texts)
        except sizing.Trouble:
            continue
        raise AssertionError('nothing was told')


def test_the_page_shows_what_was_measured():
    """tools/capacity --write has been run."""
    page = (ROOT / 'docs' / 'capacity.md').read_text()
    found = json.loads((ROOT / 'tests' / 'bench' / 'scale.json').read_text())
    assert sizing.fill(page, sizing.sections(found)) == page, 'run tools/capacity --write'


def run(*words):
    return subprocess.run([sys.executable, str(ROOT / 'tools' / 'capacity'), *words], capture_output=True, text=True,
                          check=False)


def test_the_program():
    done = run('--users', '1e6', '--json')
    need = json.loads(done.stdout)
    assert done.returncode == 0 and need['nodes'] == sizing.size(sizing.Load(users=1e6), read())[0]['nodes']
    assert 'Eider nodes' in run().stdout
    assert run('--constants').stdout.count('\n') == len(sizing.CONSTANTS) + 2
    for wrong in (('--users', '0'), ('--peak', '-1'), ('--measured', '/nowhere')):
        done = run(*wrong)
        assert done.returncode == 1 and done.stderr.startswith('tools/capacity: '), wrong


def main():
    passed = failed = 0
    for name, function in list(globals().items()):
        if name.startswith('test_'):
            try:
                function()
                passed += 1
            except Exception:  # whatever it stumbles over is its failure
                failed += 1
                print(f'FAIL {name}\n{traceback.format_exc()}')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
