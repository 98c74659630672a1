#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Builds Eider in all the ways that tests need and runs every suite (called by tools/test).

usage: tools/test [--help] [--list] [SUITE]...

Suites, in this order; without names all of them:
  unit, store, session   meson tests of these suites, under ASan and UBSan
  threads                meson tests of the suite "threads", under TSan
  fuzz                   every fuzz target, a few seconds each, beginning with its seeds
  model                  the commit protocol's and the blobs' executable specification
  e2e                    every executable tests/e2e/test_*.py, against an ordinary build
  cluster                tests/cluster: three nodes under faults, a fixed seed and a random one (as
                         root, by sudo)

Picked up by being there: nothing is listed here. A test whose output holds Criterion's synthesis,
or whose last line is "N passed, N failed", counts for as many; any other for one. A leak that
LeakSanitizer reports is a failure, whatever the exit status. The last line adds up all suites; the
exit status is 0 only if nothing failed. What is skipped has failed: something that it needs is not
there. Builds are kept in $EIDER_BUILD (default: build/).
Environment: EIDER_FUZZ_SECONDS (all targets together, default 20), EIDER_FUZZ_SEED (default 1;
"random"), EIDER_MODEL_RUNS (default 60), EIDER_TEST_TIMEOUT (of one e2e script, default 900 s),
EIDER_CLUSTER_SEED (default 1,random; with commas: one run for each),
EIDER_CLUSTER_SECONDS (of faults, all runs together, default 120).
"""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing.pool import ThreadPool

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get('EIDER_BUILD', ROOT / 'build')).resolve()
MESON_SUITES = ('unit', 'store', 'session')
SUITES = MESON_SUITES + ('threads', 'fuzz', 'model', 'e2e', 'cluster')
JOBS = len(os.sched_getaffinity(0))
E2E_AT_ONCE = 2  # they mostly wait: for clients, for servers that start, for what idles

BUILDS = {
    'asan': ({}, ['-Db_sanitize=address,undefined', '-Db_lundef=false',
                  '-Dc_args=-fno-sanitize-recover=all']),
    'tsan': ({}, ['-Db_sanitize=thread', '-Db_lundef=false']),
    'fuzz': ({'CC': 'clang'}, ['-Db_sanitize=address,undefined', '-Db_lundef=false',
                               '-Dfuzz=enabled']),
    'plain': ({}, ['--buildtype=debugoptimized']),
    'faults': ({}, ['--buildtype=debugoptimized', '-Dplant=any']),  # lib/base/fault.h
}

SANITIZERS = {
    'ASAN_OPTIONS': 'detect_leaks=1:abort_on_error=0',
    'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1',
    'TSAN_OPTIONS': 'halt_on_error=1:second_deadlock_stack=1',
}

SYNTHESIS = re.compile(r'Tested: \S*?(\d+).*?Passing: \S*?(\d+).*?Failing: \S*?(\d+)'
                       r'.*?Crashing: \S*?(\d+)')
COUNTS = re.compile(r'^(\d+) passed, (\d+) failed$', re.M)


class Tally:
    """What passed and failed, per suite, told as it comes."""

    def __init__(self):
        self.passed = self.failed = 0

    def add(self, name, ok, output, seconds, why=''):
        passed, failed = count(ok, output)
        self.passed += passed
        self.failed += failed
        print(f'{"FAIL" if failed else "ok":4} {name} ({passed} passed, {failed} failed, '
              f'{seconds:.1f} s){" " + why if why else ""}', flush=True)
        if failed:
            print('\n'.join('     | ' + line for line in output.splitlines()[-60:]), flush=True)


def count(ok, output):
    """(passed, failed) of one program's run."""
    passed = failed = 0
    syntheses = SYNTHESIS.findall(re.sub(r'\x1b\[[0-9;]*m', '', output))
    counts = COUNTS.findall(output)
    if syntheses:
        for _, good, bad, crashed in syntheses:
            passed += int(good)
            failed += int(bad) + int(crashed)
    elif counts:
        passed, failed = (int(n) for n in counts[-1])
    elif ok:
        passed = 1
    if 'LeakSanitizer' in output:
        failed += 1
    if not ok and failed == 0:
        failed = 1
    return passed, failed


def run(command, timeout, env=None, cwd=ROOT):
    """(ok, output, seconds); output is stdout and stderr together."""
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **SANITIZERS, **(env or {})},
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=timeout)
        ok = process.returncode == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        output += f'\nstill running after {timeout} s'.encode()
        ok = False
    return ok, output.decode(errors='replace'), time.monotonic() - began


def introspect(folder, what):
    output = subprocess.run(['meson', 'introspect', what, str(folder)], check=True,
                            stdout=subprocess.PIPE).stdout
    return json.loads(output)


def executables_in(folder, place):
    """What is built below one folder of the tree, relative to the build."""
    names = [n for t in introspect(folder, '--targets') if t['type'] == 'executable'
             for n in t['filename']]
    names = [os.path.relpath(n, folder) for n in names]
    return sorted(n for n in names if n.startswith(place + '/'))


def programs_of_suite(folder, suite):
    tests = [t for t in introspect(folder, '--tests') if f'eider:{suite}' in t['suite']]
    words = [w for t in tests for w in t['cmd'] if w.startswith(str(folder) + os.sep)]
    return sorted({os.path.relpath(w, folder) for w in words})


# What of a build is needed; nothing said: all of it.
NEEDED = {
    'tsan': lambda folder: programs_of_suite(folder, 'threads'),
    'fuzz': lambda folder: executables_in(folder, 'tests/fuzz'),
    'plain': lambda folder: [t for place in ('daemons', 'tests/tools', 'tests/stress')
                             for t in executables_in(folder, place)],
    'faults': lambda folder: ['daemons/eider'],
}


def build(kind):
    """Path of the build, or None if it failed (and says why)."""
    env, options = BUILDS[kind]
    folder = BUILD / kind
    began = time.monotonic()
    if not (folder / 'build.ninja').exists():
        shutil.rmtree(folder, ignore_errors=True)
        ok, output, _ = run(['meson', 'setup', str(folder), str(ROOT), *options], 300, env)
        if not ok:
            print(output)
            return None
    ok, output, _ = run(['ninja', '-C', str(folder), 'build.ninja'], 300, env)
    if ok:
        targets = NEEDED[kind](folder) if kind in NEEDED else []
        ok, output, _ = run(['ninja', '-C', str(folder), *targets], 3600, env)
    warnings = output.count('warning:')
    print(f'{"ok" if ok else "FAIL":4} build {kind} ({time.monotonic() - began:.1f} s, '
          f'{warnings} warnings)', flush=True)
    if not ok:
        print('\n'.join(output.splitlines()[-60:]))
        return None
    return folder


def meson_suites(tally, kind, suites):
    folder = build(kind)
    if not folder:
        tally.failed += 1
        return
    log = folder / 'meson-logs' / 'testlog.json'
    log.unlink(missing_ok=True)
    for suite in suites:
        ok, output, _ = run(['meson', 'test', '-C', str(folder), '--no-rebuild', '--suite', suite,
                             '--num-processes', str(JOBS), '--timeout-multiplier', '3'], 3600)
        ran = read_meson_log(log)
        log.unlink(missing_ok=True)
        for test in ran:
            tally.add(f'{kind} {suite} {test["name"].split(" / ")[-1]}',
                      test['result'] in ('OK', 'EXPECTEDFAIL'),
                      test.get('stdout', '') + '\n' + test.get('stderr', ''), test['duration'],
                      '' if test['result'] == 'OK' else test['result'])
        if not ran and not ok and 'No suitable tests' not in output:
            tally.add(f'{kind} {suite}', False, output, 0)


def read_meson_log(path):
    if not path.exists():
        return []
    with open(path, encoding='utf-8', errors='replace') as log:
        return [json.loads(line) for line in log if line.strip()]


def fuzz(tally):
    folder = build('fuzz')
    if not folder:
        tally.failed += 1
        return
    targets = [folder / t for t in executables_in(folder, 'tests/fuzz')]
    seconds = max(2, int(os.environ.get('EIDER_FUZZ_SECONDS', '20')) // max(1, len(targets)))
    with ThreadPool(JOBS) as pool:
        for name, result in pool.imap_unordered(lambda t: fuzz_one(t, seconds), targets, 1):
            tally.add(f'fuzz {name}', *result)


def fuzz_seed():
    """The same inputs each time: a verdict on a change is about the change. Longer runs take "random"."""
    seed = os.environ.get('EIDER_FUZZ_SEED', '1')
    return random.randrange(1, 2 ** 31) if seed == 'random' else int(seed)


def fuzz_one(target, seconds):
    name = target.name.removeprefix('fuzz_')
    with tempfile.TemporaryDirectory(prefix='eider-fuzz-') as corpus:
        seeds = ROOT / 'tests' / 'fuzz' / 'seeds' / name
        command = [str(target), f'-max_total_time={seconds}', f'-seed={fuzz_seed()}', '-rss_limit_mb=2560',
                   '-timeout=20', f'-artifact_prefix={corpus}/', corpus]
        if seeds.is_dir():
            command.append(str(seeds))
        ok, output, took = run(command, seconds * 4 + 120)
        keep_findings(corpus, name, ok)
    return name, (ok, output, took)


def keep_findings(corpus, name, ok):
    """What broke a target outlives the temporary folder."""
    for found in [] if ok else pathlib.Path(corpus).glob('*-*'):
        kept = BUILD / 'findings' / f'{name}-{found.name}'
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, kept)
        print(f'     | kept as {kept}')


def model(tally):
    runs = os.environ.get('EIDER_MODEL_RUNS', '60')
    scripts = sorted((ROOT / 'tests' / 'model').glob('*_model.py'))
    with ThreadPool(JOBS) as pool:
        results = pool.map(
            lambda script: run(['python3', str(script), '--runs', runs, '--seed', '1'], 900),
            scripts)
    for script, (ok, output, took) in zip(scripts, results):
        tally.add(f'model {script.stem} --runs {runs}', ok, output, took)


def e2e(tally):
    folder = build('plain')
    if not folder:
        tally.failed += 1
        return
    timeout = int(os.environ.get('EIDER_TEST_TIMEOUT', '900'))
    # from the end of the alphabet: there stand those that take longest, which should not be last
    scripts = sorted((ROOT / 'tests' / 'e2e').glob('test_*.py'), reverse=True)

    def one(script):
        return script, run(['python3', str(script)], timeout, {'EIDER_BIN': str(folder / 'daemons')})

    with ThreadPool(min(JOBS, E2E_AT_ONCE)) as pool:
        for script, (ok, output, took) in pool.imap_unordered(
                one, [s for s in scripts if os.access(s, os.X_OK)], 1):
            tally.add(f'e2e {script.stem}', ok, output, took)


def cluster(tally):
    folder = build('faults')
    if not folder:
        tally.failed += 1
        return
    seeds = os.environ.get('EIDER_CLUSTER_SEED', '1,random').split(',')
    seconds = int(os.environ.get('EIDER_CLUSTER_SECONDS', '120')) // len(seeds)
    as_root = [] if os.geteuid() == 0 else ['sudo']  # network namespaces
    for seed in seeds:
        waits = '--few-waits' if seed == seeds[0] else '--no-waits'
        result = run([*as_root, 'env', f'EIDER_BIN={folder / "daemons"}', 'python3',
                      str(ROOT / 'tests' / 'cluster' / 'test_faults.py'), '--seed', seed, '--seconds', str(seconds),
                      waits], 1500)
        tally.add(f'cluster test_faults --seed {seed}', *result)


def main(arguments):
    if '--help' in arguments or '-h' in arguments:
        print(__doc__.strip())
        return 0
    if '--list' in arguments:
        print('\n'.join(SUITES))
        return 0
    unknown = [a for a in arguments if a not in SUITES]
    if unknown:
        print(f'tools/test: {unknown[0]} is none of: {", ".join(SUITES)}', file=sys.stderr)
        return 2
    wanted = arguments or SUITES
    tally = Tally()
    under_asan = [s for s in MESON_SUITES if s in wanted]
    if under_asan:
        meson_suites(tally, 'asan', under_asan)
    if 'threads' in wanted:
        meson_suites(tally, 'tsan', ['threads'])
    for name, suite in (('fuzz', fuzz), ('model', model), ('e2e', e2e), ('cluster', cluster)):
        if name in wanted:
            suite(tally)
    print(f'{tally.passed} passed, {tally.failed} failed')
    return 1 if tally.failed or not tally.passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
