"""Writes chacha12.json: ChaCha (RFC 8439 state layout) with 12 rounds, in plain Python.

The implementation is checked first against RFC 8439 section 2.3.2 (20 rounds) and against
draft-strombergson-chacha-test-vectors-01 TC1 (12 rounds, 256-bit key).
"""

import json
import pathlib
import struct

MASK = 0xFFFFFFFF


def rotate(x, n):
    return ((x << n) | (x >> (32 - n))) & MASK


def quarter_round(s, a, b, c, d):
    s[a] = (s[a] + s[b]) & MASK
    s[d] = rotate(s[d] ^ s[a], 16)
    s[c] = (s[c] + s[d]) & MASK
    s[b] = rotate(s[b] ^ s[c], 12)
    s[a] = (s[a] + s[b]) & MASK
    s[d] = rotate(s[d] ^ s[a], 8)
    s[c] = (s[c] + s[d]) & MASK
    s[b] = rotate(s[b] ^ s[c], 7)


def block(key, counter, nonce, rounds):
    start = list(struct.unpack("<4I", b"expand 32-byte k"))
    start += list(struct.unpack("<8I", key)) + [counter] + list(struct.unpack("<3I", nonce))
    s = start[:]
    for _ in range(rounds // 2):
        for i in range(4):
            quarter_round(s, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter_round(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((x + y) & MASK for x, y in zip(s, start)))


def stream(key, counter, nonce, length):
    blocks = (length + 63) // 64
    return b"".join(block(key, counter + i, nonce, 12) for i in range(blocks))[:length]


RFC_KEY = bytes(range(32))
RFC_NONCE = bytes.fromhex("000000090000004a00000000")
assert block(RFC_KEY, 1, RFC_NONCE, 20).hex().startswith("10f1e7e4d13b5915500fdd1fa32071c4")
TC1 = (
    "9bf49a6a0755f953811fce125f2683d50429c3bb49e074147e0089a52eae155f"
    "0564f879d27ae3c02ce82834acfa8c793a629f2ca0de6919610be82f411326be"
)
assert stream(bytes(32), 0, bytes(12), 64).hex() == TC1

cases = [
    ("TC1 of the draft", bytes(32), 0, bytes(12), 64),
    ("key and nonce of RFC 8439 2.3.2", RFC_KEY, 1, RFC_NONCE, 64),
    ("across a group of four blocks", RFC_KEY, 3, RFC_NONCE, 331),
    ("last counters", bytes([255] * 32), 2**32 - 6, bytes([255] * 12), 384),
    ("shorter than a word", RFC_KEY, 7, bytes(range(12)), 3),
]
result = {
    "origin": "First vector: draft-strombergson-chacha-test-vectors-01, TC1, 256-bit key, 12 "
    "rounds, block 0 (64-bit counter and nonce, all zero: the same state as here). The others: "
    "python3 test/vectors/chacha12.py, the RFC 8439 block function with 12 rounds.",
    "vectors": [
        {
            "name": name,
            "key": key.hex(),
            "nonce": nonce.hex(),
            "counter": counter,
            "keystream": stream(key, counter, nonce, length).hex(),
        }
        for name, key, counter, nonce, length in cases
    ],
}
path = pathlib.Path(__file__).with_name("chacha12.json")
path.write_text(json.dumps(result, indent=2) + "\n")
