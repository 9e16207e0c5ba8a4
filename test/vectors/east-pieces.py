"""Fits the polynomials of src/recipe/approximations.ts that are named east, and prints them.

East (arXiv 2308.09923) approximates GELU and exp by polynomials on parts, fitted so that no error
exceeds 1e-3; it does not print its coefficients. These are our own: near-minimax polynomials by
Lawson's iteratively reweighted least squares on a Chebyshev grid. Needs numpy.

    python3 test/vectors/east-pieces.py
"""

from math import erf, sqrt

import numpy as np

gelu = np.vectorize(lambda t: 0.5 * t * (1 + erf(t / sqrt(2))))


def fit(function, low, high, powers):
    """Coefficients of the given powers and the greatest error on [low, high]."""
    grid = np.cos(np.linspace(0, np.pi, 2001)) * (high - low) / 2 + (low + high) / 2
    wanted = function(grid)
    terms = np.stack([grid**power for power in powers], axis=1)
    weights = np.full(len(grid), 1 / len(grid))
    best = (np.inf, None)
    for _ in range(400):
        root = np.sqrt(weights)[:, None]
        found = np.linalg.lstsq(terms * root, wanted * root[:, 0], rcond=None)[0]
        errors = np.abs(terms @ found - wanted)
        if errors.max() < best[0]:
            best = (errors.max(), found)
        weights = weights * errors
        weights /= weights.sum()
    return best


def show(name, function, low, high, powers):
    error, coefficients = fit(function, low, high, powers)
    values = ", ".join(f"x^{p}: {c:.9f}" for p, c in zip(powers, coefficients))
    print(f"{name} [{low}, {high}] error {error:.2e}: {values}")


show("gelu", gelu, -4, -1.9, range(4))
# gelu(x) - x / 2 is even.
show("gelu - x/2", lambda x: gelu(x) - x / 2, -1.9, 1.9, [0, 2, 4, 6])
show("exp", np.exp, -7.5, -3.5, range(4))
show("exp", np.exp, -3.5, -1.25, range(4))
show("exp", np.exp, -1.25, 0, range(4))
