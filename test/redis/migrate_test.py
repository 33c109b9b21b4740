# SPDX-License-Identifier: Apache-2.0
"""MIGRATE between perigee and redis-server, and to targets that fail: a key is never lost."""
import os
import random
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from dump_test import TYPES, make, stream_commands  # noqa: E402
from lib import clients, resp, server, unit  # noqa: E402
from lib.target import Silence, Target, bridge, requests, reset, silent  # noqa: E402

ROUNDS = int(os.environ.get('PERIGEE_ROUNDS', '40'))
HOST = '127.0.0.1'
LONG = '600000' # milliseconds, of who is not to give up
OK, NONE, BUSY = (b'+', b'OK'), (b'$', None), b'BUSYKEY Target key name already exists.'


class Giver(server.PerigeeOnPort):
    """With thresholds that a short sequence crosses; what it has answered is on the disk."""
    settings = server.SETTINGS

    def command(self):
        return [word if word != 'interval' else 'commit' for word in super().command()]


def error(text):
    return (b'-', text.encode() if isinstance(text, str) else text)


def replied(text):
    """The target has replied with an error."""
    return error(b'ERR Target instance replied with error: ' + (text if isinstance(text, bytes) else text.encode()))


def closes_after(count):
    """A target that says OK to so many requests, and closes."""
    def serve(connection):
        for n, _ in enumerate(requests(connection), 1):
            connection.sendall(b'+OK\r\n')
            if n == count:
                return
    return serve


READING = error('IOERR error or timeout reading to target instance')
WRITING = error('IOERR error or timeout writing to target instance')
CONNECTING = error('IOERR error or timeout connecting to the client')


class Migrate(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        executable = os.environ['TEST_PERIGEE']
        cls.redis, cls.perigee, cls.taker = cls.servers = (server.Redis(), Giver(executable), Giver(executable))
        cls.from_redis, cls.giver, cls.there = [each.connect() for each in cls.servers]
        cls.givers = (('redis-server', cls.from_redis), ('perigee', cls.giver))
        cls.port = str(cls.taker.port)

    @classmethod
    def tearDownClass(cls):
        for each in cls.servers:
            each.stop()

    def setUp(self):
        for connection in (self.from_redis, self.giver, self.there):
            connection.ask('FLUSHALL')

    def digest(self, connection, key):
        return connection.ask('DEBUG', 'DIGEST-VALUE', key)

    def set(self, connection, *names):
        words = [word for name in names for word in (name, 'value of ' + name)]
        self.assertEqual(connection.ask('MSET', *words) if words else OK, OK)

    def left(self, connection, *names):
        """Those that are there."""
        connection.send([[b'EXISTS', name.encode()] for name in names])
        return [name for name, there in [(name, connection.read()[1]) for name in names] if there]

    # ------------------------------------------------------------------------------------ values

    def moves(self, giver, taker, port):
        seed = int(os.environ.get('PERIGEE_SEED', random.SystemRandom().randrange(2 ** 32)))
        r = random.Random(seed)
        for n in range(ROUNDS // 2):
            giver.ask('FLUSHALL')
            taker.ask('FLUSHALL')
            kind = r.choice(sorted(TYPES) + ['stream'])
            for command in (stream_commands(r) if kind == 'stream' else [[TYPES[kind][0], 'k'] + make(r, kind)]):
                giver.ask(*command)
            expires = r.random() < 0.5
            if expires:
                giver.ask('PEXPIRE', 'k', LONG)
            before, hint = self.digest(giver, 'k'), 'PERIGEE_SEED=%d, round %d: %s' % (seed, n, kind)
            self.assertEqual(giver.ask('MIGRATE', HOST, port, 'k', '0', LONG), OK, hint)
            self.assertEqual(giver.ask('EXISTS', 'k'), (b':', 0), hint)
            self.assertEqual(self.digest(taker, 'k'), before, hint)
            ms = taker.ask('PTTL', 'k')[1]
            self.assertTrue(0 < ms <= int(LONG) if expires else ms == -1, (hint, ms))

    def test_values_of_all_types_go_from_perigee_to_perigee(self):
        self.moves(self.giver, self.there, self.port)

    def test_values_of_all_types_go_from_redis_to_perigee(self):
        self.moves(self.from_redis, self.there, self.port)

    def test_values_of_all_types_go_from_perigee_to_redis(self):
        with Target(bridge(self.redis.where())) as target:
            self.moves(self.giver, self.from_redis, target.port)

    def test_many_keys_and_large_ones_go_at_once(self):
        names = ['key:%d' % n for n in range(300)]
        self.set(self.giver, *names)
        self.giver.ask('SET', 'large', bytes(range(256)) * (1 << 14))
        before = self.giver.ask('DEBUG', 'DIGEST')
        self.assertEqual(self.giver.ask('MIGRATE', HOST, self.port, '', '0', LONG, 'KEYS', 'large', *names), OK)
        self.assertEqual(self.giver.ask('DBSIZE'), (b':', 0))
        self.assertEqual(self.there.ask('DEBUG', 'DIGEST'), before)

    # ------------------------------------------------------------------------- replies and errors

    def alike(self, expected, *args, prepare=(), giver_keys=(), taker_keys=(), giver_left=(), taker_left=()):
        """Both servers' reply, and which of the keys are where afterwards."""
        for name, giver in self.givers:
            giver.ask('FLUSHALL')
            self.there.ask('FLUSHALL')
            self.set(giver, *giver_keys)
            for key in taker_keys:
                self.there.ask('SET', key, 'older')
            for command in prepare:
                giver.ask(*command)
            hint = '%s: %r' % (name, args)
            self.assertEqual(giver.ask('MIGRATE', *args), expected, hint)
            self.assertEqual(self.left(giver, *giver_keys), list(giver_left), hint)
            keys = dict.fromkeys(giver_keys + taker_keys)
            self.assertEqual(self.left(self.there, *keys), list(taker_left), hint)

    def test_arguments_are_read_as_redis_reads_them(self):
        where, one = (HOST, self.port), ('a',)
        syntax, integer = error('ERR syntax error'), error('ERR value is not an integer or out of range')
        for options in (('NONE',), ('AUTH',), ('COPY', 'AUTH2', 'u'), ('AUTH2',), ('COPY', 'REPLACE', 'x')):
            self.alike(syntax, *where, 'a', '0', LONG, *options, giver_keys=one, giver_left=one)
        self.alike(error('ERR When using MIGRATE KEYS option, the key argument must be set to the empty string'),
                   *where, 'a', '0', LONG, 'KEYS', 'a', giver_keys=one, giver_left=one)
        self.alike(integer, *where, 'a', 'x', LONG, giver_keys=one, giver_left=one)
        self.alike(integer, *where, 'a', '0', 'x', giver_keys=one, giver_left=one)
        self.alike(integer, *where, 'none', '0', 'x')
        self.alike(error("ERR wrong number of arguments for 'migrate' command"), *where, 'a', '0')
        self.alike((b'+', b'NOKEY'), *where, 'a', '0', LONG)
        self.alike((b'+', b'NOKEY'), *where, '', '0', LONG)
        self.alike((b'+', b'NOKEY'), *where, '', '0', LONG, 'KEYS')
        self.alike((b'+', b'NOKEY'), *where, '', '0', LONG, 'KEYS', 'a', 'b')
        self.alike((b'+', b'NOKEY'), 'x' * 300, '0', 'a', '0', LONG)
        with Target(silent) as target: # 0 stands for 1000 ms
            self.alike(READING, HOST, target.port, 'a', '0', '0', giver_keys=one, giver_left=one)
        self.assertEqual(self.giver.ask('SET', 'a', 'v'), OK)
        for port in ('x', '0', '65536', '-1', '', '1 '):
            self.assertEqual(self.giver.ask('MIGRATE', HOST, port, 'a', '0', LONG),
                             error('ERR port must be a number from 1 to 65535'))

    def test_the_target_is_not_there(self):
        with Silence() as target:
            self.alike(WRITING, HOST, target.port, 'a', '0', LONG, giver_keys=('a',), giver_left=('a',))
        for host in ('', 'x' * 300, 'no..name', 'a\0b'):
            self.giver.ask('SET', 'a', 'v')
            self.assertEqual(self.giver.ask('MIGRATE', host, self.port, 'a', '0', LONG), CONNECTING, host)
        self.assertEqual(self.giver.ask('MIGRATE', 'localhost', self.port, 'a', '0', LONG), OK)

    def test_the_target_refuses(self):
        where = (HOST, self.port)
        self.alike(replied(BUSY), *where, 'a', '0', LONG, giver_keys=('a',), taker_keys=('a',), giver_left=('a',),
                   taker_left=('a',))
        self.assertEqual(self.there.ask('GET', 'a'), (b'$', b'older'))
        self.set(self.giver, 'b') # what redis-server would put into database 0
        self.assertEqual(self.giver.ask('MIGRATE', *where, 'b', '99', LONG), replied('ERR DB index is out of range'))
        self.assertEqual((self.left(self.giver, 'b'), self.left(self.there, 'b')), (['b'], []))

    def test_options_do_what_they_do_in_redis(self):
        where = (HOST, self.port)
        self.alike(OK, *where, 'a', '0', LONG, 'REPLACE', giver_keys=('a',), taker_keys=('a',), taker_left=('a',))
        self.assertEqual(self.there.ask('GET', 'a'), (b'$', b'value of a'))
        self.alike(OK, *where, 'a', '0', LONG, 'copy', giver_keys=('a',), giver_left=('a',), taker_left=('a',))
        self.alike(OK, *where, 'a', '0', LONG, 'COPY', 'replace', giver_keys=('a',), taker_keys=('a',),
                   giver_left=('a',), taker_left=('a',))

    def test_of_several_keys_those_go_that_the_target_takes(self):
        three, where = ('a', 'b', 'c'), (HOST, self.port)
        self.alike(OK, *where, '', '0', LONG, 'KEYS', 'none', 'a', 'b', 'other', 'c', giver_keys=three,
                   taker_left=three)
        self.alike(replied(BUSY), *where, '', '0', LONG, 'KEYS', 'a', 'b', 'c', giver_keys=three, taker_keys=('b',),
                   giver_left=('b',), taker_left=three)
        self.alike(replied(BUSY), *where, '', '0', LONG, 'COPY', 'KEYS', 'a', 'b', 'c', giver_keys=three,
                   taker_keys=('b',), giver_left=three, taker_left=three)
        self.alike(replied(BUSY), *where, '', '0', LONG, 'KEYS', 'a', 'a', 'b', giver_keys=three, giver_left=('c',),
                   taker_left=('a', 'b'))
        self.alike(OK, *where, '', '0', LONG, 'REPLACE', 'KEYS', 'a', 'a', 'b', giver_keys=three, giver_left=('c',),
                   taker_left=('a', 'b'))

    def test_a_password_is_given_to_the_target(self):
        where, one = (HOST, self.port, 'a', '0', LONG), ('a',)
        self.assertEqual(self.there.ask('CONFIG', 'SET', 'requirepass', 'secret'), OK)
        self.assertEqual(self.there.ask('AUTH', 'secret'), OK)
        self.assertEqual(self.there.ask('ACL', 'SETUSER', 'somebody', 'on', '>word', 'allcommands', 'allkeys'), OK)
        wrong = 'WRONGPASS invalid username-password pair or user is disabled.'
        try:
            self.alike(replied('NOAUTH Authentication required.'), *where, giver_keys=one, giver_left=one)
            self.alike(replied(wrong), *where, 'AUTH', 'no', giver_keys=one, giver_left=one)
            self.alike(replied(wrong), *where, 'AUTH2', 'somebody', 'no', giver_keys=one, giver_left=one)
            self.alike(OK, *where, 'AUTH', 'secret', giver_keys=one, taker_left=one)
            self.alike(OK, *where, 'AUTH2', 'somebody', 'word', giver_keys=one, taker_left=one)
            self.alike(OK, HOST, self.port, '', '0', LONG, 'AUTH', 'secret', 'KEYS', 'a', giver_keys=one,
                       taker_left=one)
        finally:
            self.assertEqual(self.there.ask('CONFIG', 'SET', 'requirepass', ''), OK)
            self.assertEqual(self.there.ask('ACL', 'DELUSER', 'somebody'), (b':', 1))

    def test_passwords_are_not_in_the_slow_log(self):
        args = ('MIGRATE', HOST, self.port, '', '0', LONG, 'AUTH', 'keys', 'auth2', 'secret', 'password', 'COPY',
                'KEYS', 'auth', 'none')
        logs = []
        for _, giver in self.givers:
            giver.ask('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
            giver.ask('SLOWLOG', 'RESET')
            self.assertEqual(giver.ask(*args), (b'+', b'NOKEY'))
            logs.append([each[1][3] for each in giver.ask('SLOWLOG', 'GET', '1')[1]])
            giver.ask('CONFIG', 'SET', 'slowlog-log-slower-than', '10000')
        self.assertEqual(logs[0], logs[1])
        self.assertIn((b'$', b'(redacted)'), logs[1][0][1])

    def test_its_keys_are_known_from_its_arguments(self):
        for args in (('a', '0', '1'), ('a', '0', '1', 'COPY'), ('', '0', '1', 'KEYS', 'x', 'y'),
                     ('', '0', '1', 'AUTH', 'KEYS', 'KEYS', 'z'), ('', '0', '1', 'AUTH2', 'KEYS', 'auth', 'keys', 'z'),
                     ('a', '0', '1', 'AUTH', 'KEYS'), ('', '0', '1')):
            for ask in ('GETKEYS', 'GETKEYSANDFLAGS'):
                wanted, got = [connection.ask('COMMAND', ask, 'MIGRATE', 'h', 'p', *args)
                               for connection in (self.from_redis, self.giver)]
                self.assertEqual(got, wanted, args)

    def test_a_deleted_key_is_told_of(self):
        self.set(self.giver, 'a')
        listener = self.perigee.connect()
        self.giver.ask('CONFIG', 'SET', 'notify-keyspace-events', 'Kg')
        listener.ask('SUBSCRIBE', '__keyspace@0__:a')
        self.assertEqual(self.giver.ask('MIGRATE', HOST, self.port, 'a', '0', LONG), OK)
        self.assertEqual(listener.read()[1][2], (b'$', b'del'))
        self.giver.ask('CONFIG', 'SET', 'notify-keyspace-events', '')
        listener.close()

    def test_nobody_waits_within_a_transaction_or_a_script(self):
        self.set(self.giver, 'a')
        words = ('MIGRATE', HOST, self.port, 'a', '0', LONG)
        refused = ('MIGRATE waits for the target instance, which is not possible inside of a transaction, a script '
                   'or a procedure: send it by itself').encode()
        self.giver.ask('MULTI')
        self.assertEqual(self.giver.ask(*words), (b'+', b'QUEUED'))
        self.assertEqual(self.giver.ask('MIGRATE', HOST, self.port, 'none', '0', LONG), (b'+', b'QUEUED'))
        kind, replies = self.giver.ask('EXEC')
        self.assertEqual((replies[0][0], replies[1]), (b'-', (b'+', b'NOKEY')))
        self.assertIn(refused, replies[0][1])
        self.giver.ask('BEGIN')
        self.assertIn(refused, self.giver.ask(*words)[1])
        self.giver.ask('ROLLBACK')
        script = 'return redis.call("MIGRATE", ARGV[1], ARGV[2], KEYS[1], 0, 1000)'
        self.assertIn(refused, self.giver.ask('EVAL', script, '1', 'a', HOST, self.port)[1])
        self.assertEqual(self.giver.ask('GET', 'a'), (b'$', b'value of a'))

    def test_the_target_is_the_server_itself(self):
        own = (HOST, str(self.perigee.port), 'a')
        self.set(self.giver, 'a')
        self.assertEqual(self.giver.ask('MIGRATE', *own, '0', LONG), replied(BUSY))
        self.assertEqual(self.giver.ask('MIGRATE', *own, '0', LONG, 'COPY', 'REPLACE'), OK)
        reply = self.giver.ask('MIGRATE', *own, '0', LONG, 'REPLACE')
        self.assertIn(b'1 of 1 keys changed while they were sent', reply[1])
        self.assertEqual(self.giver.ask('GET', 'a'), (b'$', b'value of a'))
        self.giver.ask('SADD', 'large', *['element %d' % n for n in range(1000)])
        self.assertEqual(self.giver.ask('MIGRATE', *own[:2], 'large', '0', LONG, 'REPLACE')[0], b'-')
        self.assertEqual(self.giver.ask('SCARD', 'large'), (b':', 1000))
        self.assertEqual(self.giver.ask('MIGRATE', *own, '5', LONG), OK)
        self.assertEqual(self.giver.ask('GET', 'a'), NONE)
        self.assertEqual(self.giver.ask('MOVE', 'a', '5'), (b':', 0))

    # ------------------------------------------------------------------------ targets that fail

    def ends(self, target, expected, left=(), timeout=LONG):
        """Both servers' reply, and what is left of a, b, and c."""
        for name, giver in self.givers:
            self.set(giver, 'a', 'b', 'c')
            reply = giver.ask('MIGRATE', HOST, target.port, '', '0', timeout, 'KEYS', 'a', 'b', 'c')
            self.assertEqual((reply, self.left(giver, 'a', 'b', 'c')), (expected, list(left)), name)

    def times_out(self, giver, target, expected, left, *names):
        """With a time that is long enough for the target to have come as far as it goes."""
        ms = 20
        while True:
            self.set(giver, 'a', 'b')
            reply = giver.ask('MIGRATE', HOST, target.port, '', '0', str(ms), 'KEYS', *names)
            self.assertIn(reply, (READING, WRITING, CONNECTING))
            if (reply, self.left(giver, *names)) == (expected, left):
                return
            self.assertEqual(self.left(giver, *names), list(names))
            ms *= 2

    def test_the_target_never_answers(self):
        with Target(silent) as target:
            for _, giver in self.givers:
                self.times_out(giver, target, READING, ['a', 'b'], 'a', 'b')

    def test_the_target_stops_answering(self):
        def serve(connection):
            for n, _ in enumerate(requests(connection)):
                if n < 2: # SELECT, and the first key
                    connection.sendall(b'+OK\r\n')
        with Target(serve) as target:
            for _, giver in self.givers:
                self.times_out(giver, target, READING, ['b'], 'a', 'b')

    def test_the_target_does_not_read(self):
        ended = threading.Event()

        def serve(connection):
            connection.sendall(b'+OK\r\n')
            ended.wait()
        with Target(serve) as target:
            self.giver.ask('SET', 'large', b'x' * (1 << 24))
            try:
                self.times_out(self.giver, target, WRITING, ['large', 'a'], 'large', 'a')
            finally:
                ended.set()

    def test_the_target_closes_at_once(self):
        with Target(lambda connection: None) as target:
            for name, giver in self.givers:
                self.set(giver, 'a')
                reply = giver.ask('MIGRATE', HOST, target.port, 'a', '0', LONG)
                self.assertIn(reply, (READING, WRITING), name) # as its end comes before or after the write
                self.assertEqual(self.left(giver, 'a'), ['a'])

    def test_the_target_closes_after_some_replies(self):
        with Target(closes_after(3)) as target:
            for name, giver in self.givers:
                self.set(giver, 'a', 'b', 'c')
                reply = giver.ask('MIGRATE', HOST, target.port, '', '0', LONG, 'KEYS', 'a', 'b', 'c')
                self.assertEqual((reply, self.left(giver, 'a', 'b', 'c')), (READING, ['c']), name)

    def test_the_target_closes_after_the_last_reply(self):
        with Target(closes_after(4)) as target:
            self.ends(target, OK)

    def test_the_target_closes_before_the_keys_are_sent(self):
        with Target(closes_after(1)) as target:
            for _ in range(ROUNDS):
                self.set(self.giver, 'a')
                self.assertIn(self.giver.ask('MIGRATE', HOST, target.port, 'a', '0', LONG), (READING, WRITING))
                self.assertEqual(self.left(self.giver, 'a'), ['a'])

    def test_the_target_speaks_something_else(self):
        for text in (b'HTTP/1.1 400 Bad Request\r\n\r\n', b'\r\n', b':1\r\n', b'+QUEUED\r\n', b'\0' * 5000 + b'\r\n'):
            def serve(connection, text=text):
                for n, _ in enumerate(requests(connection)):
                    connection.sendall(b'+OK\r\n' if n == 0 else text)
            with Target(serve) as target:
                self.set(self.giver, 'a', 'b')
                reply = self.giver.ask('MIGRATE', HOST, target.port, '', '0', LONG, 'KEYS', 'a', 'b')
                self.assertEqual(reply, READING, text)
                self.assertEqual(self.left(self.giver, 'a', 'b'), ['a', 'b'])

    def test_a_connection_that_is_reset_loses_no_key(self):
        seed = int(os.environ.get('PERIGEE_SEED', random.SystemRandom().randrange(2 ** 32)))
        r = random.Random(seed)
        names = ['key:%d' % n for n in range(20)]
        for n in range(ROUNDS // 2):
            self.giver.ask('FLUSHALL')
            self.there.ask('FLUSHALL')
            self.set(self.giver, *names)
            cut = r.randrange(1, 2500)
            with Target(bridge(self.taker.where(), cut)) as target:
                reply = self.giver.ask('MIGRATE', HOST, target.port, '', '0', LONG, 'KEYS', *names)
            hint = 'PERIGEE_SEED=%d, round %d: reset after %d bytes: %r' % (seed, n, cut, reply)
            here, there = self.left(self.giver, *names), self.left(self.there, *names)
            self.assertEqual(sorted(set(here) | set(there)), sorted(names), hint)
            self.assertEqual(reply == OK, not here, hint)
            self.assertIn(reply, (OK, READING, WRITING), hint)
            values = [value[1] for value in self.there.ask('MGET', *there)[1]] if there else []
            self.assertEqual(values, [b'value of ' + name.encode() for name in there], hint)

    # ------------------------------------------------------------------------- while it is waited for

    def holding(self, replies=1):
        """A target that answers so many requests, and the others when it is told: (target, all came, answer)."""
        came, answer = threading.Semaphore(0), threading.Event()

        def serve(connection):
            for n, _ in enumerate(requests(connection)):
                if n >= replies:
                    came.release()
                    answer.wait()
                connection.sendall(b'+OK\r\n')
        return Target(serve), came, answer

    def begin(self, target, *names, server_=None):
        """A connection that has sent MIGRATE."""
        connection = (server_ or self.perigee).connect()
        words = ['MIGRATE', HOST, target.port, '', '0', LONG, 'KEYS', *names]
        connection.send([[word.encode() for word in words]])
        return connection

    def test_what_is_changed_meanwhile_stays(self):
        elements = ['element %d' % n for n in range(1000)]
        changes = {
            'string': [['SET', 'k', 'v'], ['APPEND', 'k', 'w'], ['SET', 'k', 'v'], ['EXPIRE', 'k', LONG],
                       ['GETDEL', 'k']],
            'small': [['SADD', 'k', 'v'], ['SADD', 'k', 'w']],
            'set': [['SADD', 'k', *elements], ['SREM', 'k', 'element 7'], ['SADD', 'k', 'new'], ['PEXPIRE', 'k', LONG]],
            'hash': [['HSET', 'k', *(elements * 2)], ['HSET', 'k', 'element 7', 'x'], ['RENAME', 'k', 'other']],
            'zset': [['ZADD', 'k', *[word for n, e in enumerate(elements) for word in (str(n), e)]],
                     ['ZADD', 'k', '0', elements[9]]],
            'list': [['RPUSH', 'k', *elements], ['LSET', 'k', '500', 'x'], ['RPOP', 'k']],
            'stream': [['XADD', 'k', '1-1', 'f', 'v'], ['XADD', 'k', '1-2', 'f', 'v'],
                       ['XGROUP', 'CREATE', 'k', 'g', '0']],
        }
        for kind, (first, *others) in changes.items():
            for change in others:
                self.giver.ask('FLUSHALL')
                self.giver.ask(*first)
                self.set(self.giver, 'other key')
                target, came, answer = self.holding()
                with target:
                    waiting = self.begin(target, 'k', 'other key')
                    came.acquire()
                    self.assertNotEqual(self.giver.ask(*change)[0], b'-', change)
                    after = self.digest(self.giver, 'k')
                    answer.set()
                    self.assertEqual(waiting.read(), error(
                        'ERR 1 of 2 keys changed while they were sent, and were left as they are: the target instance '
                        'has what they were before. Use MIGRATE with REPLACE to send them again'), (kind, change))
                    waiting.close()
                self.assertEqual(self.digest(self.giver, 'k'), after, (kind, change))
                self.assertEqual(self.left(self.giver, 'other key'), [])

    def test_what_is_only_looked_at_goes(self):
        self.giver.ask('SADD', 'k', *['element %d' % n for n in range(1000)])
        self.set(self.giver, 'a')
        target, came, answer = self.holding()
        with target:
            waiting = self.begin(target, 'a', 'k')
            came.acquire()
            self.giver.ask('GET', 'a')
            self.giver.ask('TOUCH', 'a', 'k')
            self.giver.ask('SMEMBERS', 'k')
            self.set(self.giver, 'b') # it has nothing to do with them
            answer.set()
            self.assertEqual(waiting.read(), OK)
            waiting.close()
        self.assertEqual(self.left(self.giver, 'a', 'k', 'b'), ['b'])

    def test_others_are_served_meanwhile(self):
        target, came, answer = self.holding(0)
        names = ['key:%d' % n for n in range(8)]
        self.set(self.giver, *names)
        with target:
            waiting = [self.begin(target, name) for name in names]
            for _ in names:
                came.acquire()
            others = [self.perigee.connect() for _ in range(8)]
            for other in others:
                self.assertEqual(other.ask('INCR', 'n')[0], b':')
                other.close()
            answer.set()
            for each in waiting:
                self.assertEqual(each.read(), OK)
                each.close()
        self.assertEqual(self.left(self.giver, *names), [])

    def test_requests_behind_it_wait(self):
        self.set(self.giver, 'a')
        words = ['MIGRATE', HOST, self.port, 'a', '0', LONG]
        self.giver.send([[word.encode() for word in command]
                         for command in (['SET', 'b', '1'], words, ['EXISTS', 'a'], words[:3] + ['b'] + words[4:],
                                         ['EXISTS', 'b'])])
        self.assertEqual([self.giver.read() for _ in range(5)], [OK, OK, (b':', 0), OK, (b':', 0)])

    def ended_by(self, end, replies=1, server_=None):
        """The target sees its connection end; what the client gets is returned by end(connection, its id)."""
        ended = threading.Event()
        came = threading.Semaphore(0)

        def serve(connection):
            for n, _ in enumerate(requests(connection)):
                if n < replies:
                    connection.sendall(b'+OK\r\n')
                else:
                    came.release()
            ended.set()
        with Target(serve) as target:
            connection = (server_ or self.perigee).connect()
            number = connection.ask('CLIENT', 'ID')[1]
            words = ['MIGRATE', HOST, target.port, '', '0', LONG, 'KEYS', 'a', 'b']
            connection.send([[word.encode() for word in words]])
            came.acquire()
            end(connection, str(number))
            ended.wait()
            connection.close()

    def test_it_ends_with_its_connection(self):
        self.set(self.giver, 'a', 'b')
        for replies in (0, 1):
            self.ended_by(lambda connection, _: connection.close(), replies)
            self.ended_by(lambda connection, _: reset(connection.socket), replies)
            self.ended_by(lambda _, number: self.giver.ask('CLIENT', 'KILL', 'ID', number), replies)
            self.assertEqual(self.left(self.giver, 'a', 'b'), ['a', 'b'])

    def test_it_can_be_cancelled(self):
        self.set(self.giver, 'a', 'b')

        def unblock(connection, number):
            self.assertEqual(self.giver.ask('CLIENT', 'UNBLOCK', number), (b':', 1))
            self.assertEqual(connection.read(), error('UNBLOCKED client unblocked via CLIENT UNBLOCK'))
        self.ended_by(unblock, 0)
        self.assertEqual(self.left(self.giver, 'a', 'b'), ['a', 'b'])
        self.ended_by(unblock, 1)
        self.assertEqual(self.left(self.giver, 'a', 'b'), ['a', 'b'])

    def test_a_stop_of_the_server_ends_it(self):
        other = Giver(os.environ['TEST_PERIGEE'])
        self.set(other.connect(), 'a', 'b')

        def stop(connection, _):
            other.process.terminate()
            self.assertEqual(connection.read(), error('ERR cancelled while waiting for the target instance: the '
                                                      'connection is being closed'))
            self.assertRaises(resp.Closed, connection.read)
        self.ended_by(stop, server_=other)
        clients.until(other.dead)
        self.assertEqual(other.process.returncode, 0)
        self.assertEqual(self.left(other.connect(), 'a', 'b'), ['a', 'b'])
        other.stop()


if __name__ == '__main__':
    unit.main()
