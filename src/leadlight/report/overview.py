"""The overview: what was found and what was not, in sentences with numbers, each with its place.

Whoever reads nothing else must know what the data are, what holds and what does not. Every number
comes from the table that the place shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leadlight.report.association_sets import AssociationSet, genome_wide_hits, inflation_of
from leadlight.report.explain_plans import slug_of
from leadlight.report.factor_words import spoken
from leadlight.report.factors_section import Factors, factor_sentences
from leadlight.report.loci_section import clear_changes, effect_text
from leadlight.report.paper_claims import (
    CONTRADICTED,
    NO_EVIDENCE,
    SUPPORTED,
    UNDECIDED,
    Claim,
    paper_claims,
)
from leadlight.report.results import Results
from leadlight.report.sections import simulated_records
from leadlight.report.sentences import (
    beyond_random_sentences,
    lead_sentences,
    number,
    signed_sentences,
    with_interval,
)


@dataclass(frozen=True)
class Statement:
    """A sentence or two, the anchor of what they rest on, and what that place is called."""

    text: str
    place: str
    place_name: str


@dataclass(frozen=True)
class Topic:
    """Statements under one heading; `missing` says what the part would need."""

    title: str
    statements: list[Statement] = field(default_factory=list)
    missing: str = ""


def overview(
    results: Results, factors: Factors | None, sets: list[AssociationSet],
    loci: list[dict[str, Any]] | None, n_loci: Mapping[str, int],
) -> list[Topic]:  # fmt: skip
    """The topics of the overview.

    Args:
        results: of the first study.
        factors: of the second, where there are any.
        sets: the associations.
        loci: facts of the loci, the strongest first; None where loci were not looked for.
        n_loci: of all loci, `known` and `new`.
    """
    study = results.study.name
    return [
        Topic("What this is about", data_statements(results, sets)),
        Topic(
            "What the network saw", network_statements(results),
            "" if results.records is not None else
            f"Nothing has been explained in this study yet. To find out where the evidence lies: "
            f"leadlight explain --study {study}.",
        ),
        Topic(
            "The ECG’s own factors",
            [Statement(text, "factors", "Factors") for text in factor_sentences(factors)]
            if factors else [],
            "" if factors else
            f"There are no factors yet; they need leadlight measure and leadlight latent encode "
            f"--study {study}.",
        ),
        Topic(
            "The genes", gene_statements(sets, loci, n_loci),
            "" if sets or loci is not None else
            "There is no association yet; it needs genotypes: leadlight gwas, then leadlight loci.",
        ),
        Topic(
            "Both together", join_statements(loci or []),
            "" if any(one["effect"] for one in loci or []) else _no_join(loci),
        ),
        Topic("What was not found, or not done", open_statements(results, sets, loci)),
    ]  # fmt: skip


def data_statements(results: Results, sets: list[AssociationSet]) -> list[Statement]:
    """How many records of how many people came in, what is simulated, who was associated."""
    said = []
    if results.cohort is not None:
        n = len(results.cohort)
        patients = results.cohort.records["patient_id"].n_unique()
        refused = results.rejects.height if results.rejects is not None else 0
        text = f"{_count(n, 'record')} of {_count(patients, 'person', 'people')} came in"
        text += f"; {_count(refused, 'file')} could not be used." if refused else "."
        said.append(Statement(text, "data", "Data"))
        if simulated := simulated_records(results):
            said.append(Statement(_simulated(n, simulated, results), "data", "Data"))
    for one in sets:
        if one.is_null or one.people is None:
            continue
        text = (
            f"{one.people:,} people with genotypes are in the association of {one.label} "
            f"({_count(len(one.tables), 'trait')}"
        )
        text += f", {one.variants:,} variants)." if one.variants else ")."
        said.append(Statement(text, "association", "Associations"))
    return said


def network_statements(results: Results) -> list[Statement]:
    """For each class: its lead against the control, beyond random weights, the signed effect."""
    said = verdict_statement(paper_claims(results))
    if results.leads is None:
        return said
    for name in results.classes:
        place = (f"leads-of-{slug_of(name)}", f"Leads of {name}")
        lead = lead_sentences(results.leads, name, results.control)
        if lead:
            said.append(Statement(" ".join(lead[:2]), *place))
        for text in [
            *beyond_random_sentences(results.leads, name, results.control),
            *signed_sentences(results.leads, name, results.control)[-1:],
        ]:
            said.append(Statement(text, *place))
    return said


def verdict_statement(claims: list[Claim]) -> list[Statement]:
    """How the published statements fare, as one sentence; none where none can be judged."""
    if not claims:
        return []
    count = {
        name: sum(one.verdict == name for one in claims)
        for name in (SUPPORTED, CONTRADICTED, UNDECIDED, NO_EVIDENCE)
    }
    text = (
        f"Of {_count(len(claims), 'statement')} of the published analysis that this study can be "
        f"held against, {count[SUPPORTED]} {_be(count[SUPPORTED])} supported, "
        f"{count[CONTRADICTED]} contradicted and {count[UNDECIDED]} undecided"
    )
    if count[NO_EVIDENCE]:
        text += f"; {count[NO_EVIDENCE]} would be true of any network and decide nothing"
    return [Statement(f"{text}.", "claims", "Statements")]


def gene_statements(
    sets: list[AssociationSet], loci: list[dict[str, Any]] | None, counts: Mapping[str, int]
) -> list[Statement]:
    """How many loci, how well calibrated, which is the strongest."""
    said = []
    if loci is not None:
        n = counts["known"] + counts["new"]
        if n:
            said.append(
                Statement(
                    f"{_count(n, 'locus', 'loci')} found at the threshold of the study: "
                    f"{counts['known']} near a published ECG locus, {counts['new']} not.",
                    "loci",
                    "Loci",
                )
            )
        else:
            said.append(
                Statement("No variant reaches the threshold: no locus was found.", "loci", "Loci")
            )
    for one in sets:
        found = inflation_of(one.joint) if one.joint else None
        if found is None:
            continue
        side = "above 1" if found.low > 1 else "below 1" if found.high < 1 else "around 1"
        meaning = {
            "above 1": "test statistics are larger than chance gives, by many effects, relatives "
            "or structure",
            "below 1": "test statistics are smaller than chance gives",
            "around 1": "what chance alone gives",
        }[side]
        what = "null control " if one.is_null else ""
        value = with_interval(found.lambda_gc, found.low, found.high, decimals=3)
        said.append(
            Statement(
                f"λGC of the {what}joint test of {one.label} is {value}, {side}: {meaning}.",
                "calibration",
                "Calibration",
            )
        )
    said += [control_statement(one) for one in sets if one.is_null]
    if loci:
        said.append(_strongest(loci[0]))
    return said


def control_statement(one: AssociationSet) -> Statement:
    """How many tests of a null control pass the genome-wide threshold, and how many should."""
    tests, hits = genome_wide_hits(one)
    text = (
        f"The null control {one.label} has {_count(hits, 'test')} beyond 5 × 10⁻⁸ among "
        f"{tests:,} of all its variants and traits, joint test included; chance gives "
        f"{number(5e-8 * tests, 2)}."
    )
    return Statement(text, "calibration", "Calibration")


def join_statements(loci: list[dict[str, Any]]) -> list[Statement]:
    """The strongest locus that has an effect: the ECG it makes and what the network makes of it."""
    one = next((locus for locus in loci if locus["effect"]), None)
    if one is None:
        return []
    effect, said = one["effect"], []
    per = f"Each {effect['step']} of {one['name']} ({one['lead']})"
    changes = clear_changes(effect, most=3)
    if changes:
        told = ", ".join(f"{change['name']} by {change['text']}" for change in changes)
        said.append(f"{per} changes {told} in {effect['n']:,} people.")
    else:
        said.append(
            f"{per} changes no interval, axis or voltage sum beyond its 95 % interval in "
            f"{effect['n']:,} people."
        )
    if largest := effect["largest"]:
        where = f"{largest['lead']} at {largest['time_ms']:.0f} ms from R".replace("-", "−")
        value = with_interval(largest["uv"], largest["low"], largest["high"], decimals=1, unit="µV")
        beyond = (
            "the band of the whole beat leaves zero there"
            if largest["beyond"]
            else "which the band of the whole beat does not tell from zero"
        )
        said.append(f"In the drawn ECG the surest difference is in {where}: {value}; {beyond}.")
    clear = sorted(
        (row for row in effect["logits"] if row["clear"]), key=lambda row: -abs(row["change"])
    )
    rest = [row["class"] for row in effect["logits"] if not row["clear"]]
    if clear:
        told = ", ".join(
            f"{row['class']} {with_interval(row['change'], row['low'], row['high'], decimals=3)}"
            for row in clear
        )
        text = f"The classifier’s logits of these people change by {told} per {effect['step']}"
        text += f"; those of {', '.join(rest)} do not beyond their intervals." if rest else "."
        said.append(text)
    elif effect["logits"]:
        said.append("None of the classifier’s logits changes beyond its 95 % interval.")
    if where := effect["where"]:
        parts = ", ".join(
            f"{part['wave']} of {part['lead']} ({100 * part['share']:.0f} %)"
            for part in where["parts"]
        )
        said.append(
            "On a strip of the mean beat without and with the difference, the largest change is "
            f"of {where['class']}; the network finds it most in {parts} of its absolute relevance."
        )
    return [Statement(text, f"locus-{one['locus']}", f"Locus {one['name']}") for text in said]


def open_statements(
    results: Results, sets: list[AssociationSet], loci: list[dict[str, Any]] | None
) -> list[Statement]:
    """What stays open: undecided statements, sets without a locus, loci not drawn, no control."""
    said = []
    undecided = [one for one in paper_claims(results) if one.verdict == UNDECIDED]
    if undecided:
        told = "; ".join(f"{one.text[0].lower()}{one.text[1:]}" if one.text.startswith("A ")
                         else one.text for one in undecided)  # fmt: skip
        said.append(Statement(f"Undecided stays whether these hold: {told}.", "claims",
                              "Statements"))  # fmt: skip
    for one in sets:
        if loci and not one.is_null and not any(one.label in locus["labels"] for locus in loci):
            text = f"No locus is seen by {one.label}."
            said.append(Statement(text, "loci", "Loci"))
    if loci:
        drawn = sum(1 for locus in loci if locus["effect"])
        if drawn < len(loci):
            text = (
                f"What {_count(len(loci) - drawn, 'locus', 'loci')} of the {len(loci)} listed "
                f"{'does' if len(loci) - drawn == 1 else 'do'} to the ECG is not drawn on this "
                "page."
            )
            said.append(Statement(text, "loci", "Loci"))
    if sets and not any(one.is_null for one in sets):
        text = (
            "No null control was associated, so nothing here tells many small effects from a fault "
            "that inflates test statistics."
        )
        said.append(Statement(text, "calibration", "Calibration"))
    return said


def _strongest(one: Mapping[str, Any]) -> Statement:
    text = (
        f"The strongest is {one['name']} at {one['chromosome']}:{one['position']:,} "
        f"({one['lead']}, −log₁₀ p = {one['p']:.1f} of {one['trait']} in {one['label']}), "
        f"{'near published ECG loci' if one['known'] else 'near no published ECG locus'}"
    )
    if strongest := one["strongest"]:
        text += (
            f"; a copy of {strongest['allele']} moves {spoken(strongest['trait'])} by "
            f"{effect_text(strongest)}"
        )
    return Statement(f"{text}.", f"locus-{one['locus']}", f"Locus {one['name']}")


def _no_join(loci: list[dict[str, Any]] | None) -> str:
    if loci is None:
        return (
            "What a locus does to the ECG and to the network needs loci and leadlight effect; a "
            "study file with [effect] draws the leading loci."
        )
    if not loci:
        return "No locus was found, so there is none to draw."
    return (
        "No locus has been drawn yet: leadlight effect --variant, or [effect] in a study file, "
        "works out what it does to the ECG and to the classifier."
    )


def _simulated(n: int, simulated: int, results: Results) -> str:
    if simulated == n:
        text = (
            f"All {n:,} records are simulated by this program: nothing here is about real people."
        )
    else:
        verb = _be(n - simulated)
        text = (
            f"{simulated:,} records are simulated by this program and {n - simulated:,} {verb} "
            "real: figures over many records are figures of simulated people."
        )
    made = results.provenance.get("cohort-provenance.json", {}).get("parameters", {})
    strength = made.get("strength")
    if isinstance(strength, int | float) and strength != 1:
        text += (
            f" Genetic effects were planted {number(float(strength))} times as strong as in life, "
            "so that few people show them."
        )
    return text


def _be(n: int) -> str:
    return "is" if n == 1 else "are"


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"
