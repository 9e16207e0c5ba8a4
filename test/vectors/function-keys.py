"""Writes function-keys.json: function-secret-sharing keys and what they evaluate to.

A second implementation in plain Python, from the description in src/kernel/function-key.ts and
Boyle et al. 2021, Fig. 1. AES is checked first against FIPS 197, appendices B and C.1; ChaCha
against RFC 8439 section 2.3.2 (20 rounds).
"""

import hashlib
import json
import pathlib
import struct

M32, M64 = 2**32 - 1, 2**64 - 1

# ChaCha


def rotate(x, n):
    return ((x << n) | (x >> (32 - n))) & M32


def quarter_round(s, a, b, c, d):
    for x, y, z, n in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]:
        s[x] = (s[x] + s[y]) & M32
        s[z] = rotate(s[z] ^ s[x], n)


def chacha_block(start, rounds):
    s = start[:]
    for _ in range(rounds // 2):
        for i in range(4):
            quarter_round(s, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter_round(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return [(x + y) & M32 for x, y in zip(s, start)]


def text_words(text):
    return list(struct.unpack("<4I", text))


rfc = text_words(b"expand 32-byte k") + list(struct.unpack("<8I", bytes(range(32))))
rfc += [1, 0x09000000, 0x4A000000, 0]
assert chacha_block(rfc, 20)[:2] == [0xE4E7F110, 0x15593BD1]

# AES


def times(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def s_box_entry(x):
    inverse = next((y for y in range(256) if times(x, y) == 1), 0)
    out = 0x63
    for i in range(5):
        out ^= ((inverse << i) | (inverse >> (8 - i))) & 0xFF
    return out


S_BOX = [s_box_entry(x) for x in range(256)]


def aes_round_keys(key):
    words = [list(key[4 * i : 4 * i + 4]) for i in range(4)]
    constant = 1
    for i in range(4, 44):
        last = words[-1]
        if i % 4 == 0:
            last = [S_BOX[b] for b in last[1:] + last[:1]]
            last[0] ^= constant
            constant = times(constant, 2)
        words.append([a ^ b for a, b in zip(words[i - 4], last)])
    return [sum(words[4 * r : 4 * r + 4], []) for r in range(11)]


def aes(key, block):
    keys = aes_round_keys(key)
    state = [a ^ b for a, b in zip(block, keys[0])]
    for r in range(1, 11):
        state = [S_BOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if r < 10:
            mixed = []
            for i in range(16):
                column = [state[i // 4 * 4 + (i + k) % 4] for k in range(4)]
                mixed.append(times(column[0], 2) ^ times(column[1], 3) ^ column[2] ^ column[3])
            state = mixed
        state = [a ^ b for a, b in zip(state, keys[r])]
    return bytes(state)


FIPS_B = (
    "2b7e151628aed2a6abf7158809cf4f3c",
    "3243f6a8885a308d313198a2e0370734",
    "3925841d02dc09fbdc118597196a0b32",
)
FIPS_C1 = (
    "000102030405060708090a0b0c0d0e0f",
    "00112233445566778899aabbccddeeff",
    "69c4e0d86a7b0430d8cdb78070b4c55a",
)
for key, plain, cipher in (FIPS_B, FIPS_C1):
    assert aes(bytes.fromhex(key), bytes.fromhex(plain)).hex() == cipher

# Generators: a node is (seed as an integer of 128 bits, control bit).


class ChaCha12:
    PURPOSES = {"dcf": 0x00464344, "dpf": 0x00465044}

    def __init__(self, kind):
        self.purpose = self.PURPOSES[kind]

    def root(self, seed, party):
        return (seed, party)

    def block(self, seed, level, branch, number):
        words = text_words(seed.to_bytes(16, "little"))
        place = [number, self.purpose, level, branch]
        return chacha_block(text_words(b"expand 16-byte k") + words + words + place, 12)

    def child(self, node, level, branch, value_words):
        first = self.block(node[0], level, branch, 0)
        words = first[4:14]
        number = 1
        while len(words) < 2 * value_words:
            words += self.block(node[0], level, branch, number)
            number += 1
        values = [words[2 * i] | words[2 * i + 1] << 32 for i in range(value_words)]
        seed = int.from_bytes(struct.pack("<4I", *first[:4]), "little")
        return (seed, first[15] & 1), values

    def leaf(self, node, levels, count):
        if count == 2:
            return [node[0] & M64, node[0] >> 64]
        words = []
        while len(words) < 2 * count:
            words += self.block(node[0], levels, 2, len(words) // 16)
        return [words[2 * i] | words[2 * i + 1] << 32 for i in range(count)]

    def seed_correction(self, whole):
        return whole

    def correct(self, child, correction, bit):
        return (child[0] ^ correction, child[1] ^ bit)


class Aes128:
    CONTROL = 1 << 64

    def __init__(self, kind):
        uses = ("seed", "value", "leaf")
        self.keys = {use: f"mergen:{kind}:{use}".encode().ljust(16, b"\0") for use in uses}

    def with_bit(self, seed, bit):
        return (seed & ~self.CONTROL) | bit << 64

    def hash(self, use, node):
        out = aes(self.keys[use], node.to_bytes(16, "little"))
        return int.from_bytes(out, "little") ^ node

    def words(self, use, node, branch, count):
        out = []
        for block in range((count + 1) // 2):
            value = self.hash(use, node ^ branch ^ block << 65)
            out += [value & M64, value >> 64]
        return out[:count]

    def root(self, seed, party):
        return (self.with_bit(seed, party), party)

    def child(self, node, level, branch, value_words):
        seed = self.hash("seed", node[0] ^ branch)
        return (seed, seed >> 64 & 1), self.words("value", node[0], branch, value_words)

    def leaf(self, node, levels, count):
        return [word for side in (0, 1) for word in self.words("leaf", node[0], side, count // 2)]

    def seed_correction(self, whole):
        return self.with_bit(whole, 0)

    def correct(self, child, correction, bit):
        seed = child[0] ^ correction ^ bit << 64
        return (seed, seed >> 64 & 1)


GENERATORS = {"chacha12": ChaCha12, "aes128": Aes128}


def generate(kind, prg, bits, alpha, payload, roots):
    g = GENERATORS[prg](kind)
    levels, words = bits - 1, len(payload)
    value_words = words if kind == "dcf" else 0
    nodes = [g.root(int.from_bytes(roots[16 * p : 16 * p + 16], "little"), p) for p in (0, 1)]
    body, controls, total = b"", 0, [0] * words
    for level in range(levels):
        keep = alpha >> (levels - level) & 1
        lose = 1 - keep
        sides = [[g.child(n, level, branch, value_words) for branch in (0, 1)] for n in nodes]
        (zero, one) = sides
        seed = g.seed_correction(zero[lose][0][0] ^ one[lose][0][0])
        bit = [zero[b][0][1] ^ one[b][0][1] ^ keep ^ (1 - b) for b in (0, 1)]
        sign = -1 if nodes[1][1] else 1
        body += seed.to_bytes(16, "little")
        for i in range(value_words):
            value = one[lose][1][i] - zero[lose][1][i] - total[i]
            value += payload[i] if keep == 1 else 0
            body += (sign * value & M64).to_bytes(8, "little")
            total[i] += zero[keep][1][i] - one[keep][1][i] + value
        controls |= (bit[0] | bit[1] << 1) << (2 * level)
        nodes = [
            g.correct(side[keep][0], seed, bit[keep]) if node[1] else side[keep][0]
            for node, side in zip(nodes, sides)
        ]
    leaves = [g.leaf(node, levels, 2 * words) for node in nodes]
    sign = -1 if nodes[1][1] else 1
    for side in (0, 1):
        hit = side < (alpha & 1) if kind == "dcf" else side == (alpha & 1)
        for i in range(words):
            j = side * words + i
            target = (payload[i] if hit else 0) - total[i]
            value = target - leaves[0][j] + leaves[1][j]
            body += (sign * value & M64).to_bytes(8, "little")
    body += controls.to_bytes((levels + 3) // 4, "little")
    return [roots[16 * p : 16 * p + 16] + body for p in (0, 1)]


def evaluate(kind, prg, bits, words, party, key, x):
    g = GENERATORS[prg](kind)
    levels = bits - 1
    value_words = words if kind == "dcf" else 0
    step = 16 + 8 * value_words
    controls = int.from_bytes(key[16 + levels * step + 16 * words :], "little")
    node = g.root(int.from_bytes(key[:16], "little"), party)
    total = [0] * words
    for level in range(levels):
        branch = x >> (levels - level) & 1
        at = 16 + level * step
        child, values = g.child(node, level, branch, value_words)
        for i in range(value_words):
            value = int.from_bytes(key[at + 16 + 8 * i : at + 24 + 8 * i], "little")
            total[i] += values[i] + (value if node[1] else 0)
        if node[1]:
            seed = int.from_bytes(key[at : at + 16], "little")
            child = g.correct(child, seed, controls >> (2 * level + branch) & 1)
        node = child
    leaf = g.leaf(node, levels, 2 * words)
    for i in range(words):
        j = (x & 1) * words + i
        at = 16 + levels * step + 8 * j
        total[i] += leaf[j] + (int.from_bytes(key[at : at + 8], "little") if node[1] else 0)
    return [(total[i] if party == 0 else -total[i]) & M64 for i in range(words)]


def stream(name):
    """Bytes that depend on the name alone."""
    return hashlib.shake_128(name.encode()).digest(4096)


def vector(kind, prg, bits, words, alpha):
    name = f"{kind} on {prg}, {bits} bits, {words} words"
    material = stream(name)
    payload = [int.from_bytes(material[64 + 8 * i : 72 + 8 * i], "little") for i in range(words)]
    keys = generate(kind, prg, bits, alpha, payload, material[:32])
    last = 2**bits - 1
    points = sorted({0, alpha, max(alpha - 1, 0), min(alpha + 1, last), last, last // 3})
    shares = [[evaluate(kind, prg, bits, words, p, keys[p], x) for x in points] for p in (0, 1)]
    for x, zero, one in zip(points, *shares):
        hit = x < alpha if kind == "dcf" else x == alpha
        assert [(a + b) & M64 for a, b in zip(zero, one)] == (payload if hit else [0] * words)
    return {
        "name": name,
        "kind": kind,
        "prg": prg,
        "domainBits": bits,
        "alpha": hex(alpha),
        "payload": [hex(word) for word in payload],
        "roots": material[:32].hex(),
        # Party 0's; party 1's has the other root.
        "key": keys[0].hex(),
        "points": [hex(x) for x in points],
        # Of party 0; party 1's add up to the function with these.
        "shares": [hex(word) for share in shares[0] for word in share],
    }


shapes = [(1, 1, 1), (5, 1, 19), (9, 3, 511), (13, 6, 4242), (33, 1, 0x1BADCAFE5), (64, 2, 2**63)]
result = {
    "origin": "python3 test/vectors/function-keys.py, a second implementation of the keys that "
    "src/kernel/function-key.ts describes.",
    "vectors": [
        vector(kind, prg, bits, words, alpha)
        for kind in ("dcf", "dpf")
        for prg in ("chacha12", "aes128")
        for bits, words, alpha in shapes
    ],
}
path = pathlib.Path(__file__).with_name("function-keys.json")
path.write_text(json.dumps(result, indent=1) + "\n")
