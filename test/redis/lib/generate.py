# SPDX-License-Identifier: Apache-2.0
"""Random sequences of commands, by type.

A command is written as a template, of which there are lists in templates.py:

    WORD        itself                      <k>         something drawn, see SYMBOLS
    A|B         one of them                 [x y]       perhaps
    {x y}       once to four times          (x y|z)     one of these phrases

Few keys and few members, so that commands meet; now and then something that is not right: another
number of words, another type of key, a number that is none.
"""
import re

from lib import templates

KEYS = [b'k%d' % n for n in range(4)]
WRONG = b'wrong' # a key that holds something of another type
LONG = b'L' * 40 # beyond the thresholds for values

FIELDS = [b'a', b'b', b'c', b'd', b'e', b'f', b'g', b'1', b'2', b'3', b'-7', b'10', b'12', b'x y',
          b'', b'\x00\xff\r\n', LONG, b'field:11', b'field:12', b'0005']
VALUES = [b'', b'0', b'1', b'-1', b'10', b'3.5', b'1e3', b'abc', b'hello world', b'\x00\x01\xfe\xff', LONG,
          b'9223372036854775807', b'-9223372036854775808', b' 5', b'foobar', b'12345678901234567890',
          b'a' * 44, b'a' * 45, b'-0', b'inf', b'nan', b'ohmytext', b'mynewtext', b'5.0e3', b'0.1']
INTEGERS = [b'0', b'1', b'2', b'3', b'-1', b'-2', b'5', b'10', b'-5', b'100', b'7']
STRANGE_INTEGERS = [b'9223372036854775807', b'-9223372036854775808', b'9223372036854775808', b'abc', b'',
                    b'1.5', b' 1', b'+1', b'01', b'4294967296', b'-4294967297', b'2147483648']
# None that is a right offset of a bit so far away that the string fills the memory.
STRANGE_OFFSETS = [n for n in STRANGE_INTEGERS if n != b'2147483648']
FLOATS = [b'0', b'1', b'-1', b'1.5', b'0.1', b'-2.25', b'3.0e3', b'100', b'1e-3', b'3.14159265358979',
          b'1e17', b'123456789.123']
STRANGE_FLOATS = [b'nan', b'inf', b'-inf', b'+inf', b'1e400', b'abc', b'', b' 1', b'1e308', b'-1e308',
                  b'0x10', b'1 ', b'1e-400', b'.5', b'5.', b'infinity', b'1e5000']
SCORES = [b'0', b'1', b'2', b'3', b'-1', b'1.5', b'2.5', b'10', b'-3.25', b'inf', b'-inf', b'1e10', b'0.1',
          b'1', b'2', b'3', b'17179869184.5', b'-0', b'1e21', b'3.0000000000000004']
SCORE_ENDS = [b'-inf', b'+inf', b'0', b'1', b'2', b'3', b'(1', b'(2', b'(-inf', b'(+inf', b'2.5', b'-5', b'10']
LEX_ENDS = [b'-', b'+', b'[a', b'(a', b'[c', b'(c', b'[', b'(', b'[field:11', b'(g', b'[e']
STREAM_IDS = [b'%d-%d' % (ms, seq) for ms in range(1, 6) for seq in range(3)] + [b'3', b'5', b'7-*', b'1', b'0-0']
STREAM_ENDS = [b'-', b'+', b'0', b'2', b'3-1', b'(2-1', b'(1', b'4', b'(3-2', b'5-0', b'(-', b'(+']
GROUPS, CONSUMERS = [b'g1', b'g2'], [b'c1', b'c2', b'c3']
PATTERNS = [b'*', b'k?', b'k[0-2]', b'[^a]*', b'*1*', b'field:*', b'\\*', b'k*', b'?', b'', b'[a-c]']
PLACES = [b'Palermo', b'Catania', b'Agrigento', b'Rome', b'Oslo', b'Quito']
LONGITUDES = [b'13.361389', b'15.087269', b'13.583333', b'12.4964', b'0', b'-78.467', b'179.9', b'-180', b'10.75']
LATITUDES = [b'38.115556', b'37.502669', b'37.316667', b'41.9028', b'0', b'-0.18', b'85', b'-85.05', b'59.9']
# Seconds or milliseconds: none is over before its sequence is, on however slow a machine.
EXPIRIES = [b'1000000', b'5000000', b'100000', b'0', b'-1', b'9223372036854775807', b'-9223372036854775808',
            b'92233720368547758', b'abc', b'1.5', b'', b'7000000', b'20000000']
DEADLINES = [b'33177117420', b'33177117421', b'1', b'0', b'-1', b'9223372036854775807', b'33177117420000', b'abc']
WORDS = [b'FOO', b'WITHSCORES', b'LIMIT', b'COUNT', b'NX', b'GET', b'', b'0', b'-1', b'EX', b'MATCH', b'ASC']

SCRIPTS = templates.SCRIPTS


def rarely(random, common, strange):
    return random.choice(strange if random.random() < 0.08 else common)


def key(random):
    at = random.random()
    return WRONG if at < 0.05 else b'none' if at < 0.08 else random.choice(KEYS)


def bytes_any(random):
    if random.random() < 0.8:
        return random.choice(VALUES)
    return bytes(random.randrange(256) for _ in range(random.randrange(80)))


SYMBOLS = {
    'k': key,
    'f': lambda r: r.choice(FIELDS) if r.random() < 0.9 else b'm%d' % r.randrange(40),
    'v': bytes_any,
    'i': lambda r: rarely(r, INTEGERS, STRANGE_INTEGERS),
    'n': lambda r: rarely(r, [b'1', b'2', b'3', b'5', b'10', b'0'], STRANGE_INTEGERS + [b'-1', b'-3']),
    # entries read: not the largest, which redis-server counts on to a negative number
    'read': lambda r: rarely(r, [b'1', b'2', b'3', b'5', b'10', b'0'], [b'-1', b'-3', b'abc', b'']),
    # the negative ones say how many are drawn: a great one is a great reply
    'draw': lambda r: rarely(r, INTEGERS, [b'abc', b'', b'-9223372036854775808', b'9223372036854775808', b'1.5']),
    'n1': lambda r: rarely(r, [b'1'], [b'0', b'2', b'-1', b'abc']),
    'n2': lambda r: rarely(r, [b'2'], [b'0', b'1', b'-1', b'abc', b'4']),
    'bit': lambda r: rarely(r, [b'0', b'1'], [b'2', b'abc', b'-1']),
    'off': lambda r: rarely(r, [b'0', b'1', b'7', b'8', b'9', b'15', b'63', b'64', b'100', b'1000'],
                            STRANGE_OFFSETS + [b'-1', b'#1']),
    'boff': lambda r: rarely(r, [b'0', b'1', b'7', b'8', b'#0', b'#1', b'#5', b'31', b'100'],
                             STRANGE_OFFSETS + [b'-1', b'#', b'#-1', b'#abc']),
    'bt': lambda r: rarely(r, [b'u1', b'u8', b'i8', b'i5', b'u4', b'u63', b'i64', b'i16', b'u32', b'U8', b'i1'],
                           [b'u64', b'i65', b'u0', b'x8', b'', b'i', b'u-1']),
    'int': lambda r: rarely(r, INTEGERS + [b'9223372036854775800', b'-9223372036854775800'], STRANGE_INTEGERS),
    'float': lambda r: rarely(r, FLOATS, STRANGE_FLOATS),
    's': lambda r: rarely(r, SCORES, STRANGE_FLOATS),
    'end': lambda r: rarely(r, SCORE_ENDS, STRANGE_FLOATS + [b'(', b'((1', b'(nan', b'[1']),
    'lex': lambda r: rarely(r, LEX_ENDS, [b'a', b'', b'++', b'-inf', b'+a']),
    'w': lambda r: rarely(r, FLOATS, STRANGE_FLOATS),
    'id': lambda r: rarely(r, STREAM_IDS, [b'abc', b'', b'1-', b'-1', b'1-1-1', b'18446744073709551615-1',
                                           b'18446744073709551616-0', b'0-*', b'1-abc', b'+', b'-', b'$', b'*-1']),
    'se': lambda r: rarely(r, STREAM_ENDS, [b'abc', b'', b'(abc', b'1-', b'$', b'[1']),
    'gid': lambda r: rarely(r, [b'>', b'>', b'>', b'0', b'2-0', b'3'], [b'$', b'abc', b'', b'+', b'-']),
    'g': lambda r: rarely(r, GROUPS, [b'nogroup', b'']),
    'c': lambda r: r.choice(CONSUMERS),
    'p': lambda r: r.choice(PATTERNS),
    'ttl': lambda r: r.choice(EXPIRIES),
    'at': lambda r: r.choice(DEADLINES),
    'place': lambda r: r.choice(PLACES),
    'lon': lambda r: rarely(r, LONGITUDES, STRANGE_FLOATS + [b'181', b'-180.1']),
    'lat': lambda r: rarely(r, LATITUDES, STRANGE_FLOATS + [b'86', b'-85.06']),
    'radius': lambda r: rarely(r, [b'1', b'200', b'100', b'1000', b'500.5', b'10000', b'20000'],
                               STRANGE_FLOATS + [b'-1']),
    'unit': lambda r: rarely(r, [b'm', b'km', b'ft', b'mi', b'KM', b'km'], [b'foo', b'']),
    'db': lambda r: r.choice([b'0', b'16', b'-1', b'abc']),
    'script': lambda r: r.choice(SCRIPTS),
}

TOKEN = re.compile(r'<\w+>|[\[\]{}()|]|[^\s\[\]{}()|<>]+|[<>]')


class Template:
    """A parsed template: expand(random) gives the words of a command."""

    def __init__(self, text):
        self.tokens = TOKEN.findall(text)
        self.at = 0
        self.tree = self.phrase('')
        assert self.at == len(self.tokens), text

    def phrase(self, closing):
        """Alternatives, each a list of parts; a bar binds single words unless inside of parens."""
        alternatives, parts = [], []
        while self.at < len(self.tokens) and self.tokens[self.at] != closing:
            token = self.tokens[self.at]
            self.at += 1
            if token in '[{(':
                parts.append((token, self.phrase({'[': ']', '{': '}', '(': ')'}[token])))
                assert self.at < len(self.tokens), self.tokens
                self.at += 1
            elif token == '|' and closing == ')':
                alternatives.append(parts)
                parts = []
            elif token == '|':
                following = self.phrase_word()
                first = parts.pop()
                choices = first[1] if first[0] == '|' else [[first]]
                parts.append(('|', choices + [[following]]))
            else:
                parts.append(('', token))
        alternatives.append(parts)
        return alternatives

    def phrase_word(self):
        token = self.tokens[self.at]
        self.at += 1
        return ('', token)

    def expand(self, random):
        return self.pick(self.tree, random)

    def names(self):
        """The commands that it may be."""
        def first(alternatives):
            for parts in alternatives:
                kind, what = parts[0]
                if kind:
                    yield from first(what)
                else:
                    yield what
        return set(first(self.tree))

    def pick(self, alternatives, random):
        words = []
        for kind, what in random.choice(alternatives):
            if kind == '[':
                if random.random() < 0.35:
                    words += self.pick(what, random)
            elif kind == '{':
                for _ in range(random.choice((1, 1, 2, 3, 4))):
                    words += self.pick(what, random)
            elif kind in ('(', '|'):
                words += self.pick(what, random)
            elif what[0] == '<' and len(what) > 2:
                words.append(SYMBOLS[what[1:-1]](random))
            else:
                words.append(what.encode('latin1'))
        return words


def spoil(random, args):
    """Now and then a command that is not right."""
    at = random.random()
    if at < 0.02 and len(args) > 1:
        return args[:-1]
    if at < 0.04:
        return args + [random.choice(WORDS)]
    if at < 0.05 and len(args) > 1:
        place = random.randrange(1, len(args))
        return args[:place] + [random.choice(WORDS)] + args[place + 1:]
    if at < 0.06:
        return [args[0].lower()] + args[1:]
    if at < 0.07 and len(args) > 1:
        return args[:1]
    return args


def consumers_of(args):
    """Redis 7.2 makes the consumer in any case, 7.0 when there is something for it: so it is there."""
    name = args[0].upper() if args else b''
    if name in (b'XCLAIM', b'XAUTOCLAIM') and len(args) > 3:
        return [[b'XGROUP', b'CREATECONSUMER'] + args[1:4]]
    words = [arg.upper() for arg in args]
    if name == b'XREADGROUP' and b'STREAMS' in words and words[1:2] == [b'GROUP']:
        rest = args[words.index(b'STREAMS') + 1:]
        return [[b'XGROUP', b'CREATECONSUMER', key] + args[2:4] for key in rest[:len(rest) // 2]]
    return []


class Generator:
    """Sequences of one type; leaves out what `available(name)` says is not there."""

    def __init__(self, kind, available):
        self.kind = kind
        self.templates, left_out = [], set()
        for line in templates.TYPES[kind].strip().splitlines():
            weight, text = re.fullmatch(r'(?:(\d+)\* )?(.*)', line).groups()
            template = Template(text)
            missing = {name for name in template.names() if not available(name)} - {'FOO'}
            left_out |= missing
            if not missing:
                self.templates += [template] * int(weight or 1)
        self.left_out = sorted(left_out)
        self.probes = [probe.split() for probe in templates.PROBES[kind] if available(probe.split()[0])]
        wrong = [b'SET', WRONG, b'1'] if kind not in ('string', 'bit', 'hll') else [b'LPUSH', WRONG, b'1']
        self.prologue = [(0, wrong)] if available(wrong[0].decode()) else []

    def sequence(self, random):
        steps = list(self.prologue)
        connections = (0, 0, 0, 0, 1) if self.kind == 'multi' else (0,)
        for _ in range(random.randrange(5, 60)):
            template = random.choice(self.templates)
            step = (random.choice(connections), spoil(random, template.expand(random)))
            steps += [(step[0], before) for before in consumers_of(step[1])]
            steps.append(step)
        if self.kind == 'multi':
            steps += [(0, [b'DISCARD']), (1, [b'DISCARD'])]
        for probe in self.probes:
            for name in KEYS:
                steps.append((0, [name if word == '<k>' else word.encode() for word in probe]))
        return steps
