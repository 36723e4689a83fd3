"""Training on the GPU: the same losses as on the CPU, checkpoints that go to and fro, the same bits again."""

import json

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F
from minidl.device import to_device
from minidl.train import fit, load_model
from minidl.training.checkpoint import load_tree

STEPS = 6
IMAGES = np.random.default_rng(0).standard_normal((10, 1, 6, 6), np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 10)
BATCHES = data.Batches(10, 4, seed=2)
OPTIMISERS = {
    "sgd": lambda model: optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    "adam": lambda model: optim.Adam(model.parameters(), lr=0.01),
}


def network(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False, rng=rng), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.3, rng=seed), nn.Flatten(), nn.Linear(36, 3, rng=rng),
    )  # fmt: skip


def loss(device):
    def of(model, batch):
        x, target = (md.Tensor(to_device(array[batch], device)) for array in (IMAGES, LABELS))
        return F.cross_entropy(model(x), target)

    return of


def train(device, folder, steps=STEPS, *, seed=0, optimiser="sgd", **options):
    """The model after a run on a device, and what was logged."""
    model = network(seed).to(device)
    fit(model, OPTIMISERS[optimiser](model), loss(device), BATCHES, steps, clip=1.0, checkpoint=folder / "c.npz",
        log=folder / "log.jsonl", progress=False, **options)  # fmt: skip
    return model, [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def logged(lines):
    return np.array([(line["loss"], line["grad_norm"]) for line in lines])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_losses_are_those_of_the_cpu(gpu, tmp_path, optimiser):
    there, seen = train("gpu", tmp_path / "gpu", optimiser=optimiser)
    here, expected = train("cpu", tmp_path / "cpu", optimiser=optimiser)
    np.testing.assert_allclose(logged(seen), logged(expected), rtol=1e-5)
    assert len({line["loss"] for line in seen}) == STEPS
    assert all(p.device == "gpu" and p.grad.device == "gpu" for p in there.parameters())
    for (name, ours), theirs in zip(there.state_dict().items(), here.state_dict().values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("first, then", [("gpu", "cpu"), ("cpu", "gpu")])
def test_a_checkpoint_of_one_device_goes_on_on_the_other(gpu, tmp_path, first, then, optimiser):
    """Weights, running statistics, momentum, and the state of dropout: the losses after are as if nothing happened."""
    _, straight = train(then, tmp_path / "straight", optimiser=optimiser)
    train(first, tmp_path / "moved", 3, optimiser=optimiser)
    model, moved = train(then, tmp_path / "moved", seed=9, resume=True, optimiser=optimiser)
    assert len(moved) == STEPS and all(p.device == then for p in model.parameters())
    np.testing.assert_allclose(logged(moved), logged(straight), rtol=1e-5)
    a, b = (load_tree(tmp_path / run / "c.npz") for run in ("moved", "straight"))
    assert a["random"] == b["random"]


def test_a_checkpoint_holds_numpy_arrays(gpu, tmp_path):
    model, _ = train("gpu", tmp_path, 2)
    with np.load(tmp_path / "c.npz") as file:
        assert {file[name].dtype.kind for name in file} <= set("fiubU")
    fresh = network(5)
    load_model(tmp_path / "c.npz", fresh)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, fresh.state_dict()[name])


def test_two_runs_have_the_same_bits(gpu, tmp_path):
    for run in "ab":
        train("gpu", tmp_path / run)
    assert (tmp_path / "a" / "c.npz").read_bytes() == (tmp_path / "b" / "c.npz").read_bytes()
    assert (tmp_path / "a" / "log.jsonl").read_bytes() == (tmp_path / "b" / "log.jsonl").read_bytes()


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_stopped_run_goes_on_to_the_same_bits(gpu, tmp_path, optimiser):
    train("gpu", tmp_path / "whole", optimiser=optimiser)
    train("gpu", tmp_path / "parts", 2, optimiser=optimiser)
    train("gpu", tmp_path / "parts", 5, seed=7, resume=True, optimiser=optimiser)
    train("gpu", tmp_path / "parts", seed=8, resume=True, optimiser=optimiser)
    assert (tmp_path / "whole" / "c.npz").read_bytes() == (tmp_path / "parts" / "c.npz").read_bytes()
    assert (tmp_path / "whole" / "log.jsonl").read_bytes() == (tmp_path / "parts" / "log.jsonl").read_bytes()


def test_a_step_reads_from_the_gpu_once(stand_in, tmp_path, monkeypatch):
    """Every reading waits until all work is done; forward, backward, clip and update must not."""
    reads = []
    for name in ("get", "item", "tolist", "__float__", "__int__", "__bool__"):
        method = getattr(stand_in.ndarray, name)
        counted = lambda *a, method=method, **k: reads.append(1) or method(*a, **k)  # noqa: E731
        monkeypatch.setattr(stand_in.ndarray, name, counted)
    per_step = []

    def counting(model, batch):
        per_step.append(len(reads))
        error = F.cross_entropy(model(md.Tensor(to_device(IMAGES[batch], "gpu"))), LABELS[batch])  # looked at here
        return {"error": error, "size": 1e-3 * (model[0].weight ** 2).sum(), "count": len(batch)}

    model = network().to("gpu")
    optimiser = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    fit(model, optimiser, counting, BATCHES, STEPS, clip=0.1, progress=False, log=tmp_path / "log.jsonl")
    assert np.diff(per_step).tolist() == [1] * (STEPS - 1)


def test_a_loss_that_is_not_finite_names_the_operation(gpu, tmp_path):
    def broken(model, batch):
        return loss("gpu")(model, batch) + F.log(model[0].weight.sum() * 0)

    model = network().to("gpu")
    with pytest.raises(md.train.Diverged, match=r"step 0: .*log"):
        fit(model, optim.SGD(model.parameters(), lr=0.05), broken, BATCHES, 2, progress=False)


# --- the task


@pytest.fixture
def denoise(tmp_path, monkeypatch):
    """``python -m tasks denoise`` in this process, on small images; gives exit code and folder."""
    pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
    image = pytest.importorskip("PIL.Image")
    import tasks.__main__ as frame
    from tasks.denoise import cli

    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for name in "ab":
        image.fromarray(rng.integers(0, 255, (30, 34), np.uint8)).save(tmp_path / "data" / f"{name}.png")
    test = {"tiny": np.outer(np.linspace(0, 1, 24), np.linspace(0.2, 1, 30)).astype(np.float32)}
    monkeypatch.setattr(cli, "photographs", lambda names: test)
    monkeypatch.setattr(cli, "compare", lambda *a: None)  # classical filters and figures: they run on the CPU

    def run(name, *argv):
        tiny = ("--width", 4, "--batch", 2, "--patch", 12, "--data", tmp_path / "data", "--steps", 4, "--quiet")
        argv = [*(() if "--resume" in argv else tiny), *argv, "--out", tmp_path / name]
        return frame.main(["denoise", *map(str, argv)]), tmp_path / name

    return run


def test_the_task_trains_on_the_device_asked_for(gpu, denoise):
    logs = {}
    for device in ("gpu", "auto", "cpu"):
        code, out = denoise(device, "--device", device)
        assert code == 0
        logs[device] = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(logged(logs["gpu"]), logged(logs["cpu"]), rtol=1e-5)
    assert logs["auto"] == logs["gpu"]
    assert logs["gpu"][-1]["test_psnr"] == pytest.approx(logs["cpu"][-1]["test_psnr"], abs=1e-3)


def test_an_interrupted_task_goes_on_to_the_same_bits(ctrl_c, gpu, denoise, monkeypatch):
    from tasks.denoise.data import Patches

    _, whole = denoise("whole", "--device", "gpu")
    before = Patches.__call__

    def interrupted(self, step):
        if step == 1:
            ctrl_c()
        return before(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Patches, "__call__", interrupted)
        assert denoise("run", "--device", "gpu")[0] == 130
    code, out = denoise("run", "--resume", "--quiet", "--device", "gpu")
    assert code == 0
    for name in ("checkpoint.npz", "log.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
