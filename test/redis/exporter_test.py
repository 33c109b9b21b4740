# SPDX-License-Identifier: Apache-2.0
"""prometheus-redis-exporter: what it finds in Perigee, and that it misses nothing that it finds in redis-server."""
import os
import re
import sys
import unittest
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import clients, server, unit  # noqa: E402

# INFO does not say: there is no main thread, and each worker has a state of Lua that is its own.
NOT_TOLD = {'redis_' + name for name in (
    'cpu_sys_main_thread_seconds_total', 'cpu_user_main_thread_seconds_total', 'memory_used_lua_bytes',
)}
LISTEN = '0A' # as /proc/net/tcp has it


def port_of(process):
    """Where the process listens; None: nowhere yet. It is told to take port 0 and does not say what it got."""
    inodes, folder = set(), '/proc/%d/fd' % process.pid
    for name in os.listdir(folder):
        try:
            found = re.match(r'socket:\[(\d+)\]', os.readlink(os.path.join(folder, name)))
        except OSError:
            continue
        if found:
            inodes.add(found.group(1))
    with open('/proc/%d/net/tcp' % process.pid) as table:
        for row in table.read().split('\n')[1:]:
            fields = row.split()
            if fields and fields[3] == LISTEN and fields[9] in inodes:
                return int(fields[1].split(':')[1], 16)
    return None


def fill(connection):
    connection.ask('SET', 'text', 'some value')
    connection.ask('SET', 'number', '42', 'EX', '1000')
    connection.ask('RPUSH', 'list', 'a', 'b', 'c')
    connection.ask('HSET', 'hash', 'f', '1', 'g', '2')
    connection.ask('XADD', 'stream', '1-1', 'f', 'v')
    connection.ask('XGROUP', 'CREATE', 'stream', 'group', '0')
    connection.ask('XREADGROUP', 'GROUP', 'group', 'one', 'STREAMS', 'stream', '>')
    connection.ask('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
    connection.ask('GET', 'text')
    connection.ask('CONFIG', 'SET', 'slowlog-log-slower-than', '10000')


class Exporter(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.servers = [server.PerigeeOnPort(os.environ['TEST_PERIGEE']), server.Redis()]
        cls.addresses, cls.metrics = [], []
        for each in cls.servers:
            each.start()
            connection = each.connect()
            fill(connection)
            connection.ask('NOSUCH') # an error that is counted
            connection.close()
        cls.metrics = [cls.scrape('redis://127.0.0.1:%d' % cls.servers[0].port), cls.scrape('unix://' + cls.servers[1].path)]

    @classmethod
    def tearDownClass(cls):
        for each in cls.servers:
            each.stop()

    @classmethod
    def scrape(cls, address):
        """{name with labels: value} of one request."""
        script = os.path.join(cls.servers[0].folder, 'script.lua')
        with open(script, 'w') as text:
            text.write("redis.call('SELECT', 0) return {'keys_of_script', tostring(redis.call('DBSIZE'))}")
        with open(os.path.join(cls.servers[0].folder, 'exporter'), 'w+') as log:
            process = clients.start(
                ['prometheus-redis-exporter', '-redis.addr', address, '-web.listen-address', '127.0.0.1:0',
                 '-connection-timeout', '200s',
                 '-check-keys', 'n*,l*', '-check-single-keys', 'text', '-count-keys', '*', '-check-streams', 's*',
                 '-include-config-metrics', '-include-system-metrics', '-export-client-list', '-script', script,
                 '-check-key-groups', '^(.).*$'], log)
            port = clients.until(lambda: process.poll() is not None or port_of(process))
            with urllib.request.urlopen('http://127.0.0.1:%d/metrics' % port, timeout=clients.SECONDS_MAX) as reply:
                lines = reply.read().decode().split('\n')
            clients.stop(process)
            log.seek(0)
            cls.said = log.read()
        return dict(line.rsplit(' ', 1) for line in lines if line.startswith('redis_'))

    def value(self, name):
        self.assertIn(name, self.metrics[0], self.said)
        return self.metrics[0][name]

    def test_the_scrape_meets_no_error(self):
        self.assertEqual(self.value('redis_up'), '1')
        self.assertEqual(self.value('redis_exporter_last_scrape_error{err=""}'), '0')
        self.assertNotIn('level=err', self.said)

    def test_keys_are_counted_measured_and_read(self):
        self.assertEqual(self.value('redis_db_keys{db="db0"}'), '5')
        self.assertEqual(self.value('redis_keys_count{db="db0",key="*"}'), '5')
        self.assertEqual(self.value('redis_key_size{db="db0",key="list"}'), '3')
        self.assertEqual(self.value('redis_key_value{db="db0",key="number"}'), '42')
        self.assertEqual(self.value('redis_key_value_as_string{db="db0",key="text",val="some value"}'), '1')

    def test_groups_of_keys_are_measured_by_a_script(self):
        self.assertEqual(self.value('redis_key_group_count{db="db0",key_group="l"}'), '1')
        self.assertGreater(float(self.value('redis_key_group_memory_usage_bytes{db="db0",key_group="l"}')), 0)
        self.assertEqual(self.value('redis_script_values{key="keys_of_script"}'), '5')

    def test_streams_and_their_groups_are_described(self):
        self.assertEqual(self.value('redis_stream_length{db="db0",stream="stream"}'), '1')
        self.assertEqual(self.value('redis_stream_group_messages_pending{db="db0",group="group",stream="stream"}'), '1')

    def test_commands_clients_settings_and_the_server_are_described(self):
        self.assertEqual(self.value('redis_commands_total{cmd="rpush"}'), '1')
        self.assertEqual(self.value('redis_latency_percentiles_usec_count{cmd="hset"}'), '1')
        self.assertGreaterEqual(int(self.value('redis_slowlog_length')), 1)
        self.assertEqual(self.value('redis_config_maxmemory'), '0')
        self.assertGreater(float(self.value('redis_memory_used_bytes')), 0)
        names = ' '.join(self.metrics[0])
        self.assertRegex(names, r'redis_instance_info\{[^}]*redis_version="7\.2\.')
        self.assertRegex(names, r'redis_connected_clients_details\{[^}]*name="redis_exporter"')

    def test_what_it_finds_in_redis_it_finds_here_too(self):
        ours, theirs = [{re.sub(r'\{.*', '', name) for name in each} for each in self.metrics]
        self.assertEqual(sorted(theirs - ours - NOT_TOLD), [])
        self.assertEqual(sorted(NOT_TOLD & ours), [])


if __name__ == '__main__':
    unit.main()
