import csv
import hashlib
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.demo import orchestra, piece
from tarkib.demo.ensembles import draw_ensembles
from tarkib.errors import TarkibError
from tarkib.vocabulary import DASTGAHS, INSTRUMENTS, PERCUSSION

pytestmark = pytest.mark.slow

SMALL = {"dastgahs": ("shur", "mahur"), "instruments": ("tar", "ney", "tonbak"), "seconds": (5.0, 6.0)}


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.*"))
    }


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def build(folder, jobs):
    orchestra.write_tables([row for job in jobs for row in orchestra.make(job, folder)], folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return build(tmp_path_factory.mktemp("demo"), orchestra.plan(7, 2, 6, **SMALL))


def test_the_same_bytes_in_any_order(made, tmp_path):
    again = build(tmp_path, list(reversed(orchestra.plan(7, 2, 6, **SMALL))))
    assert digests(again) == digests(made)


@pytest.mark.parametrize(("job", "file"), [(0, "raw/tar/shur/tar-1-1.flac"), (-1, "test/piece-001-1.flac")])
def test_a_file_that_a_table_names_and_that_is_gone_is_an_error(tmp_path, job, file):
    rows = orchestra.make(orchestra.plan(7, 2, 1, **SMALL)[job], tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(TarkibError, match=rf"^{file}: written, but not there; .* run again$"):
        orchestra.write_tables(rows, tmp_path)


def test_another_seed_is_other_music():
    first, other = (orchestra.plan(seed, 2, 1, **SMALL)[0] for seed in (7, 8))
    n = 3 * SAMPLE_RATE
    assert not np.array_equal(orchestra.render(first)[:n], orchestra.render(other)[:n])


def test_a_larger_orchestra_holds_the_smaller():
    small = [job for job in orchestra.plan(7, 2, 6) if job.performer]
    assert set(small) <= set(orchestra.plan(7, 3, 6))
    pieces = [job for job in orchestra.plan(7, 2, 8) if not job.performer]
    assert pieces == [job for job in orchestra.plan(7, 2, 20) if not job.performer][:2]


def test_a_piece_does_not_depend_on_how_many_excerpts_are_cut_from_it(tmp_path):
    one, four = (orchestra.plan(7, 2, count, **SMALL)[-1] for count in (1, 4))
    rows = orchestra.make(one, tmp_path / "one"), orchestra.make(four, tmp_path / "four")
    assert rows[0] == rows[1][:1]
    assert (tmp_path / "one/test/piece-001-1.flac").read_bytes() == (
        tmp_path / "four/test/piece-001-1.flac"
    ).read_bytes()


def test_the_whole_plan():
    jobs = orchestra.plan(42, 5, 200)
    solos = [job for job in jobs if job.performer]
    for instrument in INSTRUMENTS:
        for performer in range(1, 6):
            own = [job for job in solos if job.performer == f"demo-{instrument}-{performer}"]
            if instrument in PERCUSSION:
                assert len(own) == 4
                assert {job.dastgah for job in own} == {None}
            else:
                assert [job.dastgah for job in own] == list(DASTGAHS)
    assert len({job.path for job in jobs}) == len(jobs)
    seconds = [job.seconds for job in solos]
    assert min(seconds) >= 20
    assert max(seconds) <= 40
    assert np.mean(seconds) == pytest.approx(24, abs=1)
    assert sum(len(job.sample_ids) for job in jobs) == 200


def test_files_lie_where_recordings_are_looked_for(made):
    truth = rows_of(made / "truth.csv")
    files = {path.relative_to(made).as_posix() for path in (made / "raw").rglob("*.flac")}
    assert {row["path"] for row in truth} == files
    unlabelled = 0
    for row in truth:
        folders = row["path"].split("/")[1:-1]
        assert folders[0] == row["instrument"]
        if row["instrument"] in PERCUSSION:
            assert folders[1:] == []
            assert row["dastgah"] == row["tonic_hz"] == ""
        else:
            assert folders[1:] in ([row["dastgah"]], [])
            assert row["dastgah"] in SMALL["dastgahs"]
            assert 100 < float(row["tonic_hz"]) < 600
            unlabelled += not folders[1:]
        if row["bpm"]:
            assert 60 <= float(row["bpm"]) <= 170
        else:
            assert float(row["free_until_s"]) > 4
    assert unlabelled >= 2
    assert {row["performer"] for row in truth if row["path"].count("/") == 2 and row["dastgah"]} <= {
        "demo-tar-2",
        "demo-ney-2",
    }
    recordings = rows_of(made / "raw" / "recordings.csv")
    assert list(recordings[0]) == ["path", "performer"]
    assert {"raw/" + row["path"]: row["performer"] for row in recordings} == {
        row["path"]: row["performer"] for row in truth
    }


def test_the_sound_files(made):
    for path in made.rglob("*.flac"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE, 1, "PCM_16")
        sound, _ = soundfile.read(path)
        assert np.isfinite(sound).all()
        assert 0.02 < np.abs(sound).max() < 1.0
        if path.parent.name == "test":
            assert len(sound) == CLIP_SAMPLES
        else:
            assert 5 <= len(sound) / SAMPLE_RATE <= 6


def test_rendering_is_what_is_written(made):
    job = orchestra.plan(7, 2, 6, **SMALL)[0]
    sound = orchestra.render(job)
    assert sound.dtype == np.float32
    assert sound.ndim == 1
    written, _ = soundfile.read(made / job.path, dtype="float32")
    assert np.abs(sound - written).max() <= 1 / 32768


def test_the_labels(made):
    rows = rows_of(made / "test" / "labels.csv")
    assert list(rows[0]) == ["sample_id", "recording", *INSTRUMENTS]
    assert [row["sample_id"] for row in rows] == [f"piece-001-{k}" for k in (1, 2, 3, 4)] + [
        "piece-002-1",
        "piece-002-2",
    ]
    ensembles = {job.path: job.instruments for job in orchestra.plan(7, 2, 6, **SMALL) if not job.performer}
    for row in rows:
        assert row["sample_id"].startswith(row["recording"])
        heard = {name for name in INSTRUMENTS if row[name] == "1"}
        assert heard
        assert heard <= set(ensembles[row["recording"]])
        assert all(row[name] in ("0", "1") for name in INSTRUMENTS)


def test_test_performers_are_not_those_of_the_solos(monkeypatch):
    seen = {"solo": [], "piece": []}
    draw = orchestra.draw_performer

    def spy(kind):
        def record(rng, instrument):
            performer = draw(rng, instrument)
            seen[kind].append(performer.player.t60)
            return performer

        return record

    monkeypatch.setattr(orchestra, "draw_performer", spy("solo"))
    monkeypatch.setattr(piece, "draw_performer", spy("piece"))
    for job in orchestra.plan(7, 2, 1, dastgahs=("shur", "mahur"), instruments=("tar",), seconds=(5, 5)):
        orchestra.render(job)
    # A performer is the same one in every solo.
    assert len(seen["solo"]) == 4
    assert len(set(seen["solo"])) == 2
    assert len(seen["piece"]) == 1
    assert not set(seen["solo"]) & set(seen["piece"])


def test_parts_enter_and_rest(monkeypatch):
    played = []
    perform = piece.perform

    def spy(*arguments):
        played.append(perform(*arguments))
        return played[-1]

    monkeypatch.setattr(piece, "perform", spy)
    piece.draw_piece(np.random.default_rng(1), ("ney", "violin", "tonbak"), "mahur")
    seconds = np.array([[np.abs(second).max() for second in np.split(part, 27)] for part in played])
    sounds = seconds > 0.01 * seconds.max(axis=1, keepdims=True)
    assert (~sounds).any(axis=1).sum() >= 2
    assert sounds.any(axis=1).all()
    assert sounds.any(axis=0).mean() > 0.8


def test_an_instrument_is_labelled_where_it_is_audible_and_only_there():
    rng = np.random.default_rng(0)
    n = int(27.0 * SAMPLE_RATE)
    steady = rng.standard_normal(n)
    absent = np.zeros(n)
    faint = 10 ** (-26 / 20) * rng.standard_normal(n)
    near = 10 ** (-8 / 20) * rng.standard_normal(n)
    late = np.where(np.arange(n) > n // 2, rng.standard_normal(n), 0)
    blink = np.where(np.arange(n) % (13 * SAMPLE_RATE // 2) < SAMPLE_RATE // 2, rng.standard_normal(n), 0)
    placed = piece._place(rng, np.array([steady, absent, faint, near, late, blink]))
    labels = np.array([audible for _, audible in placed])
    assert labels[:, 0].all()
    assert not labels[:, 1].any()
    assert not labels[:, 2].any()
    assert labels[:, 3].all()
    assert not labels[:2, 4].any()
    assert labels[3, 4]
    assert not labels[:, 5].any()
    starts = [start for start, _ in placed]
    assert all(b - a >= CLIP_SAMPLES for a, b in pairwise(starts))
    assert starts[-1] + CLIP_SAMPLES <= n


def test_ensembles_balance_the_classes():
    ensembles = draw_ensembles((3, 4), 50, INSTRUMENTS)
    played = np.array([sum(name in ensemble for ensemble in ensembles) for name in INSTRUMENTS])
    assert played.max() - played.min() <= 5
    sizes = [len(ensemble) for ensemble in ensembles]
    assert set(sizes) <= {1, 2, 3, 4, 5}
    assert 2.3 < np.mean(sizes) < 3.7
    assert all(len(set(ensemble)) == len(ensemble) for ensemble in ensembles)
    assert draw_ensembles((3, 4), 10, INSTRUMENTS) == ensembles[:10]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"performers": 1}, "performers is 1"),
        ({"excerpts": 0}, "excerpts is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"instruments": ("tar", "oud")}, "oud"),
        ({"instruments": ()}, "instruments"),
        ({"dastgahs": ("shur", "shur")}, "each once"),
        ({"seconds": (3.0, 10.0)}, "5 or more"),
        ({"seconds": (30.0, 20.0)}, "seconds"),
    ],
)
def test_bad_plans_are_refused(change, message):
    with pytest.raises(TarkibError, match=message):
        orchestra.plan(**({"seed": 1, "performers": 2, "excerpts": 4} | change))
