"""The volume command from end to end: generated and own volumes, faults, memory."""

import json
import os

import numpy as np
import pytest
import tifffile

import tasks.__main__ as frame
from tasks.volume import cli, data, memory, report, train
from tests.support.nifti import write_nifti

TINY = ("--size", 16, "--factor", 2, "--width", 2, "--first-steps", 2, "--steps", 2, "--volumes", 3, "--test", 1)


def run(*argv):
    return frame.main(["volume", *map(str, argv)])


@pytest.mark.usefixtures("figures")
def test_a_run_leaves_everything_and_is_resumed_to_the_same_bits(ctrl_c, tmp_path, monkeypatch, capsys):
    assert run(*TINY, "--seeds", 2, "--out", tmp_path / "straight", "--quiet") == 0
    output = capsys.readouterr()
    assert output.err == "" and "all 2 seeds" in output.out and "seed 1: Dice on 1 volumes" in output.out
    for name in ("seed-0/table.txt", "seed-1/scores.json", "seed-0/figure.png", "seed-1/with.jsonl", "table.txt"):
        assert (tmp_path / "straight" / name).stat().st_size > 0, name
    (tmp_path / "run/seed-1").mkdir(parents=True)
    for row in train.ROWS:  # of an earlier run with other settings: must not be taken for this one's
        (tmp_path / f"run/seed-1/{row.name}.npz").write_bytes(b"old")
    before = train.losses

    def interrupted(model, row, batch, device):
        if row.name == "with":
            ctrl_c()
        return before(model, row, batch, device)

    with monkeypatch.context() as patch:
        patch.setattr(train, "losses", interrupted)
        assert run(*TINY, "--seeds", 2, "--out", tmp_path / "run", "--quiet") == 130
    error = capsys.readouterr().err
    assert "after 1 steps" in error and f"go on with: python -m tasks volume --resume --out {tmp_path}/run" in error
    monkeypatch.setattr(report.figure, "comparison", lambda *_: None)  # drawn once is enough
    assert run("--resume", "--out", tmp_path / "run", "--quiet") == 0
    for seed in (0, 1):
        for row in (*train.ROWS, train.CONTROL):
            name = f"seed-{seed}/{row.name}.npz"
            assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
        scores = [json.loads((tmp_path / r / f"seed-{seed}/scores.json").read_text()) for r in ("run", "straight")]
        assert [v["dice"] for v in scores[0].values()] == [v["dice"] for v in scores[1].values()]
    capsys.readouterr()
    assert run("--resume", "--out", tmp_path / "run", "--steps", 5) == 2
    assert "steps is 2, not 5" in capsys.readouterr().err


def own(folder, shapes=((16, 15, 9), (12, 16, 16), (16, 16, 16))):
    """A user's volumes, two as pairs of .npy, the rest as .npz."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i, shape in enumerate(shapes):
        mask = np.zeros(shape, np.int16)
        mask[2:8, 3:9, 2:8] = 2
        mask[4:6, 4:7, 3:6] = 1
        image = (mask * 900 + rng.integers(0, 500, shape)).astype(np.int16)
        if i < 2:
            np.save(folder / f"images/{i}.npy", image)
            np.save(folder / f"masks/{i}.npy", mask)
        else:
            np.savez(folder / f"{i}.npz", image=image, mask=mask)
    return folder


def test_own_volumes_of_different_sizes(tmp_path, capsys):
    folder = own(tmp_path / "mine")
    argv = ("--factor", 2, "--width", 2, "--first-steps", 2, "--steps", 2, "--out", tmp_path / "out", "--quiet")
    assert run("--data", folder, *argv) == 0
    assert "Dice on 1 volumes" in capsys.readouterr().out
    shapes = [v.labels.shape for v in data.read_volumes(data.volume_files(str(folder)), 8)]
    assert shapes == [(16, 16, 16), (16, 16, 16), (16, 16, 16)]
    one, other = data.split(list(range(10)), 0)
    assert sorted(one + other) == list(range(10)) and len(other) == 2


@pytest.mark.parametrize("kind", ["nii", "tif", "labels"])
def test_own_volumes_as_nifti_and_stacks(kind, tmp_path):
    names = ("imagesTr", "labelsTr") if kind == "nii" else ("images", kind if kind == "labels" else "masks")
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 2], 40).reshape(4, 5, 6)
    volumes = [(rng.integers(0, 500, labels.shape), labels[::step]) for step in (1, -1)]
    for i, volume in enumerate(volumes):
        for name, array, end in zip(names, volume, ("_0000" if kind == "nii" else "", "")):
            (tmp_path / name).mkdir(exist_ok=True)
            file = tmp_path / name / f"{i}{end}"
            if kind == "nii":
                write_nifti(file.with_name(f"{file.name}.nii"), array.astype(np.int16))
            elif kind == "tif":
                tifffile.imwrite(f"{file}.tif", array.astype(np.uint16), photometric="minisblack")
            else:
                np.save(f"{file}.npy", array)
    files = data.volume_files(str(tmp_path))
    for (image, mask), found in zip(volumes, data.read_volumes(files, 1), strict=True):
        np.testing.assert_allclose(found.image, (image - image.mean()) / image.std(), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.labels, mask)


def test_a_format_that_is_not_read_is_named(tmp_path):
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(FileNotFoundError, match="there is DICOM: convert the series with dcm2niix"):
        data.volume_files(str(tmp_path))


def spoil(name, value):
    return lambda folder: np.save(folder / name, value)


@pytest.mark.parametrize(
    "fault, guilty, message",
    [
        (lambda f: os.remove(f / "masks/1.npy"), "masks/1.npy", "no such mask"),
        (spoil("masks/0.npy", np.zeros((4, 4, 4), int)), "images/0.npy", "the mask has shape (4, 4, 4)"),
        (spoil("masks/0.npy", np.full((16, 15, 9), 255)), "images/0.npy", "the mask holds 255"),
        (spoil("masks/0.npy", np.ones((16, 15, 9), int)), "images/0.npy", "no large organ, label 2"),
        (spoil("images/0.npy", np.zeros((16, 15))), "images/0.npy", "must be numbers of shape (D, H, W)"),
        (spoil("images/0.npy", np.full((16, 15, 9), np.nan)), "images/0.npy", "NaN"),
        (lambda f: (f / "images/1.npy").write_bytes(b"no array"), "images/1.npy", "not a volume"),
        (lambda f: np.savez(f / "2.npz", picture=np.zeros(3)), "2.npz", "not a volume"),
    ],
)
def test_each_fault_of_own_volumes_is_one_line_naming_the_file(fault, guilty, message, tmp_path, capsys):
    folder = own(tmp_path / "mine")
    fault(folder)
    assert run("--data", folder, "--factor", 2, "--width", 2, "--out", tmp_path / "out", "--quiet") == 1
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1
    assert str(folder / guilty) in error and message in error


@pytest.mark.parametrize(
    "argv, code, message",
    [
        (["--size", "50"], 2, "--size 50 does not divide by 12, which --factor 3 asks for; use 48 or 60"),
        (["--size", "3"], 2, "--size: must be a whole number of at least 16"),
        (["--data", "x", "--size", "24"], 2, "--data brings its own volumes: leave out --size"),
        (["--data", "{tmp}/empty"], 1, "0 volumes in"),
        (["--resume"], 2, "there is no run in"),
        (["--steps", "0"], 2, "--steps: must be a whole number of at least 1"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(argv, code, message, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(*(a.format(tmp=tmp_path) for a in argv), "--out", tmp_path / "out", "--quiet") == code
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1 and message in error


def test_memory_is_measured_in_a_process_of_its_own(capsys, monkeypatch):
    monkeypatch.setattr(memory, "MODELS", (memory.pipeline,))  # the paper's holds a gigabyte of weights and moments
    assert run("--memory", "--size", 24) == 0
    title, line = capsys.readouterr().out.splitlines()
    assert "24^3" in title
    kept, peak = (float(line.split(word)[1].split()[0]) for word in ("pass ", "process "))
    assert 0 < kept < peak < 2


def test_the_options_that_are_settings_are_those_of_the_settings():
    from dataclasses import fields

    options = {action.dest for action in cli.VolumeTask().parser()._actions}
    assert {field.name for field in fields(train.Settings)} <= options
