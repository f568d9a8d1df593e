"""The documentation says what the code does."""

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def test_the_table_in_the_documentation_is_the_table_of_the_code() -> None:
    generate = runpy.run_path(str(DOCS / "generate.py"))
    text = (DOCS / "protocol-v1.md").read_text(encoding="utf-8")
    assert generate["up_to_date"](text) == text, "run `make docs`"
    assert "| `resp_confirm` | request |" in text
