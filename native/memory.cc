#include "memory.h"

#include <sys/mman.h>

#include <cstdlib>

namespace {

constexpr uint64_t HUGE_PAGE = 2 << 20;

uint64_t round_up(uint64_t x, uint64_t step) { return (x + step - 1) / step * step; }

// Whole huge pages: what was mapped around them to get there is given back.
uint8_t* map_pages(uint64_t bytes) {
  const uint64_t room = bytes + HUGE_PAGE;
  void* const mapped =
      mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const uint64_t begin = reinterpret_cast<uint64_t>(mapped);
  const uint64_t first = round_up(begin, HUGE_PAGE);
  uint8_t* const data = reinterpret_cast<uint8_t*>(first);
  if (first > begin) munmap(mapped, first - begin);
  if (begin + room > first + bytes) munmap(data + bytes, begin + room - (first + bytes));
#if defined(MADV_HUGEPAGE)
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

}  // namespace

namespace mergen {

bool Block::allocate(uint64_t bytes) {
  release();
  is_mapped_ = bytes >= 2 * HUGE_PAGE;
  bytes_ = round_up(bytes, is_mapped_ ? HUGE_PAGE : 64);
  data_ = is_mapped_ ? map_pages(bytes_) : static_cast<uint8_t*>(std::aligned_alloc(64, bytes_));
  if (data_ == nullptr) bytes_ = 0;
  return data_ != nullptr;
}

void Block::release() {
  if (is_mapped_) {
    if (data_ != nullptr) munmap(data_, bytes_);
  } else {
    std::free(data_);
  }
  data_ = nullptr;
  bytes_ = 0;
}

uint8_t* Scratch::reserve(uint64_t bytes) {
  if (bytes > block_.bytes() && !block_.allocate(bytes)) return nullptr;
  return block_.data();
}

}  // namespace mergen
