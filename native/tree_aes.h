// The tree's generator on AES-128, for vectors of V::LANES blocks, V::VECTORS of them in flight:
// f(x) = AES(x) xor x under fixed keys, on inputs that differ in public bits. Layout in
// src/kernel/function-key.ts, the argument in docs/decisions/0014-function-keys-on-aes.md.
//
// A node is two words, its seed; in the place of bit 0 of the second one stands the control bit.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include "aes_schedule.h"
#include "tree_evaluate.h"

namespace {

template <int LANES>
struct AesKeys {
  AesSchedule<LANES> seed, value, leaf;
};

template <int LANES>
constexpr AesKeys<LANES> dcf_keys = {AesSchedule<LANES>("mergen:dcf:seed\0"),
                                     AesSchedule<LANES>("mergen:dcf:value"),
                                     AesSchedule<LANES>("mergen:dcf:leaf\0")};
// A DPF has no values above the leaf; the second key is not used.
template <int LANES>
constexpr AesKeys<LANES> dpf_keys = {AesSchedule<LANES>("mergen:dpf:seed\0"),
                                     AesSchedule<LANES>("mergen:dpf:leaf\0"),
                                     AesSchedule<LANES>("mergen:dpf:leaf\0")};

template <class V>
using Schedule = AesSchedule<V::LANES>;

// All rounds but the last; the caller then does last_round(y, x ^ last_key), which is f(x).
template <class V>
inline void rounds(const Schedule<V>& key, const typename V::Vec* x, typename V::Vec* y) {
  for (long g = 0; g < V::VECTORS; g++) y[g] = V::exclusive_or(x[g], V::load(key.round[0]));
  for (int r = 1; r < AES_ROUND_KEYS - 1; r++) {
    for (long g = 0; g < V::VECTORS; g++) y[g] = V::round(y[g], V::load(key.round[r]));
  }
}

// The same under two keys, so that twice as many chains are in flight.
template <class V>
inline void rounds(const Schedule<V>& a, const Schedule<V>& b, const typename V::Vec* x,
                   typename V::Vec* y, typename V::Vec* z) {
  for (long g = 0; g < V::VECTORS; g++) {
    y[g] = V::exclusive_or(x[g], V::load(a.round[0]));
    z[g] = V::exclusive_or(x[g], V::load(b.round[0]));
  }
  for (int r = 1; r < AES_ROUND_KEYS - 1; r++) {
    for (long g = 0; g < V::VECTORS; g++) {
      y[g] = V::round(y[g], V::load(a.round[r]));
      z[g] = V::round(z[g], V::load(b.round[r]));
    }
  }
}

template <class V>
inline typename V::Vec last_key(const Schedule<V>& key) {
  return V::load(key.round[AES_ROUND_KEYS - 1]);
}

// Block `block` of what hangs off the nodes with inputs x.
template <class V>
inline void hash_block(const Schedule<V>& key, long block, const typename V::Vec* x,
                       typename V::Vec* y) {
  typename V::Vec inputs[V::VECTORS];
  for (long g = 0; g < V::VECTORS; g++) inputs[g] = V::exclusive_or(x[g], V::upper(2 * block));
  rounds<V>(key, inputs, y);
  for (long g = 0; g < V::VECTORS; g++) {
    y[g] = V::last_round(y[g], V::exclusive_or(inputs[g], last_key<V>(key)));
  }
}

template <class V, bool HALVED>
class AesNodes {
 public:
  typedef Group<HALVED> Sums;
  static constexpr long LANES = V::LANES;
  static constexpr long GROUP = V::VECTORS * LANES;

  explicit AesNodes(const Layout& at)
      : at_(at),
        keys_(at.is_dcf ? dcf_keys<LANES> : dpf_keys<LANES>),
        blocks_((at.words + 1) / 2) {}

  long capacity() const {
    const long most = MAX_BLOCKS / blocks_ / GROUP * GROUP;
    return most < MAX_NODES ? most : MAX_NODES;
  }

  void start(const Tile& tile, uint32_t party) {
    const long padded = (tile.nodes + GROUP - 1) / GROUP * GROUP;
    for (long i = 0; i < padded; i++) {
      nodes_[i][0] = load64(tile.keys[i]);
      nodes_[i][1] = (load64(tile.keys[i] + 8) & ~uint64_t{1}) | party;
      bits_[i][0] = tile.paths[i];
      bits_[i][1] = tile.controls[i];
    }
    std::memset(sums_, 0, static_cast<size_t>(padded * blocks_) * 16);
  }

  void copy(long to, long from) {
    std::memcpy(nodes_[to], nodes_[from], 16);
    for (long j = 0; j < blocks_; j++) std::memcpy(sum(to, j), sum(from, j), 16);
  }

  void expand(const Tile& tile, long level) {
    if (at_.is_dcf) {
      expand_dcf(tile, level);
    } else {
      expand_dpf(tile, level);
    }
  }

  void finish(const Tile& tile) {
    const typename V::Level bit = V::level(at_.levels);
    for (long i = 0; i < tile.nodes; i += GROUP) {
      Vec x[V::VECTORS], y[V::VECTORS];
      for (long g = 0; g < V::VECTORS; g++) {
        const long n = i + g * LANES;
        x[g] = V::flip_low(V::load(nodes_[n]), V::test(V::load(bits_[n]), bit));
      }
      // Where each node's leaf corrections stand.
      const uint8_t* leaves[GROUP];
      for (long l = 0; l < GROUP; l++) {
        const long side = static_cast<long>(tile.paths[i + l] >> at_.levels & 1);
        leaves[l] = tile.keys[i + l] + at_.leaf_offset + 8 * side * at_.words;
      }
      for (long j = 0; j < blocks_; j++) {
        hash_block<V>(keys_.leaf, j, x, y);
        for (long g = 0; g < V::VECTORS; g++) {
          const long n = i + g * LANES;
          const Vec corrections = 2 * j + 1 < at_.words
                                      ? V::gather(leaves + g * LANES, 16 * j)
                                      : single_words(leaves + g * LANES, 16 * j);
          add(n, j, y[g], V::control(x[g]), corrections);
        }
      }
    }
  }

  void values(long node, uint64_t* out) {
    for (long j = 0; j < at_.words / 2; j++) std::memcpy(out + 2 * j, sum(node, j), 16);
    if (at_.words % 2 == 1) out[at_.words - 1] = sum(node, blocks_ - 1)[0];
  }

 private:
  typedef typename V::Vec Vec;
  static constexpr long MAX_BLOCKS = 2048;

  void expand_dcf(const Tile& tile, long level) {
    const typename V::Level bit = V::level(level);
    const long offset = at_.level_offset(level);
    const Vec seed_key = last_key<V>(keys_.seed), value_key = last_key<V>(keys_.value);
    for (long i = 0; i < tile.active[level]; i += GROUP) {
      // c and d: corrections of seed and first values.
      Vec x[V::VECTORS], y[V::VECTORS], z[V::VECTORS], c[V::VECTORS], d[V::VECTORS];
      for (long g = 0; g < V::VECTORS; g++) {
        const long n = i + g * LANES;
        // The next level's: with 64 K keys of 32 bits, 13.5 M evaluations/s instead of 5.5.
        for (long l = 0; l < LANES; l++) {
          __builtin_prefetch(tile.keys[n + l] + offset + 2 * at_.level_bytes + 7);
        }
        const typename V::Bits bits = V::test(V::load(bits_[n]), bit);
        x[g] = V::flip_low(V::load(nodes_[n]), bits);
        V::gather_two(tile.keys + n, offset, c[g], d[g]);
        c[g] = V::flip_high(c[g], bits);
      }
      rounds<V>(keys_.seed, keys_.value, x, y, z);
      for (long g = 0; g < V::VECTORS; g++) {
        const long n = i + g * LANES;
        const typename V::Mask mask = V::control(x[g]);
        const Vec key = V::xor_if(V::exclusive_or(x[g], seed_key), mask, c[g]);
        V::store(nodes_[n], V::last_round(y[g], key));
        add(n, 0, V::last_round(z[g], V::exclusive_or(x[g], value_key)), mask, d[g]);
      }
      for (long j = 1; j < blocks_; j++) {
        hash_block<V>(keys_.value, j, x, y);
        for (long g = 0; g < V::VECTORS; g++) {
          const long n = i + g * LANES;
          // With an odd number of words the last upper one is whatever follows in the key.
          const Vec correction = V::gather(tile.keys + n, offset + SEED_BYTES + 16 * j);
          add(n, j, y[g], V::control(x[g]), correction);
        }
      }
    }
  }

  void expand_dpf(const Tile& tile, long level) {
    const typename V::Level bit = V::level(level);
    const long offset = at_.level_offset(level);
    const Vec seed_key = last_key<V>(keys_.seed);
    for (long i = 0; i < tile.active[level]; i += GROUP) {
      Vec x[V::VECTORS], y[V::VECTORS], c[V::VECTORS];
      for (long g = 0; g < V::VECTORS; g++) {
        const long n = i + g * LANES;
        const typename V::Bits bits = V::test(V::load(bits_[n]), bit);
        x[g] = V::flip_low(V::load(nodes_[n]), bits);
        c[g] = V::flip_high(V::gather(tile.keys + n, offset), bits);
      }
      rounds<V>(keys_.seed, x, y);
      for (long g = 0; g < V::VECTORS; g++) {
        const Vec key = V::xor_if(V::exclusive_or(x[g], seed_key), V::control(x[g]), c[g]);
        V::store(nodes_[i + g * LANES], V::last_round(y[g], key));
      }
    }
  }

  // The word at `offset`, where the next one may lie beyond the key.
  static Vec single_words(const uint8_t* const* leaves, long offset) {
    alignas(64) uint64_t words[LANES][2] = {};
    for (long l = 0; l < LANES; l++) words[l][0] = load64(leaves[l] + offset);
    return V::load(words);
  }

  void add(long node, long block, Vec values, typename V::Mask mask, Vec correction) {
    uint64_t* to = sum(node, block);
    const Vec sum = V::load(to);
    if (HALVED) {
      V::store(to, V::add32(V::add32(sum, values), V::only(mask, correction)));
    } else {
      V::store(to, V::add_if(V::add(sum, values), mask, correction));
    }
  }

  // Two words; those of a vector's nodes lie side by side.
  uint64_t* sum(long node, long block) {
    return sums_[(node / LANES * blocks_ + block) * LANES + node % LANES];
  }

  const Layout& at_;
  const AesKeys<LANES>& keys_;
  const long blocks_;  // of two words each
  alignas(64) uint64_t nodes_[MAX_NODES][2];
  alignas(64) uint64_t bits_[MAX_NODES][2];  // path and controls of each node
  alignas(64) uint64_t sums_[MAX_BLOCKS][2];
};

}  // namespace
