"""Every domain-separation string and constant label, in one place, so that no two uses can ever collide."""

# v1, fixed by what deployed agents use (hsagent-v1.md, sections 3 and 5)
V1_SESSION_KEY_INFO = b"handshake"
V1_IDENTITY_AAD = b"HSAgent.identity.v1"

# the identity file that carries its own scrypt parameters (v2-handshake.md, section 2)
V2_IDENTITY_AAD_PREFIX = b"SMNR2 identity file\0"

# identities and the statements about them (v2-handshake.md, sections 3, 6.3 and 10)
V2_AGENT_ID = b"SMNR2 agent id\0"
V2_STATIC_KEY_BINDING = b"SMNR2 static key binding\0"
V2_CERTIFICATE = b"SMNR2 certificate\0"
V2_CERTIFICATE_REQUEST = b"SMNR2 cert request\0"
V2_REVOCATION_LIST = b"SMNR2 crl\0"
V2_ROTATION = b"SMNR2 rotation\0"
V2_TOMBSTONE = b"SMNR2 tombstone\0"

# the handshake and session of version 2 (v2-handshake.md, sections 4.3 and 6 to 8)
V2_HEADER = b"SMNR2/hdr"
V2_PROLOGUE = b"SMNR2/prologue"
V2_PROLOGUE_RESUMPTION = b"SMNR2/prologue-kk"
V2_PROLOGUE_REKEY = b"SMNR2/rekey"
V2_CONFIRM_NONCE = b"nonce"
V2_CONFIRM_EPHEMERAL = b"eph"
V2_CONFIRM_KEM = (b"kem1", b"kem2")
V2_PSK_INFO = b"SMNR2 psk"
V2_SCHEDULE_PREFIX = b"SMNR2 "
V2_TRANSCRIPT = b"SMNR2 transcript\0"

# the audit log (v2-handshake.md, section 12)
V2_AUDIT_HEAD = b"SMNR2 audit head\0"

# ours, local: never on the wire
DATABASE_KEY_INFO = b"handfast/v1 database key"
DATABASE_SECRET_AAD = b"handfast/v1 database secret\0"
AUTHORITY_AAD_PREFIX = b"handfast authority file\0"
AUDIT_CHAIN = b"handfast/v1 audit chain\0"
