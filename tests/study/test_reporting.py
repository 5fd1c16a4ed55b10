from pathlib import Path

import pytest

from leadlight.latent.decoder_file import read_decoder
from leadlight.study.reporting import report_study


def test_a_study_that_was_encoded_earlier_gets_its_decoder_before_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "latent" / "leadlight-factors"
    folder.mkdir(parents=True)
    (folder / "factors.parquet").touch()
    seen: list[bool] = []

    def page(study: Path, *, overwrite: bool) -> Path:
        seen.append((folder / "decoder.safetensors").is_file())
        return study

    monkeypatch.setattr("leadlight.study.reporting.write_report", page)
    report_study(tmp_path, overwrite=True)
    assert seen == [True]
    assert read_decoder(folder).about["weights_sha256"]
