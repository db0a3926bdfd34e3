import csv
import sys

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY, noise, write

sys.path.insert(0, str(REPOSITORY))

from benchmarks import real, real_tables, solos
from benchmarks.solos import BUILDING, ONCE, Solo
from tarkib import params, tables
from tarkib.recordings import finding
from tarkib.runtime import project
from tarkib.vocabulary import INSTRUMENTS

NEY, TAR = INSTRUMENTS.index("ney"), INSTRUMENTS.index("tar")

# Player, instrument and seconds of each recording.
PLAYED = [
    *[("B", "ney", 20.0)] * 2,
    *[("A", "setar", 30.0)] * 3,
    ("B", "avaz", 40.0),
    *[("C", "ney", 10.0)] * 2,
    ("D", "avaz", 9.0),
    ("E", "tar", 8.0),
]


def manifest(folder, rows, columns=("file", "instruments", "performer", "seconds", "source")):
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def played():
    return [Solo(f"raw/{name}/{i}.wav", name, who, seconds) for i, (who, name, seconds) in enumerate(PLAYED)]


def targets(*classes):
    return np.eye(10)[list(classes)]


def scores(*rows):
    """Probabilities of clips from those of ney and tar; the other instruments' are 0."""
    found = np.zeros((len(rows), 10))
    found[:, [NEY, TAR]] = rows
    return found


@pytest.mark.slow
def test_real_recordings_are_all_to_train_and_the_demo_is_split_as_without(tmp_path, defaults, monkeypatch):
    roots = tables.Roots(own=tmp_path / "real", demo=tmp_path / "demo")
    for seed, path in enumerate((*(f"demo/ney/{k}.wav" for k in "abcde"), "real/ney/a.wav", "real/ney/b.wav")):
        write(tmp_path / path, noise(6, seed))
    monkeypatch.chdir(tmp_path)
    splits = []
    for name in ("with", "without"):
        (tmp_path / name / project.SLICES).mkdir(parents=True)
        recordings = finding.find(roots.own) if name == "with" else []
        real._slice_and_annotate(defaults, roots, recordings, tmp_path / name)
        rows = tables.SLICES.read(tmp_path / name / project.SLICES / "slices.parquet")
        annotations = tables.ANNOTATIONS.read(tmp_path / name / project.ANNOTATIONS)
        assert [row["slice_id"] for row in rows] == [row["slice_id"] for row in annotations]
        splits.append({row["slice_id"]: (row["origin"], row["split"]) for row in rows})
    assert splits[1].items() <= splits[0].items()
    assert sorted(splits[0].values()) == [
        *[("demo", "train")] * 4,
        ("demo", "validation"),
        *[("own", "train")] * 2,
    ]


def test_solos_come_from_the_manifest(tmp_path):
    rows = [
        ("raw/ney/a.wav", "نی", "P", "12.5", "corpus"),
        ("pitchsets/ney/b.wav", "ney", "P", "3", "corpus"),
        ("raw/tar/c.wav", "tar", "", "4", "notes"),
    ]
    manifest(tmp_path, rows)
    assert solos.read(tmp_path) == [
        Solo("raw/ney/a.wav", "ney", "P", 12.5),
        Solo("raw/tar/c.wav", "tar", "notes, tar", 4.0),
    ]


def test_a_player_is_in_one_half_whatever_the_order():
    found = solos.halves(played())
    # A has as many recordings as B, but longer ones; C and D go where B does not play; E goes where there are fewer.
    players = {half: {solo.player for solo in some} for half, some in found.items()}
    assert players == {BUILDING: {"A", "C", "D"}, ONCE: {"B", "E"}}
    assert solos.halves(played()[::-1]) == found


def test_clips_are_cut_from_the_start_and_keep_their_recording(tmp_path):
    (tmp_path / "raw").mkdir()
    rng = np.random.default_rng(1)
    files = {"raw/a.wav": ("ney", 12.0), "raw/b.wav": ("tar", 1.0)}
    for file, (_, seconds) in files.items():
        soundfile.write(tmp_path / file, rng.uniform(-0.1, 0.1, round(seconds * 24_000)), 24_000)
    found = solos.clips(tmp_path, [Solo(file, name, "P", seconds) for file, (name, seconds) in files.items()])
    # The last 2 s of the first are less than half a clip.
    assert found.recordings == ["raw/a.wav", "raw/a.wav", "raw/b.wav"]
    assert len(found.windows) == 3
    np.testing.assert_array_equal(found.targets, targets(NEY, NEY, TAR))


def test_figures_with_known_answers():
    # Ney: two of three clips score highest for ney. Tar: one clip, and it scores highest for tar.
    truth = targets(NEY, NEY, NEY, TAR)
    heard = scores((0.9, 0.1), (0.8, 0.2), (0.3, 0.7), (0.4, 0.6))
    found = solos.score(truth, heard[np.newaxis], ["a", "a", "b", "c"], np.random.default_rng(1))
    recall, area = found["class_recall"].value, found["class_roc_auc"].value
    assert recall[[NEY, TAR]] == pytest.approx([2 / 3, 1])
    assert area[[NEY, TAR]] == pytest.approx([2 / 3, 2 / 3])
    assert np.isnan(np.delete(recall, [NEY, TAR])).all()
    assert found["top1"].value == pytest.approx(5 / 6)
    assert found["roc_auc"].value == pytest.approx(2 / 3)


def test_figures_are_means_over_models():
    truth = targets(NEY, TAR)
    right, wrong = scores((0.9, 0.1), (0.1, 0.9)), scores((0.1, 0.9), (0.9, 0.1))
    (top1,) = solos.Statistic(truth, np.array([right, right, wrong]))(np.ones((1, 2)))["top1"]
    assert top1 == pytest.approx(2 / 3)


def test_intervals_draw_whole_recordings():
    # Ten clips of each of two ney recordings, one all right and one all wrong: the recall of a resample is 0, 0.5 or 1.
    truth = targets(*[NEY] * 20, TAR)
    heard = scores(*[(0.9, 0.1)] * 10, *[(0.1, 0.9)] * 10, (0.1, 0.9))
    recordings = ["a"] * 10 + ["b"] * 10 + ["c"]
    found = solos.score(truth, heard[np.newaxis], recordings, np.random.default_rng(1))["class_recall"]
    assert (found.value[NEY], found.low[NEY], found.high[NEY]) == (0.5, 0.0, 1.0)
    # Twenty recordings of a clip each say much more.
    many = [*map(str, range(20)), "c"]
    narrow = solos.score(truth, heard[np.newaxis], many, np.random.default_rng(1))["class_recall"]
    assert 0.2 < narrow.low[NEY] < 0.4 < 0.6 < narrow.high[NEY] < 0.8


def test_confusion_tells_what_an_instrument_is_taken_for():
    truth = targets(NEY, NEY, TAR)
    heard = np.array([scores((0.9, 0.1), (0.2, 0.8), (0.1, 0.9)), scores((0.9, 0.1), (0.9, 0.1), (0.1, 0.9))])
    found = solos.confusion(truth, heard)
    assert found[NEY, [NEY, TAR]] == pytest.approx([0.75, 0.25])
    assert found[TAR, [NEY, TAR]] == pytest.approx([0.0, 1.0])
    assert np.isnan(np.delete(found, [NEY, TAR], axis=0)).all()


def content():
    return params.read(REPOSITORY / "params.yaml")


def test_settings_of_a_backbone_yield_to_overrides():
    before = content()
    made = real.settings_for(before, "musicnn", [("train.epochs", "8")], 43)
    assert (made.model.backbone, made.model.finetune, made.train.seed, made.train.epochs) == (
        "musicnn",
        "frozen",
        43,
        8,
    )
    assert real.settings_for(before, "musicnn", [("model.finetune", "full")], 43).model.finetune == "full"
    assert before == content()


def test_the_tables_tell_the_figures():
    truth = targets(NEY, NEY, TAR)
    heard = scores((0.9, 0.1), (0.8, 0.2), (0.7, 0.3))[np.newaxis]
    files = ["raw/ney/a.wav", "raw/ney/b.wav", "raw/tar/c.wav"]
    figures = solos.score(truth, heard, files, np.random.default_rng(1))
    row = real_tables.Row("mel-cnn", figures, figures, [solos.Statistic(truth, heard)(np.ones((1, 3)))], 87.4)
    assert " 1.00 / 0.50 | 87 s |" in real_tables.summary([row]).splitlines()[-1]
    some = [Solo(file, file.split("/")[1], "P", 5.0) for file in files]
    clips = solos.Clips(None, files, truth)
    lines = real_tables.by_instrument([row], some, clips).splitlines()
    assert lines[2].startswith("| ney | 2 / 2 | 1.000 [1.000, 1.000] | 1.000 [")
    assert lines[3] == "| tar | 1 / 1 | 0.000 | 1.000 |"
    assert "| looked at once | ney | P | 2 | 10 s | `a.wav`, `b.wav` |" in real_tables.listed({ONCE: some})
