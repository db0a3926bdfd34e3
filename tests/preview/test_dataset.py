import shutil

import pytest

from tarkib import tables
from tarkib.errors import TarkibError
from tarkib.preview import dataset


def test_mixtures_come_with_their_components_and_the_slices_places(mixtures):
    read = dataset.read(mixtures)
    assert [row["mixture_id"] for row in read.rows[:2]] == ["train-000000", "train-000001"]
    assert len(read.rows) == 10
    assert [one["instrument"] for one in read.components["train-000001"]] == ["tar", "ney"]
    assert read.places.keys() == {f"{one}-abc-000{n}" for one in ("tar", "ney", "tonbak", "avaz") for n in (0, 1)}


def test_a_split_is_all_that_is_read(mixtures):
    assert len(dataset.read(mixtures, "train", "dastgah+bpm").rows) == 8
    assert {row["split"] for row in dataset.read(mixtures.parent / "slices", "validation").rows} == {"validation"}


def test_another_mode_is_refused_and_the_one_there_is_named(mixtures):
    with pytest.raises(TarkibError, match=r"--mode bpm: .* dastgah\+bpm; .* dvc exp run -S augment\.mode=bpm"):
        dataset.read(mixtures, mode="bpm")


def test_a_split_that_is_not_there_is_refused(own_mixtures):
    folder = own_mixtures()
    rows = [row for row in tables.MIXTURES.read(folder / "mixtures.parquet") if row["split"] == "train"]
    tables.MIXTURES.write(folder / "mixtures.parquet", rows)
    with pytest.raises(TarkibError, match=r"--split validation: .* only train"):
        dataset.read(folder, "validation")
    tables.MIXTURES.write(folder / "mixtures.parquet", [])
    with pytest.raises(TarkibError, match=r"mixtures\.parquet: has no rows; run dvc repro"):
        dataset.read(folder)


def test_a_folder_without_tables_is_no_data_set(tmp_path):
    with pytest.raises(TarkibError, match=r"neither mixtures\.parquet nor slices\.parquet; give a folder"):
        dataset.read(tmp_path)


@pytest.mark.parametrize(("option", "value"), [("mode", "bpm"), ("slices", "elsewhere")])
def test_options_for_mixtures_are_refused_for_slices(mixtures, option, value):
    with pytest.raises(TarkibError, match=f"--{option} {value}: .* leave it out"):
        dataset.read(mixtures.parent / "slices", **{option: value})


def test_slices_may_lie_elsewhere_and_must_be_somewhere(own_mixtures, tmp_path):
    folder = own_mixtures()
    shutil.move(folder.parent / "slices", tmp_path / "elsewhere")
    with pytest.raises(TarkibError, match="not a folder of slices; name the mixtures' slices with --slices"):
        dataset.read(folder)
    assert dataset.read(folder, slices=tmp_path / "elsewhere").slices == tmp_path / "elsewhere"


def test_a_component_whose_slice_is_missing_is_named(own_mixtures):
    folder = own_mixtures()
    table = folder.parent / "slices/slices.parquet"
    tables.SLICES.write(table, [row for row in tables.SLICES.read(table) if row["slice_id"] != "ney-abc-0000"])
    with pytest.raises(
        TarkibError, match=r"train-000001 was made of slice ney-abc-0000, .* dvc repro, or dvc checkout"
    ):
        dataset.read(folder)


def test_a_mixture_without_components_is_named(own_mixtures):
    folder = own_mixtures()
    table = folder / "components.parquet"
    rows = [row for row in tables.COMPONENTS.read(table) if row["mixture_id"] != "train-000003"]
    tables.COMPONENTS.write(table, rows)
    with pytest.raises(TarkibError, match="no components of mixture train-000003; run dvc repro"):
        dataset.read(folder)


def test_annotations_are_read_where_they_are_and_must_fit(own_mixtures):
    slices = own_mixtures().parent / "slices"
    table = slices.parent / "annotations.parquet"
    assert dataset.read(slices).annotations["tar-abc-0000"]["bpm"] == 96.0
    tables.ANNOTATIONS.write(table, tables.ANNOTATIONS.read(table)[:-1])
    with pytest.raises(TarkibError, match="no annotation of slice avaz-abc-0001"):
        dataset.read(slices)
    table.unlink()
    assert dataset.read(slices).annotations is None
