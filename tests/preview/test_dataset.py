"""What is read of a data set, and its distributions."""

import shutil
from pathlib import Path

import pytest

from tarkib import tables
from tarkib.errors import TarkibError
from tarkib.preview import dataset, distributions
from tarkib.preview.dataset import Mixtures


def without(table: tables.Table, file: Path, **values: str) -> None:
    """Write a table again without the rows that have all these values."""
    table.write(file, [row for row in table.read(file) if not values.items() <= row.items()])


def test_a_split_is_all_that_is_read(mixtures):
    assert len(dataset.read(mixtures).rows) == 10
    assert len(dataset.read(mixtures, "train", "dastgah+bpm").rows) == 8
    assert {row["split"] for row in dataset.read(mixtures.parent / "slices", "validation").rows} == {"validation"}


def spoil_components(folder: Path) -> None:
    without(tables.COMPONENTS, folder / "components.parquet", mixture_id="train-000003")


def spoil_split(folder: Path) -> None:
    without(tables.MIXTURES, folder / "mixtures.parquet", split="validation")


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (None, {"mode": "bpm"}, r"--mode bpm: .* has only dastgah\+bpm; name one of these"),
        (spoil_split, {"split": "validation"}, r"--split validation: .* has only train"),
        (
            lambda folder: tables.MIXTURES.write(folder / "mixtures.parquet", []),
            {},
            r"mixtures\.parquet: has no rows; run dvc repro",
        ),
        (lambda folder: (folder / "mixtures.parquet").unlink(), {}, r"neither mixtures\.parquet nor slices\.parquet"),
        (
            lambda folder: shutil.rmtree(folder.parent / "slices"),
            {},
            "not the folder of the slices that .*; run dvc repro",
        ),
        (spoil_components, {}, "no components of mixture train-000003; run dvc repro"),
    ],
)
def test_mixtures_that_cannot_be_shown_are_refused(own_mixtures, spoil, options, message):
    if spoil:
        spoil(own_mixtures)
    with pytest.raises(TarkibError, match=message):
        dataset.read(own_mixtures, **options)


def test_annotations_are_read_where_they_are_and_must_fit(own_mixtures):
    slices, table = own_mixtures.parent / "slices", own_mixtures.parent / "annotations.parquet"
    with pytest.raises(TarkibError, match="holds slices; leave out --mode"):
        dataset.read(slices, mode="bpm")
    assert dataset.read(slices).annotations["tar-abc-0000"]["bpm"] == 96.0
    without(tables.ANNOTATIONS, table, slice_id="avaz-abc-0001")
    with pytest.raises(TarkibError, match="no annotation of slice avaz-abc-0001"):
        dataset.read(slices)
    table.unlink()
    assert dataset.read(slices).annotations == {}


def counts(read) -> dict[str, tuple[dict[str, int], int]]:
    return {one.title: (dict(one.counts), one.total) for one in distributions.distributions(read)}


def test_the_counts_are_of_all_mixtures_of_the_split(mixtures):
    assert counts(dataset.read(mixtures)) == {
        "Instruments": ({"ney": 5, "tar": 5, "tonbak": 5, "avaz": 3}, 10),
        "Polyphony": ({"1": 4, "2": 4, "3": 2}, 10),
        "Dastgah": ({"shur": 8, "percussion alone": 2}, 10),
        "Target tempo": ({"100–105": 10, "no target": 0}, 10),
        "Tempo as mixed": ({"100–105": 16, "free": 2}, 18),
        "Stretch": ({"1.25–1.30": 16, "not stretched": 2}, 18),
    }
    assert counts(dataset.read(mixtures, "validation"))["Instruments"] == ({"ney": 1, "tonbak": 2, "avaz": 1}, 2)


def test_slices_are_counted_with_what_was_annotated(mixtures):
    assert counts(dataset.read(mixtures.parent / "slices")) == {
        "Instruments": ({"ney": 2, "tar": 2, "tonbak": 2, "avaz": 2}, 8),
        "Split": ({"train": 4, "validation": 4}, 8),
        "Dastgah": ({"shur": 6, "percussion": 2}, 8),
        "Avaz (mode)": ({"dashti": 2, "none": 6}, 8),
        "Tempo": ({"95–100": 4, "free": 4}, 8),
    }


def mixture_of(*components: dict) -> Mixtures:
    plain = {"instrument": "tar", "dastgah": None, "bpm": None, "stretch": 1.0}
    row = {"mixture_id": "a", "target_bpm": None}
    return Mixtures(Path(), Path(), [row], {"a": [{**plain, **component} for component in components]}, {})


def test_bins_are_as_narrow_as_there_is_room_for():
    read = counts(mixture_of({"bpm": 80.0, "stretch": 1.25}, {"bpm": 180.0, "stretch": 1.15}, {}))
    assert "Target tempo" not in read
    tempi, total = read["Tempo as mixed"]
    assert total == 3
    assert [*tempi] == [*(f"{n}–{n + 20}" for n in range(100, 220, 20)), "free"]
    assert tempi["200–220"] == tempi["100–120"] == tempi["free"] == 1
    assert read["Stretch"][0] == {"1.15–1.20": 1, "1.20–1.25": 1, "not stretched": 1}
    assert counts(mixture_of({"stretch": 1.25}))["Stretch"][0] == {"1.25–1.30": 1, "not stretched": 0}


def test_each_dastgah_of_a_mixture_counts_once_and_percussion_has_none():
    names = ("nava", "nava", "shur", None, "blues")
    read = counts(mixture_of({"instrument": "daf"}, *({"dastgah": name} for name in names)))
    assert [*read["Dastgah"][0].items()] == [("shur", 1), ("nava", 1), ("blues", 1), ("unknown", 1)]
