# SPDX-License-Identifier: Apache-2.0
"""What a server connects to: a listener of the test's own, whose connections end as the test wants."""
import select
import socket
import struct
import threading

from lib import resp


class Target:
    """serve(socket) is called for each connection, in a thread of its own; then the connection is closed."""

    def __init__(self, serve):
        self.serve = serve
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = str(self.listener.getsockname()[1])
        self.threads = []
        self.accepting = threading.Thread(target=self.accept)
        self.accepting.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.run, args=(connection,))
            self.threads.append(thread)
            thread.start()

    def run(self, connection):
        with connection:
            try:
                self.serve(connection)
            except (OSError, resp.Closed):
                pass

    def stop(self):
        """Whoever is served yet is waited for."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join()
        self.listener.close()
        for thread in self.threads:
            thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Silence:
    """Nobody listens there: the port is held, without a listener."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(('127.0.0.1', 0))
        self.port = str(self.socket.getsockname()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def reset(connection):
    """Ends it so that the other side's next read or write fails."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.close()


def requests(connection):
    """The words of one request after the other, until the other side has ended."""
    reader = connection.makefile('rb')
    for line in reader:
        words = []
        for _ in range(int(line[1:])):
            size = int(reader.readline()[1:])
            words.append(reader.read(size + 2)[:-2])
        yield words


def pass_on(connection, behind, cut):
    left = cut
    others = {connection: behind, behind: connection}
    while left != 0:
        each = select.select(list(others), [], [])[0][0]
        data = each.recv(1 << 16 if left is None else min(left, 1 << 16))
        if not data:
            return
        others[each].sendall(data)
        left = left if left is None else left - len(data)
    reset(connection)


def bridge(where, cut=None):
    """For Target: passes on to a server and back; after `cut` bytes of both directions the connection is reset.
    When it ends the server has done all that it has been sent."""
    def serve(connection):
        with resp.Connection(where).socket as behind:
            try:
                pass_on(connection, behind, cut)
            finally:
                behind.shutdown(socket.SHUT_WR)
                while behind.recv(1 << 16):
                    pass

    return serve


def silent(connection):
    """For Target: reads, and never answers."""
    for _ in requests(connection):
        pass
