"""Studies as documents: what is written is read back."""

import pytest

from spectrum_matching.records.analysis import Provenance, Sample
from spectrum_matching.records.coverage import Coverage
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.studies.directional_energy import record as directional_energy
from spectrum_matching.studies.directional_energy.record import DirectionalEnergy, EncoderResult, FilterResult
from spectrum_matching.studies.unified_view import record as unified_view
from spectrum_matching.studies.unified_view.record import (
    Change,
    GapCurve,
    MethodResult,
    Quantity,
    SeedResult,
    UnifiedView,
)

OWN = Provenance("0.3.0", "afc7f8e", "2.13.0", "0.42.0", "cpu", "float32", 0)
READING = FilterResult(
    filter="none",
    family="none",
    settings="",
    divided=False,
    dc=Measurement(0.4, 0.1),
    shares=(Measurement(0.6, 0.1),),
    energy=Measurement(0.6, 0.1),
    measurements={
        "rmsc": Measurement(0.77, 0.01, 0.99),
        "srss": Measurement(None, white=0.0, refused="no masks were given"),
    },
    deviation=1e-16,
    n_without=0,
)
DIRECTIONAL = DirectionalEnergy(
    encoders=(EncoderResult("own", "gradients", "00", 36, "none", (4, 4), (0.2,), (15,), 2, (READING,)),),
    sample=Sample("embedded", "all", Coverage(3, 8, 2, 2), 32, "00", ()),
    masks="",
    command="specmatch study directional-energy gradients",
    provenance=OWN,
    notes=("said",),
)
CURVE = GapCurve("paper", (0.1, 0.2), 0.0, 0.1)
SEED = SeedResult("runs/0", "00", 24.0, (CURVE,), (20.0,), (25.0,), (5.0,))
UNIFIED = UnifiedView(
    control="control",
    delta=1.0,
    deltas=(0.0, 1.0),
    keeps=(7,),
    block=8,
    latent_shape=(4, 8, 8),
    images="4 images",
    quantities=(Quantity("psnr", "PSNR", "dB", "neither", ""),),
    methods=(MethodResult("control", (SEED,), (Change("psnr", (24.0,), (0.0,), 0.0, 0.0, "undecided"),)),),
    command="specmatch study unified-view",
    provenance=OWN,
    notes=(),
)
KINDS = {
    "directional energy": (DIRECTIONAL, directional_energy.DIRECTIONAL_ENERGY),
    "unified view": (UNIFIED, unified_view.UNIFIED_VIEW),
}


@pytest.mark.parametrize("kind", KINDS)
def test_document_reads_the_study_that_it_wrote(kind, tmp_path):
    study, document = KINDS[kind]
    document.write(tmp_path / "study.json", study)
    assert document.read(tmp_path / "study.json") == study


def test_study_records_find_parts_by_name():
    assert READING.measurements["rmsc"].value == 0.77
    assert DIRECTIONAL.families == ("none",)
    assert SEED.curve("paper") is CURVE
    assert UNIFIED.of("control").change("psnr").values == (24.0,)
