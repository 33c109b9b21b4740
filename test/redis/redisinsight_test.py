# SPDX-License-Identifier: Apache-2.0
"""What RedisInsight sends: redisinsight.txt, held against Perigee and, as far as it knows the commands, redis-server."""
import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import resp, server, unit  # noqa: E402


def shape(reply):
    """As redisinsight.txt writes it."""
    kind, value = reply
    if value is None:
        return 'nil'
    if kind in resp.AGGREGATES:
        return '[%s]' % ' '.join(shape(element) for element in value)
    if kind in (b'+', b'-'):
        return kind.decode() + value.decode()
    return kind.decode()


def matches(expected, reply):
    """Whether the reply has the shape, and in a string the words behind it."""
    found = shape(reply)
    if expected.startswith('~ '):
        return re.search(expected[2:], found) is not None
    if expected.startswith('-'):
        return found.startswith(expected)
    if expected.startswith('$'):
        return found == '$' and all(word.encode() in reply[1] for word in expected.split()[1:])
    pattern = re.escape(expected)
    for each in (r'\$', ':'):
        pattern = pattern.replace(r'\[%s\*\]' % each, r'\[(%s ?)*\]' % each)
    return re.fullmatch(pattern, found) is not None


def paragraphs():
    """(sentence, [(line, whether redis-server knows it, words, shape)])"""
    with open(os.path.join(HERE, 'redisinsight.txt')) as text:
        for paragraph in text.read().strip().split('\n\n')[1:]:
            lines = paragraph.split('\n')
            yield lines[0][2:], [(command, not command.startswith('>>'), resp.unquote_line(command.lstrip('> ')), expected)
                                 for command, expected in zip(lines[1::2], lines[2::2])]


class RedisInsight(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.servers = [server.Perigee(os.environ['TEST_PERIGEE']), server.Redis()]
        for each in cls.servers:
            each.settings = ()

    @classmethod
    def tearDownClass(cls):
        for each in cls.servers:
            each.stop()

    def check(self, steps):
        for where in self.servers:
            connection = where.connect()
            connection.ask('FLUSHALL')
            for line, known, words, expected in steps:
                if not known and where.name != 'perigee':
                    continue
                reply = connection.ask(*words)
                self.assertTrue(matches(expected, reply), '%s: %s\nexpected %s\ngot %s\n%s' % (
                    where.name, line, expected, shape(reply), resp.show(reply)[:3000]))
            connection.close()


def add_tests():
    def make(steps):
        return lambda self: self.check(steps)
    for sentence, steps in paragraphs():
        setattr(RedisInsight, 'test_' + re.sub(r'\W+', '_', sentence).strip('_'), make(steps))


add_tests()

if __name__ == '__main__':
    unit.main()
