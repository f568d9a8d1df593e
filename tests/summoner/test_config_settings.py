"""`summoner.settings`, and what importing the package must not do."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a `.env` file, and an environment without the settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "SECRET_KEY"):
        monkeypatch.setenv(name, "restored afterwards")
        monkeypatch.delenv(name)
    return tmp_path


def settings() -> tuple[str, str]:
    module = importlib.reload(importlib.import_module("summoner.settings"))
    return module.DATABASE_URL, module.SECRET_KEY


def test_settings_have_defaults(away: Path) -> None:
    assert settings() == ("sqlite:///local.db", "devsecret")


def test_settings_come_from_the_environment_before_a_dotenv_file(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (away / ".env").write_text("DATABASE_URL=from-file\nSECRET_KEY=from-file\n", encoding="utf-8")
    monkeypatch.setenv("SECRET_KEY", "from-environment")
    assert settings() == ("from-file", "from-environment")


def test_importing_the_package_leaves_the_search_path_and_the_names_of_users_alone() -> None:
    program = (
        "import sys\n"
        "before = list(sys.path)\n"
        "import summoner.protocol.payload, summoner.protocol.validation, summoner.utils, summoner.logger\n"
        "import summoner.settings, summoner.config\n"
        "assert sys.path == before, sys.path\n"
        "for name in ('logger', 'settings', 'utils', 'client', 'config', 'protocol'):\n"
        "    assert name not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
