import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from orchestra import orchestra

from tarkib.annotation import octaves
from tarkib.errors import TarkibError
from tarkib.mixing import ensembles, recipes
from tarkib.mixing.modes import MODES
from tarkib.mixing.recipes import Source
from tarkib.mixing.rendering import RT60_S, WET_DB, by_mixture
from tarkib.vocabulary import INSTRUMENTS, PERCUSSION

SOURCES = orchestra()


def drawn(defaults, count, sources=SOURCES, **changes):
    """Mixture rows, and their components' rows by mixture."""
    params = dataclasses.replace(defaults.augment, **{"mode": "random", "train_mixtures": count, **changes})
    mixtures, components = recipes.draw("train", sources, params)
    return mixtures, by_mixture(components)


@pytest.fixture(scope="module")
def of_modes(defaults):
    """Three hundred mixtures in each mode: rows, and components by mixture."""
    return {mode: drawn(defaults, 300, mode=mode) for mode in MODES}


@pytest.mark.parametrize("scarce", [False, True])
def test_the_mode_is_all_that_differs_between_modes(defaults, scarce):
    sources = orchestra(recordings=5, slices=1) if scarce else SOURCES
    same = []
    for mode in MODES:
        mixtures, parts = drawn(defaults, 60, sources, mode=mode, min_instruments=2, reverb=not scarce)
        columns = ("mixture_id", "split", "instruments", "room_rt60_s", "room_wet_db")
        gains = [[part["gain_db"] for part in parts[row["mixture_id"]]] for row in mixtures]
        same.append(([[row[name] for name in columns] for row in mixtures], gains))
        assert (len({row["room_rt60_s"] for row in mixtures}) > 50) != scarce
    assert same[0] == same[1] == same[2] == same[3]


def test_seeded_and_growing(defaults, of_modes):
    first = drawn(defaults, 50)
    assert first == drawn(defaults, 50)
    assert first[0] == of_modes["random"][0][:50]
    assert first[0] != drawn(defaults, 50, seed=99)[0]
    reverberant = drawn(defaults, 50, reverb=True)[0]
    assert [row["instruments"] for row in first[0]] == [row["instruments"] for row in reverberant]
    rooms = np.array([(row["room_rt60_s"], row["room_wet_db"]) for row in reverberant])
    low, high = np.transpose([RT60_S, WET_DB])
    margin = 0.15 * (high - low)
    assert np.all((low <= rooms.min(axis=0)) & (rooms.min(axis=0) < low + margin))
    assert np.all((high - margin < rooms.max(axis=0)) & (rooms.max(axis=0) <= high))


@pytest.mark.slow
def test_classes_and_slices_are_used_evenly(defaults):
    mixtures, parts = drawn(defaults, 1_200)
    uses = Counter(row["slice_id"] for rows in parts.values() for row in rows)
    assert len(uses) == len(SOURCES)
    assert max(uses.values()) < 2.2 * sum(uses.values()) / len(SOURCES)
    counts = Counter(name for mixture in mixtures for name in mixture["instruments"])
    assert max(counts.values()) / min(counts.values()) < 1.3
    sizes = Counter(len(mixture["instruments"]) for mixture in mixtures)
    assert max(sizes.values()) / min(sizes.values()) < 1.5


def test_slices_of_rare_dastgahs_are_not_overused(defaults):
    """A single slice in nava among a hundred in shur must not sound in half of the mixtures."""
    sources = [
        Source(f"{name}-{i}", f"{name}-{i}", name, "nava" if i < rare else "shur" if i % 2 else "segah", None, 200.0)
        for name, rare in (("tar", 1), ("ney", 1), ("santur", 40))
        for i in range(100)
    ]
    for mode in ("bpm", "dastgah"):
        _, parts = drawn(defaults, 800, sources, mode=mode)
        uses = Counter(row["slice_id"] for rows in parts.values() for row in rows)
        assert max(uses.values()) < 3.5 * sum(uses.values()) / len(sources)


@pytest.mark.parametrize("mode", ["bpm", "dastgah+bpm"])
def test_as_little_as_possible_is_stretched(defaults, of_modes, mode):
    """Of two within reach one stays unchanged, and not always the same instrument's; else both meet halfway."""
    unchanged = Counter()
    for rows in of_modes[mode][1].values():
        metered = [row for row in rows if row["metered"]]
        if len(metered) == 2:
            kept = [row["instrument"] for row in metered if row["stretch"] == 1.0]
            within = octaves.apart(*(row["bpm"] for row in metered)) <= math.log2(defaults.augment.max_stretch)
            assert len(kept) == within
            if not within:
                assert math.prod(row["stretch"] for row in metered) == pytest.approx(1.0, abs=1e-5)
            unchanged.update(kept)
    assert len(unchanged) >= 9


def test_a_fast_component_begins_where_its_recording_reaches(defaults):
    reaches = ((-5.0, 5.0), (0.0, 10.0), (0.0, 5.0))
    sounding = {source.slice_id: reaches[i % 3] for i, source in enumerate(SOURCES)}
    sources = [dataclasses.replace(one, sounding_s=sounding[one.slice_id], bpm=one.bpm or 90.0) for one in SOURCES]
    _, parts = drawn(defaults, 200, sources, mode="bpm", min_instruments=2)
    moved = Counter()
    for row in (row for row in itertools.chain.from_iterable(parts.values()) if row["offset_s"]):
        earliest, latest = sounding[row["slice_id"]]
        assert earliest <= row["offset_s"] == pytest.approx(latest - 5 * row["stretch"], abs=1e-5)
        moved[earliest, latest] += 1
    assert list(moved) == [(-5.0, 5.0)]  # others have nothing before them
    assert moved[-5.0, 5.0] > 30


def test_traditional_ensembles(defaults):
    listed = {tuple(sorted(names, key=INSTRUMENTS.index)) for kind in ensembles.TRADITIONAL for names in kind}
    assert [len(kind) for kind in ensembles.TRADITIONAL] == [9, 6, 6, 11]
    # The original drew `kamanched`, which no recording had, and the label set shrank unnoticed.
    assert all(set(names) <= set(INSTRUMENTS) and len(set(names)) == len(names) for names in listed)
    drawn_ensembles = [tuple(row["instruments"]) for row in drawn(defaults, 500, ensembles="traditional")[0]]
    assert {names for names in listed if len(names) <= 5} <= set(drawn_ensembles)
    assert max(map(len, drawn_ensembles)) == 5
    # A fifth are any instruments at all, some of which are listed by chance.
    assert 0.7 < np.mean([names in listed for names in drawn_ensembles]) < 0.95


@pytest.mark.parametrize("kind", ["uniform", "traditional"])
def test_missing_instruments_are_left_out(defaults, kind):
    sources = [source for source in SOURCES if source.instrument not in ("tar", "daf")]
    mixtures, _ = drawn(defaults, 150, sources, ensembles=kind)
    assert {name for row in mixtures for name in row["instruments"]} == set(INSTRUMENTS) - {"tar", "daf"}


def test_an_instrument_without_a_dastgah_is_left_out_of_all_modes_and_named(defaults):
    sources = [dataclasses.replace(one, dastgah=None) if one.instrument == "santur" else one for one in SOURCES]
    for mode in ("random", "dastgah"):
        mixtures, _ = drawn(defaults, 100, sources, mode=mode)
        assert {name for row in mixtures for name in row["instruments"]} == set(INSTRUMENTS) - {"santur"}
    both = {"train": sources, "validation": SOURCES}
    lost, remedy = recipes.left_out(both, defaults.augment)
    assert lost == "santur: no train slice has a dastgah, so none is mixed; unknown to the model"
    assert recipes.left_out({"train": sources, "validation": sources}, defaults.augment) == [lost, remedy]
    assert remedy.endswith("augment.mode=random with augment.comparable=false")
    mended = dataclasses.replace(defaults.augment, mode="random", comparable=False)
    assert recipes.left_out(both, mended) == []
    assert recipes.left_out({"train": SOURCES, "validation": SOURCES}, defaults.augment) == []
    with pytest.raises(TarkibError, match=r"mode dastgah: no train slice has a dastgah \(santur\)"):
        drawn(defaults, 10, [one for one in sources if one.instrument == "santur"], mode="dastgah")


def test_slices_without_a_dastgah_are_counted_where_the_mode_cannot_mix_them(defaults):
    sources = [dataclasses.replace(one, dastgah=None) if i % 10 == 0 else one for i, one in enumerate(SOURCES)]
    both, count = {"train": sources, "validation": SOURCES}, sum(one.pitched and not one.dastgah for one in sources)
    params = dataclasses.replace(defaults.augment, mode="dastgah")
    expected = f"{count} of {len(sources)} train slices lack a dastgah, which mode dastgah needs"
    assert 0 < count < len(sources)
    assert recipes.left_out(both, params) == [expected]
    assert recipes.left_out(both, dataclasses.replace(params, mode="random")) == []


def test_random_mixes_instruments_without_a_dastgah_where_modes_need_not_be_comparable(defaults):
    sources = [dataclasses.replace(one, dastgah=None) for one in SOURCES]
    mixtures, _ = drawn(defaults, 100, sources, mode="random", comparable=False)
    assert {name for row in mixtures for name in row["instruments"]} == set(INSTRUMENTS)
    mixtures, _ = drawn(defaults, 20, sources, mode="bpm", comparable=False)
    assert {name for row in mixtures for name in row["instruments"]} == set(PERCUSSION)


def test_more_mixtures_than_the_material_allows(defaults):
    """An error for training; of validation mixtures there may be fewer."""
    five = [Source(f"ney-{i}", f"ney-{i}", "ney", "shur", 100.0, 200.0) for i in range(5)]
    assert len(drawn(defaults, 5, five)[0]) == 5
    with pytest.raises(TarkibError, match=r"train_mixtures: only 5 of 100 distinct .*\(5 of ney\)"):
        drawn(defaults, 100, five)
    params = dataclasses.replace(defaults.augment, validation_mixtures=100)
    assert len(recipes.draw("validation", five, params)[0]) == 5
    faster = [dataclasses.replace(one, slice_id=f"daf-{i}", instrument="daf", bpm=141.0) for i, one in enumerate(five)]
    with pytest.raises(TarkibError, match=r"train_mixtures: only 0 of 10 .*mode bpm allows the fewest.*max_stretch"):
        drawn(defaults, 10, five + faster, mode="bpm", min_instruments=2, max_stretch=1.1)


@pytest.mark.parametrize(
    "hard",
    [
        {"mode": "dastgah", "tempo_tolerance": 0.2},
        {"mode": "dastgah", "align_tonic": True},
        {"mode": "bpm", "max_stretch": 1.0},
        {"mode": "dastgah+bpm", "max_stretch": 1.02},
    ],
    ids=str,
)
def test_rare_selections_are_found(defaults, hard):
    """Where few slices fit they are used often, and an even draw would never find them."""
    sources = orchestra(recordings=20, slices=4, instruments=("tar", "ney", "santur", "daf"))
    assert len(drawn(defaults, 100, sources, min_instruments=4, **hard)[0]) == 100


def test_joining_slices_and_annotations():
    columns = ("slice_id", "recording_id", "origin", "number", "start_s", "instrument", "split")
    rows = [
        ("a0", "ney-a", "own", 0, 0.0, "ney", "train"),
        ("a1", "ney-a", "own", 1, 5.0, "ney", "train"),
        ("b3", "daf-b", "demo", 3, 15.0, "daf", "validation"),
    ]
    slices = [dict(zip(columns, row, strict=True)) for row in rows]
    metered = {"bpm": 90.0, "tonic_hz": 200.0, "dastgah": "shur", "beat_s": 0.3}
    unmetered = {**metered, "bpm": None, "beat_s": None}
    annotations = [{"slice_id": "b3", **metered}, {"slice_id": "a1", **unmetered}, {"slice_id": "a0", **unmetered}]
    rows = [("ney-a", "ok", 8.5), ("daf-b", "ok", 40.0), ("ney-a", "rejected", None)]  # a copy of the first
    recordings = [dict(zip(("recording_id", "status", "seconds"), row, strict=True)) for row in rows]
    assert recipes.join(slices, annotations, recordings) == {
        "train": [
            Source("a0", "ney-a", "ney", "shur", None, 200.0, None, (0.0, 8.5)),
            Source("a1", "ney-a", "ney", "shur", None, 200.0, None, (-5.0, 3.5)),
        ],
        "validation": [Source("b3", "daf-b", "daf", None, 90.0, None, 0.3, (0.0, 5.0), "demo")],
    }
