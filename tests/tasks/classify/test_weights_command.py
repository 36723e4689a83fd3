"""`minidl weights`: what it lists, which network fits, and how it says the renaming."""

import json

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.__main__ import main
from minidl.files.weights import examine
from tasks.models import MODELS, fits, pretrained
from tests.support.torch_files import Tensor, torch_file

SMALL = {name: MODELS[name] for name in ("alexnet_small", "densenet_small", "resnet_small")}


@pytest.fixture(autouse=True)
def few_networks(monkeypatch):
    """Their files are small."""
    for module in (fits, pretrained):
        monkeypatch.setattr(module, "MODELS", SMALL)


def state(name="resnet_small", **options):
    with nn.init.undrawn():
        return SMALL[name](**{"num_classes": 5, **options}).state_dict()


def checkpoint(tmp_path, names="module.{}", part="model"):
    tensors = {names.format(name): Tensor(array) for name, array in state().items()}
    optimizer = {"state": {0: {"step": 3, "exp_avg": Tensor(np.ones((2, 3), "f4"))}}, "param_groups": [{"lr": 0.1}]}
    tree = {part: tensors, "optimizer": optimizer, "epoch": 9, "name": "mine"}
    (tmp_path / "c.pth").write_bytes(torch_file(tree))
    return str(tmp_path / "c.pth")


def test_it_lists_what_is_there_what_lies_beside_and_what_fits(tmp_path, capsys):
    assert main(["weights", checkpoint(tmp_path)]) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    arrays, end = state(), len(state())
    count = sum(a.size for name, a in arrays.items() if "running" not in name and "batches" not in name)
    assert first.startswith(f"{tmp_path / 'c.pth'}: PyTorch, zip, ") and first.endswith(" bytes")
    assert [row.split()[0] for row in rows[:end]] == list(arrays)
    assert rows[0].split() == ["conv1.weight", *" x ".join(map(str, arrays["conv1.weight"].shape)).split(), "float32"]
    assert rows[end:] == [
        f"{len(arrays)} arrays ({sum(a.dtype == 'f4' for a in arrays.values())} float32, "
        f"{sum(a.dtype == 'i8' for a in arrays.values())} int64) under 'model.module', {count:,} parameters",
        "beside: optimizer: 1 arrays (6 entries), 2 numbers", "beside: epoch: 9", "beside: name: 'mine'",
        "fits resnet_small(num_classes=5, in_channels=3): md.load_weights(path, key='model.module'), "
        "or --weights-key model.module",
    ]  # fmt: skip


@pytest.mark.parametrize("names, part, key, strip", [
    ("{}", "state_dict", None, None), ("{}", "net", "net", None), ("model.{}", "state_dict", "state_dict.model", None),
    ("_orig_mod.module.{}", "x", "x._orig_mod.module", None),
])  # fmt: skip
def test_prefixes_are_found_and_the_renaming_loads(tmp_path, capsys, names, part, key, strip):
    path = checkpoint(tmp_path, names, part)
    assert main(["weights", path, "--model", "resnet_small", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fits"]
    assert found == {"model": "resnet_small", "key": key, "strip": strip,
                     "dimensions": {"num_classes": 5, "in_channels": 3}}  # fmt: skip
    assert list(md.load_weights(path, key, strip)) == list(state())
    assert pretrained.load("resnet_small", path)


def test_json_has_every_array(tmp_path, capsys):
    md.save_weights(path := tmp_path / "w.safetensors", state("alexnet_small", in_channels=2))
    assert main(["weights", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {a["name"]: tuple(a["shape"]) for a in found["arrays"]} == {
        name: array.shape for name, array in state("alexnet_small", in_channels=2).items()}  # fmt: skip
    assert found["form"] == "safetensors" and found["under"] is None and found["beside"] == {} and found["notes"] == []
    assert found["fits"]["dimensions"] == {"num_classes": 5, "in_channels": 2}


def test_a_network_that_does_not_fit_says_what_differs(tmp_path, capsys):
    path = checkpoint(tmp_path, "{}", "state_dict")
    assert main(["weights", path, "--model", "alexnet_small"]) == 1
    assert "use --model resnet_small" in capsys.readouterr().err
    assert main(["weights", path, "--model", "alexnet_smal"]) == 2
    assert "did you mean alexnet_small?" in capsys.readouterr().err
    md.save_weights(path := tmp_path / "w.npz", {"a.w": np.ones(2)})
    assert main(["weights", str(path)]) == 0
    assert capsys.readouterr().out.endswith("fits none of our networks by its names\n")
    (tmp_path / "w").write_bytes(b"GGUF")
    assert main(["weights", str(tmp_path / "w")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_names_of_older_files_of_densenet_are_understood_behind_a_prefix(tmp_path):
    arrays = {f"m.{name}".replace("norm1", "norm.1"): a for name, a in state("densenet_small").items()}
    md.save_weights(path := tmp_path / "w.npz", arrays)
    assert any("norm.1" in name for name in arrays)
    assert fits.first_fit(examine(path), path).key == "m"
    assert pretrained.load("densenet_small", path)


def test_no_network_is_made_for_a_file_that_has_no_first_and_last_parameter_of_one(tmp_path, monkeypatch):
    made = []
    tiny = {name: lambda name=name, **options: made.append(name) for name in ("resnet18", "swin_t")}
    monkeypatch.setattr(pretrained, "MODELS", {name: MODELS[name] for name in tiny})
    monkeypatch.setattr(fits, "MODELS", tiny)
    md.save_weights(path := tmp_path / "resnet18.npz", {"conv1.weight": np.ones(2), "fc2.bias": np.ones(2)})
    assert fits.first_fit(examine(path), path) is None and not made
    assert pretrained.whose(md.load_weights(path)) is None
