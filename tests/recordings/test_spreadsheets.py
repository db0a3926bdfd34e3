import codecs

import pytest

from tarkib.errors import TarkibError
from tarkib.recordings import spreadsheets

PERSIAN = "path,performer\nني/1.wav,حسن كسائي\nتار/2.wav,جليل شهناز\n"
ROWS = [(2, ["ني/1.wav", "حسن كسائي"]), (3, ["تار/2.wav", "جليل شهناز"])]


def sheet(path, content):
    path = path / "table.csv"
    path.write_bytes(content)
    return spreadsheets.read(path)


FORMS = {
    "utf-8": PERSIAN.encode(),
    "bom, crlf": PERSIAN.replace("\n", "\r\n").encode("utf-8-sig"),
    "utf-16, tabs": PERSIAN.replace(",", "\t").encode("utf-16"),
    "utf-16-be": codecs.BOM_UTF16_BE + PERSIAN.encode("utf-16-be"),
    "cp1256, semicolons": PERSIAN.replace(",", ";").encode("cp1256"),
    "spaces": PERSIAN.replace(",", " , ").encode(),
    "empty columns": PERSIAN.replace("\n", ",,\n").encode(),
    "invisible": PERSIAN.replace("path", "\u200b\ufeffpath").replace("performer", "performer\u200f").encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_read_however_it_is_stored(tmp_path, form):
    assert sheet(tmp_path, FORMS[form]) == (["path", "performer"], ROWS)


def test_a_half_space_inside_a_heading_stays(tmp_path):
    assert sheet(tmp_path, "سه\u200cتار\u200c,ney\n1,0\n".encode()).heading == ["سه\u200cتار", "ney"]


@pytest.mark.parametrize("first", ["sep=;", '"SEP=;" '])
def test_a_line_that_names_the_separator(tmp_path, first):
    table = f"{first}\r\npath;performer\r\na.wav;one, two\r\n"
    assert sheet(tmp_path, table.encode()) == (["path", "performer"], [(3, ["a.wav", "one, two"])])


def test_a_missing_file_and_a_blank_one_have_no_heading(tmp_path):
    assert spreadsheets.read(tmp_path / "table.csv") == ([], [])
    assert sheet(tmp_path, b"\xef\xbb\xbf\n ,\n") == ([], [])


def test_a_cell_may_be_long_and_hold_lines(tmp_path):
    rows = sheet(tmp_path, b'path,note\na,"one\ntwo"\n\nb,' + b"x" * 100_000 + b"\n").rows
    assert [(line, [len(cell) for cell in cells]) for line, cells in rows] == [(3, [1, 7]), (5, [1, 100_000])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,performer\na,Käse\n".encode("latin-1"), r"line 2: not UTF-8 text \(byte 18 is 0xe4\); save it as CSV"),
        ("path\n“tar”\n".encode("cp1252"), "not UTF-8 text"),
        (PERSIAN.encode("utf-16") + b"x", "not UTF-16-LE text"),
        (b"path,performer\na,b\nc\n", "line 3: 1 value where the heading has 2 columns"),
        (b"path,performer\na,b,c\n", "line 2: 3 values where the heading has 2 columns"),
        (b"path,Performer,performer\na,b,c\n", "line 1: column performer is there more than once"),
        (b'path\n"a"b\n', "line 2: not valid CSV"),
        (b"path\n" + b"x" * 2**20, "line 2: not valid CSV"),
    ],
    ids=range(8),
)
def test_an_error_names_the_line(tmp_path, content, message):
    with pytest.raises(TarkibError, match=f"table.csv.*{message}"):
        sheet(tmp_path, content)
