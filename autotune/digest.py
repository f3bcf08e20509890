"""Short texts that stand for long ones, in the names of files and in keys."""

from __future__ import annotations


def digest_of(value, length):
    """`length` hexadecimal characters of the SHA-256 of a value made of JSON's own types."""
    import hashlib  # both here: importing tritorch needs neither
    import json

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]
