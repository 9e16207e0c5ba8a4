// Generation of key pairs on AES-128. Lane i of every vector belongs to key pair i of a group, and
// a pair's four children stand in four vectors. Names follow Boyle et al. 2021, Fig. 1: control
// bits t; on the path to alpha `keep`, off it `lose`.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include "tree_aes.h"

namespace {

template <class V, bool HALVED>
class AesPairs {
 public:
  static_assert(V::VECTORS == 4, "one for each child");
  // The corrections of a group run in the shadow of the next one's AES. M pairs/s of 32 bits and 1
  // word with VAES: 3.6 with one group, 4.5 with two, 5.0 with four.
  static constexpr long GROUPS = 4;
  static constexpr long PAIRS = GROUPS * V::LANES;

  explicit AesPairs(const TreeGenerate& g)
      : g_(g),
        at_(g.shape),
        keys_(at_.is_dcf ? dcf_keys<V::LANES> : dpf_keys<V::LANES>),
        blocks_((at_.words + 1) / 2) {}

  // Key pairs [first, first + count), at most PAIRS.
  void make(long first, long count) {
    const long groups = (count + V::LANES - 1) / V::LANES;
    for (long lane = 0; lane < groups * V::LANES; lane++) {
      start(first, lane < count ? lane : 0, lane);
    }
    for (long level = 0; level < at_.levels; level++) {
      for (long group = 0; group < groups; group++) {
        if (at_.is_dcf) {
          descend<true>(group * V::LANES, level);
        } else {
          descend<false>(group * V::LANES, level);
        }
      }
    }
    for (long group = 0; group < groups; group++) write_leaves(group * V::LANES);
    for (long lane = 0; lane < count; lane++) finish(first, lane);
  }

 private:
  typedef typename V::Vec Vec;
  typedef typename V::Mask Mask;

  static Vec add(Vec a, Vec b) { return HALVED ? V::add32(a, b) : V::add(a, b); }
  static Vec subtract(Vec a, Vec b) { return HALVED ? V::subtract32(a, b) : V::subtract(a, b); }
  static Vec negate_if(Vec x, Mask mask) {
    return HALVED ? V::choose(mask, V::subtract32(V::upper(0), x), x) : V::negate_if(x, mask);
  }

  // Lanes beyond the last pair repeat the first one and write the same to the same place.
  void start(long first, long pair, long lane) {
    const long i = first + pair;
    for (long party = 0; party < 2; party++) {
      const uint8_t* root = g_.roots + (2 * i + party) * SEED_BYTES;
      nodes_[party][lane][0] = load64(root);
      nodes_[party][lane][1] = (load64(root + 8) & ~uint64_t{1}) | static_cast<uint64_t>(party);
    }
    paths_[lane][0] = paths_[lane][1] = at_.path_of(g_.alphas[i]);
    for (long half = 0; half < 2; half++) controls_[half][lane][0] = controls_[half][lane][1] = 0;
    for (long j = 0; j < blocks_; j++) {
      for (long k = 0; k < 2; k++) {
        const bool is_word = 2 * j + k < at_.words;
        payloads_[j][lane][k] = is_word ? g_.payloads[i * at_.words + 2 * j + k] : 0;
        sums_[j][lane][k] = 0;
      }
    }
    outs_[lane] = g_.keys0 + i * at_.key_bytes;
  }

  // Children 0 to 3: party 0's left and right one, party 1's left and right one.
  void load_children(long lane, Vec* x) const {
    x[0] = V::load(nodes_[0][lane]);
    x[1] = V::exclusive_or(x[0], V::lower(1));
    x[2] = V::load(nodes_[1][lane]);
    x[3] = V::exclusive_or(x[2], V::lower(1));
  }

  // Writes a level's corrections and goes to the children on the path.
  template <bool HAS_VALUES>
  void descend(long lane, long level) {
    const Vec seed_key = last_key<V>(keys_.seed), value_key = last_key<V>(keys_.value);
    const Vec one = V::upper(1);
    uint8_t* const* outs = outs_ + lane;
    const long offset = at_.level_offset(level);
    Vec x[4], y[4], z[4];
    load_children(lane, x);
    if (HAS_VALUES) {
      rounds<V>(keys_.seed, keys_.value, x, y, z);
    } else {
      rounds<V>(keys_.seed, x, y);
    }
    for (long c = 0; c < 4; c++) y[c] = V::last_round(y[c], V::exclusive_or(x[c], seed_key));
    const Mask keep = V::mask(V::test(V::load(paths_[lane]), V::level(level)));
    const Mask t0 = V::control(x[0]), t1 = V::control(x[2]);
    const Vec left = V::exclusive_or(y[0], y[2]), right = V::exclusive_or(y[1], y[3]);
    const Vec lost = V::choose(keep, left, right), kept = V::choose(keep, right, left);
    const Vec correction = V::and_not(one, lost);
    // With the control-bit correction of the kept side.
    const Vec whole = V::exclusive_or(correction, V::and_not(kept, one));
    V::store(nodes_[0][lane], V::xor_if(V::choose(keep, y[1], y[0]), t0, whole));
    V::store(nodes_[1][lane], V::xor_if(V::choose(keep, y[3], y[2]), t1, whole));
    add_controls(lane, level, left, right, keep);
    if (!HAS_VALUES) {
      V::scatter(outs, offset, correction);
      return;
    }
    for (long c = 0; c < 4; c++) z[c] = V::last_round(z[c], V::exclusive_or(x[c], value_key));
    V::scatter_two(outs, offset, correction, correct_values(lane, 0, z, keep, t1));
    for (long j = 1; j < blocks_; j++) {
      hash_block<V>(keys_.value, j, x, z);
      // With an odd number of words the last upper one is overwritten by what follows in the key.
      V::scatter(outs, offset + SEED_BYTES + 16 * j, correct_values(lane, j, z, keep, t1));
    }
  }

  // Two bits of the level, left in front.
  void add_controls(long lane, long level, Vec left, Vec right, Mask keep) {
    const Vec one = V::upper(1);
    const Vec bit = V::choose(keep, one, V::upper(0));
    const Vec l = V::and_not(V::exclusive_or(left, bit), one);
    const Vec r = V::both(V::exclusive_or(right, bit), one);
    uint64_t* to = controls_[level / 32][lane];
    const Vec pair = V::add(l, V::add(r, r));
    V::store(to, V::exclusive_or(V::load(to), V::shift_left(pair, 2 * (level % 32))));
  }

  // z: a block of the children's values.
  Vec correct_values(long lane, long block, const Vec* z, Mask keep, Mask t1) {
    uint64_t* to = sums_[block][lane];
    const Vec sum = V::load(to);
    const Vec left = subtract(z[2], z[0]), right = subtract(z[3], z[1]);
    const Vec lost = V::choose(keep, left, right), kept = V::choose(keep, right, left);
    const Vec payload = V::load(payloads_[block][lane]);
    const Vec value = add(subtract(lost, sum), V::only(keep, payload));  // kept right, lost left
    V::store(to, add(subtract(sum, kept), value));
    return negate_if(value, t1);
  }

  void write_leaves(long lane) {
    const Vec zero = V::upper(0);
    const Mask side_of_alpha = V::mask(V::test(V::load(paths_[lane]), V::level(at_.levels)));
    Vec x[4], z[4];
    load_children(lane, x);
    const Mask t1 = V::control(x[2]);
    for (long j = 0; j < blocks_; j++) {
      hash_block<V>(keys_.leaf, j, x, z);
      const Vec payload = V::load(payloads_[j][lane]), sum = V::load(sums_[j][lane]);
      // DCF: the left side alone, if alpha is right of it. DPF: alpha's own side.
      const Vec if_right = V::choose(side_of_alpha, payload, zero);
      const Vec if_left = V::choose(side_of_alpha, zero, payload);
      const Vec targets[2] = {at_.is_dcf ? if_right : if_left, at_.is_dcf ? zero : if_right};
      for (long side = 0; side < 2; side++) {
        const Vec target = subtract(targets[side], sum);
        const Vec value = add(subtract(target, z[side]), z[2 + side]);
        alignas(64) uint64_t words[V::LANES][2];
        V::store(words, negate_if(value, t1));
        const long offset = at_.leaf_offset + 8 * (side * at_.words + 2 * j);
        const size_t bytes = 2 * j + 1 < at_.words ? 16 : 8;
        for (long l = 0; l < V::LANES; l++) std::memcpy(outs_[lane + l] + offset, words[l], bytes);
      }
    }
  }

  void finish(long first, long lane) {
    const uint8_t* roots = g_.roots + (first + lane) * 2 * SEED_BYTES;
    uint8_t* key = outs_[lane];
    uint8_t* other = g_.keys1 + (first + lane) * at_.key_bytes;
    const uint64_t controls[2] = {controls_[0][lane][1], controls_[1][lane][1]};
    std::memcpy(key, roots, SEED_BYTES);
    std::memcpy(key + at_.control_offset, controls, static_cast<size_t>(at_.control_bytes));
    std::memcpy(other, key, static_cast<size_t>(at_.key_bytes));
    std::memcpy(other, roots + SEED_BYTES, SEED_BYTES);
  }

  const TreeGenerate& g_;
  const Layout at_;
  const AesKeys<V::LANES>& keys_;
  const long blocks_;      // of two words each
  uint8_t* outs_[PAIRS];  // party 0's keys
  alignas(64) uint64_t nodes_[2][PAIRS][2];
  alignas(64) uint64_t paths_[PAIRS][2];        // twice the same
  alignas(64) uint64_t controls_[2][PAIRS][2];  // in the second word
  alignas(64) uint64_t payloads_[MAX_TREE_WORDS / 2][PAIRS][2];
  alignas(64) uint64_t sums_[MAX_TREE_WORDS / 2][PAIRS][2];  // V_alpha
};

template <class Pairs>
void generate_on(const TreeGenerate& g) {
  Pairs pairs(g);
  for (long first = 0; first < g.count; first += Pairs::PAIRS) {
    const long left = g.count - first;
    pairs.make(first, left < Pairs::PAIRS ? left : Pairs::PAIRS);
  }
}

template <class V>
void generate_aes(const TreeGenerate& g) {
  if (g.shape.halved) {
    generate_on<AesPairs<V, true>>(g);
  } else {
    generate_on<AesPairs<V, false>>(g);
  }
}

}  // namespace
