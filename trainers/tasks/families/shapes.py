"""Describe 16x16 pictures of coloured shapes, answer questions on them, and match captions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from space.records import Sense, Split
from trainers.tasks.answers import AnswerTask, Example, token_f1
from trainers.tasks.parts.questions import YES_NO, Question, QuestionKind, QuestionTask, draw_one, pick
from trainers.tokens.image import image_patches

COLOURS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.7, 0.2),
    "blue": (0.15, 0.25, 0.95),
    "yellow": (0.9, 0.85, 0.1),
    "pink": (0.95, 0.5, 0.75),
    "white": (0.95, 0.95, 0.95),
}
SHAPES = ("circle", "square", "triangle", "cross")
SIDES = ("above", "below", "left", "right")
QUARTERS = ("top left", "top right", "bottom left", "bottom right")
SHARED = ("colour", "shape", "both", "neither")
ORDINALS = ("first", "second")

SIDE, PATCH_SIDE, CELL = 16, 8, 8
FINE = 3  # samples a pixel in each direction
RADIUS = (2.5, 3.5)  # pixels
JITTER = 1.2  # pixels
SINGLE_SHARE = 0.25
DARKEST_BACKGROUND, GRAIN, SHADE = 0.2, 0.04, 0.15


class DrawnShape(NamedTuple):
    """A shape in one of the four quarters of a picture, numbered in raster order."""

    quarter: int
    shape: str
    colour: str


Scene = tuple[DrawnShape, ...]  # in raster order
Kind = tuple[str, str]  # colour and shape


class ShapeCaptions(AnswerTask):
    """Captions of drawn shapes, scored by the words shared with the right one; splits share no scene."""

    name = "shape-captions"
    family = "shapes"
    domain = "image"
    modality: Sense = "image"
    metric = "token F1"
    unit = "F1"
    expert_name = "by construction"
    eval_episodes = 128
    num_train_episodes = 24_000

    def example(self, split: Split, index: int) -> Example:
        """Draw a scene of the split."""
        rng = self.rng(split, index)
        scene = draw_scene_of(split, rng)
        pixels, caption = render(scene, rng), describe(scene)
        return Example(caption, lambda: caption, patches={"image": image_patches(pixels, PATCH_SIDE)})

    def answer(self, split: Split, index: int) -> str:
        """The caption of the scene, which is drawn before it is rendered."""
        return describe(draw_scene_of(split, self.rng(split, index)))

    def identity(self, split: Split, index: int) -> bytes:
        """The scene, however it is rendered."""
        return repr(draw_scene_of(split, self.rng(split, index))).encode()

    def answer_score(self, answer: str, right: str) -> float:
        """Overlap of words."""
        return token_f1(answer, right)


def draw_scene(rng: np.random.Generator) -> Scene:
    """One or two random shapes in different quarters."""
    number = 1 if rng.random() < SINGLE_SHARE else 2
    quarters = sorted(rng.choice(4, number, replace=False).tolist())
    colours = list(COLOURS)
    return tuple(
        DrawnShape(q, SHAPES[rng.integers(4)], colours[rng.integers(len(colours))]) for q in quarters
    )


def draw_scene_of(split: Split, rng: np.random.Generator) -> Scene:
    """One or two random shapes of a split."""
    while scene_split(scene := draw_scene(rng)) != split:
        pass
    return scene


def scene_split(scene: Scene) -> Split:
    """The split of a scene: 80% train, 10% select, 10% report."""
    share = sha256(repr([tuple(thing) for thing in scene]).encode()).digest()[0] / 256
    return "train" if share < 0.8 else "select" if share < 0.9 else "report"


def describe(scene: Scene) -> str:
    """The caption: "red circle", "red circle above blue cross" or "red circle beside blue cross"."""
    names = [f"{thing.colour} {thing.shape}" for thing in scene]
    if len(scene) == 1:
        return names[0]
    first, second = scene
    relation = "above" if first.quarter // 2 < second.quarter // 2 else "beside"
    return f"{names[0]} {relation} {names[1]}"


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw a scene on a dark grainy ground, (SIDE, SIDE, 3) in [0, 1]; place, size and shade vary."""
    picture = np.full((SIDE, SIDE, 3), rng.uniform(0, DARKEST_BACKGROUND))
    for thing in scene:
        corner = np.array(divmod(thing.quarter, 2)) * CELL
        centre = corner + CELL / 2 + rng.uniform(-JITTER, JITTER, 2)
        cover = _cover(thing.shape, centre, rng.uniform(*RADIUS))[:, :, None]
        colour = np.array(COLOURS[thing.colour]) * rng.uniform(1 - SHADE, 1)
        picture = picture * (1 - cover) + colour * cover
    return np.clip(picture + rng.normal(0, GRAIN, picture.shape), 0, 1)


def _cover(shape: str, centre: np.ndarray, radius: float) -> np.ndarray:
    """Share of each pixel that a shape covers, (SIDE, SIDE)."""
    fine = (np.arange(SIDE * FINE) + 0.5) / FINE
    y, x = fine[:, None] - centre[0], fine[None, :] - centre[1]
    if shape == "circle":
        inside = x**2 + y**2 <= radius**2
    elif shape == "square":
        inside = np.maximum(abs(x), abs(y)) <= radius * 0.9
    elif shape == "triangle":
        inside = (abs(y) <= radius) & (abs(x) <= (y + radius) / 2)
    else:
        inside = (np.maximum(abs(x), abs(y)) <= radius) & (np.minimum(abs(x), abs(y)) <= radius / 3)
    return inside.reshape(SIDE, FINE, SIDE, FINE).mean((1, 3))


@dataclass(frozen=True)
class SceneQuestion(Question):
    """A question on one picture, or on several.

    Attributes:
        scenes: what is on each.
    """

    scenes: tuple[Scene, ...]


class SceneTask(QuestionTask[SceneQuestion]):
    """Questions on drawn shapes; splits share no scene, and all tasks split scenes alike."""

    family = "shapes"
    domain = "image"
    modality: Sense = "image"

    def belongs(self, question: SceneQuestion, split: Split) -> bool:
        """Whether all of its scenes are of the split."""
        return all(scene_split(scene) == split for scene in question.scenes)

    def identity(self, split: Split, index: int) -> bytes:
        """The scenes, regardless of rendering and question."""
        return repr(self.draw(split, self.rng(split, index)).scenes).encode()

    def show(self, question: SceneQuestion, split: Split, rng: np.random.Generator) -> Example:
        """Render the scenes, one picture after the other."""
        pictures = [image_patches(render(scene, rng), PATCH_SIDE) for scene in question.scenes]
        return Example(
            question.answer,
            lambda: question.answer,
            prompt=question.prompt,
            patches={"image": np.concatenate(pictures)},
        )


def ask_colour(rng: np.random.Generator) -> SceneQuestion:
    """The colour of one of two or three shapes."""
    shapes = pick(rng, SHAPES, int(rng.integers(2, 4)))
    kinds = [(draw_one(rng, tuple(COLOURS)), shape) for shape in shapes]
    return SceneQuestion(f"colour of {shapes[0]}", kinds[0][0], (place(kinds, rng),))


def ask_shape(rng: np.random.Generator) -> SceneQuestion:
    """The shape of one of two or three shapes, all of different colours."""
    colours = pick(rng, tuple(COLOURS), int(rng.integers(2, 4)))
    kinds = [(colour, draw_one(rng, SHAPES)) for colour in colours]
    return SceneQuestion(f"shape of {colours[0]}", kinds[0][1], (place(kinds, rng),))


def ask_count(rng: np.random.Generator) -> SceneQuestion:
    """How many of up to four objects have a colour or a shape: 0 to 4, equally often."""
    number = int(rng.integers(5))
    colours, shapes = pick(rng, tuple(COLOURS), len(COLOURS)), pick(rng, SHAPES, len(SHAPES))
    by_colour = rng.random() < 0.5
    kinds = []
    for i in range(int(rng.integers(max(number, 1), 5))):
        colour, shape = int(rng.integers(1, len(colours))), int(rng.integers(1, len(shapes)))
        if by_colour:
            kinds.append((colours[0 if i < number else colour], shapes[shape]))
        else:
            kinds.append((colours[colour], shapes[0 if i < number else shape]))
    counted = colours[0] if by_colour else shapes[0]
    return SceneQuestion(f"how many {counted}", str(number), (place(kinds, rng),))


def ask_relation(rng: np.random.Generator) -> SceneQuestion:
    """Where one object is from another; left and right only if both are side by side."""
    first, second = _two_kinds(rng)
    answer = draw_one(rng, SIDES)
    if answer in ("left", "right"):
        row = 2 * int(rng.integers(2))
        here, there = (row, row + 1) if answer == "left" else (row + 1, row)
    else:
        high, low = int(rng.integers(2)), 2 + int(rng.integers(2))
        here, there = (high, low) if answer == "above" else (low, high)
    scene = _sorted([(here, first), (there, second)])
    return SceneQuestion(f"where is {' '.join(first)} from {' '.join(second)}", answer, (scene,))


def ask_yes_no(rng: np.random.Generator) -> SceneQuestion:
    """Whether a shape is among two; a wrong one has the colour or the shape of one of them, or a mix."""
    colours, shapes = pick(rng, tuple(COLOURS), 3), pick(rng, SHAPES, 3)
    answer = draw_one(rng, YES_NO)
    wrong = ((colours[0], shapes[1]), (colours[2], shapes[0]), (colours[0], shapes[2]))
    asked = (colours[0], shapes[0]) if answer == "yes" else wrong[int(rng.integers(len(wrong)))]
    scene = place([(colours[0], shapes[0]), (colours[1], shapes[1])], rng)
    return SceneQuestion(f"is there {' '.join(asked)}", answer, (scene,))


def ask_quarter(rng: np.random.Generator) -> SceneQuestion:
    """In which quarter one of two or three different shapes is."""
    shapes = pick(rng, SHAPES, int(rng.integers(2, 4)))
    kinds = [(draw_one(rng, tuple(COLOURS)), shape) for shape in shapes]
    scene = place(kinds, rng)
    (quarter,) = (thing.quarter for thing in scene if thing.shape == shapes[0])
    return SceneQuestion(f"where is {' '.join(kinds[0])}", QUARTERS[quarter], (scene,))


def ask_match(rng: np.random.Generator) -> SceneQuestion:
    """To which of two pictures a caption belongs; they share one shape and its place."""
    shared, right, wrong = (_kind(rng) for _ in range(3))
    while wrong == right:
        wrong = _kind(rng)
    here, *others = rng.permutation(4).tolist()
    scenes = [_sorted([(here, shared), (others[int(rng.integers(3))], kind)]) for kind in (right, wrong)]
    answer = int(rng.integers(2))
    pictures = (scenes[answer], scenes[1 - answer])
    return SceneQuestion(f"which is {describe(scenes[0])}", ORDINALS[answer], pictures)


def ask_odd(rng: np.random.Generator) -> SceneQuestion:
    """Where the shape is whose colour or form differs from that of three others."""
    colours, shapes = pick(rng, tuple(COLOURS), 2), pick(rng, SHAPES, 2)
    other = (colours[1], shapes[0]) if rng.random() < 0.5 else (colours[0], shapes[1])
    odd = int(rng.integers(4))
    scene = _sorted([(q, other if q == odd else (colours[0], shapes[0])) for q in range(4)])
    return SceneQuestion("which differs", QUARTERS[odd], (scene,))


def ask_same(rng: np.random.Generator) -> SceneQuestion:
    """What two shapes have in common."""
    colours, shapes = pick(rng, tuple(COLOURS), 2), pick(rng, SHAPES, 2)
    answer = draw_one(rng, SHARED)
    second = (
        colours[0] if answer in ("colour", "both") else colours[1],
        shapes[0] if answer in ("shape", "both") else shapes[1],
    )
    return SceneQuestion("what is same", answer, (place([(colours[0], shapes[0]), second], rng),))


def place(kinds: Sequence[Kind], rng: np.random.Generator) -> Scene:
    """Shapes in different quarters at random."""
    quarters = rng.permutation(4)[: len(kinds)].tolist()
    return _sorted(list(zip(quarters, kinds, strict=True)))


def _sorted(placed: list[tuple[int, Kind]]) -> Scene:
    """Shapes at their quarters -> the scene, in raster order."""
    return tuple(DrawnShape(quarter, shape, colour) for quarter, (colour, shape) in sorted(placed))


def _kind(rng: np.random.Generator) -> Kind:
    return draw_one(rng, tuple(COLOURS)), draw_one(rng, SHAPES)


def _two_kinds(rng: np.random.Generator) -> tuple[Kind, Kind]:
    """Two kinds of shapes that differ in colour, in form or in both."""
    first = second = _kind(rng)
    while second == first:
        second = _kind(rng)
    return first, second


def _level(
    name: str, ask: Callable[[np.random.Generator], SceneQuestion], answers: tuple[str, ...]
) -> QuestionKind[SceneQuestion]:
    return QuestionKind(f"shape-{name}", ask, answers)


LEVELS = (
    _level("colour", ask_colour, tuple(COLOURS)),
    _level("kind", ask_shape, SHAPES),
    _level("count", ask_count, tuple("01234")),
    _level("relation", ask_relation, SIDES),
    _level("yes-no", ask_yes_no, YES_NO),
    _level("quarter", ask_quarter, QUARTERS),
    _level("match", ask_match, ORDINALS),
    _level("odd", ask_odd, QUARTERS),
    _level("same", ask_same, SHARED),
)
TASKS = {"shape-captions": ShapeCaptions, **{level.name: partial(SceneTask, level) for level in LEVELS}}
