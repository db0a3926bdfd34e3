import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from fake_hub import COMMIT, NAME, FakeHub, serve, use
from small_mert import published

from tarkib.cli import main
from tarkib.models import load_backbone
from tarkib.models.checkpoint import checksum


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    published(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def served(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serve(folder) as fake:
        use(monkeypatch, fake.url, tmp_path / "cache")
        yield fake


def fetch(*arguments: str) -> int:
    return main(["fetch-backbone", *arguments])


def test_it_tells_what_came_and_how_to_pin_it(served, folder, tmp_path, capsys):
    assert fetch(NAME) == 0
    said = capsys.readouterr().out
    weights = folder / "pytorch_model.bin"
    parameters = sum(tensor.numel() for tensor in torch.load(weights, weights_only=True).values())
    assert f"{NAME}: downloaded" in said
    assert f"commit   {COMMIT}" in said
    assert str(tmp_path / f"cache/models--m-a-p--MERT-v1-95M/snapshots/{COMMIT}") in said
    assert f"pytorch_model.bin, {weights.stat().st_size / 1e6:.1f} MB, SHA-256 {checksum(weights)}" in said
    assert f"{parameters:,} parameters, 3 hidden states of 32" in said
    assert "CC BY-NC 4.0, as far as is known: no commercial use" in said
    pinned = yaml.safe_load(said[said.index("  model:") :])
    assert pinned == {"model": {"backbone": NAME, "revision": COMMIT}}


def test_called_again_it_asks_no_one(served, capsys, monkeypatch):
    assert fetch(NAME) == 0
    served.asked.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    capsys.readouterr()
    assert fetch(NAME, "--revision", COMMIT) == 0
    assert f"{NAME}: is here already, no network was needed" in capsys.readouterr().out
    assert served.asked == []


def test_a_damaged_file_is_told_and_fetched_again(served, tmp_path, capsys):
    assert fetch(NAME) == 0
    weights = tmp_path / f"cache/models--m-a-p--MERT-v1-95M/snapshots/{COMMIT}/pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:-100])
    capsys.readouterr()
    assert fetch(NAME) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{weights}: damaged" in line
    remedy = line[line.index("`tarkib ") + len("`tarkib ") :].rstrip("`").split()
    assert main(remedy) == 0
    assert "downloaded" in capsys.readouterr().out
    assert fetch(NAME) == 0


def test_a_directory_is_checked_and_pinned(folder, capsys):
    assert fetch(str(folder)) == 0
    said = capsys.readouterr().out
    pinned = yaml.safe_load(said[said.index("  model:") :])["model"]
    assert (
        load_backbone(pinned["backbone"], seed=0, revision=pinned["revision"]).source["revision"] == pinned["revision"]
    )
    assert fetch(str(folder), "--revision", "0" * 16) == 1
    assert "model.revision is 0000000000000000" in capsys.readouterr().err
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert fetch(str(folder)) == 1
    assert "damaged, cut short or of another format (0 bytes)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mert-v1-95m",
            "neither a directory nor one of mert-tiny, mert-tiny-random, mel-cnn, m-a-p/MERT.*did you mean m-a-p/",
        ),
        (
            "mert-tiny",
            "mert-tiny: cannot be downloaded; give one of m-a-p/MERT-v1-330M, m-a-p/MERT-v1-95M",
        ),
    ],
)
def test_other_names_are_refused_with_the_list(capsys, name, message):
    assert fetch(name) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(line)


def test_no_network_is_an_error_of_one_line(tmp_path, monkeypatch, capsys):
    use(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    assert fetch(NAME) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be reached" in line
    assert "once with a network" in line


def test_from_end_to_end_a_killed_download_resumes_and_then_no_network_is_needed(folder, tmp_path):
    """Three processes and a server that listens."""
    cache = tmp_path / "cache"
    # Written in small pieces, since the file is small.
    code = (
        "import sys; from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = 4096; "
        "from tarkib.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "fetch-backbone", NAME]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    with serve(folder) as fake:
        environment = {**kept, "HF_ENDPOINT": fake.url, "HF_HOME": str(cache), "OMP_NUM_THREADS": "1", "NO_PROXY": "*"}
        fake.stall_after = 50_000
        killed = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not (found := list(cache.rglob("*.tarkib.incomplete"))) or found[0].stat().st_size < 30_000:
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.05)
        killed.kill()
        killed.communicate()
        had = found[0].stat().st_size
        fake.stall_after = None
        fake.asked.clear()
        resumed = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert resumed.returncode == 0, resumed.stderr
        assert f"{NAME}: downloaded" in resumed.stdout
        assert [how for method, path, how in fake.asked if method == "GET" and path.endswith(".bin")] == [
            f"bytes={had}-"
        ]
    environment["HF_HUB_OFFLINE"] = "1"
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "is here already, no network was needed" in again.stdout
    # No progress bars where there is no terminal, and no warnings for a person to wonder about.
    assert resumed.stderr == again.stderr == ""
