// Float32 kernels for any processor. The matrix product has a tile of 4 x 8 in plain loops, which
// compilers turn into the baseline vectors of their target (SSE2, NEON).
namespace {
constexpr int LANES = 4;
}

#include "f32_elementwise.h"
#include "f32_gemm.h"

namespace {

struct Portable {
  static constexpr int MR = 4, NR = 8, STORE = 8;
  static constexpr long KC = 256, MC = 32 * MR, NC = 128 * NR;

  template <int WIDTH>
  static void copy_steps(const float* src, long ld, long lanes, long depth, float* dst) {
    for (long p = 0; p < depth; p++, src += ld, dst += WIDTH) {
      for (long i = 0; i < WIDTH; i++) dst[i] = i < lanes ? src[i] : 0;
    }
  }

  static void transpose_lanes(const float* src, long ld, long lanes, long depth, float* dst,
                              long width) {
    for (long i = 0; i < width; i++) {
      for (long p = 0; p < depth; p++) dst[p * width + i] = i < lanes ? src[i * ld + p] : 0;
    }
  }

  // Sums a whole tile (lanes beyond `rows` are packed zeros) and writes the part that exists.
  static void tile(long rows, long cols, long depth, const float* a, const float* b, long stride_b,
                   float* out, long ld, bool add) {
    float sum[MR][NR] = {};
    if (cols == NR) {
      for (long p = 0; p < depth; p++, a += MR, b += stride_b) {
        for (int r = 0; r < MR; r++) {
          for (int c = 0; c < NR; c++) sum[r][c] += a[r] * b[c];
        }
      }
    } else {
      for (long p = 0; p < depth; p++, a += MR, b += stride_b) {
        for (int r = 0; r < MR; r++) {
          for (long c = 0; c < cols; c++) sum[r][c] += a[r] * b[c];
        }
      }
    }
    for (long r = 0; r < rows; r++) {
      for (long c = 0; c < cols; c++) out[r * ld + c] = (add ? out[r * ld + c] : 0) + sum[r][c];
    }
  }
};

}  // namespace

namespace mergen {

const KernelsF32 f32_portable = {gemm<Portable>, mix_heads, gelu, gelu_gradient, softmax, adamw};

}  // namespace mergen
