"""Say what is drawn: 16x16 pictures of one or two coloured shapes in, a caption out."""

from hashlib import sha256
from typing import NamedTuple

import numpy as np

from space.catalog import Sense, Split
from trainers.tasks.answers import AnswerTask, Example, token_f1
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
RELATIONS = ("above", "beside")
WORDS = (*COLOURS, *SHAPES, *RELATIONS)

SIDE, PATCH_SIDE, CELL = 16, 8, 8
FINE = 3  # samples a pixel in each direction
RADIUS = (2.5, 3.5)  # pixels
JITTER = 1.2  # pixels
SINGLE_SHARE = 0.25
DARKEST_BACKGROUND, GRAIN, SHADE = 0.2, 0.04, 0.15


class Thing(NamedTuple):
    """A shape in one of the four quarters of a picture, numbered in raster order."""

    quarter: int
    shape: str
    colour: str


Scene = tuple[Thing, ...]  # in raster order


class ShapeCaptions(AnswerTask):
    """Captions of drawn shapes, by the words shared with the right one; no split has a scene of another."""

    name = "shape-captions"
    family = "images"
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
        return Example({"image": image_patches(pixels, PATCH_SIDE)}, caption, lambda: caption)

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
    return tuple(Thing(q, SHAPES[rng.integers(4)], colours[rng.integers(len(colours))]) for q in quarters)


def draw_scene_of(split: Split, rng: np.random.Generator) -> Scene:
    """One or two random shapes that a split shows."""
    while scene_split(scene := draw_scene(rng)) != split:
        pass
    return scene


def scene_split(scene: Scene) -> Split:
    """The only split that shows this scene: 80% train, 10% select, 10% report."""
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
