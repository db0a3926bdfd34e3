"""Which recordings are for training, and which for validation."""

from collections import defaultdict
from collections.abc import Iterable

from tarkib import vocabulary
from tarkib.recordings import folders
from tarkib.recordings.finding import Recording
from tarkib.runtime.streams import Stream, generator


def split(recordings: Iterable[Recording], share: float, seed: int) -> dict[str, str]:
    """Decide for usable recordings whether they are for ``train`` or ``validation``.

    The unit is the performer where one is named, in any case and keyboard, else the recording, so that no voice
    and no room is in both. Of each instrument about `share` of its units go to validation, at least one where it has
    two, and never the last one left for training. A performer of several instruments goes whole.

    Returns
    -------
    dict from recording_id to ``"train"`` or ``"validation"``; depends on the seed and on the set of units.
    """
    recordings = list(recordings)
    performers = sorted({recording.performer for recording in recordings if recording.performer})
    spelling = dict(zip(performers, folders.one_spelling(performers), strict=True))
    members = defaultdict(list)
    for recording in recordings:
        name = recording.performer and spelling[recording.performer]
        members[f"performer {name}" if name else f"recording {recording.recording_id}"].append(recording)
    units = sorted(members)
    generator(seed, Stream.SPLIT).shuffle(units)
    plays = {unit: {recording.instrument or "" for recording in members[unit]} for unit in units}
    left = {name: sum(name in plays[unit] for unit in units) for name in vocabulary.INSTRUMENTS}
    wanted = {name: max(1, round(share * n)) if share > 0 and n > 1 else 0 for name, n in left.items()}
    split_of: dict[str, str] = {}
    for unit in units:
        is_held_out = any(wanted[name] > 0 for name in plays[unit]) and all(left[name] > 1 for name in plays[unit])
        for name in plays[unit] if is_held_out else ():
            wanted[name] -= 1
            left[name] -= 1
        for recording in members[unit]:
            split_of[recording.recording_id] = "validation" if is_held_out else "train"
    return split_of
