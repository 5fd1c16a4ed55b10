"""The figures of an association: Manhattan and QQ plots of all its traits."""

from collections.abc import Sequence
from pathlib import Path

from leadlight.atomic import written_whole
from leadlight.report.figures import png_bytes
from leadlight.report.manhattan import manhattan
from leadlight.report.qq import qq


def draw_association(out: Path, traits: Sequence[str], *, joint: bool = False) -> None:
    """Write `figures/manhattan.png` and `qq.png` beside an association's tables.

    All traits go into one plot of each kind; joint: the joint tests get plots of their own.
    """
    tables = {name: out / f"{name}.parquet" for name in traits}
    drawn = {"manhattan": manhattan(tables), "qq": qq(tables)}
    if joint:
        own = {"all traits together": out / "joint.parquet"}
        drawn |= {"joint_manhattan": manhattan(own), "joint_qq": qq(own)}
    (out / "figures").mkdir(exist_ok=True)
    for name, figure in drawn.items():
        with written_whole(out / "figures" / f"{name}.png") as partial:
            partial.write_bytes(png_bytes(figure))
