"""BabyAI: missions in rooms and mazes with a view of 7x7 cells; the expert is the bundled bot.

Left out are the levels on which the bot fails or hangs (KeyInBox, PutNext with something carried, strict
OpenDoorsOrder, UnlockToUnlock) and KeyCorridorS6R3, which is KeyCorridor by another name.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from trainers.tasks.parts.grids import (
    Environment,
    GridLevel,
    GridSession,
    GridTask,
    time_limit,
)
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary

BOT_SECONDS = 5.0
MOST_SEARCHES = 500  # of the bot before one action; it needs 60 at most where it does not go round in circles


class LostError(Exception):
    """The bot is in an endless loop."""


class BabyAISession(GridSession):
    """One episode with BabyAI's bot; if the bot gives up, the episode ends without success."""

    def __init__(
        self, vocabulary: Vocabulary, tokenizer: Tokenizer, env: Environment, seen: dict[str, Any], limit: int
    ) -> None:
        super().__init__(vocabulary, tokenizer, env, seen, limit)
        self._bot = _bot_class()(env)

    def advise(self, taken: int | None) -> int:
        """The bot's action, after it was updated with the last one taken."""
        from minigrid.utils.baby_ai_bot import DisappearedBoxError

        try:
            with time_limit(BOT_SECONDS, "BabyAI's bot"):
                advice = self._bot.replan(taken)
        except (LostError, AssertionError, DisappearedBoxError):
            return self.give_up()
        assert advice is not None, "the bot always advises something"
        return int(advice)


class BabyAITask(GridTask):
    """A level of BabyAI."""

    family = "babyai"
    expert_name = "BabyAIBot"

    def open(self, env: Environment, seen: dict[str, Any]) -> BabyAISession:
        """Begin an episode; its bot sees only what the agent sees."""
        return BabyAISession(self.vocabulary, self.tokenizer, env, seen, self.level.limit)


@cache
def _bot_class() -> type:
    """BabyAI's bot, which raises `LostError` instead of looping for ever."""
    from minigrid.utils.baby_ai_bot import BabyAIBot

    class CountingBot(BabyAIBot):
        """A bot that counts its searches before each action."""

        def replan(self, action_taken: Any = None) -> Any:
            """Advise an action."""
            self.searches = 0
            return super().replan(action_taken)

        def _shortest_path(self, accept_fn: Callable[..., bool], try_with_blockers: bool = False) -> Any:
            self.searches += 1
            if self.searches > MOST_SEARCHES:
                raise LostError(f"{self.searches} searches before one action")
            return super()._shortest_path(accept_fn, try_with_blockers)

    return CountingBot


LEVELS = (
    GridLevel("babyai-goto-redball-grey", "BabyAI-GoToRedBallGrey-v0", 64, 3000),
    GridLevel("babyai-goto-redball", "BabyAI-GoToRedBall-v0", 24, 3000),
    GridLevel("babyai-goto-redball-no-dists", "BabyAI-GoToRedBallNoDists-v0", 28, 3000, variant=True),
    GridLevel("babyai-goto-obj", "BabyAI-GoToObj-v0", 28, 3000),
    GridLevel("babyai-goto-obj-s4", "BabyAI-GoToObjS4-v0", 12, 3000, variant=True),
    GridLevel("babyai-goto-obj-s6", "BabyAI-GoToObjS6-v1", 16, 3000, variant=True),
    GridLevel("babyai-goto-local", "BabyAI-GoToLocal-v0", 28, 3000),
    GridLevel("babyai-goto-local-s5n2", "BabyAI-GoToLocalS5N2-v0", 16, 3000, variant=True),
    GridLevel("babyai-goto-local-s6n2", "BabyAI-GoToLocalS6N2-v0", 16, 3000, variant=True),
    GridLevel("babyai-goto-local-s6n3", "BabyAI-GoToLocalS6N3-v0", 16, 3000, variant=True),
    GridLevel("babyai-goto-local-s6n4", "BabyAI-GoToLocalS6N4-v0", 20, 3000, variant=True),
    GridLevel("babyai-goto-local-s7n4", "BabyAI-GoToLocalS7N4-v0", 44, 3000, variant=True),
    GridLevel("babyai-goto-local-s7n5", "BabyAI-GoToLocalS7N5-v0", 28, 3000, variant=True),
    GridLevel("babyai-goto-local-s8n2", "BabyAI-GoToLocalS8N2-v0", 28, 2500, variant=True),
    GridLevel("babyai-goto-local-s8n3", "BabyAI-GoToLocalS8N3-v0", 24, 3000, variant=True),
    GridLevel("babyai-goto-local-s8n4", "BabyAI-GoToLocalS8N4-v0", 28, 3000, variant=True),
    GridLevel("babyai-goto-local-s8n5", "BabyAI-GoToLocalS8N5-v0", 24, 3000, variant=True),
    GridLevel("babyai-goto-local-s8n6", "BabyAI-GoToLocalS8N6-v0", 28, 3000, variant=True),
    GridLevel("babyai-goto-local-s8n7", "BabyAI-GoToLocalS8N7-v0", 32, 3000, variant=True),
    GridLevel("babyai-goto", "BabyAI-GoTo-v0", 240, 300),
    GridLevel("babyai-goto-open", "BabyAI-GoToOpen-v0", 240, 400, variant=True),
    GridLevel("babyai-goto-obj-maze", "BabyAI-GoToObjMaze-v0", 240, 200),
    GridLevel("babyai-goto-obj-maze-open", "BabyAI-GoToObjMazeOpen-v0", 240, 300, variant=True),
    GridLevel("babyai-goto-obj-maze-s4r2", "BabyAI-GoToObjMazeS4R2-v0", 52, 1600, variant=True),
    GridLevel("babyai-goto-obj-maze-s4", "BabyAI-GoToObjMazeS4-v0", 124, 700, variant=True),
    GridLevel("babyai-goto-obj-maze-s5", "BabyAI-GoToObjMazeS5-v0", 160, 600, variant=True),
    GridLevel("babyai-goto-obj-maze-s6", "BabyAI-GoToObjMazeS6-v0", 208, 400, variant=True),
    GridLevel("babyai-goto-obj-maze-s7", "BabyAI-GoToObjMazeS7-v0", 240, 300, variant=True),
    GridLevel("babyai-goto-imp-unlock", "BabyAI-GoToImpUnlock-v0", 284, 200, slips=0.04),
    GridLevel("babyai-goto-seq", "BabyAI-GoToSeq-v0", 240, 300),
    GridLevel("babyai-goto-seq-s5r2", "BabyAI-GoToSeqS5R2-v0", 88, 1400, variant=True),
    GridLevel("babyai-goto-red-blue-ball", "BabyAI-GoToRedBlueBall-v0", 44, 3000),
    GridLevel("babyai-goto-door", "BabyAI-GoToDoor-v0", 28, 3000),
    GridLevel("babyai-goto-obj-door", "BabyAI-GoToObjDoor-v0", 32, 3000),
    GridLevel("babyai-open", "BabyAI-Open-v0", 172, 700),
    GridLevel("babyai-open-red-door", "BabyAI-OpenRedDoor-v0", 20, 3000),
    GridLevel("babyai-open-door", "BabyAI-OpenDoor-v0", 28, 2500),
    GridLevel("babyai-open-door-debug", "BabyAI-OpenDoorDebug-v0", 28, 2500, variant=True),
    GridLevel("babyai-open-door-color", "BabyAI-OpenDoorColor-v0", 32, 2300, variant=True),
    GridLevel("babyai-open-door-loc", "BabyAI-OpenDoorLoc-v0", 28, 2700),
    GridLevel("babyai-open-two-doors", "BabyAI-OpenTwoDoors-v0", 48, 1400),
    GridLevel("babyai-open-red-blue-doors", "BabyAI-OpenRedBlueDoors-v0", 48, 1400, variant=True),
    GridLevel("babyai-open-red-blue-doors-debug", "BabyAI-OpenRedBlueDoorsDebug-v0", 48, 1400, variant=True),
    GridLevel("babyai-open-doors-order-n2", "BabyAI-OpenDoorsOrderN2-v0", 44, 1800),
    GridLevel("babyai-open-doors-order-n4", "BabyAI-OpenDoorsOrderN4-v0", 44, 1600, variant=True),
    GridLevel("babyai-pickup", "BabyAI-Pickup-v0", 240, 300),
    GridLevel("babyai-unblock-pickup", "BabyAI-UnblockPickup-v0", 240, 300),
    GridLevel("babyai-pickup-loc", "BabyAI-PickupLoc-v0", 32, 2900),
    GridLevel("babyai-pickup-dist", "BabyAI-PickupDist-v0", 28, 3000),
    GridLevel("babyai-pickup-dist-debug", "BabyAI-PickupDistDebug-v0", 28, 3000, variant=True),
    GridLevel("babyai-pickup-above", "BabyAI-PickupAbove-v0", 192, 500),
    GridLevel("babyai-put-next-local", "BabyAI-PutNextLocal-v0", 48, 1500),
    GridLevel("babyai-put-next-local-s5n3", "BabyAI-PutNextLocalS5N3-v0", 24, 2800, variant=True),
    GridLevel("babyai-put-next-local-s6n4", "BabyAI-PutNextLocalS6N4-v0", 32, 2100, variant=True),
    GridLevel("babyai-put-next-s4n1", "BabyAI-PutNextS4N1-v0", 32, 2300),
    GridLevel("babyai-put-next-s5n2", "BabyAI-PutNextS5N2-v0", 40, 1700, variant=True),
    GridLevel("babyai-put-next-s5n1", "BabyAI-PutNextS5N1-v0", 40, 1700, variant=True),
    GridLevel("babyai-put-next-s6n3", "BabyAI-PutNextS6N3-v0", 60, 1200, variant=True),
    GridLevel("babyai-put-next-s7n4", "BabyAI-PutNextS7N4-v0", 80, 1000, variant=True),
    GridLevel("babyai-unlock", "BabyAI-Unlock-v0", 328, 200),
    GridLevel("babyai-unlock-local", "BabyAI-UnlockLocal-v0", 52, 1300),
    GridLevel("babyai-unlock-local-dist", "BabyAI-UnlockLocalDist-v0", 72, 1100, variant=True),
    GridLevel("babyai-unlock-pickup", "BabyAI-UnlockPickup-v0", 60, 900),
    GridLevel("babyai-unlock-pickup-dist", "BabyAI-UnlockPickupDist-v0", 72, 800, variant=True),
    GridLevel("babyai-blocked-unlock-pickup", "BabyAI-BlockedUnlockPickup-v0", 104, 600),
    GridLevel("babyai-action-obj-door", "BabyAI-ActionObjDoor-v0", 44, 2700),
    GridLevel("babyai-find-obj-s5", "BabyAI-FindObjS5-v0", 168, 500),
    GridLevel("babyai-find-obj-s6", "BabyAI-FindObjS6-v0", 224, 400, variant=True),
    GridLevel("babyai-find-obj-s7", "BabyAI-FindObjS7-v0", 240, 200, variant=True),
    GridLevel("babyai-key-corridor", "BabyAI-KeyCorridor-v0", 240, 200),
    GridLevel("babyai-key-corridor-s3r1", "BabyAI-KeyCorridorS3R1-v0", 48, 1100, variant=True),
    GridLevel("babyai-key-corridor-s3r2", "BabyAI-KeyCorridorS3R2-v0", 164, 400, variant=True),
    GridLevel("babyai-key-corridor-s3r3", "BabyAI-KeyCorridorS3R3-v0", 216, 300, variant=True),
    GridLevel("babyai-key-corridor-s4r3", "BabyAI-KeyCorridorS4R3-v0", 196, 300, variant=True),
    GridLevel("babyai-key-corridor-s5r3", "BabyAI-KeyCorridorS5R3-v0", 240, 200, variant=True),
    GridLevel("babyai-one-room-s8", "BabyAI-OneRoomS8-v0", 28, 3000),
    GridLevel("babyai-one-room-s12", "BabyAI-OneRoomS12-v0", 48, 1900, variant=True),
    GridLevel("babyai-one-room-s16", "BabyAI-OneRoomS16-v0", 96, 1100, variant=True),
    GridLevel("babyai-one-room-s20", "BabyAI-OneRoomS20-v0", 196, 700, variant=True),
    GridLevel("babyai-move-two-across-s5n2", "BabyAI-MoveTwoAcrossS5N2-v0", 60, 1000),
    GridLevel("babyai-move-two-across-s8n9", "BabyAI-MoveTwoAcrossS8N9-v0", 148, 500, variant=True),
    GridLevel("babyai-synth", "BabyAI-Synth-v0", 240, 200),
    GridLevel("babyai-synth-s5r2", "BabyAI-SynthS5R2-v0", 150, 600, variant=True),
    GridLevel("babyai-synth-loc", "BabyAI-SynthLoc-v0", 240, 300),
    GridLevel("babyai-synth-seq", "BabyAI-SynthSeq-v0", 256, 200),
    GridLevel("babyai-mini-boss-level", "BabyAI-MiniBossLevel-v0", 144, 800),
    GridLevel("babyai-boss-level", "BabyAI-BossLevel-v0", 344, 200),
    GridLevel("babyai-boss-level-no-unlock", "BabyAI-BossLevelNoUnlock-v0", 288, 200),
)

TASKS = {level.name: partial(BabyAITask, level) for level in LEVELS}
