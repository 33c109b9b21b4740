# SPDX-License-Identifier: Apache-2.0
"""hiredis: programs/hiredis.c, compiled here."""
import os
import shlex
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import clients, server, unit  # noqa: E402

PARTS = {
    'replies': 'replies_of_each_kind_arrive_as_they_are',
    'pipeline': 'a_pipeline_and_a_transaction_are_answered_in_order',
    'messages': 'messages_are_read_like_replies',
    'reconnect': 'a_closed_connection_says_so_and_can_be_opened_again',
    'asynchronous': 'callbacks_come_in_order_and_messages_beside_them',
}


class Hiredis(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = server.PerigeeOnPort(os.environ['TEST_PERIGEE'])
        cls.server.start()
        program = os.path.join(cls.server.folder, 'hiredis')
        flags = clients.run(['pkg-config', '--cflags', '--libs', 'hiredis', 'libuv'])[1]
        cls.status, cls.said, errors = clients.run(
            ['cc', '-std=c11', '-D_GNU_SOURCE', '-O1', os.path.join(HERE, 'programs', 'hiredis.c'), '-o', program]
            + shlex.split(flags))
        if cls.status == 0:
            cls.status, cls.said, errors = clients.run([program, cls.server.port])
        cls.said += errors

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()


def add_tests():
    def test(part):
        return lambda self: self.assertIn('ok %s\n' % part, self.said)
    for part, sentence in PARTS.items():
        setattr(Hiredis, 'test_' + sentence, test(part))
    Hiredis.test_the_program_ends_well = lambda self: self.assertEqual(self.status, 0, self.said)


add_tests()

if __name__ == '__main__':
    unit.main()
