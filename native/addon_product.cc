// The matrix products as JavaScript sees them.
#include "call.h"

const mergen::Functions mergen::product_functions = {nullptr, 0};
