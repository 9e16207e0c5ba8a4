#include "product.h"

const mergen::KernelsProduct mergen::product_portable = {};
