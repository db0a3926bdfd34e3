import pytest

from tarkib.outputs import partial_of, whole_file, whole_folder


def test_a_folder_takes_its_place_whole(tmp_path):
    target = tmp_path / "data" / "slices"
    with whole_folder(target) as folder:
        (folder / "a").write_text("new")
        assert not target.exists()
    assert [p.name for p in target.iterdir()] == ["a"]
    assert [p.name for p in target.parent.iterdir()] == ["slices"]


def test_what_fails_leaves_the_old(tmp_path):
    target = tmp_path / "slices"
    target.mkdir()
    (target / "old").touch()

    def failing():
        with whole_folder(target) as folder:
            (folder / "new").touch()
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        failing()
    assert [p.name for p in tmp_path.rglob("*")] == ["slices", "old"]


def test_what_a_killed_run_left_is_not_taken_over(tmp_path):
    stale = partial_of(tmp_path / "slices")
    stale.mkdir()
    (stale / "stale").touch()
    with whole_folder(tmp_path / "slices") as folder:
        (folder / "new").touch()
    assert [p.name for p in (tmp_path / "slices").iterdir()] == ["new"]


def test_a_file_is_the_old_or_the_new(tmp_path):
    target = tmp_path / "sub" / "table"
    with whole_file(target) as path:
        path.write_text("first")

    def failing():
        with whole_file(target) as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert target.read_text() == "first"
    assert [p.name for p in target.parent.iterdir()] == ["table"]


def test_a_name_may_be_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("ن" * 127)  # 254 bytes
    with whole_file(path) as partial:
        partial.write_text("new")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
