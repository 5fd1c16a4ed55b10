"""Stages that were cut off in the middle go on there, and end as if they never had been."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from comparing import differences

import leadlight.classify.predict as predict
import leadlight.simulate.cohort as simulate
import leadlight.study.effect_cards as effect_cards
from leadlight.classify.models import load_model
from leadlight.errors import LeadlightError
from leadlight.genetics.effect.stage import Files
from leadlight.genetics.loci_schema import loci_schema


class _Cut(BaseException):
    """The end of a process, as far as the process can tell."""


def test_classify_goes_on_behind_its_last_part(
    whole: Path, at_stage: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = at_stage("classify").parent / "study"
    monkeypatch.setattr(predict, "PART_RECORDS", 4)
    sound, asked = predict._predict_part, []

    def part(*arguments: Any) -> Any:
        asked.append(list(arguments[2]))
        if len(asked) == 3:
            raise _Cut
        return sound(*arguments)

    monkeypatch.setattr(predict, "_predict_part", part)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the run that is compared with: sums hang on it
    model = load_model("leadlight-ecg-6")
    with pytest.raises(_Cut):
        predict.classify_cohort(study, model)
    done = predict.classify_cohort(study, model)
    torch.set_num_threads(threads)
    assert [rows[0] for rows in asked] == [0, 4, 8, 8, 12]
    assert (done.n_predicted, done.n_records) == (16, 16)
    assert not (study / ".classify.partial").exists()
    for name in ("logits", "probabilities"):
        tables = [
            pl.read_parquet(at / "classify" / "leadlight-ecg-6" / f"{name}.parquet")
            for at in (study, whole / "study")
        ]
        # Batches of four instead of sixteen: the last digit may differ.
        numbers = [table.drop("record_id").to_numpy() for table in tables]
        assert tables[0]["record_id"].equals(tables[1]["record_id"])
        assert abs(numbers[0] - numbers[1]).max() < 1e-4


def test_predictions_of_another_model_or_cohort_are_not_gone_on_with(
    at_stage: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = at_stage("classify").parent / "study"
    model = load_model("leadlight-ecg-6")

    def cut(*_: object, **__: object) -> None:
        raise _Cut

    with monkeypatch.context() as patch:
        patch.setattr(predict, "write_predictions", cut)
        with pytest.raises(_Cut):
            predict.classify_cohort(study, model, rows=range(8))
    sound, asked = predict._predict_part, []

    def part(*arguments: Any) -> Any:
        asked.append(arguments[2])
        return sound(*arguments)

    monkeypatch.setattr(predict, "_predict_part", part)
    predict.classify_cohort(study, model, rows=range(4, 12))
    assert [list(rows) for rows in asked] == [list(range(4, 12))]


def test_a_card_that_was_cut_off_is_made_and_not_taken_for_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"locus": [1, 2], "lead_variant": ["rs1", "rs2"], "chromosome": ["1", "2"],
            "lead_position": [10, 20], "lead_neg_log_10_p_value": [20.0, 10.0]}  # fmt: skip
    schema = loci_schema(["factors"])
    (tmp_path / "loci").mkdir()
    pl.DataFrame([], schema=schema).join(
        pl.DataFrame(rows), on=list(rows), how="full", coalesce=True
    ).write_parquet(tmp_path / "loci" / "loci.parquet")
    made: list[str] = []

    def card(kind: str, name: str, files: Files, out: Path, **_: object) -> None:
        made.append(name)
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.json").write_text("{}")
        if made == ["rs1", "rs2"]:
            raise _Cut
        (out / "card.html").write_text("whole")

    monkeypatch.setattr(effect_cards, "make_card", card)
    options: Any = {"most": 2, "overwrite": False, "begun": 0.0}
    files = Files(loci=tmp_path / "loci")
    with pytest.raises(_Cut):
        effect_cards.write_leading_cards(files, tmp_path / "effects", **options)
    assert not (tmp_path / "effects" / "rs2").exists()
    table = effect_cards.write_leading_cards(files, tmp_path / "effects", **options)
    assert made == ["rs1", "rs2", "rs2"]
    assert table["failure"].to_list() == [None, None]
    assert table["card"].to_list() == ["rs1/card.html", "rs2/card.html"]
    written = (tmp_path / "effects" / "cards.parquet").stat().st_mtime
    later = options | {"begun": written + 60}
    with pytest.raises(LeadlightError, match=r"card\.html already exists"):
        effect_cards.write_leading_cards(files, tmp_path / "effects", **later)


def test_a_simulation_cut_off_while_it_is_moved_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, folder = tmp_path / "study", tmp_path / "study" / simulate.PARTIAL
    (study / "truth").mkdir(parents=True)
    (study / "truth" / "of.txt").write_text("before")
    (study / "covariates.parquet").write_text("before")
    for name in simulate.RESULTS:
        if name != "covariates.parquet":
            path = folder / "final" / name
            path.mkdir(parents=True) if "." not in name else path.write_text("new")
            if path.is_dir():
                (path / "of.txt").write_text("new")
    (folder / "key.json").write_text("{}")
    sound, moved = simulate.put_in_place, []

    def move(made: Path, final: Path) -> None:
        moved.append(final.name)
        sound(made, final)
        if len(moved) == 2:
            raise _Cut

    monkeypatch.setattr(simulate, "put_in_place", move)
    with pytest.raises(_Cut):
        simulate._publish(study, folder)
    simulate._publish(study, folder)
    assert len(moved) == len(set(moved)) == len(simulate.RESULTS) - 1
    assert not (study / "covariates.parquet").exists()  # of what was before
    texts = [(p / "of.txt" if p.is_dir() else p).read_text() for p in study.iterdir()]
    assert texts == ["new"] * (len(simulate.RESULTS) - 1)


def test_the_comparison_takes_the_whole_run_for_whole(whole: Path) -> None:
    assert differences(whole / "study", whole / "study", finished=True) == []


def test_what_a_killed_run_was_writing_is_no_result_to_the_page(
    whole: Path, tmp_path: Path
) -> None:
    """A folder under way holds files of the right names; a dot leads its own."""
    import shutil

    from leadlight.report.explorer_data import explorer_data
    from leadlight.report.results import read_results

    study = tmp_path / "study"
    shutil.copytree(whole / "study", study)
    before = read_results(study), explorer_data(study)
    for folder, name in (("classify", "leadlight-ecg-6"), ("latent", "leadlight-factors")):
        half = study / folder / f".{name}.partial-0a1b2c-17"
        shutil.copytree(study / folder / name, half)
        for table in half.glob("*.parquet"):
            table.write_bytes(table.read_bytes()[:100])
    (study / "effects" / ".rs1.partial-0a1b2c-17").mkdir(parents=True)
    (study / "effects" / ".rs1.partial-0a1b2c-17" / "summary.json").write_text("{")
    after = read_results(study), explorer_data(study)
    assert list(after[0].scores) == list(before[0].scores) == ["leadlight-ecg-6"]
    assert after[0].predicted == before[0].predicted
    assert before[1] is not None
    assert after[1] == before[1]
