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


def test_it_prints_the_facts_and_how_to_pin_them(served, folder, tmp_path, capsys):
    assert fetch(NAME) == 0
    output = capsys.readouterr().out
    weights = folder / "pytorch_model.bin"
    parameters = sum(tensor.numel() for tensor in torch.load(weights, weights_only=True).values())
    assert f"{NAME}: downloaded" in output
    assert f"commit   {COMMIT}" in output
    assert str(tmp_path / f"cache/models--m-a-p--MERT-v1-95M/snapshots/{COMMIT}") in output
    assert f"pytorch_model.bin, {weights.stat().st_size / 1e6:.1f} MB, SHA-256 {checksum(weights)}" in output
    assert f"{parameters:,} parameters, 3 hidden states of 32" in output
    assert "CC BY-NC 4.0, as far as is known: no commercial use" in output
    pinned = yaml.safe_load(output[output.index("  model:") :])
    assert pinned == {"model": {"backbone": NAME, "revision": COMMIT}}


def test_a_second_call_needs_no_network(served, capsys, monkeypatch):
    assert fetch(NAME) == 0
    served.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    capsys.readouterr()
    assert fetch(NAME, "--revision", COMMIT) == 0
    assert "no network was needed" in capsys.readouterr().out
    assert served.requests == []


def test_a_damaged_file_is_named_with_the_command_that_repairs_it(served, tmp_path, capsys):
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
    output = capsys.readouterr().out
    pinned = yaml.safe_load(output[output.index("  model:") :])["model"]
    backbone = load_backbone(pinned["backbone"], seed=0, revision=pinned["revision"])
    assert backbone.source["revision"] == pinned["revision"]
    assert fetch(str(folder), "--revision", "0" * 16) == 1
    assert "model.revision is 0000000000000000" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "message"), [("mert-v1-95m", "did you mean m-a-p/"), ("mert-tiny", NAME)])
def test_other_names_are_refused_with_the_published_ones(capsys, name, message):
    assert fetch(name) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.slow
def test_a_killed_download_leaves_nothing_half_written_and_then_no_network_is_needed(folder, tmp_path):
    """Three processes and a server that listens."""
    cache = tmp_path / "cache"
    code = "import sys; from tarkib.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "fetch-backbone", NAME]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    with serve(folder) as fake:
        environment = {**kept, "HF_ENDPOINT": fake.url, "HF_HOME": str(cache), "NO_PROXY": "*"}
        fake.stall_after = 50_000
        killed = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while fake.downloads()[-1:] != ["pytorch_model.bin"]:
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.05)
        killed.kill()
        killed.communicate()
        fake.stall_after = None
        second = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert second.returncode == 0, second.stderr
        assert f"{NAME}: downloaded" in second.stdout
    environment["HF_HUB_OFFLINE"] = "1"
    third = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert third.returncode == 0, third.stderr
    assert "no network was needed" in third.stdout
    # No progress bars without a terminal, and no warnings.
    assert second.stderr == third.stderr == ""
