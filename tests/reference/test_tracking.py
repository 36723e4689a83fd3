"""MOTA, IDF1 and HOTA against TrackEval's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

trackeval = pytest.importorskip("trackeval", reason="compares with TrackEval: pip install trackeval==1.3.0")
pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

from tasks.track.metrics import tracking  # noqa: E402
from tasks.track.tubes import box_overlap  # noqa: E402

pytestmark = pytest.mark.reference


def sequence(rng, frames, objects, lost, jitter, swaps):
    """Objects that move, and tracks of them that miss some, are off by some, and sometimes change identity."""
    start, speed = rng.uniform(0, 60, (objects, 2)), rng.uniform(-3, 3, (objects, 2))
    truth, found, names = [], [], np.arange(objects) + 50
    for t in range(frames):
        corner = start + t * speed
        boxes = np.concatenate([corner, corner + 12], axis=1)
        truth.append({i: boxes[i] for i in range(objects) if rng.random() < 0.9})
        if objects > 1 and rng.random() < swaps:
            names[:2] = names[1::-1]
        off = boxes + rng.normal(0, jitter, boxes.shape)
        found.append({int(names[i]): off[i] for i in range(objects) if rng.random() > lost})
        if rng.random() < 0.2:
            found[-1][99] = rng.uniform(0, 60, 4).cumsum()
    return truth, found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 4), st.floats(0, 0.6), st.floats(0, 4), st.floats(0, 0.5)
)  # fmt: skip
def test_scores_are_those_of_trackeval(seed, frames, objects, lost, jitter, swaps):
    truth, found = sequence(np.random.default_rng(seed), frames, objects, lost, jitter, swaps)
    if not any(truth):
        return
    ours = tracking(truth, found)
    ids = [{n: k for k, n in enumerate(dict.fromkeys(n for f in frames for n in f))} for frames in (truth, found)]
    data = {
        "num_gt_ids": len(ids[0]), "num_tracker_ids": len(ids[1]), "num_timesteps": frames,
        "num_gt_dets": sum(map(len, truth)), "num_tracker_dets": sum(map(len, found)),
        "gt_ids": [np.array([ids[0][n] for n in f], int) for f in truth],
        "tracker_ids": [np.array([ids[1][n] for n in f], int) for f in found],
        "similarity_scores": [
            box_overlap(*(np.array(list(f.values())).reshape(-1, 4) for f in pair)) for pair in zip(truth, found)
        ],
    }  # fmt: skip
    metrics = trackeval.metrics
    hota = metrics.HOTA().eval_sequence(data)
    clear = metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    identity = metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    assert ours.hota == pytest.approx(hota["HOTA"].mean(), abs=1e-9)
    assert ours.deta == pytest.approx(hota["DetA"].mean(), abs=1e-9)
    assert ours.mota == pytest.approx(clear["MOTA"], abs=1e-9) and ours.switches == clear["IDSW"]
    assert ours.idf1 == pytest.approx(identity["IDF1"], abs=1e-9)
