#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sends the same commands to perigee and to redis-server and compares replies; README.md beside this.

usage: test/redis/differential.py --type hash --rounds 500 [--seed N] [--resp 2|3] [--perigee PATH]
       test/redis/differential.py FILE...       replays sequences that are written down
"""
import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lib import corpus, generate, run, server, shrink, templates  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description='differential test against redis-server')
    parser.add_argument('files', nargs='*', help='sequences to replay (corpus/*.txt)')
    parser.add_argument('--type', default='', help='one of %s; several with commas; all when left out' %
                        ' '.join(templates.TYPES))
    parser.add_argument('--seed', type=int, default=None, help='else PERIGEE_SEED, else the clock')
    parser.add_argument('--rounds', type=int, default=100, help='sequences per type and protocol')
    parser.add_argument('--resp', type=int, choices=(2, 3), help='both when left out')
    parser.add_argument('--perigee', default=os.environ.get('TEST_PERIGEE'), help='else TEST_PERIGEE')
    parser.add_argument('--differences', type=int, default=5, help='kinds shown before it stops')
    parser.add_argument('--all', action='store_true', help='also commands that perigee does not have')
    parser.add_argument('--self', action='store_true', help='redis-server against itself: tests the test')
    parser.add_argument('--record', metavar='FOLDER', help='where shrunk sequences are written')
    options = parser.parse_args()
    if not options.perigee and not options.self:
        parser.error('--perigee PATH or TEST_PERIGEE says what to test')
    for kind in options.type.split(',') if options.type else ():
        if kind not in templates.TYPES:
            parser.error('no type is called %s' % kind)
    return options


class Report:
    """Differences by kind, each shown once."""

    def __init__(self, options):
        self.kinds_max, self.folder = options.differences, options.record
        self.kinds = {}

    def full(self):
        return len(self.kinds) >= self.kinds_max

    def seen(self, difference):
        kind = difference.kind()
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        return self.kinds[kind] > 1

    def add(self, title, steps, difference, protocol):
        print('\n# %s' % title)
        print(corpus.text(steps, protocol), end='')
        print('differs at: %s\n%s' % (corpus.line(steps[difference.index]), difference.text()), flush=True)
        if self.folder:
            os.makedirs(self.folder, exist_ok=True)
            name = '%s-%d.txt' % (title.split()[0], len(self.kinds))
            corpus.write(os.path.join(self.folder, name), title, steps, protocol)


def rounds(options, kind, protocol, seed, servers, available, report):
    generator = generate.Generator(kind, available)
    runner = run.Run(*servers, protocol)
    if not generator.templates:
        print('%-7s RESP%d  perigee has none of its commands' % (kind, protocol))
        return
    started, count, commands = time.monotonic(), 0, 0
    for number in range(options.rounds):
        if report.full():
            break
        steps = generator.sequence(random.Random('%d %s %d' % (seed + number, kind, protocol)))
        count, commands = count + 1, commands + len(steps)
        found = runner.sequence(steps)
        if not found or report.seen(found):
            continue
        small = shrink.shrink(steps[:found.index + 1], lambda candidate: same_kind(runner, candidate, found))
        again = runner.sequence(small) or found
        title = '%s --type %s --resp %d --seed %d --rounds 1' % (kind, kind, protocol, seed + number)
        report.add(title, small if again is not found else steps, again, protocol)
    missing = ', without %s' % ' '.join(generator.left_out) if generator.left_out else ''
    print('%-7s RESP%d  %d sequences, %d commands, %.1f s%s' %
          (kind, protocol, count, commands, time.monotonic() - started, missing), flush=True)


def same_kind(runner, steps, found):
    again = runner.sequence(steps)
    return again is not None and again.kind() == found.kind()


def replay(files, protocols, servers, report):
    for name in files:
        for steps, protocol in corpus.read(name):
            for each in [protocol] if protocol else protocols:
                found = run.Run(*servers, each).sequence(steps)
                if found and not report.seen(found):
                    report.add(name, steps, found, each)
        print('%s replayed' % name, flush=True)


def main():
    options = arguments()
    seed = options.seed
    if seed is None:
        seed = int(os.environ.get('PERIGEE_SEED') or time.time())
    servers = (server.Redis(), server.Redis() if options.self else server.Perigee(options.perigee))
    report = Report(options)
    protocols = [options.resp] if options.resp else [2, 3]
    try:
        if options.files:
            replay(options.files, protocols, servers, report)
        else:
            print('seed %d' % seed)
            available = (lambda name: True) if options.all else servers[1].has
            for kind in options.type.split(',') if options.type else templates.TYPES:
                for protocol in protocols:
                    rounds(options, kind, protocol, seed, servers, available, report)
    finally:
        for each in servers:
            if each.dead() and each.process is not None:
                print('%s has died:\n%s' % (each.name, each.log_tail()))
            each.stop()
    total = sum(report.kinds.values())
    print('%d differences, of %d kinds' % (total, len(report.kinds)))
    return 1 if total else 0


if __name__ == '__main__':
    sys.exit(main())
