"""Every case of the catalogue, and the page that lists them."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from cases_storage import Place
from cases_time import World
from catalogue import (
    FRESH,
    FRESH_2,
    OWN,
    PAGE,
    SHARED,
    SHARED_2,
    WORLD,
    WORLD_2,
    Case,
    all_cases,
    markdown,
)
from chaos_relay import ChaosRelay
from stage import Stage


def cases(where: str) -> list[object]:
    return [
        pytest.param(
            case, id=case.id, marks=[pytest.mark.slow, pytest.mark.timeout(600)] if case.slow else []
        )
        for case in all_cases()
        if case.where == where
    ]


class Stages:
    """The stage that cases share, and another one when the victim has little left to say about refusals.

    What is told of refusals is bounded (a burst of 50, then two a second), and most cases wait to be told.
    """

    ENOUGH_REFUSALS = 30

    def __init__(self, directory: Path, version: int) -> None:
        self._directory = directory
        self._version = version
        self._stack = AsyncExitStack()
        self._present: Stage | None = None
        self._count = 0

    async def present(self) -> Stage:
        if self._present is None or self._present.victim.count("refused") > self.ENOUGH_REFUSALS:
            await self.close()
            self._count += 1
            stage = Stage.set_up(self._directory / str(self._count), self._version)
            self._present = await self._stack.enter_async_context(stage)
        return self._present

    async def close(self) -> None:
        """The victim leaves as agents should."""
        if self._present is not None:
            self._present.victim.signal(signal.SIGTERM)
            assert await self._present.victim.ended() == 0
        await self._stack.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stages(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stages]:
    stages = Stages(tmp_path_factory.mktemp("stages"), version=1)
    yield stages
    await stages.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stages_of_version_2(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stages]:
    stages = Stages(tmp_path_factory.mktemp("stages of version 2"), version=2)
    yield stages
    await stages.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", cases(SHARED))
async def test_a_running_agent_is_not_harmed(case: Case, stages: Stages) -> None:
    stage = await stages.present()
    await case.check(stage)
    await stage.assert_unharmed()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", cases(SHARED_2))
async def test_a_running_agent_of_version_2_is_not_harmed(case: Case, stages_of_version_2: Stages) -> None:
    stage = await stages_of_version_2.present()
    await case.check(stage)
    await stage.assert_unharmed()


@pytest.mark.parametrize("case", cases(FRESH_2))
async def test_an_agent_of_version_2_of_its_own_is_not_harmed(case: Case, tmp_path: Path) -> None:
    async with Stage.set_up(tmp_path, version=2) as stage:
        await case.check(stage)
        await stage.assert_unharmed()


@pytest.mark.parametrize("case", cases(FRESH))
async def test_an_agent_of_its_own_is_not_harmed(case: Case, tmp_path: Path) -> None:
    async with Stage.set_up(tmp_path) as stage:
        await case.check(stage)
        await stage.assert_unharmed()


@pytest.mark.parametrize("case", cases(OWN))
async def test_agents_in_bad_surroundings_do_the_safe_thing(case: Case, tmp_path: Path) -> None:
    async with ChaosRelay.listening() as relay:
        await case.check(Place(tmp_path, relay))


@pytest.mark.parametrize("case", cases(WORLD))
async def test_in_the_fake_world_nobody_is_harmed(case: Case) -> None:
    world = World()
    await world.begin()
    await case.check(world)
    await world.assert_unharmed()


@pytest.mark.parametrize("case", cases(WORLD_2))
async def test_in_the_fake_world_of_version_2_nobody_is_harmed(case: Case, tmp_path: Path) -> None:
    await case.check(tmp_path)


def test_the_page_lists_every_case_as_it_is() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), "run `python tests/hostile/catalogue.py`"
