# SPDX-License-Identifier: Apache-2.0
"""Sidekiq with Perigee behind it: jobs enqueued, in bulk, scheduled, retried, and given up."""
import json
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import clients, server, unit  # noqa: E402

PROGRAMS = os.path.join(HERE, 'programs')


class Sidekiq(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = server.PerigeeOnPort(os.environ['TEST_PERIGEE'])
        cls.server.start()
        environment = dict(os.environ, REDIS_URL='redis://127.0.0.1:%d/2' % cls.server.port, LANG='C.UTF-8')
        with open(os.path.join(cls.server.folder, 'sidekiq'), 'w+') as log:
            worker = clients.start(['sidekiq', '-r', os.path.join(PROGRAMS, 'work.rb'), '-c', '4', '-q', 'critical,5',
                                    '-q', 'default'], log, environment)
            cls.status, out, cls.errors = clients.run(['ruby', os.path.join(PROGRAMS, 'client.rb')], '', environment)
            cls.worker_status = clients.stop(worker)
            log.seek(0)
            cls.log = log.read()
        cls.seen = json.loads(out) if cls.status == 0 else {}

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.assertEqual(self.status, 0, self.errors + self.log)

    def test_a_job_is_done_with_the_arguments_that_it_was_given(self):
        self.assertRegex(self.seen['id'], r'^[0-9a-f]{24}$')
        self.assertEqual(self.seen['one'], ['one', {'utf8': 'żółć'}, [1, 2.5, None]])

    def test_each_job_of_many_is_done_once(self):
        self.assertEqual(self.seen['bulk'], list(range(100)))

    def test_a_job_goes_to_the_queue_that_it_names(self):
        self.assertEqual(self.seen['urgent'], ['urgent'])
        self.assertEqual(self.seen['queues'], ['critical', 'default'])

    def test_a_scheduled_job_waits_for_its_time(self):
        self.assertEqual(self.seen['scheduled'], ['far'])
        self.assertEqual((self.seen['soon'], self.seen['far']), (['soon'], ['far']))

    def test_a_job_that_fails_is_kept_and_tried_again(self):
        self.assertEqual((self.seen['error'], self.seen['flaky']), ('try 1', ['flaky', 2]))

    def test_a_job_without_another_try_is_dead(self):
        self.assertEqual(self.seen['dead'], 'it never works')

    def test_the_worker_shows_itself_and_ends_when_it_is_told_to(self):
        self.assertEqual(self.seen['processes'], ['critical', 'default'])
        self.assertEqual(self.seen['left'], 0)
        self.assertEqual(self.worker_status, 0, self.log)
        self.assertNotIn('Redis::', self.log)


if __name__ == '__main__':
    unit.main()
