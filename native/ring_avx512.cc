#include "ring.h"

const mergen::KernelsRing mergen::ring_avx512 = {nullptr};
