"""Whatever a study file says, there is a plan or one sentence, and nothing is written for it."""

import string
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadlight.errors import LeadlightError
from leadlight.study.beginning import KINDS
from leadlight.study.running import plan_study
from leadlight.study.study_file import StudyFile

TEMPLATES = Path(__file__).parents[2] / "src" / "leadlight" / "study" / "templates"
# The same examples at every run: a new one that fails is for whoever looks for it, not for a change
# that has nothing to do with it.
FAST = settings(
    max_examples=80, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip

texts = st.one_of(
    st.sampled_from([
        "", ".", "..", "../..", "/", "/etc/passwd", "a\x00b", "~", "*", "**", "a**", "[", "[!", "?",
        "x" * 300, "a/" * 2000, "\n", "\x1b[31mred", "ECG ♥ 心電図", "\u202e", "a=b", "=", "=x",
        "leadlight-ecg-6", "leadlight-factors", "ecgs", "factors", "GRCh37", "-1", "NaN", " ",
    ]),
    st.text(max_size=20),
    st.text(string.punctuation, max_size=8),
)  # fmt: skip
scalars = st.one_of(
    texts, st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.datetimes(), st.dates(),
    st.sampled_from([0, 1, -1, 2**63, 10**300, float("nan"), float("inf")]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


def _keys(section: str) -> list[str]:
    annotation = StudyFile.model_fields[section].annotation
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return next(list(k.model_fields) for k in kinds if hasattr(k, "model_fields"))


SECTIONS = {
    (field.alias or name): _keys(name) for name, field in StudyFile.model_fields.items()
}  # fmt: skip


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """Sections and keys as they should be, mostly; values as they come."""
    tables: dict[str, Any] = {}
    for section in draw(st.lists(st.sampled_from(list(SECTIONS)), unique=True, max_size=5)):
        known = SECTIONS[section] or ["nothing"]
        keys = draw(st.lists(st.sampled_from(known), unique=True, max_size=4))
        tables[section] = {key: draw(_fitting(key) | values) for key in keys}
    if draw(st.booleans()):
        tables[draw(st.text(max_size=8))] = draw(values)
    return tables


def _fitting(key: str) -> st.SearchStrategy[Any]:
    """Values of the kind that a key takes, more often than chance would find one."""
    if key in ("sources", "genotypes", "results", "classes", "measurements", "traits"):
        return st.lists(texts, min_size=1, max_size=3)
    if key in ("seed", "workers", "pcs", "most", "memory_mb", "most_per_group"):
        return st.integers(0, 2**65)
    return texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a few inputs, beside which nothing may appear."""
    (tmp_path / "ecgs").mkdir()
    (tmp_path / "ecgs" / "one.hea").write_text("one 0")
    (tmp_path / "labels.csv").write_text("record_id,labels\n")
    return tmp_path


def check(folder: Path, content: bytes) -> None:
    file = folder / "study.toml"
    file.write_bytes(content)
    before = sorted(folder.rglob("*"))
    said = "a plan"
    try:
        _, steps = plan_study(file)
    except LeadlightError as error:
        said, steps = str(error), []
    assert said.strip()
    assert not {unicodedata.category(c) for c in said} & {"Cc", "Cf", "Cs", "Zl", "Zp"}, repr(said)
    assert steps or said != "a plan"
    assert sorted(folder.rglob("*")) == before
    assert file.read_bytes() == content


@FAST
@given(tables=studies())
def test_any_values_give_a_plan_or_one_sentence(folder: Path, tables: dict[str, Any]) -> None:
    try:
        text = tomli_w.dumps(tables)
    except (ValueError, TypeError):
        return  # there is no TOML for it
    check(folder, text.encode("utf-8", errors="surrogatepass"))


@st.composite
def harmed(draw: st.DrawFn) -> bytes:
    """A study file to begin with, after an accident."""
    kind = draw(st.sampled_from(KINDS))
    lines = (TEMPLATES / f"{kind}.toml").read_bytes().splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        what = draw(st.sampled_from(["drop", "twice", "cut", "bytes", "uncomment", "swap"]))
        if what == "drop":
            lines[at] = b""
        elif what == "twice":
            lines.insert(at, lines[at])
        elif what == "cut":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
        elif what == "bytes":
            place = draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:place] + draw(st.binary(max_size=6)) + lines[at][place:]
        elif what == "uncomment":
            lines[at] = lines[at].lstrip(b"# ")
        else:
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
    return b"".join(lines)


@FAST
@given(content=harmed())
def test_an_accident_to_the_file_gives_a_plan_or_one_sentence(folder: Path, content: bytes) -> None:
    check(folder, content)


@FAST
@given(content=st.binary(max_size=200))
def test_any_bytes_give_one_sentence(folder: Path, content: bytes) -> None:
    check(folder, content)


@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 20_000,
        b"a = " + b"{b=" * 20_000,
        b"[" + b"a." * 20_000 + b"b]\n",
        b"[study]\nseed = " + b"9" * 5_000 + b"\n[measure]\n",
        b"[study]\nseed = 0x" + b"f" * 9_000 + b"\n[measure]\n",
        b"[measure]\n[measure]\n",
        b"\xef\xbb\xbf[measure]\n",
        "[measure]\n".encode("utf-16"),
        b"[import]\nsources = ['" + b"x" * 5_000 + b"']\n",
        b'[import]\nsources = ["\\u0000"]\n',
        b'[study]\nfolder = "\\u0000"\n[import]\nsources = ["ecgs"]\n',
        b'[import]\nsources = ["ecgs"]\n[gwas]\ngenotypes = ["a**"]\n[latent]\n[measure]\n',
        b'[import]\nsources = ["ecgs"]\n[gwas]\ngenotypes = ["\\u0000"]\n[latent]\n[measure]\n',
        b'[import]\nsources = ["ecgs"]\nlabels = "ecgs"\n',
        b'[import]\nsources = ["ecgs"]\n[measure]\n[latent]\nmodel = "ecgs"\n',
        b'[import]\nsources = ["ecgs"]\n[measure]\n[latent]\nmodel = "../../etc"\n',
        b'[import]\nsources = ["ecgs"]\n[classify]\nmodel = "\\u0000"\n',
        b'[loci]\nresults = ["="]\n',
        b'[study]\nfolder = "labels.csv"\n[import]\nsources = ["ecgs"]\n',
        b'[study]\nfolder = "labels.csv/below"\n[import]\nsources = ["ecgs"]\n',
    ],
    ids=lambda content: content[:40].decode("utf-8", "replace"),
)  # fmt: skip
def test_hard_cases(folder: Path, content: bytes) -> None:
    check(folder, content)


def test_a_file_that_cannot_be_a_study_file_is_one_sentence(
    folder: Path,
) -> None:
    (folder / "loop.toml").symlink_to(folder / "loop.toml")
    for path in (folder / "absent.toml", folder / "ecgs", folder / "loop.toml", Path("a\x00b")):
        with pytest.raises(LeadlightError):
            plan_study(path)
