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

from handfast.cli.demo.attempts import Attempt
from handfast.cli.demo.eavesdropper import Overheard
from handfast.cli.demo.processes import Child, RelayProcess
from handfast.cli.demo.results import Agent, Results, Talk, identity_pins, tickets
from handfast.cli.drawing import audit_verdict, start_of
from handfast.cli.snapshot import Snapshot
from handfast.wire.text import printable


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
            self._say(f"  {agent.name:<5}  {agent.id}, an id made of its own new key")

    def first_talks(self, talks: Sequence[Talk], transcript: tuple[int, str]) -> None:
        """Both have met, talked and closed, in both directions; both remember what was said in the first talk as this."""
        asks, other = talks
        self._chapter(f"They meet, and {asks.initiator.name} asks")
        self._say(_columns("ms", "from", "to", "message", "eve hears (bytes)", "what it says"))
        questions, answers = iter(asks.questions), iter(asks.answers)
        for line in asks.messages:
            said = {"request": questions, "respond": answers}.get(line.intent, iter(()))
            self._message(asks, line, next(said, None) if line.kind == "packet" else None)
            for proof in _proofs(asks, line, transcript):
                self._say(f"{'✓':>9} {proof}")
        first, second = other.initiator, other.responder
        self._chapter(f"At the same time {first.name} asks")
        self._say(f"  {first.name} → {second.name}  {len(other.questions)} × {_quoted(first.say)}")
        self._say(f"  {second.name} → {first.name}  {len(other.answers)} × {_quoted(second.reply)}")
        self._say("  ✓ by a handshake of its own, with keys of its own")

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
        row("tickets", [f"{len(tickets(snapshot))} for next time, sealed" for snapshot in found])
        row("audit", [_audit(snapshot) for snapshot in found])
        self._say("  The keys of the conversations were in memory only, and are gone.")

    def second_talks(self, talks: Sequence[Talk]) -> None:
        """They have resumed, talked and closed once more."""
        self._chapter("They meet again, each with a ticket that is good once")
        self._say(_columns("ms", "from", "to", "message", "eve hears (bytes)", "what it says"))
        talk = talks[0]
        for line in talk.messages[:3]:
            said = talk.questions[0] if line.kind == "packet" else None
            self._message(talk, line, said)
        for talk in talks:
            first, second, count = talk.initiator.name, talk.responder.name, len(talk.questions)
            self._say(f"  {first} → {second}  {count} × asked and answered; closed after {_ms(talk.seconds)}")
        self._say("  ✓ the same identities, new keys, and a new ticket for next time")

    def attempts(self, victim: Agent, attempts: Iterable[Attempt]) -> None:
        """Eve has tried, and nothing came of it."""
        self._chapter(f"eve tries what she can on {victim.name}")
        for attempt in attempts:
            self._say(f"  {attempt.what:<44} {_answer(attempt)}")

    def summary(self, results: Results) -> None:
        """All is over, and all was well."""
        self._chapter("All in all")
        what = f"{results.second_to_start.name} starts → both directions closed"
        self._figure(what, f"{results.meeting_seconds:.2f} s")
        again = {talk.initiator.name: talk for talk in results.talks[2:]}
        for talk in results.talks[:2]:
            name = talk.initiator.name
            figures = [_ms(one.seconds_to_first_message) for one in (talk, again[name])]
            what = f"handshake → first message, {name} asks"
            self._figure(what, f"{figures[0]}, by ticket {figures[1]}")
        keys = len(set(results.exchange_keys))
        self._figure("handshakes", f"{len(results.talks)}, with {keys} different X25519 keys")
        self._figure("messages sealed and opened", f"{results.sealed}")
        self._figure("lines that eve heard", f"{len(results.eve.heard)}, not one message in the clear")
        self._figure("identity keys that eve saw", "none: they travel sealed, too")
        names = list(results.endings)
        for name, peer in zip(names, reversed(names), strict=True):
            log = results.endings[name].log
            self._figure(f"audit log of {name}", f"{log.last} entries, signed; {peer} keeps its end")
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
        ms = f"{(line.at - talk.messages[0].at) * 1000:.0f}"
        kind = "" if line.kind == "packet" else line.kind
        told = "" if said is None else _quoted(said)
        self._say(_columns(ms, first, second, f"{line.intent:<9}  {kind}", _heard(line), told))

    def _figure(self, what: str, value: str) -> None:
        self._say(f"  {what:<38} {value}")

    def _chapter(self, title: str) -> None:
        self._chapters += 1
        self._say("")
        self._say(f"{self._chapters}  {title}", style="bold")

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, emoji=False, soft_wrap=True)


def _columns(ms: str, first: str, second: str, message: str, heard: str, told: str) -> str:
    arrow = "→" if ms.isdigit() else " "
    return f"{ms:>6}  {first:<5} {arrow} {second:<5}  {message:<13} {heard:<20} {told}".rstrip()


def _heard(line: Overheard) -> str:
    parts = [f"key {size}" for size in line.open_bytes]
    return ", ".join([*parts, *([f"sealed {line.sealed_bytes}"] if line.sealed_bytes else [])])


def _proofs(talk: Talk, line: Overheard, transcript: tuple[int, str]) -> Iterator[str]:
    """What the recipient of a message found out by it."""
    first, second = talk.initiator.name, talk.responder.name
    is_first_packet = line is next(one for one in talk.messages if one.kind == "packet")
    if line.kind == "n3":
        yield f"{first} verified {second} by the key that its id is made of"
        protocol, _, _ = talk.sessions[0]["suite"].partition(" + ")
        yield f"keys by {protocol}"
        if talk.is_post_quantum:
            yield "and by ML-KEM-768, against quantum computers to come"
    elif is_first_packet:
        yield f"{second} verified {first} likewise, and opened the message"
    elif line.intent == "conclude":
        yield f"{second} remembers the same {transcript[0]} messages, word for word:"
        yield f"transcript {start_of(_spaced(transcript[1]))} … in both audit logs"
    elif line is talk.messages[-1]:
        yield "closed by both; the keys are erased"


def _answer(attempt: Attempt) -> str:
    if attempt.answer is not None:
        return f"refused: {attempt.answer}"
    return "greeted like a stranger" if attempt.greeted else "silence"


def _spaced(digits: str) -> str:
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _pins(snapshot: Snapshot, names: Mapping[str, str]) -> str:
    return ", ".join(
        f"{names.get(peer, peer)}: {start_of(pin.fingerprint)}"
        for peer, pin in identity_pins(snapshot).items()
    )


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
