"""How an exploration of version 2 is run: with which explorer, and with which of the product's limits made small."""

from unittest.mock import patch

from explorer_v2 import Explorer
from letters_v2 import LetterExplorer
from moves_v2 import Bounds
from search import Result

from handfast.adapters import memory_mail
from handfast.conversation.v2 import initiator
from handfast.wire import limits


def explore(
    bounds: Bounds, stop_early: bool = False, stop_at: str = "", explorer: type[Explorer] | None = None
) -> Result:
    """Explore everything within the bounds; see `Explorer`.

    Args:
        bounds, stop_early, stop_at: see `Explorer`.
        explorer: another one than the bounds ask for.
    """
    explorer = explorer or (LetterExplorer if bounds.letters else Explorer)
    with (
        patch.multiple(limits, GENERATION_MESSAGES_SOFT=bounds.rekeyed_after),
        patch.multiple(initiator, _PATIENCE_WITH_THE_SILENT_SECONDS=-1.0, _NUDGES=bounds.nudges),
        patch.multiple(memory_mail, INBOX_LETTERS=bounds.room),
    ):
        return explorer(bounds, stop_early, stop_at).run()
