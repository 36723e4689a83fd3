"""Of ranks that end with an error one says so, whoever is heard first."""

import types

import pytest

from minidl.ranks import failure
from minidl.ranks.news import News, RanksError


class Aborted(Exception):
    pass


class Hearing(News):
    """News that come one at a time, each when the rank listens."""

    def __init__(self, rank, size, left, coming):
        self.rank, self.size, self.left, self.failed, self.coming = rank, size, left, {}, list(coming)

    def tell(self, kind, text=""):
        pass

    def hear(self):
        if self.coming:
            rank, kind = self.coming.pop(0)
            self.failed[rank] = kind


@pytest.mark.parametrize(("rank", "says"), [(0, ["it"]), (1, [])])
def test_ranks_that_miss_one_that_has_left_say_so_once(monkeypatch, rank, says):
    def abort(group, code):
        raise Aborted

    monkeypatch.setattr(failure, "_abort", abort)
    monkeypatch.setattr(failure, "_ignore", lambda *signals: None)
    monkeypatch.setattr(failure, "DYING", 0.0)
    news = Hearing(rank, 3, {2}, [(1 - rank, "RanksError")])
    watch = types.SimpleNamespace(tell=lambda word: None)
    group, said = types.SimpleNamespace(rank=rank, size=3, news=news, watch=watch), []
    with pytest.raises(Aborted):
        failure.report(group, RanksError("rank 2 of 3 left"), 1, lambda who: said.append(who or "it"))
    assert said == says
