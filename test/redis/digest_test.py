# SPDX-License-Identifier: Apache-2.0
"""DEBUG DIGEST is that of redis-server for the same data, of each type, small and large, in several databases."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import server, unit  # noqa: E402

VALUES = {
    'string': (['SET', 'string', 'text'],),
    'number': (['SET', 'number', '12345'],),
    'empty': (['SET', 'empty', ''],),
    'bytes': (['SET', 'bytes', b'\x00\xff\r\n'.decode('latin-1')],),
    'list': (['RPUSH', 'list', 'b', 'a', '17', 'b', ''],),
    'set': (['SADD', 'set', 'c', 'a', 'b'],),
    'numbers': (['SADD', 'numbers', '3', '-1', '22'],),
    'zset': (['ZADD', 'zset', '1', 'one', '-0.1', 'some', 'inf', 'all', '1e300', 'many', '3', '7'],),
    'hash': (['HSET', 'hash', 'f', 'v', 'g', '5', '6', ''],),
    'stream': (['XADD', 'stream', '5-1', 'f', 'v'], ['XADD', 'stream', '5-2', 'a', '1', 'b', '2', 'c', ''],
               ['XADD', 'stream', '18446744073709551615-18446744073709551615', 'last', 'one']),
    'large:list': tuple(['RPUSH', 'large:list', str(n)] for n in range(100)),
    'large:set': tuple(['SADD', 'large:set', 'member:%d' % n] for n in range(100)),
    'large:zset': tuple(['ZADD', 'large:zset', str(n / 7), 'member:%d' % n] for n in range(100)),
    'large:hash': tuple(['HSET', 'large:hash', 'field:%d' % n, str(n)] for n in range(100)),
    'large:stream': tuple(['XADD', 'large:stream', '1-%d' % n, 'n', str(n)] for n in range(1, 100)),
    'hyper': (['PFADD', 'hyper', 'a', 'b'],),
}


class Digest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers = (server.Redis(), server.Perigee(os.environ['TEST_PERIGEE']))

    @classmethod
    def tearDownClass(cls):
        for each in cls.servers:
            each.stop()

    def setUp(self):
        self.connections = [each.connect() for each in self.servers]
        self.both('FLUSHALL')

    def tearDown(self):
        for each in self.connections:
            each.close()

    def both(self, *words):
        theirs, ours = [each.ask(*words) for each in self.connections]
        self.assertEqual(ours, theirs, words)
        return ours[1]

    def test_the_digest_of_a_value_is_that_of_redis(self):
        seen = set()
        for name, commands in VALUES.items():
            for words in commands:
                self.both(*words)
            seen.add(self.both('DEBUG', 'DIGEST-VALUE', name)[0][1])
            self.both('DEBUG', 'DIGEST')
        self.assertEqual(len(seen), len(VALUES))
        self.both('DEBUG', 'DIGEST-VALUE', 'none', *VALUES)
        self.both('DEBUG', 'DIGEST-VALUE')
        self.both('DEBUG', 'DIGEST', 'x')

    def test_order_of_writing_expiry_and_databases(self):
        empty = self.both('DEBUG', 'DIGEST')
        self.both('MSET', 'a', '1', 'b', '2')
        first = self.both('DEBUG', 'DIGEST')
        self.assertNotEqual(first, empty)
        self.both('DEL', 'a')
        self.both('SET', 'a', '1')
        self.assertEqual(self.both('DEBUG', 'DIGEST'), first)
        self.both('EXPIRE', 'a', '1000')
        self.assertNotEqual(self.both('DEBUG', 'DIGEST'), first)
        self.both('PERSIST', 'a')
        self.assertEqual(self.both('DEBUG', 'DIGEST'), first)
        self.both('MOVE', 'b', '7')
        self.assertNotEqual(self.both('DEBUG', 'DIGEST'), first)
        self.both('FLUSHALL')
        self.assertEqual(self.both('DEBUG', 'DIGEST'), empty)

    def test_no_shutdown_is_in_progress(self):
        for words in (['ABORT'], ['SAVE', 'NOSAVE'], ['ABORT', 'NOW'], ['NOSUCH']):
            self.both('SHUTDOWN', *words)

    def test_restore_asking_is_restore(self):
        dump = self.connections[0]
        dump.ask('SET', 'x', 'y')
        value = dump.ask('DUMP', 'x')[1]
        for words in (['x'], ['new'], ['new'], ['new', 'REPLACE']):
            self.connections[0].ask('DEL', 'x')
            self.both('RESTORE-ASKING', words[0], '0', value, *words[1:])
            self.both('GET', words[0])


if __name__ == '__main__':
    unit.main()
