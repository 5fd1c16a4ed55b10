import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.classify.ribeiro import (
    ResidualNetwork,
    SameConv1d,
    SameMaxPool1d,
    same_padding,
)
from leadlight.errors import LeadlightError, ModelMismatch


def small(**changes: object) -> ResidualNetwork:
    settings: dict[str, object] = {
        "samples": 256,
        "stem_filters": 4,
        "filters": (6, 8),
        "kernel": 8,
        "generator": torch.Generator().manual_seed(0),
    }
    return ResidualNetwork(**{**settings, **changes}).eval()  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def published() -> ResidualNetwork:
    return ResidualNetwork(generator=torch.Generator().manual_seed(0)).eval()


def test_the_published_network_has_6425638_parameters_as_keras_counts_them(
    published: ResidualNetwork,
) -> None:
    trained = sum(p.numel() for p in published.parameters())
    running = sum(b.numel() for b in published.buffers() if b.ndim)
    assert (trained, running) == (6_421_910, 3_728)
    assert trained + running == 6_425_638


def test_each_block_of_the_published_network_is_four_times_shorter(
    published: ResidualNetwork,
) -> None:
    lengths = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: lengths.append(out[0].shape[1:]))
        for block in published.blocks
    ]
    with torch.inference_mode():
        logits = published(torch.zeros(1, 12, 4096))
    for hook in hooks:
        hook.remove()
    assert lengths == [(128, 1024), (196, 256), (256, 64), (320, 16)]
    assert published.lengths == (1024, 256, 64, 16)
    assert logits.shape == (1, 6)


def test_padding_of_even_kernels_has_the_odd_zero_after() -> None:
    assert same_padding(4096, 16, 1) == (7, 8)
    assert [same_padding(n, 16, 4) for n in (4096, 1024, 256, 64)] == [(6, 6)] * 4
    assert same_padding(4095, 16, 4) == (6, 7)
    assert same_padding(8, 3, 1) == (1, 1)
    assert same_padding(10, 1, 4) == (0, 0)


@given(
    samples=st.integers(1, 300),
    kernel=st.integers(1, 33),
    stride=st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_convolution_gives_samples_over_stride_rounded_up(
    samples: int, kernel: int, stride: int
) -> None:
    out = SameConv1d(1, 1, kernel, stride)(torch.zeros(1, 1, samples))
    assert out.shape[-1] == math.ceil(samples / stride)


def test_a_convolution_weighs_samples_as_tensorflow_does() -> None:
    # An impulse at sample 100 through kernel k at stride 1 puts k[j] at 100 + 7 - j.
    conv = SameConv1d(1, 1, 16)
    conv.weight.data = torch.arange(16.0).reshape(1, 1, 16)
    signal = torch.zeros(1, 1, 200)
    signal[0, 0, 100] = 1
    out = conv(signal)[0, 0]
    assert [int(out[100 + 7 - j]) for j in range(16)] == list(range(16))


def test_pooling_takes_the_maximum_of_negative_values_at_the_ends() -> None:
    # 6 samples in windows of 4: one of padding on each side, which must not win as zero.
    out = SameMaxPool1d(4)(torch.tensor([[[-5.0, -4.0, -3.0, -2.0, -9.0, -8.0]]]))
    assert out.tolist() == [[[-3.0, -2.0]]]


def test_the_dense_layer_sees_time_major_activations() -> None:
    network = small()
    seen: dict[str, torch.Tensor] = {}
    network.blocks[-1].register_forward_hook(lambda _m, _i, out: seen.update(main=out[0]))
    network.dense.register_forward_hook(lambda _m, given, _o: seen.update(flat=given[0]))
    with torch.inference_mode():
        network(torch.randn(1, 12, 256))
    main, flat = seen["main"][0].numpy(), seen["flat"][0].numpy()
    n_filters = main.shape[0]
    for moment, filter_ in ((0, 0), (0, 5), (3, 2), (15, 7)):
        assert flat[moment * n_filters + filter_] == main[filter_, moment]


def test_mean_pooling_does_not_depend_on_where_the_record_lies_in_a_long_input() -> None:
    network = small(pooling="mean", samples=1024)
    signal = torch.zeros(2, 12, 1024)
    burst = torch.randn(12, 64)
    signal[0, :, 256:320] = burst
    signal[1, :, 512:576] = burst
    with torch.inference_mode():
        first, second = network(signal)
    assert torch.allclose(first, second, atol=1e-6)
    assert network.dense.in_features == 8


def test_a_block_that_keeps_its_filters_has_no_projection() -> None:
    network = small(filters=(4, 4), strides=(1, 2))
    assert not any(".project" in name for name in network.state_dict())
    with torch.inference_mode():
        assert network(torch.randn(2, 12, 256)).shape == (2, 6)


def test_the_same_generator_seed_gives_the_same_network() -> None:
    one, other = small(), small()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_fresh_weights_have_he_variance() -> None:
    weight = ResidualNetwork(generator=torch.Generator().manual_seed(1)).blocks[2].conv2.weight
    fan_in = weight[0].numel()
    assert np.isclose(weight.std().item(), math.sqrt(2 / fan_in), rtol=0.01)
    assert weight.abs().max().item() <= 2 * math.sqrt(2 / fan_in) / 0.8796 + 1e-6


def test_an_input_of_another_shape_is_refused_with_both_shapes() -> None:
    with pytest.raises(ModelMismatch, match=r"12 leads, 256 samples.*\(1, 8, 256\)"):
        small()(torch.zeros(1, 8, 256))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": ()}, "at least one block"),
        ({"strides": (4,)}, "2 blocks and strides 1"),
        ({"kernel": 0}, "kernel is 0"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"pooling": "max"}, 'pooling is "max"'),
    ],
)
def test_impossible_settings_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(LeadlightError, match=message):
        small(**change)


@pytest.mark.parametrize("n_leads", [8, 12])
def test_bfloat16_gives_the_logits_of_float32_up_to_rounding(n_leads: int) -> None:
    """A processor's bfloat16 convolution was found wrong for few input channels."""
    network = ResidualNetwork(
        n_leads=n_leads, samples=512, stem_filters=24, filters=(32, 48),
        generator=torch.Generator().manual_seed(0),
    ).eval()  # fmt: skip
    x = torch.randn(4, n_leads, 512, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network(x).float()
    assert float((found - expected).norm() / expected.norm()) < 0.03
