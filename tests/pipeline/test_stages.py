import csv
import json
import re
import shutil
import signal

import pytest
from conftest import noise, write

from tarkib import tables
from tarkib.vocabulary import INSTRUMENTS

from .conftest import checksums, refused, run_python, run_stage, set_parameters

pytestmark = pytest.mark.slow

OUTPUTS = {
    "slice": ["data/slices"],
    "annotate": ["data/annotations.parquet", "data/suspects.csv"],
    "mix": ["data/mixtures"],
    "train": ["models/classifier", "plots/training"],
    "evaluate": ["metrics", "plots/evaluation", "data/predictions.parquet"],
}


def test_what_comes_out(recordings, finished):
    slices = tables.SLICES.read(finished / "data/slices/slices.parquet")
    annotations = tables.ANNOTATIONS.read(finished / "data/annotations.parquet")
    assert [row["slice_id"] for row in slices] == [row["slice_id"] for row in annotations]
    heading = "origin,path,what,start_s,end_s,label,estimate,confidence\n"
    assert (finished / "data/suspects.csv").read_text().startswith(heading)
    assert {row["split"] for row in slices} == {"train", "validation"}
    mixtures = tables.MIXTURES.read(finished / "data/mixtures/mixtures.parquet")
    assert [row["split"] for row in mixtures] == ["train"] * 16 + ["validation"] * 8
    config = json.loads((finished / "models/classifier/config.json").read_text())
    assert config["labels"] == list(INSTRUMENTS)
    assert config["trained_classes"] == ["ney", "tar", "santur", "tonbak"]
    with (finished / "plots/training/history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    metrics = json.loads((finished / "metrics/metrics.json").read_text())
    assert 0 < metrics["accuracy"] <= 1
    assert metrics["clips"] == 8
    details = json.loads((finished / "metrics/details.json").read_text())
    assert {"kamancheh", "daf", "piano", "violin", "setar", "avaz"} <= set(details["left_out"])
    assert "# Instruments" in (finished / "models/classifier/README.md").read_text()
    # truth.csv is for tests and reports: the project ran without it.
    assert (recordings / "truth.csv").exists()
    assert not list(finished.rglob("truth.csv"))


# Kills the process at some call of a function.
DEADLY = """
import functools, os, pkgutil, signal
owner, name = {target!r}.rsplit(".", 1)
owner = pkgutil.resolve_name(owner)
whole, calls = getattr(owner, name), []
@functools.wraps(whole)
def deadly(*args, **kwargs):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **kwargs)
setattr(owner, name, deadly)
"""


@pytest.mark.parametrize(
    ("stage", "target", "call"),
    [
        ("slice", "tarkib.audio.clips.encode", 9),
        ("annotate", "tarkib.annotation.jobs.annotate", 4),
        ("mix", "tarkib.audio.clips.encode", 20),
        # Of two steps an epoch the fourth: the middle of the last epoch.
        ("train", "tarkib.training.trainer.ResumableTrainer.training_step", 4),
        ("train", "tarkib.tracking.card.write", 1),
        ("evaluate", "tarkib.evaluation.report.write_details", 1),
    ],
)
def test_a_killed_stage_leaves_nothing_half_and_then_gives_the_same_bytes(finished, project, stage, target, call):
    folder = project(*OUTPUTS[stage], ".cache")
    killed = run_python(
        folder, f"import stages.{stage}\n{DEADLY.format(target=target, call=call)}stages.{stage}.main()"
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checksums(folder, *OUTPUTS[stage]).items() <= checksums(finished, *OUTPUTS[stage]).items()
    # Resumed with other workers, it gives the bytes of a run that was not killed. Forks have one seed of hashes.
    set_parameters(folder, run={"workers": 2})
    printed = run_stage(folder, stage, forked=(stage, call) != ("train", 4)).stdout
    if stage == "train":
        # That of step 3 may not have been written yet.
        steps = (2, 3) if call == 4 else (4,)
        assert any(f"going on from the checkpoint of step {step} of 4" in printed for step in steps)
        assert not list((folder / ".cache/training").rglob("checkpoint-*"))
        assert "to choose one, validation must have at least 4 recordings" in printed
    assert checksums(folder, *OUTPUTS[stage]) == checksums(finished, *OUTPUTS[stage])
    assert not list(folder.rglob("*.partial"))


def test_annotating_again_analyses_no_recording_again(finished, project):
    """The analyses are cached outside the outputs that DVC deletes."""
    folder = project(*OUTPUTS["annotate"])
    run_stage(folder, "annotate", "from tarkib.annotation import evidence; evidence.extract = None")
    assert checksums(folder, *OUTPUTS["annotate"]) == checksums(finished, *OUTPUTS["annotate"])


def test_wrong_parameters_and_missing_inputs_end_with_a_line(copied):
    for changes, message in (
        ({"mode": "nonsense"}, "augment.mode: must be 'random', 'bpm', "),
        ({"train_mixtures": 10**6}, "augment.train_mixtures: only"),
    ):
        set_parameters(copied, augment=changes)
        assert message in refused(copied, "mix")
    shutil.rmtree(copied / "data/slices")
    assert "data/slices/slices.parquet: not there; run dvc repro" in refused(copied, "annotate")


def test_bad_recordings_are_rows_and_the_rest_is_sliced(recordings, tmp_path):
    set_parameters(tmp_path)
    shutil.copytree(recordings / "raw", tmp_path / "data/raw")
    write(tmp_path / "data/raw/guitar/a.wav", noise(6))
    (tmp_path / "data/raw/tar/empty.wav").touch()
    printed = run_stage(tmp_path, "slice").stdout
    assert "guitar/a.wav: unknown instrument (folder 'guitar')" in printed
    assert "tar/empty.wav: the file is empty" in printed
    assert "left out of the mixing: kamancheh, daf, piano, violin, setar, avaz" in printed
    rows = tables.RECORDINGS.read(tmp_path / "data/slices/recordings.parquet")
    assert {row["path"] for row in rows if row["status"] == "rejected"} == {"guitar/a.wav", "tar/empty.wav"}


def test_the_orchestra_completes_a_collection_of_one_instrument(recordings, tmp_path):
    set_parameters(tmp_path, data={"fill": True})
    shutil.copytree(recordings / "raw", tmp_path / "data/demo/raw")
    shutil.copytree(recordings / "raw/ney", tmp_path / "data/raw/radif/ney")
    printed = run_stage(tmp_path, "slice").stdout
    own = len(list((tmp_path / "data/raw").rglob("*.flac")))
    assert re.search(rf"^own recordings: {own} \({own} usable\), \d+ slices: ney$", printed, re.MULTILINE)
    assert re.search(r"^recordings of the synthetic orchestra: .* slices: tar, santur, tonbak$", printed, re.MULTILINE)
    rows = tables.RECORDINGS.read(tmp_path / "data/slices/recordings.parquet")
    assert {row["path"].split("/")[0] for row in rows if row["origin"] == "own"} == {"radif"}
    assert {row["path"].split("/")[0] for row in rows if row["origin"] == "demo"} == {"tar", "santur", "tonbak"}
    slices = tables.SLICES.read(tmp_path / "data/slices/slices.parquet")
    performers = {row["recording_id"]: row["performer"] for row in rows}
    splits = {(performers[row["recording_id"]], row["split"]) for row in slices if row["origin"] == "demo"}
    assert len(splits) == len({performer for performer, _ in splits}) == 6
    for stage in ("annotate", "mix", "train"):
        run_stage(tmp_path, stage)
    card = (tmp_path / "models/classifier/README.md").read_text()
    assert "- **Synthetic**: tar, santur, tonbak: learnt from recordings of Tarkib's built-in orchestra alone" in card
    shutil.rmtree(tmp_path / "data/demo")
    assert "data/demo/raw: no such folder, from which data.fill takes avaz, " in refused(tmp_path, "slice")
    set_parameters(tmp_path, data={"fill": False})
    assert "left out of the mixing: tar, santur, kamancheh" in run_stage(tmp_path, "slice").stdout


def test_a_training_recording_in_the_test_set_is_reported(copied):
    assert "warning" not in run_stage(copied, "leakage").stdout
    empty = {"excerpts": 8, "same_bytes": 0, "same_sound": 0, "same_name": 0, "matches": []}
    assert json.loads((copied / "metrics/leakage.json").read_text()) == empty
    recordings = tables.RECORDINGS.read(copied / "data/slices/recordings.parquet")
    path = next(row["path"] for row in recordings if row["status"] == "ok")
    shutil.copy2(copied / "data/raw" / path, copied / "data/test/planted.flac")
    with (copied / "data/test/labels.csv").open("a") as file:
        file.write("planted,planted," + ",".join("1" + "0" * 9) + "\n")
    warning = f"warning: test excerpts that are training recordings, byte for byte (1): planted = {path} ("
    assert warning in run_stage(copied, "leakage").stdout
    written = json.loads((copied / "metrics/leakage.json").read_text())
    assert (written["excerpts"], written["same_bytes"], written["same_sound"]) == (9, 1, 0)
    assert [match["recording"] for match in written["matches"]] == [path]


def test_a_folder_of_any_name(project, tmp_path):
    """What MLflow keeps lies in the project and nowhere else, and is used from there."""
    folder = project("models", "mlflow.db", "mlruns").rename(tmp_path / "a?b#c%41 ترکیب")
    for stage in ("train", "evaluate"):
        assert "MLflow" not in run_stage(folder, stage).stdout
    assert (folder / "mlflow.db").is_file()
    predict = ["predict", "--model", "models:/tarkib@best", str(next((folder / "data/test").rglob("*.flac")))]
    done = run_python(folder, f"import stages\nfrom tarkib import cli\nraise SystemExit(cli.main({predict}))")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
