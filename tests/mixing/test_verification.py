"""Each promise is broken on purpose, one at a time, in data that keep them all: the checker must name it."""

import copy
import dataclasses

import pytest
from orchestra import orchestra

from tarkib.errors import TarkibError
from tarkib.mixing import recipes, verification
from tarkib.params import MODES

SPLITS = {"train": 0, "validation": 1}


@pytest.fixture
def params(defaults):
    return dataclasses.replace(defaults.augment, train_mixtures=120, validation_mixtures=30, min_instruments=2)


def data_set(params, material=None, without=None, **changes):
    """Tables of a whole data set as the stage would write them, but for the clips' places, and its parameters."""
    params = dataclasses.replace(params, **changes)
    slices, annotations, mixtures, components = [], [], [], []
    for split, seed in SPLITS.items():
        sources = [
            dataclasses.replace(one, slice_id=f"{split}-{one.slice_id}", beat_s=0.2 if one.bpm else None)
            for one in orchestra(**{"recordings": 14, "slices": 3, **(material or {})}, seed=seed)
        ]
        sources = [dataclasses.replace(one, dastgah=None) if one.instrument == without else one for one in sources]
        known = {one.slice_id for one in sources}
        sources = [
            dataclasses.replace(
                one,
                sounding_s=(
                    -5.0 * (verification.neighbour(one.slice_id, -1) in known),
                    5.0 + 5.0 * (verification.neighbour(one.slice_id, 1) in known),
                ),
            )
            for one in sources
        ]
        for one in sources:
            recording_id = one.slice_id.rsplit("-", 1)[0]
            slices.append(
                {"slice_id": one.slice_id, "recording_id": recording_id, "instrument": one.instrument, "split": split}
            )
            about = {"slice_id": one.slice_id, "bpm": one.bpm, "beat_s": one.beat_s}
            annotations.append({**about, "tonic_hz": one.tonic_hz, "dastgah": one.dastgah})
        some_mixtures, some_components = recipes.draw(split, sources, params)
        mixtures += some_mixtures
        components += some_components
    return mixtures, components, annotations, slices, params


EXTRAS = [{}, {"align_tonic": True}, {"align_beats": True}, {"reverb": True}, {"ensembles": "traditional"}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("extra", EXTRAS, ids=str)
def test_what_was_drawn_keeps_every_promise(params, mode, extra):
    assert verification.verify(*data_set(params, mode=mode, **extra)) == []


def first(rows, **columns):
    """The first row with these columns, or for which functions of them are true."""
    return next(
        row
        for row in rows
        if all(value(row[name]) if callable(value) else row[name] == value for name, value in columns.items())
    )


def is_(wanted):
    return lambda value: (value is not None) == wanted


def break_label(d):
    d.mixtures[0]["instruments"] = d.mixtures[0]["instruments"][::-1]


def break_label_by_one_too_few(d):
    d.mixtures[0]["instruments"] = d.mixtures[0]["instruments"][1:]


def break_solo(d):
    row = first(d.components)
    d.components.append({**row, "slice_id": first(d.slices, instrument=row["instrument"], split="train")["slice_id"]})
    d.mixtures[0]["instruments"].append(row["instrument"])


def break_misspelt(d):
    row = d.components[0]
    for table in (d.slices, d.components):
        for one in table:
            if one["slice_id"] == row["slice_id"]:
                one["instrument"] = "kamanched"
    d.mixtures[0]["instruments"][0] = "kamanched"


def break_instrument(d):
    first(d.slices, slice_id=d.components[0]["slice_id"])["instrument"] = "avaz"


def break_size(d):
    d.params = dataclasses.replace(d.params, max_instruments=4)


def break_least(d):
    d.params = dataclasses.replace(d.params, min_instruments=3)


def break_split(d):
    one = next(row for row in d.components if row["mixture_id"].startswith("validation"))
    other = first(d.slices, instrument=one["instrument"], split="train")
    one["slice_id"] = other["slice_id"]


def break_recording(d):
    d.slices[1]["split"] = "validation"


def break_dastgah(d):
    row = next(row for row in d.components if row["dastgah"] and d.count(row) > 2)
    row["dastgah"] = "nava" if row["dastgah"] != "nava" else "shur"
    first(d.annotations, slice_id=row["slice_id"])["dastgah"] = row["dastgah"]


def break_told_dastgah(d):
    first(d.mixtures, dastgah=is_(True))["dastgah"] = None


def break_unknown_dastgah(d):
    row = first(d.components, dastgah=is_(True))
    first(d.annotations, slice_id=row["slice_id"])["dastgah"] = None


def break_mode(d):
    d.mixtures[0]["mode"] = "random"


def break_target(d):
    d.mixtures[first_metered(d)]["target_bpm"] *= 1.02


def first_metered(d):
    return next(i for i, row in enumerate(d.mixtures) if row["target_bpm"])


def break_no_target(d):
    d.mixtures[first_metered(d)]["target_bpm"] = None


def break_rate(d):
    """Upside down, as in the original."""
    for row in d.components:
        row["stretch"] = round(1 / row["stretch"], 6)


def break_bpm(d):
    first(d.components, bpm=is_(True))["bpm"] *= 1.01


def break_metered(d):
    first(d.components, metered=True)["metered"] = False


def break_range(d):
    d.params = dataclasses.replace(d.params, max_stretch=1.1)


def break_free(d):
    first(d.components, metered=False)["stretch"] = 1.1


def break_shift(d):
    d.components[0]["shift_cents"] = 100.0


def break_gain(d):
    d.components[0]["gain_db"] = -6.5


def break_gain_by_nan(d):
    d.components[0]["gain_db"] = float("nan")


def break_offset(d):
    d.components[0]["offset_s"] = 9.0


def break_early_offset(d):
    first(d.components, slice_id=lambda name: name.endswith("-0000"))["offset_s"] = -1.0


def break_room(d):
    d.mixtures[0]["room_rt60_s"] = 0.5


def break_distinct(d):
    """Two mixtures of the same slices, with gains of their own."""
    one, other = d.mixtures[0], d.mixtures[1]
    copies = [{**row, "mixture_id": other["mixture_id"], "gain_db": 0.0} for row in d.of(one)]
    d.components[:] = [row for row in d.components if row["mixture_id"] != other["mixture_id"]] + copies
    other |= {name: one[name] for name in ("instruments", "target_bpm", "dastgah")}


def break_components(d):
    d.components[:] = [row for row in d.components if row["mixture_id"] != d.mixtures[0]["mixture_id"]]


def break_mixtures(d):
    d.mixtures.pop()


def break_twice(d):
    d.mixtures.append(d.mixtures[0])


def break_count(d):
    d.params = dataclasses.replace(d.params, train_mixtures=121)


def break_slices(d):
    d.annotations[:] = [row for row in d.annotations if row["slice_id"] != d.components[0]["slice_id"]]


BREAKAGES = [
    (break_label, "labels"),
    (break_label_by_one_too_few, "labels"),
    (break_solo, "labels"),
    (break_misspelt, "labels"),
    (break_size, "labels"),
    (break_least, "labels"),
    (break_instrument, "source"),
    (break_bpm, "source"),
    (break_metered, "source"),
    (break_unknown_dastgah, "source"),
    (break_split, "split"),
    (break_recording, "split"),
    (break_dastgah, "dastgah"),
    (break_told_dastgah, "dastgah"),
    (break_mode, "dastgah"),
    (break_target, "tempo"),
    (break_no_target, "tempo"),
    (break_rate, "tempo"),
    (break_range, "stretch"),
    (break_free, "stretch"),
    (break_shift, "shift"),
    (break_gain, "gain"),
    (break_gain_by_nan, "gain"),
    (break_offset, "offset"),
    (break_early_offset, "offset"),
    (break_room, "room"),
    (break_distinct, "distinct"),
    (break_components, "whole"),
    (break_mixtures, "whole"),
    (break_twice, "whole"),
    (break_count, "whole"),
    (break_slices, "slices"),
]


class Data:
    """A data set to be spoilt."""

    def __init__(self, tables):
        self.mixtures, self.components, self.annotations, self.slices, self.params = copy.deepcopy(tables)

    def of(self, mixture):
        return [row for row in self.components if row["mixture_id"] == mixture["mixture_id"]]

    def count(self, row):
        """How many pitched components play together with one."""
        return sum(one["dastgah"] is not None for one in self.of(row))

    def defects(self):
        return verification.verify(self.mixtures, self.components, self.annotations, self.slices, self.params)


@pytest.fixture(scope="module")
def kept(defaults):
    """Data sets of all modes, made once."""
    params = dataclasses.replace(defaults.augment, train_mixtures=120, validation_mixtures=30, min_instruments=2)
    return {mode: data_set(params, mode=mode) for mode in MODES}


@pytest.mark.parametrize(("spoil", "promise"), BREAKAGES, ids=lambda one: getattr(one, "__name__", one))
def test_a_broken_promise_is_found(kept, spoil, promise):
    data = Data(kept["dastgah+bpm"])
    spoil(data)
    found = data.defects()
    assert promise in {one.promise for one in found}
    with pytest.raises(TarkibError, match=rf"break {len(found)} promise.*nothing was kept:\n.*: {promise}: "):
        verification.refuse(sorted(found, key=lambda one: one.promise != promise))


def test_mode_bpm_with_one_dastgah_twice(kept):
    data = Data(kept["bpm"])
    row = next(row for row in data.components if row["dastgah"] and data.count(row) > 1)
    other = next(one for one in data.of(row) if one["dastgah"] not in (None, row["dastgah"]))
    for one in (other, first(data.annotations, slice_id=other["slice_id"])):
        one["dastgah"] = row["dastgah"]
    assert (row["mixture_id"], "dastgah") in {(one.mixture_id, one.promise) for one in data.defects()}


def test_mode_dastgah_with_one_tempo_twice(kept):
    data = Data(kept["dastgah"])
    row = next(row for row in data.components if sum(one["metered"] for one in data.of(row)) > 1 and row["metered"])
    other = next(one for one in data.of(row) if one["metered"] and one is not row)
    for one in (other, first(data.annotations, slice_id=other["slice_id"])):
        one["bpm"] = row["bpm"] * 2.02
    assert (row["mixture_id"], "tempo") in {(one.mixture_id, one.promise) for one in data.defects()}


@pytest.mark.parametrize("mode", ["random", "dastgah"])
def test_modes_without_one_tempo_stretch_nothing(kept, mode):
    data = Data(kept[mode])
    row = first(data.components, metered=True)
    row["stretch"] = 1.05
    assert "stretch" in {one.promise for one in data.defects()}


def test_tonics_that_are_not_one(params):
    data = Data(data_set(params, align_tonic=True))
    row = next(row for row in data.components if row["shift_cents"] > 20)
    row["shift_cents"] -= 5
    assert [(one.mixture_id, one.promise) for one in data.defects()] == [(row["mixture_id"], "shift")]
    row["shift_cents"] = 300.0
    assert any("250 is the most" in one.found for one in data.defects())


def test_beats_that_do_not_fall_together(params):
    data = Data(data_set(params, align_beats=True))
    row = next(row for row in data.components if row["offset_s"] and sum(one["metered"] for one in data.of(row)) > 1)
    row["offset_s"] += 60 / row["bpm"] / 4
    assert ("beats", row["mixture_id"]) in {(one.promise, one.mixture_id) for one in data.defects()}


def test_where_few_instruments_can_play_they_all_do(params):
    """Fewer than `min_instruments` are right where no more can play, say where a piano has no dastgah."""
    material = {"instruments": ("tar", "ney", "tonbak", "piano"), "slices": 2}
    tables = data_set(params, material, without="piano", mode="random", min_instruments=4)
    assert {len(row["instruments"]) for row in tables[0]} == {3}
    assert verification.verify(*tables) == []
    whole = data_set(params, material, mode="random", min_instruments=4)
    assert {len(row["instruments"]) for row in whole[0]} == {4}
    found = verification.verify(*tables[:2], *whole[2:])
    assert "labels" in {one.promise for one in found}


def test_a_missing_room(params):
    data = Data(data_set(params, reverb=True))
    data.mixtures[3]["room_rt60_s"] = None
    data.mixtures[4]["room_wet_db"] = 3.0
    assert [one.promise for one in data.defects()] == ["room", "room"]


def test_nothing_broken_is_no_error():
    assert verification.refuse([]) is None


def test_many_defects_are_counted():
    some = [verification.Defect(f"train-{i:06d}", "gain" if i % 3 else "labels", "wrong") for i in range(99)]
    with pytest.raises(TarkibError) as refused:
        verification.refuse(some)
    lines = str(refused.value).splitlines()
    assert "break 99 promise(s)" in lines[0]
    assert lines[1].strip() == "train-000000: labels: wrong"
    assert lines[-1].strip() == "... 66 of gain, 33 of labels in all"
