# SPDX-License-Identifier: Apache-2.0
"""Sequences as text: one command a line, words as redis-cli quotes them.

    # a comment
    = resp 3        a new sequence, in RESP3 only; "=" alone: in both
    SET k0 "a b"
    1> GET k0       on the second connection
"""
import re

from lib import resp


def line(step):
    number, args = step
    prefix = '%d> ' % number if number else ''
    return prefix + ' '.join(resp.quote(arg) for arg in args)


def text(steps, protocol):
    head = '= resp %d' % protocol if protocol else '='
    return '\n'.join([head] + [line(step) for step in steps]) + '\n'


def write(path, title, steps, protocol):
    with open(path, 'w', encoding='latin1') as out:
        out.write('# %s\n%s' % (title, text(steps, protocol)))


def read(path):
    """A list of (steps, protocol or None)."""
    sequences = []
    with open(path, encoding='latin1') as lines:
        for number, row in enumerate(lines, 1):
            row = row.rstrip('\n')
            if not row.strip() or row.startswith('#'):
                continue
            head = re.fullmatch(r'=( resp ([23]))?\s*', row)
            if head:
                sequences.append(([], int(head.group(2)) if head.group(2) else None))
                continue
            if not sequences:
                raise ValueError('%s:%d: a command before the first "="' % (path, number))
            match = re.match(r'(\d+)> ', row)
            connection = int(match.group(1)) if match else 0
            words = resp.unquote_line(row[match.end():] if match else row)
            sequences[-1][0].append((connection, words))
    return sequences
