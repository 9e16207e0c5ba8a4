#include "ring.h"

const mergen::KernelsRing mergen::ring_portable = {nullptr};
