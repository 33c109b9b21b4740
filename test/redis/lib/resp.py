# SPDX-License-Identifier: Apache-2.0
"""RESP2 and RESP3 as tuples that keep what the wire said.

A reply is (type, value), its type the byte that announced it, so that a status is not a bulk string
and a null array is not a null string:

    (b'+', bytes)  (b'-', bytes)  (b':', int)  (b'$', bytes or None)  (b'_', None)  (b',', bytes)
    (b'#', bool)   (b'(', bytes)  (b'=', bytes)
    (b'*', list or None)  (b'~', list)  (b'>', list)  (b'%', list of pairs)
"""
import socket

AGGREGATES = (b'*', b'~', b'>', b'%')


class Closed(Exception):
    """The other side has closed the connection, or said nothing for too long."""


def encode(args):
    """A command as clients send it."""
    parts = [b'*%d\r\n' % len(args)]
    for arg in args:
        parts.append(b'$%d\r\n%s\r\n' % (len(arg), arg))
    return b''.join(parts)


class Connection:
    """A socket to a server: commands go out as bytes, replies come as tuples."""

    TIMEOUT_SECONDS = 240 # a machine may be slow, or stand still for a while

    def __init__(self, where):
        """where: the path of a Unix socket, or (host, port)."""
        self.socket = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        self.socket.settimeout(self.TIMEOUT_SECONDS)
        self.socket.connect(where)
        self.buffer = b''
        self.at = 0

    def close(self):
        self.socket.close()

    def send(self, commands):
        try:
            self.socket.sendall(b''.join(encode(args) for args in commands))
        except OSError as error:
            raise Closed(str(error)) from error

    def ask(self, *args):
        """One command given as str or bytes, and its reply."""
        self.send([[a.encode() if isinstance(a, str) else a for a in args]])
        return self.read()

    def fill(self):
        try:
            data = self.socket.recv(1 << 16)
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed('the connection was closed')
        self.buffer = self.buffer[self.at:] + data
        self.at = 0

    def line(self):
        while True:
            end = self.buffer.find(b'\r\n', self.at)
            if end >= 0:
                line = self.buffer[self.at:end]
                self.at = end + 2
                return line
            self.fill()

    def bytes(self, size):
        while len(self.buffer) - self.at < size + 2:
            self.fill()
        data = self.buffer[self.at:self.at + size]
        if self.buffer[self.at + size:self.at + size + 2] != b'\r\n':
            raise Closed('a string is longer than was announced')
        self.at += size + 2
        return data

    def read(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind in (b'+', b'-', b',', b'('):
            return (kind, rest)
        if kind == b':':
            return (kind, int(rest))
        if kind == b'_':
            return (kind, None)
        if kind == b'#':
            return (kind, rest == b't')
        if kind in (b'$', b'='):
            size = int(rest)
            return (kind, None if size < 0 else self.bytes(size))
        if kind in AGGREGATES:
            size = int(rest)
            if size < 0:
                return (kind, None)
            if kind == b'%':
                return (kind, [(self.read(), self.read()) for _ in range(size)])
            return (kind, [self.read() for _ in range(size)])
        raise Closed('no RESP: %r' % line)


def show(reply, depth=0):
    """A reply as text, one line an element."""
    kind, value = reply
    pad = '  ' * depth
    if kind == b'%':
        rows = ['%s%%%d' % (pad, len(value))]
        for key, element in value:
            rows += [show(key, depth + 1), show(element, depth + 2)]
        return '\n'.join(rows)
    if kind in AGGREGATES and value is not None:
        rows = ['%s%s%d' % (pad, kind.decode(), len(value))]
        return '\n'.join(rows + [show(element, depth + 1) for element in value])
    if isinstance(value, bytes):
        return '%s%s%s' % (pad, kind.decode(), quote(value, always=kind in (b'$', b'=')))
    return '%s%s%s' % (pad, kind.decode(), value)


def quote(data, always=False):
    """Bytes as redis-cli writes them: bare when that is plain, else between double quotes."""
    plain = data and all(33 <= c < 127 and c not in b'"\'\\#' for c in data)
    if plain and not always:
        return data.decode()
    text = ''
    for c in data:
        char = chr(c)
        if char in '"\\':
            text += '\\' + char
        elif 32 <= c < 127:
            text += char
        else:
            text += {10: '\\n', 13: '\\r', 9: '\\t'}.get(c, '\\x%02x' % c)
    return '"%s"' % text


def unquote_line(line):
    """The words of a line that quote() has written."""
    words, at, size = [], 0, len(line)
    escapes = {'n': b'\n', 'r': b'\r', 't': b'\t'}
    while at < size:
        if line[at] == ' ':
            at += 1
            continue
        word = b''
        if line[at] != '"':
            end = line.find(' ', at)
            end = size if end < 0 else end
            words.append(line[at:end].encode('latin1'))
            at = end
            continue
        at += 1
        while line[at] != '"':
            if line[at] != '\\':
                word += line[at].encode('latin1')
                at += 1
            elif line[at + 1] == 'x':
                word += bytes([int(line[at + 2:at + 4], 16)])
                at += 4
            else:
                word += escapes.get(line[at + 1], line[at + 1].encode('latin1'))
                at += 2
        at += 1
        words.append(word)
    return words
