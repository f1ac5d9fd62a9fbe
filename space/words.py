"""Words that go with numbers in messages for people."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun: 1 worker, 2 workers, 1,200 trials.

    Args:
        number: how many.
        noun: what is counted, as said of one.
        plural: as said of many, where it is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
