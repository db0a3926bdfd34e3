import pytest

from tarkib.cli import main


def test_the_page_is_written_and_told_of(mixtures, tmp_path, capsys):
    out = tmp_path / "new/folder/page.html"
    assert main(["preview", str(mixtures), "--out", str(out), "--count", "3", "--split", "train"]) == 0
    page = out.read_text("utf-8")
    assert page.count("<article") == 3
    assert "8 mixtures" in page
    megabytes = out.stat().st_size / 1e6
    assert capsys.readouterr().out == f"{out} written: 3 of 8, {megabytes:.1f} MB\n"


def test_by_default_twelve_at_most_are_shown_in_preview_html(mixtures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["preview", str(mixtures.parent / "slices")]) == 0
    assert (tmp_path / "preview.html").read_text("utf-8").count("<article") == 8


def test_what_cannot_be_shown_leaves_the_old_page(own_mixtures, tmp_path, capsys):
    folder, out = own_mixtures(), tmp_path / "page.html"
    out.write_text("old")
    (folder / "shard-00000.tar").unlink()
    assert main(["preview", str(folder), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "error: " in said
    assert "shard-00000.tar" in said
    assert "dvc checkout" in said
    assert out.read_text() == "old"
    assert [one.name for one in tmp_path.glob("page*")] == ["page.html"]


def test_a_missing_shard_of_the_slices_is_named(own_mixtures, tmp_path, capsys):
    folder = own_mixtures()
    (folder.parent / "slices/shard-00000.tar").unlink()
    assert main(["preview", str(folder), "--out", str(tmp_path / "page.html")]) == 1
    assert "slices/shard-00000.tar" in capsys.readouterr().err


def test_a_folder_is_no_page(mixtures, tmp_path, capsys):
    assert main(["preview", str(mixtures), "--count", "1", "--out", str(tmp_path)]) == 1
    assert f"{tmp_path}: cannot be written (Is a directory); make room, or name another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "'0': give a whole number of at least 1"),
        (["--count", "two"], "'two': give a whole number of at least 1"),
        (["--mode", "tempo"], "invalid choice: 'tempo'"),
        (["--split", "test"], "invalid choice: 'test'"),
    ],
)
def test_a_call_without_sense_is_refused(mixtures, capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        main(["preview", str(mixtures), *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
