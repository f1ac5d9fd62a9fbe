"""The README of a folder for transformers: how tokens become its `inputs_embeds`, and what is exact."""

from math import isqrt

from space.cost import LOCAL_POSITIONS
from space.images import PICTURE
from space.recipe import Recipe
from trainers.exports.huggingface.classes import exact_class
from trainers.model.norm import NORM_EPS
from trainers.tokens.vocabulary import Vocabulary

TEXT = """\
# For transformers

`AutoModelForCausalLM.from_pretrained` loads this folder as `{model_type}`, which computes what \
Pathfront's decoder does ({words}): in float32 its logits are the same but for rounding.{filler}
Its weights are those of trial {trial} of study `{study}`, {state}.

Weights without a place in that class are in `embedding.safetensors`: {extra}. A token enters the decoder as \
its row of the table plus the row of its local position{patches}, so give the model `inputs_embeds`.

## A timestep of control

{what}. Local positions count the tokens of a timestep (observation, separator, action) and stay at {last} \
from there on.{squares} Run it in this folder:

```python
{control}```

Ids: text pieces from 0, bins of continuous values from {bins}, discrete values from {discrete}, the \
separator {separator}{placeholders}. The pieces are those of the export's `tokenizer.model` \
(SentencePiece), and `AutoTokenizer.from_pretrained` on this folder gives their ids; it adds no token.

## Running text

Text carries local position 0 at every token, and that row was trained like any other. **Plain `input_ids` \
leave it out**, and the logits are others. This hook adds it where the model looks tokens up, so that \
`input_ids`, and with them `generate`, mean running text:

```python
{text}```

## Other trainers

`torchtitan.toml` and `megatron.args` say the same architecture in the words of torchtitan and \
Megatron-LM. `trainers.exports.huggingface.folder.read_hf` reads this folder back into Pathfront's state \
dict, bit for bit.
"""

LOAD = """\
import torch
from safetensors.torch import load_file{functions}
from transformers import AutoModelForCausalLM

model, extra = AutoModelForCausalLM.from_pretrained("."), load_file("embedding.safetensors")
"""

FUNCTIONS = "\nfrom torch.nn.functional import gelu, linear, rms_norm"

PATCHED = """\
tokens, local = torch.tensor([[{patch}, {value}, {separator}]]), torch.tensor([[0, 1, 2]])
pixels = torch.rand(1, {size})  # of the patch at token {patch}
mine = {{key.removeprefix("encoders.{name}."): value for key, value in extra.items()}}
x = linear(pixels, mine["project.weight"], mine["project.bias"])
up = gelu(linear(rms_norm(x, x.shape[-1:], mine["norm.weight"], {eps}), mine["up.weight"], mine["up.bias"]))
embeds = model.get_input_embeddings()(tokens) + extra["local.weight"][local]
embeds[tokens == {patch}] += x + linear(up, mine["down.weight"], mine["down.bias"])
logits = model(inputs_embeds=embeds).logits
"""

UNPATCHED = """\
tokens, local = torch.tensor([[{value}, {value}, {separator}]]), torch.tensor([[0, 1, 2]])
embeds = model.get_input_embeddings()(tokens) + extra["local.weight"][local]
logits = model(inputs_embeds=embeds).logits
"""

CELLS = isqrt(LOCAL_POSITIONS)
SQUARES = (
    f" Of a `{PICTURE}` of more patches, `side` in each row, a patch has the position"
    f" `row * {CELLS} // side * {CELLS} + column * {CELLS} // side`."
)

HOOK = """\
model.get_input_embeddings().register_forward_hook(lambda module, ids, x: x + extra["local.weight"][0])
logits = model(input_ids=torch.tensor([[3, 4, 5]])).logits
"""


def readme(recipe: Recipe, in_full: bool) -> str:
    """Write the README as Markdown; its examples run in the folder as they stand.

    Args:
        recipe: the export's.
        in_full: whether the weights are those of its full training.
    """
    suite, arch = recipe.suite, recipe.candidate.architecture
    peer = exact_class(arch)
    vocabulary = Vocabulary.of(suite)
    names = list(suite.encoders)
    values = {"value": vocabulary.continuous_range[0], "separator": vocabulary.separator}
    if names:
        values |= {"name": names[0], "size": suite.encoders[names[0]], "eps": NORM_EPS}
        values |= {"patch": vocabulary.placeholder(names[0])}
    filled = peer.shared and not arch.shared_experts
    return TEXT.format(
        model_type=peer.model_type,
        words=arch.features,
        filler=" Its shared expert is all zeros: the class has one and ours does not." if filled else "",
        trial=recipe.origin.trial,
        study=recipe.origin.study,
        state="trained in full" if in_full else "as the search left them",
        extra="patch encoders and local positions" if names else "local positions",
        patches=" and, at each placeholder, its encoded patch" if names else "",
        what=f"One patch of `{names[0]}`, a value, the separator" if names else "Two values, the separator",
        last=LOCAL_POSITIONS - 1,
        squares=SQUARES if PICTURE in names else "",
        control=LOAD.format(functions=FUNCTIONS if names else "")
        + (PATCHED if names else UNPATCHED).format(**values),
        separator=vocabulary.separator,
        bins=vocabulary.continuous_range[0],
        discrete=vocabulary.discrete_range[0],
        placeholders="".join(f", a patch of `{name}` {vocabulary.placeholder(name)}" for name in names),
        text=LOAD.format(functions="") + HOOK,
    )
