"""The ledger's rows of what the paper claims, each with its numbers and a verdict that follows from them."""

from collections.abc import Iterator

from claim_results import (  # files beside this one
    SUPPORTED,
    Results,
    Row,
    Verdict,
    against,
    agreed,
    change,
    ends,
    fid,
    fid_and,
    fids,
    halves,
    highest,
    numbers,
    over_wiener,
    paired,
    ran_alignments,
    ran_comparison,
    ran_study,
    said,
    scores,
    signs,
)
from spectrum_matching.metrics.ranks import rank_correlation
from spectrum_matching.records.comparison import order, spread
from spectrum_matching.report.digits import number
from spectrum_matching.studies.frequency_bias.record import Band

NOTABLE, STRONG = 0.5, 0.8  # of a rank correlation
HARMLESS = 0.5  # of what learning left undone, as seen over as it is
LESS_MEAN = "less 0.6 mean"


def frequency_bias(r: Results) -> Iterator[Row]:
    """A: low and middle frequencies first and best, because of the data's spectrum, and harmlessly."""
    ran = [ran_study(r.bias)]
    images, white, flat = (r.bias.of(name) for name in ("images", "white noise", "images, delta 2"))
    steep, surrogates, weighed, data = (
        r.bias.of(name) for name in ("images, delta -1", "Gaussian surrogates", "loss over power", "predicts data")
    )
    first, first_flat, first_data = ([c.rank_correlation.half or 0.0 for c in cases] for cases in (images, flat, data))
    yield Row(
        "A, first",
        "Pixel diffusion trained with mean squared error learns low and middle frequencies first.",
        ran,
        [
            f"Updates until half of a band's loss is gone, lowest, slowest and highest band: {halves(images)}; rank "
            f"correlation with frequency {said(first)}.",
            f"The same network asked for the data instead of the velocity: {halves(data)}; rank correlation "
            f"{said(first_data)}.",
            f"Asked for the velocity of images with a flattened spectrum: {halves(flat)}; rank correlation "
            f"{said(first_flat)}.",
        ],
        SUPPORTED if min(first) > NOTABLE else "not supported" if max(first) < NOTABLE else "undecided",
        "The lowest bands are learned first, but the middle ones come last: the velocity is mostly noise at high "
        "frequencies, which can be read off the input. Asked for the data, the network learns band after band from "
        "the lowest on, and the highest not at all. A flattened spectrum does not undo the order, it makes it "
        "stricter. Tokens of several pixels confound the order of the upper bands.",
        "Patches of one pixel, larger networks, longer training; the claim should name what is predicted.",
    )
    best = [c.rank_correlation.ratio or 0.0 for c in images]
    yield Row(
        "A, best",
        "It learns them best.",
        ran,
        [
            "Final squared error over the band's own power, lowest and highest band: "
            f"{ends(images, lambda band: band.final_error)}.",
            f"Over the best linear denoiser's, ± over fields: {over_wiener(images)}; rank correlation with frequency "
            f"{said(best)}.",
            f"White noise as data, over the best linear denoiser's: {over_wiener(white)}.",
            f"In absolute terms, loss of a coefficient less the best linear denoiser's: {ends(images, left)}.",
        ],
        SUPPORTED if min(best) > NOTABLE else "not supported",
        "For the power that they have, higher bands end further from the best linear denoiser than lower ones; those "
        "of white noise do not. In absolute terms the highest bands have least left to learn.",
        "Trainings to convergence: a network that has the time may reach the high bands as well.",
    )
    caused = order(spread(highest(flat)), spread(highest(images))) == "below"
    yield Row(
        "A, cause",
        "It learns them best because the data have a power-law spectrum.",
        ran,
        [
            f"Highest band over the best linear denoiser's, images: {said(highest(images))}; the same images with a "
            f"flattened spectrum: {said(highest(flat))}; steepened: {said(highest(steep))}; Gaussian fields with the "
            f"images' spectrum: {said(highest(surrogates))}.",
            "Its loss less the best linear denoiser's, in the same order: "
            + "; ".join(said([left(case.bands[-1]) for case in cases]) for cases in (images, flat, steep, surrogates))
            + ".",
            f"The loss over each band's power: {over_wiener(weighed)} in the lowest and highest band, against "
            f"{over_wiener(images)}.",
        ],
        SUPPORTED if caused else "undecided",
        "Flattening removes the deficit, in relative and in absolute terms, and fields without edges or objects show "
        "it as images do: it belongs to the spectrum and the loss. Steepening multiplies it in relative terms alone. "
        "Weighing the loss moves it to the low bands and does not remove it.",
        "Trainings long enough that images without their phases are no longer as hard as images.",
    )
    levels = [c.levels[len(c.levels) // 2] for c in images]
    plain = [level.relative_error / level.wiener_relative_error for level in levels]
    seen = [level.csf_over_wiener or 0.0 for level in levels]
    injected = {damage.metric: damage.correlation for damage in r.bias.injected.metrics} if r.bias.injected else {}
    ranked = ", ".join(f"{name} {number(rho)}" for name, rho in injected.items() if rho is not None)
    excess = [(its - 1) / (own - 1) for its, own in zip(seen, plain, strict=True)]
    yield Row(
        "A, perception",
        "Because images are as they are, this is perceptually harmless.",
        ran,
        [
            f"Whole error over the best linear denoiser's at the middle noise level: {said(plain)}; weighted by "
            f"contrast sensitivity {said(seen)}.",
            f"Equal errors put into one band at a time, rank correlation of the damage with frequency: {ranked}.",
        ],
        SUPPORTED if max(excess) < HARMLESS else "not supported" if min(excess) > 1 / HARMLESS else "undecided",
        "Through contrast sensitivity, at the assumed viewing distance, what learning left undone is neither much "
        "less nor much more of the whole. Structural similarity punishes errors at high frequencies more, not less; "
        "weighted errors and features somewhat less.",
        "Images of a size that people look at, perceptual weights, a study with people.",
    )


def left(band: Band) -> float:
    """Loss of a coefficient less the best linear denoiser's."""
    return band.final_loss - band.wiener_loss


def latent_spectrum(r: Results) -> Iterator[Row]:
    """B-i: a flattened power law is best."""
    c, control, variants = r.methods, r.methods.control, ("ESM, paper", "ESM, scale-free")
    rho = rank_correlation(*fid_and(c, "best_delta"))
    learned = {name: r.bias.of(f"latents of {name}") for name in ("control", "SD-VAE", "ESM", "DSM")}
    yield Row(
        "B-i",
        "Latents whose power spectrum is a flattened power law are easiest to diffuse.",
        [ran_comparison(c), ran_study(r.bias)],
        [
            f"Fréchet distance of {control}: {fids(c, control)}; "
            + "; ".join(f"of {name}: {fids(c, name)}" for name in variants)
            + ".",
            f"Kernel distance: {said(scores(c, control, 'kid'))} and {said(scores(c, variants[-1], 'kid'))}.",
            f"Rank correlation of the best-fitting delta with the Fréchet distance over all trials: "
            f"{number(rho or 0)}.",
            "Updates until half of a band's loss is gone, lowest, slowest and highest band of latents: "
            + "; ".join(f"of {name} {halves(cases)}" for name, cases in learned.items())
            + f" (seeds: {min(map(len, learned.values()))}); their highest band over the best linear denoiser's: "
            + "; ".join(f"of {name} {said(highest(cases))}" for name, cases in learned.items())
            + ".",
        ],
        SUPPORTED if any(against(c, name) == "below" for name in variants) else "undecided",
        "By the headline score the seeds of both variants overlap those of the control; the kernel distance is better "
        "in every seed of the scale-free one. Flattened latents are learned more evenly, not further. No delta but the "
        "default was diffused.",
        "The plan with every delta, three seeds or more, at the paper's size.",
    )


def decoder(r: Results) -> Iterator[Row]:
    """B-ii: a decoder that keeps frequencies apart helps."""
    c, control = r.methods, r.methods.control

    def both(key: str) -> str:
        return f"{said(scores(c, 'DSM', key))} against {said(scores(c, control, key))}"

    yield Row(
        "B-ii, DSM",
        "Training the decoder to turn low-passed latents into low-passed images improves generation.",
        [ran_comparison(c)],
        [
            f"Fréchet distance {both('fid')}.",
            f"It pays elsewhere: recall {both('recall')}, spectrum error {both('spectrum_error')} dB, PSNR "
            f"{said(numbers(c, 'DSM', 'psnr'))} against {said(numbers(c, control, 'psnr'))} dB.",
        ],
        SUPPORTED if against(c, "DSM") == "below" else "undecided",
        "Every seed is better than every seed of the control by the headline score, at the cost of diversity and "
        "sharpness.",
        "Trainings to convergence, where the loss in reconstruction may weigh more or less.",
    )
    rho = rank_correlation(*fid_and(c, "lowpass_gap"))
    yield Row(
        "B-ii, correspondence",
        "It does so because each frequency of the latents decodes to the same frequency of the image.",
        [ran_comparison(c)],
        [
            f"Low-pass gap of DSM {said(numbers(c, 'DSM', 'lowpass_gap'))} dB, of EQ-VAE "
            f"{said(numbers(c, 'EQ-VAE', 'lowpass_gap'))} dB, of the control "
            f"{said(numbers(c, control, 'lowpass_gap'))} dB; Fréchet distance of EQ-VAE {fids(c, 'EQ-VAE')}.",
            f"Rank correlation of the low-pass gap with the Fréchet distance over all trials: {number(rho or 0)}.",
        ],
        "not supported" if against(c, "EQ-VAE") == "above" else "undecided",
        "EQ-VAE's decoder keeps frequencies apart as well and generates worst: correspondence does not tell the "
        "method that gains from the one that loses.",
        "Methods that differ in correspondence and in nothing else, at equal reconstruction.",
    )


def failures(r: Results) -> Iterator[Row]:
    """C: over-noisy and over-smoothed latents."""
    degraded = r.taef2["rows"]

    def of(key: str) -> str:
        return ", ".join(number(row["numbers"][key]["value"]) for row in degraded)

    yield Row(
        "C, failures",
        "Over-noisy and over-smoothed latents are the two directions of failure.",
        [f"`{r.taef2['command']}`: one autoencoder, {number(r.taef2['n_images'])} images, no training"],
        [
            f"A real latent space, the same with white noise, the same blurred: best-fitting delta "
            f"{of('best_delta')}; distance to the flattened target {of('gap_scale_free_1')} nats; spectral energy "
            f"concentration, which is one-sided, {of('sec_25')}.",
        ],
        "undecided",
        "The best-fitting delta tells the two directions apart. The distance does not rise in both here: these "
        "latents lie on the smooth side of the target, and so much noise brings them nearer to it. Whether diffusion "
        "fails in both was not run.",
        "Diffusion on latents made noisy and smooth to equal distances from the target.",
    )


def special_cases(r: Results) -> Iterator[Row]:
    """C: on which side VA-VAE, EQ-VAE and Scale Equivariance act."""
    v = r.unified
    sides = {
        "encoding": ("gap_scale_free", "best_gap_scale_free"),
        "decoding": ("lowpass_gap", "lowpass_psnr"),
    }
    larger = "Full-sized autoencoders that reconstruct equally well"
    for name, side, because, needs in (
        (
            "VA-VAE, gradients",
            "encoding",
            "Aligned with orientations of gradients, latents do not move towards the flattened target, nor fit any "
            "flattened target better; reconstruction is hardly touched.",
            f"A pretrained vision encoder in place of orientations of gradients. {larger}",
        ),
        (
            "EQ-VAE",
            "decoding",
            "The two numbers of the decoding side disagree. The gap narrows because plain reconstructions fall, while "
            "low-passed latents decode no better than the control's, but worse.",
            larger,
        ),
        (
            "Scale Equivariance",
            "decoding",
            "The two numbers of the decoding side disagree, as for EQ-VAE and for the same reason.",
            larger,
        ),
    ):
        method = v.of(name)
        words = {method.change(key).word for key in sides[side]}
        verdict: Verdict = SUPPORTED if words == {"acts"} else "not supported" if words == {"does not"} else "undecided"
        (other,) = (keys for its, keys in sides.items() if its != side)
        yield Row(
            f"C, {name.partition(',')[0]}",
            f"{name.partition(',')[0]} is implicit spectrum matching on the {side} side.",
            [f"`{v.command}`: {len(method.seeds)} seeds; trained by `{r.small['command']}`"],
            [
                f"On the {side} side, against the control: "
                + "; ".join(change(v, method, key) for key in sides[side])
                + ".",
                f"On the other: {'; '.join(change(v, method, key) for key in other)}.",
                f"Beside it: {change(v, method, 'psnr')}.",
            ],
            verdict,
            because,
            needs,
        )


def alignment(r: Results) -> Iterator[Row]:
    """D: directional energy drives REPA; DoG beats iREPA beats REPA."""
    c, runs = r.alignment, (r.alignment, r.redrawn)
    ran = [ran_alignments(*runs)]
    filters = {
        "REPA, convolution": ("none", False),
        "normalised": (LESS_MEAN, False),
        "normalised, std": (LESS_MEAN, True),
        "DoG band-pass": ("band-pass", False),
        "DoG band-pass, std": ("band-pass", True),
        "DoG high-pass": ("high-pass", False),
        "DoG high-pass, std": ("high-pass", True),
    }
    encoder = r.directions.encoders[0]
    readings = {
        name: next(f for f in encoder.filters if f.family == family and f.divided == divided)
        for name, (family, divided) in filters.items()
    }
    means = [fid(c, name).mean for name in readings]
    of_target = {
        "directional energy": [f.energy.value for f in readings.values()],
        "LDS": [float(f.measurements["lds"]) for f in readings.values()],
        "CDS": [float(f.measurements["cds"]) for f in readings.values()],
    }
    rho = {name: rank_correlation(values, means) or 0.0 for name, values in of_target.items()}
    changes = {name: paired(runs, name, "REPA, convolution") for name in readings if name != "REPA, convolution"}
    words = {name: agreed(values) for name, values in changes.items()}
    yield Row(
        "D, energy",
        "What matters in a target is its directional spectral energy.",
        [*ran, ran_study(r.directions)],
        [
            "Directional energy of the targets: "
            + "; ".join(f"{name} {number(f.energy.value)}" for name, f in readings.items())
            + ".",
            "Fréchet distance against the unfiltered target, seed by seed over both runs: "
            + "; ".join(f"{name} {signs(values)}" for name, values in changes.items())
            + ".",
            f"Band-pass against high-pass, undivided: {signs(paired(runs, 'DoG band-pass', 'DoG high-pass'))}.",
            "Rank correlation of what a target has with the mean Fréchet distance over these rows (negative: "
            "more is better): " + ", ".join(f"{name} {number(value)}" for name, value in rho.items()) + ".",
        ],
        SUPPORTED
        if rho["directional energy"] < -STRONG and set(words.values()) == {"lower"}
        else "undecided"
        if rho["directional energy"] < -NOTABLE
        else "not supported",
        "Means follow the energy, and what takes the whole mean off gains in every seed. But taking off a part of it "
        "does not gain decidedly, and band-pass and high-pass have the same energy and not the same score. Whatever "
        "removes the mean token has nearly all of the energy, whatever else it keeps: energy alone cannot order "
        "filters.",
        "Filters that span the range of energies evenly; encoders with semantics.",
    )
    repa, irepa, dog = "REPA", "normalised, std", "DoG band-pass, std"
    over_irepa, over_repa = paired(runs, dog, irepa), paired(runs, irepa, repa)
    verdicts: dict[str, Verdict] = {"lower": SUPPORTED, "higher": "not supported", "undecided": "undecided"}
    needs = "A pretrained encoder, three seeds at the size of the paper's smallest model, the paper's sigmas."
    yield Row(
        "D, DoG",
        "REPA-DoG beats iREPA.",
        ran,
        [
            f"Fréchet distance of REPA-DoG {fids(c, dog)}, of iREPA {fids(c, irepa)}, without alignment "
            f"{fids(c, c.control)}; spectrum error {said(scores(c, dog, 'spectrum_error'))}, "
            f"{said(scores(c, irepa, 'spectrum_error'))} and {said(scores(c, c.control, 'spectrum_error'))} dB.",
            "Seed by seed over both runs, from the same autoencoder and in the same order, REPA-DoG against iREPA "
            f"{signs(over_irepa)}; against REPA {signs(paired(runs, dog, repa))}; against none "
            f"{signs(paired(runs, dog))}.",
        ],
        verdicts[agreed(over_irepa)],
        "It gains in every seed and with either draw of the projectors, over no alignment too, and little: the gain is "
        "no larger than what one seed differs from another. The power spectrum of its samples is further from that of "
        "images. The target is orientations of gradients, and the sigmas are ours.",
        needs,
    )
    yield Row(
        "D, iREPA",
        "iREPA beats REPA.",
        ran,
        [
            f"Fréchet distance of iREPA {fids(c, irepa)}, of REPA {fids(c, repa)}.",
            f"Seed by seed over both runs: {signs(over_repa)}.",
        ],
        verdicts[agreed(over_repa)],
        "The sign turns with the first weights of the projectors.",
        needs,
    )
