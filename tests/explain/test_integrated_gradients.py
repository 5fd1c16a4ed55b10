"""Attribution of functions whose answer is known by hand, and of networks against Captum."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import captum.attr
import pytest
import torch
from torch import nn

from leadlight.classify.models import calibrate_batch_norm
from leadlight.classify.ribeiro import ResidualNetwork
from leadlight.errors import LeadlightError, ModelMismatch
from leadlight.explain.bfloat16 import in_bfloat16
from leadlight.explain.folding import fold_batch_norm
from leadlight.explain.integrated_gradients import integrated_gradients, points_per_pass


class Function(nn.Module):
    """A network that is a formula of (record, lead, sample)."""

    def __init__(self, formula) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.formula(x)


class Residual(nn.Module):
    """Convolutions, batch norm, a skip path and max-pooling, small."""

    def __init__(self, seed: int = 0, leads: int = 3, samples: int = 64) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv1d(leads, 8, 5, padding=2, bias=False)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Conv1d(8, 8, 5, padding=2)
        self.norm2 = nn.BatchNorm1d(8)
        self.pool = nn.MaxPool1d(4)
        self.dense = nn.Linear(8 * samples // 4, 3)
        for norm in (self.norm, self.norm2):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            norm.running_mean.uniform_(-0.3, 0.3)
            norm.running_var.uniform_(0.5, 2.0)
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.norm(self.first(x)))
        total = first + self.second(first)
        return self.dense(self.pool(torch.relu(self.norm2(total))).flatten(1))


def inputs(n: int = 4, leads: int = 3, samples: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.randn((n, leads, samples), generator=torch.Generator().manual_seed(seed))


def test_a_linear_function_gives_each_sample_weight_times_value():
    weight = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    network = Function(lambda x: torch.einsum("rls,cls->rc", x, weight) + 5.0)
    x = inputs(4, 3, 8)
    found = integrated_gradients(network, x, classes=[1, 0])
    torch.testing.assert_close(found.relevance, x[:, None] * weight[[1, 0]])
    torch.testing.assert_close(found.baseline_logit, torch.full((4, 2), 5.0).double())
    assert found.completeness_error.max() < 1e-5
    assert (found.steps == 18).all()


def test_two_factors_of_a_product_share_it_equally():
    network = Function(lambda x: (x[:, 0, 0] * x[:, 0, 1])[:, None])
    found = integrated_gradients(
        network, torch.tensor([[[3.0, -2.0]]]), classes=[0], tolerance=1e-5, max_steps=1458
    )
    torch.testing.assert_close(
        found.relevance[0, 0], torch.tensor([[-3.0, -3.0]]), rtol=1e-5, atol=0
    )


def test_a_relu_passes_relevance_from_its_breakpoint_on():
    # relu(x1 + x2 - 1) on the way to (3, 1): the gradient is 1 from a quarter of the way on.
    network = Function(lambda x: torch.relu(x[:, 0, 0] + x[:, 0, 1] - 1.0)[:, None])
    found = integrated_gradients(network, torch.tensor([[[3.0, 1.0]]]), classes=[0])
    torch.testing.assert_close(found.relevance[0, 0], torch.tensor([[2.25, 0.75]]))
    assert found.completeness_error.item() < 1e-6


def test_points_are_added_until_the_relevance_adds_up():
    # No part of 18 or 54 has an edge at the breakpoint.
    network = Function(lambda x: torch.relu(x[:, 0, 0] - 0.53)[:, None])
    x = torch.tensor([[[1.0]]])
    coarse = integrated_gradients(network, x, classes=[0], tolerance=0.5)
    fine = integrated_gradients(network, x, classes=[0], tolerance=0.01)
    assert coarse.steps.item() == 18
    assert fine.steps.item() > 18
    assert fine.converged.item()
    assert fine.completeness_error.item() <= 0.01
    assert fine.completeness_error.item() < coarse.completeness_error.item()
    exact_reach = 1 - 0.53
    assert fine.relevance.item() == pytest.approx(exact_reach, rel=0.01)


def test_a_record_that_never_adds_up_stops_at_the_most_steps_and_says_so():
    network = Function(lambda x: torch.relu(200 * x[:, 0, 0] - 199.99)[:, None] * 1e3)
    found = integrated_gradients(
        network, torch.tensor([[[1.0]]]), classes=[0], tolerance=1e-4, max_steps=54
    )
    assert found.steps.item() == 54
    assert not found.converged.item()
    assert found.completeness_error.item() > 0.1


def test_equal_logits_stop_by_the_absolute_rule_and_report_the_ratio_unchanged():
    # z(x) = z(0) = 0, relevance +1e-4 and -1e-4 up to a kink: the ratio is no guide.
    network = Function(lambda x: (x[:, 0, 0] ** 3 - x[:, 0, 1])[:, None])
    found = integrated_gradients(network, torch.tensor([[[1.0, 1.0 + 1e-6]]]), classes=[0])
    assert found.converged.item()
    assert found.completeness_error.item() > 0.02
    assert abs(found.relevance.sum().item()) < 0.02 * 0.1


def test_relevance_sums_to_the_difference_of_the_logits():
    network, x = Residual(), inputs()
    found = integrated_gradients(network, x, classes=[0, 1, 2], tolerance=1e-3, max_steps=4374)
    with torch.no_grad():
        difference = network(x) - network(torch.zeros_like(x))
    torch.testing.assert_close(
        found.relevance.sum(dim=(2, 3)), difference, rtol=1.1e-3, atol=1.1e-4
    )
    torch.testing.assert_close((found.logit - found.baseline_logit).float(), difference)


def test_relevance_from_another_baseline_sums_to_the_difference_from_it():
    network, x = Residual(), inputs()
    baseline = inputs(1, seed=9)[0]
    found = integrated_gradients(
        network, x, classes=[2], baseline=baseline, tolerance=1e-3, max_steps=4374
    )
    with torch.no_grad():
        difference = (network(x) - network(baseline[None]))[:, 2:]
    torch.testing.assert_close(
        found.relevance.sum(dim=(2, 3)), difference, rtol=1.1e-3, atol=1.1e-4
    )


def test_captum_gives_the_same_relevance():
    network, x = Residual(), inputs()
    found = integrated_gradients(network, x, classes=[0, 2], tolerance=1e-9, max_steps=486)
    for place, column in enumerate((0, 2)):
        peer = captum.attr.IntegratedGradients(network).attribute(
            x, target=column, n_steps=1000, method="riemann_middle", internal_batch_size=64
        )
        # Its points lie evenly and ours do not: they meet as both grow many.
        reach = 5e-3 * float(peer.abs().max())
        torch.testing.assert_close(found.relevance[:, place], peer.float(), rtol=0, atol=reach)


def test_a_record_has_the_same_relevance_alone_in_company_and_in_small_passes():
    network, x = Residual(), inputs(5)
    together = integrated_gradients(network, x, classes=[0, 1], tolerance=0.005)
    assert len(set(together.steps.flatten().tolist())) > 1, "some should stop before others"
    for record in range(5):
        alone = integrated_gradients(
            network, x[record : record + 1], classes=[0, 1], tolerance=0.005, memory_mb=0.2
        )
        assert alone.steps[0].tolist() == together.steps[record].tolist()
        torch.testing.assert_close(
            alone.relevance[0], together.relevance[record], rtol=1e-4, atol=1e-7
        )


def test_folding_batch_norm_changes_no_logit_and_no_gradient():
    network, x = Residual(), inputs(2)
    folded = fold_batch_norm(network, x[:1])
    assert sum(isinstance(m, nn.BatchNorm1d) for m in folded.modules()) == 1
    assert sum(isinstance(m, nn.BatchNorm1d) for m in network.modules()) == 2
    point = x.clone().requires_grad_(True)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(network(point).sum(), point)[0]
    torch.testing.assert_close(torch.autograd.grad(folded(point).sum(), point)[0], expected)


def test_batch_norm_is_not_folded_where_the_convolution_is_read_twice():
    class ReadTwice(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = self.first(x)
            total = torch.relu(self.norm(first)) + first
            return self.dense(self.pool(total).flatten(1))

    network, x = ReadTwice(), inputs(2)
    torch.testing.assert_close(fold_batch_norm(network, x[:1])(x), network(x))


def test_bfloat16_adds_up_as_measured_in_float32():
    network, x = Residual(), inputs()
    exact = integrated_gradients(network, x, classes=[0, 1], tolerance=0.03)
    fast = integrated_gradients(network, x, classes=[0, 1], tolerance=0.03, precision="bfloat16")
    assert fast.converged.all()
    torch.testing.assert_close(fast.logit, exact.logit, rtol=1e-6, atol=1e-6)
    closeness = nn.functional.cosine_similarity(
        fast.relevance.flatten(2), exact.relevance.flatten(2), dim=2
    )
    assert closeness.min() > 0.99


@pytest.mark.parametrize(
    ("change", "fault", "words"),
    [
        ({"classes": [3]}, ModelMismatch, "classes"),
        ({"tolerance": 0.0}, LeadlightError, "tolerance"),
        ({"memory_mb": 0.001}, LeadlightError, "memory"),
        ({"baseline": torch.zeros(3, 63)}, ModelMismatch, "baseline"),
        ({"inputs": torch.zeros(0, 3, 64)}, ModelMismatch, "at least one record"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(change, fault, words):
    asked = {"inputs": inputs(), "classes": [0]} | change
    with pytest.raises(fault, match=words):
        integrated_gradients(Residual(), asked.pop("inputs"), **asked)


def test_a_network_that_gives_nan_is_refused():
    network = Function(lambda x: (x.sum(dim=(1, 2)) / 0.0 * 0.0)[:, None])
    with pytest.raises(ModelMismatch, match="not finite"):
        integrated_gradients(network, inputs(), classes=[0])


def test_more_memory_lets_more_points_through():
    few = points_per_pass(Residual(), inputs(), [0], 1.0)
    many = points_per_pass(Residual(), inputs(), [0], 10.0)
    assert many == pytest.approx(10 * few, abs=10)


MEASURE = """
import re, torch
from pathlib import Path
def peak_mb():
    # Not getrusage: what a process starts from there is the size of the one that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
torch.set_num_threads(1)
from leadlight.classify.ribeiro import ResidualNetwork
from leadlight.explain.integrated_gradients import integrated_gradients, points_per_pass
network = ResidualNetwork(
    stem_filters=32, filters=(64, 64), strides=4, generator=torch.Generator().manual_seed(0)
).eval().requires_grad_(False)
x = torch.randn(3, 12, 4096, generator=torch.Generator().manual_seed(1)) * 0.2
options = dict(classes=[0, 4], tolerance=1e-9)
integrated_gradients(network, x, memory_mb=20, min_steps=1, max_steps=1, **options)
before = peak_mb()
points = points_per_pass(network, x, [0, 4], MEMORY)
integrated_gradients(network, x, memory_mb=MEMORY, min_steps=points, max_steps=points, **options)
print(points, peak_mb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
@pytest.mark.parametrize("memory_mb", [200, 400])
def test_the_peak_stays_within_the_memory_given(memory_mb):
    run = subprocess.run(
        [sys.executable, "-c", MEASURE.replace("MEMORY", str(memory_mb))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    points, grown_mb = run.stdout.split()
    assert int(points) > 4
    # The first call, with 20 MB, is in the base, and the results are in the growth.
    assert 0.5 * memory_mb < float(grown_mb) <= memory_mb


def test_bfloat16_gradients_of_the_published_network_are_those_of_float32():
    network = ResidualNetwork(generator=torch.Generator().manual_seed(0))
    x = inputs(2, 12, 4096) * 0.3
    calibrate_batch_norm(network, [x])
    network.eval().requires_grad_(False)
    fast = in_bfloat16(network, x[:1])
    assert fast is not None
    gradients = []
    for way in (network, fast):
        point = (x / 2).requires_grad_(True)
        gradients.append(torch.autograd.grad(way(point)[:, 4].sum(), point)[0].flatten(1))
    assert nn.functional.cosine_similarity(*gradients).min() > 0.8
    torch.testing.assert_close(fast(x), network(x), rtol=0.1, atol=0.1)


def test_bfloat16_is_not_used_where_its_gradients_are_wrong():
    # A gradient that bfloat16 cannot hold: large opposite weights that cancel.
    class Cancelling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spread = nn.Linear(8, 64)
            self.join = nn.Linear(64, 1)
            weight = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
            self.spread.weight.data = torch.cat([weight[:32] + 1e4, weight[32:] + 1e4])
            self.join.weight.data = torch.tensor([[1.0] * 32 + [-1.0] * 32])
            self.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.join(self.spread(x.flatten(1)))

    x = inputs(1, 1, 8)
    assert in_bfloat16(Cancelling(), x) is None
    exact = integrated_gradients(Cancelling(), x, classes=[0], tolerance=0.5)
    asked = integrated_gradients(Cancelling(), x, classes=[0], tolerance=0.5, precision="bfloat16")
    torch.testing.assert_close(asked.relevance, exact.relevance)


def test_a_class_has_the_same_relevance_whatever_other_classes_are_asked_for():
    network, x = Residual(), inputs()
    three = integrated_gradients(network, x, classes=[0, 1, 2], tolerance=0.005)
    one = integrated_gradients(network, x, classes=[1], tolerance=0.005)
    torch.testing.assert_close(one.relevance[:, 0], three.relevance[:, 1], rtol=1e-4, atol=1e-7)
    assert one.steps[:, 0].tolist() == three.steps[:, 1].tolist()


def test_nothing_of_a_pass_outlives_the_call():
    network, alive = Residual(), []

    def note(module: nn.Module, given: object, output: torch.Tensor) -> None:
        alive.append(weakref.ref(output))

    network.norm2.register_forward_hook(note)
    points_per_pass(network, inputs(), [0], 10.0)
    integrated_gradients(network, inputs(), classes=[0, 1])
    gc.collect()
    assert len(alive) > 2
    assert not any(one() is not None for one in alive)
