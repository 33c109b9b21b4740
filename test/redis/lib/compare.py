# SPDX-License-Identifier: Apache-2.0
"""When two replies are the same.

All is compared exactly, types and error texts included, but for what Redis itself leaves open: the
order of what has none, how much time is left, and what is drawn at random (whose properties the
driver checks). And for what is different between Redis 7.0 and 7.2, by name.
"""

import re

# Replies whose elements have no order.
UNORDERED = {b'SMEMBERS', b'SINTER', b'SUNION', b'SDIFF', b'KEYS', b'HKEYS', b'HVALS'}
# Flat pairs in RESP2.
UNORDERED_PAIRS = {b'HGETALL'}
# Without ASC or DESC these come in no order.
GEO = {b'GEORADIUS', b'GEORADIUS_RO', b'GEORADIUSBYMEMBER', b'GEORADIUSBYMEMBER_RO', b'GEOSEARCH'}
# Times that pass while the commands go to one server and then to the other.
TOLERANCE = {b'TTL': 20, b'PTTL': 20000, b'EXPIRETIME': 20, b'PEXPIRETIME': 20000}
# Names of what changes with time in a list of names and values.
TIMES = {b'idle', b'inactive', b'seen-time', b'active-time'}
# Integers above it are milliseconds since 1970.
TIME_MIN = 10 ** 12
# What the servers hold differently, and nobody can rely on.
PRIVATE = {b'radix-tree-keys', b'radix-tree-nodes'}
# What Redis 7.2 added to replies.
ADDED_72 = {b'inactive', b'active-time'}
# OBJECT ENCODING: 7.0's word and the one that 7.2 says for the same.
ENCODINGS_72 = {(b'hashtable', b'listpack'), (b'quicklist', b'listpack')}
# LPOS RANK of this is an error since 7.2.
RANK_REFUSED_72 = b'-9223372036854775808'
# And of strings: Redis remembers that one was changed in place, here only what it holds counts.
ENCODINGS_OF_CHANGED = {(b'raw', b'embstr'), (b'raw', b'int'), (b'embstr', b'int')}
# SORT leaves sorted sets as this in Redis, with all that is then made of them.
ENCODINGS_OF_SORTED = {(b'skiplist', b'listpack')}
# SORT says it in Redis, too, when any number was out of range some time before (it looks at an old errno).
NOT_SORTED = b"ERR One or more scores can't be converted into double"


# 7.2 has an option there.
RANKS_72 = {b'ZRANK', b'ZREVRANK'}
# Error texts end here at this length.
ERROR_SIZE_MAX = 400
NUMBER = re.compile(rb'-?[0-9]+([.][0-9]+)?(e[+-]?[0-9]+)?')
def key_of(reply):
    return repr(reply)


def normal(args, reply):
    """The reply in a form in which equal replies are equal."""
    kind, value = reply
    name = args[0].upper() if args else b''
    if isinstance(value, bytes) and value.startswith(b'HYLL'):
        return (kind, value[:8] + value[16:]) # without the count, which redis-server keeps there
    if name == b'HELLO' or kind == b'-' or not isinstance(value, list):
        return reply
    words = upper(args)
    if name in (b'SORT', b'SORT_RO') and unsorted(args): # as it comes, and sets come in any order
        return len(value) if b'LIMIT' in words else (kind, sorted(value, key=key_of))
    if name in UNORDERED or (name in GEO and b'ASC' not in words and b'DESC' not in words):
        return (kind, sorted(value, key=key_of))
    if name in UNORDERED_PAIRS:
        if kind == b'%':
            return (kind, sorted(value, key=key_of))
        pairs = [tuple(value[n:n + 2]) for n in range(0, len(value), 2)]
        return (kind, sorted(pairs, key=key_of))
    if name == b'XINFO':
        return info_normal(reply)
    if name == b'XPENDING' and len(args) > 3 and kind == b'*':
        return (kind, [row if row[0] != b'*' or len(row[1]) != 4 else
                       (row[0], row[1][:2] + [('time',)] + row[1][3:]) for row in value])
    return reply


def unsorted(args):
    """Whether a SORT leaves the order open: its pattern names no key of the element's, or many may be equal."""
    return any(args[n].upper() == b'BY' and (b'*' not in args[n + 1] or b'ALPHA' in upper(args))
               for n in range(2, len(args) - 1))


def parts_here(args, theirs, ours):
    """Whether redis-server has refused for an old errno what it should store: what follows says nothing."""
    return args[:1] and args[0].upper() == b'SORT' and theirs == (b'-', NOT_SORTED) and ours[0] == b':'


def is_unsorted(args):
    """Whether a SORT is told not to sort: lists and sorted sets then come in their own order."""
    return args[:1] and args[0].upper() in (b'SORT', b'SORT_RO') and \
        any(args[n].upper() == b'BY' and b'*' not in args[n + 1] for n in range(2, len(args) - 1))


def same_to_zero(args, theirs, ours):
    """Elements are compared as far as a zero byte; of equal ones any comes first, and any is beyond a LIMIT."""
    if theirs[0] != b'*' or ours[0] != b'*' or not theirs[1] or not ours[1]:
        return False
    if b'GET' in upper(args): # what was compared is not told, or among other things
        there = [any(b'\0' in (leaf[1] or b'') for leaf in reply[1]) for reply in (theirs, ours)]
        return any(there) and len(theirs[1]) == len(ours[1]) and \
            (b'LIMIT' in upper(args) or sorted(theirs[1], key=key_of) == sorted(ours[1], key=key_of))
    short = [[(leaf[1] or b'').split(b'\0')[0] for leaf in reply[1]] for reply in (theirs, ours)]
    return short[0] == short[1] and (b'LIMIT' in upper(args) or
                                     sorted(theirs[1], key=key_of) == sorted(ours[1], key=key_of))


def info_normal(reply):
    """Fields with names, as a map or flat, without those that are private or of another version."""
    kind, value = reply
    if kind == b'%':
        pairs = value
    elif kind == b'*' and value and len(value) % 2 == 0 and \
            all(name[0] in (b'$', b'+') for name in value[::2]):
        pairs = [tuple(value[n:n + 2]) for n in range(0, len(value), 2)]
    elif isinstance(value, list):
        return (kind, [info_normal(element) for element in value])
    else:
        return (kind, 'time') if kind == b':' and value > TIME_MIN else reply
    out = []
    for name, element in pairs:
        if name[1] in PRIVATE or name[1] in ADDED_72:
            continue
        out.append((name, ('time',) if name[1] in TIMES else info_normal(element)))
    return (kind, out)


def numbers(reply):
    """Scores, of which 7.2 writes the shortest text, as numbers."""
    kind, value = reply
    if isinstance(value, list):
        return (kind, [numbers(element) for element in value])
    if kind in (b'$', b',') and isinstance(value, bytes) and NUMBER.fullmatch(value):
        return (kind, float(value))
    return reply


def upper(args):
    return {arg.upper() for arg in args}


def is_random(args):
    """Whether what comes back is drawn."""
    name = args[0].upper() if args else b''
    return name in (b'SPOP', b'SRANDMEMBER', b'HRANDFIELD', b'ZRANDMEMBER', b'RANDOMKEY')


def shape(reply):
    """Types and lengths without what the strings say."""
    kind, value = reply
    if kind in (b'*', b'~') and value is not None:
        return (kind, [shape(element) for element in value])
    return (kind, None if value is None else 'some')


def same(args, theirs, ours, sorted_before=True):
    """Whether `ours` is what `theirs` is for this command; sorted_before: there was a SORT in the sequence."""
    name = args[0].upper() if args else b''
    if theirs == ours:
        return True
    if name in TOLERANCE and theirs[0] == ours[0] == b':' and theirs[1] > 0 and ours[1] > 0:
        return abs(theirs[1] - ours[1]) <= TOLERANCE[name]
    if name == b'OBJECT' and len(args) > 1 and args[1].upper() == b'ENCODING':
        return (theirs[1], ours[1]) in ENCODINGS_72 | ENCODINGS_OF_CHANGED | \
            (ENCODINGS_OF_SORTED if sorted_before else set())
    if name == b'LPOS' and RANK_REFUSED_72 in args:
        return ours[0] == b'-'
    if name in (b'SORT', b'SORT_RO') and theirs == (b'-', NOT_SORTED):
        return ours[0] in (b'*', b':')
    if name in (b'SORT', b'SORT_RO') and b'ALPHA' in upper(args) and same_to_zero(args, theirs, ours):
        return True
    if name == b'DUMP':
        return theirs[0] == ours[0] and (theirs[1] is None) == (ours[1] is None)
    if is_random(args):
        return shape(theirs) == shape(ours)
    if theirs[0] == ours[0] == b'-' and theirs[1].startswith(b'ERR Unbalanced XREAD list'):
        return ours[1].startswith(b"ERR Unbalanced 'xread") # 7.2 names the command
    if theirs[0] == ours[0] == b'-' and len(ours[1]) > ERROR_SIZE_MAX:
        return theirs[1].startswith(ours[1])
    if name in RANKS_72 and len(args) > 3:
        return theirs[0] == b'-'
    if name.startswith((b'Z', b'BZ', b'GEO')) and theirs[0] != b'%':
        theirs, ours = numbers(theirs), numbers(ours)
    return normal(args, theirs) == normal(args, ours)
