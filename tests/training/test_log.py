"""Logs as CSV and as TensorBoard's events: the numbers of the JSON lines, also after a resume."""

import csv
import json
import math
import struct

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F
from minidl.train import fit
from minidl.training import tensorboard
from minidl.training.log import CsvLog

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def run(folder, steps, resume=False, **options):
    model = nn.Linear(3, 1, rng=0)
    return fit(
        model, optim.SGD(model.parameters(), 0.1), lambda m, b: F.mse_loss(m(md.tensor(X[b])), X[b, :1]),
        data.Batches(20, 6), steps, checkpoint=folder / "c.npz", save_every=3, resume=resume, progress=False,
        schedule=optim.cosine(0.1, 9), evaluate=lambda step: {"seen, or not": step, "nan": math.nan},
        evaluate_every=4, **options,
    )  # fmt: skip


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_the_numbers_of_the_json_lines_to_the_last_bit(tmp_path):
    run(tmp_path, 9, log=tmp_path / "log.jsonl")
    run(tmp_path, 9, log=tmp_path / "sub" / "log.CSV")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    table = rows(tmp_path / "sub" / "log.CSV")
    assert list(table[0]) == ["step", "lr", "loss", "grad_norm", "seen, or not", "nan"]
    for line, row in zip(lines, table, strict=True):
        assert row.pop("nan") == ("nan" if line.pop("nan", 0) is None else "")
        assert {name: float(text) for name, text in row.items() if text} == line


def test_csv_is_cut_back_to_the_checkpoint_and_replaced_by_another_run(tmp_path):
    log = tmp_path / "log.csv"
    run(tmp_path, 9, log=log)
    whole = log.read_bytes()
    run(tmp_path, 6, log=log)
    for rest in (b"", b"6,0.1,0.5,1.0,,\n7,0.1,0", b"6", b"6,0.1,0.5,1.0,,\n"):
        run(tmp_path, 6, log=log)
        with open(log, "ab") as file:
            file.write(rest)
        run(tmp_path, 9, resume=True, log=log)
        again = rows(log)
        again[5].update({"seen, or not": "", "nan": ""})  # the last step of a run is evaluated
        assert again == rows_of(whole, tmp_path)
    run(tmp_path, 9, log=log)
    assert log.read_bytes() == whole


def rows_of(content, folder):
    (folder / "whole.csv").write_bytes(content)
    return rows(folder / "whole.csv")


def test_another_table_is_no_log(tmp_path):
    (tmp_path / "log.csv").write_text("name,age\nAda,36\n")
    with pytest.raises(ValueError, match=r"log\.csv is no log of a run: its first column is 'name', not 'step'"):
        CsvLog(tmp_path / "log.csv", 3)
    assert (tmp_path / "log.csv").read_text() == "name,age\nAda,36\n"


# --- events


def test_the_crc_is_castagnolis():
    """The check value of CRC-32C, and that of 32 zeros (RFC 3720, B.4), masked as record_writer.cc has it."""
    for content, crc in ((b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA)):
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
        assert tensorboard.masked_crc(content) == struct.pack("<I", masked)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63 - 1])
def test_a_varint_is_read_back(value):
    coded = tensorboard.varint(value)
    assert sum((byte & 127) << 7 * i for i, byte in enumerate(coded)) == value
    assert [byte >> 7 for byte in coded] == [1] * (len(coded) - 1) + [0]


def test_an_event_is_these_bytes(tmp_path, monkeypatch):
    """As TensorBoard's own classes write it: tests/reference/test_tensorboard.py."""
    monkeypatch.setattr(tensorboard.time, "time", lambda: 2.0)
    log = tensorboard.EventLog(tmp_path, 300)
    log.write({"step": 300, "loss": 0.5})
    log.close()
    (file,) = tmp_path.iterdir()
    records = [content.hex() for content in contents(file.read_bytes())]
    assert records == [
        "09" "0000000000000040" "1a0d" + b"brain.Event:2".hex(),
        "09" "0000000000000040" "10ac02" "3a02" "0801",
        "09" "0000000000000040" "10ac02" "2a0d" "0a0b" "0a04" + b"loss".hex() + "150000003f",
    ]  # fmt: skip


def contents(text):
    """The records of an event file."""
    while text:
        (size,) = struct.unpack("<Q", text[:8])
        assert text[8:12] == tensorboard.masked_crc(text[:8])
        assert text[12 + size : 16 + size] == tensorboard.masked_crc(text[12 : 12 + size])
        yield text[12 : 12 + size]
        text = text[16 + size :]


def test_each_part_of_a_run_has_a_file_that_comes_after_those_before(tmp_path):
    folder, sizes = tmp_path / "events", []
    for steps in (3, 6, 9):
        run(tmp_path, steps, resume=True, tensorboard=folder)
        sizes.append(len(list(folder.iterdir())))
    assert sizes == [1, 2, 3]
    starts = [list(contents(path.read_bytes()))[1][9:] for path in sorted(folder.iterdir())]
    assert [start[1] for start in starts] == [0, 3, 6]
    assert all("tfevents" in path.name for path in folder.iterdir())
