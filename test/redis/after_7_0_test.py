# SPDX-License-Identifier: Apache-2.0
"""What Redis has had since 7.0, which redis-server here does not know: replies are written down.

after_7_0.txt has one test a paragraph: a sentence, then commands with their replies in RESP3.
"""
import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import resp, server, unit  # noqa: E402


def paragraphs():
    """(sentence, [(words, reply as text)])"""
    with open(os.path.join(HERE, 'after_7_0.txt')) as text:
        for paragraph in re.split(r'\n\n+', text.read().strip()):
            sentence, steps = None, []
            for line in paragraph.split('\n'):
                if line.startswith('# '):
                    sentence = sentence or line[2:]
                elif line.startswith('> '):
                    steps.append((resp.unquote_line(line[2:]), []))
                else:
                    steps[-1][1].append(line)
            if steps:
                yield sentence, [(words, '\n'.join(lines)) for words, lines in steps]


class After70(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = server.Perigee(os.environ['TEST_PERIGEE'])

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def check(self, steps):
        connection = self.server.connect()
        connection.ask('HELLO', '3')
        connection.ask('FLUSHALL')
        for words, expected in steps:
            reply = resp.show(connection.ask(*words))
            if expected.startswith('~ '): # a part of it
                self.assertRegex(reply, expected[2:], words)
            else:
                self.assertEqual(reply, expected, words)
        connection.close()


def add_tests():
    def make(steps):
        return lambda self: self.check(steps)
    for sentence, steps in paragraphs():
        setattr(After70, 'test_' + re.sub(r'\W+', '_', sentence).strip('_'), make(steps))


add_tests()
if __name__ == '__main__':
    unit.main()
