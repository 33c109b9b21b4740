# SPDX-License-Identifier: Apache-2.0
"""Celery with Perigee as its broker and for its results: a worker, and what the page on canvas shows."""
import gc
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import clients, server, unit  # noqa: E402

SECONDS = clients.SECONDS_MAX


class Celery(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = server.PerigeeOnPort(os.environ['TEST_PERIGEE'])
        cls.server.start()
        os.environ['JOBS_URL'] = 'redis://127.0.0.1:%d/1' % cls.server.port
        cls.log = open(os.path.join(cls.server.folder, 'celery'), 'w+')
        cls.worker = clients.start(
            ['/usr/bin/python3', '-m', 'celery', '--workdir', HERE, '-A', 'programs.tasks', 'worker', '--pool',
             'threads', '--concurrency', '4', '--queues', 'celery,elsewhere', '--loglevel', 'WARNING', '--hostname',
             'one@here', '--without-mingle'],
            cls.log, dict(os.environ, PYTHONPATH=HERE, PYTHONDONTWRITEBYTECODE='1'))
        from programs import tasks # it knows the address now
        from celery import canvas
        cls.tasks, cls.canvas = tasks, canvas

    @classmethod
    def tearDownClass(cls):
        status = clients.stop(cls.worker)
        cls.log.seek(0)
        said = cls.log.read()
        cls.log.close()
        gc.collect() # results that are dropped unsubscribe
        cls.tasks.app.close()
        cls.server.stop()
        assert status == 0 and 'redis.exceptions' not in said, (status, said)

    def test_a_task_is_done_and_its_result_is_kept(self):
        result = self.tasks.add.delay(4, 4)
        self.assertEqual(result.get(timeout=SECONDS), 8)
        self.assertEqual((result.state, result.successful()), ('SUCCESS', True))
        again = self.tasks.add.AsyncResult(result.id)
        self.assertEqual((again.result, again.args), (8, [4, 4]))
        again.forget()
        self.assertEqual(self.tasks.add.AsyncResult(result.id).state, 'PENDING')

    def test_a_task_with_a_countdown_is_done_later(self):
        self.assertEqual(self.tasks.add.apply_async((2, 3), countdown=0.1).get(timeout=SECONDS), 5)

    def test_a_task_that_fails_is_an_exception_and_one_that_retries_succeeds(self):
        with self.assertRaisesRegex(ValueError, 'it is broken'):
            self.tasks.broken.delay().get(timeout=SECONDS)
        self.assertEqual(self.tasks.third_time.delay().get(timeout=SECONDS), 2)

    def test_a_task_goes_to_the_queue_that_its_route_names(self):
        self.assertEqual(self.tasks.where.delay().get(timeout=SECONDS), 'elsewhere')

    def test_a_group_a_chain_and_a_callback(self):
        add = self.tasks.add
        many = self.canvas.group(add.s(n, n) for n in range(20))().get(timeout=SECONDS)
        self.assertEqual(many, [2 * n for n in range(20)])
        self.assertEqual(self.canvas.chain(add.s(4, 4), add.s(8), add.s(16))().get(timeout=SECONDS), 32)
        linked = add.apply_async((2, 2), link=add.s(16))
        self.assertEqual(linked.get(timeout=SECONDS), 4)
        self.assertEqual(clients.until(lambda: linked.children)[0].get(timeout=SECONDS), 20)
        self.assertEqual(add.starmap([(1, 2), (3, 4)]).delay().get(timeout=SECONDS), [3, 7])

    def test_a_chord_calls_back_when_all_of_its_group_is_done(self):
        add, total = self.tasks.add, self.tasks.total
        self.assertEqual(self.canvas.chord(add.s(n, n) for n in range(30))(total.s()).get(timeout=SECONDS), 870)
        failing = self.canvas.chord([add.s(1, 1), self.tasks.broken.s()])(total.s())
        with self.assertRaisesRegex(Exception, 'it is broken'):
            failing.get(timeout=SECONDS)

    def test_a_worker_answers_who_asks_for_it(self):
        found = clients.until(lambda: self.tasks.app.control.inspect(limit=1, timeout=10).registered())
        self.assertIn('programs.tasks.add', found['one@here'])


if __name__ == '__main__':
    unit.main()
