"""Event files as TensorBoard itself reads and writes them: needs pip install tensorboard."""

import math

import numpy as np
import pytest

from minidl.training.tensorboard import EventLog

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
pytestmark = pytest.mark.reference


def write(folder, start, stop, **more):
    log = EventLog(folder, start)
    for step in range(start, stop):
        log.write({"step": step, "loss": 1 / (step + 1), **{name: value + step for name, value in more.items()}})
    log.close()


def read(folder):
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]
    }  # fmt: skip


def test_tensorboard_reads_every_number(tmp_path):
    write(tmp_path, 0, 300, large=1e30, accuracy=0.5, nothing=math.nan)
    found = read(tmp_path)
    assert set(found) == {"loss", "large", "accuracy", "nothing"}
    assert found["loss"] == {step: np.float32(1 / (step + 1)) for step in range(300)}
    assert found["accuracy"][299] == 299.5 and math.isnan(found["nothing"][0])


def test_a_resumed_run_is_one_curve_and_a_new_one_replaces_the_old(tmp_path):
    write(tmp_path, 0, 30, left=0.0)
    write(tmp_path, 20, 25, more=0.0)
    found = read(tmp_path)
    assert list(found["loss"]) == list(range(25)) and list(found["left"]) == list(range(20))
    write(tmp_path, 0, 5)
    assert list(read(tmp_path)["loss"]) == list(range(5))


def test_records_are_those_that_tensorboards_own_classes_write(tmp_path):
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    write(tmp_path, 300, 302, accuracy=0.5)
    (file,) = tmp_path.iterdir()
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    events = [event_pb2.Event.FromString(raw) for raw in loader.RawEventFileLoader(str(file)).Load()]
    with open(tmp_path / "theirs", "wb") as out:
        writer = RecordWriter(out)
        for event in events:
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()
        assert (tmp_path / "theirs").read_bytes() == file.read_bytes()
    value = summary_pb2.Summary.Value(tag="accuracy", simple_value=300.5)
    assert events[2].step == 300 and events[2].summary.value[1] == value
