"""Tasks on several ranks: shards that are made alone, evaluations that are shared, what a run remembers."""

import json
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

import tasks.__main__ as frame
from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.ranks.group import Alone
from minidl.ranks.shards import Sharded, part
from minidl.ranks.share import SharedEvaluation, on_first, share
from minidl.training.checkpoint import load_tree
from tasks.classify import evaluate
from tasks.classify.data import Part, PictureBatches
from tasks.compress.data import Patches as CompressPatches
from tasks.denoise.data import Patches
from tasks.detect.train import Settings as Detect
from tasks.detect.train import TargetBatches
from tasks.features.train import Pictures
from tasks.interpret import train as interpret
from tasks.models import resnet_small
from tasks.options import TaskSettings
from tasks.restore.train import Settings as Restore
from tasks.run import Job, read_state
from tasks.salient.train import Scenes
from tasks.salient.train import Settings as Salient
from tasks.segment.data import MaskPart
from tasks.segment.data import Patches as MaskPatches
from tasks.volume.data import VolumeBatches
from tasks.volume.speckle import Volume
from tests.support.ranks import on_ranks

RNG = np.random.default_rng(0)
PICTURES = {name: RNG.random((30, 40), dtype=np.float32) for name in "ab"}
DIGITS = Part(RNG.integers(0, 256, (30, 1, 8, 8)).astype(np.uint8), np.arange(30) % 10)
MASKS = MaskPart(["a"], [RNG.random((1, 40, 40))], [RNG.integers(0, 2, (40, 40)).astype(np.uint8)])
VOLUMES = [Volume(RNG.random((4, 4, 4)), np.full((4, 4, 4), i)) for i in range(9)]
N = 5  # samples of a batch
MAKE = {
    "denoise": lambda: Patches(PICTURES, 16, N, (5.0, 50.0), 3),
    "classify": lambda: PictureBatches(DIGITS, N, shift=1, mirror=True, seed=3),
    "segment": lambda: MaskPatches(MASKS, 16, N, elastic=1.0, border=None, seed=3),
    "volume": lambda: VolumeBatches(VOLUMES, N, 3),
    "detect": lambda: TargetBatches(Detect(batch=N, seed=3)),
    "interpret": lambda: interpret.Batches(interpret.Settings(batch=N, seeds=2)),
    "restore": lambda: Restore(batch=N, patch=16).patches(PICTURES),
    "compress": lambda: CompressPatches(PICTURES, 16, N, 3),
    "features": lambda: Pictures(DIGITS.images, N, 0.3, 3),
    "salient": lambda: Scenes(Salient(batch=N, side=32)),
    "order": lambda: data.Batches(12, N, seed=3),  # whose third batch has two
}


def leaves(batch):
    """The arrays in a batch; of generators their state."""
    if is_dataclass(batch):
        batch = [getattr(batch, field.name) for field in fields(batch)]
    if isinstance(batch, (list, tuple)):
        return [leaf for each in batch for leaf in leaves(each)]
    if isinstance(batch, np.random.Generator):
        return [np.array(str(batch.bit_generator.state))]
    return [] if batch is None else [np.asarray(batch)]


def same(one, other):
    return all(
        (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        for a, b in zip(leaves(one), leaves(other), strict=True)
    )


def length(batch):
    """Samples, not counting faces twice."""
    first = batch[1][0] if isinstance(batch, tuple) and isinstance(batch[1], list) else batch
    first = first[0] if isinstance(first, tuple) and not isinstance(first, Volume) else first
    return len(first)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("shards", [2, 8])
def test_a_shard_depends_on_seed_step_and_shard_alone_and_all_have_the_samples_of_the_batch(name, shards):
    batches, prefetched = MAKE[name](), data.Prefetch(MAKE[name]())
    for step in (0, 2):
        size = batches.size(step)
        assert size == (2 if (name, step) == ("order", 2) else N)
        found = {}
        for shard in range(shards):
            count = len(range(*part(size, shard, shards).indices(size)))
            if not count:
                continue
            found[shard] = batches.shard(step, shard, shards)
            if name not in ("detect", "interpret"):
                assert length(found[shard]) == count
            assert same(found[shard], prefetched.shard(step, shard, shards))
            assert same(found[shard], Sharded(MAKE[name](), shards)(step, shard))
        firsts = {leaves(each)[0][:1].tobytes() for each in found.values()}
        assert len(firsts) == len(found)


@pytest.mark.parametrize("name", MAKE)
def test_whole_batches_are_made_as_ever(name):
    batches = MAKE[name]()
    whole = batches(4)
    assert same(whole, data.Prefetch(MAKE[name]())(4))
    if isinstance(batches, data.RandomBatches):
        rng = data.generator(batches.seed, batches.purpose, 4)
        assert same(whole, batches.samples(4, slice(0, N), rng))


@pytest.mark.parametrize("name, which", [("classify", 1), ("volume", None), ("order", None)])
def test_shards_are_disjoint_parts_of_the_order(name, which):
    batches = MAKE[name]()
    parts = [batches.shard(1, shard, 3) for shard in range(3)]
    whole = batches(1)
    if name == "volume":
        assert [v.labels.max() for p in parts for v in p] == [v.labels.max() for v in whole]
    else:
        parts, whole = (parts, whole) if which is None else ([p[which] for p in parts], whole[which])
        assert np.concatenate(parts).tolist() == whole.tolist()


# --- work that is shared


@pytest.mark.parametrize("size", [1, 3, 7])
def test_shared_work_is_done_once_and_known_to_all_in_order(size):
    items, done = [0.1 * i for i in range(5)], []

    def run(group):
        shown = []
        found = share(group, lambda x: [done.append(x), x / 3][1:], items, lambda: shown.append(1))
        first = on_first(group, lambda x: {"rank": group.rank, "x": x}, 0.1)
        return found, len(shown), first

    assert on_ranks(size, run) == [([[x / 3] for x in items], 5, {"rank": 0, "x": 0.1})] * size
    assert sorted(done) == items


def test_an_evaluation_is_the_same_on_any_ranks_and_as_that_of_all_at_once():
    model = resnet_small(8, 4, 10, 1, rng=0)
    whole = evaluate.tested(model, DIGITS, 8)
    assert evaluate.watched(model, DIGITS, 8)(0) == {"test_loss": whole.loss, "test_accuracy": whole.accuracy}
    of_ranks = on_ranks(3, lambda group: evaluate.watched(resnet_small(8, 4, 10, 1, rng=0), DIGITS, 8)(0, group))
    assert of_ranks == [{"test_loss": whole.loss, "test_accuracy": whole.accuracy}] * 3


@dataclass(frozen=True)
class Tiny(TaskSettings):
    steps: int = 4
    lr: float = 0.1


def squared(model, batch):
    x = Tensor(np.sin(np.arange(57, dtype=np.float32)).reshape(19, 3)[batch])
    return F.mse_loss(model(x), x[:, :1])


def test_a_job_on_ranks_writes_once_evaluates_everywhere_and_ends_in_the_bits_of_one_process(tmp_path):
    def run(group):
        out = tmp_path / f"of-{group.size}"
        out.mkdir(exist_ok=True)
        job = Job(Tiny(), out, group=group, shards=4)
        job.begin()
        model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.BatchNorm1d(2), nn.Dropout(0.3, rng=1), nn.Linear(2, 1, rng=0))
        seen = []
        evaluation = SharedEvaluation([0, 1, 2], lambda i: seen.append(i), lambda found: {"parts": len(found)})
        batches = data.Batches(19, 10, seed=0)  # the second has nine
        job.fit(model, optim.Adam, squared, batches, parts=2, evaluate=evaluation, record=False)
        return sorted(seen), {name: array.tobytes() for name, array in model.state_dict().items()}

    one = run(Alone())
    for size in (2, 3):
        seen, states = zip(*on_ranks(size, run))
        assert all(state == one[1] for state in states) and sorted(i for each in seen for i in each) == one[0]
    for name in ("log.jsonl", "settings.json"):
        assert len({(tmp_path / f"of-{size}" / name).read_bytes() for size in (1, 2, 3)}) == 1
    assert json.loads((tmp_path / "of-1" / "settings.json").read_text()) == {"steps": 4, "lr": 0.1, "shards": 4}


def test_ranks_that_a_batch_is_too_small_for_are_told_of_once(tmp_path, capsys):
    def run(group):
        job = Job(Tiny(), tmp_path, quiet=not group.first, group=group, shards=4)
        job.fit(nn.Linear(3, 1, rng=0), optim.Adam, squared, data.Batches(19, 2), record=False)

    on_ranks(3, run)
    assert capsys.readouterr().err.count("a batch of 2 keeps 2 of 3 ranks busy, a larger --batch keeps more") == 1


# --- the command


def test_shards_decide_the_outcome_and_belong_to_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tasks.classify.cli.report", lambda *_: None)
    classes = np.arange(30) % 3
    images = DIGITS.images[:, 0]
    np.savez(tmp_path / "own.npz", x_train=images, y_train=classes, x_test=images[:6], y_test=classes[:6])

    def run(out, *argv):
        return frame.main(["classify", "--quiet", "--out", str(tmp_path / out), *argv])

    tiny = ("--data", str(tmp_path / "own.npz"), "--depth", "8", "--width", "4", "--batch", "7", "--steps", "2")
    assert run("one", *tiny, "--shards", "1") == run("three", *tiny, "--shards", "3") == 0
    one, three = (read_state(tmp_path / out / "checkpoint.npz") for out in ("one", "three"))
    assert not all((one[name] == three[name]).all() for name in one)
    saved = [json.loads((tmp_path / out / "settings.json").read_text()) for out in ("one", "three")]
    assert "shards" not in saved[0] and saved[1] == saved[0] | {"shards": 3}
    capsys.readouterr()
    assert run("three", "--resume", "--shards", "2") == 2
    assert capsys.readouterr().err == (
        f"minidl: error: in the run of {tmp_path / 'three'} shards is 3, not 2: leave --shards out\n"
    )
    assert run("three", "--resume", "--steps", "3") == 0
    assert json.loads((tmp_path / "three" / "settings.json").read_text())["shards"] == 3
    assert load_tree(tmp_path / "three" / "checkpoint.npz")["shards"] == 3
    assert run("three", "--shards", "0") == 2
