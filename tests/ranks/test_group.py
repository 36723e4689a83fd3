"""What a process finds out about the ranks around it, without MPI."""

import sys
import types

import pytest

from minidl.core.advice import install
from minidl.ranks import group, news
from minidl.ranks.news import ASKED, FAILED, HERE, LEFT, News, RanksError


@pytest.fixture
def environment(monkeypatch):
    for name in {*group.LAUNCHERS, *group.RANKS, *group.SIZES}:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


@pytest.mark.parametrize("name", group.LAUNCHERS)
def test_a_launcher_is_noticed_also_where_it_starts_one_rank(environment, name):
    assert not group.launched()
    environment(name, "1")
    assert group.launched()


@pytest.mark.parametrize("name", group.SIZES)
def test_a_launcher_of_another_mpi_is_an_error(environment, name):
    group.check_launcher(1, ("MPICH", (5, 0, 2)))
    environment(name, "2")
    group.check_launcher(2, ("MPICH", (5, 0, 2)))
    with pytest.raises(RuntimeError, match=r"started 2 ranks, and MPICH 5\.0\.2, .* of 1: .* the mpiexec of MPICH"):
        group.check_launcher(1, ("MPICH", (5, 0, 2)))


@pytest.mark.parametrize(
    ("why", "said"),
    [
        (ModuleNotFoundError("No module named 'mpi4py'"), f"ranks need mpi4py and an MPI: {install('mpi')}"),
        (RuntimeError("cannot load MPI library\nlibmpi.so.12: not found\nlibmpi.so.40: not found"),
         f"mpi4py finds no MPI (cannot load MPI library): {install('mpi')}"),
        (ImportError("libmpi.so.12: cannot open\n"), "mpi4py finds no MPI (libmpi.so.12: cannot open): pip install"),
    ],
)  # fmt: skip
def test_without_mpi_one_line_says_what_to_install(monkeypatch, environment, why, said):
    def raises(name):
        raise why

    package = types.ModuleType("mpi4py")
    package.__path__ = []
    package.__getattr__ = raises
    monkeypatch.setitem(sys.modules, "mpi4py", package)
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    monkeypatch.setattr(group, "_world", None)
    with pytest.raises(RuntimeError) as error:
        group.connect("mpi")
    assert str(error.value).startswith(said) and "\n" not in str(error.value)
    environment("PMI_SIZE", "2")  # started by a launcher, nobody can tell others: the first rank does
    for rank, count in (("0", 1), ("1", 0)):
        environment("PMI_RANK", rank)
        shown = []
        group.report(error.value, 1, shown.append)
        assert shown == [""] * count
    group.report(ValueError("of this rank alone"), 1, shown.append)
    assert shown == [""]


def test_waiting_looks_for_news_and_ends_when_there_is_no_use_in_it(monkeypatch):
    class Lost(group.Alone):
        def check(self, waited):
            raise RanksError("nobody comes")

    group.Alone().wait(lambda: True)
    with pytest.raises(RanksError, match="nobody comes"):
        Lost().wait(lambda: False)


class Comm:
    """The communicator of rank 0 of 3: what comes, and what is sent."""

    ANY_SOURCE = ANY_TAG = -1

    def __init__(self):
        self.coming, self.sent = [], []

    Dup = Status = lambda self: self
    Get_rank, Get_size = (lambda self: 0), (lambda self: 3)
    Get_count = lambda self: len(self.coming[0][2])  # noqa: E731
    Get_source, Get_tag = (lambda self: self.coming[0][0]), (lambda self: self.coming[0][1])

    def Iprobe(self, source, tag, status):
        return bool(self.coming)

    def Recv(self, into, source, tag):
        into[:] = list(self.coming.pop(0)[2])

    def Isend(self, content, rank, kind):
        self.sent.append((rank, kind, content.tobytes()))
        if kind == ASKED and rank == 1:
            self.coming.append((1, HERE, b""))


@pytest.fixture
def comm(monkeypatch):
    monkeypatch.setenv("MINIDL_RANKS_TIMEOUT", "20")
    return Comm()


def test_a_rank_that_has_ended_or_is_silent_is_named(comm, monkeypatch):
    heard = News(comm, comm)
    comm.coming = [(1, ASKED, b""), (2, LEFT, b"")]
    heard.check(1.0)
    assert comm.sent == [(1, HERE, b"")] and heard.left == {2}
    with pytest.raises(RanksError, match=r"^rank 2 of 3 ended its program while others went on$"):
        heard.check(news.PATIENCE + 1)
    heard.left.clear()
    monkeypatch.setattr(News, "hear_for", lambda self, seconds, enough: self.hear())
    with pytest.raises(RanksError, match=r"^rank 2 of 3 did not answer for 20 s; MINIDL_RANKS_TIMEOUT sets the limit"):
        heard.check(21.0)
    comm.coming = [(2, HERE, b"")]
    comm.Isend = lambda content, rank, kind: comm.coming.append((rank, HERE, b""))
    with pytest.raises(RanksError, match=r"^the ranks waited for each other for 20 s"):
        heard.check(21.0)
    comm.coming = [(1, FAILED, b"ValueError")]
    heard.check(21.0)  # that one ends the job, and says why
    assert heard.failed == {1: "ValueError"}


@pytest.mark.parametrize("wanted", ["0", "-1", "soon", "nan"])
def test_the_limit_of_waiting_is_a_number_of_seconds(monkeypatch, wanted):
    monkeypatch.setenv("MINIDL_RANKS_TIMEOUT", wanted)
    with pytest.raises(ValueError, match="must be a number of seconds above 0"):
        news.limit()
