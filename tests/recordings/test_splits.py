import pytest

from tarkib.recordings.finding import Recording
from tarkib.recordings.splits import split


def many(performers=5):
    return [
        Recording(f"{i}/{p}-{k}.wav", i, performer=f"{i}-{p}", sha256=f"{i}{p}{k}".ljust(12, "x"))
        for i in ("ney", "tar", "daf")
        for p in range(performers)
        for k in range(4)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_no_performer_is_in_both_splits(seed):
    recordings = many()
    split_of = split(recordings, 0.2, seed)
    for performer in {one.performer for one in recordings}:
        assert len({split_of[one.recording_id] for one in recordings if one.performer == performer}) == 1
    for instrument in ("ney", "tar", "daf"):
        splits = [split_of[one.recording_id] for one in recordings if one.instrument == instrument]
        assert splits.count("validation") == 4  # one performer of five


def test_without_performers_the_recording_is_the_unit():
    recordings = [Recording(f"ney/{i}.wav", "ney", sha256=f"{i:012d}") for i in range(10)]
    assert sorted(split(recordings, 0.2, 0).values()) == ["train"] * 8 + ["validation"] * 2


def test_the_last_of_an_instrument_stays_for_training():
    recordings = [
        Recording("ney/a.wav", "ney", performer="Z", sha256="a"),
        Recording("avaz/b.wav", "avaz", performer="Z", sha256="b"),
        Recording("ney/c.wav", "ney", performer="K", sha256="c"),
        Recording("daf/d.wav", "daf", sha256="d"),
    ]
    for seed in range(10):
        expected = {"avaz-b": "train", "daf-d": "train", "ney-a": "train", "ney-c": "validation"}
        assert split(recordings, 0.5, seed) == expected


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    recordings = many(performers=8)
    assert split(recordings, 0.25, 1) == split(recordings[::-1], 0.25, 1)
    assert len({tuple(sorted(split(recordings, 0.25, seed).items())) for seed in range(5)}) > 1
    assert set(split(recordings, 0.0, 0).values()) == {"train"}


def test_a_performer_spelt_in_several_ways_is_one():
    names = ["كيهان كلهر", "کیهان  کلهر", "Kalhor", "kalhor \u200b", "P1.1", "P11"]
    recordings = [Recording(f"{k}.wav", "ney", performer=name, sha256=f"{k:012}") for k, name in enumerate(names)]
    are_apart = set()
    for seed in range(10):
        split_of = split(recordings, 0.5, seed)
        splits = [split_of[recording.recording_id] for recording in recordings]
        assert len(set(splits)) == 2
        assert splits[0] == splits[1]
        assert splits[2] == splits[3]
        are_apart.add(splits[4] != splits[5])
    assert are_apart == {True, False}
