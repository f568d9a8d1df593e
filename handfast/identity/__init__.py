"""Who I am: an agent id with its keys, and the sealed file that holds them."""

from handfast.identity.file import FORMATS, identity_format, open_identity, seal_identity
from handfast.identity.identity import Identity

__all__ = ["FORMATS", "Identity", "identity_format", "open_identity", "seal_identity"]
