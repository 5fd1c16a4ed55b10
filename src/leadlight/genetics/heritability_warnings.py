"""What may be wrong with an LD score regression, in words."""

from leadlight.genetics.ld_score_regression import Heritability

FEW_VARIANTS = 200_000
FEW_PEOPLE = 5_000
SMALL_Z = 4.0  # below, genetic correlations are not to be trusted
LITTLE_INFLATION = 1.02


def heritability_warnings(
    found: Heritability, n: float, removed: int, he: tuple[float, float] | None = None
) -> list[str]:
    """Sentences about one trait; an empty list where nothing is amiss.

    n: people (median over the variants). removed: variants left out for a huge χ². he: h² and its
    standard error by Haseman–Elston regression.
    """
    out = []
    if removed:
        out.append(
            f"{removed:,} variants with χ² above max(0.001 N, 80) were left out: what they explain "
            "is not in h²."
        )
    if found.n_variants < FEW_VARIANTS:
        out.append(
            f"{found.n_variants:,} variants: with fewer than {FEW_VARIANTS:,} the estimate is "
            "imprecise."
        )
    if n < FEW_PEOPLE:
        out.append(f"{n:,.0f} people: below {FEW_PEOPLE:,} LD score regression says little.")
    if found.n_blocks < 50:
        out.append(
            f"{found.n_blocks} blocks of the genome only: the standard errors are themselves rough."
        )
    if found.mean_chi_squared < LITTLE_INFLATION:
        out.append(
            f"Mean χ² is {found.mean_chi_squared:.3f}: there is hardly any polygenic signal to "
            "estimate from."
        )
    if found.h2 < 0:
        out.append("h² is negative: it is indistinguishable from 0.")
    elif found.h2 > 1:
        out.append("h² is above 1: look at N, at the LD scores' people and at their window.")
    if abs(found.z) < SMALL_Z:
        out.append(
            f"h² is {found.z:.1f} standard errors from 0: below {SMALL_Z:g}, do not interpret "
            "genetic correlations."
        )
    if (
        found.intercept_se > 0
        and found.intercept > 1 + 3 * found.intercept_se
        and (found.ratio > 0.2)
    ):
        out.append(
            f"Intercept {found.intercept:.3f}: {found.ratio:.0%} of the inflation is not polygenic "
            "(structure, relatives, or LD scores of other people)."
        )
    if he is not None:
        spread = (he[1] ** 2 + found.h2_se**2) ** 0.5
        if abs(he[0] - found.h2) > 3 * spread:
            out.append(
                f"Haseman–Elston regression says {he[0]:.3f} ± {he[1]:.3f}: the two disagree."
            )
    return out
