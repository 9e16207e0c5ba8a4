#include "tree.h"

const mergen::KernelsTree mergen::tree_portable = {};
