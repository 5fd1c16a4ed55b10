#!/usr/bin/env bash
# Build the wheel, install it with all that it needs into a new environment, and try it out.
# Needs a network, some 2 GB and a few minutes. Usage: release/fresh_install.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy of the tracked files: what earlier builds left behind would go into the wheel.
git ls-files -z | xargs -0 -I{} cp --parents {} "$work" 2>/dev/null
"$python" -m venv "$work/builder"
"$work/builder/bin/pip" install --quiet --disable-pip-version-check build
(cd "$work" && builder/bin/python -m build --wheel --outdir dist . >/dev/null)
started=$SECONDS
"$python" -m venv "$work/fresh"
"$work/fresh/bin/pip" install --quiet --disable-pip-version-check \
  -c requirements.lock "$work"/dist/*.whl
echo "installed in $((SECONDS - started)) s: $("$work/fresh/bin/pip" list 2>/dev/null | tail -n +3 | wc -l) packages" >&2
if "$work/fresh/bin/python" -c 'import msprime' 2>/dev/null; then
  echo "msprime (GPL) was installed unasked" >&2
  exit 1
fi
mkdir "$work/away"
started=$SECONDS
(cd "$work/away" && bash "$OLDPWD/release/smoke.sh" "$work/fresh/bin")
echo "tried out in $((SECONDS - started)) s" >&2
