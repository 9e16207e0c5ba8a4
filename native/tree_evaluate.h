// Evaluation of function-secret-sharing keys, for any generator. Points are taken in tiles, which
// walk down their trees together, level by level; neighbours that share a prefix share its nodes.
// Nodes are numbered in the order in which they part from their left neighbour, so at every level
// those in use are the first ones, side by side, and the generator takes them in full vectors
// whatever key they belong to.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include "tree_layout.h"

namespace {

// Nodes and points of a tile; state of that many lies well within an L1 cache.
constexpr long MAX_NODES = 256;
constexpr long MAX_LEVELS = 63;

// Bits 0, 2, 4 ... in the lower half, 1, 3, 5 ... in the upper.
inline uint64_t unshuffle(uint64_t x) {
  uint64_t t;
  t = (x ^ (x >> 1)) & 0x2222222222222222u, x ^= t ^ (t << 1);
  t = (x ^ (x >> 2)) & 0x0c0c0c0c0c0c0c0cu, x ^= t ^ (t << 2);
  t = (x ^ (x >> 4)) & 0x00f000f000f000f0u, x ^= t ^ (t << 4);
  t = (x ^ (x >> 8)) & 0x0000ff000000ff00u, x ^= t ^ (t << 8);
  t = (x ^ (x >> 16)) & 0x00000000ffff0000u, x ^= t ^ (t << 16);
  return x;
}

// In the place of a level: a point that never parts from its left neighbour.
constexpr uint8_t SAME = MAX_LEVELS + 1;

// What the generator's lanes read, by node.
struct Tile {
  long points, nodes;
  long key_count;
  uint16_t key_of[MAX_NODES];  // of each node, counted from the tile's first
  const uint8_t* keys[MAX_NODES];
  uint64_t paths[MAX_NODES];     // bit i: branch at level i; bit `levels`: side of the leaf
  uint64_t controls[MAX_NODES];  // bit i: control-bit correction of that branch
  uint16_t parents[MAX_NODES];   // node whose state a node takes over where they part
  uint16_t node_of[MAX_NODES];   // of each point
  uint16_t active[MAX_LEVELS + 1];  // nodes in use at each level, the leaf's among them
};

typedef uint16_t Nodes32 __attribute__((vector_size(64)));

// Gives each point its node, and each node its key, path and parent. WIDE: there may be more than
// 31 levels.
template <bool WIDE>
inline void part_nodes(Tile& tile, const TreeEvaluate& e, const Layout& at, long first,
                       const uint8_t* parts, uint16_t* next) {
  // The node at each level on the way to the last point. All of it is written for each point: how
  // much changes is hard to predict. What is read is a copy in memory, so that no point waits for
  // the one before.
  Nodes32 levels, low = {}, high = {};
  for (long level = 0; level < 32; level++) levels[level] = static_cast<uint16_t>(level);
  uint16_t node_at[64] = {};
  const uint64_t* points = e.points + first;
  const uint8_t* key = e.keys + first / e.points_per_key * at.key_bytes;
  long left_of_key = e.points_per_key - first % e.points_per_key;
  uint16_t key_number = 0;
  for (long i = 0; i < tile.points; i++, left_of_key--) {
    if (left_of_key == 0) {
      left_of_key = e.points_per_key;
      key += at.key_bytes;
      key_number++;
    }
    const uint16_t part = parts[i];
    if (part != SAME) {
      const uint16_t node = next[part]++;
      tile.parents[node] = part > 0 ? node_at[part - 1] : node;
      tile.key_of[node] = key_number;
      tile.keys[node] = key;
      tile.paths[node] = points[i];
      const Nodes32 all = Nodes32{} + node;
      low = levels >= part ? all : low;
      std::memcpy(node_at, &low, sizeof low);
      if (WIDE) {
        high = levels + uint16_t{32} >= part ? all : high;
        std::memcpy(node_at + 32, &high, sizeof high);
      }
    }
    tile.node_of[i] = node_at[at.levels];
  }
  tile.key_count = key_number + 1;
}

// Numbers the nodes of the points [first, first + tile.points) and notes which key and point each
// stands for in `keys` and `paths`.
inline void number_nodes(Tile& tile, const TreeEvaluate& e, const Layout& at, long first) {
  const uint64_t* points = e.points + first;
  if (e.points_per_key == 1) {
    tile.nodes = tile.key_count = tile.points;
    for (long i = 0; i < tile.points; i++) {
      tile.key_of[i] = static_cast<uint16_t>(i);
      tile.keys[i] = e.keys + (first + i) * at.key_bytes;
      tile.paths[i] = points[i];
      tile.node_of[i] = static_cast<uint16_t>(i);
    }
    for (long level = 0; level <= at.levels; level++) tile.active[level] = tile.nodes;
    return;
  }
  // The level at which each point parts from its left neighbour: 0 for the first one of a key.
  uint8_t parts[MAX_NODES];
  uint16_t next[MAX_LEVELS + 2] = {};  // first nodes of each level, then the next ones
  long left_of_key = e.points_per_key - first % e.points_per_key;
  for (long i = 0; i < tile.points; i++, left_of_key--) {
    const bool is_first = i == 0 || left_of_key == 0;
    if (left_of_key == 0) left_of_key = e.points_per_key;
    const uint64_t difference = is_first ? 0 : points[i] ^ points[i - 1];
    const long level = difference == 0 ? SAME : at.levels - 63 + __builtin_clzll(difference);
    parts[i] = is_first ? 0 : static_cast<uint8_t>(level);
    if (parts[i] != SAME) next[parts[i] + 1]++;
  }
  for (long level = 0; level <= at.levels; level++) {
    next[level + 1] = static_cast<uint16_t>(next[level + 1] + next[level]);
    tile.active[level] = next[level + 1];
  }
  tile.nodes = tile.active[at.levels];
  if (at.levels < 32) {
    part_nodes<false>(tile, e, at, first, parts, next);
  } else {
    part_nodes<true>(tile, e, at, first, parts, next);
  }
}

// Turns points into paths and reads the control-bit corrections along them.
inline void read_controls(Tile& tile, const Layout& at) {
  uint64_t left[MAX_NODES], right[MAX_NODES];  // of each key, a bit a level
  const long spare = 8 * (16 - at.control_bytes);
  const uint8_t* key = tile.keys[0];
  for (long i = 0; i < tile.key_count; i++, key += at.key_bytes) {
    // They are the key's end, which has 32 bytes at least: two bits a level.
    const uint64_t before = load64(key + at.key_bytes - 16);
    const uint64_t last = load64(key + at.key_bytes - 8);
    if (spare >= 64) {
      left[i] = spare == 128 ? 0 : last >> (spare - 64);
      right[i] = 0;
    } else {
      left[i] = spare == 0 ? before : before >> spare | last << (64 - spare);
      right[i] = last >> spare;
    }
  }
  for (long i = 0; i < tile.key_count; i++) {
    const uint64_t a = unshuffle(left[i]), b = unshuffle(right[i]);
    left[i] = (a & 0xffffffffu) | b << 32;
    right[i] = a >> 32 | (b & 0xffffffff00000000u);
  }
  for (long i = 0; i < tile.nodes; i++) {
    const uint64_t path = at.path_of(tile.paths[i]);
    const long k = tile.key_of[i];
    tile.paths[i] = path;
    tile.controls[i] = (left[k] & ~path) | (right[k] & path);
  }
}

// Nodes is a generator's state of up to MAX_NODES nodes:
//   capacity(layout)          nodes that it has room for, a multiple of `GROUP`
//   start(tile, party)        every node used at level 0 is its key's root
//   copy(to, from)            a node takes over another's state
//   expand(tile, level)       every node goes to the child on its path
//   finish(tile)              adds the leaves
//   values(node, out)         writes what party 0's share is, or minus party 1's
//   Sums                      the group that values add up in
template <class Nodes>
void evaluate_on(const TreeEvaluate& e) {
  const Layout at(e.shape);
  Nodes nodes(at);
  Tile tile;
  for (long first = 0; first < e.total; first += tile.points) {
    const long left = e.total - first;
    tile.points = left < nodes.capacity() ? left : nodes.capacity();
    number_nodes(tile, e, at, first);
    read_controls(tile, at);
    // Lanes beyond the last node compute something that nobody reads, on a key that can be read.
    const long padded = (tile.nodes + Nodes::GROUP - 1) / Nodes::GROUP * Nodes::GROUP;
    for (long i = tile.nodes; i < padded; i++) {
      tile.keys[i] = tile.keys[0];
      tile.paths[i] = tile.controls[i] = 0;
    }
    nodes.start(tile, e.party);
    for (long level = 0; level <= at.levels; level++) {
      for (long i = level == 0 ? tile.nodes : tile.active[level - 1]; i < tile.active[level]; i++) {
        nodes.copy(i, tile.parents[i]);
      }
      if (level < at.levels) nodes.expand(tile, level);
    }
    nodes.finish(tile);
    uint64_t* out = e.out + first * at.words;
    for (long i = 0; i < tile.points; i++) nodes.values(tile.node_of[i], out + i * at.words);
    if (e.party == 1) {
      for (long i = 0; i < tile.points * at.words; i++) out[i] = Nodes::Sums::negate(out[i]);
    }
  }
}

template <template <class, bool> class Nodes, class T>
void evaluate(const TreeEvaluate& e) {
  if (e.shape.halved) {
    evaluate_on<Nodes<T, true>>(e);
  } else {
    evaluate_on<Nodes<T, false>>(e);
  }
}

}  // namespace
