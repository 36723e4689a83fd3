"""A sample of what `python -m tests.files.mutants` does to a thousand files of each kind."""

import numpy as np
import pytest

import minidl as md
from tests.files import mutants


@pytest.mark.parametrize("kind", mutants.KINDS)
def test_damaged_files_are_refused_in_one_line_or_read_right(kind, tmp_path):
    path = tmp_path / "w"
    path.write_bytes(mutants.good(kind, np.random.default_rng(0)))
    assert set(md.load_weights(path)) == {"weight", "bias", "bn.num_batches_tracked", "half", "none"}
    verdicts, seconds, peak = mutants.survey(kind, 40, path)
    assert set(verdicts) == {"read", "refused"}, verdicts
    assert peak < 2**24 and seconds < 60, "bounded, whatever sizes a file declares"
