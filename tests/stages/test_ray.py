"""Stages on a real cluster: nodes that share this machine give what the machine alone gives."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import checksums, run_python, set_parameters

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

STAGES = {
    "slice": ("tarkib.recordings.slicing.slice_recordings", ["data/slices"]),
    "annotate": ("tarkib.annotation.jobs.annotate_recording", ["data/annotations.parquet", "data/suspects.csv"]),
    "mix": ("tarkib.mixing.rendering.render_shard", ["data/mixtures"]),
}

# A stage with many small shards, whose jobs are watched. What this defines, Ray takes to the workers with the job.
RUN = """
import os, pkgutil, signal
from pathlib import Path
import stages.{stage} as stage
from tarkib.audio import clips
clips.CLIPS_PER_SHARD = 4
owner, name = {target!r}.rsplit(".", 1)
owner = pkgutil.resolve_name(owner)
whole = getattr(owner, name)
def watched(job):
{watch}
    return whole(job)
setattr(owner, name, watched)
stage.main()
"""

NOTE_THE_NODE = """
    import ray
    Path("nodes").mkdir(exist_ok=True)
    Path("nodes", ray.get_runtime_context().get_node_id()).touch()
"""

# The first to come to a shard's third clip kills its process, maybe another's before, and never writes the rest.
DIE_ONCE = """
    import ray
    from tarkib.audio import clips
    encode, calls = clips.encode, []
    def deadly(samples):
        calls.append(1)
        if len(calls) == 3 and {when}:
            try:
                Path("died").open("x").close()
            except FileExistsError:
                pass
            else:
                for victim in {victims}:
                    os.kill(victim, signal.SIGKILL)
        return encode(samples)
    clips.encode = deadly
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes with a CPU each, whose address is in RAY_ADDRESS."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # A short path, since a socket's may have 107 characters; our own, since Ray notes a cluster's address there.
        folder = tempfile.mkdtemp(prefix="ray-")
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        started = Cluster()
        try:
            started.add_node(num_cpus=1, include_dashboard=False)
            started.add_node(num_cpus=1)
            patch.setenv("RAY_ADDRESS", started.address)
            yield started
        finally:
            started.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def run_watched(folder: Path, stage: str, watch: str = "") -> None:
    """Run a stage with small shards."""
    done = run_python(folder, RUN.format(stage=stage, target=STAGES[stage][0], watch=watch))
    assert done.returncode == 0, done.stderr
    assert not list(folder.rglob("*.partial"))


@pytest.fixture(scope="module")
def local(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages up to the mixtures have run without a cluster; to be read, not to be changed."""
    folder = tmp_path_factory.mktemp("local")
    shutil.copytree(recordings / "raw", folder / "data/raw")
    set_parameters(folder)
    for stage in STAGES:
        run_watched(folder, stage)
    return folder


@pytest.fixture
def on_cluster(cluster: Any, local: Path, tmp_path: Path) -> Callable[..., Path]:
    """Run a stage of a copy of the local project on the cluster: `on_cluster("mix", watch="...")`."""

    def run(stage: str, watch: str) -> Path:
        folder = tmp_path / "project"
        shutil.copytree(local, folder, ignore=shutil.ignore_patterns(".cache"))
        for name in STAGES[stage][1]:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        set_parameters(folder, run={"engine": "ray", "workers": None})
        run_watched(folder, stage, watch)
        return folder

    return run


@pytest.mark.parametrize("stage", STAGES)
def test_two_nodes_share_a_stage_and_give_the_same_bytes(local, on_cluster, stage):
    folder = on_cluster(stage, NOTE_THE_NODE)
    assert checksums(folder, "data") == checksums(local, "data")
    assert len(list((folder / "nodes").iterdir())) == 2


def test_a_worker_that_is_killed_midway_changes_nothing(local, on_cluster):
    folder = on_cluster("mix", DIE_ONCE.format(when=True, victims="[os.getpid()]"))
    assert (folder / "died").exists()
    assert checksums(folder, "data") == checksums(local, "data")


def test_a_node_that_is_killed_midway_changes_nothing(cluster, local, on_cluster):
    third = cluster.add_node(num_cpus=1)
    # A worker's parent is its node's raylet.
    on_third = f"ray.get_runtime_context().get_node_id() == {third.node_id!r}"
    folder = on_cluster("mix", DIE_ONCE.format(when=on_third, victims="[os.getppid(), os.getpid()]"))
    assert (folder / "died").exists()
    assert checksums(folder, "data") == checksums(local, "data")
