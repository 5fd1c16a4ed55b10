"""Which array of a Keras file is which part of the Ribeiro network.

A saved Keras model lists its layers in `model_config`. From the dense layer backwards that graph is
followed, and every setting that the weights alone do not tell (strides, padding, epsilon, the order
of batch norm and ReLU) is checked against what our network computes. Without that list, layers are
sorted by the order in which they were created, which their names count.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import numpy.typing as npt

from leadlight.classify.ribeiro import BATCH_NORM_EPSILON
from leadlight.errors import ModelMismatch

Floats = npt.NDArray[np.float32]
Arrays = Mapping[str, Floats]

NORM_WEIGHTS = ("gamma", "beta", "moving_mean", "moving_variance")
_PUBLISHED_STRIDE = 4


@dataclass(frozen=True)
class KerasBlock:
    """One residual block's arrays as Keras lays them out; `project` is None without a 1x1 one."""

    conv1: Floats
    norm1: Arrays
    conv2: Floats
    project: Floats | None
    norm2: Arrays
    stride: int


@dataclass(frozen=True)
class KerasNetwork:
    """The network's arrays in the order of the computation."""

    stem: Floats
    stem_norm: Arrays
    blocks: list[KerasBlock]
    dense: Arrays
    samples: int
    dropout: float = 0.0
    pooling: str = "flatten"


def network_from_graph(layers: Mapping[str, Arrays], config: Mapping[str, Any]) -> KerasNetwork:
    """Follow the graph of `model_config` from the dense layer back to the input."""
    graph = _graph(config)
    consumed = {name for layer in graph.values() for name in layer.inputs}
    ends = [layer for layer in graph.values() if layer.name not in consumed]
    if len(ends) != 1:
        raise ModelMismatch(f"The Keras model has {len(ends)} outputs; one was expected.")
    dense = _expected(ends[0], "Dense", activation=("sigmoid", "linear"))
    before_dense = _before(graph, dense)
    pooling = {"Flatten": "flatten", "GlobalAveragePooling1D": "mean"}.get(before_dense.kind)
    if pooling is None:
        raise _unexpected(before_dense, "Flatten")
    norm, source, _ = _behind_activation(graph, _before(graph, before_dense))
    blocks: list[KerasBlock] = []
    while source.kind == "Add":
        conv2, shortcut = _main_and_skip(graph, source)
        norm1, conv1, _ = _behind_activation(graph, _before(graph, conv2))
        _check_convolution(conv1, strides=1)
        previous_norm, previous, activation = _behind_activation(graph, _before(graph, conv1))
        origin = previous if previous.kind == "Add" else activation
        stride = int(_first(conv2.config.get("strides", 1)))
        project = _skip_path(graph, shortcut, origin, stride)
        blocks.insert(
            0,
            KerasBlock(
                conv1=_array(layers, conv1, "kernel"),
                norm1=_norm(layers, norm1),
                conv2=_array(layers, conv2, "kernel"),
                project=None if project is None else _array(layers, project, "kernel"),
                norm2=_norm(layers, norm),
                stride=stride,
            ),
        )
        norm, source = previous_norm, previous
    _check_convolution(source, strides=1)
    entry = _expected(_before(graph, source), "InputLayer")
    shape = entry.config.get("batch_input_shape") or entry.config.get("batch_shape")
    if not shape or len(shape) != 3 or not shape[1]:
        raise ModelMismatch(f"The Keras input is {shape}; (None, samples, leads) was expected.")
    rates = [layer.config.get("rate", 0.0) for layer in graph.values() if layer.kind == "Dropout"]
    return KerasNetwork(
        stem=_array(layers, source, "kernel"),
        stem_norm=_norm(layers, norm),
        blocks=blocks,
        dense={key: _array(layers, dense, key) for key in ("kernel", "bias")},
        samples=int(shape[1]),
        dropout=float(rates[0]) if rates else 0.0,
        pooling=pooling,
    )


def network_from_creation_order(layers: Mapping[str, Arrays]) -> KerasNetwork:
    """Sort layers by the number in their names, as Keras counts them while the network is built.

    The file does not tell strides; they are taken to be the published 4.
    """
    ordered = [layers[name] for name in sorted(layers, key=_creation_index)]
    kernels = [arrays["kernel"] for arrays in ordered if set(arrays) == {"kernel"}]
    wide = [kernel for kernel in kernels if kernel.ndim == 3 and kernel.shape[0] > 1]
    projections = [kernel for kernel in kernels if kernel.ndim == 3 and kernel.shape[0] == 1]
    norms = [arrays for arrays in ordered if set(arrays) == set(NORM_WEIGHTS)]
    dense = [arrays for arrays in ordered if set(arrays) == {"kernel", "bias"}]
    n_blocks = len(wide) // 2
    if len(wide) % 2 != 1 or len(norms) != len(wide) or len(dense) != 1 or n_blocks == 0:
        raise ModelMismatch(
            f"The file has {len(wide)} convolutions without bias, {len(norms)} batch norms and "
            f"{len(dense)} dense layers; one of each for the stem, two of each for a block and one "
            "dense layer were expected."
        )
    blocks = []
    for index in range(n_blocks):
        conv1, conv2 = wide[1 + 2 * index], wide[2 + 2 * index]
        changes = conv1.shape[1] != conv1.shape[2]
        if changes and not projections:
            raise ModelMismatch(
                f"Block {index + 1} goes from {conv1.shape[1]} to {conv1.shape[2]} filters and the "
                "file has no 1x1 convolution for it."
            )
        blocks.append(
            KerasBlock(
                conv1=conv1,
                norm1=norms[1 + 2 * index],
                conv2=conv2,
                project=projections.pop(0) if changes else None,
                norm2=norms[2 + 2 * index],
                stride=_PUBLISHED_STRIDE,
            )
        )
    moments = dense[0]["kernel"].shape[0] // blocks[-1].conv2.shape[2]
    return KerasNetwork(
        stem=wide[0],
        stem_norm=norms[0],
        blocks=blocks,
        dense=dense[0],
        samples=moments * _PUBLISHED_STRIDE**n_blocks,
    )


def _creation_index(name: str) -> int:
    number = re.search(r"_(\d+)$", name)
    return int(number[1]) if number else 0


@dataclass(frozen=True)
class _Layer:
    """One node of `model_config`."""

    name: str
    kind: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]


def _graph(config: Mapping[str, Any]) -> dict[str, _Layer]:
    try:
        nodes = config["config"]["layers"]
        graph = {
            node["config"]["name"]: _Layer(
                name=node["config"]["name"],
                kind=node["class_name"],
                config=node["config"],
                inputs=tuple(_inbound(node.get("inbound_nodes", []))),
            )
            for node in nodes
        }
        TopologicalSorter({layer.name: layer.inputs for layer in graph.values()}).prepare()
    except (KeyError, TypeError, CycleError) as error:
        raise ModelMismatch(
            "model_config is not that of a functional Keras model.",
            advice="Save the network as a functional model, as the published code does.",
        ) from error
    return graph


def _inbound(value: Any) -> Iterator[str]:
    """Names of the layers that feed a node, as Keras 2 (lists) and 3 (histories) write them."""
    if isinstance(value, Mapping):
        history = value.get("keras_history")
        if history:
            yield history[0]
        else:
            for inner in value.values():
                yield from _inbound(inner)
    elif isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str):
            yield value[0]
        else:
            for inner in value:
                yield from _inbound(inner)


def _main_and_skip(graph: Mapping[str, _Layer], total: _Layer) -> tuple[_Layer, _Layer]:
    """The convolution that ends the main path and the layer that ends the skip path."""
    inputs = [graph[name] for name in total.inputs]
    main = [
        layer
        for layer in inputs
        if layer.kind == "Conv1D" and _first(layer.config.get("kernel_size", 1)) > 1
    ]
    if len(inputs) != 2 or len(main) != 1:
        found = ", ".join(f"{layer.name} ({layer.kind})" for layer in inputs)
        raise ModelMismatch(
            f'The sum "{total.name}" joins {found}; a convolution and a skip path were expected.'
        )
    _check_convolution(main[0])
    return main[0], inputs[1] if inputs[0] is main[0] else inputs[0]


def _skip_path(
    graph: Mapping[str, _Layer], end: _Layer, origin: _Layer, stride: int
) -> _Layer | None:
    """Check max-pooling and 1x1 convolution up to `origin`; the convolution, where there is one."""
    project = None
    if end.kind == "Conv1D":
        _check_convolution(end, strides=1, kernel_size=1)
        project, end = end, _before(graph, end)
    if stride > 1:
        pool = _expected(end, "MaxPooling1D", padding=("same",))
        sizes = (_first(pool.config.get("pool_size", 2)), _first(pool.config.get("strides", 2)))
        if sizes != (stride, stride):
            raise ModelMismatch(
                f'"{pool.name}" pools {sizes[0]} samples in steps of {sizes[1]}; {stride} of the '
                "main path's convolution were expected."
            )
        end = _before(graph, pool)
    if end.name != origin.name:
        raise ModelMismatch(
            f'A skip path starts at "{end.name}"; the sum before batch norm, "{origin.name}", was '
            "expected."
        )
    return project


def _behind_activation(graph: Mapping[str, _Layer], layer: _Layer) -> tuple[_Layer, _Layer, _Layer]:
    """What lies before dropout, ReLU and batch norm: (norm, what it normalises, activation)."""
    while layer.kind == "Dropout":
        layer = _before(graph, layer)
    if layer.kind != "ReLU":
        _expected(layer, "Activation", activation=("relu",))
    norm = _expected(_before(graph, layer), "BatchNormalization", center=(True,), scale=(True,))
    epsilon = float(norm.config.get("epsilon", 1e-3))
    if not np.isclose(epsilon, BATCH_NORM_EPSILON, rtol=1e-3):
        raise ModelMismatch(
            f'"{norm.name}" has epsilon {epsilon:g}; {BATCH_NORM_EPSILON:g} was expected.'
        )
    return norm, _before(graph, norm), layer


def _check_convolution(layer: _Layer, **sizes: int) -> None:
    _expected(
        layer,
        "Conv1D",
        padding=("same",),
        use_bias=(False,),
        activation=("linear", None),
        data_format=("channels_last",),
        dilation_rate=(1,),
        groups=(1,),
        **{name: (size,) for name, size in sizes.items()},
    )


def _expected(layer: _Layer, kind: str, **settings: tuple[Any, ...]) -> _Layer:
    """The layer itself when it is of that kind; a setting that the file leaves out is Keras' own.

    Raises:
        ModelMismatch: it is another, or a setting is none of those given.
    """
    if layer.kind != kind:
        raise _unexpected(layer, kind)
    for name, allowed in settings.items():
        if name in layer.config and _first(layer.config[name]) not in allowed:
            raise ModelMismatch(
                f'"{layer.name}" has {name} {layer.config[name]}; '
                f"{' or '.join(str(value) for value in allowed)} was expected."
            )
    return layer


def _unexpected(layer: _Layer, kind: str) -> ModelMismatch:
    return ModelMismatch(
        f'"{layer.name}" is a {layer.kind} where the Ribeiro network has a {kind}.',
        advice="Only networks of that family are converted.",
    )


def _before(graph: Mapping[str, _Layer], layer: _Layer) -> _Layer:
    if len(layer.inputs) != 1 or layer.inputs[0] not in graph:
        raise ModelMismatch(f'"{layer.name}" has inputs {layer.inputs}; one layer was expected.')
    return graph[layer.inputs[0]]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and value else value


def _array(layers: Mapping[str, Arrays], layer: _Layer, weight: str) -> Floats:
    try:
        return layers[layer.name][weight]
    except KeyError as error:
        raise ModelMismatch(f'The file has no weights "{weight}" of "{layer.name}".') from error


def _norm(layers: Mapping[str, Arrays], layer: _Layer) -> Arrays:
    return {name: _array(layers, layer, name) for name in NORM_WEIGHTS}
