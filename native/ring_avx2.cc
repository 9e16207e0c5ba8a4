#include "ring.h"

const mergen::KernelsRing mergen::ring_avx2 = {nullptr};
