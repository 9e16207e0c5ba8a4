// Generation of key pairs on ChaCha12. The four children of T::LANES / 4 pairs fill one vector, so
// that a single pair wastes few lanes; their corrections are scalar. Two vectors in turn, so that
// the corrections of one run beside the rounds of the other, gained less than 5 percent. Names
// follow Boyle et al. 2021, Fig. 1: control bits t; on the path to alpha `keep`, off it `lose`.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include "tree_chacha.h"

namespace {

template <class T, bool HALVED>
class ChaChaPairs {
 public:
  static constexpr long PAIRS = T::LANES / 4;

  explicit ChaChaPairs(const TreeGenerate& g)
      : g_(g), at_(g.shape), purpose_(at_.is_dcf ? DCF_PURPOSE : DPF_PURPOSE) {
    // Of every child its parent; the children of a pair are numbered 2 * party + branch.
    for (long l = 0; l < T::LANES; l++) {
      parents_[l] = reinterpret_cast<const uint8_t*>(nodes_[l / 4][l % 4 / 2]);
    }
  }

  // Key pairs [first, first + count), at most PAIRS.
  void make(long first, long count) {
    for (long k = 0; k < PAIRS; k++) start(k, first + (k < count ? k : 0));
    for (long level = 0; level < at_.levels; level++) {
      expand(level);
      for (long k = 0; k < count; k++) correct(k, first + k, level);
    }
    expand_leaves();
    for (long k = 0; k < count; k++) finish(k, first + k);
  }

 private:
  typedef typename T::Vec Vec;
  typedef Group<HALVED> Sums;

  const uint64_t* payload(long i) const { return g_.payloads + i * at_.words; }
  uint8_t* key(long i) const { return g_.keys0 + i * at_.key_bytes; }
  uint64_t* value(long k, long child) { return values_ + (4 * k + child) * at_.words; }

  void start(long k, long i) {
    std::memcpy(nodes_[k], g_.roots + i * 2 * SEED_BYTES, 2 * SEED_BYTES);
    t_[k][0] = 0;
    t_[k][1] = 1;
    paths_[k] = at_.path_of(g_.alphas[i]);
    controls_[k][0] = controls_[k][1] = 0;
    for (long j = 0; j < at_.words; j++) sums_[k * at_.words + j] = 0;
  }

  void set_parents(ChaCha<T>& block, long level) const {
    Vec seeds[4];
    T::gather(parents_, 0, seeds);
    block.set_seeds(seeds, purpose_, static_cast<uint32_t>(level));
  }

  // Sets children_, their control bits and, in a DCF, their values.
  void expand(long level) {
    const Vec branches = T::lanes() & 1;
    ChaCha<T> block;
    set_parents(block, level);
    block.input[12] = Vec{};
    block.input[15] = branches;
    block.rounds();
    const long in_first = at_.value_words < FIRST_BLOCK_WORDS ? at_.value_words : FIRST_BLOCK_WORDS;
    store_rows(block, 1 + (in_first + 1) / 2);
    std::memcpy(children_, rows_[0], sizeof children_);
    const Vec control = block.word(15);
    std::memcpy(child_controls_, &control, sizeof control);
    if (at_.value_words == 0) return;
    take_words(0, FIRST_BLOCK_WORDS, 2);
    for (long done = FIRST_BLOCK_WORDS, b = 1; done < at_.words; done += BLOCK_WORDS, b++) {
      block.input[12] = Vec{} + static_cast<uint32_t>(b);
      block.rounds();
      store_rows(block, 4);
      take_words(done, BLOCK_WORDS, 0);
    }
  }

  // The words of both sides of every leaf, as values of its side.
  void expand_leaves() {
    const long words = at_.words;
    if (words == 1) {
      for (long k = 0; k < PAIRS; k++) {
        for (long c = 0; c < 4; c++) *value(k, c) = nodes_[k][c / 2][c % 2];
      }
      return;
    }
    ChaCha<T> block;
    set_parents(block, at_.levels);
    block.input[15] = Vec{} + LEAF_BRANCH;
    // The lanes of a party's two children compute neighbouring blocks.
    for (long first = 0; first < 2 * words; first += 2 * BLOCK_WORDS) {
      block.input[12] = (T::lanes() & 1) + static_cast<uint32_t>(first / BLOCK_WORDS);
      block.rounds();
      store_rows(block, 4);
      for (long l = 0; l < T::LANES; l++) {
        const long start = first + l % 2 * BLOCK_WORDS;
        for (long i = start; i < start + BLOCK_WORDS && i < 2 * words; i++) {
          value(l / 4, l % 4 / 2 * 2 + i / words)[i % words] = row_word(l, i - start);
        }
      }
    }
  }

  // The first quarters of every lane's block.
  void store_rows(const ChaCha<T>& block, long quarters) {
    for (long q = 0; q < quarters; q++) {
      Vec rows[4];
      for (int w = 0; w < 4; w++) rows[w] = block.word(static_cast<int>(4 * q) + w);
      T::transpose(rows);
      std::memcpy(rows_[q], rows, sizeof rows);
    }
  }

  // 64-bit word i of lane l's block.
  uint64_t row_word(long l, long i) const { return rows_[i / 2][l % 4][l / 4][i % 2]; }

  // Values [done, done + count), as far as they exist: the block's 64-bit words from `skip` on.
  void take_words(long done, long count, long skip) {
    const long left = at_.words - done;
    for (long l = 0; l < T::LANES; l++) {
      uint64_t* to = values_ + l * at_.words + done;
      for (long i = 0; i < count && i < left; i++) to[i] = row_word(l, skip + i);
    }
  }

  const uint64_t* child(long k, uint64_t c) const { return children_[c][k]; }
  uint64_t control(long k, uint64_t c) const {
    return child_controls_[4 * k + static_cast<long>(c)];
  }

  // Writes the level's corrections and goes to the children on the path.
  void correct(long k, long i, long level) {
    uint8_t* to = key(i) + at_.level_offset(level);
    const uint64_t keep = paths_[k] >> level & 1, lose = 1 - keep;
    const uint64_t *lost0 = child(k, lose), *lost1 = child(k, 2 + lose);
    const uint64_t low = lost0[0] ^ lost1[0], high = lost0[1] ^ lost1[1];
    const uint64_t left = (control(k, 0) ^ control(k, 2) ^ keep ^ 1) & 1;
    const uint64_t right = (control(k, 1) ^ control(k, 3) ^ keep) & 1;
    controls_[k][level / 32] |= (left | right << 1) << (2 * (level % 32));
    store64(to, low);
    store64(to + 8, high);
    if (at_.is_dcf) correct_values(k, i, keep, to + SEED_BYTES);
    for (uint64_t party = 0; party < 2; party++) {
      const uint64_t t = t_[k][party], c = 2 * party + keep;
      nodes_[k][party][0] = child(k, c)[0] ^ (low & (0 - t));
      nodes_[k][party][1] = child(k, c)[1] ^ (high & (0 - t));
      t_[k][party] = (control(k, c) & 1) ^ ((keep ? right : left) & t);
    }
  }

  void correct_values(long k, long i, uint64_t keep, uint8_t* to) {
    const uint64_t negative = 0 - t_[k][1];
    const long kept = static_cast<long>(keep), lost = 1 - kept;
    const uint64_t *kept0 = value(k, kept), *kept1 = value(k, 2 + kept);
    const uint64_t *lost0 = value(k, lost), *lost1 = value(k, 2 + lost);
    for (long j = 0; j < at_.words; j++) {
      uint64_t& sum = sums_[k * at_.words + j];
      // If the right side is kept, all of the left one is hit.
      const uint64_t hit = payload(i)[j] & (0 - keep);
      const uint64_t lost = Sums::subtract(lost1[j], lost0[j]);
      const uint64_t correction = Sums::add(Sums::subtract(lost, sum), hit);
      store64(to + 8 * j, Sums::negate_if(correction, negative));
      sum = Sums::add(sum, Sums::add(Sums::subtract(kept0[j], kept1[j]), correction));
    }
  }

  void finish(long k, long i) {
    uint8_t* to = key(i);
    const uint64_t negative = 0 - t_[k][1];
    const long side_of_alpha = static_cast<long>(paths_[k] >> at_.levels & 1);
    for (long side = 0; side < 2; side++) {
      const bool hit = at_.is_dcf ? side < side_of_alpha : side == side_of_alpha;
      const uint64_t *zero = value(k, side), *one = value(k, 2 + side);
      for (long j = 0; j < at_.words; j++) {
        const uint64_t target =
            Sums::subtract(hit ? payload(i)[j] : 0, sums_[k * at_.words + j]);
        const uint64_t correction = Sums::add(Sums::subtract(target, zero[j]), one[j]);
        store64(to + at_.leaf_offset + 8 * (side * at_.words + j),
                Sums::negate_if(correction, negative));
      }
    }
    const uint8_t* roots = g_.roots + i * 2 * SEED_BYTES;
    uint8_t* other = g_.keys1 + i * at_.key_bytes;
    std::memcpy(to, roots, SEED_BYTES);
    std::memcpy(to + at_.control_offset, controls_[k], static_cast<size_t>(at_.control_bytes));
    std::memcpy(other, to, static_cast<size_t>(at_.key_bytes));
    std::memcpy(other, roots + SEED_BYTES, SEED_BYTES);
  }

  const TreeGenerate& g_;
  const Layout at_;
  const uint32_t purpose_;
  const uint8_t* parents_[T::LANES];
  alignas(64) uint64_t nodes_[PAIRS][2][2];
  uint64_t t_[PAIRS][2];
  uint64_t paths_[PAIRS];
  uint64_t controls_[PAIRS][2];  // two bits a level
  alignas(64) uint64_t children_[4][PAIRS][2];
  alignas(64) uint32_t child_controls_[T::LANES];
  // Quarter, lane % 4, lane / 4: 16 bytes of a lane's block.
  alignas(64) uint64_t rows_[4][4][PAIRS][2];
  uint64_t values_[T::LANES * MAX_TREE_WORDS];  // of each child
  uint64_t sums_[PAIRS * MAX_TREE_WORDS];       // V_alpha
};

template <class Pairs>
void generate_on(const TreeGenerate& g) {
  Pairs pairs(g);
  for (long first = 0; first < g.count; first += Pairs::PAIRS) {
    const long left = g.count - first;
    pairs.make(first, left < Pairs::PAIRS ? left : Pairs::PAIRS);
  }
}

template <class T>
void generate_chacha(const TreeGenerate& g) {
  if (g.shape.halved) {
    generate_on<ChaChaPairs<T, true>>(g);
  } else {
    generate_on<ChaChaPairs<T, false>>(g);
  }
}

}  // namespace
