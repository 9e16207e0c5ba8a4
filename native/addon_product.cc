// The matrix products as JavaScript sees them. A matrix is an object that holds its packed panels
// outside JavaScript's heap, until freeMatrix or the collector; it belongs to the instruction set
// that packed it.
#include <atomic>
#include <new>

#include "call.h"
#include "memory.h"
#include "threads.h"

namespace {

using namespace mergen;

// Keeps every size and offset in 64 bits, and is the limit of src/kernel/ring-checks.ts.
constexpr uint32_t MAX_SIDE = 1 << 24;
// Multiply-adds below which waking helpers costs more than they save: some 50 us of work.
constexpr uint64_t MIN_SHARED = 1 << 21;
// Pieces of a product a thread, so that a late thread finds some left.
constexpr long PIECES = 8;

struct Matrix {
  const PanelKernels* kernels;
  long rows, columns;
  Block panels;            // empty once freed
  int64_t told_bytes = 0;  // what the collector has been told of
};

// Marks the objects that wrap a Matrix: nothing else is taken for one.
constexpr napi_type_tag MATRIX_TAG = {0x8d6f1b7a52c94e03, 0xb1e7402fa96d38c5};

// Prepared x of the calling thread.
thread_local Scratch prepared_scratch;

long panel_count(const Matrix& matrix) {
  const long width = matrix.kernels->panel_columns;
  return (matrix.columns + width - 1) / width;
}

// Tells the collector what the matrix holds. It ends the process if it is told of less memory than
// it was told of before.
void tell(napi_env env, Matrix& matrix) {
  const int64_t bytes = static_cast<int64_t>(matrix.panels.bytes());
  int64_t total = 0;
  if (napi_adjust_external_memory(env, bytes - matrix.told_bytes, &total) == 0) {
    matrix.told_bytes = bytes;
  }
}

void release(napi_env env, Matrix& matrix) {
  matrix.panels.release();
  tell(env, matrix);
}

void finalize_matrix(napi_env env, void* data, void*) {
  Matrix* const matrix = static_cast<Matrix*>(data);
  release(env, *matrix);
  delete matrix;
}

// A JavaScript object that owns the matrix; null, with an exception, if there is none.
napi_value wrap(Call& call, Matrix* matrix) {
  const napi_env env = call.env();
  napi_value object = nullptr;
  if (napi_create_object(env, &object) != 0 ||
      napi_type_tag_object(env, object, &MATRIX_TAG) != 0 ||
      napi_wrap(env, object, matrix, finalize_matrix, nullptr, nullptr) != 0) {
    delete matrix;
    call.fail("a matrix cannot be made");
    return nullptr;
  }
  tell(env, *matrix);
  return object;
}

// The matrix in an argument; null, with an exception, if there is none of this instruction set.
Matrix* matrix_of(Call& call, int index) {
  bool is_matrix = false;
  void* data = nullptr;
  napi_valuetype type = napi_undefined;
  const napi_value value = call.value(index);
  if (!call.ok()) return nullptr;
  // Asked for the tag of null, Node-API throws an error of its own.
  if (napi_typeof(call.env(), value, &type) != 0 || type != napi_object ||
      napi_check_object_type_tag(call.env(), value, &MATRIX_TAG, &is_matrix) != 0 || !is_matrix ||
      napi_unwrap(call.env(), value, &data) != 0) {
    call.fail("an operand of a native product is no matrix of its own");
    return nullptr;
  }
  Matrix* const matrix = static_cast<Matrix*>(data);
  const KernelsProduct& own = *call.isa().product;
  if (matrix->kernels != &own.int16 && matrix->kernels != &own.ring) {
    call.fail("the matrix is another instruction set's");
    return nullptr;
  }
  return matrix;
}

// A side of a matrix, 1 .. MAX_SIDE.
long side(Call& call, int index) {
  const uint32_t value = call.size(index);
  if (call.ok() && (value == 0 || value > MAX_SIDE)) call.fail("a matrix of such sides is none");
  return call.ok() ? value : 1;
}

napi_value load(Call& call, const PanelKernels& kernels, const void* entries, long rows,
                long columns) {
  const int threads = static_cast<int>(call.size(3));
  if (!call.ok()) return nullptr;
  Matrix* const matrix = new (std::nothrow) Matrix{&kernels, rows, columns, {}, 0};
  const long panels = matrix == nullptr ? 0 : panel_count(*matrix);
  if (panels == 0 || !matrix->panels.allocate(panels * kernels.panel_bytes(rows))) {
    delete matrix;
    call.fail("no memory for a matrix");
    return nullptr;
  }
  constexpr long GROUP = 32;
  const long pieces = (panels + GROUP - 1) / GROUP;
  parallel_for(threads, pieces, [&](long piece) {
    const long end = (piece + 1) * GROUP;
    kernels.pack(entries, rows, columns, piece * GROUP, end < panels ? end : panels,
                 matrix->panels.data());
  });
  return wrap(call, matrix);
}

// loadInt16(weights, rows, columns, threads)
napi_value load_int16(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  const long rows = side(call, 1), columns = side(call, 2);
  const int16_t* weights = call.i16s(0, static_cast<uint64_t>(rows) * columns);
  return load(call, call.isa().product->int16, weights, rows, columns);
}

// loadRing(words, rows, columns, threads)
napi_value load_ring(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  const long rows = side(call, 1), columns = side(call, 2);
  const uint64_t* words = call.u64s(0, static_cast<uint64_t>(rows) * columns);
  return load(call, call.isa().product->ring, words, rows, columns);
}

// freeMatrix(matrix); again is no error.
napi_value free_matrix(napi_env env, napi_callback_info info) {
  Call call(env, info, 1);
  Matrix* const matrix = matrix_of(call, 0);
  if (matrix != nullptr) release(env, *matrix);
  return nullptr;
}

// x [m, rows], prepared in this thread's scratch; without memory the call fails.
PreparedRows prepare(Call& call, const PanelKernels& kernels, const uint64_t* x, long m,
                     long rows) {
  uint8_t* const data = prepared_scratch.reserve(kernels.prepared_bytes(m, rows));
  if (data == nullptr) {
    call.fail("no memory for a product");
  } else {
    kernels.prepare(x, m, rows, data);
  }
  return {m, rows, data};
}

// Whether a product of [m, rows] by [rows, columns] is worth more than one thread.
int threads_for(uint32_t wanted, uint64_t m, uint64_t rows, uint64_t columns) {
  if (m * rows * columns < MIN_SHARED) return 1;
  return wanted < MAX_THREADS ? static_cast<int>(wanted) : MAX_THREADS;
}

// matmul(out, x, m, matrix, threads): out [m, columns] = x [m, rows] times the matrix.
napi_value matmul(napi_env env, napi_callback_info info) {
  Call call(env, info, 5);
  const uint64_t m = call.size(2);
  const Matrix* const matrix = matrix_of(call, 3);
  if (matrix == nullptr) return nullptr;
  if (matrix->panels.data() == nullptr) call.fail("the matrix was freed");
  uint64_t* const out = call.u64s(0, m * matrix->columns);
  const uint64_t* const x = call.u64s(1, m * matrix->rows);
  const int threads = threads_for(call.size(4), m, matrix->rows, matrix->columns);
  if (!call.ok() || m == 0) return nullptr;
  const PanelKernels& kernels = *matrix->kernels;
  const PreparedRows prepared = prepare(call, kernels, x, static_cast<long>(m), matrix->rows);
  if (!call.ok()) return nullptr;
  const PanelProduct product = {prepared, matrix->columns, matrix->panels.data(), out};
  const long panels = panel_count(*matrix);
  const long group = threads == 1 ? panels : panels / (threads * PIECES) + 1;
  parallel_for(threads, (panels + group - 1) / group, [&](long piece) {
    const long end = (piece + 1) * group;
    kernels.multiply(product, piece * group, end < panels ? end : panels);
  });
  return nullptr;
}

// Columns of a piece: what the kernel likes, or less, so that all threads get as many pieces.
long keystream_width(const KernelsProduct& kernels, long columns, int threads) {
  const long most = kernels.keystream_columns, panel = kernels.ring.panel_columns;
  if (threads == 1) return most;
  const long rounds = (columns + most * threads - 1) / (most * threads);
  const long each = (columns + rounds * threads - 1) / (rounds * threads);
  return (each + panel - 1) / panel * panel;
}

// matmulKeystream(out, x, m, rows, columns, transposed, key, nonce, threads)
napi_value matmul_keystream(napi_env env, napi_callback_info info) {
  Call call(env, info, 9);
  const uint64_t m = call.size(2);
  const long rows = side(call, 3), columns = side(call, 4);
  if (static_cast<uint64_t>(rows) * columns > UINT64_C(1) << 35) {
    call.fail("a keystream is too short for the matrix");
  }
  const bool transposed = call.size(5) != 0;
  const long inner = transposed ? columns : rows, outer = transposed ? rows : columns;
  uint64_t* const out = call.u64s(0, m * outer);
  const uint64_t* const x = call.u64s(1, m * inner);
  const uint8_t* const key = call.bytes(6, 32);
  const uint8_t* const nonce = call.bytes(7, 12);
  const int threads = threads_for(call.size(8), m, rows, columns);
  const KernelsProduct& kernels = *call.isa().product;
  const Chacha12 chacha12 = call.isa().ring->chacha12;
  if (chacha12 == nullptr) call.fail("this instruction set has no ChaCha12");
  if (!call.ok() || m == 0) return nullptr;
  const PreparedRows prepared = prepare(call, kernels.ring, x, static_cast<long>(m), inner);
  if (!call.ok()) return nullptr;
  const KeystreamProduct product = {prepared, rows,  columns,  transposed,
                                    key,      nonce, chacha12, out};
  const long width = keystream_width(kernels, outer, threads);
  std::atomic<bool> has_memory{true};
  parallel_for(threads, (outer + width - 1) / width, [&](long piece) {
    const long column = piece * width, left = outer - column;
    if (!kernels.keystream(product, column, left < width ? left : width)) has_memory = false;
  });
  if (!has_memory) call.fail("no memory for a product");
  return nullptr;
}

// closeThreads(): ends this environment's helpers.
napi_value close_helpers(napi_env env, napi_callback_info info) {
  Call call(env, info, 0);
  if (call.ok()) close_threads();
  return nullptr;
}

const Function rows[] = {
    {"loadInt16", load_int16},      {"loadRing", load_ring},
    {"freeMatrix", free_matrix},    {"matmul", matmul},
    {"closeThreads", close_helpers}, {"matmulKeystream", matmul_keystream},
};

}  // namespace

const mergen::Functions mergen::product_functions = {rows, sizeof(rows) / sizeof(rows[0])};
