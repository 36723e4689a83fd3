"""The task that looks into networks, from the command line: training, scores, figures, the user's own network."""

import json

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("PIL")
pytest.importorskip("matplotlib")

import warnings

from PIL import Image

import minidl as md
import tasks.__main__ as frame
from tasks.interpret import cli, compare, faces, figure, model, photograph, report, train
from tasks.interpret.maps import Map
from tasks.interpret.methods import METHODS
from tasks.models import MODELS

TINY = ("--steps", 6, "--batch", 4, "--quiet")


def run(*argv):
    """The command, in this process."""
    return frame.main(["interpret", *map(str, argv)])


@pytest.fixture
def few(monkeypatch):
    """Few pictures are scored, with coarse occlusion."""
    monkeypatch.setattr(compare, "COUNTS", compare.Counts(3, 1, 2, 8))
    monkeypatch.setitem(compare.OPTIONS, "occlusion", {"patch": 8, "stride": 8})
    monkeypatch.setitem(compare.OPTIONS, "smoothgrad", {"samples": 2})
    monkeypatch.setitem(compare.OPTIONS, "integrated_gradients", {"steps": 4})
    for name, number in (("FACES", 1), ("PLANTED", 2), ("SHOWN_PATCHES", 2)):
        monkeypatch.setattr(figure, name, number)


@pytest.fixture
def no_report(monkeypatch):
    """Training only."""
    monkeypatch.setattr(cli, "report", lambda networks, *rest, **options: None)


def arrays(out):
    return {name: a for name, a in md.load_weights(out / "checkpoint.npz").items() if name.startswith("model.")}


def error(capsys, code, *argv):
    """The one line on stderr of a command that fails."""
    assert run(*argv) == code
    text = capsys.readouterr().err
    assert text.startswith("minidl: error: ") and text.count("\n") == 1, text
    return text


# --- from end to end


@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_a_run_leaves_scores_and_figures_and_can_be_looked_at_again(tmp_path, few, capsys, monkeypatch):
    assert run(*TINY, "--seeds", 2, "--out", tmp_path) == 0
    output = capsys.readouterr().out
    table = output[: output.index("pointing   share")].splitlines()
    for name in [*METHODS, "edges", "chance"]:
        assert sum(line.split()[:1] == [name] for line in table) == 1
    assert "astronaut: the best square" in output and "very slow" in output and "±" in output
    for name in ("figure.png", "patches.png"):
        with Image.open(tmp_path / name) as file:
            assert min(file.size) > 500
    found = json.loads((tmp_path / "scores.json").read_text())
    assert [entry["seed"] for entry in found["evidence"]] == [0, 1]
    for entry in found["evidence"]:
        edges = entry["methods"]["edges"]
        assert edges["top"] == edges["all"] == pytest.approx(1)
        assert entry["methods"]["integrated_gradients"]["gap"] is not None
        for method in entry["methods"].values():
            assert 0 <= method["pointing"] <= 1 and 0 <= method["IoU"] <= 1
            assert len(method["deletion curve"]) == 33 and next(iter(method["sanity"])) == "head"
            assert method["deletion curve"][-1] == pytest.approx(edges["deletion curve"][-1])  # all gray
    again = tmp_path / "again"
    for name in ("overview", "patches"):
        monkeypatch.setattr(figure, name, lambda *arguments: None)  # once is enough
    assert run("--checkpoint", tmp_path / "checkpoint.npz", "--quiet", "--out", again) == 0
    assert without_times(again) == without_times(tmp_path)


def without_times(out):
    found = json.loads((out / "scores.json").read_text())
    for entry in found["evidence"]:
        for method in entry["methods"].values():
            del method["ms"]
    return found


@pytest.mark.slow
def test_a_run_that_stops_and_goes_on_ends_as_one_that_does_not(tmp_path, no_report, monkeypatch, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(*TINY, "--out", whole) == 0
    drawn = faces.batch

    def stop(n, rng, first):
        if (parts / "log.jsonl").read_text().count("\n") == 3:
            raise KeyboardInterrupt("stopped")
        return drawn(n, rng, first)

    monkeypatch.setattr(faces, "batch", stop)
    assert run(*TINY, "--out", parts) == 130
    assert f"go on with: python -m tasks interpret --resume --out {parts}" in capsys.readouterr().err
    monkeypatch.setattr(faces, "batch", drawn)
    assert run("--resume", "--quiet", "--out", parts) == 0
    assert len((parts / "log.jsonl").read_text().splitlines()) == 6
    for name, array in arrays(whole).items():
        np.testing.assert_array_equal(array, arrays(parts)[name])
    assert "only --steps and --lr may change" in error(capsys, 2, "--resume", "--seeds", 3, "--out", parts)


@pytest.mark.slow
def test_networks_of_several_seeds_are_those_that_each_alone_would_be(tmp_path, no_report):
    assert run(*TINY, "--seeds", 2, "--seed", 3, "--out", tmp_path / "both") == 0
    assert run(*TINY, "--seed", 4, "--out", tmp_path / "one") == 0
    both, one = arrays(tmp_path / "both"), arrays(tmp_path / "one")
    for name, array in one.items():
        if name.startswith("model.evidence.0."):
            np.testing.assert_array_equal(array, both[name.replace("evidence.0", "evidence.1")])


@pytest.mark.slow
def test_a_few_steps_learn(tmp_path, no_report):
    assert run("--steps", 60, "--batch", 16, "--quiet", "--out", tmp_path) == 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    first, last = (np.mean([line["faces"] for line in part]) for part in (lines[:5], lines[-5:]))
    assert last < 0.7 * first
    networks = train.load(train.Settings(steps=60, batch=16), tmp_path / "checkpoint.npz")
    assert train.accuracy(networks.faces, *faces.test_part(), "cpu") > 0.7
    assert not networks.training


# --- the table


def result(ms, **changed):
    curve = np.linspace(1, 0, 33)
    values = {"pointing": 0.5, "iou": 0.25, "empty": 0, "milliseconds": ms, "sanity": {"head": 0.5, "conv": 0.1}}
    return compare.MethodScores(**{**values, "deletion": curve, "insertion": curve, **changed})


def test_the_table_has_means_and_standard_deviations():
    runs = [compare.NetworkScores(s, 1.0, (0.1, 0.02), {"cam": result(1.0, pointing=p), "edges": result(0.0)})
            for s, p in enumerate((0.5, 0.7))]  # fmt: skip
    line = report.table(runs).splitlines()[1].split("  ")
    assert [cell.strip() for cell in line if cell][:3] == ["cam", "0.60 ± 0.14", "0.25 ± 0.00"]
    of_one = [line.split() for line in report.table(runs[:1]).splitlines()]
    assert of_one[1] == ["cam", "0.50", "0.25", "0.50", "0.10", "0.50", "0.50", "1.0"]
    assert of_one[2] == ["edges", "0.50", "0.25", "0.50", "0.10", "0.50", "0.50"]
    assert of_one[3] == ["chance", "0.10", "0.02"]


def test_remarks_follow_the_numbers():
    methods = {
        "cam": result(1.0, iou=0.5, sanity={"head": 0.1, "conv": 0.0}),
        "gradient": result(200.0, empty=3, gap=0.02, sanity={"head": 0.9, "conv": 0.8}),
        "edges": result(0.0, sanity={"head": 1.0, "conv": 1.0}),
    }
    text = "\n".join(report.remarks([compare.NetworkScores(0, 1.0, (0.1, 0.02), methods)]))
    assert "gradient keeps more of its map than others: rank correlation 0.90" in text and "0.80 after all" in text
    assert "cam marks the evidence best (IoU 0.50)" in text
    assert "gradient is very slow: 200 times the time of cam" in text
    assert "within 2.0%" in text and "3 of 64 maps are zero everywhere" in text


# --- the photograph


def test_the_search_scores_a_square_by_the_means_of_its_maps():
    network = model.GAPNet(2, rng=1).eval()
    image = np.random.default_rng(0).random((60, 50)).astype(np.float32)
    found = photograph.odds(network, image, "cpu")
    assert found.shape == (30 - 11, 25 - 11)
    with md.no_grad():
        maps = network.features(md.Tensor(model.prepared(image[None, None])))
        for i, j in ((5, 5), (9, 7), (13, 8)):  # cells i to i + 11, pooled from pixels 2 i on, that see no border
            logits = network.head(network.pool(maps[:, :, i : i + 12, j : j + 12])).numpy()[0]
            assert found[i, j] == pytest.approx(logits[1] - logits[0], abs=1e-4)


def test_a_photograph_of_one_gray_scores_the_same_everywhere():
    found = photograph.odds(model.GAPNet(2, rng=1).eval(), np.full((60, 50), 0.9, np.float32), "cpu")
    np.testing.assert_allclose(found, found[0, 0], rtol=1e-4, atol=1e-5)  # also at the rim: its edge is drawn out


def test_scores_are_drawn_at_the_middle_of_their_squares():
    found = np.zeros((8, 9))
    found[3, 5] = 1.0
    heat = photograph.spread(found, 4.0, (180, 200))
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert abs(y + 0.5 - 4 * (2 * 3 + 12.5)) <= 4 and abs(x + 0.5 - 4 * (2 * 5 + 12.5)) <= 4
    assert np.isinf(heat[0, 0]) and np.isinf(heat[-1, -1])


def test_a_network_that_answers_to_brightness_finds_what_is_bright(monkeypatch):
    class Bright(model.GAPNet):
        def __init__(self):
            super().__init__(2, width=1, rng=0)
            self.features = md.nn.Sequential(md.nn.AvgPool2d(2))
            self.head = md.nn.Linear(1, 2)
            self.head.weight.data[:], self.head.bias.data[:] = [[0.0], [1.0]], 0

    picture = np.full((256, 256), 20, np.uint8)
    picture[90:160, 150:220] = 250
    monkeypatch.setattr(photograph, "photograph", lambda name: picture)
    found = photograph.search(Bright().eval(), sides=(64, 100))
    left, top, right, bottom = found.best
    assert right - left == pytest.approx(64)
    assert left >= 145 and right <= 225 and top >= 85 and bottom <= 165
    assert found.found and "in the face" in photograph.sentence(found)


# --- a network and a picture of the user's


@pytest.fixture
def mine(tmp_path):
    """Weights of a small VGG with a head of zeros for class 2, and a picture."""
    network = MODELS["vgg_small"](num_classes=3, in_channels=3, rng=0)
    state = network.state_dict()
    last = [name for name in state if name.endswith("weight")][-1].removesuffix("weight")
    state[last + "weight"][2], state[last + "bias"][2] = 0, 0
    md.save_weights(tmp_path / "vgg.npz", state)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    (tmp_path / "names.txt").write_text("cat\ndog\nfish\n")
    return ["--weights", tmp_path / "vgg.npz", "--model", "vgg_small", "--out", tmp_path / "out", "--quiet"]


@pytest.fixture
def small(monkeypatch):
    """Pictures become 32x32, not 224x224."""
    monkeypatch.setattr(cli.picture.pretrained, "SIDE", 32)
    monkeypatch.setattr(cli.picture.pretrained, "SHORT", 36)


@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_a_picture_is_explained_by_every_method_that_can(mine, small, tmp_path, capsys):
    assert run(*mine, "--image", tmp_path / "cat.png", "--classes", tmp_path / "names.txt", "--class", 1) == 0
    output = capsys.readouterr().out
    for name in METHODS:
        assert sum(line.split()[:1] == [name] for line in output.splitlines()) == 1
    assert "dog" in output
    with Image.open(tmp_path / "out" / "cat-maps.png") as file:
        assert min(file.size) > 300


@pytest.mark.slow
def test_a_map_that_is_zero_everywhere_is_said_to_be(mine, small, tmp_path, capsys):
    options = ("--image", tmp_path / "cat.png", "--class", 2, "--method")
    for method in ("gradient", "grad_cam", "occlusion"):
        assert run(*mine, *options, method) == 0
        out, err = capsys.readouterr()
        assert "the map is zero everywhere" in out and err == ""


def test_filters_and_features(mine, small, tmp_path, capsys):
    assert run(*mine, "--filters") == 0
    assert run(*mine, "--filters", "--features", "features.0", "--image", tmp_path / "cat.png") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"vgg-filters.png", "cat-filters.png", "cat-features.png"}


@pytest.mark.slow
def test_a_checkpoint_of_classify_needs_no_model(tmp_path, capsys):
    pytest.importorskip("sklearn")
    little = ("--steps", "2", "--depth", "8", "--width", "4", "--quiet", "--out", str(tmp_path))
    assert frame.main(["classify", *little]) == 0
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(tmp_path / "digit.png")
    options = ("--weights", tmp_path / "checkpoint.npz", "--image", tmp_path / "digit.png", "--method", "cam")
    assert run(*options, "--out", tmp_path, "--quiet") == 0
    assert (tmp_path / "digit-maps.png").exists()


def test_explaining_scores_after_a_softmax_warns_in_one_line(capsys):
    with cli.warnings_as_lines():
        warnings.warn("the scores look like probabilities", stacklevel=1)
    assert capsys.readouterr().err == "minidl: warning: the scores look like probabilities\n"


@pytest.mark.usefixtures("figures")
def test_an_empty_map_is_drawn_as_such(tmp_path):
    empty = Map("cam", np.zeros((1, 9, 9)), True, np.zeros(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.picture(tmp_path / "map.png", np.zeros((1, 9, 9)), {"cam": empty}, "nothing")
        axes = figure.pyplot().figure().add_subplot()
        figure.draw_map(axes, figure.normalised(empty)[0], True)
    assert [text.get_text() for text in axes.texts] == ["zero\neverywhere"]
    figure.pyplot().close("all")


# --- what cannot be done is one line


@pytest.mark.parametrize(
    "options, code, message",
    [
        (("--class", 3), 2, "--class 3 is out of range: the network has 3 classes, 0 to 2"),
        (("--method", "grad_cam", "--layer", "featurs.0"), 1, "is not a layer of this VGG; did you mean features.0?"),
        (("--features", "features.99"), 1, "is not a layer"),
        (("--seeds", 2), 2, "leave out --seeds"),
        (("--resume",), 2, "give one"),
        (("--method", "gradcam"), 2, "did you mean grad_cam?"),
        (("--classes", "nowhere.txt"), 1, "nowhere.txt"),
    ],
)
def test_options_that_do_not_fit_a_network(mine, small, tmp_path, options, code, message, capsys):
    assert message in error(capsys, code, *mine, "--image", tmp_path / "cat.png", *options)


def test_cam_of_a_network_that_does_not_end_in_means_names_grad_cam(small, tmp_path, capsys):
    md.save_weights(tmp_path / "alexnet.npz", MODELS["alexnet_small"](num_classes=3, rng=0).state_dict())
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "cat.png")
    options = ("--weights", tmp_path / "alexnet.npz", "--model", "alexnet_small", "--image", tmp_path / "cat.png")
    text = error(capsys, 1, *options, "--method", "cam", "--quiet", "--out", tmp_path)
    assert "CAM needs a global average pooling" in text and "use Grad-CAM" in text


@pytest.mark.parametrize(
    "argv, code, message",
    [
        (("--image", "cat.png"), 2, "--image is about another network: name its --weights"),
        (("--filters",), 2, "--filters is about another network"),
        (("--weights", "nowhere.pth"), 2, "needs --image FILE, a picture to explain, or --filters"),
        (("--weights", "nowhere.pth", "--filters", "--class", 1), 2, "--class needs --image"),
        (("--weights", "nowhere.pth", "--filters", "--quiet"), 1, "nowhere.pth: no such file"),
        (("--checkpoint", "nowhere.npz"), 1, "no such checkpoint"),
        (("--checkpoint", "a.npz", "--resume"), 2, "give one of them"),
        (("--stpes", 3), 2, "did you mean --steps?"),
        (("--seeds", 0), 2, "at least 1"),
    ],
)
def test_command_lines_that_make_no_sense(argv, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in error(capsys, code, *argv)


def test_a_checkpoint_of_something_else_is_refused_in_one_line(tmp_path, no_report, capsys):
    md.save_weights(tmp_path / "other.npz", {"weight": np.zeros(3)})
    other = ("--checkpoint", tmp_path / "other.npz", "--out", tmp_path)
    assert "is no checkpoint of this task" in error(capsys, 1, *other)
    assert run(*TINY, "--out", tmp_path) == 0
    again = ("--checkpoint", tmp_path / "checkpoint.npz", "--seeds", 2, "--out", tmp_path)
    assert "has 1 networks on planted evidence, not 2; say --seeds 1" in error(capsys, 1, *again)
