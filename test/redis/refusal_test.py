# SPDX-License-Identifier: Apache-2.0
"""What is refused before it runs: each command and subcommand with too few and too many words, each
container with a subcommand that there is not. By itself, in MULTI, in scripts, in RESP2 and RESP3,
beside redis-server.
"""
import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import resp, server, unit  # noqa: E402

# Has other arities since 7.2, or here (MULTI ATOMIC).
OTHERS = {'command|getkeys', 'command|getkeysandflags', 'zrank', 'zrevrank', 'multi'}
UNKNOWN = ['nosuch', '', 'no\r\nsuch', 'NoSuch' + 'x' * 200]
SCRIPT = 'return redis.call(unpack(ARGV))'


def subcommands_of(row):
    return [(sub[1][0][1].decode(), sub[1][1][1]) for sub in row[9][1] or ()]


def wrong_numbers(words, arity):
    """The words with too few and with too many behind them. HELP of any number is like any other."""
    least = abs(arity)
    if least > len(words):
        yield words + ['x'] * (least - len(words) - 1)
    if arity > 0:
        yield words + ['x'] * (arity - len(words) + 1)


def requests(rows):
    """All of them, from the rows of COMMAND."""
    for row in rows:
        name, arity = row[0][1].decode(), row[1][1]
        if name not in OTHERS:
            yield from wrong_numbers([name], arity)
        subs = subcommands_of(row)
        for word in UNKNOWN if subs else ():
            yield [name, word]
            yield [name.upper(), word, 'a', 'b']
        for sub, arity in subs:
            words = sub.split('|')
            yield [words[0].upper(), words[1] + 'x']
            if sub not in OTHERS:
                yield from wrong_numbers(words, arity)
    for word in UNKNOWN:
        yield [word]
        yield [word, 'a' * 300, 'b' * 200]


def replies(connection, way, words):
    """What is told, as text: that of EXEC as well."""
    if way == 'script':
        asked = [('EVAL', SCRIPT, '0', *words)]
    elif way == 'multi':
        asked = [('MULTI',), words, ('EXEC',)]
    else:
        asked = [words]
    return [re.sub('[0-9a-f]{40}', 'SHA', resp.show(connection.ask(*each))) for each in asked]


class Refusal(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.servers = [server.Redis(), server.Perigee(os.environ['TEST_PERIGEE'])]
        connection = cls.servers[0].connect()
        rows = [row for _, row in connection.ask('COMMAND')[1]]
        connection.close()
        cls.requests = list(requests(rows))

    @classmethod
    def tearDownClass(cls):
        for each in cls.servers:
            each.stop()

    def check(self, way, protocol):
        connections = [each.connect() for each in self.servers]
        for connection in connections:
            connection.ask('HELLO', str(protocol))
        self.assertGreater(len(self.requests), 500)
        for words in self.requests:
            theirs, ours = [replies(connection, way, words) for connection in connections]
            self.assertEqual(theirs, ours, words)
        for connection in connections:
            connection.close()


def add_tests():
    def make(way, protocol):
        return lambda self: self.check(way, protocol)
    for way, title in (('plain', 'by_itself'), ('multi', 'in_multi'), ('script', 'in_a_script')):
        for protocol in (2, 3):
            setattr(Refusal, 'test_%s_in_resp%d' % (title, protocol), make(way, protocol))


add_tests()
if __name__ == '__main__':
    unit.main()
