import dataclasses
import re

import numpy as np
import pytest

from tarkib.app import timeline
from tarkib.recognition import Recognition
from tarkib.vocabulary import INSTRUMENTS, PERSIAN

EVIL = "<script>alert('x')</script>\"\n‮"


def recognition(seconds: float, hop_s: float = 1.0, untrained: tuple[str, ...] = (), level: float = 0.9) -> Recognition:
    """Ney plays in the windows that begin in the first half, nothing else does."""
    starts = np.arange(max(1, int((seconds - 5.0) / hop_s) + 1)) * hop_s
    probabilities = np.zeros((len(starts), 10), np.float32)
    probabilities[starts < seconds / 2, 0] = level
    trained = ~np.isin(INSTRUMENTS, untrained)
    probabilities[:, ~trained] = np.nan
    return Recognition(
        seconds, hop_s, starts, probabilities, probabilities[:, 0] == 0, INSTRUMENTS, np.full(10, 0.5), trained
    )


def test_ten_rows_with_both_names_in_the_order_of_the_classes():
    html = timeline.section(recognition(60.0), "song.mp3", "/sound")
    names = re.findall(
        r'<li class="(\w+)" data-plays="([^"]*)">.*?class="latin">(\w+)</span> <span [^>]*>([^<]+)<', html
    )
    assert [(name, persian) for _, _, name, persian in names] == [(name, PERSIAN[name]) for name in INSTRUMENTS]
    assert names[0][:2] == ("plays", "0.000-32.000")
    assert {one[:2] for one in names[1:]} == {("absent", "")}
    assert html.count("<path") == 20
    assert html.count('class="threshold"') == 10


def test_curves_are_in_their_rows_and_strong_where_the_threshold_is_reached():
    html = timeline.section(recognition(60.0), "song", "/sound")
    strong = re.findall(r'<path class="strong" d="([^"]*)"', html)
    assert [bool(one) for one in strong] == [True] + [False] * 9
    assert strong[0].startswith("M0 1V0.244H1V1z")  # 0.9 of 0.84 above the first row's floor
    assert strong[0].count("M") == 32
    assert float(re.search(r'class="threshold"[^>]* y1="([\d.]+)"', html)[1]) == pytest.approx(1 - 0.84 * 0.5)


def test_what_was_never_trained_on_has_no_curve_and_no_number():
    html = timeline.section(recognition(60.0, untrained=("daf", "avaz")), "song", "/sound")
    assert html.count('class="unknown"') == 2
    assert html.count("<path") == 16
    assert "nan" not in html.lower()
    assert "1 of 8 instruments reach" in html


def test_whatever_a_file_is_called_it_is_text():
    html = timeline.section(recognition(10.0), EVIL, '/sound/"onerror="')
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in html
    assert 'src="/sound/&quot;onerror=&quot;"' in html


def test_segments_are_told_by_time():
    found = recognition(60.0)
    found.window_probabilities[10:, 3] = 0.8
    found.window_probabilities[:4, 9] = 0.7
    html = timeline.section(found, "song", "/sound")
    told = re.findall(r'aria-label="Hear (\w+) from ([\d:]+)"', html)
    assert told == [("ney", "0:00"), ("avaz", "0:00"), ("kamancheh", "0:13")]


@pytest.mark.parametrize("seconds", [0.5, 5.0, 61.0, 3_600.0, 12_000.0])
def test_a_recording_of_any_length_is_small_and_has_a_readable_axis(seconds):
    html = timeline.section(recognition(seconds), "song", "/sound")
    assert len(html) < 100_000
    ticks = timeline.ticks(seconds)
    assert 1 <= len(ticks) <= 9
    assert ticks[-1] <= seconds
    assert max(float(x) for x in re.findall(r"H([\d.e+]+)V", html)) <= seconds * (1 + 1e-5)


def test_a_short_thing_is_seen_in_a_long_recording():
    found = recognition(7_200.0, level=0.0)
    found.window_probabilities[5_003:5_008, 4] = 1.0
    html = timeline.section(found, "song", "/sound")
    strong = re.findall(r'<path class="strong" d="([^"]*)"', html)
    assert [bool(one) for one in strong] == [k == 4 for k in range(10)]
    assert "V4.16H" in strong[4]  # at its highest


def test_silence_and_nothing_found_are_told_apart():
    assert "1:00 heard: silence" in timeline.section(recognition(60.0, level=0.0), "song", "/sound")
    assert "no instrument reaches its threshold" in timeline.section(recognition(60.0, level=0.3), "song", "/sound")


def test_a_recording_that_is_cut_short_is_remarked_on():
    cut = dataclasses.replace(recognition(60.0), remarks=("it ends at 60.00 of 72.50 s; is it cut short?",))
    assert "(it ends at 60.00 of 72.50 s; is it cut short?)</p>" in timeline.section(cut, "song", "/sound")
    assert "cut short" not in timeline.section(recognition(60.0), "song", "/sound")
