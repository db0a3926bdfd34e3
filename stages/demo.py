"""The built-in orchestra → solos and a test set in data/demo."""

from functools import partial

from stages import run
from tarkib import params
from tarkib.demo import orchestra
from tarkib.runtime import parallel
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.project import DEMO


def main() -> None:
    """Plan what is played, then play it."""
    settings = params.load()
    jobs = orchestra.plan(settings.demo.seed, settings.demo.performers, settings.demo.excerpts)
    with atomic_dir(DEMO) as folder:
        make = partial(orchestra.make, folder=folder)
        made = parallel.map_jobs(make, jobs, what="demo", workers=settings.run.workers, engine=settings.run.engine)
        orchestra.write_tables([row for rows in made for row in rows], folder)
    print(f"{len(jobs)} solos and pieces")


if __name__ == "__main__":
    run(main)
