# SPDX-License-Identifier: Apache-2.0
"""What one server DUMPs the other RESTOREs: random values of each type, small and large."""
import os
import random
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import generate, server, unit  # noqa: E402

ROUNDS = int(os.environ.get('PERIGEE_ROUNDS', '40'))
# What a value is made of, and how it is read.
TYPES = {
    'string': ('SET', 'GET'), 'list': ('RPUSH', 'LRANGE'), 'set': ('SADD', 'SMEMBERS'),
    'hash': ('HSET', 'HGETALL'), 'zset': ('ZADD', 'ZRANGE'),
}
READ_MORE = {'list': ['0', '-1'], 'zset': ['0', '-1', 'WITHSCORES']}
COUNTS = (1, 2, 5, 8, 9, 40, 300)
NUMBERS = (0, 127, 128, -1, 4095, 4096, -4096, -4097, 32767, -32768, 8388607, 8388608, -8388608, -8388609,
           2 ** 31 - 1, -2 ** 31, 2 ** 31, 2 ** 63 - 1, -2 ** 63)


def some_bytes(r):
    kind = r.randrange(6)
    if kind == 0:
        return b'%d' % r.choice(NUMBERS)
    if kind == 1:
        return r.choice(generate.VALUES)
    if kind == 2:
        return bytes(r.randrange(256) for _ in range(r.choice((1, 62, 63, 64, 65, 300))))
    if kind == 3: # Redis compresses it
        return r.choice((b'abc', b'x', b'0123456789')) * r.choice((7, 30, 400, 5000))
    return b'%d' % r.randrange(-10 ** r.randrange(1, 18), 10 ** r.randrange(1, 18))


def make(r, kind):
    """The words behind the key."""
    count = r.choice(COUNTS)
    if kind == 'string':
        return [some_bytes(r)]
    if kind == 'set' and r.random() < 0.5:
        bound = 10 ** r.randrange(1, 18)
        return [b'%d' % r.randrange(-bound, bound) for _ in range(count)]
    words = []
    for _ in range(count):
        if kind == 'zset':
            words.append(r.choice(generate.SCORES + [b'%r' % r.uniform(-1e6, 1e6)]))
        words.append(some_bytes(r))
        if kind == 'hash':
            words.append(some_bytes(r))
    return words


def stream_commands(r):
    """What makes a stream: entries with the same fields or with others, some deleted, groups with consumers to
    which entries are given out, some of them acknowledged."""
    names = [some_bytes(r) for _ in range(3)]
    number, sequence, ids, commands = r.choice((0, 1, 100, 2 ** 40)), 1, [], []
    for _ in range(r.choice(COUNTS)):
        step = r.choice((0, 0, 1, 1, 1000, 2 ** 33))
        number, sequence = number + step, sequence + 1 if step == 0 else r.choice((0, 5, 2 ** 63))
        ids.append('%d-%d' % (number, sequence))
        fields = names if r.random() < 0.7 else [some_bytes(r) for _ in range(r.choice((1, 2, 3, 70)))]
        commands.append(['XADD', 'k', ids[-1]] + [word for name in fields for word in (name, some_bytes(r))])
    for group in ('g', 'h', b'\0\xff')[:r.randrange(4)]:
        commands.append(['XGROUP', 'CREATE', 'k', group, r.choice(ids + ['0', '$'])] +
                        r.choice(([], ['ENTRIESREAD', '1'])))
        for consumer in ('c', 'd', '')[:r.randrange(4)]:
            commands.append(['XGROUP', 'CREATECONSUMER', 'k', group, consumer])
            commands.append(['XREADGROUP', 'GROUP', group, consumer, 'COUNT', str(r.choice((1, 3, 200))),
                             'STREAMS', 'k', '>'])
        commands.append(['XACK', 'k', group] + r.sample(ids, (len(ids) + 1) // 2))
        commands.append(['XCLAIM', 'k', group, 'c', '0', r.choice(ids), 'RETRYCOUNT', '7'])
    for _ in range(r.choice((0, 1, len(ids)))):
        commands.append(['XDEL', 'k', r.choice(ids)])
    if r.random() < 0.2:
        commands.append(['XTRIM', 'k', 'MAXLEN', str(r.randrange(5))])
    if r.random() < 0.2:
        commands.append(['XSETID', 'k', '%d-7' % (number + 1)])
    return commands


LEFT_OUT = (b'radix-tree-keys', b'radix-tree-nodes', b'active-time') # how it lies in memory; 7.0 does not know it


def stream_of(reply):
    """What XINFO STREAM FULL says, without what may differ."""
    if reply[0] != b'*' or reply[1] is None:
        return reply
    values, kept = reply[1], []
    while values:
        if values[0][0] == b'$' and values[0][1] in LEFT_OUT:
            values = values[2:]
        else:
            kept.append(stream_of(values[0]))
            values = values[1:]
    return kept


class Dump(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers = (server.Redis(), server.Perigee(os.environ['TEST_PERIGEE']))
        cls.connections = [each.connect() for each in cls.servers]
        cls.connections[0].ask('CONFIG', 'SET', 'sanitize-dump-payload', 'yes') # looks into all of it

    @classmethod
    def tearDownClass(cls):
        for each in cls.servers:
            each.stop()

    def read(self, connection, kind, key):
        reply = connection.ask(TYPES[kind][1], key, *READ_MORE.get(kind, []))
        if kind == 'hash':
            return sorted(zip([e[1] for e in reply[1][::2]], [e[1] for e in reply[1][1::2]]))
        if kind == 'zset': # which digits a score has is another matter
            return [(member[1], float(score[1])) for member, score in zip(reply[1][::2], reply[1][1::2])]
        return sorted(e[1] for e in reply[1]) if kind == 'set' else reply

    def exchange(self, kind, giver, taker):
        seed = int(os.environ.get('PERIGEE_SEED', random.SystemRandom().randrange(2 ** 32)))
        r = random.Random(seed)
        for _ in range(ROUNDS):
            words = make(r, kind)
            for connection in self.connections:
                connection.ask('FLUSHALL')
            giver.ask(TYPES[kind][0], 'k', *words)
            payload = giver.ask('DUMP', 'k')[1]
            hint = 'PERIGEE_SEED=%d: %s %r, %r' % (seed, TYPES[kind][0], words[:8], payload[:60])
            self.assertEqual(taker.ask('RESTORE', 'k', '0', payload), (b'+', b'OK'), hint)
            self.assertEqual(self.read(taker, kind, 'k'), self.read(giver, kind, 'k'), hint)
            broken = bytearray(payload)
            broken[r.randrange(len(broken))] ^= 1 << r.randrange(8)
            self.assertEqual(taker.ask('RESTORE', 'l', '0', bytes(broken)),
                             (b'-', b'ERR DUMP payload version or checksum are wrong'), hint)

    def exchange_streams(self, giver, taker):
        seed = int(os.environ.get('PERIGEE_SEED', random.SystemRandom().randrange(2 ** 32)))
        r = random.Random(seed)
        for _ in range(ROUNDS):
            for connection in self.connections:
                connection.ask('FLUSHALL')
            commands = stream_commands(r)
            for command in commands:
                giver.ask(*command)
            payload = giver.ask('DUMP', 'k')[1]
            hint = 'PERIGEE_SEED=%d: %r' % (seed, commands[-12:])
            self.assertEqual(taker.ask('RESTORE', 'k', '0', payload), (b'+', b'OK'), hint)
            info = ('XINFO', 'STREAM', 'k', 'FULL', 'COUNT', '0')
            self.assertEqual(stream_of(taker.ask(*info)), stream_of(giver.ask(*info)), hint)
            more = [['XADD', 'k', '%d-1' % 2 ** 50, 'f', 'v'], ['XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', 'k', '>'],
                    ['XADD', 'k', '%d-2' % 2 ** 50, 'other', 'v', 'f', 'v'], ['XPENDING', 'k', 'g'],
                    ['XTRIM', 'k', 'MAXLEN', '3'], ['XRANGE', 'k', '-', '+'], ['DUMP', 'none']]
            for command in more:
                self.assertEqual(taker.ask(*command), giver.ask(*command), '%s, then %r' % (hint, command))

    def test_redis_restores_a_stream_that_perigee_has_dumped(self):
        self.exchange_streams(self.connections[1], self.connections[0])

    def test_perigee_restores_a_stream_that_redis_has_dumped(self):
        self.exchange_streams(*self.connections)

    def test_a_stream_takes_the_place_of_another_and_expires(self):
        perigee = self.connections[1]
        perigee.ask('FLUSHALL')
        perigee.ask('XADD', 'k', '1-1', 'f', 'v')
        perigee.ask('XADD', 'l', '5-5', 'g', 'w')
        perigee.ask('XGROUP', 'CREATE', 'l', 'old', '0')
        payload = perigee.ask('DUMP', 'k')[1]
        self.assertEqual(perigee.ask('RESTORE', 'l', '0', payload), (b'-', b'BUSYKEY Target key name already exists.'))
        self.assertEqual(perigee.ask('RESTORE', 'l', '33177117420000', payload, 'REPLACE', 'ABSTTL'), (b'+', b'OK'))
        self.assertEqual(perigee.ask('XRANGE', 'l', '-', '+'), perigee.ask('XRANGE', 'k', '-', '+'))
        self.assertEqual(perigee.ask('XINFO', 'GROUPS', 'l'), (b'*', []))
        self.assertEqual(perigee.ask('PEXPIRETIME', 'l'), (b':', 33177117420000))

    def test_functions_are_exchanged(self):
        redis, perigee = self.connections
        texts = [b"#!lua name=%s\nredis.register_function('%s', function() return 'x' end) -- %s" %
                 (name, name, b'of great use ' * count) for name, count in ((b'one', 1), (b'two', 400))]
        for giver, taker in ((redis, perigee), (perigee, redis), (perigee, perigee)):
            for connection in self.connections:
                connection.ask('FUNCTION', 'FLUSH')
            empty = giver.ask('FUNCTION', 'DUMP')[1]
            self.assertEqual(taker.ask('FUNCTION', 'RESTORE', empty), (b'+', b'OK'))
            for text in texts:
                giver.ask('FUNCTION', 'LOAD', text)
            payload = giver.ask('FUNCTION', 'DUMP')[1]
            self.assertEqual(taker.ask('FUNCTION', 'RESTORE', payload, 'FLUSH'), (b'+', b'OK'))
            self.assertEqual(taker.ask('FCALL', 'two', '0'), (b'$', b'x'))
            lists = [sorted(library[1][1][1] for library in connection.ask('FUNCTION', 'LIST')[1])
                     for connection in (giver, taker)]
            self.assertEqual(lists, [[b'one', b'two']] * 2)
            broken = payload[:-1] + bytes([payload[-1] ^ 1])
            self.assertEqual(taker.ask('FUNCTION', 'RESTORE', broken),
                             (b'-', b'ERR DUMP payload version or checksum are wrong'))

    def test_fields_keep_the_time_when_they_expire(self):
        perigee = self.connections[1]
        perigee.ask('FLUSHALL')
        perigee.ask('HSET', 'k', 'a', '1', 'b', '2', 'c', '3')
        perigee.ask('HPEXPIREAT', 'k', '33177117420000', 'FIELDS', '1', 'a')
        perigee.ask('HPEXPIREAT', 'k', '33177117420123', 'FIELDS', '1', 'c')
        self.assertEqual(perigee.ask('RESTORE', 'l', '0', perigee.ask('DUMP', 'k')[1]), (b'+', b'OK'))
        self.assertEqual(perigee.ask('HGETALL', 'l'), perigee.ask('HGETALL', 'k'))
        times = perigee.ask('HPEXPIRETIME', 'l', 'FIELDS', '3', 'a', 'b', 'c')[1]
        self.assertEqual([each[1] for each in times], [33177117420000, -1, 33177117420123])


def add_tests():
    def test(kind, to_redis):
        def run(self):
            redis, perigee = self.connections
            self.exchange(kind, *((perigee, redis) if to_redis else (redis, perigee)))
        return run
    for kind in TYPES:
        setattr(Dump, 'test_redis_restores_a_%s_that_perigee_has_dumped' % kind, test(kind, True))
        setattr(Dump, 'test_perigee_restores_a_%s_that_redis_has_dumped' % kind, test(kind, False))


add_tests()

if __name__ == '__main__':
    unit.main()
