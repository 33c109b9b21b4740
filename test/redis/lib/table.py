# SPDX-License-Identifier: Apache-2.0
"""The commands of redis-server and of perigee, as COMMAND INFO and COMMAND DOCS tell of them."""

FIELDS = ('arity', 'flags', 'first key', 'last key', 'step', 'categories', 'tips', 'key specifications')
ORDERED = {'arity', 'first key', 'last key', 'step'}


def plain(reply):
    """A reply without its types; maps and flat lists of pairs alike."""
    kind, value = reply
    if kind == b'%':
        return {str(plain(key)): plain(element) for key, element in value}
    if isinstance(value, list):
        return [plain(element) for element in value]
    return value.decode('latin1') if isinstance(value, bytes) else value


def without_notes(value):
    """A key specification without the remark that Redis writes into some."""
    return {k: v for k, v in value.items() if k != 'notes'} if isinstance(value, dict) else value


class Command:
    """One row of COMMAND INFO; `fields` by the names above."""

    def __init__(self, row):
        self.name = row[0]
        self.fields = {}
        for field, value in zip(FIELDS, row[1:9]):
            self.fields[field] = value if field in ORDERED else sorted(map(without_notes, value), key=repr)
        self.children = [Command(child) for child in row[9]]

    def with_children(self):
        yield self
        for child in self.children:
            yield from child.with_children()


def commands(connection):
    """All commands and subcommands of a server, by name ("client|list")."""
    rows = plain(connection.ask('COMMAND'))
    return {each.name: each for row in rows for each in Command(row).with_children()}


def documentation(connection):
    """Group, since and summary by name."""
    found = {}

    def walk(docs):
        for name, fields in docs.items():
            found[name] = (fields['group'], fields['since'])
            walk(fields.get('subcommands', {}))
    walk(plain(connection.ask('COMMAND', 'DOCS')))
    return found


def argument_words(connection, name):
    """All tokens in the arguments of a command, in capital letters."""
    docs = plain(connection.ask('COMMAND', 'DOCS', name)).get(name, {})
    words = set()

    def walk(arguments):
        for each in arguments:
            if 'token' in each:
                words.add(each['token'].upper())
            walk(each.get('arguments', []))
    walk(docs.get('arguments', []))
    return words


class Differences:
    """command_table.txt: what the table says beside what the servers do.

    Fields are separated by tabs, a line is one of

        partly NAME SENTENCE            it is there; the sentence says what differs
        no NAME SENTENCE                it is not there, and why; NAME may end with *
        info NAME FIELD SENTENCE        COMMAND INFO's field differs, and why; NAME may be *
        new NAME GROUP VERSION          a command that Redis has after 7.0
        word NAME WORD VERSION          a word in its arguments that Redis has after 7.0
    """

    KINDS = {'partly': 2, 'no': 2, 'info': 3, 'new': 3, 'word': 3}

    def __init__(self, path):
        self.rows = {kind: [] for kind in self.KINDS}
        with open(path) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip() or line.startswith('#'):
                    continue
                kind, *fields = line.rstrip('\n').split('\t')
                if len(fields) != self.KINDS.get(kind):
                    raise ValueError('%s:%d: not so many fields' % (path, number))
                self.rows[kind].append(tuple(fields))
        self.used = set()

    def sentence(self, kind, *names):
        for row in self.rows[kind]:
            if all(self.matches(pattern, name) for pattern, name in zip(row, names)):
                self.used.add((kind,) + row)
                return row[-1]
        return None

    @staticmethod
    def matches(pattern, name):
        return name.startswith(pattern[:-1]) if pattern.endswith('*') else name == pattern

    def unused(self, kind):
        return [row for row in self.rows[kind] if (kind,) + row not in self.used]
