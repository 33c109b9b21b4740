# SPDX-License-Identifier: Apache-2.0
"""Programs that are clients: run to their end, or waited for without asking how long it takes."""
import subprocess
import time

from lib import server

SECONDS_MAX = 240


def until(condition):
    """Waits for what condition() gives, when that is something."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError('it has not come true')
        time.sleep(0.01)


def run(argv, text='', environment=None):
    """(status, output, errors) of a program that ends by itself."""
    ended = subprocess.run([str(arg) for arg in argv], input=text, capture_output=True, text=True,
                           timeout=SECONDS_MAX, env=environment, preexec_fn=server.end_with_parent)
    return ended.returncode, ended.stdout, ended.stderr


def start(argv, log, environment=None):
    """A program that runs until it is told to end; what it says goes to the file."""
    return subprocess.Popen([str(arg) for arg in argv], stdin=subprocess.DEVNULL, stdout=log,
                            stderr=log, env=environment, preexec_fn=server.end_with_parent)


def stop(process):
    """Tells it to end; its status."""
    process.terminate()
    try:
        return process.wait(SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
