"""A file that cannot be written is refused before the work, in one line."""

import pytest

import minidl.__main__ as frame

LINES = [
    ("quiz", "--html"), ("explain", "--html"), ("explain", "--svg"), ("gradcheck", "relu(x)", "x=1,2", "--html"),
    ("receptive-field", "--html"), ("convmatrix", "--html"), ("assignment", "grade", ".", "--csv"),
    ("assignment", "grade", ".", "--json"), ("assignment", "grade", ".", "--html"),
]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_folder_that_is_missing(line, tmp_path, capsys):
    path = tmp_path / "missing" / "file"
    assert frame.main([*line, str(path)]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and f"{path}: there is no folder {path.parent}" in err
    assert not path.parent.exists()
