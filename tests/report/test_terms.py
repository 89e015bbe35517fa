import pytest

from spectrum_matching.metrics.catalogue import GENERATIVE_METRICS, METRICS
from spectrum_matching.report.analysis.terms import OF_METRICS, OTHERS, described, glossary, model_name, split_terms


def explained(text):
    return [term for term, meaning in split_terms(text) if meaning]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The latents’ spectrum is at the target (delta 1 fits).", ["spectrum", "the target", "delta"]),
        ("PSNR and PSNR again", ["PSNR"]),
        ("a PSNRs, spectrum-like, f¹", ["f¹"]),
        ("", []),
        ("nothing to explain", []),
    ],
)
def test_split_terms_explains_the_first_of_each_whole_word(text, terms):
    assert explained(text) == terms
    assert "".join(part for part, _ in split_terms(text)) == text


def test_glossary_has_each_metric_in_its_own_words():
    for term, key in OF_METRICS.items():
        assert glossary()[term] == described(METRICS[key])
    for entry in GENERATIVE_METRICS:
        name = model_name(entry.metrics[0])
        assert explained(f"{name} 3.2 ± 0.1") == [name]
    assert glossary().keys() >= OTHERS.keys()
    text = described(METRICS["sec_25"])
    assert text.startswith("Spectral energy concentration, ρ = 0.25, in share: 0 to 1. DCT of the whole map")
    assert "Evidence: |r| with gFID" in text
    assert text.endswith(".")
    assert ".." not in text
