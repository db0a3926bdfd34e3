import csv
import json
import shutil
import signal

import pytest
from conftest import noise, write

from tarkib import tables
from tarkib.vocabulary import INSTRUMENTS

from .conftest import checksums, run_python, run_stage, set_parameters

pytestmark = pytest.mark.slow

OUTPUTS = {
    "slice": ["data/slices"],
    "annotate": ["data/annotations.parquet", "data/suspects.csv"],
    "mix": ["data/mixtures"],
    "train": ["models/classifier", "plots/training"],
    "evaluate": ["metrics", "plots/evaluation", "data/predictions.parquet"],
}


def test_what_comes_out(finished):
    slices = tables.SLICES.read(finished / "data/slices/slices.parquet")
    annotations = tables.ANNOTATIONS.read(finished / "data/annotations.parquet")
    assert [row["slice_id"] for row in slices] == [row["slice_id"] for row in annotations]
    assert (
        (finished / "data/suspects.csv").read_text().startswith("path,what,start_s,end_s,label,estimate,confidence\n")
    )
    assert {row["split"] for row in slices} == {"train", "validation"}
    mixtures = tables.MIXTURES.read(finished / "data/mixtures/mixtures.parquet")
    assert [row["split"] for row in mixtures] == ["train"] * 24 + ["validation"] * 12
    config = json.loads((finished / "models/classifier/config.json").read_text())
    assert config["labels"] == list(INSTRUMENTS)
    assert config["trained_classes"] == ["ney", "tar", "santur", "tonbak"]
    with (finished / "plots/training/history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    metrics = json.loads((finished / "metrics/metrics.json").read_text())
    assert 0 < metrics["accuracy"] <= 1
    assert metrics["clips"] == 8
    details = json.loads((finished / "metrics/details.json").read_text())
    assert {"kamancheh", "daf", "piano", "violin", "setar", "avaz"} <= set(details["left_out"])
    assert "# Instruments" in (finished / "models/classifier/README.md").read_text()


KILLS = [
    ("slice", "tarkib.audio.clips.encode", 9),
    ("annotate", "tarkib.annotation.jobs.annotate", 4),
    ("mix", "tarkib.audio.clips.encode", 20),
    # Of three steps an epoch the eighth: the middle of the last epoch.
    ("train", "tarkib.training.trainer.ResumableTrainer.training_step", 8),
    ("train", "tarkib.tracking.card.write", 1),
    ("evaluate", "tarkib.evaluation.report.write_details", 1),
]


@pytest.mark.parametrize(("stage", "target", "call"), KILLS)
def test_a_killed_stage_leaves_nothing_half_and_then_gives_the_same_bytes(finished, project, stage, target, call):
    folder = project(*OUTPUTS[stage], ".cache")
    owner, name = target.rsplit(".", 1)
    killed = run_python(
        folder,
        f"""
import os, pkgutil, signal
import stages.{stage} as stage
owner = pkgutil.resolve_name({owner!r})
whole, calls = owner.{name}, []
def deadly(*args, **kwargs):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **kwargs)
owner.{name} = deadly
stage.main()
""",
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    there = checksums(folder, *OUTPUTS[stage])
    assert there.items() <= checksums(finished, *OUTPUTS[stage]).items()
    # Resumed with other workers, it gives the bytes of a run that was not killed.
    set_parameters(folder, run={"workers": 2})
    printed = run_stage(folder, stage).stdout
    if stage == "train":
        assert f"going on from the checkpoint of step {7 if call == 8 else 9} of 9" in printed
        assert not list((folder / ".cache" / "training").rglob("checkpoint-*"))
        assert "to choose one, validation must have at least 4 recordings" in printed
    assert checksums(folder, *OUTPUTS[stage]) == checksums(finished, *OUTPUTS[stage])
    assert not list(folder.rglob("*.partial"))


def test_annotating_again_analyses_no_recording_again(finished, project):
    """The analyses are cached outside the outputs that DVC deletes."""
    folder = project(*OUTPUTS["annotate"])
    done = run_python(
        folder,
        """
from tarkib.annotation import evidence
evidence.extract = None
import stages.annotate
stages.annotate.main()
""",
    )
    assert done.returncode == 0, done.stderr
    assert checksums(folder, *OUTPUTS["annotate"]) == checksums(finished, *OUTPUTS["annotate"])


def test_a_killed_demo_leaves_nothing_half(tmp_path):
    set_parameters(tmp_path)
    small = """
import functools, os, signal
import stages.demo as stage
from tarkib.demo import orchestra
plan = orchestra.plan
orchestra.plan = lambda *args: plan(5, 2, 2, dastgahs=("shur",), instruments=("tar", "daf"), seconds=(5.0, 6.0))
"""
    deadly = """
make, made = orchestra.make, []
@functools.wraps(make)
def deadly(job, folder):
    made.append(1)
    if len(made) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(job, folder)
orchestra.make = deadly
"""
    assert run_python(tmp_path, f"{small}{deadly}stage.main()").returncode == -signal.SIGKILL
    assert not (tmp_path / "data/demo").exists()
    assert run_python(tmp_path, f"{small}stage.main()").returncode == 0
    after_a_kill = checksums(tmp_path, "data")
    shutil.rmtree(tmp_path / "data")
    assert run_python(tmp_path, f"{small}stage.main()").returncode == 0
    assert checksums(tmp_path, "data") == after_a_kill
    assert {"data/demo/truth.csv", "data/demo/raw/recordings.csv", "data/demo/test/labels.csv"} <= set(after_a_kill)


def test_no_stage_reads_the_truth(recordings, finished):
    """truth.csv is for tests and reports: the project ran without it."""
    assert (recordings / "truth.csv").exists()
    assert not list(finished.rglob("truth.csv"))


def refused(folder, stage):
    """What a stage says that ends with an error."""
    done = run_python(folder, f"import runpy; runpy.run_module('stages.{stage}', run_name='__main__')")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": {"mode": "nonsense"}}, "augment.mode: must be 'random', 'bpm', "),
        ({"augment": {"train_mixtures": 10**6}}, "augment.train_mixtures: only"),
    ],
)
def test_wrong_parameters_end_with_a_line_and_nothing_is_lost(finished, project, changes, message):
    folder = project()
    set_parameters(folder, **changes)
    assert message in refused(folder, "mix")
    assert checksums(folder, "data") == checksums(finished, "data")


def test_a_missing_input_names_the_remedy(project):
    folder = project("data/slices")
    assert "data/slices/slices.parquet: not there; run dvc repro" in refused(folder, "annotate")


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


def test_labels_that_name_absent_files_are_printed(project):
    folder = project()
    with (folder / "data/test/labels.csv").open("a") as file:
        file.write("ghost-1,ghost," + ",".join("0" * 10) + "\n")
    done = run_stage(folder, "evaluate")
    assert "ghost-1" in done.stdout
    assert json.loads((folder / "metrics/metrics.json").read_text())["clips"] == 8


def test_a_folder_of_any_name(project, tmp_path):
    """What MLflow keeps lies in the project and nowhere else, and is used from there."""
    folder = project("models", "mlflow.db", "mlruns").rename(tmp_path / "a?b#c%41 ترکیب")
    for stage in ("train", "evaluate"):
        assert run_stage(folder, stage).stdout.count("MLflow") == 0
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert (folder / "mlflow.db").is_file()
    predict = ["predict", "--model", "models:/tarkib@best", str(next((folder / "data/test").rglob("*.flac")))]
    done = run_python(folder, f"import stages\nfrom tarkib import cli\nraise SystemExit(cli.main({predict}))")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
