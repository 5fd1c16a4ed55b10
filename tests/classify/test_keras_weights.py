"""The converter against a NumPy network written from the paper, on files in Keras' layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from leadlight.classify.keras_weights import (
    RIBEIRO_CLASSES,
    RIBEIRO_LEADS,
    RIBEIRO_THRESHOLDS,
    convert_keras,
)
from leadlight.classify.models import check_model, load_model, save_model
from leadlight.errors import LeadlightError, ModelMismatch

Weights = dict[str, dict[str, np.ndarray]]


class KerasNetwork:
    """Random weights of a Ribeiro network under Keras' names, in Keras' order of creation."""

    def __init__(
        self,
        seed: int = 0,
        samples: int = 256,
        leads: int = 12,
        classes: int = 6,
        stem: int = 5,
        filters: tuple[int, ...] = (6, 7),
        kernel: int = 16,
        strides: tuple[int, ...] = (4, 4),
        first_index: int = 0,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.samples, self.leads, self.classes = samples, leads, classes
        self.weights: Weights = {}
        self.nodes: list[dict[str, Any]] = []
        self.counts = {"conv1d": first_index, "batch_normalization": first_index}
        self.add("InputLayer", "signal", [], batch_input_shape=[None, samples, leads])
        before = stem
        x = self.activated(self.convolution("signal", leads, stem, kernel))
        y, length = x, samples
        self.blocks = []
        for n_out, stride in zip(filters, strides, strict=True):
            if stride > 1:
                y = self.add(
                    "MaxPooling1D", "max_pooling1d", [y], True,
                    pool_size=[stride], strides=[stride], padding="same",
                )  # fmt: skip
            project = None
            if before != n_out:
                project = y = self.convolution(y, before, n_out, 1)
            conv1 = self.convolution(x, before, n_out, kernel)
            x = self.add("Dropout", "dropout", [self.activated(conv1)], True, rate=0.8)
            conv2 = self.convolution(x, n_out, n_out, kernel, stride)
            y = self.add("Add", "add", [conv2, y], True)
            self.blocks.append((project, conv1, conv2, stride))
            x = self.add("Dropout", "dropout", [self.activated(y)], True, rate=0.8)
            before, length = n_out, -(-length // stride)
        self.add("Flatten", "flatten", [x], data_format="channels_last")
        self.add("Dense", "dense", ["flatten"], activation="sigmoid", units=classes)
        self.weights["dense"] = {
            "kernel": self.rng.normal(size=(length * before, classes)) * 0.05,
            "bias": self.rng.normal(size=classes),
        }

    def add(
        self, kind: str, name: str, inputs: list[str], count: bool = False, **config: Any
    ) -> str:
        if count:
            index = self.counts.get(name, 0)
            self.counts[name] = index + 1
            name = f"{name}_{index}" if index else name
        nodes = [[[i, 0, 0, {}] for i in inputs]] if inputs else []
        self.nodes.append(
            {"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": nodes}
        )
        return name

    def convolution(self, x: str, n_in: int, n_out: int, kernel: int, stride: int = 1) -> str:
        name = self.add(
            "Conv1D", "conv1d", [x], True, kernel_size=[kernel], strides=[stride],
            padding="same", use_bias=False, activation="linear", dilation_rate=[1],
            data_format="channels_last",
        )  # fmt: skip
        scale = (2 / (kernel * n_in)) ** 0.5
        self.weights[name] = {"kernel": self.rng.normal(size=(kernel, n_in, n_out)) * scale}
        return name

    def activated(self, x: str) -> str:
        name = self.add(
            "BatchNormalization", "batch_normalization", [x], True,
            axis=[2], epsilon=0.001, momentum=0.99, center=True, scale=True,
        )  # fmt: skip
        n = self.weights[x]["kernel"].shape[2] if x in self.weights else self.width_of_sum(x)
        self.weights[name] = {
            "gamma": self.rng.uniform(0.5, 1.5, n),
            "beta": self.rng.normal(size=n) * 0.3,
            "moving_mean": self.rng.normal(size=n) * 0.3,
            "moving_variance": self.rng.uniform(0.3, 2.0, n),
        }
        return self.add("Activation", "activation", [name], True, activation="relu")

    def width_of_sum(self, x: str) -> int:
        node = next(node for node in self.nodes if node["config"]["name"] == x)
        return int(self.weights[node["inbound_nodes"][0][0][0]]["kernel"].shape[2])

    def config(self) -> dict[str, Any]:
        return {"class_name": "Model", "config": {"name": "model_1", "layers": self.nodes}}

    def write(self, path: Path, whole: bool = True) -> Path:
        with h5py.File(path, "w") as file:
            root = file.create_group("model_weights") if whole else file
            if whole:
                file.attrs["model_config"] = json.dumps(self.config()).encode()
                file.attrs["keras_version"] = b"2.2.4"
            names = [node["config"]["name"] for node in self.nodes]
            root.attrs["layer_names"] = [name.encode() for name in names]
            for name in names:
                group = root.create_group(name)
                arrays = self.weights.get(name, {})
                group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in arrays]
                for key, values in arrays.items():
                    group[f"{name}/{key}:0"] = values.astype(np.float32)
        return path

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(record, sample, lead) to (record, class) in float64, from the paper's description."""
        w = {
            layer: {k: v.astype(np.float32).astype(np.float64) for k, v in arrays.items()}
            for layer, arrays in self.weights.items()
        }
        norms = iter(name for name in w if name.startswith("batch"))

        def conv(x: np.ndarray, kernel: np.ndarray, stride: int = 1) -> np.ndarray:
            n, width = x.shape[1], kernel.shape[0]
            n_out = -(-n // stride)
            missing = max((n_out - 1) * stride + width - n, 0)
            left = missing // 2
            x = np.concatenate(
                [
                    np.zeros((len(x), left, x.shape[2])),
                    x,
                    np.zeros((len(x), missing - left, x.shape[2])),
                ],
                axis=1,
            )
            out = [
                np.einsum("rki,kio->ro", x[:, t * stride : t * stride + width], kernel)
                for t in range(n_out)
            ]
            return np.stack(out, axis=1)

        def normal_relu(x: np.ndarray) -> np.ndarray:
            n = w[next(norms)]
            x = n["gamma"] * (x - n["moving_mean"]) / np.sqrt(n["moving_variance"] + 0.001)
            return np.maximum(x + n["beta"], 0)

        def pool(x: np.ndarray, width: int) -> np.ndarray:
            n_out = -(-x.shape[1] // width)
            left = (n_out * width - x.shape[1]) // 2
            edges = [max(t * width - left, 0) for t in range(n_out)]
            ends = [(t + 1) * width - left for t in range(n_out)]
            return np.stack([x[:, a:b].max(axis=1) for a, b in zip(edges, ends, strict=True)], 1)

        # Norms were made in this very order: stem, then two for each block.
        main = carried = normal_relu(conv(x, w[self.first_convolution()]["kernel"]))
        for project, conv1, conv2, stride in self.blocks:
            carried = pool(carried, stride)
            if project is not None:
                carried = carried @ w[project]["kernel"][0]
            main = normal_relu(conv(main, w[conv1]["kernel"]))
            carried = conv(main, w[conv2]["kernel"], stride) + carried
            main = normal_relu(carried)
        flat = main.reshape(len(main), -1)
        return flat @ w["dense"]["kernel"] + w["dense"]["bias"]

    def first_convolution(self) -> str:
        return next(name for name in self.weights if name.startswith("conv"))


def worst_error(network: torch.nn.Module, keras: KerasNetwork, records: int = 3) -> float:
    """Largest difference of logits, over their spread."""
    x = np.random.default_rng(7).normal(size=(records, keras.samples, keras.leads))
    x = x.astype(np.float32)
    expected = keras.logits(x.astype(np.float64))
    with torch.inference_mode():
        found = network(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1)))).numpy()
    return float(np.abs(found - expected).max() / expected.std())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"first_index": 17},
        {"samples": 250, "strides": (4, 4)},
        {"samples": 128, "strides": (2, 1), "filters": (5, 8), "kernel": 7},
        {"filters": (5, 5, 5), "strides": (4, 2, 2), "leads": 12, "kernel": 9},
    ],
    ids=["published kind", "later names", "odd lengths", "other strides", "equal filters"],
)
def test_converted_weights_give_the_logits_of_the_keras_network(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    keras = KerasNetwork(**settings)
    network, card = convert_keras(keras.write(tmp_path / "model.hdf5"))
    assert worst_error(network, keras) < 1e-5
    assert card.output.classes == RIBEIRO_CLASSES


@pytest.mark.slow
def test_the_full_size_network_converts_to_the_same_logits(tmp_path: Path) -> None:
    keras = KerasNetwork(samples=4096, stem=64, filters=(128, 196, 256, 320), strides=(4, 4, 4, 4))
    network, card = convert_keras(keras.write(tmp_path / "model.hdf5"))
    save_model(network, card, tmp_path / "ours", half=False)
    loaded = load_model(tmp_path / "ours")
    assert check_model(loaded).n_parameters == 6_425_638
    assert loaded.card.model.architecture_settings.strides == (4, 4, 4, 4)
    assert worst_error(loaded.network, keras, records=1) < 1e-5


def test_weights_without_a_graph_are_read_by_their_order_of_creation(tmp_path: Path) -> None:
    keras = KerasNetwork(first_index=8)  # _9 and _10: order by number, not by letter
    network, _ = convert_keras(keras.write(tmp_path / "weights.h5", whole=False))
    assert worst_error(network, keras) < 1e-5


def test_the_card_of_a_converted_model(tmp_path: Path) -> None:
    _, card = convert_keras(KerasNetwork().write(tmp_path / "model.hdf5"))
    assert card.input.rate_hz == 400
    assert card.input.samples == 256
    assert card.input.padding == "both"
    assert card.input.leads == RIBEIRO_LEADS
    assert card.output.thresholds == RIBEIRO_THRESHOLDS
    assert card.model.architecture_settings.dropout == 0.8
    assert "not known from the file" in card.limits[0]
    order = tuple(reversed(RIBEIRO_LEADS))
    _, card = convert_keras(
        tmp_path / "model.hdf5",
        leads=order,
        unit_scale=10.0,
        padding="end",
        classes=tuple("abcdef"),
    )
    assert (card.input.leads, card.input.unit_scale, card.input.padding) == (order, 10.0, "end")
    assert card.output.thresholds == {}


def test_leads_and_classes_must_fit_the_file(tmp_path: Path) -> None:
    path = KerasNetwork(leads=8, classes=5).write(tmp_path / "model.hdf5")
    with pytest.raises(ModelMismatch, match="8 leads and 12 are named"):
        convert_keras(path)
    eight = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    with pytest.raises(ModelMismatch, match="5 outputs and 6 classes"):
        convert_keras(path, leads=eight)
    network, card = convert_keras(path, leads=eight, classes=tuple("abcde"))
    assert network(torch.zeros(1, 8, 256)).shape == (1, len(card.output.classes))


def change(kind: str, nth: int, **config: Any) -> Callable[[KerasNetwork], None]:
    def apply(keras: KerasNetwork) -> None:
        found = [node for node in keras.nodes if node["class_name"] == kind]
        found[nth]["config"].update(config)

    return apply


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (change("Conv1D", 0, padding="valid"), '"conv1d" has padding valid; same was expected'),
        (change("Conv1D", 3, use_bias=True), "has use_bias True; False was expected"),
        (change("Conv1D", 2, strides=[2]), r"has strides \[2\]; 1 was expected"),
        (change("MaxPooling1D", 1, pool_size=[2]), "pools 2 samples in steps of 4"),
        (change("BatchNormalization", 2, epsilon=1e-5), "epsilon 1e-05; 0.001 was expected"),
        (change("Activation", 1, activation="elu"), "has activation elu; relu was expected"),
        (change("Dense", 0, activation="softmax"), "softmax; sigmoid or linear was expected"),
        (change("InputLayer", 0, batch_input_shape=[None, None, 12]), "samples, leads"),
    ],
)
def test_a_network_of_another_kind_is_refused(
    tmp_path: Path, fault: Callable[[KerasNetwork], None], message: str
) -> None:
    keras = KerasNetwork()
    fault(keras)
    with pytest.raises(ModelMismatch, match=message):
        convert_keras(keras.write(tmp_path / "model.hdf5"))


def test_a_skip_path_after_batch_norm_is_refused(tmp_path: Path) -> None:
    keras = KerasNetwork()
    pool = [node for node in keras.nodes if node["class_name"] == "MaxPooling1D"][1]
    pool["inbound_nodes"] = [[["dropout_1", 0, 0, {}]]]
    with pytest.raises(ModelMismatch, match=r'starts at "dropout_1".*"add"'):
        convert_keras(keras.write(tmp_path / "model.hdf5"))


def test_a_graph_that_runs_in_a_circle_is_refused(tmp_path: Path) -> None:
    keras = KerasNetwork()
    keras.nodes[2]["inbound_nodes"] = [[["activation", 0, 0, {}]]]
    with pytest.raises(ModelMismatch, match="functional Keras model"):
        convert_keras(keras.write(tmp_path / "model.hdf5"))


@pytest.mark.parametrize("whole", [True, False])
def test_an_array_of_a_wrong_shape_is_refused(tmp_path: Path, whole: bool) -> None:
    keras = KerasNetwork()
    keras.weights["conv1d_3"]["kernel"] = np.zeros((16, 6, 9))
    with pytest.raises(
        ModelMismatch, match=r"blocks\.0\.conv2\.weight.*\(9, 6, 16\).*\(6, 6, 16\)"
    ):
        convert_keras(keras.write(tmp_path / "model.hdf5", whole=whole))


def test_links_in_the_file_are_not_followed(tmp_path: Path) -> None:
    KerasNetwork(seed=1).write(tmp_path / "other.hdf5")
    path = "model_weights/dense/dense/kernel:0"
    for link in (h5py.ExternalLink("other.hdf5", path), h5py.SoftLink("/model_weights/conv1d")):
        file = KerasNetwork().write(tmp_path / "model.hdf5")
        with h5py.File(file, "r+") as h5:
            del h5[path]
            h5[path] = link
        with pytest.raises(LeadlightError, match="link to somewhere else"):
            convert_keras(file)
    with h5py.File(tmp_path / "whole.hdf5", "w") as h5:
        h5["model_weights"] = h5py.ExternalLink("other.hdf5", "model_weights")
    with pytest.raises(LeadlightError, match="link to somewhere else"):
        convert_keras(tmp_path / "whole.hdf5")


def test_values_outside_the_file_are_not_read(tmp_path: Path) -> None:
    file = KerasNetwork().write(tmp_path / "model.hdf5")
    (tmp_path / "raw.bin").write_bytes(b"\0" * 4096)
    with h5py.File(file, "r+") as h5:
        del h5["model_weights/dense/dense/bias:0"]
        h5["model_weights/dense"].create_dataset(
            "dense/bias:0", (6,), "f4", external=[(str(tmp_path / "raw.bin"), 0, 24)]
        )
    with pytest.raises(LeadlightError, match="outside the file"):
        convert_keras(file)


def test_converting_does_not_touch_the_file(tmp_path: Path) -> None:
    file = KerasNetwork().write(tmp_path / "model.hdf5")
    file.chmod(0o400)
    before = file.read_bytes()
    convert_keras(file)
    assert file.read_bytes() == before


def test_files_that_keras_did_not_write_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(LeadlightError, match="cannot be opened as HDF5"):
        convert_keras(tmp_path / "text.h5")
    with pytest.raises(LeadlightError, match="cannot be opened"):
        convert_keras(tmp_path / "absent.h5")
    with h5py.File(tmp_path / "other.h5", "w") as h5:
        h5["data"] = np.zeros(3)
    with pytest.raises(LeadlightError, match="holds no Keras layers"):
        convert_keras(tmp_path / "other.h5")
    file = KerasNetwork().write(tmp_path / "bad.h5")
    with h5py.File(file, "r+") as h5:
        h5.attrs["model_config"] = b"{"
    with pytest.raises(LeadlightError, match="no Keras file that can be read"):
        convert_keras(file)
