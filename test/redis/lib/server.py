# SPDX-License-Identifier: Apache-2.0
"""The two servers, each in a temporary folder and on a Unix socket of its own."""
import atexit
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time

from lib import resp

# Small thresholds, so that short sequences cross from packed to spread. What a server does not know
# it refuses, and that is that.
SETTINGS = (
    ('hash-max-listpack-entries', '8'), ('hash-max-listpack-value', '32'),
    ('zset-max-listpack-entries', '8'), ('zset-max-listpack-value', '32'),
    ('set-max-intset-entries', '8'), ('set-max-listpack-entries', '8'),
    ('set-max-listpack-value', '32'), ('list-max-listpack-size', '8'),
    ('stream-node-max-entries', '4'), ('hll-sparse-max-bytes', '300'),
    ('zset-ranks-after', '4'), # those of Perigee: Redis counts always
)


LUA_TIME_MAX = '10min' # a machine may be slow: no test is about this limit
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def end_with_parent():
    """In the child: it is killed when who has started it is gone, however that went."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """A process, started when it is asked something, and again when it has died."""

    name = ''
    settings = SETTINGS

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='perigee-redis-')
        self.path = os.path.join(self.folder, 'socket')
        self.process = None
        self.log = None
        self.names = None
        atexit.register(self.stop)

    def command(self):
        raise NotImplementedError

    def where(self):
        """What a connection is opened to."""
        return self.path

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.log = open(os.path.join(self.folder, 'log'), 'ab')
        environment = {k: v for k, v in os.environ.items() if not k.startswith('PERIGEE_')}
        environment['LC_ALL'] = 'C' # the order of SORT ALPHA
        self.process = subprocess.Popen(self.command(), cwd=self.folder, env=environment,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        preexec_fn=end_with_parent)
        for _ in range(50 * resp.Connection.TIMEOUT_SECONDS):
            if self.process.poll() is not None:
                raise resp.Closed('%s does not start:\n%s' % (self.name, self.log_tail()))
            try:
                connection = resp.Connection(self.where())
                if connection.ask('PING') in ((b'+', b'PONG'), (b'-', b'NOAUTH Authentication required.')):
                    break
            except (OSError, resp.Closed):
                pass
            time.sleep(0.02)
        else:
            raise resp.Closed('%s does not answer:\n%s' % (self.name, self.log_tail()))
        for setting in self.settings:
            connection.ask('CONFIG', 'SET', *setting)
        connection.close()

    def dead(self):
        return self.process is None or self.process.poll() is not None

    def connect(self):
        if self.dead():
            self.start()
        return resp.Connection(self.where())

    def has(self, name):
        """Whether there is such a command."""
        if self.names is None:
            connection = self.connect()
            self.names = {found.upper() for _, found in connection.ask('COMMAND', 'LIST')[1]}
            connection.close()
        return name.encode().upper() in self.names

    def log_tail(self):
        with open(os.path.join(self.folder, 'log'), errors='replace') as log:
            return log.read()[-4000:]

    def stop(self):
        if not self.dead():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.log:
            self.log.close()
            self.log = None
        shutil.rmtree(self.folder, ignore_errors=True)


class Perigee(Server):
    name = 'perigee'

    def __init__(self, executable):
        super().__init__()
        self.executable = os.path.abspath(executable)

    def command(self):
        return [self.executable, 'serve', '--dir', os.path.join(self.folder, 'data'),
                '--listen', 'unix:' + self.path, '--log_level', 'warn',
                '--durability', 'interval', '--lua_time_max', LUA_TIME_MAX]


class Redis(Server):
    name = 'redis-server'

    def command(self):
        return ['redis-server', '--port', '0', '--unixsocket', self.path, '--dir', self.folder,
                '--save', '', '--appendonly', 'no', '--enable-debug-command', 'yes']


class PerigeeOnPort(Perigee):
    """As clients find it: with its own thresholds, several workers, on a port that the system picks."""

    settings = ()

    def command(self):
        return [self.executable, 'serve', '--dir', os.path.join(self.folder, 'data'),
                '--listen', '127.0.0.1:0', '--workers', '2', '--log_level', 'warn',
                '--durability', 'interval', '--lua_time_max', LUA_TIME_MAX]

    def where(self):
        with open(os.path.join(self.folder, 'data', 'address')) as address:
            host, port = address.read().strip().rsplit(':', 1)
        return host, int(port)

    @property
    def port(self):
        return self.where()[1]
