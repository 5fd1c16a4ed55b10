"""The residual network of Ribeiro et al. (Nat Commun 11:1760, 2020), and smaller ones of its kind.

A stem (convolution, batch norm, ReLU) and residual blocks that each shorten the record. In a block
the main path is convolution - batch norm - ReLU - dropout - convolution with stride; the skip path
is max-pooling and, where the number of filters changes, a 1x1 convolution. The sum of both is what
the next block's skip path sees; the next block's main path sees it after batch norm, ReLU and
dropout. No convolution has a bias. A dense layer on the flattened end gives one logit per class.

Sizes follow TensorFlow's rule for "same" padding, which is not symmetric for even kernels, so that
weights trained in Keras mean the same thing here.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from leadlight.errors import LeadlightError, ModelMismatch

Pooling = Literal["flatten", "mean"]

# Keras' defaults, with which the published network was trained; torch's momentum is 1 - Keras'.
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.01


class ResidualNetwork(nn.Module):
    """Maps (record, lead, sample) float32 to logits (record, class).

    At the defaults it is the published network. Its 6,425,638 parameters, as Keras counts them, are
    6,421,910 that are trained and 3,728 running means and variances of batch norm. Dropout is the
    published code's rate since 2021; the released checkpoint was trained with 0.8.

    Args:
        n_leads: leads in the input.
        n_classes: logits in the output.
        samples: input samples per lead; each block divides them by its stride, rounding up.
        stem_filters: filters of the first convolution.
        filters: filters of each residual block.
        kernel: samples that each convolution spans.
        strides: how much shorter each block makes the record, one for all or one for each.
        dropout: share of activations dropped in training.
        pooling: "flatten" (as published; the dense layer sees every moment) or "mean" over time.
        generator: source of the initial weights, for repeatable networks.

    Raises:
        LeadlightError: a setting makes no network (naming it).
    """

    def __init__(
        self,
        n_leads: int = 12,
        n_classes: int = 6,
        samples: int = 4096,
        stem_filters: int = 64,
        filters: Sequence[int] = (128, 196, 256, 320),
        kernel: int = 16,
        strides: int | Sequence[int] = 4,
        dropout: float = 0.2,
        pooling: Pooling = "flatten",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        steps = (strides,) * len(filters) if isinstance(strides, int) else tuple(strides)
        _check_settings(n_leads, n_classes, samples, stem_filters, filters, kernel, steps, dropout)
        if pooling not in ("flatten", "mean"):
            raise LeadlightError(f'pooling is "{pooling}"; it can be "flatten" or "mean".')
        self.n_leads, self.n_classes, self.samples = n_leads, n_classes, samples
        self.pooling = pooling
        self.stem = SameConv1d(n_leads, stem_filters, kernel)
        self.stem_norm = _batch_norm(stem_filters)
        self.stem_relu = nn.ReLU()
        before = (stem_filters, *filters[:-1])
        self.blocks = nn.ModuleList(
            ResidualBlock(n_in, n_out, kernel, step, dropout)
            for n_in, n_out, step in zip(before, filters, steps, strict=True)
        )
        self.lengths = output_lengths(samples, steps)
        moments = self.lengths[-1] if pooling == "flatten" else 1
        self.dense = nn.Linear(moments * filters[-1], n_classes)
        self.initialise(generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (record, class) of inputs (record, lead, sample).

        Raises:
            ModelMismatch: the input's leads or samples are not those that the network was made for.
        """
        if x.ndim != 3 or x.shape[1] != self.n_leads or x.shape[2] != self.samples:
            raise ModelMismatch(
                f"The network expects (record, {self.n_leads} leads, {self.samples} samples) and "
                f"was given {tuple(x.shape)}.",
                advice="Prepare records with leadlight.classify.prepare and the model's card.",
            )
        main = skip = self.stem_relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            main, skip = block(main, skip)
        # Time-major, as Keras flattens (sample, filter): weights of the dense layer depend on it.
        moments = main.transpose(1, 2)
        pooled = moments.flatten(1) if self.pooling == "flatten" else moments.mean(dim=1)
        logits: torch.Tensor = self.dense(pooled)
        return logits

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Fresh weights: truncated He normal (He et al. 2015) as in the published code."""
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                fan_in = module.weight[0].numel()
                # 0.8796 is the standard deviation of a unit normal cut at two.
                sd = math.sqrt(2.0 / fan_in) / 0.87962566103423978
                nn.init.trunc_normal_(
                    module.weight, std=sd, a=-2 * sd, b=2 * sd, generator=generator
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm1d):
                module.reset_parameters()


# oneDNN's bfloat16 convolution with AMX gives wrong values for few input channels (found with torch
# 2.13: 8 and 12 channels, kernel 16): the stem, little of the work, stays in float32.
FEWEST_BFLOAT16_CHANNELS = 16


class ResidualBlock(nn.Module):
    """One block: (main, skip) in, (main, skip) out, both (record, filter, sample)."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = SameConv1d(n_in, n_out, kernel)
        self.norm1 = _batch_norm(n_out)
        self.relu1 = nn.ReLU()
        self.dropout1 = nn.Dropout(dropout)
        self.conv2 = SameConv1d(n_out, n_out, kernel, stride)
        self.pool = SameMaxPool1d(stride) if stride > 1 else nn.Identity()
        self.project = SameConv1d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        self.norm2 = _batch_norm(n_out)
        self.relu2 = nn.ReLU()
        self.dropout2 = nn.Dropout(dropout)

    def forward(self, main: torch.Tensor, skip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The block's activations and, for the next skip path, the sum before batch norm."""
        main = self.conv2(self.dropout1(self.relu1(self.norm1(self.conv1(main)))))
        total = main + self.project(self.pool(skip))
        return self.dropout2(self.relu2(self.norm2(total))), total


class SameConv1d(nn.Conv1d):
    """A convolution without bias, padded as TensorFlow's "same"."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(n_in, n_out, kernel, stride=stride, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(record, n_in, sample) to (record, n_out, ceil(sample / stride))."""
        padding = same_padding(input.shape[-1], self.kernel_size[0], self.stride[0])
        padded = functional.pad(input, padding)
        if self.in_channels < FEWEST_BFLOAT16_CHANNELS and torch.is_autocast_enabled(
            input.device.type
        ):
            with torch.autocast(input.device.type, enabled=False):
                return super().forward(padded.float())
        return super().forward(padded)


class SameMaxPool1d(nn.MaxPool1d):
    """Max-pooling over windows as long as the stride, padded as TensorFlow's "same"."""

    def __init__(self, stride: int) -> None:
        super().__init__(stride, stride)
        self.window = stride

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(record, filter, sample) to (record, filter, ceil(sample / stride))."""
        padding = same_padding(input.shape[-1], self.window, self.window)
        # Padding must never win the maximum.
        padded = functional.pad(input, padding, value=-math.inf) if any(padding) else input
        pooled: torch.Tensor = super().forward(padded)
        return pooled


def same_padding(samples: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, by TensorFlow's rule: the output has ceil(samples / stride).

    The odd one goes after: kernel 16 gives (7, 8) at stride 1, and (6, 6) at stride 4 on lengths
    that 4 divides.
    """
    total = max((math.ceil(samples / stride) - 1) * stride + kernel - samples, 0)
    return total // 2, total - total // 2


def output_lengths(samples: int, strides: Sequence[int]) -> tuple[int, ...]:
    """Samples after each block."""
    lengths = []
    for stride in strides:
        samples = math.ceil(samples / stride)
        lengths.append(samples)
    return tuple(lengths)


def _batch_norm(filters: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(filters, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)


def _check_settings(
    n_leads: int,
    n_classes: int,
    samples: int,
    stem_filters: int,
    filters: Sequence[int],
    kernel: int,
    strides: Sequence[int],
    dropout: float,
) -> None:
    if not filters:
        raise LeadlightError("A residual network needs at least one block: filters is empty.")
    if len(strides) != len(filters):
        raise LeadlightError(
            f"filters names {len(filters)} blocks and strides {len(strides)}.",
            advice="Give one stride for all blocks or one for each.",
        )
    sizes = {
        "n_leads": n_leads,
        "n_classes": n_classes,
        "samples": samples,
        "stem_filters": stem_filters,
        "filters": min(filters),
        "kernel": kernel,
        "strides": min(strides),
    }
    for name, size in sizes.items():
        if size < 1:
            raise LeadlightError(f"{name} is {size}; it must be at least 1.")
    if not 0.0 <= dropout < 1.0:
        raise LeadlightError(f"dropout is {dropout}; it must be at least 0 and below 1.")
