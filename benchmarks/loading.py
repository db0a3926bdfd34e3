"""How fast clips reach a model, beside the original's way, in one run on the same sound.

    python -m benchmarks.loading         # some minutes; prints, and writes into docs/performance.md

Takes the demo's data/mixtures (make repro). Nothing is computed with the clips: batches are taken from a loader as fast
as it gives them.
"""

import argparse
import itertools
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import librosa
import numpy as np
import psutil
import soundfile
import soxr
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import Wav2Vec2FeatureExtractor

from benchmarks import tables
from tarkib import tables as columns
from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE, clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.runtime import parallel
from tarkib.training.datasets import MixtureSet
from tarkib.vocabulary import INSTRUMENTS

DOCUMENT = Path("docs/performance.md")
MIXTURES = Path("data/mixtures")
BATCH = 16
WORKERS = (0, 1, 2, 4)

_ORIGINAL_RATE = 44_100  # Hz, of the files that the original trains on


class Floats(MixtureSet):
    """Our set with samples as floating-point numbers: twice the bytes between processes."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {
            "samples": torch.from_numpy(self.store.read(self.places[index])),
            "labels": torch.from_numpy(self.targets[index]),
            "index": torch.tensor(index),
        }


class Files(Dataset):
    """The original's way: a list of files, each decoded, mixed down, resampled and normalised when it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.items = [{"path": str(path), "labels": np.zeros(len(INSTRUMENTS), np.float32)} for path in paths]
        self.extractor = Wav2Vec2FeatureExtractor(
            feature_size=1, sampling_rate=SAMPLE_RATE, padding_value=0.0, do_normalize=True, return_attention_mask=True
        )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        samples, _ = librosa.load(self.items[index]["path"], sr=SAMPLE_RATE, mono=True)
        inputs = self.extractor(
            samples,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            padding="max_length",
            max_length=int(CLIP_SECONDS * SAMPLE_RATE),
            truncation=True,
        )
        labels = torch.from_numpy(self.items[index]["labels"])
        return {"samples": inputs.input_values[0], "mask": inputs.attention_mask[0], "labels": labels}


def _sound(count: int) -> Iterator[np.ndarray]:
    """Clips: the demo's mixtures, over and over."""
    rows = columns.MIXTURES.read(MIXTURES / "mixtures.parquet")
    with ClipStore(MIXTURES) as store:
        for row in itertools.islice(itertools.cycle(rows), count):
            yield store.read(Place.of(row))


def write_shards(folder: Path, count: int) -> None:
    """A set of mixtures as the stage mix leaves it."""
    sound, rows = _sound(count), []
    for shard, first in enumerate(range(0, count, clips.CLIPS_PER_SHARD)):
        names = [f"train-{i:06d}" for i in range(first, min(first + clips.CLIPS_PER_SHARD, count))]
        places = clips.write_shard(folder / clips.shard_name(shard), zip(names, sound, strict=False))
        rows += [
            {
                **dict.fromkeys(columns.MIXTURES.schema.names),
                "mixture_id": name,
                "split": "train",
                "mode": "random",
                "instruments": ["tar"],
                **place._asdict(),
            }
            for name, place in zip(names, places, strict=True)
        ]
    columns.MIXTURES.write(folder / "mixtures.parquet", rows)


def write_files(folder: Path, count: int, suffix: str) -> list[Path]:
    """The same sound as stereo files at 44.1 kHz, as the original's stages leave it."""
    paths = []
    for i, samples in enumerate(_sound(count)):
        paths.append(folder / f"{i}{suffix}")
        stereo = np.tile(soxr.resample(samples, SAMPLE_RATE, _ORIGINAL_RATE)[:, np.newaxis], 2)
        soundfile.write(paths[-1], np.clip(stereo, -1.0, 1.0), _ORIGINAL_RATE)
    return paths


def _loader(data: Dataset, workers: int) -> DataLoader:
    return DataLoader(
        data, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )


def _epoch(loader: DataLoader) -> tuple[float, float]:
    """Clips a second of one epoch, and the processor's milliseconds a clip, of this process and its workers."""
    before, begun = _processor_s(), time.perf_counter()
    count = sum(len(batch["samples"]) for batch in loader)
    spent = time.perf_counter() - begun
    return count / spent, 1000 * (_processor_s() - before) / count


def _processor_s() -> float:
    """Seconds that the processor gave this process and those that it started; the idle ones took none."""
    this = psutil.Process()
    times = [one.cpu_times() for one in (this, *this.children())]
    return sum(one.user + one.system for one in times)


def loading_table(sets: dict[str, Dataset], runs: int) -> str:
    """Median clips a second of each way with each number of workers, one epoch of each in turn, `runs` times.

    An epoch before these, which is not counted, starts the workers and brings the files into memory.
    """
    loaders = {(title, workers): _loader(data, workers) for title, data in sets.items() for workers in WORKERS}
    epochs: dict[tuple[str, int], list[tuple[float, float]]] = {key: [] for key in loaders}
    for run in range(runs + 1):
        for key, loader in loaders.items():
            epoch = _epoch(loader)
            if run:
                epochs[key].append(epoch)
    lines = []
    for title in sets:
        speeds, costs = zip(*(np.median(epochs[title, workers], axis=0) for workers in WORKERS), strict=True)
        lines.append(
            [title, *(f"{speed:,.0f}" for speed in speeds), *(f"{cost:.2f}" for cost in (costs[0], costs[-1]))]
        )
    header = ["clips a second", "no workers", *(f"{n} worker{'s' * (n != 1)}" for n in WORKERS[1:])]
    return tables.markdown([*header, "processor, ms a clip: no workers", f"{WORKERS[-1]} workers"], lines)


def profile_table(data: MixtureSet, runs: int) -> str:
    """Where the time of a clip goes, in one process."""
    order = np.random.default_rng(1).permutation(len(data))[:1_000].tolist()
    flacs = [data.store.read_bytes(data.places[i]) for i in order]
    items = [data[i] for i in order[:BATCH]]
    batches = -(-len(order) // BATCH)
    parts: dict[str, Callable[[], object]] = {
        "pread": lambda: [data.store.read_bytes(data.places[i]) for i in order],
        "decode FLAC": lambda: [clips.decode(flac, dtype="int16") for flac in flacs],
        "stack a batch": lambda: [torch.utils.data.default_collate(items) for _ in range(batches)],
    }
    spent: dict[str, list[float]] = {name: [] for name in parts}
    for run in range(runs + 1):
        for name, part in parts.items():
            begun = time.perf_counter()
            part()
            if run:
                spent[name].append(1000 * (time.perf_counter() - begun) / len(order))
    return tables.markdown(
        ["ms a clip, one core", *parts], [["", *(f"{np.median(one):.2f}" for one in spent.values())]]
    )


def main() -> None:
    """Measure, print, and put the tables into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=4_000, help="in the set of shards")
    parser.add_argument("--files", type=int, default=400, help="of the original's, which take longer")
    parser.add_argument("--runs", type=int, default=5, help="epochs of which the median is taken")
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder, options.clips)
        mixtures = MixtureSet(folder, "train")
        table = loading_table(
            {
                "the original's way, from MP3": Files(write_files(folder, options.files, ".mp3")),
                "the original's way, from WAV": Files(write_files(folder, options.files, ".wav")),
                "**Tarkib**": mixtures,
                "the same, floating-point samples between processes": Floats(folder, "train"),
            },
            options.runs,
        )
        place = f"{parallel.available_cores()} cores of {tables.machine()}"
        command = shlex.join(["python", "-m", "benchmarks.loading", *sys.argv[1:]])
        parts = [
            f"Measured with `{command}` on {place}.",
            table,
            profile_table(mixtures, options.runs),
        ]
    text = "\n\n".join(parts)
    tables.report(DOCUMENT, "loading", text, options.print_only)


if __name__ == "__main__":
    main()
