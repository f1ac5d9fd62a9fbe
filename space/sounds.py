"""Sounds at length (`sound:` in a study file): what changes of a suite whose tasks hear them.

sound: {seconds: 10, patch: 8}      # 10 s in patches of 80 ms, 125 tokens
"""

from collections.abc import Mapping
from math import ceil

from space.catalog import Measured
from space.errors import StudyFileError
from space.images import ADDED, RETURN, with_patches
from space.records import SoundSetting, SuiteRecord, TaskRecord

AUDIO = "audio"  # the encoder of one second, and what a task is of
SOUND = "sound"  # the encoder of these patches; shipped tasks keep theirs
BANDS = 80  # of log-mel


def with_sounds(suite: SuiteRecord, setting: SoundSetting, measured: Mapping[str, Measured]) -> SuiteRecord:
    """A suite whose tasks of the user's sounds hear them at length.

    Args:
        suite: of which a task at least is a data set of sounds.
        setting: how they are heard.
        measured: the user's tasks, with how long the sounds of each are.

    Raises:
        StudyFileError: none of its tasks is a data set of sounds, or one was measured before there were whole
            sounds.
    """
    names = [
        name
        for name in suite.tasks
        if hears_sounds(suite.records[name]) or (name in measured and measured[name].frames)
    ]
    if not names:
        raise StudyFileError(
            "sound: one task at least is a data set of sounds or of pairs with sounds, got none"
        )
    for name in names:
        if name not in measured or not measured[name].frames:
            raise StudyFileError(
                f"sound: task '{name}' was measured before whole sounds were kept; add it again:"
                f" pathfront data add {name} SOURCE --replace"
            )
    patches = {name: mean_patches(measured[name].frames, setting) for name in names}
    size = BANDS * setting.patch
    return with_patches(suite, AUDIO, SOUND, size, patches).model_copy(update={"sound": setting})


def hears_sounds(record: TaskRecord) -> bool:
    """Whether a task is a data set of sounds, or of pairs with sounds, that a user added."""
    return record.family == ADDED and record.modality == AUDIO and record.metric != RETURN


def mean_patches(frames: tuple[int, ...], setting: SoundSetting) -> float:
    """Patches of a sound in the mean.

    Args:
        frames: of sounds, at evenly spaced ranks from the shortest to the longest.
        setting: how they are heard.
    """
    counts = [ceil(min(count, setting.frames) / setting.patch) for count in frames]
    return sum(counts) / len(counts)
