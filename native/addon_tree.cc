// The tree kernels as JavaScript sees them.
#include "call.h"

const mergen::Functions mergen::tree_functions = {nullptr, 0};
