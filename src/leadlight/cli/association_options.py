"""The options that the association of variants and that of genes share, worded once."""

from pathlib import Path
from typing import Annotated

import typer

Genotypes = Annotated[
    list[Path],
    typer.Option(
        "--genotypes",
        metavar="PREFIX",
        help="PLINK prefix, or .pgen, .bed, .bgen, .vcf(.gz), .bcf, or a folder of one file a "
        "chromosome. May be given several times.",
        show_default=False,
    ),
]
Phenotypes = Annotated[
    Path,
    typer.Option(
        "--phenotypes",
        metavar="FILE",
        help="Parquet or text that begins with FID IID, or IID.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder of results.", show_default=False)
]
Covariates = Annotated[
    Path | None,
    typer.Option(
        "--covariates",
        metavar="FILE",
        help="As the phenotypes; people without one of them are left out. A column of words "
        "counts as categories.",
    ),
]
Traits = Annotated[
    str | None, typer.Option("--traits", metavar="A,B", help="Only these phenotypes.")
]
Transform = Annotated[
    str,
    typer.Option(
        "--transform", help="none, or rank-normal: rank-based inverse normal, trait by trait."
    ),
]
