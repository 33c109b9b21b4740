# SPDX-License-Identifier: Apache-2.0
"""Sends one sequence to both servers and says where their replies part.

A step is (connection, args): connections are numbered from 0 and opened when they are needed. What
is independent of replies goes out as a pipeline. Some commands are more than themselves:

- SCAN, HSCAN, SSCAN, ZSCAN are followed through all cursors, and the sum is compared.
- What is drawn at random must be of what is there; what SPOP left is made equal by deleting the key.
- The word @dump stands for the server's own last reply to DUMP.
"""
from lib import compare, resp

SCANS = (b'SCAN', b'HSCAN', b'SSCAN', b'ZSCAN')
STEPS_AFTER_SCAN_MAX = 1000
# Where the timeout of a blocking command is; others than this one are not sent.
BLOCKING = {b'BLPOP': -1, b'BRPOP': -1, b'BZPOPMIN': -1, b'BZPOPMAX': -1, b'BLMOVE': -1, b'BRPOPLPUSH': -1,
            b'BLMPOP': 1, b'BZMPOP': 1}
TIMEOUT = b'0.01'
INVALID_CURSOR = (b'-', b'ERR invalid cursor')


def may_block(args):
    place = BLOCKING.get(args[0].upper()) if args else None
    return place is not None and len(args) > 2 and args[place] != TIMEOUT


def expiry_of(words):
    """In how many milliseconds the key is to expire that a command gives, or restores, a time; else None."""
    if words[:1] not in ([b'EXPIRE'], [b'PEXPIRE'], [b'RESTORE']) or len(words) < 3:
        return None
    try:
        return int(words[2]) * (1000 if words[0] == b'EXPIRE' else 1)
    except ValueError:
        return None


def without_chance(steps):
    """The steps, with PING for those whose replies are chance: what may block, and EXPIRE with GT and a
    time that has been given before, for which it matters whether a millisecond has passed since."""
    given = set()
    out = []
    for number, args in steps:
        words = [arg.upper() for arg in args]
        expiry = expiry_of(words)
        chance = may_block(args) or (b'GT' in words and expiry is not None and expiry in given)
        given.add(expiry)
        out.append((number, [b'PING'] if chance else args))
    return out


class Difference:
    """The first step at which replies part."""

    def __init__(self, index, args, theirs, ours):
        self.index, self.args, self.theirs, self.ours = index, args, theirs, ours

    def kind(self):
        """What makes two differences the same one, for whoever lists or shrinks them."""
        def word(reply):
            if reply[0] == b'-':
                return b'-' + reply[1]
            return reply[0] + (b'null' if reply[1] is None else b'')
        names = [arg.upper() for arg in self.args[:1]]
        return (tuple(names), word(self.theirs), word(self.ours))

    def text(self):
        return 'redis-server:\n%s\nperigee:\n%s' % (resp.show(self.theirs, 1), resp.show(self.ours, 1))


class Side:
    """One server while a sequence runs."""

    def __init__(self, server, protocol):
        self.server, self.protocol = server, protocol
        self.connections = {}
        self.dumped = b''

    def connection(self, number):
        if number not in self.connections:
            connection = self.server.connect()
            self.connections[number] = connection
            if self.protocol == 3:
                connection.ask('HELLO', '3')
        return self.connections[number]

    def clear(self):
        connection = self.server.connect()
        connection.ask('FLUSHALL')
        connection.ask('SCRIPT', 'FLUSH')
        connection.ask('FUNCTION', 'FLUSH')
        connection.close()

    def close(self):
        for connection in self.connections.values():
            connection.close()

    def send(self, number, batch):
        commands = [[self.dumped if arg == b'@dump' else arg for arg in args] for args in batch]
        try:
            self.connection(number).send(commands)
        except resp.Closed:
            pass # reading says so

    def read(self, number, args):
        try:
            reply = self.connection(number).read()
            while reply[0] == b'>':
                reply = self.connection(number).read()
        except (resp.Closed, OSError) as error:
            return (b'!', ('connection lost: %s' % error).encode())
        if args and args[0].upper() == b'DUMP' and reply[0] == b'$' and reply[1] is not None:
            self.dumped = reply[1]
        return reply

    def ask(self, number, args):
        self.send(number, [args])
        return self.read(number, args)

    def scan(self, number, args):
        """All cursors' elements in order, with the first reply's shape."""
        place = 1 if args[0].upper() == b'SCAN' else 2
        reply = self.ask(number, args)
        if len(args) <= place or args[place] != b'0' or reply[0] != b'*' or len(reply[1]) != 2 or \
                reply[1][0][0] != b'$' or reply[1][1][0] != b'*':
            return reply
        pairs = args[0].upper() in (b'HSCAN', b'ZSCAN')
        found = set()
        for _ in range(STEPS_AFTER_SCAN_MAX):
            flat = reply[1][1][1]
            found.update(zip(flat[::2], flat[1::2]) if pairs else flat)
            cursor = reply[1][0][1]
            if cursor == b'0':
                break
            reply = self.ask(number, args[:place] + [cursor] + args[place + 1:])
            if reply[0] != b'*':
                return reply
        found = sorted(found, key=repr)
        return (b'*', [(b'*', list(pair)) for pair in found] if pairs else found)


class Run:
    """Both servers, asked the same."""

    def __init__(self, redis, perigee, protocol):
        self.servers = (redis, perigee)
        self.protocol = protocol

    def sequence(self, steps):
        """The first Difference, or None."""
        sides = [Side(server, self.protocol) for server in self.servers]
        try:
            for side in sides:
                side.clear()
            return self.steps(sides, steps)
        finally:
            for side in sides:
                side.close()

    def steps(self, sides, steps):
        steps = without_chance(steps)
        queued = {} # connection -> what its MULTI has queued
        self.sorted = False # whether there was a SORT
        at = 0
        while at < len(steps):
            number, args = steps[at]
            if self.is_alone(args) and number not in queued:
                found = self.alone(sides, at, number, args)
                if found:
                    return found
                at += 1
                continue
            end = at + 1
            while end < len(steps) and steps[end][0] == number and not self.is_alone(steps[end][1]) \
                    and not self.is_alone(steps[end - 1][1]):
                end += 1
            batch = [args for _, args in steps[at:end]]
            for side in sides:
                side.send(number, batch)
            for index, args in enumerate(batch, at):
                theirs, ours = [side.read(number, args) for side in sides]
                if not self.same(queued, number, args, theirs, ours):
                    return Difference(index, args, theirs, ours)
                if compare.parts_here(args, theirs, ours):
                    return None
            at = end
        return None

    @staticmethod
    def is_alone(args):
        return args[:1] and (args[0].upper() in SCANS or compare.is_random(args) or compare.is_unsorted(args) or
                             args[0].upper() == b'DUMP' or b'@dump' in args or
                             [arg.upper() for arg in args[:2]] == [b'SCRIPT', b'DEBUG']) # not in a pipeline

    def same(self, queued, number, args, theirs, ours):
        name = args[0].upper() if args else b''
        self.sorted = self.sorted or name in (b'SORT', b'SORT_RO')
        if theirs == (b'+', b'QUEUED'):
            queued.setdefault(number, []).append(args)
        elif name == b'MULTI' and theirs[0] == b'+':
            queued[number] = []
        elif name in (b'EXEC', b'DISCARD', b'RESET') and number in queued:
            commands = queued.pop(number)
            if name == b'EXEC' and theirs[0] == ours[0] == b'*' and theirs[1] is not None and \
                    ours[1] is not None and len(theirs[1]) == len(ours[1]) == len(commands):
                return all(compare.same(*triple, self.sorted) for triple in zip(commands, theirs[1], ours[1]))
        return compare.same(args, theirs, ours, self.sorted)

    def alone(self, sides, index, number, args):
        name = args[0].upper()
        if compare.is_unsorted(args):
            self.sorted = True
            ordered = sides[0].ask(number, [b'TYPE', args[1]])[1] in (b'list', b'zset')
            theirs, ours = [side.ask(number, args) for side in sides]
            if ordered and theirs != ours:
                return Difference(index, args, theirs, ours)
        elif name in SCANS:
            theirs, ours = [side.scan(number, args) for side in sides]
            place = 1 if name == b'SCAN' else 2
            if args[place:place + 1] != [b'0'] and \
                    (ours == INVALID_CURSOR or ours[0] == theirs[0] == b'*'):
                return None # a cursor that was never given out
        else:
            there = self.contents(sides[0], number, args)
            theirs, ours = [side.ask(number, args) for side in sides]
            if name == b'SPOP' and len(args) > 1 and theirs[0] != b'-':
                for side in sides:
                    side.ask(number, [b'DEL', args[1]])
            if compare.is_random(args) and not self.drawn_rightly(args, there, ours):
                return Difference(index, args, theirs, ours)
        return None if compare.same(args, theirs, ours, self.sorted) else Difference(index, args, theirs, ours)

    @staticmethod
    def contents(side, number, args):
        """What can be drawn, from redis-server; None when that does not matter."""
        name = args[0].upper()
        ways = {b'SPOP': [b'SMEMBERS'], b'SRANDMEMBER': [b'SMEMBERS'], b'HRANDFIELD': [b'HGETALL'],
                b'ZRANDMEMBER': [b'ZRANGE', 0, b'0', b'-1', b'WITHSCORES'], b'RANDOMKEY': [b'KEYS', b'*']}
        if name not in ways or (len(args) < 2 and name != b'RANDOMKEY'):
            return None
        way = [args[1] if word == 0 else word for word in ways[name]]
        if len(way) == 1:
            way.append(args[1])
        reply = side.ask(number, way)
        return leaves(compare.numbers(reply) if name == b'ZRANDMEMBER' else reply)

    @staticmethod
    def drawn_rightly(args, there, reply):
        if there is None or reply[0] == b'-' or reply[1] is None:
            return True
        drawn = leaves(compare.numbers(reply) if args[0].upper() == b'ZRANDMEMBER' else reply)
        if not all(leaf in there for leaf in drawn):
            return False
        positive = len(args) == 3 and not args[2].startswith(b'-')
        return not positive or len(set(drawn)) == len(drawn)


def leaves(reply):
    """All values in a reply, in order."""
    kind, value = reply
    if kind == b'%':
        return [leaf for pair in value for element in pair for leaf in leaves(element)]
    if isinstance(value, list):
        return [leaf for element in value for leaf in leaves(element)]
    return [value]
