"""The classification task: data, measures, weights that others trained, the chart, and the command from end to end."""

import gzip
import json
import os
import pickle
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

from PIL import Image

import minidl as md
import tasks.__main__ as frame
from minidl import nn
from tasks.classify import MODELS, chart, cli, data, evaluate, train
from tasks.models import pretrained
from tasks.run import read_state

SMALL = [name for name in MODELS if name.endswith("_small")]


def run(*argv):
    """The command, in this process."""
    return frame.main(["classify", *map(str, argv)])


def randomised(model, seed=0):
    """The model with statistics and biases that make its logits differ from class to class."""
    rng = np.random.default_rng(seed)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer[...] = rng.uniform(0.5, 1.5, buffer.shape)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            p.data[...] = rng.uniform(-0.5, 0.5, p.shape)
    return model.eval()


# --- data


@given(
    st.lists(st.integers(2, 30), min_size=1, max_size=5),
    st.floats(0.05, 0.95),
)
def test_each_class_is_split_alike(counts, share):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    train_part, test_part = data.stratified(labels, share)
    assert sorted([*train_part, *test_part]) == list(range(len(labels)))
    for c, n in enumerate(counts):
        trained, tested = (int((labels[part] == c).sum()) for part in (train_part, test_part))
        assert trained >= 1 and tested >= 1
        assert abs(trained - share * n) <= 1 or 1 in (trained, tested)


def test_the_digits_and_their_split_are_the_same_every_time():
    first, second = data.digits(), data.read(None)
    assert first.train.images.shape == (1347, 1, 8, 8) and first.test.images.shape == (450, 1, 8, 8)
    assert np.array_equal(first.test.images, second.test.images)
    assert first.train.images.max() == 255 and first.train.images.dtype == np.uint8
    seen = {image.tobytes() for image in first.train.images}
    assert not any(image.tobytes() in seen for image in first.test.images)


def test_shifts_move_each_picture_by_its_own_and_bring_in_black():
    images = np.random.default_rng(0).integers(1, 256, (300, 2, 5, 6), dtype=np.uint8)
    moved = data.shifted(images, 2, np.random.default_rng(1))
    seen = set()
    for image, result in zip(images, moved):
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                wanted = np.zeros_like(image)
                for i in range(5):
                    for j in range(6):
                        if 0 <= i - down < 5 and 0 <= j - right < 6:
                            wanted[:, i, j] = image[:, i - down, j - right]
                if np.array_equal(wanted, result):
                    matches.append((down, right))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25


def test_batches_depend_on_seed_and_step_only_and_keep_labels_with_pictures():
    labels = np.arange(20)
    part = data.Part((labels * 10).astype(np.uint8)[:, None, None, None] + np.zeros((1, 1, 4, 4), np.uint8), labels)
    make = {"shift": 0, "mirror": True}
    batches = data.Batches(part, 6, seed=3, **make)
    wanted = [batches(step) for step in range(5)][4]
    again = data.Batches(part, 6, seed=3, **make)(4)
    assert all(np.array_equal(a, b) for a, b in zip(wanted, again))
    assert not np.array_equal(wanted[1], data.Batches(part, 6, seed=4, **make)(4)[1])
    images, chosen = wanted
    np.testing.assert_allclose((images[:, 0, 0, 0] * 0.226 + 0.449) * 255, 10 * chosen, atol=1e-3)
    assert data.Batches(part, 100, seed=0, **make)(0)[0].shape == (20, 1, 4, 4)  # no more than there are


def test_mirrored_pictures_are_turned_left_to_right_half_of_the_time():
    row = np.arange(0, 80, 10, dtype=np.uint8)
    part = data.Part(np.broadcast_to(row, (400, 1, 8, 8)).copy(), np.zeros(400, int))
    images, _ = data.Batches(part, 400, shift=0, mirror=True, seed=0)(0)
    rising = images[:, 0, 0, 0] < images[:, 0, 0, -1]
    assert abs(rising.mean() - 0.5) < 4 * 0.5 / 20
    assert np.array_equal(images[rising][0, 0, 0], images[~rising][0, 0, 0, ::-1])


def test_colours_are_standardised_as_torchvision_does():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = (images / 255 - mean[:, None, None]) / std[:, None, None]
    result = data.standardised(images)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, wanted, atol=1e-6)


def triangle(pixels, size):
    """Rows (n, ...) resampled to `size` by a triangle as wide as the larger of a pixel before and a pixel after."""
    scale = len(pixels) / size
    reach = max(scale, 1)
    result = np.zeros((size, *pixels.shape[1:]))
    for o in range(size):
        weights = [max(0, 1 - abs((i + 0.5) - (o + 0.5) * scale) / reach) for i in range(len(pixels))]
        result[o] = np.tensordot(weights, pixels, 1) / sum(weights)
    return result


@pytest.mark.parametrize("shape, short, side", [((3, 20, 31), 12, 8), ((1, 30, 17), 16, 16), ((3, 9, 9), 16, 11)])
def test_pictures_are_resized_and_cropped_as_torchvision_does(shape, short, side):
    levels = np.random.default_rng(0).integers(0, 256, shape)
    _, height, width = shape
    size = [int(short * n / min(height, width)) for n in (height, width)]
    whole = triangle(triangle(levels.transpose(1, 2, 0).astype(float), size[0]).transpose(1, 0, 2), size[1])
    top, left = (round((n - side) / 2) for n in size)
    wanted = whole.transpose(2, 1, 0)[:, top : top + side, left : left + side]
    result = data.square((levels / 255).astype(np.float32), short, side)
    assert result.shape == (shape[0], side, side) and result.dtype == np.uint8
    assert np.abs(result - wanted).max() <= 1.01  # Pillow rounds after each of the two passes


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    with gzip.open(path, "wb") as file:
        file.write(head + array.astype(np.uint8).tobytes())


def test_mnist_is_found_by_its_files(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 7), ("t10k", 3)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(n))
    found = data.read(str(tmp_path))
    assert found.train.images.shape == (7, 1, 28, 28) and found.test.labels.tolist() == [0, 1, 2]
    assert data.read(str(tmp_path), 14).test.images.shape == (3, 1, 14, 14)


def test_cifar10_is_found_by_its_files(tmp_path):
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        content = {"data": np.full((2, 3072), i, np.uint8), "labels": [i, 9]}
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=2))
    found = data.read(str(tmp_path))
    assert found.train.images.shape == (10, 3, 32, 32) and found.test.labels.tolist() == [5, 9]
    assert found.classes[9] == "truck" and len(found.classes) == 10


def photographs(folder, counts, side=20):
    """Pictures of two kinds: red ones and blue ones, with noise."""
    rng = np.random.default_rng(len(str(folder)))
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 100, (side, side + 5 * i, 3), dtype=np.uint8)
            pixels[..., 0 if name == "red" else 2] += 120
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_a_folder_per_class_is_split_or_has_its_own_test_part(tmp_path):
    found = data.read(str(photographs(tmp_path / "one", {"red": 4, "blue": 8})), 16)
    assert found.classes == ["blue", "red"] and found.train.images.shape == (9, 3, 16, 16)
    assert np.bincount(found.test.labels).tolist() == [2, 1]
    photographs(tmp_path / "two" / "train", {"red": 3, "blue": 2})
    photographs(tmp_path / "two" / "val", {"red": 1, "blue": 2})
    found = data.read(str(tmp_path / "two"), 16)
    assert (len(found.train.labels), len(found.test.labels)) == (5, 3)
    assert (found.test.images[found.test.labels == 1].mean(axis=(2, 3)).argmax(axis=1) == 0).all()  # red is red
    (tmp_path / "two" / "val" / "blue").rename(tmp_path / "two" / "val" / "green")
    with pytest.raises(ValueError, match="train and val have different classes: blue, green"):
        data.read(str(tmp_path / "two"))


# --- measures


@given(n=st.integers(1, 2000), share=st.floats(0, 1))
def test_the_wilson_interval_is_scipys(n, share):
    correct = round(share * n)
    wanted = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(evaluate.wilson(correct, n), (wanted.low, wanted.high), atol=1e-7)


def result():
    """Four pictures of a cat, two of a dog, none of a cow; one cat is taken for a cow, surely, a dog for a cat."""
    said = [[0.8, 0.1, 0.1], [0.9, 0.1, 0], [0.5, 0.4, 0.1], [0.01, 0.04, 0.95], [0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]
    return evaluate.Result(np.array(said), np.array([0, 0, 0, 0, 1, 1]))


def test_what_is_counted():
    r = result()
    assert (r.correct, r.accuracy) == (4, 4 / 6)
    assert r.confusion.tolist() == [[3, 0, 1], [1, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(r.margins, [0.7, 0.8, 0.1, -0.94, 0.5, -0.1])
    assert r.loss == pytest.approx(-np.log([0.8, 0.9, 0.5, 0.01, 0.7, 0.4]).mean())


def test_the_table_has_a_row_per_class_with_its_recall():
    head, cat, dog, cow = evaluate.table(result(), ["cat", "dog", "cow"]).splitlines()
    assert head.split() == ["truth", "cat", "dog", "cow", "recall"]
    assert cat.split() == ["cat", "3", ".", "1", "75.0%", "of", "4"]
    assert dog.split() == ["dog", "1", "1", ".", "50.0%", "of", "2"]
    assert cow.split() == ["cow", ".", ".", ".", "none", "tested"]
    assert "66.67% on test images: 4 of 6; 95 % interval 30.00% to 90.32%" in evaluate.accuracy_line(result())


def test_of_many_classes_the_worst_are_told():
    labels = np.arange(30).repeat(2)
    said = labels.copy()
    said[:2], said[3] = 7, 4
    text = evaluate.table(evaluate.Result(np.eye(30)[said], labels), [f"c{i}" for i in range(30)])
    lines = [line.strip() for line in text.splitlines()]
    assert lines[:3] == ["commonest confusions:", "c0 taken for c7: 2 times", "c1 taken for c4: 1 times"]
    assert lines[3:6] == ["lowest recalls:", "c0: 0.0% of 2", "c1: 50.0% of 2"]


def test_predictions_are_the_softmax_of_the_logits_in_eval_mode_whatever_the_batch():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(),
                          nn.Linear(4 * 36, 3, rng=0))  # fmt: skip
    model[1].eval()  # one module in another mode: it must be so again
    images = np.random.default_rng(0).integers(0, 256, (11, 1, 8, 8), dtype=np.uint8)
    calls = []
    probabilities = evaluate.predict(model, images, 4, show=lambda: calls.append(1))
    assert len(calls) == 3 and model.training and not model[1].training and model[2].training
    logits = model.eval()(md.Tensor(data.standardised(images))).data.astype(float)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, wanted, rtol=1e-5)
    floats = evaluate.predict(model, data.standardised(images), 11)
    np.testing.assert_allclose(floats, wanted, rtol=1e-5)


# --- weights that others trained


def test_undrawn_weights_are_zero_and_cost_no_random_numbers():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with nn.init.undrawn():
        models = [MODELS[name](rng=rng) for name in SMALL] + [MODELS["vgg11"](num_classes=3, rng=rng)]
        orthogonal = nn.init.orthogonal((3, 4), rng)
    assert rng.bit_generator.state == before and not orthogonal.any()
    for model in models:
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                assert not layer.weight.data.any() and (layer.bias is None or not layer.bias.data.any())
            elif isinstance(layer, nn.BatchNorm2d):
                assert (layer.weight.data == 1).all() and (layer.running_var == 1).all()
    assert nn.Linear(3, 4, rng=rng).weight.data.all() and MODELS["resnet_small"](8, 4).conv1.weight.data.any()


@pytest.mark.parametrize("name, suffix, options", [
    ("resnet18", "safetensors", {}),
    ("densenet121", "npz", {}),
    ("googlenet", "npz", {"transform_input": True}),
    ("googlenet", "safetensors", {"transform_input": True, "aux_logits": False}),
])  # fmt: skip
def test_weights_from_a_file_rank_a_photograph_as_the_network_they_came_from(name, suffix, options, tmp_path, capsys):
    model = randomised(MODELS[name](7, rng=1, **options))
    path = tmp_path / f"net.{suffix}"
    md.save_weights(path, model.state_dict())
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    names = ["ant", "bee", "cow", "dog", "eel", "fox", "gnu"]
    (tmp_path / "names.json").write_text(json.dumps({str(i): [f"n{i}", n] for i, n in enumerate(names)}))
    argv = ["--model", name, "--weights", path, "--image", tmp_path / "a.png", "--quiet"]
    assert run(*argv, "--classes", tmp_path / "names.json") == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == str(tmp_path / "a.png") and len(lines) == 5

    x = data.standardised(data.pictures([tmp_path / "a.png"], 3, 256, 224))
    logits = model(md.Tensor(x)).data[0].astype(float)
    wanted = np.exp(logits) / np.exp(logits).sum()
    assert wanted.max() > 1.3 * wanted.min()
    for line, c in zip(lines, np.argsort(-wanted)):
        p, number, said = line.split()
        assert (int(number), said) == (c, names[c])
        assert float(p.rstrip("%")) == pytest.approx(100 * wanted[c], abs=0.011)


def test_a_photograph_is_listed_without_names_too(tmp_path, capsys):
    ranking = pretrained.ranking("x.jpg", np.array([0.1, 0.7, 0.2]), None, 2)
    assert [line.split() for line in ranking.splitlines()] == [["x.jpg"], ["70.00%", "1"], ["20.00%", "2"]]


def test_weights_of_another_network_are_named_in_one_line(tmp_path):
    md.save_weights(tmp_path / "a.safetensors", MODELS["resnet18"](5).state_dict())
    with pytest.raises(ValueError, match=r"holds the weights of resnet18, not of resnet34: use --model resnet18$"):
        pretrained.load("resnet34", tmp_path / "a.safetensors")


def test_weights_of_no_known_network_are_shown_as_a_table(tmp_path):
    with nn.init.undrawn():
        state = MODELS["resnet18"](5).state_dict()
    state["layer9.weight"] = state.pop("layer1.0.bn1.weight")
    md.save_weights(tmp_path / "a.npz", state)
    with pytest.raises(ValueError) as caught:
        pretrained.load("resnet18", tmp_path / "a.npz")
    text = str(caught.value)
    assert "missing" in text and "layer1.0.bn1.weight" in text and "unexpected" in text and "layer9.weight" in text


@pytest.mark.parametrize("content, said", [
    ("tench\n", "has 1 names, the network 3 classes"),
    ('{"0": ["n1", "tench"]}', "has 1 names, the network 3 classes"),
    ('{"1": ["n1", "tench"]}', "not a list of class names (KeyError '0')"),
    ('["a", "b", 7]', "not a list of class names (TypeError"),
    ("{nonsense", "not a list of class names"),
])  # fmt: skip
def test_a_wrong_list_of_classes_is_one_line(content, said, tmp_path):
    (tmp_path / "names").write_text(content)
    with pytest.raises(ValueError) as caught:
        pretrained.class_names(tmp_path / "names", 3)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_classes_in_each_format(tmp_path):
    names = ["great white shark", "cock", "hen"]
    contents = ["\n".join(names), json.dumps(names), json.dumps({str(i): ["n", n] for i, n in enumerate(names)})]
    for content in contents:
        (tmp_path / "names").write_text(content)
        assert pretrained.class_names(tmp_path / "names", 3) == names


# --- the chart


def test_every_published_network_is_here_and_counted():
    assert set(chart.PUBLISHED) == set(MODELS) - set(SMALL)
    assert all(50 < top1 < top5 < 95 for top1, top5 in chart.PUBLISHED.values())
    entry = chart.counted("googlenet")
    assert (entry.parameters, round(entry.macs / 1e9, 2), entry.top1) == (6_624_904, 1.50, 69.778)


def test_the_chart_is_drawn_and_printed(tmp_path, monkeypatch, capsys):
    few = {name: chart.PUBLISHED[name] for name in ("alexnet", "resnet18", "densenet121")}
    monkeypatch.setattr(chart, "PUBLISHED", few)
    assert run("--chart", tmp_path / "new" / "chart.png", "--quiet") == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["resnet18", "11,689,512", "1,814,073,344", "69.758", "89.078"] in said
    with Image.open(tmp_path / "new" / "chart.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 50


# --- the command, from end to end

TINY = ("--depth", 8, "--width", 8, "--batch", 32)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert run(*TINY, "--steps", 160, "--out", out, "--quiet") == 0
    return out


def test_a_run_learns_and_leaves_everything(finished):
    for name in ("checkpoint.npz", "log.jsonl", "settings.json", "table.txt", "figure.png", "classes.txt"):
        assert (finished / name).stat().st_size > 0, name
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 160 and sum("test_accuracy" in line for line in lines) == 20
    assert lines[-1]["test_accuracy"] > 0.9
    accuracy = f"accuracy {lines[-1]['test_accuracy']:.2%} on test images"
    assert accuracy in (finished / "table.txt").read_text()


def test_a_checkpoint_is_tested_again_without_training(finished, tmp_path, capsys):
    assert run("--checkpoint", finished / "checkpoint.npz", "--out", tmp_path, "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "table.txt").read_bytes() == (finished / "table.txt").read_bytes()
    assert not (tmp_path / "checkpoint.npz").exists()


def test_a_users_digit_is_classified(finished, tmp_path, capsys):
    digits = data.digits()
    model = train.load(train.Settings(depth=8, width=8), finished / "checkpoint.npz")
    image = digits.test.images[:1]
    Image.fromarray(image[0, 0].repeat(4, axis=0).repeat(4, axis=1)).save(tmp_path / "mine.png")
    assert run("--checkpoint", finished / "checkpoint.npz", "--image", tmp_path / "mine.png", "--quiet") == 0
    title, best, *_ = capsys.readouterr().out.splitlines()
    again = data.pictures([tmp_path / "mine.png"], 1, 8, 8)
    wanted = evaluate.predict(model, again)[0]
    p, number, name = best.split()
    assert title.endswith("mine.png") and int(number) == int(name) == wanted.argmax()
    assert float(p.rstrip("%")) == pytest.approx(100 * wanted.max(), abs=0.011)


def test_a_stopped_run_is_resumed_to_the_same_bits(tmp_path, monkeypatch, capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored: a job in the background
    argv = [*TINY, "--steps", 6, "--quiet"]
    assert run(*argv, "--out", tmp_path / "straight") == 0
    whole = data.Batches.__call__

    def interrupted(self, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C does
        return whole(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(data.Batches, "__call__", interrupted)
        assert run(*argv, "--out", tmp_path / "run") == 130
    signal.signal(signal.SIGINT, before)
    assert f"go on with: python -m tasks classify --resume --out {tmp_path}/run" in capsys.readouterr().err
    assert run("--resume", "--out", tmp_path / "run", "--quiet") == 0
    for name in ("checkpoint.npz", "log.jsonl", "table.txt", "settings.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name


@pytest.mark.parametrize("name", [*SMALL, "googlenet"])
def test_each_family_trains(name, tmp_path):
    size = ("--size", 32) if name == "googlenet" else ()
    assert run("--model", name, "--steps", 2, "--batch", 4, *size, "--out", tmp_path, "--quiet") == 0
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    heads = 1.6 if name == "googlenet" else 1
    assert len(losses) == 2 and abs(losses[0] / heads - np.log(10)) < 2  # near chance, before anything is learnt
    assert next(iter(read_state(tmp_path / "checkpoint.npz").values())).ndim == 4


def test_own_photographs_are_learnt_and_classified(tmp_path, capsys):
    folder = photographs(tmp_path / "mine", {"blue": 16, "red": 16})
    argv = ["--data", folder, "--size", 12, "--mirror", "--batch", 8, "--steps", 30, "--depth", 8, "--width", 4]
    shown = [folder / "red" / "0.png", folder / "blue" / "0.png"]
    assert run(*argv, "--out", tmp_path / "run", "--quiet", "--image", *shown) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("accuracy 100.00% on test images: 8 of 8") for line in lines)
    assert [lines[lines.index(str(file)) + 1].split()[2] for file in shown] == ["red", "blue"]


def test_summary_of_a_network_on_its_data(capsys):
    assert run("--summary", "--model", "densenet121", "--quiet") == 0
    assert "7,978,856 parameters" in capsys.readouterr().out
    assert run("--summary", *TINY) == 0
    first, *_, last, _, _, _ = capsys.readouterr().out.splitlines()
    assert first == "ResNet on (1, 1, 8, 8)" and last.split()[:4] == ["fc", "Linear", "(1,", "10)"]


# --- what goes wrong


def bad(name, argv, code, said):
    return pytest.param(argv, code, said, id=name)


@pytest.mark.parametrize("argv, code, said", [
    bad("unknown model", ["--model", "unet"], 2, "invalid choice: 'unet'"),
    bad("no steps", ["--steps", "0"], 2, "must be a whole number of at least 1"),
    bad("depth of a vgg", ["--model", "vgg_small", "--depth", "9"], 2, "--depth is for resnet_small, densenet_small"),
    bad("width of a resnet50", ["--model", "resnet50", "--width", "9"], 2, "--width is for"),
    bad("impossible depth", ["--depth", "9"], 1, "the nearest is 8"),
    bad("two sources", ["--checkpoint", "a.npz", "--resume"], 2, "give one of them"),
    bad("nothing to resume", ["--resume"], 2, "there is no run in"),
    bad("no checkpoint", ["--checkpoint", "{tmp}/none.npz"], 1, "no such checkpoint"),
    bad("not a checkpoint", ["--checkpoint", "{tmp}/text.png"], 1, "neither .npz"),
    bad("no folder", ["--data", "{tmp}/nowhere"], 1, "nowhere: no such folder"),
    bad("no classes", ["--data", "{tmp}/empty"], 1, "one per class is needed"),
    bad("a class without images", ["--data", "{tmp}"], 1, "no images in"),
    bad("broken picture", ["--data", "{tmp}/broken"], 1, "a.png: not a readable image"),
    bad("one picture", ["--data", "{tmp}/single"], 1, "class 0 has 1 pictures"),
    bad("no image", ["--image", "{tmp}/none.png"], 1, "none.png: No such file"),
    bad("not an image", ["--image", "{tmp}/text.png"], 1, "not a readable image"),
    bad("names of nothing", ["--classes", "{tmp}/text.png"], 2, "name an image"),
    bad("out is a file", ["--out", "{tmp}/text.png"], 1, "text.png: File exists"),
    bad("weights of nothing", ["--weights", "a.pth"], 2, "--weights needs --model"),
    bad("weights to train", ["--weights", "a", "--model", "vgg16", "--image", "b", "--steps", "9"], 2, "out --steps"),
    bad("weights and a run", ["--weights", "a", "--model", "vgg16", "--image", "b", "--resume"], 2, "give one"),
    bad("no weights", ["--weights", "{tmp}/none.pth", "--model", "vgg16", "--image", "{tmp}/fine.png"], 1,
        "none.pth: No such file"),
    bad("broken weights", ["--weights", "{tmp}/text.png", "--model", "vgg16", "--image", "{tmp}/fine.png"], 1,
        "neither .npz"),
    bad("no photograph", ["--weights", "{tmp}/text.png", "--model", "vgg16", "--image", "{tmp}/none.png"], 1,
        "none.png: No such file"),
])  # fmt: skip
def test_bad_input_is_one_line_and_an_exit_code(argv, code, said, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("this is no image")
    Image.new("RGB", (30, 20)).save(tmp_path / "fine.png")
    for folder, files in {"broken": ["text.png"], "single": ["fine.png"]}.items():
        (tmp_path / folder / "c").mkdir(parents=True)
        for file in files:
            (tmp_path / folder / "c" / "a.png").write_bytes((tmp_path / file).read_bytes())
    argv = ["classify", "--quiet", "--out", str(tmp_path / "out"), *(a.format(tmp=tmp_path) for a in argv)]
    assert frame.main(argv) == code
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1 and said in error


def test_a_checkpoint_of_another_width_is_shown_as_a_table(finished, capsys):
    assert run("--checkpoint", finished / "checkpoint.npz", "--width", 6, "--quiet") == 1
    error = capsys.readouterr().err
    assert "is of another model" in error and "conv1.weight" in error and "name its --model" in error


def test_a_checkpoint_and_data_that_do_not_fit_are_one_line(finished, tmp_path, capsys):
    folder = photographs(tmp_path / "mine", {"blue": 2, "red": 2})
    assert run("--checkpoint", finished / "checkpoint.npz", "--data", folder, "--out", tmp_path, "--quiet") == 1
    error = capsys.readouterr().err
    assert "is for 10 classes and 1 channels, mine has 2 classes and 3 channels" in error


def test_a_resumed_run_cannot_change_its_settings(finished, capsys):
    assert run("--resume", "--out", finished, "--lr", 0.5, "--quiet") == 2
    assert "lr is 0.1, not 0.5" in capsys.readouterr().err


def test_settings_come_from_what_is_given_then_the_run_then_the_model():
    assert train.settings_of({}, {}).depth == 14 and train.settings_of({"depth": 8}, {}).depth == 8
    assert train.settings_of({"model": "vgg16"}, {}).lr == 0.01
    assert train.settings_of({"model": "vgg16_bn"}, {}).lr == 0.1
    assert train.settings_of({"model": "vgg16"}, {"lr": 0.5}).lr == 0.5
    assert train.settings_of({"model": "densenet_small", "width": 5}, {}).options() == {"growth": 5}
    assert cli.parser().parse_args([]).chart is None
