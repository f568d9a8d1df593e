"""Two real ends that speak version 2, over the fake link of `fake_world`."""

from typing import Any

from fake_world import START, End, FakeClock, Link, SeededEntropy
from v2_world import Entropy2, identity_of

from handfast.conversation.effects import SessionOpened
from handfast.conversation.model import Party, Role, Settings
from handfast.driver import Driver


class End2(End):
    """One agent that speaks version 2.

    Args:
        party: what differs from the defaults of `Party`.
    """

    def __init__(
        self,
        name: str,
        clock: FakeClock,
        settings: Settings | None = None,
        *,
        own_id: bool = True,
        **party: Any,
    ) -> None:
        self.party = party
        self.made = identity_of(name, START, self_certifying=own_id)
        super().__init__(name, clock, settings)

    def new_driver(self) -> Driver:
        self.identity = self.made
        self.store.self_id = self.made.agent_id  # type: ignore[attr-defined]
        self.lives += 1
        party = Party(self.identity, self.settings, self.dialogue, **self.party)
        return Driver(self.store, self.clock, self.entropy(), party, self.outcomes.append)

    def entropy(self) -> SeededEntropy:
        return Entropy2((self.name, self.lives))

    def sessions(self, role: Role | None = None) -> list[SessionOpened]:
        return [
            effect
            for outcome in self.outcomes
            for effect in outcome.effects
            if isinstance(effect, SessionOpened) and role in (None, outcome.role)
        ]


def world_of_2(
    *names: str, parties: dict[str, dict[str, Any]] | None = None, **settings: Any
) -> tuple[FakeClock, list[End2], Link]:
    clock = FakeClock()
    given = parties or {}
    ends = [
        End2(name, clock, Settings(**settings), **given.get(name, {})) for name in names or ("alice", "bob")
    ]
    return clock, ends, Link(*ends)
