"""The test set compared with data/slices → metrics/leakage.json."""

from pathlib import Path

from stages import run
from tarkib import params
from tarkib.evaluation import testset
from tarkib.leakage import matches
from tarkib.runtime import versioning
from tarkib.runtime.project import METRICS, SLICES


def main() -> None:
    """Find test excerpts that occur in training or validation recordings, and warn of them."""
    settings = params.load()
    versioning.check_tracked(Path(settings.data.test))
    test, excerpts = testset.decode(testset.load(Path(settings.data.test)))
    found = matches.find(test, excerpts, SLICES)
    print(f"{len(excerpts)} test excerpts compared with the recordings in {SLICES}", *matches.warnings(found), sep="\n")
    matches.write(METRICS / "leakage.json", len(excerpts), found)


if __name__ == "__main__":
    run(main)
