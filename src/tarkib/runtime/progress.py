"""Progress of long work."""

import sys
from collections.abc import Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterator[Item], total: int, what: str) -> Iterator[Item]:
    """Pass items on with a progress bar on a terminal, or a line at each quarter in a log."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=what, unit="job", leave=False) as bar:
            for item in items:
                yield item
                bar.update()
        return
    for done, item in enumerate(items, start=1):
        yield item
        if total > 1 and done * 4 // total > (done - 1) * 4 // total:
            print(f"{what}: {done * 100 // total} %", file=sys.stderr, flush=True)


def note(what: str) -> None:
    """Say on a terminal what takes long and has no progress to show."""
    if sys.stderr.isatty():
        print(what, file=sys.stderr, flush=True)
