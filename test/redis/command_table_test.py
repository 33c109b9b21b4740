# SPDX-License-Identifier: Apache-2.0
"""docs/redis-commands.md says of each command of Redis whether it is there, and that is true.

The table is made from what redis-server and perigee say of themselves and from command_table.txt.
`test/redis/command_table_test.py --write` makes it anew (TEST_PERIGEE says of what).
"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import server, table, unit  # noqa: E402

PAGE = os.path.join(HERE, '..', '..', 'docs', 'redis-commands.md')
INTRODUCTION = '''# The commands of Redis

Each command and subcommand of Redis 7.0, those that came with 7.2, and the expiry of fields of 7.4: whether Perigee has it and what
differs. [redis.md](redis.md) tells of what is different everywhere. This page is made by `test/redis/command_table_test.py --write`,
and a test fails when it is not true.
'''


class State:
    """What both servers say."""

    def __init__(self):
        self.servers = (server.Redis(), server.Perigee(os.environ['TEST_PERIGEE']))
        self.connections = [each.connect() for each in self.servers]
        for each in self.connections:
            each.ask('HELLO', '3')
        self.theirs, self.ours = [table.commands(each) for each in self.connections]
        self.docs = table.documentation(self.connections[0])
        self.differences = table.Differences(os.path.join(HERE, 'command_table.txt'))
        self.wanted = {name: self.docs.get(name, ('server', '')) for name in self.theirs}
        for name, group, version in self.differences.rows['new']:
            self.wanted.setdefault(name, (group, version))

    def stop(self):
        for each in self.connections:
            each.close()
        for each in self.servers:
            each.stop()

    def row(self, name):
        """The words "yes", "partly" or "no", and the sentence."""
        if name not in self.ours:
            return 'no', self.differences.sentence('no', name) or ''
        sentence = self.differences.sentence('partly', name)
        return ('partly', sentence) if sentence else ('yes', '')

    def page(self):
        lines = [INTRODUCTION]
        rows = {name: self.row(name) for name in self.wanted}
        counts = {word: sum(1 for row in rows.values() if row[0] == word) for word in ('yes', 'partly', 'no')}
        lines.append('Of %d: %d yes, %d partly, %d no.' %
                     (len(rows), counts['yes'], counts['partly'], counts['no']))
        for group in sorted({group for group, _ in self.wanted.values()}):
            lines += ['', '## ' + group, '', '| command | since | there | what differs |', '|---|---|---|---|']
            for name in sorted(self.wanted):
                if self.wanted[name][0] == group:
                    lines.append('| %s | %s | %s | %s |' % (name.upper().replace('|', ' '), self.wanted[name][1],
                                                            *rows[name]))
        return '\n'.join(lines) + '\n'


class CommandTable(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.state = State()

    @classmethod
    def tearDownClass(cls):
        cls.state.stop()

    def test_the_page_says_which_commands_are_there(self):
        with open(PAGE) as page:
            written = page.read()
        self.assertEqual(written.splitlines(), self.state.page().splitlines(),
                         'docs/redis-commands.md is not true any more: test/redis/command_table_test.py --write')

    def test_what_is_said_to_be_there_is_known_when_it_is_asked_for(self):
        for name in sorted(self.state.wanted):
            if name not in self.state.ours or name in ('quit', 'shutdown', 'reset', 'monitor'):
                continue
            connection = self.state.servers[1].connect()
            kind, text = connection.ask(*name.split('|'))
            connection.close()
            if kind == b'-':
                self.assertNotIn(b'unknown command', text, name)
                if '|' in name:
                    self.assertFalse(text.startswith(b"ERR unknown subcommand '"), name)

    def test_command_info_is_that_of_redis_where_no_reason_is_given(self):
        found = []
        for name, theirs in sorted(self.state.theirs.items()):
            ours = self.state.ours.get(name)
            for field in table.FIELDS if ours else ():
                if theirs.fields[field] != ours.fields[field] and \
                        not self.state.differences.sentence('info', name, field):
                    found.append('%s, %s: %s of Redis, %s here' %
                                 (name, field, theirs.fields[field], ours.fields[field]))
        self.assertFalse(found, '\n'.join(found))
        unused = [row for row in self.state.differences.unused('info') if row[0] in self.state.ours]
        self.assertFalse(unused, 'these do not differ')

    def test_words_that_redis_has_after_7_0_are_among_the_arguments(self):
        for name, word, version in self.state.differences.rows['word']:
            if name in self.state.ours and not self.state.differences.sentence('partly', name):
                self.assertIn(word, table.argument_words(self.state.connections[1], name), (name, version))

    def test_what_is_said_of_commands_is_still_so(self):
        for kind, name in [(kind, row[0]) for kind in ('partly', 'no') for row in self.state.differences.rows[kind]]:
            names = [each for each in self.state.wanted if table.Differences.matches(name, each)]
            self.assertTrue(names, '%s %s: there is no such command' % (kind, name))
            there = [each for each in names if each in self.state.ours]
            self.assertEqual(bool(there), kind == 'partly', '%s %s is wrong: %s' % (kind, name, there))


def write():
    state = State()
    with open(PAGE, 'w') as page:
        page.write(state.page())
    state.stop()


if __name__ == '__main__':
    if '--write' in sys.argv:
        write()
    else:
        unit.main()
