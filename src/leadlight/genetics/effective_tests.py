"""How many independent tests a set of correlated tests amounts to, from their correlation."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def li_ji(correlation: Floats) -> float:
    """Li & Ji (Heredity 95:221, 2005): each eigenvalue counts 1 if at least 1, and its fraction."""
    sizes = np.maximum(np.linalg.eigvalsh(correlation), 0)
    # An eigenvalue of 1 that rounding left at 0.999… would count twice.
    sizes = np.where(np.abs(sizes - np.round(sizes)) < 1e-9, np.round(sizes), sizes)
    return float(np.sum((sizes >= 1) + (sizes - np.floor(sizes))))


def galwey(correlation: Floats) -> float:
    """Galwey (Genetic Epidemiology 33:559, 2009): (Σ√λ)² / Σλ over the positive eigenvalues."""
    sizes = np.maximum(np.linalg.eigvalsh(correlation), 0)
    return float(np.sqrt(sizes).sum() ** 2 / sizes.sum())


def nyholt(correlation: Floats) -> float:
    """Nyholt (American Journal of Human Genetics 74:765, 2004): 1 + (k − 1)(1 − var λ / k)."""
    count = len(correlation)
    if count == 1:
        return 1.0
    spread = np.linalg.eigvalsh(correlation).var(ddof=1)
    return float(1 + (count - 1) * (1 - spread / count))
