"""Training learns what is there, from the records that it may learn from, and can be resumed."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tomli_w
import torch

from leadlight.classify import dataset, sampling, training
from leadlight.classify.augment import NO_AUGMENTATION, augment
from leadlight.classify.cards import (
    ArchitectureSettings,
    InputSection,
    ModelCard,
    ModelSection,
    OutputSection,
)
from leadlight.classify.dataset import prepare_split
from leadlight.classify.fitting import FitSettings, learning_rate
from leadlight.classify.models import DEFAULT_MODEL, build_network, load_model
from leadlight.classify.recipe import TrainingSettings, as_tables, read_recipe, shipped_recipes
from leadlight.classify.sampling import draw_epoch, positive_weights, study_shares
from leadlight.classify.training import masked_loss, predict_logits, train
from leadlight.cohort.splits import split_of
from leadlight.cohort.store import CohortWriter, write_cohort
from leadlight.ecg.leads import as_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError

RATE_HZ = 100.0
WIDTH = np.exp(-0.5 * (np.arange(-20, 21) / 2) ** 2)


def recording(number, label, rng, *, patient=None):
    """Five seconds of beats; AF has irregular ones, LBBB has an inverted V1 to V3."""
    beats = np.arange(20, 480, 80 if label != "AF" else 1)
    if label == "AF":
        beats = np.cumsum(rng.uniform(35, 110, 12)).astype(int)
    train_of_beats = np.zeros(500)
    for beat in beats:
        if 20 <= beat < 479:
            train_of_beats[beat - 20 : beat + 21] += WIDTH
    one, two = 0.6 * train_of_beats, train_of_beats
    sign = -1 if label == "LBBB" else 1
    chest = [sign * train_of_beats] * 3 + [train_of_beats] * 3
    noise = rng.normal(scale=0.02, size=(8, 500))
    one, two = one + noise[0], two + noise[1]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    signal = np.stack([*limb, *(np.stack(chest) + noise[2:])]).astype(np.float32)
    return Recording(
        as_leads(signal), RATE_HZ, f"r{number:04d}", patient_id=patient or f"p{number:04d}"
    )


def study_of(folder, n=240, *, seed=0, relabel=None):
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["NORM", "AF", "LBBB"], size=n)
    labels = kinds if relabel is None else relabel(kinds)
    write_cohort(
        folder,
        (
            (recording(i + 10_000 * seed, kind, rng), (label,))
            for i, (kind, label) in enumerate(zip(kinds, labels, strict=True))
        ),
    )
    return folder


SETTINGS = TrainingSettings(
    model=ModelSection(
        name="tiny",
        architecture_settings=ArchitectureSettings(
            stem_filters=6, filters=(8, 8), kernel=8, strides=4, dropout=0.1, pooling="mean"
        ),
    ),
    input=InputSection(rate_hz=RATE_HZ, samples=512, missing_leads="zero"),
    classes=("AF", "LBBB"),
    fit=FitSettings(epochs=10, batch_size=16, learning_rate=0.02, average_decay=0.9, patience=0),
    augment=replace(NO_AUGMENTATION, noise=0.3, shift=0.3),
    n_bootstrap=50,
    device="cpu",
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    return study_of(tmp_path_factory.mktemp("training") / "beats")


@pytest.fixture(scope="session")
def trained(study, tmp_path_factory):
    return train([study], tmp_path_factory.mktemp("model") / "tiny", SETTINGS)


def brief(epochs=2, **changes):
    return replace(SETTINGS, fit=replace(SETTINGS.fit, epochs=epochs, **changes))


def without_none(table):
    return {key: value for key, value in table.items() if value is not None}


def weights_of(result):
    return load_model(result.card_path).network.state_dict()


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def test_a_tiny_network_learns_a_separable_problem_on_held_out_patients(trained):
    for name in ("AF", "LBBB"):
        figures = trained.scores["beats"]["splits"]["test"]["classes"][name]
        assert figures["auroc"]["value"] > 0.95
        assert figures["n_positive_records"] >= 3


def test_with_shuffled_labels_it_learns_nothing_of_held_out_patients(tmp_path):
    rng = np.random.default_rng(8)
    shuffled = study_of(tmp_path / "beats", 400, relabel=rng.permutation)
    result = train([shuffled], tmp_path / "model", brief(epochs=6))
    splits = result.scores["beats"]["splits"]
    found = [splits[s]["classes"][c]["auroc"]["value"] for s in splits for c in ("AF", "LBBB")]
    assert abs(np.mean(found) - 0.5) < 0.12


def test_no_held_out_record_reaches_the_loss_and_no_test_record_the_loop(
    study, tmp_path, monkeypatch
):
    """Every input is traced by its own bytes to the record that it was made of."""
    card_input = SETTINGS.input
    owner = {}
    for split in ("train", "validation", "test"):
        part = prepare_split(study, split, _card(card_input), tmp_path / "lookup")
        for i in range(len(part)):
            owner[part.values(np.array([i])).numpy().tobytes()] = split
    opened, in_loss, in_validation = [], [], []
    prepare, score = training.prepare_split, training.predict_logits

    def watched_prepare(study, split, *args, **kwargs):
        opened.append(split)
        return prepare(study, split, *args, **kwargs)

    gather = sampling._gather

    def watched_gather(parts, drawn):
        batch = gather(parts, drawn)
        in_loss.extend(owner[x.numpy().tobytes()] for x in batch[0])
        return batch

    def watched_score(network, part, *args, **kwargs):
        if "test" not in opened:
            in_validation.extend(part.records["split"].to_list())
        return score(network, part, *args, **kwargs)

    epochs_before_test = []
    fit = training.fit

    def watched_fit(*args, **kwargs):
        fitted = fit(*args, **kwargs)
        epochs_before_test.append("test" not in opened)
        return fitted

    monkeypatch.setattr(training, "prepare_split", watched_prepare)
    monkeypatch.setattr(training, "predict_logits", watched_score)
    monkeypatch.setattr(training, "fit", watched_fit)
    monkeypatch.setattr(sampling, "_gather", watched_gather)
    train([study], tmp_path / "model", brief())
    n_train = sum(split_of(f"p{i:04d}") == "train" for i in range(240))
    assert set(in_loss) == {"train"}
    assert len(in_loss) == 2 * (n_train // 16) * 16
    assert set(in_validation) == {"validation"}
    assert epochs_before_test == [True]
    assert opened.count("test") == 1


def _card(spec):
    return ModelCard(
        model=SETTINGS.model, input=spec, output=OutputSection(classes=SETTINGS.classes)
    )


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_sampler_refuses_records_of_another_split(study, tmp_path, split):
    part = prepare_split(study, split, _card(SETTINGS.input), tmp_path)
    with pytest.raises(LeadlightError, match="not of its train split"):
        draw_epoch([part], np.array([1.0]), 8, np.random.default_rng(0))
    disguised = replace(part, split="train")
    with pytest.raises(LeadlightError, match="not of its train split"):
        draw_epoch([disguised], np.array([1.0]), 8, np.random.default_rng(0))


def test_an_ecg_that_another_study_holds_out_is_not_trained_on(study, tmp_path):
    """The same signals under other names and patients, all in the train split."""
    rng = np.random.default_rng(0)
    kinds = rng.choice(["NORM", "AF", "LBBB"], size=240)
    with CohortWriter(tmp_path / "copy") as writer:
        for i, kind in enumerate(kinds):
            same = recording(i, kind, rng)
            writer.add(
                replace(same, record_id=f"c{i}", patient_id=f"c{i}"), (str(kind),), split="train"
            )
    result = train([study, tmp_path / "copy"], tmp_path / "model", brief(epochs=1))
    held_out = sum(split_of(f"p{i:04d}") != "train" for i in range(240))
    _, copy = result.card.training["data"]
    assert copy["left_out"] == {"same signal in another study's validation or test split": held_out}
    used = pl.read_parquet(tmp_path / "model" / "trained-on.parquet")
    assert used.filter(study="copy").height == 240 - held_out


@pytest.mark.parametrize(
    "settings",
    [
        brief(epochs=4),
        brief(epochs=4, schedule="plateau", plateau_patience=1),
        brief(epochs=4, average_decay=0.0),
    ],
    ids=["one-cycle", "plateau", "no-average"],
)
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    study, tmp_path, monkeypatch, settings
):
    whole = train([study], tmp_path / "whole", settings, cache=tmp_path / "cache")
    gather, calls = sampling._gather, []

    def killed_in_the_third_epoch(parts, drawn):
        calls.append(1)
        if len(calls) == 2 * 12 + 5:
            raise KeyboardInterrupt
        return gather(parts, drawn)

    with monkeypatch.context() as patched:
        patched.setattr(sampling, "_gather", killed_in_the_third_epoch)
        with pytest.raises(KeyboardInterrupt):
            train([study], tmp_path / "cut", settings, cache=tmp_path / "cache")
    assert not (tmp_path / "cut" / "card.toml").exists()
    assert [p.name for p in (tmp_path / "cut" / "checkpoint").iterdir()] == ["epoch-0002"]
    with pytest.raises(LeadlightError, match="--resume"):
        train([study], tmp_path / "cut", settings, cache=tmp_path / "cache")
    torch.rand(3)  # the caller's own use of randomness changes nothing
    resumed = train([study], tmp_path / "cut", settings, cache=tmp_path / "cache", resume=True)
    assert same_weights(weights_of(whole), weights_of(resumed))
    timeless = pl.exclude("seconds", "records_per_s")
    assert whole.history.select(timeless).equals(resumed.history.select(timeless))
    assert whole.card.output.thresholds == resumed.card.output.thresholds


def test_resuming_with_other_settings_is_refused(study, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "save_model", stop)
        with pytest.raises(KeyboardInterrupt):
            train([study], tmp_path / "model", brief(epochs=1))
    with pytest.raises(LeadlightError, match="other settings or records"):
        train([study], tmp_path / "model", brief(epochs=3), resume=True)


def test_the_same_seed_gives_the_same_network_and_another_seed_another(study, tmp_path):
    one, same, other = (
        train([study], tmp_path / name, replace(brief(epochs=1), seed=seed), cache=tmp_path / "c")
        for name, seed in (("one", 3), ("same", 3), ("other", 4))
    )
    assert same_weights(weights_of(one), weights_of(same))
    assert not same_weights(weights_of(one), weights_of(other))


def test_a_finished_model_is_not_overwritten_unless_told(trained, study):
    folder = trained.card_path.parent
    before = trained.card_path.read_bytes()
    with pytest.raises(LeadlightError, match="already exists"):
        train([study], folder, SETTINGS)
    assert trained.card_path.read_bytes() == before


def test_the_scores_in_the_card_are_those_of_the_weights_on_disk(trained, study, tmp_path):
    model = load_model(trained.card_path)
    test = prepare_split(study, "test", model.card, tmp_path)
    logits = predict_logits(model.network, test, 7)
    from sklearn.metrics import roc_auc_score

    for column, name in enumerate(model.card.output.classes):
        written = model.card.metrics["beats"]["test"][name]
        truth = test.truth[:, column]
        assert written["auroc"] == pytest.approx(roc_auc_score(truth, logits[:, column]), abs=1e-4)
        assert written["n_positive_records"] == truth.sum()
        assert written["n_records"] == len(test)
        called = torch.sigmoid(logits[:, column]).numpy() >= model.card.output.thresholds[name]
        assert written["sensitivity"] == pytest.approx(called[truth == 1].mean(), abs=1e-4)


def test_the_folder_says_what_the_model_was_made_of(trained, study):
    folder = trained.card_path.parent
    used = pl.read_parquet(folder / "trained-on.parquet")
    assert set(used["split"]) == {"train", "validation"}
    assert trained.card.training["seed"] == SETTINGS.seed
    assert trained.card.training["recipe"]["fit"]["epochs"] == 10
    assert pl.read_parquet(folder / "history.parquet").height == 10
    assert json.loads((folder / "provenance.json").read_text())["verb"] == "train"
    assert not (folder / "checkpoint").exists()
    pickles = [p for p in folder.rglob("*") if p.suffix in (".pt", ".pth", ".pkl")]
    assert pickles == []


def test_early_stopping_stops_once_nothing_gets_better_and_keeps_the_best(tmp_path):
    """Labels without content: the validation loss soon only rises."""
    rng = np.random.default_rng(1)
    shuffled = study_of(tmp_path / "beats", 160, relabel=rng.permutation)
    settings = brief(epochs=40, patience=3, learning_rate=0.05, schedule="constant")
    result = train([shuffled], tmp_path / "model", settings)
    score = result.history["validation_score"].to_list()
    assert result.history.height < 40
    assert result.history.height == result.best_epoch + 3
    assert min(score) == score[result.best_epoch - 1]


def test_a_studys_weight_is_its_share_of_an_epoch(study, tmp_path):
    small = study_of(tmp_path / "small", 40, seed=1)
    parts = [prepare_split(s, "train", _card(SETTINGS.input), tmp_path) for s in (study, small)]
    sizes = [len(part) for part in parts]
    rng = np.random.default_rng(0)
    by_size = draw_epoch(parts, study_shares(sizes, ()), sum(sizes), rng)
    assert sorted(map(tuple, by_size.tolist())) == [(s, i) for s in (0, 1) for i in range(sizes[s])]
    even = draw_epoch(parts, study_shares(sizes, (1.0, 1.0)), 200, rng)
    assert (even[:, 0] == 0).sum() == 100
    times = np.bincount(even[even[:, 0] == 1, 1], minlength=sizes[1])
    assert times.min() >= 100 // sizes[1]
    assert times.max() <= math.ceil(100 / sizes[1])


def test_a_positive_weighs_as_much_as_stated(study, tmp_path):
    part = prepare_split(study, "train", _card(SETTINGS.input), tmp_path)
    positive = part.truth.sum(axis=0)
    negative = len(part) - positive
    shares = np.array([1.0])
    assert positive_weights([part], shares, 50.0) == pytest.approx(negative / positive)
    assert positive_weights([part], shares, 1.5) == pytest.approx([1.5, 1.5])
    # A study in which a class is unknown does not count for that class.
    blind = replace(part, truth=np.zeros_like(part.truth), known=part.known & [True, False])
    both = positive_weights([part, blind], np.array([0.5, 0.5]), 50.0)
    assert both[0] == pytest.approx((negative[0] + len(part)) / positive[0])
    assert both[1] == pytest.approx(negative[1] / positive[1])


def test_unknown_labels_give_no_gradient_and_weights_scale_positives():
    logits = torch.zeros(2, 2, requires_grad=True)
    truth = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    known = torch.tensor([[True, False], [True, True]])
    loss = masked_loss(logits, truth, known, torch.tensor([3.0, 1.0]))
    assert float(loss.detach()) == pytest.approx((3 + 1 + 1) * math.log(2) / 3)
    loss.backward()
    assert logits.grad.tolist() == [
        [pytest.approx(-0.5), 0.0],
        [pytest.approx(1 / 6), pytest.approx(-1 / 6)],
    ]


def test_label_smoothing_pulls_labels_towards_one_half():
    truth, known = torch.tensor([[1.0]]), torch.tensor([[True]])
    logit = torch.tensor([[math.log(0.95 / 0.05)]], requires_grad=True)
    masked_loss(logit, truth, known, torch.ones(1), smoothing=0.1).backward()
    assert abs(float(logit.grad)) < 1e-6


def test_one_cycle_rises_to_the_learning_rate_and_falls_to_nothing():
    settings = FitSettings(learning_rate=0.01, warm_up=0.25)
    rates = [learning_rate(step, 100, settings, 1.0) for step in range(101)]
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) == 25
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[100] == pytest.approx(1e-6)


def test_prepared_records_are_kept_and_made_anew_only_when_input_or_signals_change(
    study, tmp_path, monkeypatch
):
    card = _card(SETTINGS.input)
    first = prepare_split(study, "train", card, tmp_path)
    calls = []
    prepare = dataset.prepare
    monkeypatch.setattr(dataset, "prepare", lambda *a: calls.append(1) or prepare(*a))
    again = prepare_split(study, "train", card, tmp_path)
    assert calls == []
    assert np.array_equal(first.stored, again.stored)
    filtered = prepare_split(study, "train", card.with_input(highpass_hz=1.0), tmp_path)
    assert len(calls) == len(filtered)


def test_prepared_records_are_what_prepare_gives_to_half_a_microvolt(study, tmp_path):
    from leadlight.classify.prepare import prepare
    from leadlight.cohort.store import open_cohort

    card = _card(InputSection(rate_hz=50, samples=200, unit_scale=10, highpass_hz=0.5))
    part = prepare_split(study, "validation", card, tmp_path)
    cohort = open_cohort(study)
    values, valid = part.values(np.arange(len(part))), part.valid(np.arange(len(part)))
    for i, name in enumerate(part.records["record_id"]):
        expected = prepare(cohort.recording(cohort.row_of(name)), card)
        assert np.abs(values[i].numpy() - expected.values.values).max() <= 0.0051
        assert valid[i].numpy().nonzero()[0][0] == expected.first_valid
        assert int(valid[i].sum()) == expected.n_valid


@pytest.mark.slow
def test_records_prepared_by_two_processes_are_the_same(tmp_path, monkeypatch, study):
    monkeypatch.setattr(dataset, "_ROWS_PER_TASK", 60)
    card = _card(SETTINGS.input)
    one = prepare_split(study, "train", card, tmp_path / "one")
    two = prepare_split(study, "train", card, tmp_path / "two", workers=2)
    assert np.array_equal(one.stored, two.stored)
    assert one.records.equals(two.records)


def test_records_without_labels_or_with_faults_are_left_out_and_counted(tmp_path):
    rng = np.random.default_rng(0)
    with CohortWriter(tmp_path / "mixed") as writer:
        for i in range(6):
            labels = None if i == 0 else ("AF",) if i % 2 else ()
            flags = ("flat:V3",) if i == 1 else ()
            writer.add(recording(i, "NORM", rng), labels, "train", flags)
        gone = recording(6, "NORM", rng)
        gone.signal_mv.loc["V6"] = np.nan
        writer.add(gone, ("AF",), "train")
    card = _card(SETTINGS.input).with_input(missing_leads="refuse")
    part = prepare_split(tmp_path / "mixed", "train", card, tmp_path / "cache")
    assert part.records["record_id"].to_list() == ["r0002", "r0003", "r0004", "r0005"]
    assert part.truth[:, 0].tolist() == [0, 1, 0, 1]
    assert part.left_out == {
        "no labels": 1,
        "excluded by a quality flag": 1,
        "refused by the card's input": 1,
    }


def test_too_few_positives_to_choose_a_threshold_is_said(tmp_path):
    small = study_of(tmp_path / "small", 40, seed=1)
    result = train([small], tmp_path / "model", brief(epochs=1))
    assert result.card.output.thresholds == {"AF": 0.5, "LBBB": 0.5}
    assert "too few" in result.card.training["thresholds_chosen_on"]["AF"]


def test_studies_that_cannot_be_trained_on_are_refused_before_any_work(study, tmp_path):
    def refused(studies, said, **changes):
        with pytest.raises(LeadlightError, match=said):
            train(studies, tmp_path / "model", replace(SETTINGS, **changes))
        assert not (tmp_path / "model" / "cache").exists()

    refused([], "no study")
    refused([study, study], "Two studies are named")
    refused([study], "none of the studies", validation_study="elsewhere")
    refused([study], "2 weights are given for 1 studies", study_weights=(1.0, 2.0))
    refused([study], "device", device="abacus")


def test_a_recipe_may_name_a_study_that_is_not_at_hand(study, tmp_path, capsys):
    settings = replace(brief(epochs=1), unknown_classes={"elsewhere": ("AF",)})
    train([study], tmp_path / "model", settings)
    assert "No study here is named elsewhere" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_with_a_sentence(study, tmp_path):
    with pytest.raises(LeadlightError, match="not a number"):
        train([study], tmp_path / "model", brief(learning_rate=1e30, gradient_norm=1e30))


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_makes_a_network_whose_every_weight_is_trained(name):
    settings = read_recipe(name)
    assert settings.model.name == name
    assert settings.classes == ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
    card = ModelCard(
        model=settings.model,
        input=settings.input,
        output=OutputSection(classes=settings.classes),
    )
    dice = torch.Generator().manual_seed(0)
    network = build_network(card, dice)
    assert sum(p.numel() for p in network.parameters()) < 600_000
    x = torch.randn(2, len(settings.input.leads), settings.input.samples, generator=dice)
    valid = torch.ones(2, settings.input.samples, dtype=torch.bool)
    logits = network(augment(x, valid, settings.input, settings.augment, dice))
    masked_loss(
        logits, torch.ones(2, 6), torch.ones(2, 6, dtype=torch.bool), torch.ones(6)
    ).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_there_is_a_recipe_for_the_default_model():
    assert DEFAULT_MODEL in shipped_recipes()


def test_a_recipe_with_a_misspelt_key_is_refused_by_name(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('[model]\nname = "a"\n[fit]\nepoch = 3\n[augment]\nnoise = 2\n')
    with pytest.raises(LeadlightError, match=r"fit\.epoch") as caught:
        read_recipe(recipe)
    assert "augment.noise" in str(caught.value)
    with pytest.raises(LeadlightError, match="no recipe"):
        read_recipe(tmp_path / "absent.toml")


def test_the_verb_trains_with_a_recipe_and_prints_a_summary(study, tmp_path):
    import typer
    from typer.testing import CliRunner

    from leadlight.cli.train import train as verb

    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'classes = ["AF", "LBBB"]\nn_bootstrap = 20\n'
        '[model]\nname = "tiny"\n[model.architecture_settings]\nstem_filters = 4\n'
        'filters = [4]\nkernel = 8\npooling = "mean"\n'
        "[input]\nrate_hz = 100.0\nsamples = 512\n[fit]\nepochs = 9\nbatch_size = 16\n"
    )
    app = typer.Typer()
    app.command()(verb)
    out = tmp_path / "model"
    arguments = ["--study", str(study), "--recipe", str(recipe), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--epochs", "1", "--seed", "5", "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    assert summary["epochs"] == 1
    assert summary["card"] == str(out / "card.toml")
    assert load_model(out).card.training["seed"] == 5


def test_two_processes_train_what_one_trains_on_the_same_batches(study, tmp_path):
    """Each takes half of every batch; batch norm and the loss are over both halves."""
    quiet = SETTINGS.model.architecture_settings.model_copy(update={"dropout": 0.0})
    model = SETTINGS.model.model_copy(update={"architecture_settings": quiet})
    settings = replace(brief(epochs=2), model=model, augment=NO_AUGMENTATION)
    alone = train([study], tmp_path / "alone", settings)
    recipe = tmp_path / "recipe.toml"
    tables = json.loads(json.dumps(as_tables(settings)), object_hook=without_none)
    recipe.write_text(tomli_w.dumps(tables))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "leadlight", "train", "--study", str(study), "--out", str(tmp_path / "both"),
         "--recipe", str(recipe), "--json", "--quiet"],
        capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(said) == 1, "the first process speaks for both"
    both = load_model(said[0]["card"]).network.state_dict()
    for name, value in weights_of(alone).items():
        assert torch.allclose(both[name], value, rtol=1e-3, atol=1e-4), name
    history = pl.read_parquet(tmp_path / "both" / "history.parquet")
    assert history["validation_score"].to_list() == pytest.approx(
        alone.history["validation_score"].to_list(), rel=1e-4
    )
    left = [path.name for path in (tmp_path / "both").iterdir() if "checkpoint" in path.name]
    assert not left
