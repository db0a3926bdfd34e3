"""Demo, slices, annotations and mixtures have the same bytes on every x86-64 processor.

numpy and OpenBLAS choose their kernels by what the processor can do; here they are made to take those of older ones.
"""

import os

import pytest

from pipeline.conftest import INSTRUMENTS, checksums, run_python, set_parameters

pytestmark = pytest.mark.slow

AVX512 = "X86_V4 AVX512_ICL AVX512_SPR"
PROCESSORS = {
    "AVX2": {"NPY_DISABLE_CPU_FEATURES": AVX512, "OPENBLAS_CORETYPE": "Haswell"},
    "SSE3": {"NPY_DISABLE_CPU_FEATURES": f"X86_V3 {AVX512}", "OPENBLAS_CORETYPE": "Prescott"},
}

CODE = f"""
import runpy
from pathlib import Path
from tarkib.demo import orchestra

folder = Path("data")
jobs = orchestra.plan(5, 2, 8, dastgahs=("shur", "mahur"), instruments={INSTRUMENTS}, seconds=(10.0, 12.0))
orchestra.write_tables([row for job in jobs for row in orchestra.make(job, folder)], folder)
for stage in ("slice", "annotate", "mix"):
    runpy.run_module(f"stages.{{stage}}", run_name="__main__")
"""


def outputs(folder) -> dict[str, str]:
    set_parameters(folder, augment={"reverb": True, "align_beats": True})
    done = run_python(folder, CODE, forked=False)
    assert done.returncode == 0, done.stderr
    return checksums(folder, "data")


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> dict[str, str]:
    return outputs(tmp_path_factory.mktemp("here"))


@pytest.mark.parametrize("processor", PROCESSORS)
def test_an_older_processor_gives_the_same_bytes(here, tmp_path, monkeypatch, processor):
    for name, value in PROCESSORS[processor].items():
        monkeypatch.setitem(os.environ, name, value)
    assert outputs(tmp_path) == here
