"""Each promise is broken on purpose, one at a time, in data that keep them all: the checker must name it."""

import copy
import dataclasses
import re
from types import SimpleNamespace

import pytest
from orchestra import orchestra

from tarkib.errors import TarkibError
from tarkib.mixing import recipes, verification
from tarkib.params import MODES


def data_set(defaults, material=None, without=None, **changes):
    """Tables of a data set as the stage would write them, without the clips' places, and its parameters."""
    sizes = {"train_mixtures": 60, "validation_mixtures": 20, "min_instruments": 2}
    params = dataclasses.replace(defaults.augment, **{**sizes, **changes})
    data = SimpleNamespace(mixtures=[], components=[], annotations=[], slices=[], params=params)
    for seed, split in enumerate(("train", "validation")):
        sources = [
            dataclasses.replace(
                source,
                slice_id=f"{split}-{source.slice_id}",
                recording_id=f"{split}-{source.recording_id}",
                dastgah=None if source.instrument == without else source.dastgah,
                beat_s=0.2 if source.bpm else None,
                sounding_s=(-5.0 * (source.slice_id[-1] != "0"), 10.0 - 5.0 * (source.slice_id[-1] == "2")),
            )
            for source in orchestra(**{"recordings": 14, "slices": 3, **(material or {})}, seed=seed)
        ]
        for source in sources:
            columns = {name: getattr(source, name) for name in ("slice_id", "recording_id", "origin", "instrument")}
            data.slices.append({**columns, "number": int(source.slice_id[-4:]), "split": split})
            columns = {name: getattr(source, name) for name in ("slice_id", "bpm", "beat_s", "tonic_hz", "dastgah")}
            data.annotations.append(columns)
        mixtures, components = recipes.draw(split, sources, params)
        data.mixtures += mixtures
        data.components += components
    return data


def defects(data):
    return verification.verify(data.mixtures, data.components, data.annotations, data.slices, data.params)


@pytest.fixture(scope="module")
def kept(defaults):
    """Data sets of all modes, made once; use copies."""
    return {mode: data_set(defaults, mode=mode) for mode in MODES}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("extra", [{}, {"align_tonic": True, "align_beats": True, "reverb": True}], ids=str)
def test_drawn_mixtures_keep_every_promise(defaults, kept, mode, extra):
    assert defects(data_set(defaults, mode=mode, **extra) if extra else kept[mode]) == []


def first(rows, **columns):
    """The first row with these values; True and False ask whether there is one."""
    return next(
        row
        for row in rows
        if all((row[name] is not None) == v if v in (True, False) else row[name] == v for name, v in columns.items())
    )


def parts(data, row):
    """Components of the mixture of a row."""
    return [part for part in data.components if part["mixture_id"] == row["mixture_id"]]


def annotation(data, row):
    return first(data.annotations, slice_id=row["slice_id"])


def params(data, **changes):
    data.params = dataclasses.replace(data.params, **changes)


def second_instrument(data):
    row = data.components[0]
    other = first(data.slices, instrument=row["instrument"], split="train")["slice_id"]
    data.components.append({**row, "slice_id": other})
    data.mixtures[0]["instruments"].append(row["instrument"])


def other_split(data):
    row = next(row for row in data.components if row["mixture_id"].startswith("validation"))
    row["slice_id"] = first(data.slices, instrument=row["instrument"], split="train")["slice_id"]


def other_dastgah(data):
    row = next(row for row in data.components if sum(bool(part["dastgah"]) for part in parts(data, row)) > 2)
    row = first(parts(data, row), dastgah=True)
    row["dastgah"] = annotation(data, row)["dastgah"] = "nava" if row["dastgah"] != "nava" else "shur"


def upside_down(data):
    """As in the original."""
    for row in data.components:
        row["stretch"] = round(1 / row["stretch"], 6)


def same_slices(data):
    """Two mixtures of the same slices, with gains of their own."""
    one, other = data.mixtures[:2]
    copies = [{**row, "mixture_id": other["mixture_id"], "gain_db": 0.0} for row in parts(data, one)]
    data.components[:] = [row for row in data.components if row["mixture_id"] != other["mixture_id"]] + copies
    other |= {name: one[name] for name in ("instruments", "target_bpm", "dastgah")}


def early(data):
    next(row for row in data.components if row["slice_id"].endswith("-0000"))["offset_s"] = -1.0


BREAKAGES = {
    "labels reversed": ("labels", lambda d: d.mixtures[0]["instruments"].reverse()),
    "instrument twice": ("labels", second_instrument),
    "too many instruments": ("labels", lambda d: params(d, max_instruments=4)),
    "too few instruments": ("labels", lambda d: params(d, min_instruments=3)),
    "instrument": ("source", lambda d: first(d.slices, slice_id=d.components[0]["slice_id"]).update(instrument="avaz")),
    "origin": ("source", lambda d: d.components[0].update(origin="demo")),
    "recording": ("source", lambda d: d.components[0].update(recording_id="another")),
    "metered": ("source", lambda d: first(d.components, bpm=True).update(metered=False)),
    "unknown dastgah": ("source", lambda d: annotation(d, first(d.components, dastgah=True)).update(dastgah=None)),
    "slice of the other split": ("split", other_split),
    "recording in both splits": ("split", lambda d: d.slices[1].update(split="validation")),
    "two dastgahs": ("dastgah", other_dastgah),
    "mixture without dastgah": ("dastgah", lambda d: first(d.mixtures, dastgah=True).update(dastgah=None)),
    "mode": ("mode", lambda d: d.mixtures[0].update(mode="random")),
    "target": ("tempo", lambda d: first(d.mixtures, target_bpm=True).update(target_bpm=50.0)),
    "no target": ("tempo", lambda d: first(d.mixtures, target_bpm=True).update(target_bpm=None)),
    "stretch upside down": ("tempo", upside_down),
    "stretch out of range": ("stretch", lambda d: params(d, max_stretch=1.1)),
    "stretch of the unmetered": ("stretch", lambda d: first(d.components, bpm=False).update(stretch=1.1)),
    "shift": ("shift", lambda d: d.components[0].update(shift_cents=100.0)),
    "gain not a number": ("gain", lambda d: d.components[0].update(gain_db=float("nan"))),
    "offset": ("offset", lambda d: d.components[0].update(offset_s=9.0)),
    "early offset": ("offset", early),
    "room": ("room", lambda d: d.mixtures[0].update(room_rt60_s=0.5)),
    "same slices": ("distinct", same_slices),
    "no components": ("whole", lambda d: [d.components.remove(row) for row in parts(d, d.mixtures[0])]),
    "mixture missing": ("whole", lambda d: d.mixtures.pop()),
    "mixture twice": ("whole", lambda d: d.mixtures.append(d.mixtures[0])),
    "too few mixtures": ("whole", lambda d: params(d, train_mixtures=121)),
    "slice unknown": ("slices", lambda d: d.annotations.remove(annotation(d, d.components[0]))),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_promise_is_named(kept, name):
    promise, spoil = BREAKAGES[name]
    data = copy.deepcopy(kept["dastgah+bpm"])
    spoil(data)
    broken = defects(data)
    assert promise in {defect.promise for defect in broken}
    with pytest.raises(TarkibError, match=rf"break {len(broken)} promise.*nothing was kept:\n.*: {promise}: "):
        verification.raise_if_any(sorted(broken, key=lambda defect: defect.promise != promise))


@pytest.mark.parametrize(
    ("mode", "column", "factor", "promise"),
    [("bpm", "dastgah", 1, "dastgah"), ("dastgah", "bpm", 2.02, "tempo"), ("dastgah", "stretch", 1.05, "stretch")],
)
def test_modes_keep_dastgahs_or_tempi_apart_and_as_recorded(kept, mode, column, factor, promise):
    data = copy.deepcopy(kept[mode])
    pairs = ([part for part in parts(data, mixture) if part[column]][:2] for mixture in data.mixtures)
    row, other = next(pair for pair in pairs if len(pair) == 2)
    other[column] = annotation(data, other)[column] = row[column] * factor
    assert (row["mixture_id"], promise) in {(defect.mixture_id, defect.promise) for defect in defects(data)}


def test_tonics_rooms_and_beats(defaults):
    data = data_set(defaults, align_tonic=True, reverb=True, align_beats=True)
    row = next(row for row in data.components if row["shift_cents"] > 20)
    row["shift_cents"] -= 5
    data.mixtures[3]["room_rt60_s"], data.mixtures[4]["room_wet_db"] = None, 3.0
    late = next(row for row in data.components if row["offset_s"] and sum(p["metered"] for p in parts(data, row)) > 1)
    late["offset_s"] += 60 / late["bpm"] / 4
    broken = [(row["mixture_id"], "tonic"), (late["mixture_id"], "beats")]
    broken += [("train-000003", "room"), ("train-000004", "room")]
    assert set(broken) <= {(defect.mixture_id, defect.promise) for defect in defects(data)}
    row["shift_cents"] = 300.0
    assert any("250 is the most" in defect.sentence for defect in defects(data))


def test_fewer_instruments_than_the_minimum_if_no_more_can_play(defaults):
    """As where a piano has no dastgah."""
    material = {"instruments": ("tar", "ney", "tonbak", "piano"), "slices": 2}
    data = data_set(defaults, material, without="piano", mode="random", min_instruments=4)
    assert {len(row["instruments"]) for row in data.mixtures} == {3}
    assert defects(data) == []
    whole = data_set(defaults, material, mode="random", min_instruments=4)
    assert {len(row["instruments"]) for row in whole.mixtures} == {4}
    data.annotations = whole.annotations
    assert "labels" in {defect.promise for defect in defects(data)}


def test_many_defects_are_counted():
    assert verification.raise_if_any([]) is None
    many = [verification.Defect(f"train-{i:06d}", "gain" if i % 3 else "labels", "wrong") for i in range(99)]
    with pytest.raises(TarkibError, match=re.escape("break 99 promises")) as refused:
        verification.raise_if_any(many)
    lines = [line.strip() for line in str(refused.value).splitlines()]
    assert (lines[1], lines[-1]) == ("train-000000: labels: wrong", "... 66 of gain, 33 of labels in all")
