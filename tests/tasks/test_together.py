"""Tables of several runs: which go together, and what is said of those that do not."""

import json

import pytest

import tasks.__main__ as frame
from tasks.command import UsageError
from tasks.together import finished, spread

TUBES = {"tube AP50": 0.5, "mota": 0.4, "idf1": 0.5, "hota": 0.6, "deta": 0.5, "assa": 0.7, "switches": 3}


@pytest.fixture
def leave(tmp_path):
    """Leave a run in a folder; its path."""

    def run(name, scores, **settings):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_text(json.dumps({"steps": 5, "seed": 0} | settings))
        (tmp_path / name / "scores.json").write_text(json.dumps(scores))
        return str(tmp_path / name)

    return run


def test_the_spread_of_runs_is_that_of_a_sample():
    assert spread([1.0, 3.0]) == "2.0 ± 1.4" and spread([0.25], 2) == "0.25"


def test_runs_are_grouped_and_those_that_differ_otherwise_are_refused(leave, tmp_path, capsys):
    a, b, other, again, longer = (
        leave("a", 1), leave("b", 2, seed=1), leave("c", 3, streams="2d"), leave("d", 4),
        leave("e", 5, steps=6, seed=2),
    )  # fmt: skip
    assert [run.scores for run in finished([a, b])[()]] == [1, 2]
    with pytest.raises(UsageError, match="streams 2d, not None"):
        finished([a, other])
    wrong = (([a, longer], "steps 6, not 5"), ([a, again], "seed 0 is there"), ([tmp_path], "no finished run"))
    for folders, said in wrong:
        assert frame.main(["salient", "--together", *map(str, folders)]) == 2
        assert said in capsys.readouterr().err


def test_salient_puts_seeds_together(leave, capsys):
    def scores(ours):
        return {"ours": worth(ours), "centre prior": worth(0.5)}

    def worth(auc):
        return {f: [{"auc": auc, "nss": 1, "f": 0.5}] for f in ("colour", "orientation", "size", "shape")}

    assert frame.main(["salient", "--together", leave("a", scores(0.9)), leave("b", scores(0.4), seed=1)]) == 0
    said = capsys.readouterr().out
    assert "0.650 ± 0.354" in said and "1 of 2" in said


def test_restore_puts_seeds_together(leave, capsys):
    def scores(gain):
        methods = {"bicubic": {"psnr": 30.0, "ssim": 0.9}, "ours": {"psnr": 30 + gain, "ssim": 0.9}}
        return {"x2": {"camera": methods, "coins": methods}}

    x2 = {"job": "superresolve", "scale": 2, "upsampling": "resize"}
    assert frame.main(["restore", "--together", leave("a", scores(1), **x2), leave("b", scores(3), seed=1, **x2)]) == 0
    head, row = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert head == ["seeds", "camera", "coins", "mean", "least"]
    assert row[-11:] == ["2", *["2.00", "±", "1.41"] * 3, "1.00"] and row[0] == "x2,"


def test_detect_puts_seeds_and_detectors_together(leave, capsys):
    def scores(ap, part="test"):
        return {"part": part, "pictures": 200, "boxes": {"AP": ap, "small": None}}

    small = {"backbone": "resnet", "width": 1.0, "ohem": False, "batch": 8}
    ssd, again = (leave(f"ssd{i}", scores(ap), model="ssd", seed=i, **small) for i, ap in enumerate((0.2, 0.4)))
    yolo = leave("c", scores(0.1), model="yolo", **small | {"batch": 16})
    assert frame.main(["detect", "--together", ssd, again, yolo]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["boxes", "seeds", "AP", "small"]
    assert lines[2][0] == "ssd," and lines[2][-5:] == ["2", "30.0", "±", "14.1", "-"]
    assert lines[3][0] == "yolo," and lines[3][-3:] == ["1", "10.0", "-"]
    other = leave("d", scores(0.1, "validation"), model="yolo", seed=1, **small)
    assert frame.main(["detect", "--together", yolo, other]) == 2
    assert "different pictures" in capsys.readouterr().err


def test_track_puts_streams_and_views_together(leave, capsys):
    methods = dict.fromkeys(("tubes", "detect, then track"), TUBES)
    scores = dict.fromkeys(("nothing hidden", "behind two posts"), methods)
    both = [("2d", 0), ("2d", 1), ("both", 0), ("both", 1)]
    folders = [leave(f"{s}{i}", scores, streams=s, view="none", seed=i) for s, i in both]
    assert frame.main(["track", "--together", *folders]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("tubes, 2-D and 3-D")]
    assert len(lines) == 2 and "50.0 ± 0.0" in lines[0]
