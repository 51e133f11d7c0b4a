"""A process that has imported what terminal sends need, and forks for each: the other end of `worker.transports.warm`.

It holds no token and opens nothing: it has the launcher's socket, and for the time of a request the descriptors that
came with it. What it forks off behaves as `wake`, `send-message` or `agent-send` started by hand: the same argv,
environment, directory, limits and signals, standard streams, output and exit status, in a session of its own.

It ends when the launcher does, and as soon as a file that it has loaded is another one on disk.
"""

import argparse  # noqa: F401 - as below
import array
import contextlib
import gc
import glob  # noqa: F401
import json  # noqa: F401
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from worker.terminal import (  # noqa: F401 - all that a send imports; only rare things are left to import late
    agent_send,
    catalogue,
    command,
    preamble,
    runner,
    send_message,
    submit,
    text,
    tmux,
    wake,
)
from worker.terminal.channels import chain  # noqa: F401
from worker.terminal.channels.sites import preload

VERSION = "1"
_ADOPTED_WITHIN = 1.0  # seconds for the kernel to hand a new process to the launcher
_MOST_DESCRIPTORS = 4
_COMMANDS: dict[bytes, Callable[[], int]] = {
    b"wake": wake.main,
    b"send_message": send_message.main,
    b"agent_send": agent_send.main,
}


def serve(descriptor: int, version: str, launcher: int) -> None:
    """Fork for each request that comes by the socket `descriptor`, until it closes. Returns in no forked process.

    Args:
        descriptor: a SOCK_SEQPACKET socket.
        version: what the other end speaks; another one ends this process.
        launcher: the other end's pid, which must be the nearest subreaper.
    """
    if version != VERSION or os.getppid() != launcher:
        return
    preload()
    channel = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    loaded = _files()
    gc.collect()
    gc.freeze()  # what forked processes share stays shared
    channel.sendall(b"ready")
    while True:
        message, descriptors = _receive(channel)
        if not message or _files() != loaded:
            for one in descriptors:  # what was asked for is started in the plain way, and at once
                os.close(one)
            return
        between = os.fork()
        if between == 0:
            if os.fork() != 0:
                os._exit(0)  # so that the other one is the launcher's child
            channel.detach()
            _run(descriptors, launcher)
        for one in descriptors:
            os.close(one)
        os.waitpid(between, 0)


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    size = array.array("i").itemsize * _MOST_DESCRIPTORS
    message, extra, _, _ = channel.recvmsg(16, socket.CMSG_SPACE(size), socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return message, list(found)


def _files() -> dict[str, tuple[int, ...] | None]:
    """What is loaded, and which file each was."""
    paths = {getattr(one, "__file__", None) or "" for one in list(sys.modules.values())}
    paths |= {sys.executable, f"{sys.prefix}/pyvenv.cfg"}
    return {path: _mark(path) for path in paths if path}


def _mark(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a hundred a request
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _run(descriptors: list[int], launcher: int) -> NoReturn:
    """Be the process of one attempt: wait for the word, run the command, exit as it does."""
    request, talk, output, *given = descriptors
    os.setsid()
    with os.fdopen(request, "rb") as file:
        file.seek(0)
        module, count, *words = file.read().split(b"\0")
    argv, pairs = words[: int(count)], words[int(count) :]
    if not _is_let_run(talk, launcher):
        os._exit(0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if given:
        os.dup2(given[0], 0)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - once a send
        with contextlib.suppress(OSError):  # the one that lists them is closed already
            if int(name) > 2:
                os.close(int(name))
    coerced = os.environb.get(b"LC_CTYPE")  # by Python itself, where the locale is C (PEP 538)
    os.environ.clear()
    os.environb.update(dict(one.split(b"=", 1) for one in pairs))
    if coerced is not None:
        os.environb.setdefault(b"LC_CTYPE", coerced)
    sys.argv = [os.fsdecode(one) for one in argv]
    sys.exit(_COMMANDS[module]())


def _is_let_run(talk: int, launcher: int) -> bool:
    """Name this process to the launcher once it is its child, and hear whether it is to run."""
    end = time.monotonic() + _ADOPTED_WITHIN
    while os.getppid() != launcher:
        if time.monotonic() > end:
            return False
        time.sleep(0.0002)
    try:
        os.write(talk, b"%d" % os.getpid())
        return os.read(talk, 1) == b"g"
    except OSError:
        return False
