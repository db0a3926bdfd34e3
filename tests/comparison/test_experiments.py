"""Experiments as DVC runs them, in a repository whose pipeline takes no time: queue, failure, resumption, staleness."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from tarkib.cli import main
from tarkib.comparison import experiments, provenance, queue, report
from tarkib.comparison.commands import dvc, git
from tarkib.comparison.experiments import DONE, FAILED, MISSING, QUEUED, RUNNING, Experiment
from tarkib.errors import TarkibError

_PIPELINE = {
    "stages": {
        "mix": {
            "cmd": "python pipeline.py mix",
            "deps": ["pipeline.py", "data/raw"],
            "params": ["augment.seed", "augment.mode", "augment.reverb"],
            "outs": ["data/mixtures"],
        },
        "evaluate": {
            "cmd": "python pipeline.py evaluate",
            "deps": ["pipeline.py", "data/mixtures"],
            "params": ["train.seed", "train.learning_rate"],
            "outs": ["data/predictions.parquet"],
            "metrics": [{"metrics/details.json": {"cache": False}}],
        },
    }
}

# While the project holds a file `hold`, mixing does not end; while it holds `broken`, dastgah cannot be mixed.
_CODE = """
import json, os, pathlib, random, sys, time

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

params = yaml.safe_load(pathlib.Path("params.yaml").read_text())
root = pathlib.Path(os.environ.get("DVC_ROOT", "."))
if sys.argv[1] == "mix":
    mode = params["augment"]["mode"]
    while (root / "hold").exists():
        time.sleep(0.05)
    if mode == "dastgah" and (root / "broken").exists():
        print("drawing", flush=True)
        sys.exit("error: data/slices: no material in mode dastgah; add recordings of ney")
    with open(root / "made.log", "a") as log:
        log.write(f"{mode} {params['augment']['seed']}\\n")
    pathlib.Path("data/mixtures").write_text(f"{mode} {params['augment']['seed']}")
else:
    draw = random.Random(pathlib.Path("data/mixtures").read_text() + str(params["train"]["seed"]))
    rows = []
    for k in range(24):
        for name in ("ney", "tar", "santur"):
            label = (k + len(name)) % 3 == 0
            probability = min(1.0, max(0.0, 0.3 + 0.4 * label + draw.gauss(0, 0.3)))
            rows.append(dict(sample_id=f"c{k:02d}", recording=f"r{k // 2:02d}", instrument=name, label=label,
                             probability=probability, predicted=probability >= 0.5))
    fields = [("sample_id", pa.string()), ("recording", pa.string()), ("instrument", pa.string()),
              ("label", pa.bool_()), ("probability", pa.float64()), ("predicted", pa.bool_())]
    schema = pa.schema([pa.field(n, t, nullable=n == "label") for n, t in fields])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), "data/predictions.parquet")
    pathlib.Path("metrics").mkdir(exist_ok=True)
    pathlib.Path("metrics/details.json").write_text(json.dumps({"left_out": {}}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The repository, as the working directory of this process; its pipeline has run once, as after `make repro`."""
    folder = tmp_path_factory.mktemp("compare") / "project"
    folder.mkdir()
    changed = pytest.MonkeyPatch()
    changed.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
        changed.delenv(name)
    changed.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    changed.setenv("OMP_NUM_THREADS", "1")
    shutil.copy2(REPOSITORY / "params.yaml", folder)
    (folder / "pipeline.py").write_text(_CODE)
    (folder / "dvc.yaml").write_text(yaml.safe_dump(_PIPELINE))
    (folder / "data").mkdir()
    (folder / "data/raw").write_text("recordings")
    (folder / ".gitignore").write_text("/.cache/\n/hold\n/broken\n/made.log\n/reports/\n")
    git("init", "-q", "-b", "main")
    git("config", "user.name", "t")
    git("config", "user.email", "t@example.org")
    dvc("init", "-q")
    dvc("config", "core.analytics", "false")
    git("add", "-A")
    git("commit", "-qm", "pipeline")
    dvc("repro", "-q")
    yield folder
    (folder / "hold").unlink(missing_ok=True)
    dvc("queue", "stop", "--kill")
    changed.undo()


@pytest.fixture
def clean(project: Path) -> Iterator[Path]:
    """The project, whose sources a test may change."""
    kept = {name: (project / name).read_bytes() for name in ("pipeline.py", "params.yaml", "data/raw")}
    yield project
    for name, content in kept.items():
        (project / name).write_bytes(content)


def _made(project: Path) -> list[str]:
    """What was mixed so far, in order."""
    return (project / "made.log").read_text().splitlines()


def _run(modes: tuple[str, ...], seeds: tuple[int, ...], jobs: int = 2) -> tuple[list[Experiment], list[str]]:
    """Run a comparison's experiments; they and what was told."""
    told: list[str] = []
    found = experiments.run(
        provenance.expected({}), modes, seeds, {}, jobs=jobs, devices="cpu", tell=told.append, pause_s=(0.05, 0.2)
    )
    return found, told


def _states(found: list[Experiment]) -> dict[tuple[str, int], str]:
    return {(one.mode, one.seed): one.state for one in found}


@pytest.fixture(scope="module")
def compared(project: Path) -> tuple[list[Experiment], list[str]]:
    """Three modes with one seed: one was run by hand, one fails, and one is new."""
    dvc("exp", "run", "-q", "-n", "by-hand", "-S", "augment.mode=bpm", "-S", "augment.seed=1", "-S", "train.seed=1")
    git("checkout", "-q", "--", ".")
    (project / "broken").touch()
    return _run(("random", "bpm", "dastgah"), (1,))


def test_what_is_missing_is_run_and_what_was_run_by_hand_counts(project, compared):
    found, told = compared
    assert _states(found) == {("random", 1): DONE, ("bpm", 1): DONE, ("dastgah", 1): FAILED}
    assert {one.mode: one.name for one in found}["bpm"] == "by-hand"
    assert sorted(_made(project)) == ["bpm 1", "dastgah+bpm 1", "random 1"]
    assert told[0].startswith("3 experiments: 1 there, 0 on their way, 2 to run; 2 at a time")
    assert any(line.startswith("random, seed 1: done in ") for line in told)
    assert told[-1].split("; ")[-1].startswith("0 left, ")
    assert git("status", "--porcelain", "--untracked-files=no").strip() in ("", "M dvc.lock")


def test_a_failure_says_why(compared):
    found, told = compared
    why = "data/slices: no material in mode dastgah; add recordings of ney"
    assert found[2].reason == why
    assert sum(why in line for line in told) == 1


def test_collecting_runs_nothing_and_leaves_failures_as_rows(project, compared, capsys):
    before = _made(project)
    tasks = queue.status().tasks
    out = project / "reports/comparison.html"
    arguments = ["compare", "--modes", "random,bpm,dastgah,dastgah+bpm", "--seeds", "1", "--collect", "--out", str(out)]
    assert main(arguments) == 1
    said = capsys.readouterr().out
    assert "dastgah, seed 1: failed: data/slices: no material" in said
    assert "dastgah+bpm, seed 1: missing" in said
    assert _made(project) == before
    assert queue.status().tasks == tasks
    assert "no material in mode dastgah; add recordings of ney" in out.read_text("utf-8")
    assert "by-hand" in out.with_suffix(".md").read_text("utf-8")
    assert out.with_suffix(".png").exists()


def test_killed_and_called_again_it_goes_on(project, compared):
    """What failed is tried anew, what is queued is waited for, and what died with its worker is run anew.

    The command is killed while an experiment runs and others are queued, and then the worker with what it runs, as in a
    power cut: DVC would show that experiment as running for ever.
    """
    before = _made(project)
    expectation = provenance.expected({})
    names = {expectation.name(mode, seed) for mode, seed in (("dastgah", 1), ("random", 2), ("dastgah", 2))}
    (project / "broken").unlink()
    (project / "hold").touch()
    code = "from tarkib.cli import main; main(['compare', '--modes', 'random,dastgah', '--jobs', '1'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as killed:
        said = killed.stdout.readline()
        running = None
        while running is None:
            assert killed.poll() is None
            running = next((pid for pid in queue.processes().values() if pid), None)
        killed.kill()
    assert said.startswith("4 experiments: 1 there, 0 on their way, 3 to run; 1 at a time")
    os.killpg(os.getpgid(running), signal.SIGKILL)
    states = _states(experiments.collect(expectation, ("random", "dastgah"), (1, 2)))
    assert states.pop(("random", 1)) == DONE
    assert set(states.values()) <= {QUEUED, RUNNING}
    (project / "hold").unlink()
    dvc("exp", "run", "-q", "--queue", "-n", "mine", "-S", "augment.mode=random", "-S", "augment.seed=9")
    found, told = _run(("random", "dastgah"), (1, 2), jobs=2)
    assert told[1] == "1 other experiment in the queue will be run too"
    assert told[0].startswith("4 experiments: 1 there, 3 on their way, 0 to run")
    assert set(_states(found).values()) == {DONE}
    assert [one.name for one in found if one.name in names] == [one.name for one in found[1:]]
    own = [line for line in _made(project)[len(before) :] if line != "random 9"]
    assert sorted(own) == ["dastgah 1", "dastgah 2", "random 2"]
    assert any(line.endswith("its worker is gone; it is run anew") for line in told)
    # The task that failed before is no more in the queue.
    assert not any("failed" in line for line in told)
    assert "mine" in queue.status().tasks
    again, told = _run(("random", "dastgah"), (1, 2))
    assert again == found
    assert told == ["all 4 experiments are there"]


def test_another_comparison_waits_while_this_one_looks_or_changes_the_queue(project, monkeypatch):
    """The worker of the only experiment is lost, and what queues it anew succeeds at once."""
    one = Experiment("bpm", 9, MISSING, "bpm-seed9-1234567")
    done, now = [], {}

    def holds_others_off() -> bool:
        try:
            with (project / ".cache/comparison.lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:  # gone when nobody holds it
            return False
        return False

    def note(what: str, state: str | None = None) -> None:
        done.append((what, holds_others_off()))
        if state:
            now[one.name] = state

    def queued(*_: object) -> None:
        note("queue", queue.SUCCESS if ("abandon", True) in done else queue.RUNNING)

    monkeypatch.setattr(experiments, "collect", lambda *_: [note("look") or one])
    monkeypatch.setattr(experiments, "_queue", queued)
    monkeypatch.setattr(queue, "status", lambda: note("status") or queue.Status(dict(now), 0, 0))
    monkeypatch.setattr(queue, "processes", dict)
    monkeypatch.setattr(queue, "start", lambda *_: note("start"))
    monkeypatch.setattr(queue, "abandon", lambda _: note("abandon"))
    _, told = _run(("bpm",), (9,))
    assert told[1].startswith("bpm, seed 9: its worker is gone")
    assert told[2].startswith("bpm, seed 9: done in ")
    ours = [("look", True), ("queue", True), ("status", False), ("start", True)]
    watched = [("status", True)] * 5 + [("status", True), ("abandon", True), ("queue", True), ("status", True)]
    assert done == [*ours, *watched, ("look", False)]


def test_what_was_taken_out_of_the_queue_is_no_success(compared, tmp_path, monkeypatch):
    (there,) = experiments.collect(provenance.expected({}), ("random",), (1,))
    asked = []

    def run(*_: object, devices: str, **__: object) -> list[Experiment]:
        asked.append(devices)
        return [there, *lacking]

    monkeypatch.setattr(experiments, "run", run)
    call = ["compare", "-S", "run.devices=cpu x 2", "--out", str(tmp_path / "x.html")]
    lacking = []
    assert main(call) == 0
    lacking = [Experiment("bpm", 9, MISSING, "bpm-seed9-1234567")]
    assert main(call) == 1
    assert asked == ["cpu x 2"] * 2


def test_predictions_come_from_the_experiments(compared):
    found = experiments.collect(provenance.expected({}), ("random", "bpm"), (1,))
    told, read = report.gather(found)
    assert told == found
    assert set(read) == {("random", 1), ("bpm", 1)}
    assert read["random", 1].clips.classes == ("ney", "tar", "santur")
    assert read["random", 1].probabilities.shape == (24, 3)
    assert (read["random", 1].probabilities != read["bpm", 1].probabilities).any()


def test_predictions_that_are_not_in_the_cache_are_a_row(project, compared):
    found = experiments.collect(provenance.expected({}), ("random", "bpm"), (1,))
    lock = yaml.safe_load(git("show", f"{found[0].revision}:dvc.lock"))
    checksum = next(out["md5"] for out in lock["stages"]["evaluate"]["outs"] if out["path"].endswith("parquet"))
    cached = project / ".dvc/cache/files/md5" / checksum[:2] / checksum[2:]
    aside = cached.rename(project / "aside")
    try:
        told, read = report.gather(found)
        assert set(read) == {("bpm", 1)}
        assert told[0].state == FAILED
        assert told[0].reason.startswith("data/predictions.parquet: cannot be had")
    finally:
        aside.rename(cached)


@pytest.mark.parametrize(
    ("name", "content"),
    [("pipeline.py", _CODE + "# changed\n"), ("data/raw", "other recordings")],
    ids=["code", "data"],
)
def test_what_older_sources_made_does_not_count(clean, compared, name, content):
    before = provenance.expected({}).name("random", 1)
    (clean / name).write_text(content)
    found = experiments.collect(provenance.expected({}), ("random", "bpm"), (1,))
    assert set(_states(found).values()) == {MISSING}
    assert found[0].name != before


def test_other_parameters_do_not_count_unless_they_change_nothing(clean, compared):
    assert set(_states(experiments.collect(provenance.expected({}), ("random", "bpm"), (1,))).values()) == {DONE}
    overridden = provenance.expected({"train.learning_rate": "1e-4"})
    assert set(_states(experiments.collect(overridden, ("random", "bpm"), (1,))).values()) == {MISSING}
    assert overridden.fixed["train.learning_rate"] == 1e-4
    content = yaml.safe_load((clean / "params.yaml").read_text())
    content["run"]["workers"] = 7
    content["pretrain"]["steps"] = 3
    # Learning rates are one number, however they are written.
    content["train"]["learning_rate"] = "15e-4"
    (clean / "params.yaml").write_text(yaml.safe_dump(content))
    assert set(_states(experiments.collect(provenance.expected({}), ("random", "bpm"), (1,))).values()) == {DONE}


def test_experiments_of_an_earlier_commit_count(clean, compared):
    """A commit of a README, say, makes none of them another's."""
    before = experiments.collect(provenance.expected({}), ("random", "bpm"), (1,))
    (clean / "README.md").write_text("A word more.\n")
    git("add", "README.md")
    git("commit", "-qm", "words")
    try:
        assert experiments.collect(provenance.expected({}), ("random", "bpm"), (1,)) == before
    finally:
        git("reset", "-q", "--hard", "HEAD~1")


def test_a_value_that_yaml_cannot_read_is_named():
    with pytest.raises(TarkibError, match=r"-S train.epochs=\[: not a value"):
        provenance._parsed("train.epochs", "[")


@pytest.mark.parametrize(
    "lock",
    [
        None,
        [],
        {"stages": 5},
        {"stages": {"evaluate": 5}},
        {"stages": {"evaluate": {"outs": [5]}}},
        {"stages": {"evaluate": {"cmd": "c", "params": {"params.yaml": [1]}}}},
        {"stages": {"evaluate": {"cmd": "c", "deps": [{"x": 1}]}}},
    ],
)
def test_a_lock_that_dvc_did_not_write_stands_for_nothing(lock):
    expectation = provenance.Expectation("head", {"evaluate": provenance.Stage("c", {}, {})})
    assert expectation.differences(lock) == ["dvc.lock is missing, or not as DVC writes it"]
    assert expectation.met_by(lock) is None


def test_an_overridden_parameter_is_run_with(monkeypatch):
    asked = []
    monkeypatch.setattr(queue, "dvc", lambda *arguments: asked.append(arguments))
    queue.put("bpm-seed1-1234567", "evaluate", {"train.epochs": "8", "augment.mode": "bpm", "train.seed": 1})
    settings = ("-S", "train.epochs=8", "-S", "augment.mode=bpm", "-S", "train.seed=1")
    assert asked == [("--wait-for-lock", "exp", "run", "--queue", "--name", "bpm-seed1-1234567", *settings, "evaluate")]


def test_what_git_does_not_know_would_be_left_out_of_experiments(clean):
    folder = clean / "data"
    pipeline = yaml.safe_load((clean / "dvc.yaml").read_text())
    pipeline["stages"]["mix"]["deps"].append("extra.py")
    kept = (clean / "dvc.yaml").read_bytes()
    (clean / "extra.py").write_text("")
    (clean / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    try:
        with pytest.raises(TarkibError, match=r"extra\.py: Git does not know it, so experiments would run without it"):
            provenance.expected({})
    finally:
        (clean / "extra.py").unlink()
        (clean / "dvc.yaml").write_bytes(kept)
    assert folder.is_dir()


def test_a_missing_source_is_named(clean):
    (clean / "data/raw").unlink()
    with pytest.raises(TarkibError, match="data/raw: not there; bring it back"):
        provenance.expected({})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"augment.mode": "bpm"}, "-S augment.mode: is set by the comparison; give --modes or --seeds"),
        ({"train.seed": "3"}, "-S train.seed: is set by the comparison"),
        ({"data.test": "data/test"}, "-S data.test: set it in params.yaml"),
        ({"train.epochs": "1,2"}, "-S train.epochs=1,2: one value only"),
        ({"train.epoch": "1"}, "train.epoch: unknown key; did you mean train.epochs?"),
        ({"train.epochs": "many"}, "train.epochs: must be a valid integer, not 'many'"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(project, overrides, said):
    with pytest.raises(TarkibError) as error:
        provenance.expected(overrides)
    assert said in str(error.value)


def test_nothing_to_report_is_an_error(project, capsys):
    assert main(["compare", "--modes", "bpm", "--seeds", "77", "--collect", "--out", "x.html"]) == 1
    assert "no experiment to report:\n  bpm, seed 77: missing" in capsys.readouterr().err


def test_outside_of_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TarkibError, match=r"params\.yaml: cannot be read .*; run from the project's root"):
        provenance.expected({})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--modes", "random,waltz"], "give some of random,bpm,dastgah,dastgah+bpm"),
        (["--seeds", "1,x"], "give a whole number of at least 0"),
        (["--seeds", ","], "give whole numbers, such as 1,2,3"),
        (["-S", "epochs"], "give a parameter and its value, such as train.epochs=8"),
        (["--jobs", "0"], "give a whole number of at least 1"),
        (["--out", "report.md"], "name a file that ends in .html"),
    ],
)
def test_wrong_options_say_what_is_right(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        main(["compare", *arguments])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (["> python -m stages.mix", "error: a: no b; do c", "ERROR: failed to reproduce 'mix'"], "a: no b; do c"),
        (["error: p: 2 value(s) to put right:", "  train.x: y", "ERROR: no"], "p: 2 value(s) to put right: train.x: y"),
        (["Traceback (most recent call last):", "torch.OutOfMemoryError: no room"], "torch.OutOfMemoryError: no room"),
        (["ERROR: failed to reproduce 'mix': killed"], "failed to reproduce 'mix': killed"),
        (["mixing: 3 of 20"], "mixing: 3 of 20"),
        ([], "it said nothing"),
    ],
)  # fmt: skip
def test_the_reason_in_a_log(log, expected):
    assert queue.reason(log) == expected


def test_the_queue_as_dvc_prints_it(monkeypatch):
    printed = """Task     Name                       Created       Status
28854ba  bad                        04:02 PM      Running
c258a1d  dastgah+bpm-seed1-abc1234  Nov 25, 2026  Success
c258a1e  dastgah+bpm-seed1-abc1234  Nov 24, 2026  Failed

Worker status: 1 active, 2 idle"""
    monkeypatch.setattr(queue, "dvc", lambda *_: printed)
    assert queue.status() == queue.Status({"bad": "Running", "dastgah+bpm-seed1-abc1234": "Success"}, 1, 2)


@pytest.mark.parametrize(
    ("cores", "count", "jobs", "expected"),
    [(2, 8, None, (2, 1)), (8, 3, None, (3, 2)), (1, 8, None, (1, 1)), (8, 8, 2, (2, 4)), (2, 8, 4, (4, 1))],
)
def test_cores_are_shared_out(monkeypatch, cores, count, jobs, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(queue, "available_cores", lambda: cores)
    assert queue.shares("cpu", count, jobs) == expected


def test_threads_that_the_user_has_set_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert queue.shares("cpu", 8, 2) == (2, None)


def test_a_gpu_is_given_to_one_experiment_after_another(monkeypatch):
    from tarkib.training import devices

    monkeypatch.setattr(devices, "choose", lambda text: devices.Devices("cuda", 1))
    assert queue.shares("auto", 8, None) == (1, None)
    assert queue.shares("cuda", 8, 2) == (2, None)


def test_details_are_json(compared):
    found = experiments.collect(provenance.expected({}), ("random",), (1,))
    assert json.loads(git("show", f"{found[0].revision}:metrics/details.json")) == {"left_out": {}}
