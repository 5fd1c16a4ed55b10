#!/usr/bin/env bash
# Whether an installed Leadlight works: from the version to a page of eight simulated hearts.
# Usage, in an empty folder: smoke.sh BIN, the folder of the environment's programs.
set -euo pipefail
bin=$1
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
version=$("$bin/leadlight" --version)
"$bin/leadlight" init folder --out begun.toml --quiet
"$bin/leadlight" simulate --study hearts --people 8 --seed 1 --no-genomes --quiet
cat > study.toml <<'TOML'
[study]
folder = "hearts"
[measure]
[classify]
[latent]
TOML
"$bin/leadlight" run study.toml --quiet
"$bin/leadlight" report --study hearts --quiet
"$bin/python" - "$version" <<'PYTHON'
import importlib.metadata, json, sys
import leadlight, polars
assert polars.read_parquet("hearts/measurements.parquet").height == 8
page = open("hearts/report/index.html", encoding="utf-8").read()
assert page.rstrip().endswith("</html>")
print(json.dumps({
    "package": leadlight.__file__, "version": sys.argv[1].split()[-1],
    "wheel": importlib.metadata.version("leadlight"),
}))
PYTHON
