// Packed fields of 8 to 63 bits for AVX-512 with VBMI, eight words at a time: they fill `bits`
// whole bytes. Each word is moved left to its place within a byte, where it takes at most nine;
// then one permutation places the first byte that a word has alone or shares with the word before,
// and another what shares a byte with the word before it. Masked loads and stores touch no byte
// outside, so there is no special end.
//
// Anonymous namespace for the same reason as in f32_gemm.h.
#pragma once

#include <immintrin.h>

#include "ring_pack.h"

namespace {

#define MERGEN_VBMI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")))

constexpr uint64_t LEAST_BYTE_BITS = 8, MOST_BYTE_BITS = 63;

// Where each byte of a group comes from: in `low` the first word that has a part in it, in `next`
// the second. `ninth` are those bytes of `low` that are the word's ninth.
struct BytePlaces {
  uint8_t low[64], next[64];
  uint64_t low_used, next_used, ninth;
};

constexpr BytePlaces place_bytes(int bits) {
  BytePlaces places = {};
  for (int word = 0; word < 8; word++) {
    const int first = word * bits / 8;
    for (int byte = first; 8 * byte < (word + 1) * bits; byte++) {
      const uint64_t used = uint64_t{1} << byte;
      const uint8_t place = static_cast<uint8_t>(8 * word + (byte - first) % 8);
      if (byte - first == 8) {
        places.low[byte] = place;
        places.ninth |= used;
      } else if ((places.low_used | places.ninth) & used) {
        places.next[byte] = place;
        places.next_used |= used;
      } else {
        places.low[byte] = place;
        places.low_used |= used;
      }
    }
  }
  return places;
}

struct AllBytePlaces {
  BytePlaces of[MOST_BYTE_BITS - LEAST_BYTE_BITS + 1];
};

constexpr AllBytePlaces place_all_bytes() {
  AllBytePlaces all = {};
  for (uint64_t bits = LEAST_BYTE_BITS; bits <= MOST_BYTE_BITS; bits++) {
    all.of[bits - LEAST_BYTE_BITS] = place_bytes(static_cast<int>(bits));
  }
  return all;
}

constexpr AllBytePlaces byte_places = place_all_bytes();

inline uint64_t first_ones(uint64_t count) {
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// First bit of each of eight words.
MERGEN_VBMI inline __m512i first_bits(uint64_t bits) {
  const __m512i word = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm512_mullo_epi64(word, _mm512_set1_epi64(static_cast<long long>(bits)));
}

// What packing of one width needs in registers.
struct Packer {
  __m512i low, next, mask, shift, back;
  uint64_t low_used, next_used, ninth;

  MERGEN_VBMI explicit Packer(uint64_t bits) {
    const BytePlaces& places = byte_places.of[bits - LEAST_BYTE_BITS];
    low = _mm512_loadu_si512(places.low);
    next = _mm512_loadu_si512(places.next);
    mask = _mm512_set1_epi64(static_cast<long long>(low_mask(bits)));
    shift = _mm512_and_si512(first_bits(bits), _mm512_set1_epi64(7));
    back = _mm512_sub_epi64(_mm512_set1_epi64(64), shift);
    low_used = places.low_used;
    next_used = places.next_used;
    ninth = places.ninth;
  }

  template <bool WIDE>
  MERGEN_VBMI __m512i pack(__m512i words) const {
    const __m512i x = _mm512_and_si512(words, mask);
    const __m512i moved = _mm512_sllv_epi64(x, shift);
    const __m512i bytes = _mm512_or_si512(_mm512_maskz_permutexvar_epi8(low_used, low, moved),
                                          _mm512_maskz_permutexvar_epi8(next_used, next, moved));
    if (!WIDE) return bytes;
    const __m512i rest = _mm512_srlv_epi64(x, back);
    return _mm512_or_si512(bytes, _mm512_maskz_permutexvar_epi8(ninth, low, rest));
  }
};

template <bool WIDE>
MERGEN_VBMI void pack_groups(uint8_t* out, const uint64_t* words, uint64_t bits, uint64_t count) {
  const Packer packer(bits);
  const __mmask64 whole = first_ones(bits);
  uint64_t i = 0;
  for (; i + 8 <= count; i += 8, out += bits) {
    _mm512_mask_storeu_epi8(out, whole, packer.pack<WIDE>(_mm512_loadu_si512(words + i)));
  }
  if (i == count) return;
  const __mmask8 left = static_cast<__mmask8>(first_ones(count - i));
  const __m512i last = packer.pack<WIDE>(_mm512_maskz_loadu_epi64(left, words + i));
  _mm512_mask_storeu_epi8(out, first_ones(packed_bytes(count - i, bits)), last);
}

// What unpacking of one width needs in registers.
struct Unpacker {
  __m512i places, ninth, mask, shift, back;

  MERGEN_VBMI explicit Unpacker(uint64_t bits) {
    const __m512i bit = first_bits(bits);
    const __m512i byte =
        _mm512_mullo_epi64(_mm512_srli_epi64(bit, 3), _mm512_set1_epi64(0x0101010101010101));
    places = _mm512_add_epi64(byte, _mm512_set1_epi64(0x0706050403020100));
    ninth = _mm512_add_epi64(byte, _mm512_set1_epi64(8));
    mask = _mm512_set1_epi64(static_cast<long long>(low_mask(bits)));
    shift = _mm512_and_si512(bit, _mm512_set1_epi64(7));
    back = _mm512_sub_epi64(_mm512_set1_epi64(64), shift);
  }

  template <bool WIDE>
  MERGEN_VBMI __m512i unpack(__m512i bytes) const {
    __m512i x = _mm512_srlv_epi64(_mm512_permutexvar_epi8(places, bytes), shift);
    if (WIDE) {
      const __m512i rest = _mm512_permutexvar_epi8(ninth, bytes);
      x = _mm512_or_si512(x, _mm512_sllv_epi64(rest, back));
    }
    return _mm512_and_si512(x, mask);
  }
};

template <bool WIDE>
MERGEN_VBMI void unpack_groups(uint64_t* out, const uint8_t* bytes, uint64_t bits,
                               uint64_t count) {
  const Unpacker unpacker(bits);
  const __mmask64 whole = first_ones(bits);
  uint64_t i = 0;
  for (; i + 8 <= count; i += 8, bytes += bits) {
    const __m512i group = _mm512_maskz_loadu_epi8(whole, bytes);
    _mm512_storeu_si512(out + i, unpacker.unpack<WIDE>(group));
  }
  if (i == count) return;
  const __m512i group = _mm512_maskz_loadu_epi8(first_ones(packed_bytes(count - i, bits)), bytes);
  const __mmask8 left = static_cast<__mmask8>(first_ones(count - i));
  _mm512_mask_storeu_epi64(out + i, left, unpacker.unpack<WIDE>(group));
}

}  // namespace
