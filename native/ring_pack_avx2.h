// Packed fields of 8 to 57 bits for AVX2, eight words at a time: they fill `bits` whole bytes. A
// word moved left to its place within a byte still fits in 64 bits, and two neighbours in 128; so
// byte shuffles do the rest, the same ones for every eight words. Other widths, and the last words,
// go through ring_pack.h.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include <immintrin.h>

#include "ring_pack.h"

namespace {

constexpr uint64_t LEAST_BITS = 8, MOST_BITS = 57;

// Where the bytes of a pair of words, 16 from the pair's first one on, come from: of each byte that
// two words share, the later word is in `next`, and in `before` the last word of the pair before.
struct PairPlaces {
  uint8_t low[4][16], next[4][16], before[4][16];
};

constexpr PairPlaces place_pairs(int bits) {
  PairPlaces places = {};
  for (int pair = 0; pair < 4; pair++) {
    for (int byte = 0; byte < 16; byte++) {
      places.low[pair][byte] = places.next[pair][byte] = places.before[pair][byte] = 0x80;
    }
    const int base = 2 * pair * bits / 8;
    for (int word = 2 * pair; word < 2 * pair + 2; word++) {
      const int first = word * bits / 8;
      for (int byte = first; 8 * byte < (word + 1) * bits; byte++) {
        uint8_t& low = places.low[pair][byte - base];
        uint8_t& place = low == 0x80 ? low : places.next[pair][byte - base];
        place = static_cast<uint8_t>(word % 2 * 8 + byte - first);
      }
    }
    if (2 * pair * bits % 8 != 0) {
      places.before[pair][0] = static_cast<uint8_t>(8 + base - (2 * pair - 1) * bits / 8);
    }
  }
  return places;
}

struct AllPairPlaces {
  PairPlaces of[MOST_BITS - LEAST_BITS + 1];
};

constexpr AllPairPlaces place_all_pairs() {
  AllPairPlaces all = {};
  for (uint64_t bits = LEAST_BITS; bits <= MOST_BITS; bits++) {
    all.of[bits - LEAST_BITS] = place_pairs(static_cast<int>(bits));
  }
  return all;
}

constexpr AllPairPlaces pair_places = place_all_pairs();

inline __m256i load_256(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

inline __m128i load_128(const void* from) {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}

inline void store_128(void* to, __m128i x) { _mm_storeu_si128(static_cast<__m128i*>(to), x); }

// By how many bits each of eight words is moved within its first byte.
struct Shifts {
  __m256i first, second;

  explicit Shifts(uint64_t bits) {
    uint64_t shifts[8];
    for (uint64_t i = 0; i < 8; i++) shifts[i] = i * bits % 8;
    first = load_256(shifts);
    second = load_256(shifts + 4);
  }
};

inline __m256i place(__m256i words, __m256i before, const uint8_t (*low)[16],
                     const uint8_t (*next)[16], const uint8_t (*last)[16]) {
  const __m256i own = _mm256_or_si256(_mm256_shuffle_epi8(words, load_256(low)),
                                      _mm256_shuffle_epi8(words, load_256(next)));
  return _mm256_or_si256(own, _mm256_shuffle_epi8(before, load_256(last)));
}

// A pair is stored with all its 16 bytes, and the next one over what is too many.
void pack_pairs(uint8_t* out, const uint64_t* words, uint64_t bits, uint64_t count) {
  if (bits < LEAST_BITS || bits > MOST_BITS) return pack_words(out, words, bits, count);
  const PairPlaces& p = pair_places.of[bits - LEAST_BITS];
  const Shifts shifts(bits);
  const __m256i mask = _mm256_set1_epi64x(static_cast<long long>(low_mask(bits)));
  const uint64_t size = packed_bytes(count, bits), last_pair = 6 * bits / 8;
  uint64_t i = 0, at = 0;
  for (; i + 8 <= count && at + last_pair + 16 <= size; i += 8, at += bits) {
    const __m256i a = _mm256_sllv_epi64(_mm256_and_si256(load_256(words + i), mask), shifts.first);
    const __m256i b =
        _mm256_sllv_epi64(_mm256_and_si256(load_256(words + i + 4), mask), shifts.second);
    const __m256i before_a = _mm256_permute2x128_si256(a, a, 0x08);  // nothing, low half of a
    const __m256i before_b = _mm256_permute2x128_si256(a, b, 0x21);  // high of a, low of b
    const __m256i x = place(a, before_a, p.low, p.next, p.before);
    const __m256i y = place(b, before_b, p.low + 2, p.next + 2, p.before + 2);
    store_128(out + at, _mm256_castsi256_si128(x));
    store_128(out + at + 2 * bits / 8, _mm256_extracti128_si256(x, 1));
    store_128(out + at + 4 * bits / 8, _mm256_castsi256_si128(y));
    store_128(out + at + last_pair, _mm256_extracti128_si256(y, 1));
  }
  pack_words(out + at, words + i, bits, count - i);
}

inline __m256i load_pairs(const uint8_t* first, const uint8_t* second) {
  const __m256i low = _mm256_castsi128_si256(load_128(first));
  return _mm256_inserti128_si256(low, load_128(second), 1);
}

void unpack_pairs(uint64_t* out, const uint8_t* bytes, uint64_t bits, uint64_t count) {
  if (bits < LEAST_BITS || bits > MOST_BITS) return unpack_words(out, bytes, bits, count);
  uint64_t places[8];
  for (uint64_t i = 0; i < 8; i++) {
    const uint64_t first = i * bits / 8 - (i - i % 2) * bits / 8;
    places[i] = 0x0706050403020100 + first * 0x0101010101010101;
  }
  const __m256i places_a = load_256(places), places_b = load_256(places + 4);
  const Shifts shifts(bits);
  const __m256i mask = _mm256_set1_epi64x(static_cast<long long>(low_mask(bits)));
  const uint64_t size = packed_bytes(count, bits), last_pair = 6 * bits / 8;
  uint64_t i = 0, at = 0;
  for (; i + 8 <= count && at + last_pair + 16 <= size; i += 8, at += bits) {
    const uint8_t* from = bytes + at;
    const __m256i a = load_pairs(from, from + 2 * bits / 8);
    const __m256i b = load_pairs(from + 4 * bits / 8, from + last_pair);
    const __m256i x = _mm256_srlv_epi64(_mm256_shuffle_epi8(a, places_a), shifts.first);
    const __m256i y = _mm256_srlv_epi64(_mm256_shuffle_epi8(b, places_b), shifts.second);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_and_si256(x, mask));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i + 4), _mm256_and_si256(y, mask));
  }
  unpack_words(out + i, bytes + at, bits, count - i);
}

}  // namespace
