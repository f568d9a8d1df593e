"""Every domain-separation string and constant label, in one place, so that no two uses can ever collide."""

# v1, fixed by what deployed agents use (hsagent-v1.md, sections 3 and 5)
V1_SESSION_KEY_INFO = b"handshake"
V1_IDENTITY_AAD = b"HSAgent.identity.v1"

# the identity file that carries its own scrypt parameters (v2-handshake.md, section 2)
V2_IDENTITY_AAD_PREFIX = b"SMNR2 identity file\0"

# ours, local: never on the wire
DATABASE_KEY_INFO = b"handfast/v1 database key"
DATABASE_SECRET_AAD = b"handfast/v1 database secret\0"
AUDIT_CHAIN = b"handfast/v1 audit chain\0"
