"""The documentation says what the code does."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


@pytest.mark.parametrize(
    ("page", "row"),
    [
        ("protocol-v1.md", "| `resp_confirm` | request |"),
        ("protocol-v2.md", "| `resp_half` | request |"),
    ],
)
def test_the_table_in_the_documentation_is_the_table_of_the_code(page: str, row: str) -> None:
    generate = runpy.run_path(str(DOCS / "generate.py"))
    text = (DOCS / page).read_text(encoding="utf-8")
    assert generate["up_to_date"](page, text) == text, "run `make docs`"
    assert row in text
