"""Write the generated parts of the documentation anew: `make docs`. A test checks that they are up to date."""

from pathlib import Path

from handfast.conversation.diagram import markdown

PROTOCOL = Path(__file__).parent / "protocol-v1.md"
BEGIN, END = (
    "<!-- generated from handfast/conversation/v1.py by `make docs` -->",
    "<!-- end of the generated part -->",
)


def up_to_date(text: str) -> str:
    """`text` with the part between the marks made from the table as it is now."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{markdown()}\n{END}{tail}"


if __name__ == "__main__":
    PROTOCOL.write_text(up_to_date(PROTOCOL.read_text(encoding="utf-8")), encoding="utf-8")
