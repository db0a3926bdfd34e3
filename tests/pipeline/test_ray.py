"""Stages on a real cluster: nodes that share this machine give what the machine alone gives."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ray_cluster

from .conftest import checksums, run_stage, set_parameters

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

# Many small shards, whose jobs are watched. What this defines, Ray takes to the workers with the job.
WATCHED = """
import os, pkgutil, signal
from pathlib import Path
from tarkib.audio import clips
clips.CLIPS_PER_SHARD = 4
owner, name = {job!r}.rsplit(".", 1)
owner = pkgutil.resolve_name(owner)
whole = getattr(owner, name)
def watched(job):
{watch}
    return whole(job)
setattr(owner, name, watched)
"""

NOTE_THE_NODE = """
    import ray
    Path("nodes").mkdir(exist_ok=True)
    Path("nodes", ray.get_runtime_context().get_node_id()).touch()
"""

# The first on a node to come to a shard's third clip kills its process and the node, and never writes the rest.
KILL_THE_NODE = """
    import ray
    from tarkib.audio import clips
    encode, calls = clips.encode, []
    def deadly(samples):
        calls.append(1)
        if len(calls) == 3 and ray.get_runtime_context().get_node_id() == {node!r}:
            try:
                Path("died").open("x").close()
            except FileExistsError:
                pass
            else:
                for victim in (os.getppid(), os.getpid()):  # a worker's parent is its node's raylet
                    os.kill(victim, signal.SIGKILL)
        return encode(samples)
    clips.encode = deadly
"""

JOBS = {
    "slice": "tarkib.recordings.slicing.slice_recordings",
    "annotate": "tarkib.annotation.jobs.annotate_recording",
    "mix": "tarkib.mixing.rendering.render_shard",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes with a CPU each."""
    with ray_cluster(nodes=2, cpus=1) as started:
        yield started


@pytest.fixture(scope="module")
def local(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages up to the mixtures have run without a cluster; to be read, not to be changed."""
    folder = tmp_path_factory.mktemp("local")
    shutil.copytree(recordings / "raw", folder / "data/raw")
    set_parameters(folder)
    for stage, job in JOBS.items():
        run_stage(folder, stage, WATCHED.format(job=job, watch=""))
    return folder


def test_two_nodes_share_the_stages_and_give_the_same_bytes(cluster, local, tmp_path):
    shutil.copytree(local / "data/raw", tmp_path / "data/raw")
    set_parameters(tmp_path, run={"engine": "ray", "workers": None})
    for stage, job in JOBS.items():
        run_stage(tmp_path, stage, WATCHED.format(job=job, watch=NOTE_THE_NODE))
    assert checksums(tmp_path, "data") == checksums(local, "data")
    assert len(list((tmp_path / "nodes").iterdir())) == 2


def test_a_node_that_is_killed_midway_changes_nothing(cluster, local, tmp_path):
    folder = shutil.copytree(local, tmp_path / "project")
    shutil.rmtree(folder / "data/mixtures")
    set_parameters(folder, run={"engine": "ray", "workers": None})
    watch = KILL_THE_NODE.format(node=cluster.add_node(num_cpus=1).node_id)
    run_stage(folder, "mix", WATCHED.format(job=JOBS["mix"], watch=watch))
    assert (folder / "died").exists()
    assert checksums(folder, "data") == checksums(local, "data")
