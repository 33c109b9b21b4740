# SPDX-License-Identifier: Apache-2.0
"""What is written down in corpus/, and short random sequences of the types in corpus/types: both beside
redis-server. PERIGEE_SEED and PERIGEE_ROUNDS change what is drawn. And tests of the tool itself."""
import glob
import os
import random
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import compare, corpus, generate, resp, run, server, shrink, unit  # noqa: E402

SEED = int(os.environ.get('PERIGEE_SEED') or 1)
ROUNDS = int(os.environ.get('PERIGEE_ROUNDS') or 60)


def types():
    with open(os.path.join(HERE, 'corpus', 'types')) as lines:
        return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


class BesideRedis(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers = (server.Redis(), server.Perigee(os.environ['TEST_PERIGEE']))

    @classmethod
    def tearDownClass(cls):
        for each in cls.servers:
            each.stop()

    def check(self, steps, protocol, title):
        found = run.Run(*self.servers, protocol).sequence(steps)
        if found:
            self.fail('%s\n%sdiffers at: %s\n%s' % (title, corpus.text(steps[:found.index + 1], protocol),
                                                    corpus.line(steps[found.index]), found.text()))

    def test_what_is_written_down_has_the_replies_of_redis(self):
        files = sorted(glob.glob(os.path.join(HERE, 'corpus', '*.txt')))
        self.assertTrue(files)
        for name in files:
            for steps, protocol in corpus.read(name):
                for each in [protocol] if protocol else [2, 3]:
                    self.check(steps, each, os.path.basename(name))

    def rounds(self, kind, protocol):
        generator = generate.Generator(kind, self.servers[1].has)
        self.assertTrue(generator.templates)
        for number in range(ROUNDS):
            draw = random.Random('%d %s %d' % (SEED + number, kind, protocol))
            title = '%s --resp %d --seed %d --rounds 1' % (kind, protocol, SEED + number)
            self.check(generator.sequence(draw), protocol, title)


def add_types():
    def make(kind, protocol):
        return lambda self: self.rounds(kind, protocol)
    for kind in types():
        for protocol in (2, 3):
            name = 'test_random_sequences_of_%s_have_the_replies_of_redis_in_resp%d' % (kind, protocol)
            setattr(BesideRedis, name, make(kind, protocol))


class Tool(unittest.TestCase):
    def test_a_sequence_shrinks_to_what_makes_it_fail(self):
        steps = [(0, [b'SET', b'k%d' % n, b'v' * 100]) for n in range(40)]

        def fails(candidate):
            words = {args[1] for _, args in candidate if len(args) > 1}
            return {b'k7', b'k31'} <= words
        small = shrink.shrink(steps, fails)
        self.assertEqual([args for _, args in small], [[b'SET', b'k7'], [b'SET', b'k31']])

    def test_replies_that_differ_in_type_text_or_order_are_different(self):
        bulk, status = (b'$', b'OK'), (b'+', b'OK')
        self.assertFalse(compare.same([b'GET', b'k'], bulk, status))
        self.assertFalse(compare.same([b'GET', b'k'], (b'-', b'ERR a'), (b'-', b'ERR b')))
        self.assertFalse(compare.same([b'GET', b'k'], (b'$', None), (b'*', None)))
        pair = [(b'$', b'a'), (b'$', b'b')]
        self.assertFalse(compare.same([b'LRANGE', b'k'], (b'*', pair), (b'*', pair[::-1])))
        self.assertTrue(compare.same([b'SMEMBERS', b'k'], (b'*', pair), (b'*', pair[::-1])))
        self.assertFalse(compare.same([b'SMEMBERS', b'k'], (b'~', pair), (b'*', pair)))

    def test_sequences_are_read_as_they_were_written(self):
        steps = [(0, [b'SET', b'', b'a "b" \\ \x00\xff\r\n']), (1, [b'GET', b'#x', b'1>'])]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'x.txt')
            corpus.write(path, 'title', steps, 3)
            self.assertEqual(corpus.read(path), [(steps, 3)])

    def test_every_template_gives_words(self):
        from lib import templates
        for kind in templates.TYPES:
            generator = generate.Generator(kind, lambda name: True)
            for template in generator.templates:
                words = template.expand(random.Random(SEED))
                self.assertTrue(all(isinstance(word, bytes) for word in words), (kind, words))
                self.assertRegex(words[0].decode(), r'^[A-Z_]+$')

    def test_replies_are_read_with_their_types(self):
        connection = resp.Connection.__new__(resp.Connection)
        connection.buffer, connection.at = b'%1\r\n+a\r\n*2\r\n:1\r\n_\r\n$-1\r\n,1.5\r\n#t\r\n', 0
        self.assertEqual(connection.read(), (b'%', [((b'+', b'a'), (b'*', [(b':', 1), (b'_', None)]))]))
        self.assertEqual(connection.read(), (b'$', None))
        self.assertEqual(connection.read(), (b',', b'1.5'))
        self.assertEqual(connection.read(), (b'#', True))


add_types()
if __name__ == '__main__':
    unit.main()
