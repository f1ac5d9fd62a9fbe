"""Version 3: one description per candidate instead of a column per knob, and room for longer origins."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, String

revision = "3"
down_revision = "2"

COLUMNS = ("depth", "width", "experts", "top_k", "sparse")  # what the description holds as well

candidates = sa.table(
    "pf_candidates",
    sa.column("study", String),
    sa.column("candidate", String),
    sa.column("config", sa.JSON),
    sa.column("description", sa.JSON),
)


def upgrade() -> None:
    """Describe every candidate from its configuration, then drop the columns that said the same."""
    op.add_column("pf_candidates", Column("description", sa.JSON))
    describe_candidates(op.get_bind())
    with op.batch_alter_table("pf_candidates") as table:
        table.alter_column("description", existing_type=sa.JSON(), nullable=False)
        table.alter_column("origin", existing_type=String(20), type_=String(200), existing_nullable=False)
        for name in COLUMNS:
            table.drop_column(name)


def describe_candidates(connection: sa.Connection) -> None:
    """Fill the new column."""
    key = (
        candidates.c.study == sa.bindparam("of_study"),
        candidates.c.candidate == sa.bindparam("of_candidate"),
    )
    fill = sa.update(candidates).where(*key).values(description=sa.bindparam("made"))
    known = connection.execute(sa.select(candidates.c.study, candidates.c.candidate, candidates.c.config))
    rows = [
        {"of_study": row.study, "of_candidate": row.candidate, "made": description(row.config)}
        for row in known
    ]
    if rows:
        connection.execute(fill, rows)


def description(config: dict) -> dict:
    """What `space.description.describe` made of a candidate when this version was written."""
    arch = {**config["architecture"], "router": config["architecture"].get("router", "softmax")}
    rate, optimizer = config["learning_rate"], config.get("optimizer", "adamw")
    sparse = arch["experts"] > 1 and arch["dense_layers"] < arch["depth"]
    experts = experts_in_words(arch) if sparse else "dense"
    return {
        "label": f"{arch['depth']} x {arch['width']}, {experts}",
        "sparse": sparse,
        "knobs": {**arch, "learning_rate": rate, "optimizer": optimizer},
        "facts": {
            "Depth, width": f"{arch['depth']}, {arch['width']}",
            "Experts": experts,
            "Expert width": expert_width(arch),
            "Attention": attention(arch),
            "Learning rate": f"{rate:.3g}",
            "Optimizer": optimizer,
        },
    }


def experts_in_words(arch: dict) -> str:
    """How the layers of a sparse architecture route."""
    words = [f"{arch['experts']} experts", f"top-{arch['top_k']}"]
    if arch["shared_experts"]:
        words.append(f"{arch['shared_experts']} shared")
    if arch["router"] != "softmax":
        words.append(f"{arch['router']} router")
    if arch["dense_layers"]:
        words.append(f"first {arch['dense_layers']} of {arch['depth']} layers dense")
    return ", ".join(words)


def expert_width(arch: dict) -> str:
    """Hidden size of one expert, a multiple of 8."""
    hidden = max(8, round(arch["width"] * arch["expert_ratio"] / 8) * 8)
    return f"{hidden} ({arch['expert_ratio']:g} times the width)"


def attention(arch: dict) -> str:
    """Heads of the attention."""
    heads = arch["width"] // arch["head_dim"]
    words = f"{heads} heads of {arch['head_dim']}, {heads // arch['kv_groups']} for keys and values"
    return words + (", QK-norm" if arch["qk_norm"] else "")
