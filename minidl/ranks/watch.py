"""Notices a rank on this host that is killed or crashes, before the launcher ends the job without a word."""

from __future__ import annotations

import os
import secrets
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

GOODBYE = b"."
TIMEOUT = 10.0  # seconds, to connect


class Watch:
    """The ranks of a host are connected with the first of them by sockets, which the system closes when a process ends,
    however it ends. One that ends without saying goodbye is reported, by the first that is left.

    Where there are no such sockets (outside Linux), nobody watches.
    """

    def __init__(self) -> None:
        self.address = f"minidl-{os.getpid()}-{secrets.token_hex(8)}" if sys.platform == "linux" else ""
        self.peers: dict[socket.socket, int] = {}  # their ranks
        if self.address:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(f"\0{self.address}")
            self.listener.listen(1024)

    def start(self, here: list[int], rank: int, address: str, report: Callable[[int], None]) -> None:
        """Watch. here: the ranks of this host, in order; address: of the first one; report: called with the rank that
        has ended, in a thread."""
        if not self.address:
            return
        try:
            with self.listener:
                self._connect(here, rank, address)
        except OSError:
            return
        reports = rank in here[:2]  # of a host only the first can lose others; others lose the first
        threading.Thread(target=self._watch, args=(report, reports), name="minidl_watch", daemon=True).start()

    def _connect(self, here: list[int], rank: int, address: str) -> None:
        if rank != here[0]:
            peer = socket.socket(socket.AF_UNIX)
            peer.settimeout(TIMEOUT)
            peer.connect(f"\0{address}")
            peer.sendall(struct.pack("i", rank))
            self.peers[peer] = here[0]
            return
        self.listener.settimeout(TIMEOUT)
        for _ in here[1:]:
            peer, _ = self.listener.accept()
            peer.settimeout(TIMEOUT)
            self.peers[peer] = struct.unpack("i", peer.recv(4, socket.MSG_WAITALL))[0]

    def _watch(self, report: Callable[[int], None], reports: bool) -> None:
        waiting, by_number = select.poll(), {peer.fileno(): peer for peer in self.peers}
        for peer in self.peers:
            waiting.register(peer, select.POLLIN)
        while by_number:
            for number, _ in waiting.poll():
                peer = by_number.pop(number)
                waiting.unregister(number)
                try:
                    said = peer.recv(1)
                except OSError:
                    said = b""
                if said != GOODBYE:
                    self.goodbye()
                    if reports:
                        report(self.peers[peer])
                    return

    def goodbye(self) -> None:
        """This rank ends, and has said why if there is something to say; or it has noticed the end of another."""
        for peer in self.peers:
            with suppress(OSError):
                peer.send(GOODBYE)
