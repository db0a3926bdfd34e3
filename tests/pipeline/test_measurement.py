"""The sound of the small project's mixtures, checked against their rows and against the truth of the orchestra."""

import csv
import dataclasses
import functools

import numpy as np
import pytest

from tarkib import params, tables
from tarkib.annotation import evidence, octaves, tempo
from tarkib.audio import CLIP_SAMPLES
from tarkib.audio.clips import ClipStore
from tarkib.mixing import measurement, recipes, rendering
from tarkib.params import Annotate

pytestmark = pytest.mark.slow

SHARP = {"tar", "santur", "tonbak"}


@pytest.fixture(scope="module")
def made(mixed):
    """Mixtures, components, slices, annotations and recordings of the small project."""
    data, names = mixed / "data", ("mixtures/mixtures", "mixtures/components", "slices/slices")
    readers = (tables.MIXTURES, tables.COMPONENTS, tables.SLICES, tables.ANNOTATIONS, tables.RECORDINGS)
    files = (data / f"{name}.parquet" for name in (*names, "annotations", "slices/recordings"))
    return [table.read(file) for table, file in zip(readers, files, strict=True)]


@pytest.fixture(scope="module")
def renderer(mixed, made):
    with ClipStore(mixed / "data/slices") as store:
        yield rendering.Renderer(store, rendering.places(made[2]))


@pytest.fixture(scope="module")
def augment(mixed):
    return params.load(mixed / "params.yaml").augment


def play(monkeypatch, how) -> None:
    """Stretch and transpose components in another way: `how(stretch, samples, factor, cents)`."""
    monkeypatch.setattr(rendering, "stretch", functools.partial(how, rendering.stretch))


@pytest.fixture(scope="module")
def stretched(recordings, made, augment):
    """Stretched components of sharp instruments whose tempo was estimated rightly: their rows and targets."""
    _, _, slices, annotations, recording_rows = made
    with (recordings / "truth.csv").open() as file:
        truth = {row["path"].removeprefix("raw/"): row["bpm"] for row in csv.DictReader(file)}
    true_bpm = {row["recording_id"]: truth[row["path"]] for row in recording_rows}
    settings = dataclasses.replace(augment, mode="bpm", train_mixtures=150, min_instruments=2)
    sources = recipes.join(slices, annotations, recording_rows)["train"]
    mixtures, components = recipes.draw("train", sources, settings)
    targets = {row["mixture_id"]: row["target_bpm"] for row in mixtures}
    rows = []
    for row in components:
        true = true_bpm[row["recording_id"]]
        right = row["metered"] and true and octaves.apart(row["bpm"], float(true)) < np.log2(1.04)
        if right and row["instrument"] in SHARP and abs(np.log(row["stretch"])) > 0.06:
            rows.append((row, targets[row["mixture_id"]]))
    assert len(rows) >= 25
    return rows


def share_at_the_target(renderer, stretched) -> float:
    """Share of components whose tempo, estimated from their sound alone, is the target's: within 4 %, modulo octave."""
    right = []
    for row, target in stretched:
        bpm, _ = tempo.track(evidence.extract([renderer.component(row)]).onset, Annotate()).at(2.5)
        right.append(octaves.apart(bpm, target) < np.log2(1.04))
    return float(np.mean(right))


def test_stretched_drums_and_plucked_strings_have_the_target_tempo(renderer, stretched, monkeypatch):
    assert share_at_the_target(renderer, stretched) >= 0.8
    # The original's defect: tempi move apart.
    play(monkeypatch, lambda stretch, samples, factor, cents: stretch(samples, 1 / factor, cents))
    assert share_at_the_target(renderer, stretched) <= 0.3


@pytest.fixture(scope="module")
def solo(renderer, made):
    """Ten seconds of a tar."""
    tar = [row["slice_id"] for row in made[2] if row["instrument"] == "tar" and row["number"] == 1]
    return np.concatenate(renderer.around(tar[0]))


@pytest.mark.parametrize(("factor", "cents"), [(0.8, -250.0), (1.0, 0.0), (1.07, 130.0), (1.25, 0.0)])
def test_speed_and_transposition_are_measured(solo, factor, cents):
    recording = solo[: round(1.1 * factor * CLIP_SAMPLES)]
    played = rendering.stretch(solo, factor)[:CLIP_SAMPLES]
    speed = measurement.speed(recording, played, 1.25, factor)
    assert speed.value == pytest.approx(factor, rel=0.01)
    assert speed.correlation > 0.8
    assert speed.lead < 0.03
    assert not speed.contradicts(factor, 0.04)
    assert measurement.speed(recording, played, 1.25, factor * 1.1).contradicts(factor * 1.1, 0.04)
    moved = rendering.stretch(solo, 1.1, cents)[:CLIP_SAMPLES]
    notes = measurement.transposition(solo[: round(1.1 * CLIP_SAMPLES)], moved, cents)
    assert notes.value == pytest.approx(cents, abs=25)
    assert notes.correlation > 0.7
    assert not notes.contradicts(cents, 50.0)


@pytest.mark.parametrize("samples", [np.zeros(CLIP_SAMPLES, np.float32), np.zeros(10, np.float32)])
def test_silence_is_not_measured(samples):
    assert not measurement.speed(samples, samples, 1.25, 1.0).reliable
    assert not measurement.transposition(samples, samples, 0.0).reliable


@pytest.mark.parametrize("second", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("factor", [0.85, 1.2])
def test_one_stroke_at_the_beginning_contradicts_no_speed(second, factor):
    """The last stroke of a solo, just after a slice begins, would be as likely at any speed."""
    rng = np.random.default_rng(5)
    stroke = rng.standard_normal(9_600) * np.exp(-np.arange(9_600) / 1_200)
    recording = (rng.standard_normal(2 * CLIP_SAMPLES) * 1e-4).astype(np.float32)
    begin = round(second * 24_000)
    recording[begin : begin + stroke.size] += stroke.astype(np.float32) * 0.3
    played = rendering.component(np.zeros(0, np.float32), *np.split(recording, 2), factor=factor)
    assert not measurement.speed(recording, played, 1.25, factor).contradicts(factor, 0.04 * factor)


def test_a_transposition_the_wrong_way_is_measured(mixed, made, renderer, augment, tmp_path, monkeypatch):
    _, _, slices, annotations, recording_rows = made
    settings = dataclasses.replace(augment, align_tonic=True, train_mixtures=12, min_instruments=2)
    # Any tonics will do, if only they differ.
    sources = [
        dataclasses.replace(source, tonic_hz=200.0 + 7 * (i % 8) if source.pitched else None)
        for i, source in enumerate(recipes.join(slices, annotations, recording_rows)["train"])
    ]
    mixtures, components = recipes.draw("train", sources, settings)
    (job,) = rendering.plan(tmp_path, mixed / "data/slices", mixtures, components, slices)
    rows = rendering.render_shard(job)
    assert measurement.measure(tmp_path, renderer, rows, components, settings).defects == []
    play(monkeypatch, lambda stretch, samples, factor, cents: stretch(samples, factor, -cents))
    defects = measurement.measure(tmp_path, renderer, rows, components, settings).defects
    shifted = {row["mixture_id"] for row in components if abs(row["shift_cents"]) > 30}
    assert len(shifted) > 4
    assert {defect.mixture_id for defect in defects if defect.promise == "notes"} == shifted
