"""Reading `survivors.txt`: mutants that no test kills, each with the reason."""

from pathlib import Path

FILE = Path(__file__).with_name("survivors.txt")


def read_survivors(text: str | None = None) -> dict[str, str]:
    """The names of mutants with their reasons. A name stands at the beginning of a line, its reason indented below it.

    Raises:
        ValueError: a name without a reason, a name twice, a reason without a name.
    """
    survivors: dict[str, str] = {}
    name = ""
    for line in (FILE.read_text(encoding="utf-8") if text is None else text).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            name = line
            if name in survivors:
                raise ValueError(f"stands twice: {name}")
            survivors[name] = ""
        elif not name:
            raise ValueError(f"a reason without a mutant: {line.strip()}")
        else:
            survivors[name] = f"{survivors[name]} {line.strip()}".strip()
    if without := [name for name, reason in survivors.items() if not reason]:
        raise ValueError(f"no reason: {without[0]}")
    return survivors
