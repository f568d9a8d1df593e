"""The demo's voice: what happened, told line by line in 80 columns, in colours where there are any.

Only the eight colours that every terminal has are used, and each says again what the words say already.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.theme import Theme

from handfast.cli.demo.eavesdropper import Attempt, Overheard
from handfast.cli.demo.processes import Child, RelayProcess
from handfast.cli.demo.results import Agent, Results, Talk
from handfast.cli.drawing import audit_verdict, start_of
from handfast.cli.snapshot import Snapshot
from handfast.wire.text import printable

_SHOWN_OF_CIPHERTEXT = 12


class _Words(RegexHighlighter):
    base_style = "demo."
    highlights = [  # noqa: RUF012  # rich's own way to declare them
        r"(?P<alice>\balice\b)",
        r"(?P<bob>\bbob\b)",
        r"(?P<eve>\beve\b)",
        r'(?P<said>"[^"]*")',
        r"(?P<good>✓)",
        r"(?P<bad>refused: \w+)",
        r"(?P<command>^    \$ .*)",
    ]


_THEME = Theme(
    {
        "demo.alice": "bold cyan",
        "demo.bob": "bold magenta",
        "demo.eve": "bold red",
        "demo.said": "green",
        "demo.good": "bold green",
        "demo.bad": "red",
        "demo.command": "bold",
    }
)


class Narrator:
    """Tells the demo on standard output."""

    def __init__(self) -> None:
        self._console = Console(theme=_THEME, highlighter=_Words())
        self._chapters = 0

    def title(self) -> None:
        """Before anything happens."""
        self._say("handfast: two agents meet on a relay they do not trust", style="bold")
        self._say("Everything below is real: processes, sockets, keys, databases; gone afterwards.")

    def relay(self, relay: RelayProcess) -> None:
        """The relay listens, and Eve as well."""
        self._chapter("A relay, and somebody who listens")
        self._say(f"  relay  forwards every line to everybody, on 127.0.0.1:{relay.port}")
        self._say("  eve    is connected like anybody, and writes down all she hears (this demo)")

    def agents(self, agents: Iterable[Agent]) -> None:
        """Both agents have started."""
        self._chapter("Two agents that have never met")
        for agent in agents:
            keys = "new Ed25519 and X25519 keys, sealed under a passphrase"
            self._say(f"  {agent.name:<5}  {agent.id[:8]}…  {keys}")

    def first_talks(self, talks: Sequence[Talk]) -> None:
        """Both have met, talked and closed, in both directions."""
        asks, other = talks
        self._chapter(f"They meet, and {asks.initiator.name} asks")
        self._say(
            f"{'ms':>6}  {'from':<5}   {'to':<5}  {'message':<9} {'what eve hears':<24} {'what it says'}"
        )
        questions, answers = iter(asks.questions), iter(asks.answers)
        for line in asks.messages:
            said = {"request": questions, "respond": answers}.get(line.intent, iter(()))
            self._message(asks, line, next(said, None))
            for proof in _proofs(asks, line):
                self._say(f"{'✓':>9} {proof}")
        first, second = other.initiator, other.responder
        self._chapter(f"At the same time {first.name} asks")
        self._say(f"  {first.name} → {second.name}  {len(other.questions)} × {_quoted(first.say)}")
        self._say(f"  {second.name} → {first.name}  {len(other.answers)} × {_quoted(second.reply)}")
        self._say("  ✓ verified by the same pinned keys, sealed with a session key of its own")

    def databases(self, agents: Sequence[Agent], snapshots: Mapping[str, Snapshot]) -> None:
        """What is stored, while the agents run."""
        self._chapter("What they remember, read from their databases")
        names = {agent.id: agent.name for agent in agents}

        def row(label: str, cells: Iterable[str]) -> None:
            self._say(f"  {label:<9}" + "".join(f"{cell:<34}" for cell in cells).rstrip())

        row("", [agent.name for agent in agents])
        found = [snapshots[agent.name] for agent in agents]
        row("states", [", ".join(str(one.state) for one in snapshot.conversations) for snapshot in found])
        row("pinned", [_pins(snapshot, names) for snapshot in found])
        row("nonces", [_nonces(agent, snapshot) for agent, snapshot in zip(agents, found, strict=True)])
        row("audit", [_audit(snapshot) for snapshot in found])

    def attempts(self, attempts: Iterable[Attempt]) -> None:
        """Eve has tried, and was refused."""
        self._chapter("eve tries what she can on alice")
        for attempt in attempts:
            self._say(f"  {attempt.what:<44} refused: {attempt.answer}")

    def second_talks(self, talks: Sequence[Talk]) -> None:
        """They have reconnected, talked and closed once more."""
        self._chapter("They meet again")
        for talk in talks:
            first, second = talk.initiator.name, talk.responder.name
            how = "shows the reference of last time" if talk.is_reconnect else "is taken for a stranger"
            count = len(talk.questions) + len(talk.answers)
            self._say(f"  {first} → {second}  {how}; {count} messages; closed after {_ms(talk.seconds)}")
        self._say("  ✓ verified by the pinned keys, sealed with new session keys")

    def summary(self, results: Results) -> None:
        """All is over, and all was well."""
        self._chapter("All in all")
        before, again = results.talks[:2], results.talks[2:]
        self._figure("bob starts → both directions closed", f"{results.meeting_seconds:.2f} s")
        for first, second in zip(before, again, strict=True):
            what = f"confirm → accepted close, {first.initiator.name} asks"
            self._figure(what, f"{_ms(first.seconds)}, then {_ms(second.seconds)}")
        handshakes = len(results.exchange_keys)
        self._figure(
            "handshakes verified",
            f"{handshakes}, with {len(set(results.exchange_keys))} different X25519 keys",
        )
        self._figure("messages sealed and opened", f"{results.sealed}")
        self._figure("lines that eve heard", f"{len(results.eve.heard)}, not one message in the clear")
        for name, snapshot in results.snapshots.items():
            totals = snapshot.totals
            held = f"{totals['pins']} pin, {totals['nonces']} nonces, {totals['audit']} audit entries"
            self._figure(f"database of {name}", held)
        self._figure("time for everything", f"{results.seconds:.1f} s")
        self._next()

    def children(self, children: Iterable[Child]) -> None:
        """Something failed: what the children wrote last."""
        for child in children:
            click.echo(f"\n{child.name} wrote last:", err=True)
            for line in child.output:
                click.echo(f"  {printable(line)}", err=True)

    def _next(self) -> None:
        command = _invocation()
        self._chapter("Now by hand, in three terminals")
        self._say(f"    $ {command} server")
        self._say(f"    $ {command} agent --name alice")
        self._say(f"    $ {command} agent --name bob")
        self._say("  and in a fourth, while they talk:")
        self._say(f"    $ {command} inspect --name alice --watch")
        self._say("")

    def _message(self, talk: Talk, line: Overheard, said: str | None) -> None:
        first, second = talk.initiator.name, talk.responder.name
        if line.message.get("from") != talk.initiator.id:
            first, second = second, first
        ms = (line.at - talk.messages[0].at) * 1000
        heard = [] if line.exchange_key is None else ["signed key"]
        if line.ciphertext is not None:
            heard.append(f"{line.ciphertext[:_SHOWN_OF_CIPHERTEXT]}…")
        if not heard:
            heard.append("references" if line.intent in {"finish", "close"} else "reference")
        told = "" if said is None else _quoted(said)
        self._say(
            f"{ms:>6.0f}  {first:<5} → {second:<5}  {line.intent:<9} {', '.join(heard):<24} {told}".rstrip()
        )

    def _figure(self, what: str, value: str) -> None:
        self._say(f"  {what:<38} {value}")

    def _chapter(self, title: str) -> None:
        self._chapters += 1
        self._say("")
        self._say(f"{self._chapters}  {title}", style="bold")

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, emoji=False, soft_wrap=True)


def _proofs(talk: Talk, line: Overheard) -> Iterator[str]:
    """What the recipient of a message found out by it."""
    first, second = talk.initiator.name, talk.responder.name
    first_answer = next((one for one in talk.messages if one.intent == "respond"), None)
    if line.intent == "confirm":
        yield f"{first} verified that it is signed by key {start_of(line.signer)}"
        yield f"{first} derived a session key: X25519 with a fresh key, HKDF-SHA256"
    elif line.exchange_key is not None:
        yield f"{second} verified that it is signed by key {start_of(line.signer)}"
        yield f"{second} derived the session key, opened the message; {first}'s key is pinned"
    elif line is first_answer:
        yield f"{first} opened the message; {second}'s key is pinned"
    elif line.intent == "finish":
        yield f"{first} found its reference; closed; session key and nonces erased"
    elif line.intent == "close":
        yield f"{second} found its reference; closed; session key and nonces erased"


def _pins(snapshot: Snapshot, names: Mapping[str, str]) -> str:
    return ", ".join(
        f"{names.get(str(pin.peer_id), pin.peer_id)}: {start_of(pin.fingerprint)}" for pin in snapshot.pins
    )


def _nonces(agent: Agent, snapshot: Snapshot) -> str:
    now = f"{snapshot.totals['nonces']} now"
    return f"{agent.most_nonces} while they talked, {now}" if agent.most_nonces else now


def _audit(snapshot: Snapshot) -> str:
    return f"{snapshot.totals['audit']} entries, {audit_verdict(snapshot.audit).plain}"


def _quoted(text: str) -> str:
    return f'"{printable(text)}"'


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _invocation() -> str:
    """How this program was called, to be typed again."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return "python -m handfast.cli"
    found = shutil.which(program.name)
    on_path = found is not None and Path(found).resolve() == program.resolve()
    return program.name if on_path else str(program)
