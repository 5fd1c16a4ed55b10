import pytest
import torch

from leadlight.ecg.delineation.network import (
    N_WAVES,
    STEP,
    DelineationNetwork,
    as_phases,
    folded_copy,
)
from leadlight.ecg.delineation.weights import load_network
from leadlight.ecg.leads import LEADS

SAMPLES = 1600


@pytest.fixture(scope="session")
def strip() -> torch.Tensor:
    """(record, lead, sample) three bumps a second on a slope, another size in every lead."""
    t = torch.arange(SAMPLES) / 500.0
    beats = sum(torch.exp(-0.5 * ((t - at) / 0.012) ** 2) for at in (0.5, 1.3, 2.1, 2.9))
    generator = torch.Generator().manual_seed(3)
    noise = 0.01 * torch.randn(2, 12, SAMPLES, generator=generator)
    return torch.linspace(-1, 1.2, 12)[None, :, None] * beats + 0.1 * t + noise


@pytest.fixture(scope="session")
def places() -> torch.Tensor:
    return torch.arange(12).expand(2, 12)


@torch.inference_mode()
def test_folding_the_normalisation_changes_nothing(strip, places):
    torch.manual_seed(0)
    network = DelineationNetwork()
    network.train()
    for _ in range(3):
        network(strip, places)  # statistics that are not those of a fresh layer
    whole = network.eval()(strip, places)
    torch.testing.assert_close(folded_copy(network)(strip, places), whole, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_leads_in_another_order_are_read_alike(strip, places):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    network = load_network()
    straight = network(strip, places)
    torch.testing.assert_close(
        network(strip[:, order], places[:, order]), straight[:, order], atol=2e-3, rtol=1e-3
    )


@torch.inference_mode()
def test_records_side_by_side_are_read_as_if_alone(strip, places):
    network = load_network()
    torch.testing.assert_close(
        network(strip, places)[1:], network(strip[1:], places[1:]), atol=2e-3, rtol=1e-3
    )


@torch.inference_mode()
@pytest.mark.parametrize("leads", [1, 3])
def test_any_leads_give_a_share_for_every_step(strip, leads):
    unknown = torch.full((2, leads), len(LEADS))
    shares = load_network()(strip[:, :leads], unknown)
    assert shares.shape == (2, leads, N_WAVES, SAMPLES // STEP)
    assert shares.isfinite().all()


@torch.inference_mode()
def test_bfloat16_reads_as_float32_does(strip, places):
    # oneDNN's bfloat16 convolutions of few channels have been seen to give wrong values; training
    # runs in bfloat16, so the layers that it uses it for have to be right.
    network = load_network()
    exact = torch.sigmoid(network(strip, places))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = torch.sigmoid(network(strip, places).float())
    assert (rounded - exact).abs().mean() < 3e-3
    assert (rounded - exact).abs().quantile(0.999) < 0.1


def test_offset_and_size_do_not_reach_the_network(strip):
    plain = as_phases(50 * strip)
    torch.testing.assert_close(as_phases(50 * strip + 2.0), plain, atol=1e-3, rtol=1e-3)
    assert plain.square().mean(dim=(2, 3)).allclose(torch.tensor(1.0), atol=0.15)
