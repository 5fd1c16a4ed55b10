"""Small genotype files made from arrays, and plain least squares to hold the results against."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pgenlib
import pytest

WriteGenotypes = Callable[..., Path]


@pytest.fixture
def write_genotypes(tmp_path: Path) -> WriteGenotypes:
    """write(calls (variant, person), chromosomes=, sex=, name=) -> prefix of a .pgen."""

    def write(
        calls: np.ndarray,
        chromosomes: Sequence[str] | None = None,
        positions: Sequence[int] | None = None,
        sex: Sequence[int] | None = None,
        name: str = "genotypes",
        alternate: str = "G",
    ) -> Path:
        prefix = tmp_path / name
        variants, people = calls.shape
        whole = np.issubdtype(calls.dtype, np.integer)
        with pgenlib.PgenWriter(
            f"{prefix}.pgen".encode(),
            people,
            variant_ct=variants,
            nonref_flags=False,
            dosage_present=not whole,
        ) as writer:
            for row in calls:
                if whole:
                    writer.append_biallelic(row.astype(np.int8))
                else:
                    writer.append_dosages(row.astype(np.float32))
        places = [100 * (v + 1) for v in range(variants)] if positions is None else positions
        lines = [
            f"{'1' if chromosomes is None else chromosomes[v]}\t{places[v]}\trs{v}\tA\t{alternate}"
            for v in range(variants)
        ]
        Path(f"{prefix}.pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *lines, ""]))
        sexes = [1 + i % 2 for i in range(people)] if sex is None else sex
        rows = [f"0\tp{i}\t{sexes[i]}" for i in range(people)]
        Path(f"{prefix}.psam").write_text("\n".join(["#FID\tIID\tSEX", *rows, ""]))
        return prefix

    return write


@pytest.fixture
def write_table(tmp_path: Path) -> Callable[..., Path]:
    """write(name, columns, values (person, column), ids=) -> a tab-separated file, NaN as NA."""

    def write(
        name: str, columns: Sequence[str], values: np.ndarray, ids: Sequence[str] | None = None
    ) -> Path:
        people = [f"p{i}" for i in range(len(values))] if ids is None else ids
        rows = [
            "\t".join([person, *("NA" if np.isnan(x) else repr(float(x)) for x in row)])
            for person, row in zip(people, values, strict=True)
        ]
        path = tmp_path / name
        path.write_text("\n".join(["\t".join(["IID", *columns]), *rows, ""]))
        return path

    return write


@pytest.fixture(scope="session")
def plink2() -> str:
    """The path of PLINK 2; tests that compare with it skip where it is not installed."""
    found = shutil.which("plink2")
    if found is None:
        pytest.skip("plink2 is not installed")
    return found


@pytest.fixture(scope="session")
def least_squares() -> Callable[[np.ndarray, np.ndarray], tuple[Any, Any, int]]:
    """fit(y, x) -> coefficients, their standard errors, degrees of freedom."""

    def fit(y: np.ndarray, x: np.ndarray) -> tuple[Any, Any, int]:
        beta, *_ = np.linalg.lstsq(x, y, rcond=None)
        left = y - x @ beta
        degrees = len(y) - np.linalg.matrix_rank(x)
        spread = left @ left / degrees * np.linalg.inv(x.T @ x)
        return beta, np.sqrt(np.diag(spread)), int(degrees)

    return fit
