import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise
from torch.utils.data import DataLoader

from tarkib import audio, tables
from tarkib.audio import clips
from tarkib.errors import TarkibError
from tarkib.training.datasets import MixtureSet, WindowSet
from tarkib.vocabulary import INSTRUMENTS


def row(i: int, place: clips.Place, split: str = "train") -> dict:
    return {
        "mixture_id": f"{split}-{i:06d}",
        "split": split,
        "mode": "bpm",
        "instruments": [INSTRUMENTS[i % 10], INSTRUMENTS[(i + 3) % 10]],
        "target_bpm": 90.0,
        "dastgah": None,
        "room_rt60_s": None,
        "room_wet_db": None,
        **place._asdict(),
    }


def sound(i: int) -> np.ndarray:
    return noise(audio.CLIP_SECONDS, seed=i)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven mixtures in two shards, the third and the sixth of them for validation."""
    folder = tmp_path_factory.mktemp("mixtures")
    rows = []
    for shard, numbers in enumerate(((0, 1, 2, 3), (4, 5, 6))):
        some = [(f"clip-{i}", sound(i)) for i in numbers]
        places = clips.write_shard(folder / clips.shard_name(shard), some)
        rows += [
            row(i, place, "validation" if i in (2, 5) else "train") for i, place in zip(numbers, places, strict=True)
        ]
    tables.MIXTURES.write(folder / "mixtures.parquet", rows)
    return folder


def test_items_are_the_split_s_mixtures_with_their_targets(folder):
    data = MixtureSet(folder, "train")
    assert (len(data), data.mode) == (5, "bpm")
    assert list(data.ids) == [f"train-{i:06d}" for i in (0, 1, 3, 4, 6)]
    for i, number in enumerate((0, 1, 3, 4, 6)):
        item = data[i]
        np.testing.assert_allclose(item["samples"] / 32_768, sound(number), atol=0.5 / 32_768)
        playing = [name for name, here in zip(INSTRUMENTS, item["labels"], strict=True) if here == 1]
        assert set(playing) == {INSTRUMENTS[number % 10], INSTRUMENTS[(number + 3) % 10]}
        assert item["labels"].sum() == 2
        assert (item["samples"].dtype, item["samples"].shape) == (torch.int16, (audio.CLIP_SAMPLES,))
        assert (item["labels"].dtype, item["labels"].shape) == (torch.float32, (10,))


def test_recordings_for_and_against_an_instrument_are_counted(tmp_path):
    """Three mixtures: two of one tar and two neys, one of a setar and a santur; and one of another split."""
    place = clips.Place(clips.shard_name(0), 512, 1_000)
    playing = (("tar", "ney"), ("tar", "ney"), ("setar", "santur"))
    mixtures = [{**row(i, place, "validation"), "instruments": list(names)} for i, names in enumerate(playing)]
    tables.MIXTURES.write(tmp_path / "mixtures.parquet", [*mixtures, row(0, place)])
    parts = [(0, "tar-ab-0001"), (0, "ney-ab-0001"), (1, "tar-ab-0002"), (1, "ney-cd-0001")]
    parts += [(2, "setar-ab-0001"), (2, "santur-ab-0001")]
    names = [(f"validation-{i:06d}", slice_id) for i, slice_id in parts] + [("train-000000", "ney-ef-0001")]
    same = {"metered": False, "dastgah": None, "bpm": None, "offset_s": 0.0, "stretch": 1.0, "shift_cents": 0.0}
    rows = [
        {**same, "mixture_id": mixture, "slice_id": part, "recording_id": part[:-5], "instrument": part.split("-")[0]}
        for mixture, part in names
    ]
    rows = [{**row, "gain_db": 0.0, "origin": "demo" if row["instrument"] == "ney" else "own"} for row in rows]
    tables.COMPONENTS.write(tmp_path / "components.parquet", rows)
    data = MixtureSet(tmp_path, "validation")
    assert data.recordings() == {"tar": 1, "ney": 2, "setar": 1, "santur": 1}
    assert data.recordings("demo") == {"ney": 2}
    observed = dict(zip(INSTRUMENTS, data.observed().T.tolist(), strict=True))
    # One mixture is without tar, of two recordings; two are without setar, of three; all three without daf, of five.
    assert [observed[name] for name in ("tar", "ney", "setar", "daf")] == [[1, 1], [2, 1], [1, 2], [0, 3]]


def test_a_shuffled_batch_names_its_clips(folder):
    data = MixtureSet(folder, "train")
    generator = torch.Generator().manual_seed(1)
    batches = list(DataLoader(data, batch_size=3, shuffle=True, num_workers=2, generator=generator))
    indices = torch.cat([batch["index"] for batch in batches])
    assert sorted(indices.tolist()) == [0, 1, 2, 3, 4] != indices.tolist()
    for batch in batches:
        for samples, index in zip(batch["samples"], batch["index"], strict=True):
            np.testing.assert_allclose(samples / 32_768, sound(int(data.ids[index][-6:])), atol=0.5 / 32_768)


def test_a_split_without_mixtures_is_refused(folder):
    with pytest.raises(TarkibError, match=r"no mixtures of split 'test'; run dvc repro mix"):
        MixtureSet(folder, "test")


def test_windows_lie_end_to_end_and_are_numbered():
    excerpts = [noise(12.6, seed=1), noise(1.0, seed=2), noise(7.4, seed=3)]
    windows = WindowSet(excerpts)
    assert windows.owner.tolist() == [0, 0, 0, 1, 2]
    assert [int(windows[i]["index"]) for i in range(len(windows))] == [0, 1, 2, 3, 4]
    whole = np.concatenate([windows[i]["samples"] for i in range(3)])
    np.testing.assert_array_equal(whole[: excerpts[0].size], excerpts[0])
    assert not whole[excerpts[0].size :].any()
    np.testing.assert_array_equal(windows[4]["samples"], excerpts[2][: audio.CLIP_SAMPLES])
    batch = next(iter(DataLoader(windows, batch_size=5)))
    assert batch["samples"].shape == (5, audio.CLIP_SAMPLES)
    assert batch["labels"].shape == (5, 10)
    scores = np.arange(50.0).reshape(5, 10)
    np.testing.assert_array_equal(windows.by_excerpt(scores), [scores[:3].mean(axis=0), scores[3], scores[4]])


def test_a_damaged_mixture_is_one_line_also_from_a_loader_process(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    data = MixtureSet(tmp_path / "copy", "train")
    place = data.places[1]
    with (tmp_path / "copy" / place.shard).open("r+b") as shard:
        shard.seek(place.offset + place.size // 2)
        shard.write(bytes(64))
    with pytest.raises(TarkibError) as raised:
        list(DataLoader(data, batch_size=2, num_workers=1))
    assert str(raised.value).startswith(
        f"{tmp_path / 'copy' / place.shard}: the clip at byte {place.offset} is damaged ("
    )
    assert "\n" not in str(raised.value)
