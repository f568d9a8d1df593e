"""Write the generated parts of the documentation anew: `make docs`. A test checks that they are up to date."""

from pathlib import Path

from handfast.conversation.diagram import markdown
from handfast.conversation.v1.table import TABLE as TABLE_1
from handfast.conversation.v2.table import TABLE as TABLE_2

PAGES = {
    "protocol-v1.md": ("handfast/conversation/v1/table.py", TABLE_1),
    "protocol-v2.md": ("handfast/conversation/v2/table.py", TABLE_2),
}
END = "<!-- end of the generated part -->"


def up_to_date(page: str, text: str) -> str:
    """`text`, which a page holds, with the part between the marks made from the page's table as it is now."""
    source, table = PAGES[page]
    begin = f"<!-- generated from {source} by `make docs` -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(END)
    return f"{head}{begin}\n\n{markdown(table)}\n{END}{tail}"


if __name__ == "__main__":
    for name in PAGES:
        path = Path(__file__).parent / name
        path.write_text(up_to_date(name, path.read_text(encoding="utf-8")), encoding="utf-8")
