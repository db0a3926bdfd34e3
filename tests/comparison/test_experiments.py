"""Experiments run by DVC in a repository whose pipeline takes no time: queue, failure, resumption, staleness."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from tarkib.cli import main
from tarkib.comparison import experiments, provenance, report
from tarkib.comparison.experiments import DONE, FAILED, MISSING, QUEUED, RUNNING, Experiment, Task
from tarkib.comparison.provenance import dvc, git
from tarkib.errors import TarkibError

pytestmark = pytest.mark.slow

_PIPELINE = """
stages:
  mix:
    cmd: python pipeline.py mix
    deps: [pipeline.py, "${data.raw}"]
    params: [augment, {versions.yaml: [numpy]}]
    outs: [data/mixtures]
  evaluate:
    cmd: python pipeline.py evaluate
    deps: [pipeline.py, data/mixtures]
    params: [train.seed, train.learning_rate]
    outs: [data/predictions.parquet]
    metrics: [{metrics/details.json: {cache: false}}]
"""

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
    text = ((name, pa.string()) for name in ("sample_id", "recording", "instrument"))
    fields = [*text, ("label", pa.bool_()), ("probability", pa.float64()), ("predicted", pa.bool_())]
    schema = pa.schema([pa.field(n, t, nullable=n == "label") for n, t in fields])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), "data/predictions.parquet")
    pathlib.Path("metrics").mkdir(exist_ok=True)
    pathlib.Path("metrics/details.json").write_text(json.dumps({"left_out": {}}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The repository, as the working directory of this process; its pipeline has run once, as after `make repro`."""
    folder = tmp_path_factory.mktemp("compare") / "project"
    (folder / "data").mkdir(parents=True)
    changed = pytest.MonkeyPatch()
    changed.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
        changed.delenv(name)
    changed.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    changed.setenv("OMP_NUM_THREADS", "1")
    params = (REPOSITORY / "params.yaml").read_text("utf-8").replace("data/demo/raw", "data/raw")
    (folder / "params.yaml").write_text(params)
    (folder / "versions.yaml").write_text("numpy: 2.3.5\n")
    (folder / "pipeline.py").write_text(_CODE)
    (folder / "dvc.yaml").write_text(_PIPELINE)
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
    kept = {name: (project / name).read_bytes() for name in ("pipeline.py", "params.yaml", "dvc.yaml", "data/raw")}
    yield project
    for name, content in kept.items():
        (project / name).write_bytes(content)


def _change(file: Path, **sections: dict) -> None:
    """Change values in sections of params.yaml."""
    content = yaml.safe_load(file.read_text())
    for name, values in sections.items():
        content[name].update(values)
    file.write_text(yaml.safe_dump(content))


def _mixed(project: Path) -> list[str]:
    """What was mixed so far, in order."""
    return (project / "made.log").read_text().splitlines()


def _run(modes: tuple[str, ...], seeds: tuple[int, ...]) -> tuple[list[Experiment], list[str]]:
    """Run a comparison's experiments; return them and the reported lines."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(experiments, "PAUSES_S", (0.05, 0.2))
        changed.setattr(experiments, "LOST_S", 10.0)
        changed.setattr(experiments, "ANSWER_S", 20.0)
        result = experiments.run(provenance.read({}), modes, seeds, {}, jobs=2, devices="cpu", report=lines.append)
    return result, lines


def _collect() -> list[Experiment]:
    return experiments.collect(provenance.read({}), ("random", "bpm"), (1,))


def _states(found: list[Experiment]) -> dict[tuple[str, int], str]:
    return {(one.mode, one.seed): one.state for one in found}


@pytest.fixture(scope="module")
def compared(project: Path) -> tuple[list[Experiment], list[str]]:
    """Three modes with one seed: one was run by hand, one fails, and one is new."""
    dvc("exp", "run", "-q", "-n", "by-hand", "-S", "augment.mode=bpm", "-S", "augment.seed=1", "-S", "train.seed=1")
    git("checkout", "-q", "--", ".")
    (project / "broken").touch()
    return _run(("random", "bpm", "dastgah"), (1,))


def test_what_is_missing_is_run_and_what_was_run_by_hand_is_not_computed_again(project, compared):
    result, lines = compared
    assert _states(result) == {("random", 1): DONE, ("bpm", 1): DONE, ("dastgah", 1): FAILED}
    assert sorted(_mixed(project)) == ["bpm 1", "dastgah+bpm 1", "random 1"]
    assert lines[0] == "3 experiments: 0 done, 0 in the queue, 3 to run; 2 at a time"
    assert sum(line.startswith(("random, seed 1: success; ", "bpm, seed 1: success; ")) for line in lines) == 2
    assert "; 0 left after 0:" in lines[-1]
    reason = "data/slices: no material in mode dastgah; add recordings of ney"
    assert result[2].reason == reason
    assert sum(reason in line for line in lines) == 1
    assert git("status", "--porcelain", "--untracked-files=no").strip() in ("", "M dvc.lock")


def test_collecting_runs_nothing_and_leaves_failures_as_rows(project, compared, capsys):
    before, tasks = _mixed(project), experiments.queue()
    out = project / "reports/comparison.html"
    arguments = ["compare", "--modes", "random,bpm,dastgah,dastgah+bpm", "--seeds", "1", "--collect", "--out", str(out)]
    assert main(arguments) == 1
    printed = capsys.readouterr().out
    assert "dastgah, seed 1: failed: data/slices: no material" in printed
    assert "dastgah+bpm, seed 1: missing" in printed
    assert (_mixed(project), experiments.queue()) == (before, tasks)
    assert "no material in mode dastgah; add recordings of ney" in out.read_text("utf-8")
    assert out.with_suffix(".md").exists()
    assert out.with_suffix(".png").exists()
    assert main(["compare", "--modes", "bpm", "--seeds", "77", "--collect", "--out", "x.html"]) == 1
    assert "no experiment to report:\n  bpm, seed 77: missing" in capsys.readouterr().err


def test_killed_and_called_again_it_goes_on(project, compared):
    """What failed is tried again, what is queued is waited for, and what died with its worker is run again.

    The command is killed while an experiment runs and others are queued, and then the worker with what it runs, as in a
    power cut: DVC would show that experiment as running for ever.
    """
    before = _mixed(project)
    (project / "broken").unlink()
    (project / "hold").touch()
    code = "from tarkib.cli import main; main(['compare', '--modes', 'random,dastgah', '--jobs', '1'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout.readline().startswith("4 experiments: 1 done, 0 in the queue, 3 to run; 1 at a time")
        running = None
        while running is None:
            assert killed.poll() is None
            running = next((task.pid for task in experiments.queue().values() if task.state == RUNNING), None)
        killed.kill()
    os.killpg(os.getpgid(running), signal.SIGKILL)
    states = _states(experiments.collect(provenance.read({}), ("random", "dastgah"), (1, 2)))
    assert states.pop(("random", 1)) == DONE
    assert set(states.values()) <= {QUEUED, RUNNING}
    (project / "hold").unlink()
    result, lines = _run(("random", "dastgah"), (1, 2))
    assert lines[0].startswith("4 experiments: 1 done, 3 in the queue, 0 to run")
    assert set(_states(result).values()) == {DONE}
    assert sorted(_mixed(project)[len(before) :]) == ["dastgah 1", "dastgah 2", "random 2"]
    assert any(line.endswith("its process is gone; queued again") for line in lines)
    # The task that failed before is no longer in the queue.
    assert not any("failed" in line for line in lines)
    again, lines = _run(("random", "dastgah"), (1, 2))
    assert again == result
    assert lines[0].startswith("4 experiments: 4 done, 0 in the queue, 0 to run")


@pytest.mark.parametrize(("file", "seed"), [("celery/broker/processed/1_0.celery.msg", 5), ("run/*/*.run", 6)])
def test_a_file_that_a_kill_left_half_written_is_deleted(project, compared, capsys, file, seed):
    """DVC can no longer read its queue then: for a message of nothing, or the file of a task that has run."""
    exps = project / ".dvc/tmp/exps"
    damaged = next(exps.glob(file), exps / file)
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_text('{"body": "gAJ9cQAoWA')
    os.utime(damaged, (0, 0))
    with pytest.raises(TarkibError):
        dvc("queue", "status")
    result, lines = _run(("bpm",), (seed,))
    assert _states(result) == {("bpm", seed): DONE}
    assert lines[0].startswith("1 experiment: 0 done, 0 in the queue, 1 to run")
    assert not damaged.exists()
    assert f"{damaged}: half-written" in capsys.readouterr().err


def test_what_the_queue_loses_while_a_comparison_waits_is_queued_once_more(project, monkeypatch):
    experiment, steps = Experiment("bpm", 9, MISSING, "bpm-seed9-1234567"), []
    states = iter((MISSING, MISSING, DONE))
    monkeypatch.setattr(experiments, "collect", lambda *_: [replace(experiment, state=next(states))])
    monkeypatch.setattr(experiments, "queue", dict)
    monkeypatch.setattr(experiments, "dvc", lambda *arguments, **_: steps.append(arguments[1:4]))
    lines: list[str] = []
    nothing = provenance.Project({}, "1234567")
    (result,) = experiments.run(nothing, ("bpm",), (9,), {}, jobs=1, devices="cpu", report=lines.append)
    assert result.state == DONE
    assert steps == [("exp", "run", "--queue")] * 2
    assert lines[2] == "bpm, seed 9: lost by DVC's queue; queued again"


def test_the_queue_is_changed_only_while_other_comparisons_are_kept_out(project, monkeypatch):
    """The worker of the only experiment is lost, and the experiment succeeds as soon as it is queued again."""
    experiment = Experiment("bpm", 9, MISSING, "bpm-seed9-1234567")
    steps: list[str] = []

    def step(*arguments: str, **_: object) -> None:
        with pytest.raises(BlockingIOError), (project / ".cache/comparison.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        steps.append(" ".join(arguments))

    def queue() -> dict[str, Task]:
        lost = "queue kill bpm-seed9-1234567" in steps
        return {} if not steps else {experiment.name: Task("success" if lost else RUNNING, None, None)}

    monkeypatch.setattr(experiments, "collect", lambda *_: [replace(experiment, state=DONE if steps else MISSING)])
    monkeypatch.setattr(experiments, "queue", queue)
    monkeypatch.setattr(experiments, "dvc", step)
    monkeypatch.setattr(experiments, "PAUSES_S", (0.0, 0.01))
    monkeypatch.setattr(experiments, "LOST_S", 0.05)
    lines: list[str] = []
    empty, overrides = provenance.Project({}, "1234567"), {"train.epochs": "8"}
    experiments.run(empty, ("bpm",), (9,), overrides, jobs=1, devices="cpu", report=lines.append)
    assert lines[1:] == ["bpm, seed 9: its process is gone; queued again", "bpm, seed 9: success; 0 left after 0:00:00"]
    settings = "-S train.epochs=8 -S augment.mode=bpm -S augment.seed=9 -S train.seed=9"
    queued = f"--wait-for-lock exp run --queue --name bpm-seed9-1234567 {settings} evaluate"
    assert steps == [queued, *(f"queue {action} bpm-seed9-1234567" for action in ("kill", "remove")), queued]


def test_predictions_come_from_the_experiments_and_without_them_these_fail(project, compared):
    collected = _collect()
    checked, read = report.gather(collected)
    assert checked == collected
    one, other = read["random", 1], read["bpm", 1]
    assert one.clips.classes == ("ney", "tar", "santur")
    assert (one.probabilities != other.probabilities).any()
    lock = yaml.safe_load(git("show", f"{collected[0].revision}:dvc.lock"))
    checksum = next(out["md5"] for out in lock["stages"]["evaluate"]["outs"] if out["path"].endswith("parquet"))
    cached = project / ".dvc/cache/files/md5" / checksum[:2] / checksum[2:]
    aside = cached.rename(project / "aside")
    try:
        checked, read = report.gather(collected)
    finally:
        aside.rename(cached)
    assert set(read) == {("bpm", 1)}
    assert checked[0].state == FAILED
    assert checked[0].reason.startswith("data/predictions.parquet: cannot be read")


@pytest.mark.parametrize(
    ("name", "content"), [("pipeline.py", _CODE + "# changed\n"), ("data/raw", "other recordings")]
)
def test_results_of_older_sources_do_not_count(clean, compared, name, content):
    before = _collect()
    assert set(_states(before).values()) == {DONE}
    (clean / name).write_text(content)
    collected = _collect()
    assert set(_states(collected).values()) == {MISSING}
    assert collected[0].name != before[0].name


def test_other_parameters_and_commits_do_not_count_if_they_change_nothing(clean, compared, tmp_path):
    before, collected = provenance.read({}), _collect()
    overridden = provenance.read({"train.learning_rate": "1e-4"})
    assert overridden.digest != before.digest
    assert overridden.fixed["train.learning_rate"] == 1e-4
    # The pipeline declares the whole section `augment`.
    assert provenance.read({"augment.reverb": "true"}).digest != before.digest
    with pytest.raises(TarkibError, match="comparable: false lets each mode mix other instruments"):
        provenance.read({"augment.comparable": "false"})
    # A learning rate is a number, however it is written.
    augment, train = {"seed": 5, "mode": "random"}, {"learning_rate": "15e-4"}
    _change(clean / "params.yaml", run={"workers": 7}, pretrain={"steps": 3}, augment=augment, train=train)
    assert provenance.read({}) == before
    # Data outside of the project count by size and time.
    (tmp_path / "song.wav").write_text("sound")
    _change(clean / "params.yaml", data={"raw": str(tmp_path)})
    outside = provenance.read({})
    assert provenance.read({}) == outside
    (tmp_path / "song.wav").write_text("another sound")
    assert provenance.read({}).digest != outside.digest
    _change(clean / "params.yaml", data={"raw": "data/raw"})
    (clean / "README.md").write_text("A word more.\n")
    git("add", "README.md")
    git("commit", "-qm", "words", "README.md")
    try:
        assert _collect() == collected
    finally:
        git("reset", "-q", "--hard", "HEAD~1")


def test_data_changed_since_dvc_add_are_named(clean):
    """DVC would run with the new data under the name of the old ones."""
    git("rm", "-q", "--cached", "data/raw")
    try:
        dvc("add", "-q", "data/raw")
        git("add", "data/raw.dvc", "data/.gitignore")
        before = provenance.read({})
        (clean / "data/raw").write_text("changed")
        with pytest.raises(TarkibError, match=r"data/raw\.dvc: data changed since dvc add; dvc add them again"):
            provenance.read({})
        dvc("add", "-q", "data/raw")
        assert provenance.read({}).digest != before.digest
    finally:
        git("reset", "-q", "--hard")
        (clean / "data/raw.dvc").unlink(missing_ok=True)
        (clean / "data/.gitignore").write_text("/mixtures\n/predictions.parquet\n")


def test_what_experiments_would_lack_is_named(clean, tmp_path, monkeypatch):
    pipeline = (clean / "dvc.yaml").read_text()
    (clean / "dvc.yaml").write_text(pipeline.replace("[pipeline.py, ", "[pipeline.py, extra.py, "))
    (clean / "extra.py").write_text("")
    with pytest.raises(TarkibError, match=r"extra\.py: not in Git, so experiments would run without; git add"):
        provenance.read({})
    (clean / "extra.py").unlink()
    (clean / "data/raw").unlink()
    with pytest.raises(TarkibError, match="data/raw: missing; restore it"):
        provenance.read({})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TarkibError, match=r"params\.yaml: cannot be read .*; run from the project's root"):
        provenance.read({})
    (tmp_path / "params.yaml").write_bytes((clean / "params.yaml").read_bytes())
    with pytest.raises(TarkibError, match="experiments need a Git repository with a commit; run"):
        provenance.read({})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"augment.mode": "bpm"}, "-S augment.mode: cannot be set for all experiments here; give --modes or --seeds"),
        ({"data.test": "data/test"}, "-S data.test: cannot be set for all experiments here; set it in params.yaml"),
        ({"train.epochs": "1,2"}, "-S train.epochs=1,2: several values; give one"),
        ({"train.epochs": "["}, "-S train.epochs=[: not a YAML value"),
        ({"train.epoch": "1"}, "train.epoch: unknown key; did you mean train.epochs?"),
        ({"train.epochs": "many"}, "train.epochs: must be a valid integer, not 'many'"),
    ],
)
def test_a_wrong_override_is_named(project, overrides, message):
    with pytest.raises(TarkibError) as error:
        provenance.read(overrides)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modes", "random,waltz"], "choose from random,bpm,dastgah,dastgah+bpm"),
        (["--seeds", "1,x"], "give a whole number of at least 0"),
        (["--out", "report.md"], "name a file that ends in .html"),
    ],
)
def test_a_wrong_option_is_answered_with_a_right_one(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", *arguments])
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (["> python -m stages.mix", "error: a: no b; do c", "ERROR: failed to reproduce 'mix'"], "a: no b; do c"),
        (["error: p: 2 value(s) to put right:", "  train.x: y", "ERROR: no"], "p: 2 value(s) to put right: train.x: y"),
        (["Traceback (most recent call last):", "torch.OutOfMemoryError: no room"], "torch.OutOfMemoryError: no room"),
        (["ERROR: failed to reproduce 'mix': killed"], "failed to reproduce 'mix': killed"),
        ([], "nothing was printed"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failure_is_in_its_log(tmp_path, log, expected):
    (tmp_path / "log").write_text("\n".join(log))
    assert experiments._failure(Task(FAILED, None, str(tmp_path / "log"))) == expected


@pytest.mark.parametrize(
    ("devices", "cores", "count", "jobs", "expected"),
    [
        ("cpu", 2, 8, None, (2, 1)),
        ("cpu", 8, 3, None, (3, 2)),
        ("cpu", 8, 8, 2, (2, 4)),
        ("cpu", 2, 8, 4, (4, 1)),
        ("auto", 8, 8, None, (1, None)),
        ("cuda", 8, 8, 2, (2, None)),
    ],
)
def test_cores_are_shared_out_and_a_gpu_takes_one_experiment(monkeypatch, devices, cores, count, jobs, expected):
    from tarkib.training import devices as choice

    monkeypatch.setattr(choice, "choose", lambda text: choice.Devices("cuda", 1))
    monkeypatch.setattr(experiments, "available_cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert experiments.concurrency(devices, count, jobs) == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert experiments.concurrency(devices, count, jobs) == (expected[0], None)  # as the user has set them
