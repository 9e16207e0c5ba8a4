// The tree's generator on ChaCha12 with 16-byte keys, for vectors of T::LANES 32-bit words: lane i
// of every vector belongs to node i. Blocks are laid out as src/kernel/function-key.ts says.
//
// T has what the compilers' vector types lack: rotations, and shuffles of rows of four words.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include "tree_evaluate.h"

namespace {

// "expand 16-byte k"
constexpr uint32_t SHORT_KEY_CONSTANTS[4] = {0x61707865, 0x3120646e, 0x79622d36, 0x6b206574};
constexpr uint32_t DCF_PURPOSE = 0x00464344, DPF_PURPOSE = 0x00465044;  // "DCF\0", "DPF\0"
constexpr long FIRST_BLOCK_WORDS = 5, BLOCK_WORDS = 8;
constexpr uint32_t LEAF_BRANCH = 2;

template <class T>
struct ChaCha {
  typedef typename T::Vec Vec;

  Vec x[16];  // the input, then the rounds' outcome
  Vec input[16];

  // Words 12 (block) and 15 (branch) are set by the caller.
  void set_seeds(const Vec* seeds, uint32_t purpose, uint32_t level) {
    for (int i = 0; i < 4; i++) {
      input[i] = Vec{} + SHORT_KEY_CONSTANTS[i];
      input[4 + i] = input[8 + i] = seeds[i];
    }
    input[13] = Vec{} + purpose;
    input[14] = Vec{} + level;
  }

  static void quarter_round(Vec& a, Vec& b, Vec& c, Vec& d) {
    a += b, d = T::template rotate<16>(d ^ a);
    c += d, b = T::template rotate<12>(b ^ c);
    a += b, d = T::template rotate<8>(d ^ a);
    c += d, b = T::template rotate<7>(b ^ c);
  }

  void rounds() {
    for (int i = 0; i < 16; i++) x[i] = input[i];
    for (int i = 0; i < 12; i += 2) {
      quarter_round(x[0], x[4], x[8], x[12]);
      quarter_round(x[1], x[5], x[9], x[13]);
      quarter_round(x[2], x[6], x[10], x[14]);
      quarter_round(x[3], x[7], x[11], x[15]);
      quarter_round(x[0], x[5], x[10], x[15]);
      quarter_round(x[1], x[6], x[11], x[12]);
      quarter_round(x[2], x[7], x[8], x[13]);
      quarter_round(x[3], x[4], x[9], x[14]);
    }
  }

  // Word i of the block; what nobody asks for is not computed.
  Vec word(int i) const { return x[i] + input[i]; }
};

template <class T, bool HALVED>
class ChaChaNodes {
 public:
  typedef Group<HALVED> Sums;
  static constexpr long GROUP = T::LANES;

  explicit ChaChaNodes(const Layout& at)
      : at_(at), purpose_(at.is_dcf ? DCF_PURPOSE : DPF_PURPOSE) {}

  long capacity() const {
    const long most = MAX_SUMS / at_.words / GROUP * GROUP;
    return most < MAX_NODES ? most : MAX_NODES;
  }

  void start(const Tile& tile, uint32_t party) {
    const long padded = (tile.nodes + GROUP - 1) / GROUP * GROUP;
    for (long i = 0; i < padded; i++) {
      uint32_t seed[4];
      std::memcpy(seed, tile.keys[i], sizeof seed);
      for (int w = 0; w < 4; w++) seeds_[w][i] = seed[w];
      masks_[i] = 0 - party;
      for (int half = 0; half < 2; half++) {
        paths_[half][i] = static_cast<uint32_t>(tile.paths[i] >> 32 * half);
        controls_[half][i] = static_cast<uint32_t>(tile.controls[i] >> 32 * half);
      }
    }
    for (long i = 0; i < padded * at_.words; i++) sums_[i] = 0;
  }

  void copy(long to, long from) {
    for (int w = 0; w < 4; w++) seeds_[w][to] = seeds_[w][from];
    masks_[to] = masks_[from];
    for (long j = 0; j < at_.words; j++) *sum(to, j) = *sum(from, j);
  }

  void expand(const Tile& tile, long level) {
    for (long i = 0; i < tile.active[level]; i += GROUP) {
      if (!at_.is_dcf) {
        expand_group<0>(tile, level, i);
      } else if (at_.words == 1) {
        expand_group<1>(tile, level, i);
      } else if (at_.words == 2) {
        expand_group<2>(tile, level, i);
      } else {
        expand_group<FIRST_BLOCK_WORDS>(tile, level, i);
      }
    }
  }

  void finish(const Tile& tile) {
    // Eight 64-bit words of every lane's leaf, both sides of it.
    alignas(64) uint32_t words[2 * BLOCK_WORDS][T::LANES];
    for (long i = 0; i < tile.nodes; i += GROUP) {
      Vec seeds[4];
      for (int w = 0; w < 4; w++) seeds[w] = load(seeds_[w] + i);
      if (at_.words == 1) {
        std::memcpy(words, seeds, sizeof seeds);
        add_leaves(tile, i, 0, words);
        continue;
      }
      ChaCha<T> block;
      block.set_seeds(seeds, purpose_, static_cast<uint32_t>(at_.levels));
      block.input[15] = Vec{} + LEAF_BRANCH;
      for (long first = 0; first < 2 * at_.words; first += BLOCK_WORDS) {
        block.input[12] = Vec{} + static_cast<uint32_t>(first / BLOCK_WORDS);
        block.rounds();
        for (int w = 0; w < 16; w++) store(words[w], block.word(w));
        add_leaves(tile, i, first, words);
      }
    }
  }

  void values(long node, uint64_t* out) {
    for (long j = 0; j < at_.words; j++) out[j] = *sum(node, j);
  }

 private:
  typedef typename T::Vec Vec;
  typedef typename T::Wide Wide;
  static constexpr long MAX_SUMS = 4096;

  static Wide add(Wide a, Wide b) {
    return HALVED ? (Wide)((Vec)a + (Vec)b) : a + b;
  }
  static Vec load(const uint32_t* from) {
    Vec x;
    std::memcpy(&x, from, sizeof x);
    return x;
  }
  static void store(uint32_t* to, Vec x) { std::memcpy(to, &x, sizeof x); }

  // Bit `level` of each node's path or controls.
  Vec branches(const uint32_t (*halves)[MAX_NODES], long level, long first) const {
    return (load(halves[level / 32] + first) >> static_cast<uint32_t>(level % 32)) & 1;
  }

  // WORDS: values that the first block has for everybody; further ones come after them.
  template <int WORDS>
  void expand_group(const Tile& tile, long level, long first) {
    const uint8_t* const* keys = tile.keys + first;
    const long offset = at_.level_offset(level);
    for (long l = 0; l < GROUP; l++) {
      __builtin_prefetch(keys[l] + offset + 2 * at_.level_bytes - 1);
    }
    Vec seeds[4];
    for (int w = 0; w < 4; w++) seeds[w] = load(seeds_[w] + first);
    ChaCha<T> block;
    block.set_seeds(seeds, purpose_, static_cast<uint32_t>(level));
    block.input[12] = Vec{};
    block.input[15] = branches(paths_, level, first);
    block.rounds();
    const Vec mask = load(masks_ + first);
    Vec corrections[4];
    T::gather(keys, offset, corrections);
    for (int w = 0; w < 4; w++) store(seeds_[w] + first, block.word(w) ^ (corrections[w] & mask));
    const Vec control = block.word(15) ^ (branches(controls_, level, first) & mask);
    store(masks_ + first, 0 - (control & 1));
    Vec values[16];
    for (int w = 0; w < 2 * WORDS; w++) values[w] = block.word(4 + w);
    const long count = WORDS < at_.value_words ? WORDS : at_.value_words;
    add_values(keys, offset + SEED_BYTES, first, 0, count, values, mask);
    if (WORDS < FIRST_BLOCK_WORDS) return;
    for (long done = FIRST_BLOCK_WORDS, b = 1; done < at_.value_words; done += BLOCK_WORDS, b++) {
      block.input[12] = Vec{} + static_cast<uint32_t>(b);
      block.rounds();
      for (int w = 0; w < 16; w++) values[w] = block.word(w);
      const long left = at_.value_words - done;
      add_values(keys, offset + SEED_BYTES, first, done, left < BLOCK_WORDS ? left : BLOCK_WORDS,
                 values, mask);
    }
  }

  // Adds words [done, done + count) of a level's values, and their corrections where the mask is.
  void add_values(const uint8_t* const* keys, long offset, long first, long done, long count,
                  const Vec* words, Vec mask) {
    Wide masks[2];
    T::widen(mask, mask, masks);
    for (long j = 0; j < count; j += 2) {
      // With an odd number of words the upper correction is whatever follows in the key.
      Wide corrections[4], values[2];
      T::gather_wide(keys, offset + 8 * (done + j), corrections);
      for (long k = 0; k < 2 && j + k < count; k++) {
        T::widen(words[2 * (j + k)], words[2 * (j + k) + 1], values);
        uint64_t* to = sum_block(first, done + j + k);
        Wide sums[2];
        std::memcpy(sums, to, sizeof sums);
        for (int half = 0; half < 2; half++) {
          const Wide correction = corrections[2 * k + half] & masks[half];
          sums[half] = add(sums[half], add(values[half], correction));
        }
        std::memcpy(to, sums, sizeof sums);
      }
    }
  }

  // Adds words [first, first + BLOCK_WORDS) of a group's leaves where they are on the point's side.
  void add_leaves(const Tile& tile, long group, long first, const uint32_t (*words)[T::LANES]) {
    for (long l = 0; l < T::LANES; l++) {
      const long node = group + l;
      const long from = static_cast<long>(tile.paths[node] >> at_.levels & 1) * at_.words;
      const long left = from + at_.words - first;
      const long end = first + (left < BLOCK_WORDS ? left : BLOCK_WORDS);
      const uint64_t mask = 0 - static_cast<uint64_t>(masks_[node] & 1);
      for (long j = from > first ? from : first; j < end; j++) {
        const uint64_t correction = load64(tile.keys[node] + at_.leaf_offset + 8 * j);
        const uint64_t low = words[2 * (j - first)][l], high = words[2 * (j - first) + 1][l];
        uint64_t& to = *sum(node, j - from);
        to = Sums::add(to, Sums::add(low | high << 32, correction & mask));
      }
    }
  }

  // The sums of a group of nodes lie side by side, in the order that `widen` gives them.
  uint64_t* sum_block(long node, long word) {
    return sums_ + (node / GROUP * at_.words + word) * GROUP;
  }
  uint64_t* sum(long node, long word) {
    const long lane = node % GROUP;
    return sum_block(node, word) + (lane & 2) / 2 * (GROUP / 2) + lane / 4 * 2 + lane % 2;
  }

  const Layout& at_;
  const uint32_t purpose_;
  alignas(64) uint32_t seeds_[4][MAX_NODES];
  alignas(64) uint32_t masks_[MAX_NODES];  // all ones where the control bit is set
  alignas(64) uint32_t paths_[2][MAX_NODES];
  alignas(64) uint32_t controls_[2][MAX_NODES];
  alignas(64) uint64_t sums_[MAX_SUMS];
};

}  // namespace
