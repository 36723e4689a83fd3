"""Ranks in one process: what they send each other passes through memory, late and in any order that MPI allows."""

import threading
import time
from collections import defaultdict

import numpy as np

from minidl.ranks.group import Alone


class World:
    """What is under way between `size` ranks. A message arrives after a random number of looks; those of one sender,
    receiver and tag in the order in which they were sent."""

    def __init__(self, size, seed=0, chance=0.5):
        self.rng, self.chance = np.random.default_rng(seed), chance
        self.messages = defaultdict(list)  # by sender, receiver and tag: [array, has it arrived]
        self.received = defaultdict(int)
        self.boards = defaultdict(dict)  # of collective calls, by their number: what each rank has given
        self.lock, self.failed = threading.RLock(), None
        self.ranks = [Rank(self, rank, size) for rank in range(size)]

    def left(self):
        """Messages that nobody has received."""
        return sum(not arrived for sent in self.messages.values() for _, arrived in sent)


class Rank(Alone):
    def __init__(self, world, rank, size):
        self.world, self.rank, self.size, self.first = world, rank, size, rank == 0
        self.calls = 0

    def send(self, array, rank, tag):
        """Some messages leave at once, others are read from `array` when they arrive: it must not change before."""
        with self.world.lock:
            message = [array.copy() if self.world.rng.random() < 0.5 else array, False]
            self.world.messages[self.rank, rank, tag].append(message)
        return lambda: message[1]

    def receive(self, array, rank, tag):
        key = rank, self.rank, tag
        with self.world.lock:
            number = self.world.received[key]
            self.world.received[key] += 1

        def arrived():
            sent = self.world.messages[key]
            if len(sent) <= number or not all(before for _, before in sent[:number]):
                return False
            message = sent[number]
            if not message[1] and self.world.rng.random() < self.world.chance:
                assert message[0].nbytes == array.nbytes, "a message of another length than its receiver expects"
                array.reshape(-1).view(np.uint8)[...] = message[0].reshape(-1).view(np.uint8)
                message[:] = None, True
            return message[1]

        return arrived

    def done(self, requests):
        if self.world.failed:
            raise RuntimeError("another rank failed")
        with self.world.lock:
            return all(request() for request in requests)

    def _together(self, given):
        """What each rank has given, in their order."""
        board = self.world.boards[self.calls]
        self.calls += 1
        board[self.rank] = given
        while len(board) < self.size:
            self.done([])
            time.sleep(1e-5)
        return [board[rank] for rank in range(self.size)]

    def broadcast(self, array):
        array[...] = self._together(array.copy())[0]
        return array

    def text(self, text):
        return self._together(text)[0]

    def gather(self, text):
        return self._together(text)


def on_ranks(size, function, seed=0):
    """What ``function(group)`` gives on each of `size` ranks, each of which is a thread; the first error, if any."""
    world = World(size, seed, chance=0.9)
    results = [None] * size

    def run(group):
        try:
            results[group.rank] = function(group)
        except BaseException as error:
            world.failed = world.failed or error

    threads = [threading.Thread(target=run, args=(group,)) for group in world.ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if world.failed:
        raise world.failed
    assert not world.left()
    return results
