#include "tree.h"

const mergen::KernelsTree mergen::tree_avx512 = {};
