import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from orchestra import orchestra

from tarkib.annotation import octaves
from tarkib.errors import TarkibError
from tarkib.mixing import ensembles, material, recipes
from tarkib.mixing.material import Source
from tarkib.params import MODES
from tarkib.vocabulary import INSTRUMENTS, PERCUSSION


@pytest.fixture
def params(defaults):
    return dataclasses.replace(defaults.augment, mode="random")


def drawn(params, count=300, sources=None, **changes):
    """Mixture rows, and their components' rows by mixture."""
    changed = dataclasses.replace(params, train_mixtures=count, **changes)
    mixtures, components = recipes.draw("train", sources or orchestra(), changed)
    by_mixture = {one["mixture_id"]: [] for one in mixtures}
    for one in components:
        by_mixture[one["mixture_id"]].append(one)
    return mixtures, by_mixture


def heard(one):
    """The tempo that a component has in the mixture."""
    return one["bpm"] * one["stretch"]


@pytest.mark.parametrize("mode", MODES)
def test_a_mixture_is_what_its_components_are(params, mode):
    mixtures, by_mixture = drawn(params, mode=mode)
    known = {source.slice_id: source for source in orchestra()}
    for mixture in mixtures:
        parts = by_mixture[mixture["mixture_id"]]
        assert mixture["instruments"] == [one["instrument"] for one in parts]
        assert len(set(mixture["instruments"])) == len(parts)  # no instrument twice
        assert 1 <= len(parts) <= 5
        for one in parts:
            source = known[one["slice_id"]]
            assert (one["instrument"], one["dastgah"], one["bpm"]) == (source.instrument, source.dastgah, source.bpm)
            assert one["metered"] == (source.bpm is not None)
            assert abs(one["gain_db"]) <= params.gain_range_db
            assert one["shift_cents"] == 0.0


@pytest.mark.parametrize("mode", ["bpm", "dastgah+bpm"])
def test_metered_components_are_brought_to_one_tempo(params, mode):
    mixtures, by_mixture = drawn(params, mode=mode)
    stretched = 0
    for mixture in mixtures:
        for one in by_mixture[mixture["mixture_id"]]:
            if one["metered"]:
                assert octaves.apart(heard(one), mixture["target_bpm"]) < 1e-5
                assert 1 / params.max_stretch - 1e-6 <= one["stretch"] <= params.max_stretch + 1e-6
                stretched += one["stretch"] != 1.0
            else:
                assert one["stretch"] == 1.0
    assert stretched > 100


@pytest.mark.parametrize("mode", ["random", "dastgah"])
def test_without_bpm_all_sound_as_recorded(params, mode):
    mixtures, by_mixture = drawn(params, mode=mode)
    assert {one["stretch"] for parts in by_mixture.values() for one in parts} == {1.0}
    assert {mixture["target_bpm"] for mixture in mixtures} == {None}


def test_mode_dastgah_keeps_tempi_apart(params):
    _, by_mixture = drawn(params, mode="dastgah")
    pairs = 0
    for parts in by_mixture.values():
        bpms = [one["bpm"] for one in parts if one["metered"]]
        for a, b in itertools.combinations(bpms, 2):
            pairs += 1
            assert octaves.apart(a, b) > math.log2(1 + params.tempo_tolerance)
    assert pairs > 100


@pytest.mark.parametrize("mode", ["dastgah", "dastgah+bpm"])
def test_one_dastgah(params, mode):
    mixtures, by_mixture = drawn(params, mode=mode)
    for mixture in mixtures:
        dastgahs = {one["dastgah"] for one in by_mixture[mixture["mixture_id"]] if one["instrument"] not in PERCUSSION}
        assert dastgahs == ({mixture["dastgah"]} if mixture["dastgah"] else set())
    assert len({mixture["dastgah"] for mixture in mixtures}) == 8  # all seven, and None for drums alone


def test_mode_bpm_keeps_dastgahs_apart(params):
    _, by_mixture = drawn(params, mode="bpm")
    for parts in by_mixture.values():
        dastgahs = [one["dastgah"] for one in parts if one["instrument"] not in PERCUSSION]
        assert len(set(dastgahs)) == len(dastgahs)


def test_the_mode_is_all_that_differs_between_modes(params):
    def control(mode):
        mixtures, by_mixture = drawn(params, mode=mode)
        return [
            (one["mixture_id"], one["split"], one["instruments"], [c["gain_db"] for c in by_mixture[one["mixture_id"]]])
            for one in mixtures
        ]

    assert control("random") == control("bpm") == control("dastgah") == control("dastgah+bpm")


def test_the_control_holds_with_scarce_material_too(params):
    scarce = orchestra(recordings=5, slices=1)
    same = [
        [one["instruments"] for one in drawn(params, 60, scarce, mode=mode, min_instruments=2)[0]] for mode in MODES
    ]
    assert same[0] == same[1] == same[2] == same[3]


@pytest.mark.parametrize("mode", MODES)
def test_no_two_mixtures_use_the_same_slices(params, mode):
    _, by_mixture = drawn(params, 300, orchestra(recordings=7, slices=2), mode=mode)
    keys = [frozenset(one["slice_id"] for one in parts) for parts in by_mixture.values()]
    assert len(set(keys)) == 300


def test_seeded_and_growing(params):
    assert drawn(params, 50) == drawn(params, 50)
    assert drawn(params, 50)[0] == drawn(params, 80)[0][:50]
    assert drawn(params, 50)[0] != drawn(params, 50, seed=99)[0]


def test_slices_are_used_evenly(params):
    _, by_mixture = drawn(params, 2_000)
    uses = Counter(one["slice_id"] for parts in by_mixture.values() for one in parts)
    fair = sum(uses.values()) / len(orchestra())
    assert len(uses) == len(orchestra())
    assert max(uses.values()) < 2 * fair


@pytest.mark.parametrize("mode", MODES)
def test_slices_of_rare_dastgahs_are_not_worn_out(params, mode):
    """One slice in nava among a hundred in shur must not sound in half of the mixtures."""
    sources = [
        Source(f"{name}-{i:012d}-0000", name, "nava" if i < rare else "shur" if i % 2 else "segah", None, 200.0)
        for name, rare in (("tar", 1), ("ney", 1), ("santur", 40))
        for i in range(100)
    ]
    _, by_mixture = drawn(params, 1_500, sources, mode=mode)
    uses = Counter(one["slice_id"] for parts in by_mixture.values() for one in parts)
    fair = sum(uses.values()) / len(sources)
    assert max(uses.values()) < 3 * fair


@pytest.mark.parametrize("mode", ["bpm", "dastgah+bpm"])
def test_no_more_is_stretched_than_must_be(params, mode):
    """Of two within reach one stays as it was, and not always the same instrument's; else both meet halfway."""
    _, by_mixture = drawn(params, 600, mode=mode)
    as_recorded = Counter()
    for parts in by_mixture.values():
        metered = [one for one in parts if one["metered"]]
        if len(metered) == 2:
            kept = [one["instrument"] for one in metered if one["stretch"] == 1.0]
            within = octaves.apart(*(one["bpm"] for one in metered)) <= math.log2(params.max_stretch)
            assert len(kept) == within
            if not within:
                assert math.prod(one["stretch"] for one in metered) == pytest.approx(1.0, abs=1e-5)
            as_recorded.update(kept)
    assert set(as_recorded) == set(INSTRUMENTS)


def test_a_fast_component_begins_where_its_recording_reaches(params):
    reach = {"before": (-5.0, 5.0), "after": (0.0, 10.0), "alone": (0.0, 5.0)}
    kinds = {one.slice_id: tuple(reach)[i % 3] for i, one in enumerate(orchestra())}
    sources = [
        dataclasses.replace(one, sounding_s=reach[kinds[one.slice_id]], bpm=one.bpm or 90.0) for one in orchestra()
    ]
    _, by_mixture = drawn(params, 300, sources, mode="bpm", min_instruments=2)
    moved = Counter()
    for one in itertools.chain.from_iterable(by_mixture.values()):
        kind = kinds[one["slice_id"]]
        earliest, latest = reach[kind]
        assert one["offset_s"] >= earliest
        assert one["offset_s"] == 0 or one["offset_s"] + 5 * one["stretch"] == pytest.approx(latest, abs=1e-5)
        moved[kind] += one["offset_s"] != 0
    assert moved["before"] > 50
    assert moved["after"] == moved["alone"] == 0


def test_rooms_are_drawn_alike_for_all_modes(params):
    rooms = [
        [(one["room_rt60_s"], one["room_wet_db"]) for one in drawn(params, 50, mode=mode, reverb=True)[0]]
        for mode in MODES
    ]
    assert rooms[0] == rooms[1] == rooms[2] == rooms[3]
    assert len(set(rooms[0])) == 50
    dry = drawn(params, 50)[0]
    assert {(one["room_rt60_s"], one["room_wet_db"]) for one in dry} == {(None, None)}
    wet = drawn(params, 50, reverb=True)[0]
    assert [one["instruments"] for one in dry] == [one["instruments"] for one in wet]


def test_uniform_is_class_balanced(params):
    mixtures, _ = drawn(params, 2_000)
    counts = Counter(name for one in mixtures for name in one["instruments"])
    assert max(counts.values()) / min(counts.values()) < 1.25
    sizes = Counter(len(one["instruments"]) for one in mixtures)
    assert max(sizes.values()) / min(sizes.values()) < 1.4


def test_traditional_ensembles(params):
    mixtures, _ = drawn(params, 600, ensembles="traditional")
    listed = {tuple(sorted(one, key=INSTRUMENTS.index)) for kind in ensembles.TRADITIONAL for one in kind}
    met = {tuple(one["instruments"]) for one in mixtures}
    assert {one for one in listed if len(one) <= 5} <= met
    assert max(map(len, met)) == 5
    # A fifth are any instruments at all, some of which are listed by chance.
    assert 0.7 < np.mean([tuple(one["instruments"]) in listed for one in mixtures]) < 0.95


def test_traditional_ensembles_are_instruments_that_exist():
    """The original drew `kamanched`, which no recording had, and the label set shrank in silence."""
    for kind in ensembles.TRADITIONAL:
        for one in kind:
            assert set(one) <= set(INSTRUMENTS)
            assert len(set(one)) == len(one)


def test_what_is_not_there_is_left_out(params):
    some = [source for source in orchestra() if source.instrument not in ("tar", "daf")]
    for kind in ("uniform", "traditional"):
        mixtures, _ = drawn(params, 200, some, ensembles=kind)
        assert {name for one in mixtures for name in one["instruments"]} == set(INSTRUMENTS) - {"tar", "daf"}


def test_aligning_tonics(params):
    """Two clips in shur on different tonics still clash; with align_tonic all sound on one."""
    known = {source.slice_id: source for source in orchestra()}
    _, by_mixture = drawn(params, mode="dastgah", align_tonic=True)
    shifted = 0
    for parts in by_mixture.values():
        tonics = [
            known[one["slice_id"]].tonic_hz * 2 ** (one["shift_cents"] / 1200)
            for one in parts
            if known[one["slice_id"]].tonic_hz
        ]
        assert all(octaves.apart(tonics[0], other) * 1200 < 0.1 for other in tonics)
        assert all(abs(one["shift_cents"]) <= recipes.MAX_SHIFT_CENTS for one in parts)
        shifted += any(one["shift_cents"] for one in parts)
    assert shifted > 100


def test_an_instrument_without_a_dastgah_is_left_out_of_all_modes_and_named(params):
    some = [dataclasses.replace(s, dastgah=None) if s.instrument == "santur" else s for s in orchestra()]
    for mode in MODES:
        mixtures, _ = drawn(params, 100, some, mode=mode)
        assert {name for one in mixtures for name in one["instruments"]} == set(INSTRUMENTS) - {"santur"}
    sentences = recipes.left_out("train", some)
    assert len(sentences) == 2
    assert "santur: no train slice has a dastgah, so it is left out of the mixing" in sentences[0]
    assert sentences[1].startswith("56 of 560 train slices have no dastgah")
    assert recipes.left_out("train", orchestra()) == []


def test_nothing_but_instruments_without_a_dastgah_is_an_error(params):
    some = [dataclasses.replace(s, dastgah=None) for s in orchestra(instruments=("santur",))]
    with pytest.raises(TarkibError, match=r"mode dastgah: no train slice has a dastgah \(santur\)"):
        drawn(params, 10, some, mode="dastgah")


def test_single_slices_without_a_dastgah_are_for_free_modes(params):
    some = [dataclasses.replace(s, dastgah=None) if s.slice_id.endswith("0") else s for s in orchestra()]
    _, by_mixture = drawn(params, 300, some, mode="dastgah")
    for parts in by_mixture.values():
        assert all(one["dastgah"] for one in parts if one["instrument"] not in PERCUSSION)


def test_more_mixtures_than_there_can_be_is_an_error(params):
    five = [Source(f"ney-{i:012d}-0000", "ney", "shur", None, 200.0) for i in range(5)]
    assert len(drawn(params, 5, five)[0]) == 5
    with pytest.raises(TarkibError, match=r"train_mixtures: only 5 of 100 distinct .*\(5 of ney\)"):
        drawn(params, 100, five)


def test_of_validation_mixtures_there_are_as_many_as_can_be(params):
    five = [Source(f"ney-{i:012d}-0000", "ney", "shur", None, 200.0) for i in range(5)]
    mixtures, _ = recipes.draw("validation", five, dataclasses.replace(params, validation_mixtures=100))
    assert len(mixtures) == 5


def test_tempi_out_of_reach_are_an_error(params):
    apart = [
        Source(f"{name}-{i:012d}-0000", name, "shur", bpm, 200.0)
        for name, bpm in (("ney", 100.0), ("daf", 141.0))
        for i in range(50)
    ]
    with pytest.raises(TarkibError, match=r"train_mixtures: only 0 of 10 .*mode bpm allows the fewest.*max_stretch"):
        drawn(params, 10, apart, mode="bpm", min_instruments=2, max_stretch=1.1)


def test_joining_slices_and_annotations():
    slices = [
        {"slice_id": "ney-a-0000", "recording_id": "ney-a", "instrument": "ney", "split": "train", "start_s": 0.0},
        {"slice_id": "ney-a-0001", "recording_id": "ney-a", "instrument": "ney", "split": "train", "start_s": 5.0},
        {
            "slice_id": "daf-b-0003",
            "recording_id": "daf-b",
            "instrument": "daf",
            "split": "validation",
            "start_s": 15.0,
        },
    ]
    about = {"bpm": 90.0, "tonic_hz": 200.0, "dastgah": "shur", "beat_s": 0.3}
    unmetered = {**about, "bpm": None, "beat_s": None}
    annotations = [
        {"slice_id": "daf-b-0003", **about},
        {"slice_id": "ney-a-0001", **unmetered},
        {"slice_id": "ney-a-0000", **unmetered},
    ]
    recordings = [{"recording_id": "ney-a", "seconds": 8.5}, {"recording_id": "daf-b", "seconds": 40.0}]
    joined = material.join(slices, annotations, recordings)
    assert joined["train"] == [
        Source("ney-a-0000", "ney", "shur", None, 200.0, None, (0.0, 8.5)),
        Source("ney-a-0001", "ney", "shur", None, 200.0, None, (-5.0, 3.5)),
    ]
    assert joined["validation"] == [Source("daf-b-0003", "daf", None, 90.0, None, 0.3, (0.0, 5.0))]


@pytest.mark.parametrize(
    ("mode", "hard"),
    [
        ("dastgah", {"tempo_tolerance": 0.2}),
        ("dastgah", {"align_tonic": True}),
        ("bpm", {"max_stretch": 1.0}),
        ("dastgah+bpm", {"max_stretch": 1.02}),
    ],
)
def test_however_strict_the_demand_what_all_modes_can_make_is_found(params, mode, hard):
    """Where few slices fit they are used often, and an even draw would never find them."""
    sources = orchestra(recordings=20, slices=4, instruments=("tar", "ney", "santur", "daf"))
    mixtures, _ = drawn(params, 200, sources, mode=mode, min_instruments=4, **hard)
    assert len(mixtures) == 200
