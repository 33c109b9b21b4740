# SPDX-License-Identifier: Apache-2.0
"""redis-cli's own modes and redis-benchmark's complete default run, on Perigee and beside it on redis-server."""
import csv
import json
import os
import re
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import clients, resp, server, unit  # noqa: E402

# The largest of each type is one alone, so that both name the same.
DATA = (
    [['SET', 'text:%d' % n, 'x' * n] for n in (*range(1, 400), 5000)]
    + [['HSET', 'hash:%d' % n] + ['f%d' % m for m in range(2 * n)] for n in (1, 3, 300)]
    + [['RPUSH', 'list:%d' % n] + ['element %d' % m for m in range(n)] for n in (2, 5, 700)]
    + [['SADD', 'set:%d' % n] + [str(m) for m in range(n)] for n in (1, 7, 600)]
    + [['ZADD', 'zset:%d' % n] + [str(m // 2) for m in range(2 * n)] for n in (1, 4, 200)]
    + [['XADD', 'stream:%d' % n, '*', 'f', 'a value'] for n in [1] + [2] * 600]
)
KEYS = sorted({words[1] for words in DATA})
DEFAULT_RUN = [
    'PING_INLINE', 'PING_MBULK', 'SET', 'GET', 'INCR', 'LPUSH', 'RPUSH', 'LPOP', 'RPOP', 'SADD', 'HSET', 'SPOP',
    'ZADD', 'ZPOPMIN', 'LPUSH (needed to benchmark LRANGE)', 'LRANGE_100 (first 100 elements)',
    'LRANGE_300 (first 300 elements)', 'LRANGE_500 (first 500 elements)', 'LRANGE_600 (first 600 elements)',
    'MSET (10 keys)',
]


def commands(lists):
    return b''.join(resp.encode([word.encode() for word in words]) for words in lists).decode()


class RedisCli(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.perigee, cls.redis = server.Perigee(os.environ['TEST_PERIGEE']), server.Redis()
        for each in (cls.perigee, cls.redis):
            each.settings = ()
            each.start()

    @classmethod
    def tearDownClass(cls):
        for each in (cls.perigee, cls.redis):
            each.stop()

    def setUp(self):
        for each in (self.perigee, self.redis):
            self.cli(each, 'FLUSHALL')

    def cli(self, where, *args, text='', status=0):
        ended, out, errors = clients.run(['redis-cli', '-s', where.path, *args], text)
        self.assertEqual((ended, errors), (status, ''), out)
        return out

    def both(self, *args, text='', status=0):
        """What Perigee gives, which is what redis-server gives."""
        ours, theirs = [self.cli(each, *args, text=text, status=status) for each in (self.perigee, self.redis)]
        self.assertEqual(ours, theirs)
        return ours

    def fill(self):
        self.assertIn('errors: 0, replies: %d\n' % len(DATA), self.both('--pipe', '--pipe-timeout', '0', text=commands(DATA)))

    def test_pipe_loads_commands_and_counts_their_errors(self):
        self.fill()
        _, out, errors = clients.run(['redis-cli', '-s', self.perigee.path, '--pipe', '--pipe-timeout', '0'],
                                     commands([['INCR', 'n'], ['INCR', 'list:2'], ['NOSUCH'], ['INCR', 'n']]))
        self.assertIn('errors: 2, replies: 4\n', out)
        self.assertIn('WRONGTYPE Operation against a key', errors)
        self.assertEqual(self.cli(self.perigee, 'GET', 'n'), '2\n')

    def test_scan_lists_all_keys_and_those_of_a_pattern(self):
        self.fill()
        for args in ([], ['--pattern', 'text:1*'], ['--pattern', 'none*'], ['--pattern', 'list:?'], ['-i', '0.0001']):
            ours, theirs = [sorted(self.cli(each, '--scan', *args).split()) for each in (self.perigee, self.redis)]
            self.assertEqual(ours, theirs, args)
        self.assertEqual(sorted(self.cli(self.perigee, '--scan').split()), KEYS)

    def summary(self, where, mode):
        return sorted(self.cli(where, *mode).split('-------- summary -------')[1].strip().split('\n'))

    def test_bigkeys_finds_the_largest_of_each_type(self):
        self.fill()
        ours = self.summary(self.perigee, ['--bigkeys'])
        self.assertEqual(ours, self.summary(self.redis, ['--bigkeys']))
        self.assertIn("Biggest   list found '\"list:700\"' has 700 items", ours)
        self.assertIn("Biggest   hash found '\"hash:300\"' has 300 fields", ours)

    def test_memkeys_measures_all_of_each_type(self):
        self.fill()
        counts = []
        for mode in (['--memkeys'], ['--memkeys-samples', '3']):
            for each in (self.perigee, self.redis):
                counts.append([re.sub(r'[0-9.]+ bytes|avg size [0-9.]+', '..', line) for line in self.summary(each, mode)])
        self.assertEqual(counts[1:], counts[:-1])
        self.assertIn("Biggest    set found '\"set:600\"' has ..", counts[0])

    def test_hotkeys_finds_what_is_read_most_often(self):
        for each in (self.perigee, self.redis):
            self.cli(each, 'CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lfu')
            for n in range(20):
                self.cli(each, 'SET', 'key:%d' % n, 'x')
            while int(self.cli(each, 'OBJECT', 'FREQ', 'key:7')) < 12:
                self.cli(each, 'EVAL', "for n = 1, 100 do redis.call('GET', 'key:7') redis.call('TOUCH', 'key:7') end", '0')
            first = self.cli(each, '--hotkeys').split('-------- summary -------')[1].strip().split('\n')[1]
            self.assertRegex(first, r'^hot key found with counter: \d+\tkeyname: "?key:7"?$')
            self.cli(each, 'CONFIG', 'SET', 'maxmemory-policy', 'noeviction')

    def lines_of(self, *args, wanted):
        """Of a mode that never ends: its lines until one matches."""
        process = subprocess.Popen(['stdbuf', '-oL', 'redis-cli', '-s', self.perigee.path, *args], stdout=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, text=True, preexec_fn=server.end_with_parent)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if re.search(wanted, line):
                break
        else:
            self.fail('%s has ended: %s' % (args, lines))
        process.kill()
        process.stdout.close()
        process.wait()
        return lines

    def test_modes_that_need_replication_say_what_to_use_instead(self):
        for mode in (['--rdb', os.path.join(self.perigee.folder, 'dump.rdb')],
                     ['--functions-rdb', os.path.join(self.perigee.folder, 'dump.rdb')], ['--replica']):
            ended, out, errors = clients.run(['redis-cli', '-s', self.perigee.path, *mode])
            self.assertEqual(ended, 1, (mode, out, errors))
            self.assertIn('there is no replication in Redis\'s protocol. For a copy of all data use BACKUP TO', out + errors)
        self.assertEqual(self.cli(self.perigee, 'PING'), 'PONG\n')

    def test_a_script_that_is_to_be_debugged_is_not_run(self):
        path = os.path.join(self.perigee.folder, 'script.lua')
        with open(path, 'w') as script:
            script.write("redis.call('SET', 'debugged', 'x')\nreturn 1\n")
        for mode in ('--ldb', '--ldb-sync-mode'):
            _, out, _ = clients.run(['redis-cli', '-s', self.perigee.path, mode, '--eval', path], 'step\nquit\n')
            self.assertIn("Eval debugging session can't start:\n", out)
            self.assertIn("ERR scripts are not debugged in Redis's protocol: perigee console runs procedures", out)
        self.assertEqual(self.cli(self.perigee, 'EXISTS', 'debugged'), '0\n')

    def test_stat_shows_keys_clients_and_requests(self):
        self.fill()
        lines = self.lines_of('--stat', '-i', '0.01', wanted=r'^\d+ +[0-9.]+[KMG] +\d+ +\d+ +\d+ \(\+[1-9]\d*\) +\d+')
        self.assertIn('keys       mem      clients blocked requests            connections', lines[1])
        self.assertGreaterEqual(int(lines[-1].split()[0]), len(KEYS)) # an estimate

    def test_latency_counts_what_it_has_asked(self):
        lowest, highest, average, count = self.cli(self.perigee, '--latency', '-i', '0.05').split()
        self.assertTrue(0 <= int(lowest) <= float(average) <= int(highest), (lowest, average, highest))
        self.assertGreater(int(count), 0)
        self.lines_of('--latency-history', '-i', '0.05', wanted=r'^\d+ \d+ [0-9.]+ \d+')
        self.lines_of('--latency-dist', '-i', '0.05', wanted='milliseconds')

    def test_commands_come_from_arguments_files_and_pipes_in_many_forms(self):
        self.fill()
        self.assertEqual(self.both('-n', '3', 'SET', 'third', 'x'), 'OK\n')
        self.both('-x', 'SET', 'from input', text='some\ntext')
        self.assertEqual(self.both('--json', 'LRANGE', 'list:2', '0', '-1'), '["element 0","element 1"]\n')
        self.both('--csv', 'LRANGE', 'list:5', '0', '-1')
        self.both('-3', '--no-raw', 'ZRANGE', 'zset:4', '0', '-1', 'WITHSCORES')
        self.both('--no-raw', 'ZRANGE', 'zset:4', '0', '-1', 'WITHSCORES')
        self.both('-r', '3', 'INCR', 'count')
        script = os.path.join(self.perigee.folder, 'script.lua')
        with open(script, 'w') as text:
            text.write("return {KEYS[1], ARGV[1], redis.call('LLEN', KEYS[1])}")
        self.assertEqual(self.both('--eval', script, 'list:5', ',', 'argument'), 'list:5\nargument\n5\n')
        self.both(text='MULTI\nSET a 1\nINCR a\nEXEC\nGET a\nHELP\nCLIENT SETNAME me\nCLIENT GETNAME\nRESET\nPING\n')
        self.both('-3', text='CLIENT SETNAME cli\nCLIENT GETNAME\nHGETALL hash:3\nNOSUCH\nINCR list:2\n')

    def benchmark(self, *args):
        """{name of the test: requests a second}"""
        status, out, errors = clients.run(['redis-benchmark', '-s', self.perigee.path, '--csv', '-n', '200', *args])
        self.assertEqual((status, errors), (0, ''), out)
        self.assertNotIn('rror', out)
        rows = list(csv.reader(out.strip().split('\n')))
        self.assertEqual(rows[0][:2], ['test', 'rps'])
        for row in rows[1:]:
            self.assertGreater(float(row[1]), 0, row)
        return [re.sub(r'^MSET.*', 'MSET (10 keys)', row[0]) for row in rows[1:]]

    def test_the_complete_default_run_of_redis_benchmark_meets_no_error(self):
        self.assertEqual(self.benchmark(), DEFAULT_RUN)
        for args in (['-P', '16', '-c', '10'], ['-3', '-r', '1000', '-c', '4', '--threads', '2', '--enable-tracking']):
            self.assertEqual(self.benchmark(*args), DEFAULT_RUN)


if __name__ == '__main__':
    unit.main()
