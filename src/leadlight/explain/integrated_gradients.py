"""Integrated gradients of a network's logits (Sundararajan et al. 2017), adaptive and in bounds.

Relevance is (x - b) times the mean gradient of the logit on the straight way from the baseline b to
the input x, so that it sums to z(x) - z(b). The way of a network of convolutions and ReLUs is
piecewise linear, where rules of higher order gain nothing; but most of its kinks lie near the
baseline, where the signal is small against the biases. So points are midpoints of n equal parts of
u, at the share u² of the way and with weight 2u/n: dense where the gradient changes. On the shipped
network 36 such points give the map that 50 Gauss-Legendre points give, and a seventh of the
completeness error of 36 even midpoints (benchmarks/integrated_gradients.py).

Four things make it cheap. One forward pass serves all classes. Points are added threefold (18, 54,
162, ...), because the midpoints of n parts are among those of 3n, so nothing is computed twice.
Each class of each record stops as soon as its relevance adds up: the completeness error is
measured, not assumed. And batch norm is folded into the convolutions for the gradients.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from leadlight.errors import LeadlightError, ModelMismatch
from leadlight.explain.bfloat16 import in_bfloat16
from leadlight.explain.folding import fold_batch_norm

Precision = Literal["float32", "bfloat16"]

# A logit difference below this counts as this in the rule that stops; see `integrated_gradients`.
LOGIT_FLOOR = 0.1
# Steps after which what does not add up in bfloat16 is done again in float32.
_BFLOAT16_STEPS = 54
# Buffers beside the saved activations, in units of the largest: gradients in and out, and copies in
# the layout that convolutions want. Covers what was measured (tests/explain).
_BUFFERS = 6


@dataclass(frozen=True)
class Attribution:
    """Relevance of a batch and how well it adds up.

    Attributes:
        relevance: (record, class, lead, sample) float32, in logits.
        logit: (record, class) float64, z(x).
        baseline_logit: (record, class) float64, z(b).
        completeness_error: (record, class) float64, |ΣR - (z(x) - z(b))| / |z(x) - z(b)|; infinite
            where the logits are equal and ΣR is not 0.
        steps: (record, class) int64, gradients taken.
        converged: (record, class) bool, whether the tolerance was met.
    """

    relevance: torch.Tensor
    logit: torch.Tensor
    baseline_logit: torch.Tensor
    completeness_error: torch.Tensor
    steps: torch.Tensor
    converged: torch.Tensor


def integrated_gradients(
    network: nn.Module,
    inputs: torch.Tensor,
    *,
    classes: Sequence[int],
    baseline: torch.Tensor | None = None,
    tolerance: float = 0.02,
    max_steps: int = 162,
    min_steps: int = 18,
    memory_mb: float = 256.0,
    precision: Precision = "float32",
) -> Attribution:
    """Relevance of each input sample for the logit of each class.

    A class of a record is done when |ΣR - (z(x) - z(b))| is at most `tolerance` times
    |z(x) - z(b)|, or times `LOGIT_FLOOR` where the difference is smaller than that: near zero the
    ratio means nothing. The ratio itself is reported unchanged. z(x) and z(b) are always taken in
    float32, so in bfloat16 the error that is measured includes the rounding.

    A record's relevance does not depend on the other records of the batch nor on `memory_mb`, up to
    float32 rounding: gradients are added in float64 in the order of the points.

    Args:
        network: maps (record, lead, sample) to logits (record, class); in evaluation mode.
        inputs: (record, lead, sample) float32.
        classes: columns of the logits to explain.
        baseline: (lead, sample) for all or (record, lead, sample); zeros where None.
        tolerance: largest completeness error wanted.
        max_steps: gradients per record and class at most.
        min_steps: and at least; a sum may be right by chance where the map is still coarse.
        memory_mb: bound on what one pass through the network needs beyond weights, inputs and
            results; decides how many points go through at once (more are not faster: what fits the
            processor's cache is). The results take some 30 bytes for each value of (record, class,
            lead, sample) while they are summed.
        precision: of the gradients. "bfloat16" is faster where the processor has it, and is used
            where its gradients agree with float32's (`bfloat16`); what does not add up with it in
            54 steps is done again in float32.

    Raises:
        LeadlightError: the tolerance, steps or memory are impossible (one point needs more than
            `memory_mb`).
        ModelMismatch: shapes of inputs, baseline and classes do not fit, or a logit is not finite.
    """
    _check(inputs, baseline, tolerance, max_steps, memory_mb)
    inputs = inputs.detach()
    start = torch.zeros_like(inputs[:1]) if baseline is None else baseline.detach()
    start = start[None] if start.ndim == 2 else start
    columns = list(classes)
    size = points_per_pass(network, inputs, columns, memory_mb)
    logit = _logits(network, inputs, columns, size)
    baseline_logit = _logits(network, start, columns, size).expand_as(logit).clone()
    folded = fold_batch_norm(network, inputs[:1])
    rounds = [(folded, max_steps)]
    if precision == "bfloat16" and (fast := in_bfloat16(folded, inputs[:1])) is not None:
        rounds.insert(0, (fast, min(max_steps, _BFLOAT16_STEPS)))
    way = _Way(inputs, start.expand_as(inputs), columns, size)
    shape = (len(inputs), len(columns), *inputs.shape[1:])
    relevance = torch.zeros(shape, dtype=torch.float32, device=inputs.device)
    wanted, summed = logit - baseline_logit, torch.zeros_like(logit)
    steps = torch.zeros(shape[:2], dtype=torch.int64, device=inputs.device)
    pending = torch.ones(shape[:2], dtype=torch.bool, device=inputs.device)
    allowed = tolerance * wanted.abs().clamp(min=LOGIT_FLOOR)
    for used, most in rounds:
        total = torch.zeros(shape, dtype=torch.float64, device=inputs.device)
        for taken, new in _levels(min_steps, most):
            way.add_gradients(used, total, pending, new)
            for record, place in pending.nonzero().tolist():
                now = (inputs - way.start)[record] * (total[record, place] / taken)
                relevance[record, place], summed[record, place] = now.float(), now.sum()
            steps[pending] = taken
            pending &= (summed - wanted).abs() > allowed
    missed = (summed - wanted).abs()
    error = torch.where(missed == 0, torch.zeros_like(missed), missed / wanted.abs())
    return Attribution(relevance, logit, baseline_logit, error, steps, ~pending)


def points_per_pass(
    network: nn.Module, inputs: torch.Tensor, classes: Sequence[int], memory_mb: float
) -> int:
    """How many points go through the network at once within `memory_mb`.

    One record is sent through and the bytes that its backward pass keeps are counted; to these come
    some buffers of the size of the largest activation.

    Raises:
        LeadlightError: not even one point fits.
    """
    storages: dict[int, torch.UntypedStorage] = {}

    def count(tensor: torch.Tensor) -> None:
        # The storage is held so that its address is not given out again. The tensor is not: a hook
        # that gives it back ties it to its own graph, and neither is ever freed.
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()

    weights = {p.untyped_storage().data_ptr() for p in [*network.parameters(), *network.buffers()]}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept):
        probe = inputs[:1].detach().clone().requires_grad_(True)
        logits = network(probe)
    if logits.ndim != 2 or max(classes, default=0) >= logits.shape[1] or min(classes) < 0:
        raise ModelMismatch(
            f"The network gives logits of shape {tuple(logits.shape)} and classes "
            f"{list(classes)} were asked for."
        )
    kept = [held.nbytes() for address, held in storages.items() if address not in weights]
    input_bytes = probe.nelement() * probe.element_size()
    # Gradient of the input in float32 and, for its sum, in float64, beside the point itself.
    bytes_each = sum(kept) + _BUFFERS * max([*kept, input_bytes]) + 4 * input_bytes
    points = int(memory_mb * 1e6 // bytes_each)
    if points < 1:
        raise LeadlightError(
            f"One point through the network needs {bytes_each / 1e6:.0f} MB and memory_mb is "
            f"{memory_mb:g}.",
            advice="Give more memory.",
        )
    return points


@dataclass(frozen=True)
class _Way:
    """The straight ways of a batch, on which gradients are wanted."""

    inputs: torch.Tensor
    start: torch.Tensor
    classes: list[int]
    points: int

    def add_gradients(
        self,
        network: nn.Module,
        total: torch.Tensor,
        pending: torch.Tensor,
        roots: Sequence[float],
    ) -> None:
        """Add to `total` (record, class, lead, sample) the gradients at squares of `roots`.

        The share of the way is a = t², so da = 2t dt: a gradient counts 2t.

        Only for pairs of record and class that are `pending`. Points of all records are laid end to
        end, so that passes are full whatever the number of records left; a pass goes backward for
        the classes that one of its records still needs.
        """
        records = pending.any(dim=1).nonzero()[:, 0]
        record_of = records.repeat_interleave(len(roots))
        roots_of = torch.tensor(roots, dtype=torch.float64, device=total.device)
        roots_of = roots_of.repeat(len(records))
        for low in range(0, len(record_of), self.points):
            record = record_of[low : low + self.points]
            root = roots_of[low : low + self.points, None, None]
            at = root.square().to(torch.float32)
            point = torch.lerp(self.start[record], self.inputs[record], at).requires_grad_(True)
            logits = network(point)
            places = pending[record].any(dim=0).nonzero()[:, 0].tolist()
            for place in places:
                last = place == places[-1]
                gradient = torch.autograd.grad(
                    logits[:, self.classes[place]].sum(), point, retain_graph=not last
                )[0]
                needed = pending[record, place]
                weighted = gradient[needed].double() * (2.0 * root[needed])
                total[:, place].index_add_(0, record[needed], weighted)


def _levels(min_steps: int, max_steps: int) -> list[tuple[int, list[float]]]:
    """(points so far, midpoints u that are new) per level: n, 3n, 9n, ..."""
    first = min(min_steps, max_steps)
    levels = [(first, [(k + 0.5) / first for k in range(first)])]
    n = 3 * first
    while n <= max_steps:
        levels.append((n, [(k + 0.5) / n for k in range(n) if k % 3 != 1]))
        n *= 3
    return levels


def _logits(
    network: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    classes: list[int],
    size: int,
) -> torch.Tensor:
    """(record, class) float64 logits of the asked classes."""
    with torch.inference_mode():
        parts = [network(inputs[low : low + size]) for low in range(0, len(inputs), size)]
    logits = torch.cat(parts)[:, classes].double()
    if not bool(torch.isfinite(logits).all()):
        raise ModelMismatch("The network gives logits that are not finite.")
    return logits.clone()


def _check(
    inputs: torch.Tensor,
    baseline: torch.Tensor | None,
    tolerance: float,
    max_steps: int,
    memory_mb: float,
) -> None:
    if inputs.ndim != 3 or not len(inputs):
        raise ModelMismatch(
            f"Inputs are (record, lead, sample) with at least one record; these are "
            f"{tuple(inputs.shape)}."
        )
    if baseline is not None and baseline.shape not in (inputs.shape, inputs.shape[1:]):
        raise ModelMismatch(
            f"The baseline is {tuple(baseline.shape)} and the inputs {tuple(inputs.shape)}."
        )
    for name, value in (
        ("tolerance", tolerance), ("max_steps", max_steps), ("memory_mb", memory_mb)
    ):  # fmt: skip
        if not value > 0:
            raise LeadlightError(f"{name} is {value}; it must be above 0.")
