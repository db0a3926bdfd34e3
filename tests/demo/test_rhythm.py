import numpy as np
import pytest

from tarkib.demo.rhythm import METRES, draw_metre, draw_tempo, drumming, pulse_times


@pytest.mark.parametrize("metre", METRES.values(), ids=METRES)
def test_every_cell_and_pattern_fills_its_bar(metre):
    assert {sum(cell) for cell in metre.cells} == {metre.pulses}
    assert {len(pattern) for pattern in metre.drums} == {metre.pulses}
    assert len(metre.accents) == metre.pulses
    assert set("".join(metre.drums)) <= set("Ttbpr.")


def test_tempi_are_spread_log_uniformly_from_60_to_170():
    rng = np.random.default_rng(0)
    tempi = np.array([draw_tempo(rng) for _ in range(2000)])
    assert tempi.min() >= 60
    assert tempi.max() <= 170
    assert np.median(tempi) == pytest.approx(np.sqrt(60 * 170), rel=0.04)


def test_two_four_is_not_played_too_fast():
    rng = np.random.default_rng(0)
    assert "2/4" not in {draw_metre(rng, 150).name for _ in range(100)}
    assert "2/4" in {draw_metre(rng, 100).name for _ in range(100)}


@pytest.mark.parametrize("metre", METRES.values(), ids=METRES)
@pytest.mark.parametrize("bpm", [61.0, 120.0, 169.0])
def test_pulses_keep_the_tempo_in_whole_bars(metre, bpm):
    pulses = pulse_times(np.random.default_rng(1), metre, bpm, 0.5, 30.0)
    assert pulses[0] == 0.5
    assert pulses[-1] >= 29.9
    assert (len(pulses) - 1) % metre.pulses == 0
    assert 60 / (np.diff(pulses).mean() * metre.per_beat) == pytest.approx(bpm, rel=1e-3)
    assert np.abs(np.diff(pulses) * metre.per_beat * bpm / 60 - 1).max() < 0.03


def test_drummers_mark_the_first_pulse_of_the_bar():
    metre = METRES["6/8"]
    pulses = pulse_times(np.random.default_rng(2), metre, 90, 0.1, 30.0)
    hits = drumming(np.random.default_rng(3), metre, pulses, 30.0, busy=0.8)
    toms = np.array([hit.start for hit in hits if hit.kind == "T"])
    bars = pulses[: -1 : metre.pulses]
    late = np.abs(bars[bars < 29.5][:, None] - toms).min(axis=1)
    assert late.max() < 0.03
    assert all(0 < hit.level <= 1 and 0 <= hit.start < 30 for hit in hits)
