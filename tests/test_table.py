"""Text tables: one helper for all that is printed in columns."""

from minidl.table import grouped, table


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("layer", "size", "MACs"), ("a", "10", "-"), ("conv1", "7", "1,000")]
    assert table(rows, "<>") == ["layer  size   MACs", "a        10      -", "conv1     7  1,000"]
    assert table(rows, indent="  ", gap=" ")[1] == "  a     10   -"


def test_a_cell_wider_than_the_limit_pushes_its_own_line_alone():
    assert table([("abcdef", "x"), ("a", "y")], most=3) == ["abcdef  x", "a    y"]


def test_headings_stand_above_their_rows():
    rows = [("one", ("a", "1")), ("one", ("bb", "2")), ("two", ("c", "3"))]
    assert grouped(rows) == ["one", "  a   1", "  bb  2", "", "two", "  c   3"]
