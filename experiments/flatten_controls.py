"""What in flattening helps: the shape of the gain, a gain at all, its signal-to-noise ratios, or its loss weights?

    specmatch compare cifar10 --config experiments/flatten.yaml --out runs/compare/flatten
    python experiments/flatten_controls.py runs/compare/flatten --dose 1

The controls of experiments/PREREGISTERED.md, "Flattened latents", on the autoencoders of the entry `autoencoder`, with
the plan's own training, samples and scores. Each is a stage beside those of the comparison and runs once: rerun the
same command to resume, and several with other --only at once. Writes experiments/results/flatten_controls.json.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from spectrum_matching.comparison.checks import OpenedPlan, diffusion_run
from spectrum_matching.comparison.trial import EXPORT, LATENTS, SAMPLES, run_trial
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.evaluation.samples import open_samples
from spectrum_matching.files.stages import read_finished_stage, run_stage
from spectrum_matching.latent_space import LatentSpace, SpectralGain
from spectrum_matching.latents.gain import cached_samples, mean_power, with_gain
from spectrum_matching.latents.gain_choice import GainChoice
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.nets.autoencoder import open_autoencoder
from spectrum_matching.processes import open_accelerator
from spectrum_matching.sampling.model import Card, Decoder, DiffusionModel
from spectrum_matching.sampling.samples import write_samples
from spectrum_matching.seeding import seeded
from spectrum_matching.spectrum.gain import apply_gain
from spectrum_matching.spectrum.power import radial_bins
from spectrum_matching.training.diffusion_data import DiffusionBatch, open_learned
from spectrum_matching.training.optimization import ema_weights, train
from spectrum_matching.training.train_diffusion import DiffusionTrainer, build_diffusion_state, path_of
from trials import RESULTS, finished, open_runs, save_rows, score

CONFIG = Path(__file__).parent / "flatten.yaml"
ENTRY = "autoencoder"
CONTROLS = ("permuted rings", "gain by channel", "coloured noise", "loss weights")


class Coloured(nn.Module):
    """A denoiser of plain latents, seen from the gained ones: white noise there is noise of power 1/g² here."""

    def __init__(self, denoiser: nn.Module, gain: Tensor) -> None:
        super().__init__()
        self.denoiser, self.gain, self.config = denoiser, gain, denoiser.config

    def forward(
        self, noisy: Tensor, t: Tensor, labels: Tensor | None = None, tap: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return G · denoiser(G⁻¹ · noisy)."""
        prediction, tokens = self.denoiser(apply_gain(noisy, 1 / self.gain), t, labels, tap)
        return apply_gain(prediction, self.gain), tokens


def permuted_rings(gain: Tensor, seed: int) -> Tensor:
    """Return the gain (h, w) with its rings, of which each takes the mean of its logarithm, in another order."""
    h, w = gain.shape
    rings = radial_bins(h, w, h, "frequency").rings
    used = rings.unique()
    means = torch.stack([gain[rings == ring].log().mean() for ring in used])
    order = torch.randperm(len(used), generator=seeded("permuted rings", seed))
    return means[order][torch.searchsorted(used, rings)].exp()


def gain_by_channel(gain: Tensor, channels: int, seed: int) -> Tensor:
    """Return a factor for each channel (c,) whose logarithm has the variance of the gain's over coefficients."""
    draws = torch.randn(channels, generator=seeded("gain by channel", seed), dtype=torch.float64)
    standard = (draws - draws.mean()) / draws.std(correction=0)
    return (standard * gain.log().std(correction=0)).exp()


def spaces(control: str, plain: LatentSpace, flattened: LatentSpace, power: Tensor, seed: int) -> LatentSpace:
    """Return the space in which a control diffuses, of unit variance; power (c, h, w) is that of plain latents."""
    assert flattened.gain is not None
    c, h, w = power.shape
    gain = flattened.gain.table(h, w)[0]
    if control == "permuted rings":
        table = permuted_rings(gain, seed).expand(1, h, w)
    elif control == "gain by channel":
        table = gain_by_channel(gain, c, seed)[:, None, None].expand(c, h, w)
    else:
        return flattened if control == "coloured noise" else plain
    table = table / (power * table.square()).mean().sqrt()
    return replace(plain, gain=SpectralGain(tuple(map(tuple, table.flatten(1).tolist())), grid=(h, w)))


def run_control(opened: OpenedPlan, control: str, dose: float, seed: int, folder: Path) -> dict[str, float | None]:
    """Train, sample and score one control; return its scores."""
    stages = run_trial(opened, ENTRY, seed, read_finished_stage)
    run = diffusion_run(opened.plan, ENTRY, seed, stages["cache"].folder / LATENTS, folder / "run")
    accelerator, data = open_accelerator(), open_learned(run, opened.device)
    latents = open_latents(stages["cache"].folder / LATENTS)
    plain = data.latent_space
    flattened = with_gain(plain, GainChoice(flatten=dose), lambda: cached_samples(latents))
    assert flattened.gain is not None
    gain = flattened.gain.table(*data.shape[1:])[0].float()
    space = spaces(control, plain, flattened, mean_power(plain, lambda: cached_samples(latents)), seed)
    state = build_diffusion_state(run, data.shape, len(data.info.classes), opened.device)
    trainer = DiffusionTrainer(run, state, accelerator)
    seen: nn.Module = state.denoiser
    if control == "coloured noise":
        seen, trainer.spectral_weights = Coloured(state.denoiser, gain), gain**-2
        trainer.denoiser = seen
    elif control == "loss weights":
        trainer.spectral_weights = gain.square() / gain.square().mean()

    def batches() -> Iterator[DiffusionBatch]:
        for batch in data.batches(0, 1, 0, run.steps):
            yield batch._replace(data=space.to_unit(plain.from_unit(batch.data)))

    for record in train(run, state, trainer, batches(), accelerator):
        if record.step % 250 == 0:
            print(f"{control}, seed {seed}: step {record.step}, loss {float(record.losses['loss']):.4f}", flush=True)
    export = str(stages["autoencoder"].folder / EXPORT)
    decoder = Decoder(export, open_autoencoder(export, opened.device), str(stages["autoencoder"].outputs["weights"]))
    card = Card(
        run=run.name,
        step=state.step,
        averaged=True,
        path=path_of(run),
        shape=data.shape,
        classes=data.info.classes,
        class_counts=data.class_counts,
        learned_none=bool(run.objective.label_dropout) or sum(data.class_counts) < data.n,
        latent_space=space,
        autoencoder=export,
        data=str(run.source.latents),
        data_digest=data.digest,
    )
    samples = folder / SAMPLES
    with ema_weights(state):
        model = DiffusionModel(str(folder), card, seen.eval(), "", decoder)
        write_samples(model, opened.plan.sampling, opened.plan.measuring.samples, samples, accelerator)
    return score(opened, seed, fixed_batches(open_samples(samples), 64), decoder)


def main() -> None:
    """Run what is chosen, then save all that is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--dose", type=float, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=CONTROLS, default=CONTROLS)
    arguments = parser.parse_args()
    opened, rows = open_runs(arguments.runs, arguments.seeds, [CONFIG]), []
    for seed in arguments.seeds:
        stages = finished(parser, opened, ENTRY, seed)
        for control in arguments.only:
            # The entry's own training has the same settings and latents, the scores the same sampling and features.
            alike = {name: stages[name].digest for name in ("diffusion", "samples", "scores")}
            inputs = {"control": control, "dose": arguments.dose, "seed": seed, **alike}
            weights = stages["autoencoder"].outputs["weights"]

            def work(folder: Path, control: str = control, seed: int = seed) -> dict[str, float | None]:
                return run_control(opened, control, arguments.dose, seed, folder)

            stage = run_stage(arguments.runs / "controls" / f"seed{seed}", "control", inputs, work)
            rows.append({**inputs, "autoencoder": weights, "scores": stage.outputs})
    save_rows(RESULTS / "flatten_controls.json", {"rows": (rows, ("seed", "control", "dose"))}, lambda merged: {})


if __name__ == "__main__":
    main()
