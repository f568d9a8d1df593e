"""The helper functions that agents and extensions of the official SDK import from `summoner.utils` (section 6.2).

The name and the set of functions are the SDK's; nothing else belongs here.
"""

from summoner.utils.json_recovery import RecoveryError, fully_recover_json
from summoner.utils.source import (
    extract_annotation_identifiers,
    get_callable_source,
    rebuild_expression_for,
    resolve_import_statement,
)
from summoner.utils.text import (
    ensure_trailing_newline,
    format_addr,
    is_jsonable,
    load_config,
    remove_last_newline,
)

__all__ = [
    "RecoveryError",
    "ensure_trailing_newline",
    "extract_annotation_identifiers",
    "format_addr",
    "fully_recover_json",
    "get_callable_source",
    "is_jsonable",
    "load_config",
    "rebuild_expression_for",
    "remove_last_newline",
    "resolve_import_statement",
]
