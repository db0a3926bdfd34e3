import csv
import io

import numpy as np
import pytest

from tarkib.app import records
from tarkib.errors import TarkibError


def by_python(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """What Python's strict reader makes of a text: the line that each record ends in, and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_any_text_is_read_as_python_reads_it_and_given_back(delimiter):
    rng = np.random.default_rng(3)
    marks = ["a", "é", " ", '"', '""', ",", ";", "\n", "\r\n", "\r", "0.5", "\t", "\u2028"]
    damaged = 0
    for _ in range(4_000):
        text = "".join(rng.choice(marks, size=rng.integers(1, 14)))
        try:
            expected = by_python(text, delimiter)
        except csv.Error:
            damaged += 1
            with pytest.raises(TarkibError, match=r"line [0-9]+: not valid CSV"):
                records.parse(text, delimiter)
            continue
        read = records.parse(text, delimiter)
        assert records.written(read, delimiter) == text
        said = [(one.line, one.values) for one in read if not one.blank]
        assert said == [(line, cells) for line, cells in expected if any(cells)], repr(text)
    assert 400 < damaged < 3_600


@pytest.mark.parametrize("value", ["plain", "a,b", "a;b", 'say "tar"', "two\nlines", "é\r\nü", "", "-1", "=1+1"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_quoted_value_is_read_back(value, delimiter):
    (record,) = records.parse(f"x{delimiter}{records.quoted(value, delimiter)}{delimiter}y", delimiter)
    assert record.values == ["x", value, "y"]


@pytest.mark.parametrize(
    ("text", "line"),
    [('a,b\n"c,d\n', 2), ('a\n\n"b"c\n', 3), ('"x\ny"z\n', 1)],
)
def test_what_is_no_csv_names_its_line(text, line):
    with pytest.raises(TarkibError, match=f"line {line}: "):
        records.parse(text, ",")
