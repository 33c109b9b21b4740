# SPDX-License-Identifier: Apache-2.0
"""CONFIG REWRITE: what CONFIG SET has set is there after the next start, as with redis-server.

Each server reads a file with comments, is told settings, writes them, and is started again.
"""
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import server, unit  # noqa: E402

SET = (('maxmemory', '104857600'), ('maxmemory-policy', 'allkeys-lfu'), ('maxmemory-samples', '9'),
       ('hash-max-listpack-entries', '99'), ('hash-max-listpack-value', '33'), ('slowlog-log-slower-than', '-1'),
       ('latency-tracking', 'no'), ('latency-tracking-info-percentiles', '50 99.5'),
       ('notify-keyspace-events', 'AKE'), ('timeout', '77'), ('maxclients', '321'), ('lfu-log-factor', '3'),
       ('save', '3600 1 300 100'), ('client-output-buffer-limit', 'pubsub 1048576 524288 30'), ('tcp-keepalive', '55'),
       ('loglevel', 'debug'), ('activedefrag', 'no'), ('hz', '20'), ('proto-max-bulk-len', '2097152'),
       ('busy-reply-threshold', '250'))


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
        return ['redis-server', self.file, '--port', '0', '--unixsocket', self.path, '--dir', self.folder]


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

    def test_save_points_are_those_of_redis(self):
        for value in ('3600 1', '', ' 900 1  60 10000 ', '1', '0 1', 'x 1', '5 -1', '5 0', '900 1 300'):
            replies = []
            for where in self.both():
                replies.append((ask(where, 'CONFIG', 'SET', 'save', value), get(where, 'save')))
            self.assertEqual(replies[0], replies[1], value)

    def test_a_save_point_makes_a_checkpoint_by_itself(self):
        where = self.perigee(PerigeeWithoutFile, text=False)
        self.assertEqual(get(where, 'save')[1][1], b'3600 1')
        ask(where, 'CONFIG', 'SET', 'save', '1 3')
        ask(where, 'MSET', 'a', '1', 'b', '2', 'c', '3')
        while b'rdb_changes_since_last_save:0\r\n' not in ask(where, 'INFO', 'persistence')[1]:
            time.sleep(0.02)

    def both(self):
        if not hasattr(self, 'servers'):
            self.servers = (self.begin(RedisOfFile), self.perigee(PerigeeOfFile))
        return self.servers

    def test_requirepass_is_the_password_of_the_default_user(self):
        for steps in (('secret', None), ('secret', 'resetchannels'), ('', None)):
            heard = []
            for where in self.both():
                admin = where.connect()
                admin.ask('AUTH', 'secret')
                if steps[1]:
                    admin.ask('ACL', 'SETUSER', 'default', steps[1])
                replies = [admin.ask('CONFIG', 'SET', 'requirepass', steps[0]), admin.ask('CONFIG', 'GET', 'requirepass'),
                           admin.ask('GET', 'k')]
                other = where.connect()
                for words in (('GET', 'k'), ('AUTH', 'wrong'), ('GET', 'k'), ('AUTH', 'secret'), ('GET', 'k'),
                              ('AUTH', 'default', 'secret'), ('GET', 'k'), ('ACL', 'WHOAMI')):
                    replies.append(other.ask(*words))
                other.close()
                admin.close()
                heard.append(replies)
            self.assertEqual(heard[0], heard[1], steps)

    def test_requirepass_is_written_and_not_shown(self):
        where = self.perigee(PerigeeWithoutFile, text=False)
        connection = where.connect()
        connection.ask('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
        self.assertEqual(connection.ask('CONFIG', 'SET', 'requirepass', "it's", 'timeout', '0'), (b'+', b'OK'))
        connection.ask('CONFIG', 'SET', 'slowlog-log-slower-than', '-1')
        self.assertNotIn("it's", str(connection.ask('SLOWLOG', 'GET')))
        self.assertIn('(redacted)', str(connection.ask('SLOWLOG', 'GET')))
        self.assertEqual(connection.ask('CONFIG', 'REWRITE'), (b'+', b'OK'))
        connection.close()
        self.assertIn("    password = 'it\\'s',\n", self.read(where))
        again(where)
        connection = where.connect()
        self.assertEqual(connection.ask('GET', 'k')[1][:6], b'NOAUTH')
        self.assertEqual(connection.ask('AUTH', "it's"), (b'+', b'OK'))
        self.assertEqual(connection.ask('CONFIG', 'GET', 'requirepass')[1][1][1], b"it's")
        connection.close()


if __name__ == '__main__':
    unit.main()
