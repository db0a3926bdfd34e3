"""Each stage killed at random moments under DVC and run again at once: the bytes must be those of an undisturbed run.

    python -m benchmarks.kills [--stages slice mix] [--moments 10] [--seed 0] [--params params.yaml]

A copy of this checkout is made in a temporary folder, and `dvc repro` runs there once undisturbed. Then, for each stage
and moment, `dvc repro -f -s STAGE` is started; after a random time DVC, the stage or all of the process group gets
SIGKILL, SIGTERM or SIGINT, in turn; the same command follows at once, while what was left behind may still live. It
prints a line each and ends with 1 where an output differs, a file of a killed process stays, or a process lives on.
"""

import argparse
import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
VICTIMS = ("dvc", "stage", "group")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def copy(params: Path, folder: Path) -> None:
    """Copy what Git knows of this checkout, as a repository of its own."""
    command = ["git", "ls-files", "-zco", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    shutil.copy2(params, folder / "params.yaml")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def environment() -> dict[str, str]:
    """This environment's programs, without the variables of a DVC run that started this script."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "PYTHON"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def outputs(folder: Path, stage: str) -> list[Path]:
    """What dvc.yaml says that a stage writes."""
    declared = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"][stage]
    names = [*declared.get("outs", []), *declared.get("metrics", [])]
    return [folder / (next(iter(one)) if isinstance(one, dict) else one) for one in names]


def checksums(paths: list[Path]) -> dict[str, str]:
    """SHA-256 of every file at or below the paths."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def repro(folder: Path, *options: str) -> subprocess.Popen:
    """Start `dvc repro` in a process group of its own."""
    log = (folder / "log.txt").open("a")
    command = ["dvc", "repro", *options]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
    )


def living(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder."""
    found = []
    for one in psutil.process_iter():
        try:
            if Path(one.cwd()) == folder and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except (psutil.Error, OSError):
            continue
    return found


def kill(dvc: subprocess.Popen, stage: str, victim: str, number: int) -> str:
    """Send a signal; to whom it went, since a stage may not have begun yet or have ended."""
    if dvc.poll() is not None:
        return "nobody (it had ended)"
    if victim == "group":
        os.killpg(dvc.pid, number)
        return "the group"
    if victim == "stage":
        with suppress(psutil.Error):
            for one in psutil.Process(dvc.pid).children(recursive=True):
                if one.cmdline()[-2:] == ["-m", f"stages.{stage}"]:
                    one.send_signal(number)
                    return "the stage"
    dvc.send_signal(number)
    return "dvc"


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    stages = ["demo", "slice", "annotate", "mix", "train", "leakage", "evaluate"]
    parser.add_argument("--stages", nargs="+", default=stages)
    parser.add_argument("--moments", type=int, default=10, help="kills a stage (default 10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml", help="(default: this checkout's)")
    options = parser.parse_args()
    rng, wrong = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="tarkib-kills-") as name:
        folder = Path(name).resolve()
        copy(options.params, folder)
        if repro(folder).wait() != 0:
            print((folder / "log.txt").read_text())
            return 1
        for stage in options.stages:
            paths = outputs(folder, stage)
            expected = checksums(paths)
            began = time.monotonic()
            repro(folder, "-f", "-s", "--no-run-cache", stage).wait()
            seconds = time.monotonic() - began
            print(f"{stage}: {seconds:.1f} s, {'the same' if checksums(paths) == expected else 'OTHERS'} when repeated")
            turns = itertools.cycle((victim, number) for number in SIGNALS for victim in VICTIMS)
            for _ in range(options.moments):
                victim, number = next(turns)
                moment = rng.uniform(0.0, seconds)
                dvc = repro(folder, "-f", "-s", "--no-run-cache", stage)
                time.sleep(moment)
                hit = kill(dvc, stage, victim, number)
                sent = time.monotonic()
                dvc.wait()
                ended = time.monotonic() - sent
                # Forced, since DVC would otherwise take the outputs from its cache.
                code = repro(folder, "-f", "-s", "--no-run-cache", stage).wait()
                faults = [] if code == 0 else [f"dvc repro ends with {code}"]
                if checksums(paths) != expected:
                    faults.append("other bytes")
                if orphans := psutil.wait_procs(living(folder), 5.0)[1]:
                    faults.append(f"still alive: {[one.pid for one in orphans]}")
                if left := [str(path) for path in folder.rglob("*.tarkib.*") if ".dvc" not in path.parts]:
                    faults.append(f"left behind: {left}")
                wrong += bool(faults)
                print(
                    f"  {signal.Signals(number).name} to {hit} after {moment:.1f} s, dvc ended {ended:.1f} s later: "
                    f"{'; '.join(faults) or 'the same bytes'}",
                    flush=True,
                )
        if wrong:
            print((folder / "log.txt").read_text())
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
