"""What several tests need: parameters, and small recordings that the tests make."""

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tarkib import params
from tarkib.audio import SAMPLE_RATE

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def defaults() -> params.Params:
    """The parameters that the project ships."""
    return params.load(REPOSITORY / "params.yaml")


@pytest.fixture
def settings(defaults: params.Params) -> Callable[..., params.Params]:
    """Give the shipped parameters with some changed: `settings(augment={"mode": "bpm"})`."""

    def changed(**sections: dict) -> params.Params:
        parts = {name: dataclasses.replace(getattr(defaults, name), **values) for name, values in sections.items()}
        return dataclasses.replace(defaults, **parts)

    return changed


@pytest.fixture
def content() -> dict:
    """params.yaml as nested dicts, to be spoilt."""
    return params.read(REPOSITORY / "params.yaml")


def noise(seconds: float, seed: int = 0, rate: int = SAMPLE_RATE, level: float = 0.1) -> np.ndarray:
    """White noise, float32 of shape (n,): different for each seed."""
    return (np.random.default_rng(seed).standard_normal(int(seconds * rate)) * level).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, **options: Any) -> Path:
    """Write a sound file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """A Chromium that is installed here, as playwright drives it; a test is skipped where either is not."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser is installed; tried {', '.join(_BROWSERS)}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", *flags])
        yield browser
        browser.close()


@contextmanager
def ray_cluster(nodes: int, cpus: int) -> Iterator[Any]:
    """A Ray cluster on this machine, whose address is in RAY_ADDRESS."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    # A short path, since a socket's may have 107 characters; our own, since Ray notes a cluster's address there.
    short = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
    with pytest.MonkeyPatch.context() as patch, short as folder:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        started = Cluster()
        try:
            for _ in range(nodes):
                started.add_node(num_cpus=cpus, include_dashboard=False)
            patch.setenv("RAY_ADDRESS", started.address)
            yield started
        finally:
            started.shutdown()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread for torch, where it is used: small work waits longer for threads than it takes."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def same_path() -> Iterator[None]:
    """The module path as it was: MLflow puts the code that a model brings before all other and leaves it there."""
    before = sys.path
    sys.path = list(before)
    yield
    sys.path = before


@pytest.fixture(scope="session")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ten small mixtures, beside their slices; to be read, not to be changed."""
    from small_dataset import write_dataset

    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def own_mixtures(mixtures: Path, tmp_path: Path) -> Path:
    """A copy of it for one test alone, which may spoil it."""
    return shutil.copytree(mixtures.parent, tmp_path / "data") / "mixtures"
