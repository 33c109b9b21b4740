# SPDX-License-Identifier: Apache-2.0
"""CONFIG REWRITE: what CONFIG SET has set is there after the next start, as with redis-server.

Each server reads a file with comments, is told settings, writes them, and is started again.
"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import server, unit  # noqa: E402

SET = (('maxmemory', '104857600'), ('maxmemory-policy', 'allkeys-lfu'), ('maxmemory-samples', '9'),
       ('hash-max-listpack-entries', '99'), ('hash-max-listpack-value', '33'), ('slowlog-log-slower-than', '-1'),
       ('latency-tracking', 'no'), ('latency-tracking-info-percentiles', '50 99.5'),
       ('notify-keyspace-events', 'AKE'), ('timeout', '77'), ('maxclients', '321'), ('lfu-log-factor', '3'),
       ('activedefrag', 'no'), ('hz', '20'), ('proto-max-bulk-len', '2097152'))


class PerigeeOfFile(server.Perigee):
    settings = ()
    text = '-- ours\nreturn {\n    lock_timeout = \'3s\', -- short\n    maxmemory = \'50mb\'\n}\n'

    @property
    def file(self):
        return os.path.join(self.folder, 'options.lua')

    def command(self):
        return super().command() + ['--config', self.file]


class PerigeeWithoutFile(server.Perigee):
    settings = ()

    @property
    def file(self):
        return os.path.join(self.folder, 'data', 'settings.lua')


class RedisOfFile(server.Redis):
    settings = ()
    text = '# ours\nmaxmemory 50mb\n'

    @property
    def file(self):
        return os.path.join(self.folder, 'redis.conf')

    def command(self):
        return ['redis-server', self.file] + super().command()[1:]


def ask(where, *words):
    connection = where.connect()
    reply = connection.ask(*words)
    connection.close()
    return reply


def again(where):
    """Stops the process; the next connection starts it."""
    where.process.terminate()
    where.process.wait()


def get(where, name):
    return ask(where, 'CONFIG', 'GET', name)[1]


class Rewrite(unittest.TestCase):
    maxDiff = None

    def begin(self, kind, *args, text=True):
        where = kind(*args)
        self.addCleanup(where.stop)
        if text:
            with open(where.file, 'w') as file:
                file.write(where.text)
        return where

    def perigee(self, kind, text=True):
        return self.begin(kind, os.environ['TEST_PERIGEE'], text=text)

    def read(self, where):
        with open(where.file) as file:
            return file.read()

    def test_what_was_set_is_there_after_the_next_start_as_in_redis(self):
        for where in (self.begin(RedisOfFile), self.perigee(PerigeeOfFile), self.perigee(PerigeeWithoutFile, text=False)):
            for name, value in SET:
                self.assertEqual(ask(where, 'CONFIG', 'SET', name, value), (b'+', b'OK'), name)
            self.assertEqual(ask(where, 'CONFIG', 'REWRITE'), (b'+', b'OK'))
            before = [get(where, name) for name, _ in SET]
            again(where)
            self.assertEqual([get(where, name) for name, _ in SET], before, where.name)
            written = self.read(where)
            self.assertEqual(ask(where, 'CONFIG', 'REWRITE'), (b'+', b'OK'))
            if where.name == 'perigee': # the other adds lines of its own
                self.assertEqual(self.read(where), written)

    def test_comments_and_other_options_stay(self):
        where = self.perigee(PerigeeOfFile)
        ask(where, 'CONFIG', 'SET', 'maxmemory', '60mb')
        ask(where, 'CONFIG', 'SET', 'maxmemory-policy', 'volatile-ttl', 'timeout', '5')
        self.assertEqual(ask(where, 'CONFIG', 'REWRITE'), (b'+', b'OK'))
        self.assertEqual(self.read(where), '-- ours\nreturn {\n    lock_timeout = \'3s\', -- short\n    maxmemory = 62914560,\n'
                                           '    maxmemory_policy = \'volatile-ttl\',\n    timeout = 5,\n}\n')

    def test_what_was_not_set_is_not_written(self):
        where = self.perigee(PerigeeOfFile)
        self.assertEqual(ask(where, 'CONFIG', 'REWRITE'), (b'+', b'OK'))
        self.assertEqual(self.read(where), where.text)

    def test_a_program_is_left_alone_and_the_line_is_told(self):
        where = self.perigee(PerigeeOfFile)
        text = 'local mb = 1048576\nreturn {maxmemory = 50 * mb}\n'
        with open(where.file, 'w') as file:
            file.write(text)
        ask(where, 'CONFIG', 'SET', 'maxmemory', '60mb')
        kind, reply = ask(where, 'CONFIG', 'REWRITE')
        self.assertEqual(kind, b'-')
        self.assertRegex(reply.decode(), r'^ERR Rewriting config file: .*options\.lua: line 1: ')
        self.assertEqual(self.read(where), text)
        self.assertEqual(get(where, 'maxmemory')[1][1], b'62914560')

    def test_names_of_redis_are_options_of_the_command_line_and_the_environment(self):
        where = self.perigee(PerigeeWithoutFile, text=False)
        command = where.command()
        where.command = lambda: command + ['--maxmemory', '40mb', '--maxmemory-policy', 'volatile-lfu', '--slowlog-max-len=3']
        for name, value in (('memory_max', b'40mb'), ('maxmemory-policy', b'volatile-lfu'), ('slowlog-max-len', b'3')):
            self.assertEqual(get(where, name)[1][1], value)


if __name__ == '__main__':
    unit.main()
