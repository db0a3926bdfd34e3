"""The mix stage with material that does not suffice, killed, or breaking its promises."""

import pytest
from conftest import noise, write

from tarkib import tables

from .conftest import refused, run_stage, set_parameters

pytestmark = pytest.mark.slow


def change(table, file, change_row) -> None:
    """Change each row of a table; None leaves it out."""
    rows = [change_row(row) for row in table.read(file)]
    table.write(file, [row for row in rows if row])


def change_annotations(folder, **columns) -> None:
    change(tables.ANNOTATIONS, folder / "data/annotations.parquet", lambda row: {**row, **columns})


def change_slices(folder, change_row) -> None:
    change(tables.SLICES, folder / "data/slices/slices.parquet", change_row)


def mixtures(folder):
    """Rows of mixtures, and of components."""
    folder = folder / "data/mixtures"
    return tables.MIXTURES.read(folder / "mixtures.parquet"), tables.COMPONENTS.read(folder / "components.parquet")


def test_without_any_tempo_nothing_is_stretched(copied):
    change_annotations(copied, bpm=None, beat_s=None)
    run_stage(copied, "mix")
    rows, components = mixtures(copied)
    assert {row["target_bpm"] for row in rows} == {None}
    assert {(row["stretch"], row["metered"], row["offset_s"]) for row in components} == {(1.0, False, 0.0)}
    assert {None, "shur", "mahur"} <= {row["dastgah"] for row in rows}  # none for drums alone: that promise still holds


def test_without_any_dastgah_drums_alone_are_mixed_and_the_others_named(copied):
    change_annotations(copied, dastgah=None)
    set_parameters(copied, augment={"train_mixtures": 4, "validation_mixtures": 2})
    printed = run_stage(copied, "mix").stdout
    lost = "ney, tar, santur: no train slice has a dastgah, so none is mixed; unknown to the model"
    assert lost in printed
    assert printed.count("to mix these instruments too, put") == 1
    assert {tuple(row["instruments"]) for row in mixtures(copied)[0]} == {("tonbak",)}


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


def only_ney(folder) -> None:
    change_annotations(folder, dastgah=None)
    change_slices(folder, lambda row: row if row["instrument"] == "ney" else None)
    set_parameters(folder, augment={"mode": "dastgah"})


def only_training(folder) -> None:
    change_slices(folder, lambda row: {**row, "split": "train"})


def five_slices(folder) -> None:
    file = folder / "data/slices/slices.parquet"
    rows = tables.SLICES.read(file)
    train = [{**row, "instrument": "tar"} for row in rows if row["split"] == "train"]
    tables.SLICES.write(file, train[:5] + [row for row in rows if row["split"] == "validation"])
    change_annotations(folder, dastgah="shur")
    set_parameters(folder, augment={"train_mixtures": 100})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            only_ney,
            "mode dastgah: no train slice has a dastgah (ney); put their recordings into folders named after",
        ),
        (only_training, "no validation slices; record more performers, or change slice.validation_share"),
        (five_slices, "augment.train_mixtures: only 5 of 100 distinct mixtures can be made in every mode"),
    ],
)
def test_material_that_does_not_suffice_is_one_error(copied, spoil, message):
    spoil(copied)
    assert message in refused(copied, "mix")


KILLED = """
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
"""

BREAKING = """
from stages import mix, run
from tarkib.mixing import rendering
whole = rendering.stretch
rendering.{} = {}
run(mix.main)
"""
UPSIDE_DOWN = BREAKING.format("stretch", "lambda samples, factor, cents=0.0: whole(samples, 1 / factor, cents)")
TOO_LOUD = BREAKING.format("peak_scale", "lambda samples: 10.0")


@pytest.mark.parametrize(
    ("code", "workers", "messages"),
    [
        (KILLED, 2, ["a worker process died while working on mixing"]),
        (UPSIDE_DOWN, 1, ["nothing was kept", "speed: "]),
        (TOO_LOUD, 1, ["nothing was kept", "sound: peaks at"]),
    ],
    ids=["killed worker", "stretch upside down", "too loud"],
)
def test_a_mixing_that_fails_leaves_the_old_mixtures(copied, code, workers, messages):
    set_parameters(copied, run={"workers": workers}, augment={"seed": 2})
    printed = refused(copied, code)
    for message in messages:
        assert message in printed
