"""The mix stage with material that does not suffice, killed, or breaking its promises."""

import shutil

import pytest
from conftest import noise, write

from tarkib import tables

from .conftest import checksums, run_python, run_stage, set_parameters
from .test_stages import refused

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(mixed, tmp_path):
    """The small project with its mixtures, to be changed."""
    folder = tmp_path / "project"
    shutil.copytree(mixed, folder)
    return folder


def change(folder, **columns):
    """Set columns of all annotations."""
    table = folder / "data/annotations.parquet"
    tables.ANNOTATIONS.write(table, [{**row, **columns} for row in tables.ANNOTATIONS.read(table)])


def mixtures(folder):
    """Rows of mixtures, and of components."""
    folder = folder / "data/mixtures"
    return tables.MIXTURES.read(folder / "mixtures.parquet"), tables.COMPONENTS.read(folder / "components.parquet")


def test_without_any_tempo_nothing_is_stretched(copied):
    change(copied, bpm=None, beat_s=None)
    run_stage(copied, "mix")
    rows, components = mixtures(copied)
    assert {row["target_bpm"] for row in rows} == {None}
    assert {(row["stretch"], row["metered"], row["offset_s"]) for row in components} == {(1.0, False, 0.0)}
    assert {None, "shur", "mahur"} <= {row["dastgah"] for row in rows}  # none for drums alone: that promise still holds


def test_without_any_dastgah_drums_alone_are_mixed_and_the_others_named(copied):
    change(copied, dastgah=None)
    set_parameters(copied, augment={"train_mixtures": 4, "validation_mixtures": 2})
    said = run_stage(copied, "mix").stdout
    assert "santur: no train slice has a dastgah, so it is left out of the mixing" in said
    rows, _ = mixtures(copied)
    assert {tuple(row["instruments"]) for row in rows} == {("tonbak",)}


def test_one_recording_of_each_instrument_makes_mixtures(tmp_path):
    """Alone in its split, an instrument's only recording is all that there is to draw from."""
    for seed, name in enumerate(("tar/shur/a", "tar/shur/b", "ney/shur/a", "ney/shur/b")):
        write(tmp_path / f"data/raw/{name}.wav", noise(40, seed))
    set_parameters(tmp_path, augment={"mode": "dastgah+bpm", "train_mixtures": 10, "validation_mixtures": 4})
    for stage in ("slice", "annotate", "mix"):
        run_stage(tmp_path, stage)
    rows, components = mixtures(tmp_path)
    for split in ("train", "validation"):
        assert len({row["recording_id"] for row in components if row["mixture_id"].startswith(split)}) == 2
    # One dastgah for both cannot be two, so mode bpm allows no duo, and no mode has what another has not.
    assert {len(row["instruments"]) for row in rows} == {1}


def test_an_instrument_without_a_dastgah_alone_is_one_error(copied):
    slices, annotations = copied / "data/slices/slices.parquet", copied / "data/annotations.parquet"
    kept = [row for row in tables.SLICES.read(slices) if row["instrument"] == "ney"]
    ids = {row["slice_id"] for row in kept}
    tables.SLICES.write(slices, kept)
    tables.ANNOTATIONS.write(
        annotations,
        [{**row, "dastgah": None} for row in tables.ANNOTATIONS.read(annotations) if row["slice_id"] in ids],
    )
    set_parameters(copied, augment={"mode": "dastgah"})
    before = checksums(copied, "data/mixtures")
    said = refused(copied, "mix")
    assert said.count("error:") == 1
    assert (
        "mode dastgah: no train slice has a dastgah (ney); put recordings into <instrument>/<dastgah>/ folders" in said
    )
    assert checksums(copied, "data/mixtures") == before


def test_without_validation_slices_there_is_one_error(copied):
    """As with one player of each instrument."""
    slices = copied / "data/slices/slices.parquet"
    tables.SLICES.write(slices, [{**row, "split": "train"} for row in tables.SLICES.read(slices)])
    said = refused(copied, "mix")
    assert said.count("error:") == 1
    assert "no validation slices; record more performers, or change slice.validation_share" in said


def test_more_mixtures_than_slices_allow_are_one_error(copied):
    slices = copied / "data/slices/slices.parquet"
    rows = tables.SLICES.read(slices)
    five = [{**row, "instrument": "tar"} for row in rows if row["split"] == "train"][:5]
    tables.SLICES.write(slices, five + [row for row in rows if row["split"] == "validation"])
    change(copied, dastgah="shur")
    set_parameters(copied, augment={"train_mixtures": 100})
    said = refused(copied, "mix")
    assert "augment.train_mixtures: only 5 of 100 distinct mixtures can be made in every mode" in said
    assert "(5 of tar)" in said


def test_a_killed_worker_leaves_the_old_mixtures_and_no_half_shard(copied):
    set_parameters(copied, run={"workers": 2}, augment={"seed": 2})
    before = checksums(copied, "data")
    done = run_python(
        copied,
        """
import multiprocessing, pathlib, threading
from stages import mix, run
from tarkib.audio import clips
clips.CLIPS_PER_SHARD = 18

def kill_in_the_middle_of_a_shard():
    folder = mix.MIXTURES.parent
    while not any(shard.stat().st_size for shard in folder.glob("*.partial/shard-*.tar")):
        pass
    for child in multiprocessing.active_children():
        child.kill()

threading.Thread(target=kill_in_the_middle_of_a_shard, daemon=True).start()
run(mix.main)
""",
    )
    assert done.returncode == 1
    assert "error: a worker process died while working on mixing" in done.stderr
    assert "Traceback" not in done.stderr
    assert checksums(copied, "data") == before
    assert not list(copied.rglob("*.partial"))


BREAKING = """
from stages import mix, run
from tarkib.mixing import rendering
whole = rendering.{name}
rendering.{name} = {replacement}
run(mix.main)
"""


@pytest.mark.parametrize(
    ("name", "replacement", "promise"),
    [
        ("stretch", "lambda samples, factor, cents=0.0: whole(samples, 1 / factor, cents)", "speed: "),
        ("headroom", "lambda samples: 10.0", "sound: peaks at"),
    ],
)
def test_mixtures_that_break_a_promise_are_not_kept(copied, name, replacement, promise):
    """With the stretch upside down the stage fails, and the old mixtures stay."""
    set_parameters(copied, run={"workers": 1}, augment={"seed": 2})
    before = checksums(copied, "data")
    done = run_python(copied, BREAKING.format(name=name, replacement=replacement))
    assert done.returncode == 1
    assert "nothing was kept" in done.stderr
    assert promise in done.stderr
    assert checksums(copied, "data") == before
