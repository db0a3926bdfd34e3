from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import noise, write

from app.serving import tone, write_classifier
from tarkib.app.hearing import Hearings, Limits, hear
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory) -> Recogniser:
    return Recogniser.load(write_classifier(tmp_path_factory.mktemp("model") / "classifier"), device="cpu")


def test_what_is_within_the_limits_is_heard_and_told_of(recogniser, tmp_path):
    told = []
    path = write(tmp_path / "a.wav", tone(40.0), 8_000)
    found = hear(recogniser, path, Limits(1, 1), lambda *seconds: told.append(seconds))
    assert found.seconds == 40.0
    assert [whole for _, whole in told] == [40.0] * len(told)
    assert len(told) >= 2
    assert all(before < after for (before, _), (after, _) in pairwise(told))


@pytest.mark.parametrize(
    ("seconds", "limits", "said"),
    [
        (61.0, Limits(1, 10), r"^a\.wav: is 1:01 or longer, and at most 1 minutes .* --max-minutes"),
        (58.0, Limits(1, 1), r"^a\.wav: has 2\.8 MB, and at most 1 MB .* --max-mb"),
    ],
)
def test_what_is_beyond_is_refused_before_it_is_decoded(tmp_path, seconds, limits, said):
    path = write(tmp_path / "a.wav", noise(seconds))
    with pytest.raises(TarkibError, match=said):
        hear(lambda *_, **__: pytest.fail("was heard"), path, limits)


def test_a_header_that_does_not_say_how_long_it_is_does_not_help(recogniser, tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", tone(90.0), 8_000)
    monkeypatch.setattr("tarkib.app.hearing.audio.seconds", lambda _: 0.0)
    told = []
    with pytest.raises(TarkibError, match=r"^a\.wav: is 1:\d\d or longer"):
        hear(recogniser, path, Limits(1, 10), lambda *seconds: told.append(seconds))
    assert 0 < max(seconds for seconds, _ in told) <= 60


@pytest.mark.parametrize("content", [b"", b"no music", b"RIFF" + bytes(40), np.random.default_rng(0).bytes(5_000)])
def test_what_is_no_sound_is_named(recogniser, tmp_path, content):
    path = Path(tmp_path / "x.wav")
    path.write_bytes(content)
    with pytest.raises(TarkibError, match=r"^x\.wav: (?!x\.wav)"):
        hear(recogniser, path, Limits(1, 1))


def test_where_the_file_lies_is_not_told(recogniser, tmp_path):
    path = tmp_path / "x.unknown"
    path.write_text("no music")
    with pytest.raises(TarkibError, match=r"^x\.unknown: cannot be decoded") as raised:
        hear(recogniser, path, Limits(1, 1))
    assert str(tmp_path) not in str(raised.value)


def test_a_hearing_that_nobody_wants_ends(recogniser, tmp_path):
    path = write(tmp_path / "a.wav", tone(55.0), 8_000)
    hearings, told = Hearings(), []

    def leave(seconds: float, whole: float) -> None:
        told.append(seconds)
        hearings.stop("page")

    with hearings.of("page") as hearing:
        with pytest.raises(TarkibError, match="stopped"):
            hear(recogniser, path, Limits(1, 1), hearing.watch(leave))
        assert not hearing.wanted
    assert not hearings.stop("page")
    assert len(told) == 1
    with hearings.of("page") as last:
        assert hearings.stop("page")
    assert not last.wanted
    with hearings.of("page") as first, hearings.of("page") as second, hearings.of("other") as third:
        assert (first.wanted, second.wanted, third.wanted) == (False, True, True)
