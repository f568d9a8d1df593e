"""Where hostile cases run: a victim and an honest peer as real processes, and an attacker with a socket of his own.

`ScriptedPeer` is a participant with keys who follows the protocol exactly as far as a case asks him to.
"""

import asyncio
import contextlib
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from agent_processes import AgentProcess, agents
from chaos_relay import ChaosRelay

from handfast.adapters.files import identity_path, new_identity, save_identity
from handfast.crypto.keys import ExchangeKey, Secret, SigningKey
from handfast.identity import Identity
from handfast.session.v1 import derive_key, make_hs, open_sec, seal
from handfast.wire.text import b64decode
from handfast.wire.v1 import HsType

BRISK_AGENT = Path(__file__).with_name("brisk_agent.py")
PATIENCE = 20.0

Payload = dict[str, Any]

# what stands for an absent nonce or reference, to whoever compares carelessly
NOTHING: tuple[Any, ...] = (None, "", 0, False, [], "null", "None")


class Attacker:
    """A connection to the relay on which anything can be said, and all that was heard on it.

    Attributes:
        heard: the payloads of all lines but `register`, oldest first.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard: list[Payload] = []
        self._writer = writer
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._listen(reader))

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int) -> AsyncIterator[Self]:
        attacker = cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**24))
        try:
            yield attacker
        finally:
            attacker._task.cancel()
            await asyncio.gather(attacker._task, return_exceptions=True)
            attacker._writer.close()
            with contextlib.suppress(OSError):
                await attacker._writer.wait_closed()

    async def raw(self, *lines: bytes) -> None:
        for line in lines:
            self._writer.write(line + b"\n")
            await self._writer.drain()

    async def say(self, *payloads: Any) -> None:
        """Payloads as lines, in the wrapping of the SDK's clients."""
        await self.raw(*(wrapped(payload) for payload in payloads))

    async def hear(self, condition: Any, what: str) -> Payload:
        """The first payload heard, ever, of which `condition` is true."""

        def found() -> Payload | None:
            return next((payload for payload in self.heard if condition(payload)), None)

        try:
            async with asyncio.timeout(PATIENCE), self._news:
                await self._news.wait_for(found)
        except TimeoutError:
            raise AssertionError(f"{what} was never heard") from None
        payload = found()
        assert payload is not None
        return payload

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                payload = json.loads(json.loads(line)["content"])["_payload"]
                if payload["intent"] != "register":
                    self.heard.append(payload)
                    async with self._news:
                        self._news.notify_all()


def wrapped(payload: Any) -> bytes:
    return json.dumps({"_version": "1.3.0", "_payload": payload, "_type": None}).encode()


def first_generation() -> Identity:
    """A new identity whose id is not made of its key, as those of first-generation agents."""
    return replace(new_identity(), agent_id=str(uuid.uuid4()))


def save_first_generation(directory: Path, *names: str) -> None:
    """Such identities in the homes where `agents` looks for them."""
    for name in names:
        path = identity_path(directory / name, name)
        save_identity(path, first_generation(), f"passphrase of {name}".encode())


class Stage:
    """A victim and an honest peer who talk all the time, and an attacker."""

    def __init__(
        self, relay: ChaosRelay, victim: AgentProcess, honest: AgentProcess, attacker: Attacker
    ) -> None:
        self.relay = relay
        self.victim = victim
        self.honest = honest
        self.attacker = attacker

    @classmethod
    @asynccontextmanager
    async def set_up(cls, directory: Path, version: int = 1) -> AsyncIterator[Self]:
        flags: tuple[str, ...] = ("--reconnect-every", "0.1")
        if version == 1:  # both have ids of the first generation, and make no offers of a second version
            flags += ("--policy", "compat")
            save_first_generation(directory, "victim", "honest")
        async with ChaosRelay.listening() as relay, Attacker.connected(relay.port) as attacker:
            together = agents(directory, relay.port, "victim", "honest", flags=flags, script=BRISK_AGENT)
            async with together as (victim, honest):
                stage = cls(relay, victim, honest, attacker)
                await stage.assert_unharmed()
                yield stage

    def peer(self) -> "ScriptedPeer":
        """A participant nobody knows yet."""
        return ScriptedPeer(self)

    def heard_from_honest(self, intent: str) -> Payload:
        """The last such line of the honest peer to the victim."""
        lines = (p for p in reversed(self.attacker.heard) if p["from"] == self.honest.id)
        return next(dict(p) for p in lines if p["intent"] == intent and p["to"] == self.victim.id)

    def last_said(self, by: AgentProcess, intent: str) -> Payload:
        """The last such line of an agent, whoever it is for."""
        lines = (json.loads(line)["_payload"] for line in reversed(self.relay.recorded))
        return next(p for p in lines if p.get("from") == by.id and p.get("intent") == intent)

    async def assert_unharmed(self) -> None:
        """A new conversation in both directions closes, nothing was delivered twice, and the log is calm."""
        pair = (self.victim, self.honest)
        wanted = [(agent, role, agent.count("closed", role=role) + 1) for agent in pair for role in ROLES]
        for agent, role, count in wanted:
            await agent.wait_for("closed", count, 45, role=role)
        for agent in pair:
            assert "Traceback" not in agent.log
            assert "\x1b" not in agent.log
            delivered = [json.dumps(event["message"]) for event in agent.find("delivered")]
            assert len(delivered) == len(set(delivered))


ROLES = ("initiator", "responder")


def register_of(agent_id: str) -> Payload:
    return {"to": None, "intent": "register", "from": agent_id}


def new_nonce() -> str:
    return secrets.token_hex(15) + "aa"


class ScriptedPeer:
    """A participant who does what the case says, with keys of his own.

    Attributes:
        id: his agent id.
        exchange: the X25519 key of his next handshake.
        key: the session key, once there is one.
        echo: the victim's last nonce, which his next message must name.
        answered: how many of his messages the victim has answered.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.identity = first_generation()
        self.id = self.identity.agent_id
        self.signing: SigningKey = self.identity.signing_key
        self.exchange: ExchangeKey = self.identity.exchange_key
        self.key = Secret(bytes(32))
        self.echo = ""
        self.reference = ""
        self.answered = 0
        self.victims_sign_pub = b""
        self._taken: set[int] = set()

    # what he says

    def message(self, intent: str, **fields: Any) -> Payload:
        return {"to": self.stage.victim.id, "intent": intent, "from": self.id} | fields

    async def say(self, intent: str, **fields: Any) -> None:
        await self.stage.attacker.say(self.message(intent, **fields))

    def hs(self, kind: HsType, nonce: str, *, exchange: bytes | None = None, ahead: float = 0.0) -> Payload:
        public = exchange or self.exchange.public
        return make_hs(kind, nonce, public, self.signing, time.time() + ahead, None)

    def sealed(self, content: Any, key: Secret | None = None, signing: SigningKey | None = None) -> Payload:
        return seal(
            content, key or self.key, signing or self.signing, secrets.token_bytes(12), time.time(), None
        )

    # what he hears

    async def hear(self, intent: str, **members: Any) -> Payload:
        """The next message of the victim to him with this intent that he has not taken yet; repetitions are skipped."""

        def is_next(payload: Payload) -> bool:
            return (
                payload["from"] == self.stage.victim.id
                and payload["to"] == self.id
                and payload["intent"] == intent
                and members.items() <= payload.items()
                and hash(json.dumps(payload, sort_keys=True)) not in self._taken
            )

        payload = await self.stage.attacker.hear(is_next, f"{intent} {members}")
        self._taken.add(hash(json.dumps(payload, sort_keys=True)))
        return payload

    async def refused(self, reason: str, count: int = 1) -> None:
        await self.stage.victim.wait_for("refused", count, PATIENCE, peer=self.id, reason=reason)

    async def delivered(self) -> list[Any]:
        """What the victim delivered of his; what it has answered is waited for, because events may lag behind answers."""
        await self.stage.victim.wait_for("delivered", self.answered, PATIENCE, peer=self.id)
        return [event["message"] for event in self.stage.victim.find("delivered", peer=self.id)]

    # towards the victim's responder

    async def meet(self) -> Payload:
        """`register`, and the victim's `confirm`: it is in `resp_confirm` then."""
        await self.stage.attacker.say(register_of(self.id))
        confirm = await self.hear("confirm")
        self._derive(confirm)
        return confirm

    def first_request(self, **changes: Any) -> Payload:
        """The first request that the victim would accept, but for what `changes` says."""
        nonce = new_nonce()
        request = self.message(
            "request",
            your_nonce=self.echo,
            my_nonce=nonce,
            hs=self.hs("init", nonce),
            sec=self.sealed({"message": f"hello {nonce}"}),
        )
        return request | changes

    async def ask(self, request: Payload) -> Payload:
        """Say a request and take its answer."""
        await self.stage.attacker.say(request)
        respond = await self.hear("respond", your_nonce=request["my_nonce"])
        self.echo = respond["my_nonce"]
        self.answered += 1
        return respond

    async def begin(self) -> Payload:
        """A proven session: the victim is in `resp_exchange` then."""
        await self.meet()
        return await self.ask(self.first_request())

    def next_request(self, **changes: Any) -> Payload:
        nonce = new_nonce()
        sec = self.sealed({"message": f"on we go {nonce}"})
        return self.message("request", your_nonce=self.echo, my_nonce=nonce, sec=sec) | changes

    async def conclude(self) -> Payload:
        """The victim is in `resp_finalize` then."""
        self.reference = new_nonce()
        await self.say("conclude", your_nonce=self.echo, my_ref=self.reference)
        return await self.hear("finish", your_ref=self.reference)

    async def close(self, finish: Payload) -> None:
        closed = self.stage.victim.count("closed", peer=self.id, role="responder")
        await self.say("close", your_ref=finish["my_ref"], my_ref=self.reference)
        await self.stage.victim.wait_for("closed", closed + 1, PATIENCE, peer=self.id, role="responder")

    async def end(self) -> None:
        """From `resp_exchange` on as the protocol says: a proof that the conversation was not harmed."""
        await self.ask(self.next_request())
        await self.close(await self.conclude())

    # towards the victim's initiator

    def confirm(self, **changes: Any) -> Payload:
        nonce = new_nonce()
        return self.message("confirm", my_nonce=nonce, hs=self.hs("response", nonce)) | changes

    async def invite(self) -> Payload:
        """`confirm`, and the victim's first request: it is in `init_exchange` then."""
        await self.stage.attacker.say(self.confirm())
        request = await self.hear("request")
        self._derive(request)
        return request

    def answer(self, **changes: Any) -> Payload:
        nonce = new_nonce()
        sec = self.sealed({"message": f"answer {nonce}"})
        return self.message("respond", your_nonce=self.echo, my_nonce=nonce, sec=sec) | changes

    async def answer_until_conclude(self) -> Payload:
        """Four turns: the victim is in `init_finalize_propose` then."""
        for turn in range(4):
            answer = self.answer()
            await self.stage.attacker.say(answer)
            intent = "request" if turn < 3 else "conclude"
            said = await self.hear(intent, your_nonce=answer["my_nonce"])
            self.echo = said.get("my_nonce", self.echo)
            self.answered += 1
        return said

    async def finish(self, conclude: Payload) -> Payload:
        """The victim is in `init_finalize_close` then, and has counted the conversation as closed."""
        self.reference = new_nonce()
        await self.say("finish", your_ref=conclude["my_ref"], my_ref=self.reference)
        close = await self.hear("close", your_ref=self.reference)
        await self.stage.victim.wait_for("closed", 1, PATIENCE, peer=self.id, role="initiator")
        return close

    def open(self, message: Payload) -> Any:
        """What a message of the victim says."""
        return open_sec(message["sec"], self.key, self.victims_sign_pub)[0]

    def _derive(self, message: Payload) -> None:
        self.echo = message["my_nonce"]
        self.key = derive_key(self.exchange, b64decode(message["hs"]["kx_pub"], 32))
        self.victims_sign_pub = b64decode(message["hs"]["sign_pub"], 32)
