"""What a process finds out about the ranks around it, without MPI."""

import pytest

from minidl.ranks import group


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
