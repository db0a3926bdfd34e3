"""The network of the package `musicnn`, against its authors' code, and the reader of its weights."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import librosa
import musicnn_reference as reference
import numpy as np
import pytest
import torch
from small_mert import change, model_params, noise

from tarkib import models
from tarkib.errors import TarkibError
from tarkib.models import musicnn, tensor_bundle
from tarkib.models.musicnn import CHECKSUMS, LEVEL, load_musicnn, published_tensors
from tarkib.tracking import card

installed = pytest.mark.skipif(find_spec("musicnn") is None, reason="the package musicnn is not installed")
ENDINGS = (".index", ".data-00000-of-00001")


@pytest.fixture(scope="module")
def network() -> musicnn.Musicnn:
    return load_musicnn().eval()


@installed
@torch.no_grad()
def test_it_gives_what_its_authors_code_gives(network):
    """`musicnn_reference.py` computed the figures from the same sound at 16,000 Hz with TensorFlow and librosa."""
    expected = np.load(reference.FILE)
    samples = torch.from_numpy(reference.clip(24_000))[None]
    np.testing.assert_allclose(network.log_mel(samples)[0, ::16], expected["log_mel"], atol=1e-4)
    (state,) = network.all_hidden_states(samples / LEVEL)
    assert state.shape == (1, 2, 200)
    penultimate = state[0]
    np.testing.assert_allclose(penultimate, expected["penultimate"], atol=1e-4)
    weights = published_tensors()
    tags = torch.sigmoid(penultimate @ weights["dense_1/kernel"] + weights["dense_1/bias"])
    np.testing.assert_allclose(tags, expected["tags"], atol=1e-5)
    assert expected["tags"].max() > 0.1


@installed
def test_every_published_tensor_of_the_network_is_used(network):
    tensors = {name: tensor for name, tensor in published_tensors().items() if "Adam" not in name}
    assert sum(tensor.numel() for tensor in tensors.values()) == 792_081
    del tensors["beta1_power"], tensors["beta2_power"]  # the optimiser's
    tags = {"dense_1/kernel": (200, 50), "dense_1/bias": (50,)}
    assert {name: tuple(tensors.pop(name).shape) for name in tags} == tags
    ours = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    filterbank = ours.pop("filterbank")
    assert sorted(tensor.numel() for tensor in ours.values()) == sorted(tensor.numel() for tensor in tensors.values())
    expected = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=96)
    np.testing.assert_allclose(filterbank, expected, atol=1e-6)


@installed
@torch.no_grad()
def test_windows_cover_the_clip_and_short_sound_is_one_window(network):
    samples = noise(2, 120_000)
    (state,) = network.all_hidden_states(samples)
    for place, changed in ((0, 0), (-1, 1)):
        other = samples.clone()
        other[:, place] += 100
        (moved,) = network.all_hidden_states(other)
        assert not torch.allclose(moved[:, changed], state[:, changed], atol=1e-3)
        torch.testing.assert_close(moved[:, 1 - changed], state[:, 1 - changed])
    (alone,) = network.all_hidden_states(torch.stack([*samples, *samples.flip(0), samples[0]]))
    torch.testing.assert_close(alone[[0, 1, 4]], state[[0, 1, 0]])
    (short,) = network.all_hidden_states(samples[:, :12_000])
    assert short.shape == (2, 1, 200)
    (silence,) = network.all_hidden_states(torch.zeros(1, 12_000))
    assert silence.isfinite().all()


@installed
def test_loading_draws_nothing_and_names_its_source():
    before = torch.get_rng_state()
    backbone = models.load_backbone("musicnn", seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert backbone.source["weights_sha256"] == CHECKSUMS[1]
    assert (backbone.source["name"], backbone.source["revision"]) == ("musicnn", None)


@installed
@pytest.mark.parametrize("finetune", ["full", "frozen"])
def test_a_classifier_learns_with_it_and_loads_without_the_package(tmp_path, monkeypatch, finetune):
    classifier = models.build(model_params(backbone="musicnn", finetune=finetune), seed=0).train()
    clips = noise(3, 12_000)
    classifier(clips).square().sum().backward()
    without = {name for name, parameter in classifier.named_parameters() if parameter.grad is None}
    backbone = {name for name, _ in classifier.named_parameters() if name.startswith("backbone.")}
    assert without == (backbone if finetune == "frozen" else set())
    classifier.save(tmp_path)
    monkeypatch.setattr(musicnn, "find_spec", lambda name: None)
    with torch.no_grad():
        assert torch.equal(models.load(tmp_path)(clips), classifier.eval()(clips))
    change(tmp_path / "config.json", backbone={"kind": "musicnn", "source": {}, "config": {"sample_rate": 16_000}})
    with pytest.raises(TarkibError, match=r"backbone: sample_rate is 16000"):
        models.load(tmp_path)


def test_a_missing_package_ends_in_one_sentence(monkeypatch):
    monkeypatch.setattr(musicnn, "find_spec", lambda name: None)
    message = r"^model\.backbone: the weights of musicnn are not installed; .*musicnn\.lock.*model\.finetune=full\)$"
    with pytest.raises(TarkibError, match=message):
        models.load_backbone("musicnn", seed=0)


def test_the_card_names_both_licences_and_holds_the_notice():
    source = {"name": "musicnn", "revision": None, "finetune": "frozen", "weights_licence": musicnn.LICENCE}
    body = card.Card(source, "bpm", 42, "ab" * 32, 10, 5, 2, [], {}).body()
    assert "The weights of musicnn were published under ISC; " in body
    assert "MagnaTagATune, whose recordings are under CC BY-NC-SA 3.0" in body
    assert musicnn.NOTICE in body


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def block(entries: list[tuple[int, bytes, bytes]]) -> bytes:
    """A block of entries: how much of the key before is shared, the rest of the key, and the value."""
    content = b"".join(
        varint(same) + varint(len(key)) + varint(len(value)) + key + value for same, key, value in entries
    )
    return content + bytes(4) + (1).to_bytes(4, "little")


def tensor(shape: list[int], offset: int, size: int, kind: int = 1) -> bytes:
    dimensions = b"".join(b"\x12" + varint(len(d)) + d for d in (b"\x08" + varint(length) for length in shape))
    fields = b"\x08" + varint(kind) + b"\x12" + varint(len(dimensions)) + dimensions
    return fields + b"\x20" + varint(offset) + b"\x28" + varint(size) + b"\x35" + bytes(4)


def table(entries: list[tuple[int, bytes, bytes]], magic: int = 0xDB4775248B80FB57, compression: int = 0) -> bytes:
    data = block([(0, b"", b"\x08\x01"), *entries])
    index = block([(0, b"z", varint(0) + varint(len(data)))])
    handles = bytes(2) + varint(len(data) + 5) + varint(len(index))
    trailer = bytes([compression]) + bytes(4)
    return data + trailer + index + bytes(5) + handles.ljust(40, b"\0") + magic.to_bytes(8, "little")


NUMBERS = np.arange(300, dtype="<f4").tobytes()
GOOD = [(0, b"dense/bias", tensor([100], 0, 400)), (6, b"kernel", tensor([2, 100], 400, 800))]


def read(folder: Path, index: bytes, data: bytes = NUMBERS) -> dict[str, np.ndarray]:
    for ending, content in zip(ENDINGS, (index, data), strict=True):
        (folder / ending).write_bytes(content)
    checksums = tuple(hashlib.sha256(content).hexdigest() for content in (index, data))
    return tensor_bundle.read(f"{folder}/", checksums, "install it again")


def test_a_table_is_read(tmp_path):
    found = read(tmp_path, table(GOOD))
    assert {name: array.shape for name, array in found.items()} == {"dense/bias": (100,), "dense/kernel": (2, 100)}
    np.testing.assert_array_equal(found["dense/kernel"], np.arange(100, 300).reshape(2, 100))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"", "it does not end as a LevelDB table does"),
        (table(GOOD, magic=1), "it does not end as a LevelDB table does"),
        (table(GOOD)[20:], "."),
        (table(GOOD, compression=1), "a block is compressed"),
        (table([(0, b"a", tensor([100], 0, 400)[:-2])]), "it ends too early"),
        (table([(0, b"a", tensor([100], 0, 396))]), r"a tensor of shape \(100,\) has 396 bytes"),
        (table([(0, b"a", tensor([100], 804, 400))]), "has 400 bytes from 804 on, of 1200"),
        (table([(0, b"a", tensor([50], 0, 400, kind=2))]), "a tensor of type 2, in part 0; only float32"),
        (table([(0, b"a", b"\x09")]), "a field of kind 1"),
        (table([(0, b"a", b"\xff" * 20)]), "a number has more than ten bytes"),
        (bytes(300) + table(GOOD)[-48:], "."),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, index, message):
    with pytest.raises(TarkibError, match=rf"\.index: not a checkpoint that can be read \(.*{message}.*\); install it"):
        read(tmp_path, index)


def test_every_truncated_table_is_refused(tmp_path):
    content = table(GOOD)
    for length in range(len(content)):
        with pytest.raises(TarkibError, match="not a checkpoint that can be read"):
            read(tmp_path, content[:length])


@pytest.mark.parametrize("file", ENDINGS)
def test_files_with_another_checksum_and_missing_ones(tmp_path, file):
    read(tmp_path, table(GOOD))
    checksums = tuple(hashlib.sha256((tmp_path / ending).read_bytes()).hexdigest() for ending in ENDINGS)
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TarkibError, match=rf"{file}: its SHA-256 is .{{16}}… instead of .{{16}}…; install it again$"):
        tensor_bundle.read(f"{tmp_path}/", checksums, "install it again")
    path.unlink()
    with pytest.raises(TarkibError, match=rf"{file}: cannot be read \(No such file or directory\); install it again$"):
        tensor_bundle.read(f"{tmp_path}/", checksums, "install it again")
