"""Transfer learning: what freezing keeps, features computed once, the comparison, a user's photographs."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("matplotlib")

import matplotlib
from PIL import Image, ImageFont

import minidl as md
import tasks.__main__ as frame
from minidl import nn
from minidl.train import State
from tasks.classify import MODELS, evaluate
from tasks.classify.data import Part, PictureBatches, like_imagenet
from tasks.command import UsageError, progress
from tasks.models import SMALL, pretrained
from tasks.transfer import METHODS, compare, features, freeze, head, learn, photographs, replace_head, source, thaw
from tasks.transfer.methods import FeatureBatches, layer

PAGE = Path(__file__).parents[3] / "docs" / "transfer.md"
TINY = ("--variants", "3", "--width", "2", "--steps", "3", "--labels", "2", "1", "--runs", "2", "--pilots", "1")
TINY += ("--tune", "1", "--head", "2", "--quiet")


def run(*argv):
    """The command, in this process."""
    return frame.main(["transfer", *map(str, argv)])


def network(name="resnet_small", classes=4, seed=0):
    """A small one of its kind, with statistics that are not those of a new network, and features that are not tiny."""
    sizes = {"resnet_small": {"depth": 8, "width": 4}, "densenet_small": {"depth": 7, "growth": 4}}
    model = MODELS[name](num_classes=classes, rng=seed, **sizes.get(name, {"width": 4}))
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean[...] = rng.normal(0, 0.1, module.num_features)
            module.running_var[...] = rng.uniform(0.5, 1.5, module.num_features)
        if isinstance(module, nn.Linear):
            module.weight.data[...] = rng.standard_normal(module.weight.shape)
    return model


def some(n=12, classes=3, side=16, channels=3, seed=1):
    rng = np.random.default_rng(seed)
    return Part(rng.integers(0, 256, (n, channels, side, side)).astype(np.uint8), np.arange(n) % classes)


def changed(before, model):
    return {name for name, array in model.state_dict().items() if array.tobytes() != before[name].tobytes()}


# --- the head, and freezing the rest

HEADS = [  # one of each family
    *SMALL, "vgg11", "googlenet", "resnet18", "densenet121", "inception_v3", "mobilenet_v2", "mobilenet_v3_small",
    "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "mobilenet_v1",
    "inception_v2",
]  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_the_head_of_every_network_is_the_layer_that_gives_its_logits(name):
    with nn.init.undrawn():
        model = MODELS[name](num_classes=7)
        owner, place = head(model)
        inputs = layer(model).in_features
        assert layer(model) is getattr(owner, place) and layer(model).out_features == 7
        names = list(model.state_dict())
        replace_head(model, 3, rng=0)
    assert list(model.state_dict()) == names and layer(model).weight.shape == (3, inputs)


def test_a_network_that_ends_in_a_convolution_has_no_head():
    with pytest.raises(ValueError, match="SqueezeNet ends in a convolution"):
        head(MODELS["squeezenet1_1"](num_classes=7))


@pytest.mark.parametrize("name", SMALL)
def test_after_training_with_frozen_features_everything_but_the_head_has_the_same_bits(name):
    model, part = network(name), some()
    replace_head(model, 3, rng=0)
    freeze(model)
    before = model.state_dict()
    learn(model, PictureBatches(part, 4, shift=0, mirror=False, seed=0), 0.1, 5, progress=False)  # through all layers
    owner_name = next(path for path, module in model.named_modules() if module is layer(model))
    assert changed(before, model) == {f"{owner_name}.weight", f"{owner_name}.bias"}
    assert any("running" in key for key in before) or name == "alexnet_small"


def test_without_eval_mode_batch_norm_of_frozen_layers_would_drift():
    model, part = network(), some()
    freeze(model)
    before = model.state_dict()
    model.train()  # the trap: gradients are off still
    learn(model, PictureBatches(part, 4, shift=0, mirror=False, seed=0), 0.1, 5, progress=False)
    drifted = changed(before, model) - {"fc.weight", "fc.bias"}
    assert drifted == {key for key in before if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}


def test_a_thawed_network_learns_in_every_layer():
    model, part = network(), some()
    freeze(model)
    thaw(model)
    before = model.state_dict()
    learn(model, PictureBatches(part, 4, shift=0, mirror=False, seed=0), 0.1, 2, progress=False)
    assert changed(before, model) == set(before)


@pytest.mark.parametrize("name", SMALL)
def test_features_through_the_head_are_the_logits(name):
    model, part = network(name), some()  # in training mode, as after pretraining
    before = model.state_dict()
    calls = []
    x = features(model, part.images, 5, show=lambda: calls.append(1))
    assert len(calls) == 3 and not changed(before, model)
    model.eval()
    logits = model(md.Tensor(like_imagenet(part.images))).data
    np.testing.assert_allclose(layer(model)(md.Tensor(x)).data, logits, rtol=0, atol=1e-5 * abs(logits).max())


@pytest.mark.parametrize("name", SMALL)
def test_training_on_features_computed_once_is_training_through_the_frozen_network(name):
    part = some(n=14)
    through, cached = network(name), network(name)
    for model in (through, cached):
        replace_head(model, 3, rng=5)
        freeze(model)
    learn(through, PictureBatches(part, 4, shift=0, mirror=False, seed=3), 0.03, 12, progress=False)
    x = features(cached, part.images)
    start = layer(cached).weight.data.copy()
    learn(layer(cached), FeatureBatches(x, part.labels, 4, seed=3), 0.03, 12, progress=False)
    moved = abs(layer(cached).weight.data - start).max()
    assert moved > 0.05
    for a, b in zip(layer(through).parameters(), layer(cached).parameters()):
        np.testing.assert_allclose(a.data, b.data, rtol=0, atol=1e-3 * moved)


# --- what is pretrained on, and what is asked for


def test_letters_are_bytes_like_the_digits_and_depend_on_the_seed_only():
    first, again, other = (source.letters(2, md.data.generator(seed, 1)) for seed in (0, 0, 1))
    assert first.images.shape == (2 * len(source.LETTERS), 1, 8, 8) and first.images.dtype == np.uint8
    assert np.array_equal(first.images, again.images) and not np.array_equal(first.images, other.images)
    digits = source.Pretraining().target()[0].images
    assert set(np.unique(first.images)) <= set(np.unique(digits))  # sixteenths of 255
    assert abs(first.images.mean() / digits.mean() - 1) < 0.4


def test_a_letter_is_drawn_upright_and_where_it_belongs():
    rng = np.random.default_rng(0)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), 64)
    mean = {c: np.mean([source.picture(c, font, rng) for _ in range(60)], axis=0) for c in "LTJ"}
    assert mean["L"][:, :3].sum() > 2 * mean["L"][:, -3:].sum() and mean["L"][-3:].sum() > mean["L"][:3].sum()
    assert mean["T"][:2].sum() > 2 * mean["T"][-2:].sum()
    for picture in mean.values():
        assert abs(picture.sum(axis=0) @ np.arange(8) / picture.sum() - 3.5) < 1.5


@pytest.mark.parametrize("kind, names", [("letters", "0123456789"), ("digits", "56789")])
def test_old_and_new_classes_and_pool_and_test_are_apart(kind, names):
    settings = source.Pretraining(source=kind, variants=2)
    pool, test, found = settings.target()
    assert "".join(found) == names
    for part in (pool, test):
        assert np.array_equal(np.unique(part.labels), np.arange(len(names)))
    keys = [{image.tobytes() for image in part.images} for part in (pool, test, *settings.parts())]
    assert sum(map(len, keys)) == len(set().union(*keys))  # no picture is in two of them


def test_labels_are_drawn_evenly_nested_and_never_among_the_others():
    labels = np.repeat(np.arange(4), [9, 20, 11, 15])
    few, _ = compare.draw(labels, 2, seed=7)
    many, others = compare.draw(labels, 8, seed=7)
    assert np.bincount(labels[few]).tolist() == [2] * 4 and np.bincount(labels[many]).tolist() == [8] * 4
    assert set(few) <= set(many) and sorted([*many, *others]) == list(range(len(labels)))
    assert set(few) != set(compare.draw(labels, 2, seed=8)[0])
    with pytest.raises(UsageError, match="class 0 has 9 pictures to choose from; ask for 8"):
        compare.draw(labels, 9, seed=7)


# --- the comparison


@pytest.fixture(scope="module")
def learner():
    settings = source.Pretraining(width=2)
    pool, _, _ = settings.target()
    old = settings.build(6, 0)
    for key, buffer in old.named_buffers():
        if "running" in key:
            buffer[...] = np.random.default_rng(0).uniform(0.5, 1.5, buffer.shape)
    return compare.Learner(old, settings, compare.Comparison(tune=2, head=3), pool, "cpu")


def test_each_method_changes_what_it_should(learner):
    labelled, _ = compare.draw(learner.pool.labels, 1, 0)
    models = {method: learner(method, labelled, 1e-2, 1e-2, 0) for method in METHODS}
    heads = {"fc.weight", "fc.bias"}
    moved = {method: changed(learner.state, model) for method, model in models.items()}
    assert moved["frozen"] == heads
    assert moved["finetune"] == moved["scratch"] == set(learner.state)
    assert all(layer(model).out_features == 10 for model in models.values())


def test_fine_tuning_begins_where_the_frozen_network_ends(learner):
    labelled, _ = compare.draw(learner.pool.labels, 1, 0)
    frozen, tuned = learner("frozen", labelled, 1e-2, 0, 4), learner("finetune", labelled, 1e-30, 1e-2, 4)
    for (name, a), b in zip(frozen.state_dict().items(), tuned.state_dict().values()):
        if "running" not in name and "num_batches" not in name:  # batch norm's averages do not wait for a gradient
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-29, err_msg=name)


def test_a_run_is_repeatable_and_another_seed_is_another_run(learner):
    labelled, _ = compare.draw(learner.pool.labels, 1, 0)
    first, again, other = (learner("finetune", labelled, 1e-3, 1e-2, seed) for seed in (0, 0, 1))
    assert not changed(first.state_dict(), again) and changed(first.state_dict(), other)


def made_up(**accuracies):
    points = [
        {"labels": 5, "method": m, "rate": 0.1, "tried": [[0.01, 0.2], [0.1, 0.3]], "accuracies": accuracies[m]}
        for m in METHODS
    ]
    return {"source": "letters", "new": ["0", "9"], "tested": 10, "points": points}


def test_the_table_tells_the_order_and_the_differences_whichever_they_are():
    one = compare.table(made_up(scratch=[0.5, 0.7], frozen=[0.6, 0.6], finetune=[0.7, 0.9]))
    assert "order at 5 labels per class: fine-tuned > " in one
    assert " 20.0 ± 0.0   2 of 2" in one  # fine-tuned less from scratch
    assert "  0.0 ± 14.1   1 of 2" in one  # frozen less from scratch
    assert "60.0 ± 14.1" in one and "0.1* at 5" in one
    other = compare.table(made_up(scratch=[0.9], frozen=[0.6], finetune=[0.2]))
    assert "order at 5 labels per class: from scratch > frozen features > fine-tuned" in other


@pytest.mark.usefixtures("figures")
def test_the_command_leaves_table_numbers_and_figure_and_resumes_the_pretrained_network(tmp_path, capsys):
    assert run(*TINY, "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "table.txt").read_text() in printed
    numbers = json.loads((tmp_path / "numbers.json").read_text())["numbers"]
    assert [(p["labels"], p["method"]) for p in numbers["points"]] == [(k, m) for k in (1, 2) for m in METHODS]
    for point in numbers["points"]:
        assert point["rate"] == max(point["tried"], key=lambda pair: pair[1])[0]
        assert [rate for rate, _ in point["tried"]] == list(compare.RATES[point["method"]])
        assert len(point["accuracies"]) == 2 and all(0 <= a <= 1 for a in point["accuracies"])
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    checkpoint = (tmp_path / "checkpoint.npz").read_bytes()
    assert run(*TINY[6:], "--out", tmp_path, "--resume") == 0  # width, variants, steps: as saved
    assert (tmp_path / "checkpoint.npz").read_bytes() == checkpoint
    assert json.loads((tmp_path / "numbers.json").read_text())["numbers"] == numbers
    assert run(*TINY[6:], "--out", tmp_path, "--resume", "--width", 3) == 2
    assert "width is 2, not 3" in capsys.readouterr().err


# --- photographs


def folder(root, counts, side=20, seed=0):
    """A folder for each class: noise around a colour of its own."""
    rng = np.random.default_rng(seed)
    for c, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 60, (side, side + 3 * i, 3))
            pixels[..., c % 3] += 180
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def small(tmp_path, *more):
    out = tmp_path / "out"
    return ["--model", "resnet_small", "--size", 16, "--epochs", 2, "--batch", 4, "--quiet", "--out", out, *more]


@pytest.mark.usefixtures("figures")
def test_photographs_by_all_methods_and_the_results_serve_classify(tmp_path, capsys):
    root = folder(tmp_path / "own", {"red": 8, "green": 6, "blue": 7})
    assert run("--data", root, *small(tmp_path, "--method", "all")) == 0
    printed = capsys.readouterr().out
    assert "frozen features are those of random weights" in printed
    assert all(f"{title}: accuracy" in printed for title in METHODS.values()) and printed.count("truth") == 3
    assert "frozen features: accuracy 100.00%" in printed  # colours are seen by random features too
    assert (tmp_path / "out/photographs.png").read_bytes().startswith(b"\x89PNG")
    line = printed.splitlines()[-1].replace("FILE", str(root / "green" / "1.png")).split()
    line[line.index("--weights") + 1] = str(tmp_path / "out/frozen.safetensors")
    assert line[:3] == ["python", "-m", "tasks"]
    assert frame.main([*line[3:], "--quiet"]) == 0
    assert "green" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["resnet_small", "googlenet"])
def test_weights_of_a_file_are_kept_bit_for_bit_by_frozen_features(name, tmp_path, capsys):
    model = MODELS[name](num_classes=5, rng=3)
    file = tmp_path / "weights.safetensors"
    md.save_weights(file, model.state_dict())
    root = folder(tmp_path / "own", {"a": 3, "b": 4})
    size = 16 if name == "resnet_small" else 32
    arguments = small(tmp_path, "--weights", file, "--model", name, "--size", size)
    assert run("--data", root, *arguments) == 0
    assert "random" not in capsys.readouterr().out
    saved = md.load_weights(tmp_path / "out/frozen.safetensors")
    assert saved["fc.weight"].shape[0] == 2
    for key, array in saved.items():
        assert key.startswith("fc.") or array.tobytes() == model.state_dict()[key].tobytes(), key
    again = pretrained.load(name, tmp_path / "out/frozen.safetensors")
    assert again(md.Tensor(np.zeros((1, 3, size, size), np.float32))).shape == (1, 2)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_other_heads_are_left_out_in_training(name, tmp_path):
    file = tmp_path / "weights.safetensors"
    with nn.init.undrawn():
        md.save_weights(file, MODELS[name](num_classes=5).state_dict())
    model = photographs.Own("x", name, str(file)).pretrained()
    thaw(model)
    assert model(md.Tensor(np.zeros((2, 3, 75, 75), np.float32))).shape == (2, 5)
    assert model.transform_input and not any(key.lower().startswith("aux") for key in model.state_dict())


def test_parts_of_photographs_are_apart_and_have_every_class():
    labels = np.repeat(np.arange(3), [3, 10, 21])
    part = Part(np.arange(34, dtype=np.uint8).reshape(34, 1, 1, 1), labels)
    parts = photographs.three_parts(part, seed=0)
    assert [np.bincount(p.labels).tolist() for p in parts] == [[1, 6, 13], [1, 2, 4], [1, 2, 4]]
    assert sorted(np.concatenate([p.images.ravel() for p in parts])) == list(range(34))
    other = photographs.three_parts(part, seed=1)
    assert not np.array_equal(parts[0].images, other[0].images)


def test_the_epoch_that_is_best_on_the_validation_part_is_kept():
    class Fake:
        def __init__(self, accuracy, loss):
            self.accuracy, self.correct, self.loss = accuracy, round(10 * accuracy), loss

    module = nn.Linear(1, 1, rng=0)
    scores = iter([Fake(0.5, 1.0), Fake(0.7, 2.0), Fake(0.7, 1.5), Fake(0.7, 1.6), Fake(0.6, 0.1)])
    evaluate, best = photographs.judged(lambda: next(scores)), photographs.best_by_rank()
    for step in range(5):
        module.weight.data = np.full((1, 1), step, np.float32)
        best(State(step, evaluate(step), module))
    assert best.weights["weight"].item() == best.best_step == 2 and best.record["validation_accuracy"] == 0.7


def test_fine_tuning_never_ends_worse_on_the_validation_part_than_it_began():
    rng = np.random.default_rng(0)
    part = Part(rng.integers(0, 256, (20, 3, 16, 16)).astype(np.uint8), np.arange(20) % 2)  # nothing to be learnt
    own = photographs.Own("x", "resnet_small", size=16, epochs=2, lr=0.3, batch=4)
    task = photographs.Photographs(own, photographs.three_parts(part, 0), 2, "cpu", lambda *a: progress(*a, True), True)
    frozen, before = task.learned("frozen")
    tuned, after = task.learned("finetune")
    assert after >= before
    validation = task.parts[1]
    accuracy = [evaluate.tested(model, validation).accuracy for model in (tuned, frozen)]
    assert [after, before] == accuracy


def break_nothing(root):
    pass


def unreadable(root):
    (root / "b" / "1.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    "counts, spoil, message",
    [
        ({"a": 4, "b": 2}, break_nothing, "own/b: 2 images; at least 3 of each class"),
        ({"a": 4}, break_nothing, "own has one folder only, a: that is one class"),
        ({"a": 4, "b": 0}, break_nothing, "no images in"),
        ({"a": 4, "b": 4}, unreadable, "own/b/1.png: not a readable image"),
        ({"train": 4, "val": 4}, break_nothing, "train, val are parts, not classes; give --data"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line_that_names_it(counts, spoil, message, tmp_path, capsys):
    spoil(folder(tmp_path / "own", counts))
    assert run("--data", tmp_path / "own", *small(tmp_path)) == 1
    error = capsys.readouterr().err
    assert message in error and str(tmp_path / "own") in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "argv, code, message",
    [
        (["--model", "resnet18"], 2, "--model: for your own photographs; name their folder with --data"),
        (["--data", "x", "--labels", "3"], 2, "--labels cannot be with --data"),
        (["--data", "nowhere"], 1, "nowhere: no such folder"),
        (["--labels", "1000", "--steps", "1", "--variants", "1", "--width", "1"], 2, "--labels 1000: class 0 has"),
        (["--metod", "all"], 2, "did you mean --method?"),
    ],
)
def test_what_is_impossible_is_one_line(argv, code, message, tmp_path, capsys):
    assert run(*argv, "--quiet", "--out", tmp_path) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_page_shows_the_figure_and_the_command():
    page = PAGE.read_text(encoding="utf-8")
    assert "python -m tasks transfer" in page and "](transfer.png)" in page
    assert (PAGE.parent / "transfer.png").stat().st_size < 150_000
