"""The same bits on any ranks and threads: the commands of the tasks at small size, on each, and a table of digests.

    python -m tests.ranks.same_bits            # 1, 2, 3, 4, 8 ranks x 1, 2 threads: some minutes
    python -m tests.ranks.same_bits --tasks denoise --ranks 1 4 --threads 1 --steps 20

A digest is that of all arrays of the checkpoint, the optimiser's among them, and of the log. Exits with 1 if two
digests of a task differ.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
TASKS = {  # (5 samples are fewer than the 8 shards)
    "denoise": "denoise --model dncnn --depth 4 --width 8 --patch 16",  # Adam, batch norm
    "classify": "classify --depth 8 --width 8 --batch 20",  # SGD with momentum, batch norm
    "segment": "segment --base 4 --depth 2 --patch 32",  # Adam, batch norm
    "detect": "detect --batch 5 --width 0.17",  # Faster R-CNN, made narrow: Adam, clipped; regions are sampled
    "all": "all",  # Adam, batch norm and dropout in one network
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 3, 4, 8])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args(argv)
    runs = [(ranks, threads) for ranks in options.ranks for threads in options.threads]
    print(f"after {options.steps} steps with 8 shards, on ranks x threads:")
    print(f"{'':<10}" + "".join(f"{f'{r} x {t}':>10}" for r, t in runs))
    same = True
    with tempfile.TemporaryDirectory() as folder:
        for task in options.tasks:
            print(f"{task:<10}", end="", flush=True)
            began, found = time.perf_counter(), set()
            for ranks, threads in runs:
                out = Path(folder, f"{task}-{ranks}-{threads}")
                found.add(digest := run(task, ranks, threads, options.steps, out))
                print(f"{digest:>10}", end="", flush=True)
            same = same and len(found) == 1
            verdict = "the same" if len(found) == 1 else "DIFFERENT"
            print(f"   {verdict}, {time.perf_counter() - began:.0f} s", flush=True)
    return 0 if same else 1


def run(task: str, ranks: int, threads: int, steps: int, out: Path) -> str:
    """Train on so many ranks; the digest of what it leaves."""
    launcher = Path(sys.executable).with_name("mpiexec")
    argv = [launcher, "-n", str(ranks), sys.executable, "-m", "tests.ranks.same_bits", "--one", *TASKS[task].split()]
    argv += ["--steps", str(steps), "--quiet", "--out", str(out)]
    environment = os.environ | {"MINIDL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(list(map(str, argv)), cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"\n{' '.join(map(str, argv))}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
    content = hashlib.sha256((out / "log.jsonl").read_bytes())
    with np.load(out / "checkpoint.npz") as arrays:
        for name in sorted(arrays.files):
            content.update(name.encode() + arrays[name].tobytes())
    return content.hexdigest()[:8]


def one(argv: list[str]) -> int:
    """The command of a task up to its report, which would take longer than the training."""
    if argv[0] == "all":
        return together(int(argv[2]), Path(argv[-1]))
    from tasks.__main__ import COMMANDS
    from tasks.detect.train import MODELS
    from tasks.frame import Task

    MODELS["faster_rcnn"] = partial(MODELS["faster_rcnn"], pyramid=8, hidden=16)
    for name in ("denoise", "classify", "segment", "detect"):
        __import__(f"tasks.{name}.cli")
    for kind in Task.__subclasses__():
        kind.report = lambda *_: None
    return COMMANDS.main(argv)


def together(steps: int, out: Path) -> int:
    """Adam, batch norm and dropout in one network, on made data."""
    import minidl as md
    from minidl import data, nn, optim
    from minidl import functional as F
    from minidl.train import fit

    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(203, 3, 8, 8)).astype(np.float32), rng.integers(0, 5, 203)
    layers = [nn.Conv2d(3, 8, 3, padding=1, rng=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.1, rng=2)]
    layers += [nn.Flatten(), nn.Linear(512, 32, rng=3), nn.ReLU(), nn.Dropout(0.5, rng=4), nn.Linear(32, 5, rng=5)]
    model, order = nn.Sequential(*layers), data.Batches(203, 30, seed=0)
    fit(
        model, optim.Adam(model.parameters(), 1e-3),
        lambda model, chosen: F.cross_entropy(model(md.Tensor(images[chosen])), labels[chosen]), order, steps,
        checkpoint=out / "checkpoint.npz", log=out / "log.jsonl", progress=False,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(one(sys.argv[2:]) if sys.argv[1:2] == ["--one"] else main(sys.argv[1:]))
