"""Compiled kernels of Cox's partial likelihood with late entry and Efron's ties.

Shapes: n people sorted by time of exit, last first; d deaths sorted by time, last first; p columns,
the exposure last. `cox.RiskSets` holds the arrays of one outcome.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@njit(nogil=True, cache=True)
def evaluate(
    x: Floats,
    odds: Floats,
    joined: Integers,
    late: Integers,
    not_yet: Integers,
    deaths: Integers,
    first: Integers,
    at_exit: Integers,
    at_entry: Integers,
    own_time: Integers,
) -> tuple[float, Floats, Floats, Floats]:
    """Log partial likelihood, its gradient (p,), information (p, p), means at deaths (d, p).

    x: (n, p); odds: (n,) log hazard ratios. joined: (time,) how many of the people stay until each
    time. late: people by time of entry, last first; not_yet: (time,) how many of those are not in
    yet. deaths: (d,) people; first: (time + 1,) where a time's deaths begin. at_exit, at_entry:
    (n,) the first time (times run backwards) not after a person's exit, entry. own_time: (n,) the
    time of a person's death, or -1.
    """
    n, p = x.shape
    n_times = len(first) - 1
    top = odds.max()
    weight = np.exp(odds - top)
    s0, s1 = 0.0, np.zeros(p)
    hazard, own = np.zeros(n_times), np.zeros(n_times)
    means = np.empty((len(deaths), p))
    value, here, gone = 0.0, 0, 0
    tied = np.zeros(p)
    for t in range(n_times):
        while here < joined[t]:
            s0 += weight[here]
            for k in range(p):
                s1[k] += weight[here] * x[here, k]
            here += 1
        while gone < not_yet[t]:
            i = late[gone]
            s0 -= weight[i]
            for k in range(p):
                s1[k] -= weight[i] * x[i, k]
            gone += 1
        count = first[t + 1] - first[t]
        tied0 = 0.0
        tied[:] = 0.0
        for m in range(first[t], first[t + 1]):
            i = deaths[m]
            value += odds[i] - top
            tied0 += weight[i]
            for k in range(p):
                tied[k] += weight[i] * x[i, k]
        for m in range(count):
            share = m / count
            size = s0 - share * tied0
            value -= np.log(size)
            hazard[t] += 1.0 / size
            own[t] += share / size
            for k in range(p):
                means[first[t] + m, k] = (s1[k] - share * tied[k]) / size
    # A person's share of all risk sets: the hazard summed from entry to exit. Times run backwards.
    summed = np.zeros(n_times + 1)
    for t in range(n_times - 1, -1, -1):
        summed[t] = summed[t + 1] + hazard[t]
    gradient, information = np.zeros(p), np.zeros((p, p))
    for i in range(n):
        exposed = summed[at_exit[i]] - summed[at_entry[i]]
        if own_time[i] >= 0:
            exposed -= own[own_time[i]]
        exposed *= weight[i]
        left = (1.0 if own_time[i] >= 0 else 0.0) - exposed
        for k in range(p):
            gradient[k] += left * x[i, k]
            scaled = exposed * x[i, k]
            for j in range(k + 1):
                information[k, j] += scaled * x[i, j]
    for m in range(len(deaths)):
        for k in range(p):
            for j in range(k + 1):
                information[k, j] -= means[m, k] * means[m, j]
    for k in range(p):
        for j in range(k):
            information[j, k] = information[k, j]
    return value, gradient, information, means


@njit(nogil=True, cache=True)
def drift(
    x: Floats,
    odds: Floats,
    means: Floats,
    clock: Floats,
    joined: Integers,
    late: Integers,
    not_yet: Integers,
    deaths: Integers,
    first: Integers,
) -> tuple[float, float, Floats]:
    """Score of adding (last column) · clock to the model, its information, and that with x (p,).

    The score is the covariance of Schoenfeld's residuals with the clock. clock: (time,).
    """
    p = x.shape[1]
    weight = np.exp(odds - odds.max())
    last = p - 1
    s0, s1, s2 = 0.0, np.zeros(p), np.zeros(p)
    tied, tied2 = np.zeros(p), np.zeros(p)
    here, gone = 0, 0
    score, own = 0.0, 0.0
    cross = np.zeros(p)
    for t in range(len(first) - 1):
        while here < joined[t]:
            s0 += weight[here]
            for k in range(p):
                s1[k] += weight[here] * x[here, k]
                s2[k] += weight[here] * x[here, k] * x[here, last]
            here += 1
        while gone < not_yet[t]:
            i = late[gone]
            s0 -= weight[i]
            for k in range(p):
                s1[k] -= weight[i] * x[i, k]
                s2[k] -= weight[i] * x[i, k] * x[i, last]
            gone += 1
        count = first[t + 1] - first[t]
        tied0 = 0.0
        tied[:] = 0.0
        tied2[:] = 0.0
        for m in range(first[t], first[t + 1]):
            i = deaths[m]
            score += clock[t] * x[i, last]
            tied0 += weight[i]
            for k in range(p):
                tied[k] += weight[i] * x[i, k]
                tied2[k] += weight[i] * x[i, k] * x[i, last]
        for m in range(count):
            share = m / count
            size = s0 - share * tied0
            mean = means[first[t] + m]
            score -= clock[t] * mean[last]
            for k in range(p):
                spread = (s2[k] - share * tied2[k]) / size - mean[k] * mean[last]
                cross[k] += clock[t] * spread
                if k == last:
                    own += clock[t] * clock[t] * spread
    return score, own, cross


@njit(nogil=True, cache=True)
def firth_gradient(
    x: Floats,
    odds: Floats,
    spread: Floats,
    means: Floats,
    solved: Floats,
    joined: Integers,
    late: Integers,
    not_yet: Integers,
    deaths: Integers,
    first: Integers,
    at_exit: Integers,
    at_entry: Integers,
    own_time: Integers,
) -> Floats:
    """(p,) tr(I⁻¹ ∂I/∂β): twice the gradient of Firth's penalty ½ log |I|.

    Σ over deaths of E[(x − m)ᵀ I⁻¹ (x − m) (x − m)] among those at risk, with the square written
    out so that sums over people are running ones. spread: (n,) xᵀI⁻¹x; solved: (d, p) I⁻¹m of the
    means m at deaths; the others as in `evaluate`.
    """
    n, p = x.shape
    n_times = len(first) - 1
    weight = np.exp(odds - odds.max())
    # Per time, over its deaths: 1/size, c/size and I⁻¹m/size, and the shares that its tied lose.
    sums, own = np.zeros((n_times + 1, p + 2)), np.zeros((n_times, p + 2))
    gradient = np.zeros(p)
    s0, s_spread, here, gone = 0.0, 0.0, 0, 0
    for t in range(n_times):
        while here < joined[t]:
            s0 += weight[here]
            s_spread += weight[here] * spread[here]
            here += 1
        while gone < not_yet[t]:
            i = late[gone]
            s0 -= weight[i]
            s_spread -= weight[i] * spread[i]
            gone += 1
        tied0, tied_spread = 0.0, 0.0
        for m in range(first[t], first[t + 1]):
            tied0 += weight[deaths[m]]
            tied_spread += weight[deaths[m]] * spread[deaths[m]]
        count = first[t + 1] - first[t]
        for k in range(count):
            m = first[t] + k
            share = k / count
            size = s0 - share * tied0
            c = 0.0
            for j in range(p):
                c += means[m, j] * solved[m, j]
            expected = (s_spread - share * tied_spread) / size - c
            sums[t, 0] += 1.0 / size
            sums[t, 1] += c / size
            own[t, 0] += share / size
            own[t, 1] += share * c / size
            for j in range(p):
                sums[t, j + 2] += solved[m, j] / size
                own[t, j + 2] += share * solved[m, j] / size
                gradient[j] -= means[m, j] * expected
    for t in range(n_times - 1, -1, -1):
        for j in range(p + 2):
            sums[t, j] += sums[t + 1, j]
    for i in range(n):
        total = 0.0
        for j in range(p + 2):
            part = sums[at_exit[i], j] - sums[at_entry[i], j]
            if own_time[i] >= 0:
                part -= own[own_time[i], j]
            factor = spread[i] if j == 0 else 1.0 if j == 1 else -2.0 * x[i, j - 2]
            total += part * factor
        for j in range(p):
            gradient[j] += weight[i] * total * x[i, j]
    return gradient
