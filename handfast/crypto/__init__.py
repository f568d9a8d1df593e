"""Keys, key derivation, encryption and signatures: thin names over `cryptography`, nothing of our own invention."""
