from pathlib import Path

import pytest

from tarkib.preview import dataset, distributions
from tarkib.preview.dataset import Mixtures


def counts(read, title):
    (one,) = (one for one in distributions.distributions(read) if one.title == title)
    return dict(one.counts), one.total


def test_the_counts_are_of_all_mixtures(mixtures):
    read = dataset.read(mixtures)
    assert counts(read, "Instruments") == ({"ney": 5, "tar": 5, "tonbak": 5, "avaz": 3}, 10)
    assert counts(read, "Polyphony") == ({"1": 4, "2": 4, "3": 2}, 10)
    assert counts(read, "Dastgah") == ({"shur": 8, "percussion alone": 2}, 10)
    assert counts(read, "Target tempo") == ({"100–105": 10, "no target": 0}, 10)
    assert counts(read, "Tempo as mixed") == ({"100–105": 16, "free": 2}, 18)
    assert counts(read, "Stretch") == ({"1.24–1.26": 16, "not stretched": 2}, 18)


def test_the_counts_are_of_the_split_that_was_asked_for(mixtures):
    read = dataset.read(mixtures, "validation")
    assert counts(read, "Instruments") == ({"ney": 1, "tonbak": 2, "avaz": 1}, 2)


def test_slices_are_counted_with_what_was_annotated(mixtures):
    read = dataset.read(mixtures.parent / "slices")
    assert counts(read, "Instruments") == ({"ney": 2, "tar": 2, "tonbak": 2, "avaz": 2}, 8)
    assert counts(read, "Split") == ({"train": 4, "validation": 4}, 8)
    assert counts(read, "Length") == ({"2": 4}, 4)
    assert counts(read, "Dastgah") == ({"shur": 6, "percussion": 2}, 8)
    assert counts(read, "Tempo") == ({"95–100": 4, "free": 4}, 8)


def mixture_of(*components: dict) -> Mixtures:
    row = {"mixture_id": "a", "target_bpm": None}
    plain = {"instrument": "tar", "dastgah": None, "bpm": None, "stretch": 1.0}
    return Mixtures(Path(), Path(), [row], {"a": [{**plain, **one} for one in components]}, {})


def test_without_a_target_the_tempi_heard_are_told_alone():
    read = mixture_of({"bpm": 80.0, "stretch": 1.25}, {"bpm": 180.0}, {})
    assert "Target tempo" not in [one.title for one in distributions.distributions(read)]
    tempi, total = counts(read, "Tempo as mixed")
    assert total == 3
    assert tempi == {"100–110": 1, **{f"{n}–{n + 10}": 0 for n in range(110, 180, 10)}, "180–190": 1, "free": 1}


def test_each_dastgah_of_a_mixture_counts_once_and_percussion_has_none():
    read = mixture_of(
        {"dastgah": "nava"}, {"dastgah": "nava"}, {"dastgah": "shur"}, {}, {"instrument": "daf"}, {"dastgah": "blues"}
    )
    assert counts(read, "Dastgah")[0] == {"shur": 1, "nava": 1, "blues": 1, "unknown": 1}
    assert list(counts(read, "Dastgah")[0]) == ["shur", "nava", "blues", "unknown"]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1.16, 1.1600001], ["1.16–1.18"]),
        ([0.8, 1.25], ["0.80–0.85", *[f"{n / 100:.2f}–{(n + 5) / 100:.2f}" for n in range(85, 125, 5)], "1.25–1.30"]),
        ([0.8, 0.799], ["0.78–0.80", "0.80–0.82"]),
    ],
)
def test_bins_begin_at_round_numbers_and_are_as_narrow_as_there_is_room_for(values, labels):
    read = mixture_of(*({"bpm": 100.0, "stretch": one} for one in values))
    assert list(counts(read, "Stretch")[0]) == [*labels, "not stretched"]
