"""The ledger's rows of controls: what an implementer of the paper must not take on trust."""

from collections.abc import Iterator

from claim_results import (  # a file beside this one
    SUPPORTED,
    Results,
    Row,
    against,
    agreed,
    fids,
    paired,
    ran_alignments,
    ran_comparison,
    said,
    signs,
)
from spectrum_matching.report.digits import number

WORDS = {"below": "lowers", "above": "raises", "undecided": "leaves undecided"}


def of_the_losses(r: Results) -> Iterator[Row]:
    """Scale, border and resampling of ESM, its delta; the unit of DSM's block."""
    paper, free = (r.esm["losses"][variant]["best_exponent"] for variant in ("paper", "scale_free"))

    def trained(method: str) -> str:
        rows = [row for row in r.small["rows"] if row["method"] == method]
        return said([row["latents"]["mean"]["matches"]["scale_free"]["best_delta"] for row in rows])

    yield Row(
        "control, scale",
        "The paper's loss selects one flattening, whatever the scale of the latents.",
        [f"`{r.esm['command']}`: Gaussian fields, one seed", f"`{r.small['command']}`"],
        [
            "Exponent of the latents that the loss prefers, asked for the same flattening, at standard deviations "
            f"{', '.join(paper)}: {', '.join(map(str, paper.values()))}; scale-free: "
            f"{', '.join(map(str, free.values()))}.",
            f"Trained: best-fitting delta {trained('ESM, paper')} with the paper's loss and "
            f"{trained('ESM, scale-free')} with the scale-free one, both asked for one.",
        ],
        "not supported",
        "The preferred exponent moves with the scale by more than any setting of delta that the authors tried.",
        "Nothing: it follows from the logarithm.",
    )
    yield Row(
        "control, blur",
        "The image spectrum that the loss aims at is the image's own.",
        [f"`{r.esm['command']}`: {r.esm['n_images']} embedded photographs"],
        [
            "; ".join(
                f"f{factor}: {number(row['kl'])} nats apart, the upper half of the bands has "
                f"{number(row['upper_half_paper'])} of the target instead of {number(row['upper_half_own'])}"
                for factor, row in r.esm["targets"].items()
            )
            + ".",
        ],
        "not supported",
        "Zeros beyond the border and resizing without antialiasing whiten it before delta does.",
        "Nothing: it follows from the resampling.",
    )
    yield Row(
        "control, delta",
        "A delta of one is the best.",
        ["not run; the plans `…_all` hold a sweep"],
        [],
        "undecided",
        "No other delta was diffused here.",
        "`specmatch compare cifar10_all`, three seeds or more.",
    )
    masks = r.esm["masks"]
    whole = max(masks, key=int)
    keeps = [keep for keep in masks if masks[keep]["coefficients"] < masks[whole]["coefficients"]]
    yield Row(
        "control, block",
        "A block of as many cells on both sides is the right unit for DSM.",
        [f"`{r.esm['command']}`"],
        [
            "Shortest period kept along an axis, in pixels, in the image and in latents of both factors: "
            + "; ".join(
                f"keep {keep}: "
                + ", ".join(number(masks[keep][f"pixels_{of}"]) for of in ("image", "latent_f8", "latent_f16"))
                for keep in keeps
            )
            + ".",
        ],
        "undecided",
        "The mask matches shares of each grid's Nyquist frequency, not physical frequencies; other units were not run.",
        "Blocks matched in pixels, and whole frames, at equal training.",
    )


def of_the_gains(r: Results) -> Iterator[Row]:
    """Start, KL, evaluation, updates."""
    c, control = r.methods, r.methods.control
    gains, dropped = against(c, "DSM") == "below", against(c, control, "SD-VAE")
    yield Row(
        "control, start",
        "From scratch or fine-tuned, the methods do the same.",
        ["not run; both are supported (`finetune256_…` presets)"],
        [],
        "undecided",
        "Every autoencoder here was trained from scratch.",
        "The fine-tuning presets on a public autoencoder, with diffusion behind them.",
    )
    yield Row(
        "control, KL",
        "The gains are not those of dropping KL.",
        [ran_comparison(c)],
        [f"Fréchet distance of SD-VAE {fids(c, 'SD-VAE')}, without KL {fids(c, control)}, of DSM {fids(c, 'DSM')}."],
        SUPPORTED if gains and against(c, "DSM", "SD-VAE") == "below" and dropped != "below" else "undecided",
        f"Dropping KL {WORDS[dropped]} the distance, and DSM gains against both. For ESM it stays undecided, as its "
        "gain does.",
        "The sweep of KL weights that the full plans hold.",
    )
    yield Row(
        "control, evaluation",
        "The gains hold on held-out images, without lossy files, over three seeds.",
        [ran_comparison(c)],
        [
            f"Held-out test images, bytes and no JPEG, {len(c.of(control))} seeds: Fréchet distance of DSM "
            f"{fids(c, 'DSM')} against {fids(c, control)}."
        ],
        "undecided",
        "Everything here was measured so, but for the third seed.",
        "One more seed.",
    )
    yield Row(
        "control, updates",
        "The gains hold at equal updates of the generator.",
        [ran_comparison(c)],
        [f"Equal updates for all; Fréchet distance of DSM {fids(c, 'DSM')} against {fids(c, control)}."],
        SUPPORTED if gains else "undecided",
        "For DSM; for ESM there is no decided gain to hold.",
        "The same at the paper's length.",
    )


def of_alignment(r: Results) -> Iterator[Row]:
    """Division by a standard deviation beside the difference of Gaussians; the projector."""
    runs = (r.alignment, r.redrawn)
    filters = ("normalised", "DoG band-pass", "DoG high-pass")
    gains = {name: paired(runs, name, "REPA, convolution") for name in filters}
    divisions = {name: paired(runs, f"{name}, std", name) for name in filters}
    projector = paired(runs, "REPA, convolution", "REPA")
    helps = [agreed(gains[name]) for name in filters[1:]]
    explained = [agreed(divisions[name]) for name in filters[1:]]
    yield Row(
        "control, DoG",
        "The gain of a difference of Gaussians is not that of dividing by a standard deviation.",
        [ran_alignments(*runs)],
        [
            "Fréchet distance seed by seed over both runs, of each filter, undivided, against the unfiltered target: "
            + "; ".join(f"{name} {signs(values)}" for name, values in gains.items())
            + ".",
            "Of each divided against itself undivided: "
            + "; ".join(f"{name} {signs(values)}" for name, values in divisions.items())
            + ".",
            f"Of iREPA's projector against REPA's, with REPA's targets: {signs(projector)}.",
        ],
        SUPPORTED if set(helps) == {"lower"} else "not supported" if "lower" in explained else "undecided",
        "Differences of Gaussians gain undivided, and dividing them changes nothing decidedly. One number for all "
        "channels changes nothing at all under a cosine. iREPA's convolution by itself is no gain over REPA's "
        "perceptron.",
        "The same with a pretrained encoder, at the size of the paper's smallest model.",
    )
