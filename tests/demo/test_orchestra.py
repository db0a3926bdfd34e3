import csv
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.demo import orchestra, piece
from tarkib.errors import TarkibError
from tarkib.vocabulary import DASTGAHS, INSTRUMENTS, PERCUSSION

pytestmark = pytest.mark.slow

SMALL = {"dastgahs": ("shur", "mahur"), "instruments": ("tar", "ney", "tonbak"), "seconds": (5.0, 6.0)}


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def build(folder, jobs):
    orchestra.write_tables([row for job in jobs for row in orchestra.make(job, folder)], folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return build(tmp_path_factory.mktemp("demo"), orchestra.plan(7, 2, 6, **SMALL))


def test_the_same_bytes_in_any_order_and_other_music_with_another_seed(made, tmp_path):
    again = build(tmp_path, list(reversed(orchestra.plan(7, 2, 6, **SMALL))))
    files = [{path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")} for root in (made, again)]
    assert files[0] == files[1]
    first, other = (orchestra.render(orchestra.plan(seed, 2, 1, **SMALL)[0]) for seed in (7, 8))
    assert not np.array_equal(first[: 3 * SAMPLE_RATE], other[: 3 * SAMPLE_RATE])
    written, _ = soundfile.read(made / orchestra.plan(7, 2, 6, **SMALL)[0].path, dtype="float32")
    assert first.dtype == np.float32
    assert np.abs(first - written).max() <= 1 / 32768


@pytest.mark.parametrize(("job", "file"), [(0, "raw/tar/shur/tar-1-1.flac"), (-1, "test/piece-001-1.flac")])
def test_a_file_that_a_table_names_and_that_is_gone_is_an_error(tmp_path, job, file):
    rows = orchestra.make(orchestra.plan(7, 2, 1, **SMALL)[job], tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(TarkibError, match=rf"^{file}: written, but not there; .* run again$"):
        orchestra.write_tables(rows, tmp_path)


def test_a_larger_orchestra_holds_the_smaller(tmp_path):
    small = orchestra.plan(7, 2, 8)
    assert {job for job in small if job.performer} <= set(orchestra.plan(7, 3, 6))
    assert [job for job in small if not job.performer] == orchestra.plan(7, 2, 20)[-5:-3]
    one, four = (orchestra.plan(7, 2, count, **SMALL)[-1] for count in (1, 4))
    rows = orchestra.make(one, tmp_path / "one"), orchestra.make(four, tmp_path / "four")
    assert rows[0] == rows[1][:1]
    assert len({(tmp_path / name / "test/piece-001-1.flac").read_bytes() for name in ("one", "four")}) == 1


def test_the_whole_plan():
    jobs = orchestra.plan(42, 5, 200)
    solos = [job for job in jobs if job.performer]
    for instrument in INSTRUMENTS:
        for performer in range(1, 6):
            dastgahs = [job.dastgah for job in solos if job.performer == f"demo-{instrument}-{performer}"]
            assert dastgahs == ([None] * 4 if instrument in PERCUSSION else list(DASTGAHS))
    assert len({job.path for job in jobs}) == len(jobs)
    seconds = [job.seconds for job in solos]
    assert 20 <= min(seconds) <= max(seconds) <= 40
    assert np.mean(seconds) == pytest.approx(24, abs=1)
    assert sum(len(job.sample_ids) for job in jobs) == 200


def test_files_lie_where_recordings_are_looked_for(made):
    truth = rows_of(made / "truth.csv")
    files = {path.relative_to(made).as_posix() for path in (made / "raw").rglob("*.flac")}
    assert {row["path"] for row in truth} == files
    for row in truth:
        folders = row["path"].split("/")[1:-1]
        if row["instrument"] in PERCUSSION:
            assert (folders, row["dastgah"], row["tonic_hz"]) == ([row["instrument"]], "", "")
        else:
            assert folders in ([row["instrument"], row["dastgah"]], [row["instrument"]])
            assert row["dastgah"] in SMALL["dastgahs"]
            assert 100 < float(row["tonic_hz"]) < 600
        assert 60 <= float(row["bpm"]) <= 170 if row["bpm"] else float(row["free_until_s"]) > 4
    beside = {row["performer"] for row in truth if row["path"].count("/") == 2 and row["dastgah"]}
    assert beside == {"demo-tar-2", "demo-ney-2"}
    recordings = rows_of(made / "raw" / "recordings.csv")
    assert list(recordings[0]) == ["path", "performer"]
    assert [(f"raw/{row['path']}", row["performer"]) for row in recordings] == [
        (row["path"], row["performer"]) for row in truth
    ]


def test_the_sound_files_and_labels(made):
    for path in made.rglob("*.flac"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE, 1, "PCM_16")
        sound, _ = soundfile.read(path)
        assert 0.02 < np.abs(sound).max() < 1.0
        assert len(sound) == CLIP_SAMPLES if path.parent.name == "test" else 5 <= len(sound) / SAMPLE_RATE <= 6
    rows = rows_of(made / "test" / "labels.csv")
    assert list(rows[0]) == ["sample_id", "recording", *INSTRUMENTS]
    assert [row["sample_id"] for row in rows] == [f"piece-00{i}" for i in ("1-1", "1-2", "1-3", "1-4", "2-1", "2-2")]
    ensembles = {job.path: job.instruments for job in orchestra.plan(7, 2, 6, **SMALL) if not job.performer}
    for row in rows:
        assert {row[name] for name in INSTRUMENTS} == {"0", "1"}
        assert {name for name in INSTRUMENTS if row[name] == "1"} <= set(ensembles[row["sample_id"][:-2]])


def test_test_performers_are_not_those_of_the_solos(monkeypatch):
    drawn = []
    for module in (orchestra, piece):

        def record(rng, instrument, draw=module.draw_performer):
            performer = draw(rng, instrument)
            drawn.append(performer.player.t60)
            return performer

        monkeypatch.setattr(module, "draw_performer", record)
    for job in orchestra.plan(7, 2, 1, dastgahs=("shur", "mahur"), instruments=("tar",), seconds=(5, 5)):
        orchestra.render(job)
    # Two solos of each performer, and a piece.
    assert [drawn.count(one) for one in drawn] == [2, 2, 2, 2, 1]


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
    assert labels[:, [0, 3]].all()
    assert not labels[:, [1, 2, 5]].any()
    assert not labels[:2, 4].any()
    assert labels[3, 4]
    starts = [start for start, _ in placed]
    assert all(b - a >= CLIP_SAMPLES for a, b in pairwise(starts))
    assert starts[-1] + CLIP_SAMPLES <= n


def test_ensembles_balance_the_classes():
    ensembles = piece.draw_ensembles((3, 4), 50, INSTRUMENTS)
    played = np.array([sum(name in ensemble for ensemble in ensembles) for name in INSTRUMENTS])
    assert played.max() - played.min() <= 5
    assert all(1 <= len(set(ensemble)) == len(ensemble) <= 5 for ensemble in ensembles)
    assert 2.3 < np.mean([len(ensemble) for ensemble in ensembles]) < 3.7
    assert piece.draw_ensembles((3, 4), 10, INSTRUMENTS) == ensembles[:10]
