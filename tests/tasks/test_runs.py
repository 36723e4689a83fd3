"""A run that is there already is gone on with, or replaced where that is asked for; it is never lost unasked."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

import minidl as md
import tasks.__main__ as frame
from minidl import data, nn, optim
from minidl import functional as F
from minidl.study.terminal import UsageError
from tasks.frame import Task
from tasks.options import TaskSettings
from tasks.run import CHECKPOINT, SCORES, SETTINGS, TABLE, Job, read_state

X = np.sin(np.arange(57, dtype=np.float32)).reshape(19, 3)
LEFT = (CHECKPOINT, "log.jsonl", SCORES, SETTINGS, TABLE)


@dataclass(frozen=True)
class Settings(TaskSettings):
    steps: int = 4  # of Adam
    lr: float = 0.1  # learning rate
    seed: int = 0  # decides the order


class Tiny(Task):
    name, title, settings = "tiny", "A linear layer.", Settings

    def __init__(self):
        super().__init__()
        self.reads, self.stop = 0, None

    def load(self, settings, checkpoint):
        model = nn.Linear(3, 1, rng=0)
        model.load_state_dict(read_state(checkpoint))
        return model

    def read(self, settings, options, model):
        self.reads += 1

    def train(self, job, data_):
        def loss(model, batch):
            seen.append(1)
            if len(seen) == self.stop:
                raise KeyboardInterrupt
            return F.mse_loss(model(md.Tensor(X[batch])), X[batch, :1])

        seen = []
        job.begin("second.npz")
        model, batches = nn.Linear(3, 1, rng=0), data.Batches(19, 5, seed=job.settings.seed)
        return job.fit(model, optim.Adam, loss, batches, parts=4, record=False)

    def report(self, model, data_, job, options):
        job.table([f"{len(job.log())} steps"])
        job.write_json(SCORES, {"steps": len(job.log())})


def contents(folder):
    return {name: (folder / name).read_bytes() for name in LEFT if (folder / name).exists()}


def test_a_finished_run_is_replaced_only_if_that_is_asked_for(tmp_path):
    task, argv = Tiny(), ["--quiet", "--out", str(tmp_path)]
    task.main(argv)
    before = contents(tmp_path)
    assert set(before) == set(LEFT)
    with pytest.raises(UsageError, match="holds a finished run: --overwrite replaces it, another --out keeps both"):
        task.main([*argv, "--seed", "1"])
    assert contents(tmp_path) == before and task.reads == 1, "refused before the data is read, and nothing is touched"
    task.main([*argv, "--resume"])
    assert contents(tmp_path) == before, "there is nothing to go on with, and the report is the same"
    (tmp_path / "second.npz").write_bytes(b"of the run before")
    task.main([*argv, "--seed", "1", "--overwrite"])
    after = contents(tmp_path)
    assert json.loads(after[SETTINGS])["seed"] == 1 and all(after[name] != before[name] for name in (CHECKPOINT,))
    assert not (tmp_path / "second.npz").exists(), "or it would stand beside settings that are not its own"
    with pytest.raises(UsageError, match="--resume goes on with the run in --out, --overwrite replaces it"):
        task.main([*argv, "--resume", "--overwrite"])


def test_a_run_that_was_stopped_is_resumed_or_replaced(tmp_path):
    task, argv = Tiny(), ["--quiet", "--out", str(tmp_path / "stopped")]
    task.stop = 3
    with pytest.raises(KeyboardInterrupt):
        task.main(argv)
    task.stop, stopped = None, contents(tmp_path / "stopped")
    assert CHECKPOINT in stopped and TABLE not in stopped
    with pytest.raises(
        UsageError, match="not finished: --resume goes on with it, --overwrite starts anew in its place"
    ):
        task.main(argv)
    assert contents(tmp_path / "stopped") == stopped
    task.main([*argv, "--resume"])
    task.main(["--quiet", "--out", str(tmp_path / "whole")])
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    task.main([*argv, "--overwrite"])
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_run_that_is_replaced_leaves_no_results_beside_settings_that_are_not_theirs(tmp_path):
    task, argv = Tiny(), ["--quiet", "--out", str(tmp_path)]
    task.main(argv)
    task.stop = 3
    with pytest.raises(KeyboardInterrupt):
        task.main([*argv, "--overwrite", "--seed", "1"])
    assert (tmp_path / SETTINGS).exists() and not (tmp_path / TABLE).exists() and not (tmp_path / SCORES).exists()


def test_a_run_that_was_stopped_before_it_saved_is_nothing_to_lose(tmp_path):
    task, argv = Tiny(), ["--quiet", "--out", str(tmp_path)]
    task.stop = 1
    with pytest.raises(KeyboardInterrupt):
        task.main(argv)
    assert (tmp_path / SETTINGS).exists()
    task.stop = None
    task.main(argv)
    assert (tmp_path / TABLE).exists()


def test_a_table_made_anew_of_the_same_run_is_no_loss_one_of_another_is(tmp_path):
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder in (ours, other):
        Tiny().main(["--quiet", "--out", str(folder)])
    before = contents(ours)
    Tiny().main(["--quiet", "--out", str(ours), "--checkpoint", str(ours / CHECKPOINT)])
    with pytest.raises(UsageError, match="ours holds a finished run"):
        Tiny().main(["--quiet", "--out", str(ours), "--checkpoint", str(other / CHECKPOINT)])
    assert contents(ours) == before


def test_arrays_that_are_no_run_do_not_stand_in_the_way_and_stay(tmp_path):
    np.savez(tmp_path / "own.npz", x=X)
    Tiny().main(["--quiet", "--out", str(tmp_path)])
    Tiny().main(["--quiet", "--out", str(tmp_path), "--overwrite"])
    assert (tmp_path / "own.npz").exists()
    weights = tmp_path / "weights"
    weights.mkdir()
    md.save_weights(weights / CHECKPOINT, nn.Linear(3, 1).state_dict())
    with pytest.raises(UsageError, match="weights holds a run"):
        Job(Settings(), weights).begin()
    assert (weights / CHECKPOINT).exists()


def test_a_lab_is_measured_again_only_if_that_is_asked_for(tmp_path, capsys, monkeypatch):
    def measured(*_):
        raise ValueError("it is measured")

    monkeypatch.setattr("tasks.labs.cli.measured", measured)
    argv = ["labs", "shortcut", "--quick", "--quiet", "--out", str(tmp_path)]
    (tmp_path / "numbers.json").write_text("of hours")
    assert frame.main(argv) == 2
    assert "holds a finished run: --overwrite replaces it" in capsys.readouterr().err
    assert frame.main([*argv, "--overwrite"]) == 1
    assert "it is measured" in capsys.readouterr().err
    assert (tmp_path / "numbers.json").read_text() == "of hours"


def test_curves_for_tensorboard_are_left_where_they_are_asked_for(tmp_path):
    Tiny().main(["--quiet", "--out", str(tmp_path / "plain")])
    Tiny().main(["--quiet", "--out", str(tmp_path / "shown"), "--tensorboard"])
    assert not list((tmp_path / "plain").glob("*tfevents*"))
    (events,) = (tmp_path / "shown").glob("events.out.tfevents.*")
    assert events.read_bytes().count(b"grad_norm") == 4
    Tiny().main(["--quiet", "--out", str(tmp_path / "shown"), "--overwrite"])
    assert not events.exists(), "it is not of this run"
    job, model = Job(Settings(), tmp_path / "shown", tensorboard=True), nn.Linear(3, 1)
    files = ("a.npz", "a.jsonl")
    job.fit(model, optim.Adam, lambda m, b: m.weight.sum(), data.Batches(9, 3), files=files, record=False)
    assert len(list((tmp_path / "shown" / "a").glob("events.out.tfevents.*"))) == 1, "a run of its own"
