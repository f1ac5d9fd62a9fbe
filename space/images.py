"""Images at resolution (`image:` in a study file): what changes of a suite whose tasks see them.

image: {side: 224, patch: 16}      # a square of 224 pixels in patches of 16x16, 196 tokens
"""

from collections.abc import Mapping

from space.errors import StudyFileError
from space.records import ImageSetting, SuiteRecord, TaskRecord

ADDED = "added"  # the family of data sets of the user
IMAGE = "image"  # the encoder of thumbnails, and what a task is of
RETURN = "return"  # the metric of control, whose observations keep their size
PICTURE = "picture"  # the encoder of these patches; shipped tasks keep theirs
CHANNELS = 3
DIGITS = 2  # after the point, of a mean number of tokens


def with_images(suite: SuiteRecord, setting: ImageSetting) -> SuiteRecord:
    """A suite whose tasks of the user's images see them at a resolution.

    Shares and lengths follow from those of the thumbnails, of which the patches are replaced. Tokens are
    counted at a launch.

    Raises:
        StudyFileError: none of its tasks is a data set of images.
    """
    names = [name for name in suite.tasks if sees_pictures(suite.records[name])]
    if not names:
        raise StudyFileError(
            "image: one task at least is a data set of images or of pairs with images, got none"
        )
    patches = dict.fromkeys(names, float(setting.patches))
    size = CHANNELS * setting.patch**2
    return with_patches(suite, IMAGE, PICTURE, size, patches).model_copy(update={"image": setting})


def with_patches(
    suite: SuiteRecord, former: str, encoder: str, size: int, patches: Mapping[str, float]
) -> SuiteRecord:
    """A suite in which some tasks have patches of another encoder.

    Args:
        suite: with the patches of the former encoder.
        former: the encoder that they no longer use.
        encoder: the new one.
        size: of one of its patches, flattened.
        patches: task -> how many an episode has, in the mean.
    """
    shares, lengths = dict(suite.patch_share), dict(suite.lengths)
    for name, count in patches.items():
        others = {other: share for other, share in shares[name].items() if other != former}
        length, seen = lengths[name], shares[name].get(former, 0.0)
        lengths[name] = round(length * (1 - seen) + count, DIGITS)
        scale = length / lengths[name]
        shares[name] = {other: share * scale for other, share in others.items()}
        shares[name][encoder] = count / lengths[name]
    return suite.model_copy(
        update={
            "encoders": suite.encoders | {encoder: size},
            "patch_share": shares,
            "lengths": lengths,
            "tokens": {name: count for name, count in suite.tokens.items() if name not in patches},
        }
    )


def sees_pictures(record: TaskRecord) -> bool:
    """Whether a task is a data set of images, or of pairs with images, that a user added."""
    return record.family == ADDED and record.modality == IMAGE and record.metric != RETURN
