"""Images at resolution (`image:` in a study file): what changes of a suite whose tasks see them.

image: {side: 224, patch: 16}      # a square of 224 pixels in patches of 16x16, 196 tokens
"""

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
    shares, lengths = dict(suite.patch_share), dict(suite.lengths)
    for name in names:
        others = {encoder: share for encoder, share in shares[name].items() if encoder != IMAGE}
        former, seen = lengths[name], shares[name].get(IMAGE, 0.0)
        lengths[name] = round(former * (1 - seen), DIGITS) + setting.patches
        scale = former / lengths[name]
        shares[name] = {encoder: share * scale for encoder, share in others.items()}
        shares[name][PICTURE] = setting.patches / lengths[name]
    return suite.model_copy(
        update={
            "image": setting,
            "encoders": suite.encoders | {PICTURE: CHANNELS * setting.patch**2},
            "patch_share": shares,
            "lengths": lengths,
            "tokens": {name: count for name, count in suite.tokens.items() if name not in names},
        }
    )


def sees_pictures(record: TaskRecord) -> bool:
    """Whether a task is a data set of images, or of pairs with images, that a user added."""
    return record.family == ADDED and record.modality == IMAGE and record.metric != RETURN
