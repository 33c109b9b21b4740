# SPDX-License-Identifier: Apache-2.0
"""python3-redis: what its documentation shows, and the replies that it takes apart for its callers."""
import asyncio
import os
import sys
import unittest

import redis
import redis.asyncio

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import clients, server, unit  # noqa: E402


class RedisPy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = server.PerigeeOnPort(os.environ['TEST_PERIGEE'])
        cls.server.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.redis = self.connect()
        self.redis.flushall()

    def connect(self, **options):
        options.setdefault('decode_responses', True)
        client = redis.Redis(host='127.0.0.1', port=self.server.port, **options)
        self.addCleanup(client.connection_pool.disconnect)
        return client

    def test_values_are_set_read_and_expire(self):
        r = self.redis
        self.assertTrue(r.ping())
        self.assertTrue(r.set('full_name', 'john doe'))
        self.assertEqual(r.exists('full_name', 'none'), 1)
        self.assertEqual(r.get('full_name'), 'john doe')
        self.assertEqual(r.set('full_name', 'jane', get=True), 'john doe')
        self.assertIsNone(r.set('full_name', 'x', nx=True))
        self.assertTrue(r.setex('important_key', 100, 'important_value'))
        self.assertIn(r.ttl('important_key'), range(1, 101))
        self.assertTrue(r.mset({'a': 1, 'b': 2}))
        self.assertEqual(r.mget('a', 'none', 'b'), ['1', None, '2'])
        self.assertEqual(r.incrbyfloat('a', 0.5), 1.5)
        self.assertEqual(r.getex('a', persist=True), '1.5')
        self.assertEqual(r.lrange('l', 0, r.rpush('l', 'x', 'y')), ['x', 'y'])
        self.assertEqual(r.hset('h', mapping={'f': 1, 'g': 'ż'}), 2)
        self.assertEqual(r.hgetall('h'), {'f': '1', 'g': 'ż'})
        self.assertEqual(r.sadd('s', 1, 2, 3), 3)
        self.assertEqual(r.smembers('s'), {'1', '2', '3'})
        self.assertEqual(self.connect(decode_responses=False).get('b'), b'2')
        self.assertEqual(r.bitfield('bits').set('u8', '#1', 200).incrby('u8', '#1', 100, 'SAT').execute(), [0, 255])
        with self.assertRaisesRegex(redis.ResponseError, '^WRONGTYPE Operation against a key'):
            r.incr('l')
        with self.assertRaises(redis.DataError):
            r.set('k', None)

    def test_a_pipeline_answers_each_of_its_commands(self):
        pipe = self.redis.pipeline()
        pipe.set('a', 'a value').set('b', 'b value').get('a')
        self.assertEqual(pipe.execute(), [True, True, 'a value'])
        plain = self.redis.pipeline(transaction=False)
        for n in range(1000):
            plain.rpush('list', n)
        self.assertEqual(plain.execute(), list(range(1, 1001)))
        pipe.set('c', 1).lpop('c').set('d', 4)
        with self.assertRaisesRegex(redis.ResponseError, r'Command # 2 \(LPOP c\) of pipeline caused error: WRONGTYPE'):
            pipe.execute()
        self.assertEqual(self.redis.get('d'), '4')

    def test_a_watched_key_that_changes_is_tried_again(self):
        self.redis.set('count', 1)
        tries = []

        def increment(pipe):
            value = int(pipe.get('count'))
            tries.append(value)
            if len(tries) == 1:
                self.redis.set('count', 10)
            pipe.multi()
            pipe.set('count', value + 1)
        self.assertEqual(self.redis.transaction(increment, 'count'), [True])
        self.assertEqual((tries, self.redis.get('count')), ([1, 10], '11'))
        with self.redis.pipeline() as pipe:
            pipe.watch('count')
            self.redis.incr('count')
            pipe.multi()
            pipe.get('count')
            self.assertRaises(redis.WatchError, pipe.execute)

    def message(self, pubsub):
        return clients.until(lambda: pubsub.get_message(timeout=1))

    def test_messages_of_channels_and_patterns_arrive(self):
        handled = []
        with self.redis.pubsub() as p:
            p.subscribe('my-first-channel', **{'with-handler': handled.append})
            p.psubscribe('my-*')
            self.assertEqual([self.message(p)['data'] for _ in range(3)], [1, 2, 3])
            self.assertEqual(self.redis.publish('my-first-channel', 'some data'), 2)
            self.assertEqual(self.redis.publish('with-handler', 'more'), 1)
            came = {'type': 'message', 'pattern': None, 'channel': 'my-first-channel', 'data': 'some data'}
            self.assertEqual(self.message(p), came)
            self.assertEqual(self.message(p), dict(came, type='pmessage', pattern='my-*'))
            clients.until(lambda: p.get_message(timeout=1) or handled)
            self.assertEqual(handled[0]['data'], 'more')
            self.assertEqual(self.redis.pubsub_numsub('my-first-channel'), [('my-first-channel', 1)])
            self.assertEqual(self.redis.pubsub_numpat(), 1)
            p.ping()
            self.assertEqual(self.message(p)['type'], 'pong')
            p.unsubscribe()
            p.punsubscribe()
            self.assertEqual({self.message(p)['type'] for _ in range(3)}, {'unsubscribe', 'punsubscribe'})
            self.assertFalse(p.subscribed)

    def test_messages_are_handled_by_a_thread(self):
        handled = []
        p = self.redis.pubsub()
        p.subscribe(**{'ch': handled.append})
        thread = p.run_in_thread(sleep_time=0.01)
        clients.until(lambda: self.redis.publish('ch', 'x'))
        clients.until(lambda: handled)
        thread.stop()
        thread.join(clients.SECONDS_MAX)
        self.assertEqual(handled[0]['data'], 'x')

    def test_a_lock_is_held_by_one(self):
        with self.redis.lock('my-lock', timeout=1000) as lock:
            self.assertTrue(lock.owned())
            other = self.redis.lock('my-lock', timeout=1000)
            self.assertFalse(other.acquire(blocking=False))
            self.assertTrue(lock.extend(500))
            self.assertGreater(self.redis.ttl('my-lock'), 1000)
            self.assertTrue(lock.reacquire())
        self.assertTrue(other.acquire(blocking_timeout=100))
        self.redis.delete('my-lock')
        self.assertRaises(redis.exceptions.LockNotOwnedError, other.release)

    def test_a_script_is_registered_and_loaded_when_it_is_missing(self):
        multiply = self.redis.register_script("return redis.call('GET', KEYS[1]) * ARGV[1]")
        self.redis.set('foo', 2)
        self.assertEqual(multiply(keys=['foo'], args=[5]), 10)
        self.redis.script_flush()
        self.assertEqual(multiply(keys=['foo'], args=[6]), 12)
        pipe = self.redis.pipeline()
        pipe.set('foo', 5)
        multiply(keys=['foo'], args=[5], client=pipe)
        self.assertEqual(pipe.execute(), [True, 25])
        self.assertEqual(self.redis.script_exists(multiply.sha), [True])
        library = "#!lua name=mine\nredis.register_function('f', function(keys, args) return args[1] end)"
        self.assertEqual(self.redis.function_load(library), 'mine')
        self.assertEqual(self.redis.fcall('f', 0, 'hello'), 'hello')
        self.redis.function_delete('mine')

    def test_iterators_go_over_everything_once(self):
        self.redis.mset({'key:%d' % n: n for n in range(500)})
        self.redis.hset('other', mapping={'f%d' % n: n for n in range(1000)})
        self.redis.sadd('set', *range(1000))
        self.redis.zadd('zset', {'m%d' % n: n for n in range(1000)})
        found = sorted(self.redis.scan_iter(match='key:*', count=100))
        self.assertEqual(found, sorted('key:%d' % n for n in range(500)))
        self.assertEqual(list(self.redis.scan_iter(_type='HASH')), ['other'])
        self.assertEqual(dict(self.redis.hscan_iter('other')), {'f%d' % n: str(n) for n in range(1000)})
        self.assertEqual(sorted(map(int, self.redis.sscan_iter('set', count=10))), list(range(1000)))
        self.assertEqual(dict(self.redis.zscan_iter('zset')), {'m%d' % n: float(n) for n in range(1000)})

    def test_a_stream_is_read_by_a_group(self):
        r = self.redis
        ids = [r.xadd('stream', {'n': n}) for n in range(3)]
        self.assertEqual(r.xlen('stream'), 3)
        self.assertEqual(r.xread({'stream': 0}, count=1), [['stream', [(ids[0], {'n': '0'})]]])
        self.assertTrue(r.xgroup_create('stream', 'group', id=0))
        with self.assertRaisesRegex(redis.ResponseError, '^BUSYGROUP'):
            r.xgroup_create('stream', 'group')
        self.assertEqual(r.xreadgroup('group', 'one', {'stream': '>'}, count=2),
                         [['stream', [(ids[0], {'n': '0'}), (ids[1], {'n': '1'})]]])
        self.assertEqual(r.xack('stream', 'group', ids[0]), 1)
        pending = {'pending': 1, 'min': ids[1], 'max': ids[1], 'consumers': [{'name': 'one', 'pending': 1}]}
        self.assertEqual(r.xpending('stream', 'group'), pending)
        self.assertEqual(r.xpending_range('stream', 'group', '-', '+', 10)[0]['consumer'], 'one')
        self.assertEqual(r.xclaim('stream', 'group', 'two', 0, [ids[1]]), [(ids[1], {'n': '1'})])
        self.assertEqual(r.xautoclaim('stream', 'group', 'one', 0)[1], [(ids[1], {'n': '1'})])
        info = r.xinfo_stream('stream')
        self.assertEqual((info['length'], info['groups'], info['first-entry']), (3, 1, (ids[0], {'n': '0'})))
        self.assertEqual(r.xinfo_groups('stream')[0]['last-delivered-id'], ids[1])
        self.assertEqual({each['name'] for each in r.xinfo_consumers('stream', 'group')}, {'one', 'two'})
        self.assertEqual(r.xtrim('stream', maxlen=1, approximate=False), 2)

    def test_sorted_sets_places_and_counts_of_distinct_things(self):
        r = self.redis
        self.assertEqual(r.zadd('board', {'anna': 10, 'ben': 20, 'cleo': 15.5}), 3)
        self.assertEqual(r.zrange('board', 0, -1, desc=True, withscores=True),
                         [('ben', 20.0), ('cleo', 15.5), ('anna', 10.0)])
        self.assertEqual(r.zadd('board', {'anna': 5}, incr=True), 15.0)
        self.assertEqual((r.zrevrank('board', 'ben'), r.zrank('board', 'none')), (0, None))
        self.assertEqual(r.zscore('board', 'cleo'), 15.5)
        self.assertEqual(r.bzpopmin('board', timeout=1), ('board', 'anna', 15.0))
        self.assertEqual(r.zunion(['board'], withscores=True), [('cleo', 15.5), ('ben', 20.0)])
        self.assertEqual(r.geoadd('Sicily', (13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania')), 2)
        self.assertEqual(r.geodist('Sicily', 'Palermo', 'Catania', unit='km'), 166.2742)
        near = r.geosearch('Sicily', longitude=15, latitude=37, radius=200, unit='km', sort='ASC')
        self.assertEqual(near, ['Catania', 'Palermo'])
        r.pfadd('hll', *range(100))
        self.assertIn(r.pfcount('hll'), range(95, 106))
        self.assertEqual(r.sort('board', alpha=True, get='#'), ['ben', 'cleo'])

    def test_who_waits_is_served_by_another(self):
        other = self.connect()
        self.assertIsNone(self.redis.blpop('queue', timeout=0.01))
        with self.redis.client() as waiting: # one connection, whose reply is read later
            waiting.connection.send_command('BLPOP', 'queue', 0)
            clients.until(lambda: int(other.info('clients')['blocked_clients']))
            other.rpush('queue', 'x')
            self.assertEqual(waiting.connection.read_response(), ['queue', 'x'])

    def test_replies_about_the_server_are_understood(self):
        r = self.connect(client_name='tester')
        r.set('key', 'value')
        info = r.info()
        self.assertRegex(info['redis_version'], r'^7\.2\.')
        self.assertGreaterEqual(info['db0']['keys'], 1)
        self.assertGreaterEqual(r.info('commandstats')['cmdstat_set']['calls'], 1)
        self.assertEqual(r.config_get('maxmemory-policy'), {'maxmemory-policy': 'noeviction'})
        self.assertTrue(r.config_set('slowlog-log-slower-than', 0))
        r.get('key')
        self.assertTrue(r.config_set('slowlog-log-slower-than', 10000))
        raw = self.connect(decode_responses=False)
        self.assertIn(b'GET key', [each['command'] for each in raw.slowlog_get()])
        self.assertEqual([each['name'] for each in r.client_list() if int(each['id']) == r.client_id()], ['tester'])
        self.assertEqual(r.client_info()['name'], 'tester')
        self.assertEqual(r.command_count(), len(r.command()))
        self.assertEqual(r.command()['get']['flags'], ['readonly', 'fast'])
        self.assertEqual(r.command_getkeys('MSET', 'a', 1, 'b', 2), ['a', 'b'])
        self.assertGreater(r.memory_usage('key'), 0)
        self.assertIn('peak.allocated', r.memory_stats())
        self.assertEqual(r.dbsize(), 1)
        self.assertEqual(len(r.time()), 2)
        self.assertEqual(r.object('encoding', 'key'), 'embstr')
        self.assertIsNotNone(r.lastsave())
        self.assertEqual(r.acl_whoami(), 'default')
        self.assertTrue(r.acl_setuser('reader', enabled=True, passwords=['+secret'], commands=['+get'], keys=['k*']))
        self.assertEqual(r.acl_getuser('reader')['flags'][0], 'on')
        reader = self.connect(username='reader', password='secret')
        self.assertEqual(reader.get('key'), 'value')
        self.assertRaises(redis.exceptions.NoPermissionError, reader.set, 'key', 1)
        with self.assertRaisesRegex(redis.ResponseError, '^WRONGPASS invalid username-password pair'):
            self.connect(username='reader', password='no').ping()
        self.assertEqual(r.acl_deluser('reader'), 1)
        self.assertTrue(r.copy('key', 'copied'))
        self.assertEqual(r.restore('restored', 0, raw.dump('key')), 'OK')
        self.assertEqual(r.get('restored'), 'value')

    def test_a_monitor_sees_the_commands_of_others(self):
        with self.redis.monitor() as monitor:
            other = self.connect()
            other.set('seen', 'by monitor')
            seen = next(each for each in monitor.listen() if each['command'].startswith('SET'))
            self.assertEqual((seen['command'], seen['db'], seen['client_type']), ('SET seen by monitor', 0, 'tcp'))

    def test_the_asynchronous_client_does_the_same(self):
        async def work():
            client = redis.asyncio.Redis(host='127.0.0.1', port=self.server.port, decode_responses=True)
            async with client.pipeline(transaction=True) as pipe:
                replies = await (pipe.set('k', 1).incr('k').execute())
            many = await asyncio.gather(*(client.incr('n') for _ in range(50)))
            async with client.pubsub() as p:
                await p.subscribe('ch')
                messages = []
                async for message in p.listen():
                    messages.append(message['type'])
                    if message['type'] == 'message':
                        break
                    await client.publish('ch', 'hello')
            found = [key async for key in client.scan_iter('k*')]
            async with client.lock('lock', timeout=1000) as lock:
                held = await lock.owned()
            await client.close()
            await client.connection_pool.disconnect()
            return replies, sorted(many), messages, found, held
        self.assertEqual(asyncio.run(work()),
                         ([True, 2], list(range(1, 51)), ['subscribe', 'message'], ['k'], True))


if __name__ == '__main__':
    unit.main()
