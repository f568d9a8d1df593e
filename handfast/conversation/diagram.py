"""The diagrams and tables of the documentation, made from THE tables, so that they cannot say anything else."""

from handfast.conversation.model import READY, Role, State
from handfast.conversation.turn import Transition
from handfast.conversation.v1.table import TABLE

_TITLES = {Role.RESPONDER: "Responder", Role.INITIATOR: "Initiator"}


def message_arrows(table: tuple[Transition, ...] = TABLE) -> set[str]:
    """The arrows that a message takes, as Summoner routes: `a --> b`."""
    return {
        f"{row.state} --> {row.goes_to}"
        for row in table
        if row.goes_to is not row.state and row.on not in ("timer", "restart")
    } | {
        # leaving `init_finalize_close` takes a timer in ours and "any message" in the first generation: a route, too
        f"{State.INIT_FINALIZE_CLOSE} --> {State.INIT_READY}"
    }


def mermaid(role: Role, table: tuple[Transition, ...] = TABLE) -> str:
    """A Mermaid state diagram of one role; arrows of timers that give up are dashed in words, not drawn twice."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in table:
        if row.role is role and row.on != "restart" and (row.goes_to is not row.state or row.on != "timer"):
            label = "no answer" if row.on == "timer" and row.goes_to is READY[role] else row.on
            labels = arrows.setdefault((row.state, row.goes_to), [])
            if label not in labels:
                labels.append(label)
    lines = ["stateDiagram-v2", "    direction LR", f"    [*] --> {READY[role]}"]
    lines += [
        f"    {source} --> {target}: {', '.join(labels)}" for (source, target), labels in arrows.items()
    ]
    return "\n".join(lines)


def markdown(table: tuple[Transition, ...] = TABLE) -> str:
    """Both roles: a diagram and every row of the table."""
    parts = []
    for role, title in _TITLES.items():
        parts.append(f"### {title}\n\n```mermaid\n{mermaid(role, table)}\n```\n")
        parts.append("| state | event | when | then | next state |\n|---|---|---|---|---|")
        for row in table:
            if row.role is role:
                following = "stays" if row.goes_to is row.state else f"`{row.goes_to}`"
                parts.append(f"| `{row.state}` | {row.on} | {row.when} | {row.does} | {following} |")
        parts.append("")
    return "\n".join(parts)
