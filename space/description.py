"""Descriptions of candidates for readers, derived from the declarations of the knobs.

The ledger stores a description as JSON, so tables, pages and cards need no column and no code for a knob.
"""

from pydantic import field_validator

from space.candidate import EXPERTS, Architecture, CandidateConfig
from space.knob_index import KNOBS, is_of_architecture
from space.knobs import Scalar, in_words
from space.records import Frozen

DEFAULTS: dict[str, Scalar] = {
    name: field.default
    for model in (Architecture, CandidateConfig)
    for name, field in model.model_fields.items()
    if name in KNOBS and not field.is_required()
}


class Description(Frozen):
    """A candidate as pages, cards and the terminal show it.

    Attributes:
        label: one line, such as "3 x 96, 16 experts, top-2".
        sparse: whether any layer routes tokens to experts.
        knobs: knob -> value, those of the architecture first.
        facts: title -> value in words, such as "Experts" -> "16 experts, top-2", in the order to show them.
    """

    label: str
    sparse: bool
    knobs: dict[str, Scalar]
    facts: dict[str, str]

    @field_validator("knobs")
    @classmethod
    def _with_later_knobs(cls, knobs: dict[str, Scalar]) -> dict[str, Scalar]:
        """Add the default of each knob that did not exist when the description was stored."""
        known = {**DEFAULTS, **knobs}
        return {name: known[name] for name in KNOBS if name in known}


def describe(candidate: CandidateConfig) -> Description:
    """Describe a candidate by the declarations of its knobs."""
    arch = candidate.architecture
    lines = arch.in_words | in_words(candidate)
    facts = {title: ", ".join(words) for title, words in lines.items() if words}
    facts[EXPERTS] = arch.experts_in_words
    knobs = {name: getattr(arch if is_of_architecture(name) else candidate, name) for name in KNOBS}
    return Description(
        label=f"{arch.depth} x {arch.width}, {arch.features}",
        sparse=arch.sparse,
        knobs=knobs,
        facts=facts,
    )
