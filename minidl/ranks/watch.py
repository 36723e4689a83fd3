"""Notices a rank that is killed or crashes, and says which, although the launcher ends the others at once: by a process
beside the ranks of each host, which runs this file alone.

Every rank is connected to it by a socket, which the system closes when a process ends, however it ends.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

DONE, SAID = b".", b"!"  # this rank is done; the job ends for a reason that is being said
TIMEOUT = 10.0  # seconds, for the ranks to connect
DYING = 3.0  # seconds in which a launcher ends a job by itself


class Watch:
    """What a rank has of it. Where there are no such sockets (outside Linux), nobody watches."""

    def __init__(self) -> None:
        self.address = f"minidl-{os.getpid()}-{secrets.token_hex(8)}" if sys.platform == "linux" else ""
        self.peer: socket.socket | None = None
        if self.address:
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.listener.bind(f"\0{self.address}")
            self.listener.listen(1024)

    def start(self, address: str, count: int, name: str) -> None:
        """Be watched, under this name. address: of the first of the `count` ranks of this host, which starts it."""
        if not self.address:
            return
        with suppress(OSError), self.listener:
            if address == self.address:
                number = self.listener.fileno()
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__, str(number), str(count)],
                    pass_fds=[number], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            peer.settimeout(TIMEOUT)
            peer.connect(f"\0{address}")
            peer.sendall(name.encode())
            self.peer = peer

    def tell(self, word: bytes) -> None:
        if self.peer is not None:
            with suppress(OSError):
                self.peer.send(word)


def watch(listener: socket.socket, count: int) -> None:
    """Until all ranks are done, or one has ended without a word."""
    ready, peers = select.epoll(), {}
    listener.settimeout(TIMEOUT)
    for _ in range(count):
        peer, _ = listener.accept()
        peer.settimeout(TIMEOUT)
        peers[peer.fileno()] = peer, peer.recv(200).decode()
        ready.register(peer, select.EPOLLIN)
    listener.close()
    for word, name in words(ready, peers):
        if word == SAID:
            return
        if word != DONE:
            os.write(2, f"minidl: error: {name} was killed or crashed\n".encode())
            break
    for _ in words(ready, peers, DYING):
        pass
    for peer, _ in peers.values():  # those that the launcher leaves alive
        pid = int.from_bytes(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def words(ready: select.epoll, peers: dict, seconds: float | None = None) -> Iterator[tuple[bytes, str]]:
    """The last word of each rank, nothing if it ended without, and its name, in the order in which they come."""
    until = None if seconds is None else time.monotonic() + seconds
    while peers:
        left = None if until is None else max(0.0, until - time.monotonic())
        if not (events := ready.poll(left)):
            return
        for number, _ in events:
            peer, name = peers.pop(number)
            ready.unregister(peer)
            try:
                yield peer.recv(1), name
            except OSError:
                yield b"", name


if __name__ == "__main__":
    with suppress(OSError):  # not all of them have come
        watch(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
