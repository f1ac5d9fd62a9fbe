"""What a reader is shown of a candidate: made once from its configuration, stored beside it, read everywhere.

The ledger stores it as JSON, so tables, pages and cards need no column and no code for a knob.
"""

from space.candidate import CandidateConfig
from space.records import Frozen

Scalar = bool | int | float | str


class Description(Frozen):
    """What a reader is shown of a candidate.

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


def describe(candidate: CandidateConfig) -> Description:
    """Describe a candidate."""
    arch = candidate.architecture
    knobs = arch.model_dump() | {
        "learning_rate": candidate.learning_rate,
        "optimizer": candidate.optimizer,
    }
    facts = {
        "Depth, width": f"{arch.depth}, {arch.width}",
        "Experts": arch.experts_in_words,
        "Expert width": f"{arch.expert_width} ({arch.expert_ratio:g} times the width)",
        "Attention": f"{arch.num_heads} heads of {arch.head_dim}, {arch.num_kv_heads} for keys and values"
        + (", QK-norm" if arch.qk_norm else ""),
        "Learning rate": f"{candidate.learning_rate:.3g}",
        "Optimizer": candidate.optimizer,
    }
    return Description(
        label=f"{arch.depth} x {arch.width}, {arch.experts_in_words}",
        sparse=arch.sparse,
        knobs=knobs,
        facts=facts,
    )
