// Memory that kernels work in: 64-byte aligned, and null rather than an exception when there is
// none.
#pragma once

#include <cstdint>

namespace mergen {

// A block of its own, in huge pages where it is large and the system has them: products stream
// matrices from end to end, and small pages cost them their translation. Zeros, if large.
class Block {
 public:
  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { release(); }

  bool allocate(uint64_t bytes);
  void release();
  uint8_t* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  uint8_t* data_ = nullptr;
  uint64_t bytes_ = 0;
  bool is_mapped_ = false;
};

// Scratch that its owner, a thread, keeps from call to call; it grows as asked and holds anything.
class Scratch {
 public:
  // Null if there is no memory.
  uint8_t* reserve(uint64_t bytes);

 private:
  Block block_;
};

}  // namespace mergen
