"""What the small project's mixtures sound like, held against their rows and against the truth of the orchestra."""

import csv
import dataclasses

import numpy as np
import pytest

from tarkib import params, tables
from tarkib.annotation import octaves, tempo
from tarkib.annotation.onset import onset_strength
from tarkib.audio import CLIP_SAMPLES, clips
from tarkib.audio.clips import ClipStore
from tarkib.mixing import listening, material, recipes, rendering, verification

SHARP = {"tar", "santur", "tonbak"}


@pytest.fixture(scope="module")
def made(finished):
    """Tables of the small project."""
    mixtures = tables.MIXTURES.read(finished / "data/mixtures/mixtures.parquet")
    components = tables.COMPONENTS.read(finished / "data/mixtures/components.parquet")
    return mixtures, components, tables.SLICES.read(finished / "data/slices/slices.parquet")


@pytest.fixture
def renderer(finished, made):
    with ClipStore(finished / "data/slices") as store:
        yield rendering.Renderer(store, rendering.places(made[2]))


@pytest.fixture
def augment(finished):
    return params.load(finished / "params.yaml").augment


def test_the_project_sounds_as_its_rows_say(finished, made, renderer, augment):
    mixtures, components, _ = made
    heard = listening.listen(finished / "data/mixtures", renderer, mixtures, components, augment)
    assert heard.defects == []
    assert heard.mixtures == len(mixtures)
    assert heard.speeds > 0.9 * len(components)
    assert heard.speeds + heard.untold == len(components)
    assert f"listened to {len(mixtures)} mixtures: heard how fast {heard.speeds} components" in heard.summary()


def test_a_rate_upside_down_is_heard(finished, made, renderer, augment, monkeypatch):
    """The original's defect: tempi move apart."""
    mixtures, components, _ = made
    stretch = rendering.stretch
    monkeypatch.setattr(rendering, "stretch", lambda samples, factor, cents: stretch(samples, 1 / factor, cents))
    heard = listening.listen(finished / "data/mixtures", renderer, mixtures, components, augment)
    wrong = {one.mixture_id for one in heard.defects if one.promise == "speed"}
    stretched = {one["mixture_id"] for one in components if abs(np.log(one["stretch"])) > 0.04}
    assert len(stretched) > 8
    assert len(stretched - wrong) <= 0.1 * len(stretched)
    assert {one.mixture_id for one in heard.defects if one.promise == "sound"} >= stretched


def spoilt(finished, mixtures, folder, change):
    """A copy of the mixtures' shard with each clip changed."""
    with ClipStore(finished / "data/mixtures") as store:
        sounds = [
            (row["mixture_id"], change(store.read(clips.Place(row["shard"], row["offset"], row["size"]))))
            for row in mixtures
        ]
    places = list(clips.write_shard(folder / "shard-00000.tar", sounds))
    return [{**row, **place._asdict()} for row, place in zip(mixtures, places, strict=True)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda samples: samples * 0.9, "is not what its rows give"),
        (lambda samples: samples[:-1], "has 119999 samples, not 120000"),
        (lambda samples: samples / np.abs(samples).max() * 0.95, "peaks at -0.4"),
    ],
)
def test_other_sound_than_the_rows_give_is_found(finished, made, renderer, augment, tmp_path, change, found):
    mixtures, components, _ = made
    rows = spoilt(finished, mixtures[:3], tmp_path, change)
    heard = listening.listen(tmp_path, renderer, rows, components, augment)
    assert {one.mixture_id for one in heard.defects if found in one.found} == {row["mixture_id"] for row in rows}


@pytest.fixture(scope="module")
def stretched(recordings, finished, made):
    """Stretched components of sharp instruments whose true tempo was found: their rows and targets."""
    _, _, slices = made
    with (recordings / "truth.csv").open() as file:
        truth = {row["path"].removeprefix("raw/"): row for row in csv.DictReader(file)}
    recording_rows = tables.RECORDINGS.read(finished / "data/slices/recordings.parquet")
    paths = {row["recording_id"]: row["path"] for row in recording_rows}
    annotations = tables.ANNOTATIONS.read(finished / "data/annotations.parquet")
    settings = dataclasses.replace(
        params.load(finished / "params.yaml").augment, mode="bpm", train_mixtures=150, min_instruments=2
    )
    sources = material.join(slices, annotations, recording_rows)["train"]
    mixtures, components = recipes.draw("train", sources, settings)
    targets = {row["mixture_id"]: row["target_bpm"] for row in mixtures}
    rows = []
    for row in components:
        known = truth[paths[row["slice_id"].rsplit("-", 1)[0]]]
        found = row["metered"] and known["bpm"] and octaves.apart(row["bpm"], float(known["bpm"])) < np.log2(1.04)
        if row["instrument"] in SHARP and abs(np.log(row["stretch"])) > 0.06 and found:
            rows.append((row, targets[row["mixture_id"]]))
    assert len(rows) >= 25
    return rows


def share_at_the_target(renderer, stretched) -> float:
    """Share of components whose tempo, estimated from their sound alone, is the target's: within 4 %, modulo octave."""
    ranges = {"min_bpm": 50.0, "max_bpm": 200.0, "prior_bpm": 100.0, "prior_octaves": 0.9}
    right = []
    for row, target in stretched:
        heard, _ = tempo.track(onset_strength(renderer.component(row)), **ranges).at(2.5)
        right.append(octaves.apart(heard, target) < np.log2(1.04))
    return float(np.mean(right))


def test_stretched_drums_and_plucked_strings_carry_the_target_tempo(renderer, stretched):
    assert share_at_the_target(renderer, stretched) >= 0.8


def test_upside_down_they_do_not(renderer, stretched, monkeypatch):
    stretch = rendering.stretch
    monkeypatch.setattr(rendering, "stretch", lambda samples, factor, cents: stretch(samples, 1 / factor, cents))
    assert share_at_the_target(renderer, stretched) <= 0.3


@pytest.fixture
def solo(renderer, made):
    """Fifteen seconds of a tar."""
    _, components, _ = made
    slice_id = next(row["slice_id"] for row in components if row["instrument"] == "tar")
    return np.concatenate([renderer.slice(material.neighbour(slice_id, step)) for step in (-1, 0, 1)])


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.0, 1.07, 1.25])
def test_a_speed_is_heard(solo, factor):
    played = rendering.stretch(solo, factor)[:CLIP_SAMPLES]
    heard = listening.speed(solo[: round(1.1 * factor * CLIP_SAMPLES)], played, 1.25, factor)
    assert heard.value == pytest.approx(factor, rel=0.01)
    assert heard.likeness > 0.8
    assert heard.lead < 0.01
    assert not heard.denies(factor, 0.04)
    assert listening.speed(solo[: round(1.1 * factor * CLIP_SAMPLES)], played, 1.25, factor * 1.1).denies(
        factor * 1.1, 0.04
    )


@pytest.mark.parametrize("cents", [-250.0, -60.0, 0.0, 130.0, 250.0])
def test_a_transposition_is_heard(solo, cents):
    played = rendering.stretch(solo, 1.1, cents)[:CLIP_SAMPLES]
    heard = listening.transposition(solo[: round(1.1 * CLIP_SAMPLES)], played, cents)
    assert heard.value == pytest.approx(cents, abs=25)
    assert heard.likeness > 0.7
    assert not heard.denies(cents, 50.0)


@pytest.mark.parametrize("samples", [np.zeros(CLIP_SAMPLES, np.float32), np.zeros(10, np.float32)])
def test_of_silence_nothing_is_told(samples):
    assert not listening.speed(samples, samples, 1.25, 1.0).told
    assert not listening.transposition(samples, samples, 0.0).told


@pytest.mark.parametrize("at", [0.03, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("factor", [0.85, 1.2])
def test_one_stroke_at_the_beginning_denies_no_speed(at, factor):
    """The last stroke of a solo, just after a slice begins, would be as likely at any speed."""
    rng = np.random.default_rng(5)
    stroke = rng.standard_normal(9_600) * np.exp(-np.arange(9_600) / 1_200)
    recording = (rng.standard_normal(2 * CLIP_SAMPLES) * 1e-4).astype(np.float32)
    begin = round(at * 24_000)
    recording[begin : begin + stroke.size] += stroke.astype(np.float32) * 0.3
    played = rendering.component(np.zeros(0, np.float32), *np.split(recording, 2), factor=factor)
    assert not listening.speed(recording, played, 1.25, factor).denies(factor, 0.04 * factor)


def test_a_transposition_the_wrong_way_is_heard(finished, made, renderer, augment, tmp_path, monkeypatch):
    _, _, slices = made
    settings = dataclasses.replace(augment, align_tonic=True, train_mixtures=12, min_instruments=2)
    annotations = tables.ANNOTATIONS.read(finished / "data/annotations.parquet")
    recording_rows = tables.RECORDINGS.read(finished / "data/slices/recordings.parquet")
    # Which tonic is right does not matter here, only that there is one to move.
    sources = [
        dataclasses.replace(one, tonic_hz=200.0 + 7 * (i % 8) if one.pitched else None)
        for i, one in enumerate(material.join(slices, annotations, recording_rows)["train"])
    ]
    mixtures, components = recipes.draw("train", sources, settings)
    (job,) = rendering.plan(tmp_path, finished / "data/slices", mixtures, components, slices)
    rows = rendering.render_shard(job)
    assert listening.listen(tmp_path, renderer, rows, components, settings).defects == []
    stretch = rendering.stretch
    monkeypatch.setattr(rendering, "stretch", lambda samples, factor, cents: stretch(samples, factor, -cents))
    found = listening.listen(tmp_path, renderer, rows, components, settings).defects
    shifted = {row["mixture_id"] for row in components if abs(row["shift_cents"]) > 30}
    assert len(shifted) > 4
    assert {one.mixture_id for one in found if one.promise == "notes"} == shifted


def test_the_checker_agrees_with_the_stage(finished, made, augment):
    mixtures, components, slices = made
    annotations = tables.ANNOTATIONS.read(finished / "data/annotations.parquet")
    assert verification.verify(mixtures, components, annotations, slices, augment) == []
