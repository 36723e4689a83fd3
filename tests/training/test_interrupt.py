"""A training process that is killed at random moments loses nothing: real processes, real signals.

MINIDL_KILLS=20 kills more often; the default suite kills four times.
"""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minidl as md
from minidl.training.checkpoint import load_tree
from minidl.training.interrupt import LAUNCHERS, deferred_interrupt

STEPS, SAVE_EVERY = 240, 3
KILLS = int(os.environ.get("MINIDL_KILLS", "4"))

SCRIPT = f"""
import sys
import numpy as np
import minidl as md
from minidl import data, functional as F, nn, optim
from minidl.train import fit

X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
Y = np.sin(X.sum(axis=1, keepdims=True))
model = nn.Sequential(
    nn.Linear(4, 16, rng=0), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.2, rng=1), nn.Linear(16, 1, rng=2)
)
noise = np.random.default_rng(3)

def loss(model, batch):
    x = X[batch] + 0.1 * noise.normal(size=(len(batch), 4)).astype(np.float32)
    return F.mse_loss(model(md.tensor(x)), Y[batch])

optimiser = optim.Adam(model.parameters())
fit(model, optimiser, loss, data.Batches(50, 8, seed=4), {STEPS}, schedule=optim.cosine(0.01, {STEPS}), clip=1.0,
    generators={{"noise": noise}}, checkpoint="c.npz", save_every={SAVE_EVERY}, log="log.jsonl", resume=True,
    progress=False)
"""


def start(folder):
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process):
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0, errors
    return errors


def wait_until_steps(process, folder, steps):
    """Until the log has so many lines, or the process has ended."""
    log = folder / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= steps):
        time.sleep(0.0005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stopped: its checkpoint and its log."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder))
    return (folder / "c.npz").read_bytes(), (folder / "log.jsonl").read_bytes()


def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path, whole):
    """SIGKILL, again and again, each time some steps after it was resumed; then it may finish."""
    rng = np.random.default_rng()
    killed_after, done = [], 0
    folder = tmp_path / "killed"
    for _ in range(KILLS):
        if done >= STEPS:  # a run has come to its end: kill another one
            assert ((folder / "c.npz").read_bytes(), (folder / "log.jsonl").read_bytes()) == whole, killed_after
            folder, done = tmp_path / f"killed{len(killed_after)}", 0
        process = start(folder)
        wait_until_steps(process, folder, done + rng.integers(1, 60))
        time.sleep(rng.uniform(0, 0.005))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = load_tree(folder / "c.npz")["step"] if (folder / "c.npz").exists() else 0
        killed_after.append(done)
        lines = (folder / "log.jsonl").read_bytes().count(b"\n") if (folder / "log.jsonl").exists() else 0
        assert done == 0 or (done % SAVE_EVERY == 0 and done <= lines), "the log is never behind the checkpoint"
    finish(start(folder))
    assert ((folder / "c.npz").read_bytes(), (folder / "log.jsonl").read_bytes()) == whole, killed_after


def test_ctrl_c_that_is_ignored_stays_ignored(ctrl_c):
    """As in a job in the background: what the shell asked for holds during training too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fixture puts back what was before
    with deferred_interrupt() as pressed:
        ctrl_c()
        ctrl_c()
    assert not pressed and signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("number", LAUNCHERS)
def test_what_launchers_send_is_taken_for_ctrl_c_where_it_is_asked_for(ctrl_c, number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), deferred_interrupt(LAUNCHERS) as pressed:
        os.kill(os.getpid(), number)
        assert pressed
        ctrl_c()  # the second one
    assert signal.getsignal(number) is before
    with deferred_interrupt():
        assert signal.getsignal(number) is before


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_saves_and_stops(tmp_path, whole):
    process = start(tmp_path)
    wait_until_steps(process, tmp_path, 20)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode != 0 and "KeyboardInterrupt: stopped after step" in errors
    tree, lines = load_tree(tmp_path / "c.npz"), (tmp_path / "log.jsonl").read_bytes().splitlines()
    assert tree["step"] == len(lines) >= 20 and json.loads(lines[-1])["step"] == tree["step"] - 1
    assert f"checkpoint after {tree['step']} steps" in errors
    finish(start(tmp_path))
    assert ((tmp_path / "c.npz").read_bytes(), (tmp_path / "log.jsonl").read_bytes()) == whole


def test_a_process_that_died_while_it_wrote_leaves_the_old_checkpoint(tmp_path, whole):
    """What is left of half a write, the file beside, is not looked at and is written over."""
    process = start(tmp_path)
    wait_until_steps(process, tmp_path, 10)
    process.kill()
    process.communicate()
    (tmp_path / "c.npz.part").write_bytes(b"PK\x03\x04 half of a checkpoint")
    finish(start(tmp_path))
    assert ((tmp_path / "c.npz").read_bytes(), (tmp_path / "log.jsonl").read_bytes()) == whole
    assert sorted(os.listdir(tmp_path)) == ["c.npz", "log.jsonl"]


def test_truncated_checkpoint_gives_one_clear_line(tmp_path, whole):
    (tmp_path / "c.npz").write_bytes(whole[0][: len(whole[0]) // 2])
    process = start(tmp_path)
    last = process.communicate(timeout=60)[1].strip().splitlines()[-1]
    assert process.returncode == 1
    assert "WeightsError: c.npz: truncated or damaged" in last
    with pytest.raises(md.WeightsError, match="truncated or damaged"):
        md.load_weights(tmp_path / "c.npz")
