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


class Dump(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers = (server.Redis(), server.Perigee(os.environ['TEST_PERIGEE']))
        cls.connections = [each.connect() for each in cls.servers]

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
