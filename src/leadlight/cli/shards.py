"""`leadlight shards`: a study in parts, for machines that work on many at once."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import say, set_quiet

shards_app = typer.Typer(
    name="shards",
    no_args_is_help=True,
    help="A study in parts: recordings in shards, genotypes file by file, joined to the same "
    "results. `workflow/` calls these on a cluster; on one machine `leadlight run` does all.",
)

_Study = Annotated[
    Path, typer.Argument(metavar="study.toml", help="The study file, or its folder.")
]
_Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes or threads, in place of the study file's."),
]
_Set = Annotated[str, typer.Option("--traits", help="The set: factors or measurements.")]
_File = Annotated[str, typer.Option("--file", help="The genotype file's name, without ending.")]


@shards_app.command("cut")
def cut(
    study: _Study,
    records: Annotated[
        int, typer.Option("--records", min=1, help="At most so many recordings in a shard.")
    ] = 10_000,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Cut a study's recordings into shards, each a study of its own in `shards/`."""
    from leadlight.study.shards import cut_study

    set_quiet(quiet)
    plan = cut_study(study, records, overwrite=overwrite)
    if not quiet:
        typer.echo(f"{sum(plan.records)} recordings in {len(plan)} shards.")
    print_summary(json_, {"shards": len(plan), "records": list(plan.records)})


@shards_app.command("run")
def run(
    study: _Study,
    shard: Annotated[int, typer.Option("--shard", min=0, help="Its number, from 0.")],
    workers: _Workers = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Import, measure, classify and encode one shard; goes on when it was cut off."""
    from leadlight.study.shards import run_shard

    set_quiet(quiet)
    summary = run_shard(study, shard, workers=workers)
    say(f"Shard {shard}: {summary['records']} records of {summary['files']} files.")
    print_summary(json_, summary)


@shards_app.command("join")
def join(
    study: _Study, workers: _Workers = None, quiet: Quiet = False, json_: Json = False
) -> None:
    """Join all shards into the study, whose stages then count as done."""
    from leadlight.study.shards import join_shards

    set_quiet(quiet)
    summary = join_shards(study, workers=workers)
    if not quiet:
        typer.echo(f"{summary['records']} records of {summary['shards']} shards.")
    print_summary(json_, summary)


@shards_app.command("explain")
def explain(
    study: _Study,
    part: Annotated[int, typer.Option("--part", min=0, help="Which part, from 0.")],
    of: Annotated[int, typer.Option("--of", min=1, help="How many parts there are.")],
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Explain a part of the cases and controls; `leadlight run` joins the parts."""
    from leadlight.study.shards import explain_part_of

    set_quiet(quiet)
    records = explain_part_of(study, part, of)
    say(f"Part {part} of {of}: {records} records.")
    print_summary(json_, {"part": part, "of": of, "records": records})


@shards_app.command("convert")
def convert(study: _Study, file: _File, quiet: Quiet = False, json_: Json = False) -> None:
    """Turn one BGEN or VCF file into what the association reads."""
    from leadlight.study.gwas_parts import convert_part

    set_quiet(quiet)
    convert_part(study, file)
    print_summary(json_, {"file": file})


@shards_app.command("prepare")
def prepare(
    study: _Study, traits: _Set, workers: _Workers = None, quiet: Quiet = False, json_: Json = False
) -> None:
    """Work out what all genotypes share: traits, principal components, whole-genome background."""
    from leadlight.study.gwas_parts import prepare_set

    set_quiet(quiet)
    prepare_set(study, traits, workers=workers)
    print_summary(json_, {"traits": traits})


@shards_app.command("associate")
def associate(
    study: _Study,
    traits: _Set,
    file: _File,
    workers: _Workers = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Test one file of genotypes with a set of traits; goes on when it was cut off."""
    from leadlight.study.gwas_parts import associate_part

    set_quiet(quiet)
    associate_part(study, traits, file, workers=workers)
    print_summary(json_, {"traits": traits, "file": file})


@shards_app.command("collect")
def collect(study: _Study, traits: _Set, quiet: Quiet = False, json_: Json = False) -> None:
    """Join the association's files into one table for each trait."""
    from leadlight.study.gwas_parts import collect_set

    set_quiet(quiet)
    names = collect_set(study, traits)
    say(f"{len(names)} traits joined.")
    print_summary(json_, {"traits": names})
