"""The benchmark of ranks: what it makes of its measurements, and that it runs at a tiny size."""

import json
import math

import pytest

from benchmarks import ranks
from benchmarks.harness.libraries import is_installed
from benchmarks.harness.link import Link, fitted
from benchmarks.harness.teams import Team, mpiexec


def found(**other):
    seconds = {
        "unsharded 1x2": [[0.97], [1.0]], "1x2": [[1.0], [1.0]], "2x1": [[0.8], [0.8]], "1x1": [[1.6], [1.6]],
        "part": [[0.7], [0.7]], "apart": [[0.78], [0.78]], "ddp 2x1": [[1.2], [1.2]],
    }  # fmt: skip
    memory = {name: [1 << 20] for name in seconds}
    about = {"exchange": {"2x1": 0.01}, "buckets": [4_000_000, 2_000_000], "link": Link(1e-5, 1e9, 1e10)}
    return ranks.Found("unet", (8, 1, 4, 4), 2, seconds, memory, {"2x1": 0.004}, {"2x1": 0.1}, **about | other)


def test_every_team_has_all_the_cores():
    assert list(ranks.teams(1, torch=False)) == ["unsharded 1x1", "1x1"]
    four = ranks.teams(4, torch=True)
    ours = ["unsharded 1x4", "1x4", "2x2", "4x1", "1x1", "part", "apart"]
    assert list(four) == [*ours, "torch 1x4", "ddp 2x2", "ddp 4x1"]
    assert four["2x2"] == Team(ranks=2, threads=2) and four["apart"] == Team(ranks=4, parts=4)
    assert set(ranks.teams(6, torch=False)) >= {"1x6", "2x3"} and "3x2" not in ranks.teams(6, torch=False)


def test_a_link_is_fitted_to_what_it_takes():
    points = [(8 << k, 5e-6 + (8 << k) / 2e9) for k in range(18)]
    link = fitted(points, adding=1e10)
    assert link.latency == pytest.approx(5e-6) and link.bandwidth == pytest.approx(2e9)
    assert link.exchange([1 << 20], 8) == pytest.approx(3 * (5e-6 + (1 << 20) / 2e9 + (1 << 20) / 1e10))
    each = link.exchange([1 << 20, 1 << 20], 2)
    assert link.step(1.0, [1 << 20, 1 << 20], 2, 1.0) == pytest.approx((1 + each / 2, 1 + each))
    assert link.step(1.0, [1 << 20, 1 << 20], 2, 0.0) == pytest.approx((1 + each, 1 + each))


def test_the_report_says_what_is_asked():
    r = found()
    assert r.ranks == "2x1" and math.isclose(r.predicted(r.link, 2)[1], 0.78 + 2e-5 + 6e-3 + 6e-4)
    assert r.ratios() == pytest.approx({
        "step of 8 shards / unsharded": (1 / 0.97 + 1) / 2, "throughput of 2x1 / 1x2": 1.25,
        "throughput of 2x1 / ddp": 1.5, "strong scaling, 2x1 / 1x1": 2, "weak scaling, 2x1 / part": 0.875,
        "weak scaling without exchange": 0.7 / 0.78,
    })  # fmt: skip
    text = ranks.report([r, r], markdown=False)
    assert "throughput of 2x1 / ddp: geometric mean 1.500 of 2, least 1.50" in text
    assert "exchange of 5.7 MiB in 2 buckets: alone 10.0 ms, on paper 6.6; waited for 4.0 ms" in text
    assert "1024: 802 to 846 ms" in text
    json.dumps(r.json())
    assert "predicted" not in ranks.report([found(exchange={}, link=None)], markdown=True)


def test_teams_train_and_answer():
    """On two ranks of MPI and of torch, in processes of their own."""
    missing = [name for name in ("torch", "mpi4py") if not is_installed(name)]
    try:
        mpiexec()
    except RuntimeError:
        missing.append("mpiexec")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    chosen = {name: team for name, team in ranks.teams(2, torch=True).items() if name in ("2x1", "apart", "ddp 2x1")}
    r = ranks.measure(ranks.NETWORKS[0], chosen, 2, rounds=1, tiny=True)
    assert all(seconds[0][0] > 0 for seconds in r.seconds.values()) and set(r.ratios()) == {"throughput of 2x1 / ddp"}
    assert r.exchange["2x1"] > 0 and r.link.bandwidth > 0 and sum(r.buckets) > 1000
    assert "waited for" in ranks.report([r], markdown=False)


def test_options(capsys):
    assert [row.name for row in ranks.options_of(["unet"]).chosen] == ["unet"]
    for wrong in (["--cores", "0"], ["nonsense"]):
        with pytest.raises(SystemExit):
            ranks.options_of(wrong)
    ranks.main(["--inside", "denoiser", "--quick", "--rounds", "1", "--each", "1"])
    assert "1 rank, " in capsys.readouterr().out
