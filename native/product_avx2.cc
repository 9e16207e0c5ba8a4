#include "product.h"

const mergen::KernelsProduct mergen::product_avx2 = {};
