"""The messages of both versions: which of them a relayed payload carries."""

from handfast.wire import v1
from handfast.wire.text import Json
from handfast.wire.v2 import messages as v2

Message = v1.Message | v2.Message


def parse_message(content: Json, own_id: str) -> Message | None:
    """The message that a relayed payload carries for us; its `hs` or `sec` says of which version it is.

    Args:
        content: the `content` of a relayed payload, any JSON value.
        own_id: our agent id.

    Returns:
        The message, or None where it is for somebody else or came from ourselves.

    Raises:
        PeerError: it is no message of its version.
    """
    return v2.parse_message(content, own_id) if v2.is_v2(content) else v1.parse_message(content, own_id)
