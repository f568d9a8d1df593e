"""Section 4.6: what the decorators accept, refuse and say, and the option table of 4.6.1."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_server import ClientUnderTest, a_client

from summoner.client import ClientMerger, ClientTranslation, SummonerClient
from summoner.protocol import Direction, Event, Move, Node, Stay, Test
from summoner.protocol.triggers import load_triggers

client = pytest.fixture(a_client)

Trigger: Any = load_triggers(json_dict={"ok": None})
OK = {Trigger.ok}


async def plain() -> Any:
    """A sender without options."""


async def with_data(data: Any) -> Any:
    """A sender with `use_data`."""


async def many() -> list:  # type: ignore[type-arg]
    """A sender with `multi`."""
    return []


async def asynchronous(data: Any = None) -> bool:
    return True


def no_arguments() -> bool:
    return True


ACCEPTED_OPTIONS: list[tuple[Any, dict[str, Any], bool]] = [
    (plain, {}, False),
    (many, {"multi": True}, False),
    (plain, {"every": 1}, False),
    (plain, {"every": 0.5, "run_while": True}, False),
    (plain, {"every": 0.5, "run_while": no_arguments}, False),
    (plain, {"every": 0.5, "run_while": asynchronous}, False),
    (plain, {"on_triggers": OK}, False),
    (plain, {"on_actions": {Move, Stay, Test}}, False),
    (plain, {"on_triggers": set(), "every": 1}, False),
    (plain, {"on_triggers": OK, "on_actions": {Move}, "every": 1}, True),
    (with_data, {"use_data": True, "on_triggers": OK}, True),
    (with_data, {"use_data": True, "on_actions": {Move}, "data_mode": "live"}, True),
    (with_data, {"use_data": True, "on_triggers": OK, "data_mode": "snapshot", "when_data": bool}, True),
    (with_data, {"use_data": True, "on_triggers": OK, "every": 1, "run_while": False}, True),
]

REFUSED_OPTIONS: list[tuple[Any, dict[str, Any], bool, type[Exception]]] = [
    (plain, {"multi": 1}, False, TypeError),
    (plain, {"use_data": 1}, False, TypeError),
    (plain, {"every": True}, False, TypeError),
    (plain, {"every": "1"}, False, TypeError),
    (plain, {"every": 0}, False, ValueError),
    (plain, {"every": -0.5}, False, ValueError),
    (plain, {"on_triggers": [Trigger.ok]}, False, TypeError),
    (plain, {"on_triggers": {"ok"}}, False, TypeError),
    (plain, {"on_actions": [Move]}, False, TypeError),
    (plain, {"on_actions": {Event}}, False, TypeError),
    (with_data, {"use_data": True}, True, ValueError),
    (with_data, {"use_data": True, "on_triggers": set()}, True, ValueError),
    (with_data, {"use_data": True, "on_triggers": OK}, False, RuntimeError),
    (plain, {"every": 1, "on_triggers": OK}, False, RuntimeError),
    (plain, {"run_while": True}, False, ValueError),
    (plain, {"every": 1, "run_while": "yes"}, False, TypeError),
    (plain, {"data_mode": "live"}, True, ValueError),
    (with_data, {"use_data": True, "on_triggers": OK, "data_mode": "frozen"}, True, ValueError),
    (plain, {"when_data": bool}, True, ValueError),
    (with_data, {"use_data": True, "on_triggers": OK, "when_data": 5}, True, TypeError),
    (with_data, {"use_data": True, "on_triggers": OK, "when_data": asynchronous}, True, TypeError),
    (with_data, {"use_data": True, "on_triggers": OK, "when_data": no_arguments}, True, TypeError),
]


@pytest.mark.parametrize(("function", "options", "flow"), ACCEPTED_OPTIONS)
def test_valid_options_of_send_are_accepted_and_the_function_comes_back(
    client: ClientUnderTest, function: Any, options: dict[str, Any], flow: bool
) -> None:
    if flow:
        client.with_arrows()
    assert client.send(route="", **options)(function) is function


@pytest.mark.parametrize(("function", "options", "flow", "error"), REFUSED_OPTIONS)
def test_invalid_options_of_send_are_refused(
    client: ClientUnderTest, function: Any, options: dict[str, Any], flow: bool, error: type[Exception]
) -> None:
    if flow:
        client.with_arrows()
    decorate = client.send(route="", **options)
    with pytest.raises(error):
        decorate(function)
    assert not client.registry.pending


def test_empty_filters_alone_are_worth_a_warning(client: ClientUnderTest) -> None:
    client.send(route="", on_triggers=set())(plain)
    assert len(client.log.matching("WARNING")) == 1


def _decorators(client: SummonerClient) -> dict[str, Any]:
    return {
        "receive": client.receive(route=""),
        "hook": client.hook(Direction.SEND),
        "send": client.send(route=""),
        "upload_states": client.upload_states(),
        "download_states": client.download_states(),
    }


@pytest.mark.parametrize("name", ["receive", "hook", "send", "upload_states", "download_states"])
def test_every_decorator_returns_its_function_and_refuses_what_is_not_asynchronous(
    client: ClientUnderTest, name: str
) -> None:
    async def suitable(payload: Any) -> Any: ...

    function = plain if name == "send" else suitable
    decorate = _decorators(client)[name]
    assert decorate(function) is function
    with pytest.raises(TypeError):
        decorate(lambda *_: None)
    with pytest.raises(TypeError):
        decorate(5)


async def refused_parameter(payload: int) -> None: ...
async def refused_return(payload: Any) -> int:
    return 1


async def two_parameters(first: Any, second: Any) -> None: ...


@pytest.mark.parametrize("function", [refused_parameter, refused_return, two_parameters, plain])
@pytest.mark.parametrize("name", ["receive", "hook", "upload_states", "download_states"])
def test_unsuitable_signatures_are_refused(client: ClientUnderTest, name: str, function: Any) -> None:
    with pytest.raises(TypeError):
        _decorators(client)[name](function)


def test_states_may_be_declared_as_nodes(client: ClientUnderTest) -> None:
    @client.upload_states()
    async def upload(payload: dict) -> dict[str, list[Node]]:  # type: ignore[type-arg]
        return {}

    @client.download_states()
    async def download(possible: dict[str | None, list[Node]]) -> None: ...

    assert not client.log.texts


def test_missing_annotations_are_worth_a_warning(client: ClientUnderTest) -> None:
    @client.receive(route="")
    async def take(payload):  # type: ignore[no-untyped-def]
        return None

    assert len(client.log.matching("WARNING")) == 2


def test_a_route_that_is_no_string_is_refused_before_anything_is_decorated(client: ClientUnderTest) -> None:
    with pytest.raises(TypeError):
        client.receive(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client.send(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("priority", ["1", 1.5, [1], ("a",), None])
def test_a_bad_priority_is_refused(client: ClientUnderTest, priority: Any) -> None:
    async def take(payload: Any) -> None: ...

    with pytest.raises(ValueError, match="priority"):
        client.receive(route="", priority=priority)(take)
    with pytest.raises(ValueError, match="priority"):
        client.hook(Direction.SEND, priority=priority)(take)
    with pytest.raises(TypeError):
        client.hook("SEND")(take)  # type: ignore[arg-type]


@pytest.mark.parametrize("priority", [True, -3, 0, (), (1, 2)])
def test_a_good_priority_is_accepted(client: ClientUnderTest, priority: Any) -> None:
    async def take(payload: Any) -> None: ...

    client.receive(route="", priority=priority)(take)


def test_functions_without_source_text_are_accepted(client: ClientUnderTest) -> None:
    namespace: dict[str, Any] = {}
    exec("async def take(payload): return None", namespace)
    assert client.receive(route="")(namespace["take"]) is namespace["take"]


def test_a_bound_method_may_handle(client: ClientUnderTest) -> None:
    class Agent:
        async def take(self, payload: Any) -> None: ...

    client.receive(route="")(Agent().take)


def test_registering_again_replaces_with_a_warning_and_routes_are_stripped(client: ClientUnderTest) -> None:
    client.with_arrows()
    for route in ("A --> B", "  A-->B "):

        @client.receive(route=route)
        async def take(payload: Any) -> None: ...

    for _ in range(2):

        @client.upload_states()
        async def upload(payload: Any) -> Any: ...

    client.loop.run_until_complete(asyncio.sleep(0))
    assert list(client.registry.receivers) == ["A--[]-->B"]
    assert len(client.log.matching("is replaced")) == 2


def test_the_flow_may_be_set_up_after_the_decorators_and_before_the_loop_runs(
    client: ClientUnderTest,
) -> None:
    @client.receive(route="A --> B")
    async def take(payload: Any) -> None: ...

    client.with_arrows()
    assert not client.registry.receivers
    client.loop.run_until_complete(asyncio.sleep(0))
    assert list(client.registry.parsed_routes) == ["A--[]-->B"]


@pytest.fixture
def an_agent() -> Iterator[SummonerClient]:
    class Agent(SummonerClient):
        """A subclass as agents write them: attributes and methods of their own."""

        def __init__(self, name: str | None = None) -> None:
            super().__init__(name=name)
            for attribute in [
                "client",
                "model",
                "debug",
                "base_dir",
                "my_id",
                "gpt_cfg",
                "sleep_seconds",
                "cost_limit_usd",
                "output_parsing",
                "personality_prompt",
                "format_prompt",
                "max_chat_input_tokens",
                "max_chat_output_tokens",
                "mcp_url",
                "bridge",
                "identity",
                "default_algo",
                "default_k",
                "default_max_iter",
                "default_seed",
                "embedding_model",
            ]:
                assert not hasattr(self, attribute)
                setattr(self, attribute, "mine")

        def _load_json(self) -> None: ...
        async def _embed(self) -> None: ...

    agent = Agent(name="agent")
    yield agent
    agent.loop.close()


def test_a_subclass_may_use_the_names_that_agents_use(an_agent: SummonerClient) -> None:
    an_agent.run(
        port=9,
        config_dict={
            "logger": {"enable_console_log": False},
            "hyper_parameters": {
                "reconnection": {"retry_delay_seconds": 0, "primary_retry_limit": 1, "default_retry_limit": 1}
            },
        },
    )
    assert vars(an_agent)["bridge"] == "mine"


def test_a_new_client_has_the_documented_attributes(client: ClientUnderTest) -> None:
    nameless = ClientUnderTest.__mro__[1](name=5)  # type: ignore[call-arg, arg-type]
    with contextlib.closing(nameless.loop):
        assert nameless.name == "<client:no-name>"
        assert asyncio.get_event_loop_policy().get_event_loop() is nameless.loop
        assert (nameless.host, nameless.port, nameless.default_host, nameless.default_port) == (None,) * 4
        assert nameless.core_version == "1.3.0"
        assert not nameless.flow().in_use
        assert not nameless.logger.handlers
        assert not nameless.logger.propagate


def test_what_is_not_available_yet_says_so(client: ClientUnderTest) -> None:
    with pytest.raises(NotImplementedError, match="not available"):
        client.dna(include_context=True)
    for unavailable in (ClientMerger, ClientTranslation):
        with pytest.raises(NotImplementedError, match="not available"):
            unavailable([], name="merged")
