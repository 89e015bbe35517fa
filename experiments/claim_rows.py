"""The rows of the ledger: claims of the paper and controls, each with its numbers and a verdict that follows from "
"them."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from claim_results import Results, fid, fids, ran_comparison, ran_study, said  # files beside this one
from spectrum_matching.comparisons import Comparison, order, spread
from spectrum_matching.report.digits import number
from spectrum_matching.report.ranks import rank_correlation
from spectrum_matching.study_records.frequency_bias import Case
from spectrum_matching.study_records.unified_view import UnifiedView

Verdict = Literal["supported at this scale", "not supported", "undecided"]


class Row(NamedTuple):
    """One row. ran: what was run, with scale and seeds. measured: sentences. needs: what it would take to decide."""

    key: str
    claim: str
    ran: Sequence[str]
    measured: Sequence[str]
    verdict: Verdict
    because: str
    needs: str


def frequency_bias(r: Results) -> Iterator[Row]:
    """A: low and middle frequencies first and best, because of the data's spectrum, and harmlessly."""
    ran = [ran_study(r.bias)]
    images, white, flat = (r.bias.of(name) for name in ("images", "white noise", "images, delta 2"))
    data, twins = r.bias.of("predicts data"), r.bias.of("Gaussian twins")
    first = [case.order.half or 0.0 for case in images]
    yield Row(
        "A, first",
        "Pixel diffusion trained with mean squared error learns low and middle frequencies first.",
        ran,
        [
            f"Updates until half of a band's loss is gone, lowest, slowest and highest band: {halves(images)}; rank "
            f"correlation with frequency {said(first)}.",
            f"The same network asked for the data instead of the velocity: {halves(data)}; rank correlation "
            f"{said([case.order.half or 0.0 for case in data])}.",
        ],
        "supported at this scale" if min(first) > NOTABLE else "not supported" if max(first) < NOTABLE else "undecided",
        "Whether low comes first depends on what is predicted: of the data's own frequencies the low ones are learned "
        "first, and of the velocity, most of which is noise at high frequencies, the low and the high ones come before "
        "those in between. The steps of the network's tokens confound the middle bands.",
        "Patches of one pixel, larger networks, more levels of training; the claim should name what is predicted.",
    )
    best = [case.order.ratio or 0.0 for case in images]
    yield Row(
        "A, best",
        "It learns them best.",
        ran,
        [
            f"Final squared error over the band's own power, lowest and highest band: {ends(images, 'final_error')}.",
            f"Over the best linear denoiser's: {ends(images, 'ratio')}; rank correlation with frequency {said(best)}.",
            f"White noise as data, over the best linear denoiser's: {ends(white, 'ratio')}.",
        ],
        "supported at this scale" if min(best) > NOTABLE else "not supported",
        "Every higher band ends further from the best linear denoiser than the one below it, or nearly so, which white "
        "noise does not show.",
        "Trainings to convergence: a network that has the time may reach the high bands as well.",
    )
    raised, gone = ([highest(case) for case in cases] for cases in (images, flat))
    caused = order(spread(gone), spread(raised)) == "below"
    yield Row(
        "A, cause",
        "The power-law spectrum of the data is what makes it so.",
        ran,
        [
            f"Highest band over the best linear denoiser's, images: {said(raised)}; the same images with a flattened "
            f"spectrum: {said(gone)}; Gaussian fields with the images' spectrum: {said([highest(c) for c in twins])}.",
            f"The loss over each band's power: {ends(r.bias.of('loss over power'), 'ratio')} in the lowest and highest "
            f"band, against {ends(images, 'ratio')}.",
        ],
        "supported at this scale" if caused else "undecided",
        "Flattening removes most of it, and fields without edges or objects show it too: it belongs to the spectrum "
        "and "
        "the loss. Weighing the loss moves the deficit to the low bands and does not remove it.",
        "The same at a size where images without their phases are no longer as easy.",
    )
    seen = [seen_against_plain(case) for case in images]
    injected = {damage.metric: damage.correlation for damage in r.bias.injection.damages} if r.bias.injection else {}
    ranked = ", ".join(f"{name} {number(rho)}" for name, rho in injected.items() if rho is not None)
    harmless = all(ours < plain for plain, ours in seen)
    yield Row(
        "A, perception",
        "Because images are as they are, this is perceptually harmless.",
        ran,
        [
            "Whole error over whole power at the middle noise level, as it is and weighted by contrast sensitivity: "
            + "; ".join(f"{number(plain)} and {number(ours)}" for plain, ours in seen)
            + ".",
            f"Equal errors put into one band at a time, rank correlation of the damage with frequency: {ranked}.",
        ],
        "supported at this scale" if harmless else "not supported",
        "Eyes are most sensitive in the middle of these bands, at the assumed viewing distance: the weighted error is "
        "not the smaller one. Structural similarity punishes errors at high frequencies more, not less.",
        "Images of a size that people look at, a study with people, or perceptual weights.",
    )


def latent_spectrum(r: Results) -> Iterator[Row]:
    """B-i: a flattened power law is best."""
    c, control = r.methods, r.methods.control
    variants = ("ESM, paper", "ESM, scale-free")
    against = {name: order(fid(c, name), fid(c, control)) for name in variants}
    rho = rank_correlation(
        [t.numbers["best_delta"] for t in c.trials], [t.generation.value("fid") or 0 for t in c.trials]
    )
    gained = "below" in against.values()
    yield Row(
        "B-i",
        "Latents whose power spectrum is a flattened power law are easiest to diffuse.",
        [ran_comparison(c)],
        [
            f"Fréchet distance of {control}: {fids(c, control)}; "
            + "; ".join(f"of {name}: {fids(c, name)}" for name in variants)
            + ".",
            f"Kernel distance: {said(scores(c, control, 'kid'))} and {said(scores(c, variants[1], 'kid'))}.",
            f"Rank correlation of the best-fitting delta with the Fréchet distance over all trials: "
            f"{number(rho or 0)}.",
        ],
        "supported at this scale" if gained else "undecided",
        "The seeds of both variants overlap those of the control by the headline score; the kernel distance is "
        "better in "
        "every seed of the scale-free one. No delta but the default was diffused.",
        "The plan with every delta, three seeds or more, at the paper's size.",
    )


def decoder(r: Results) -> Iterator[Row]:
    """B-ii: a decoder that keeps frequencies apart helps."""
    c, control = r.methods, r.methods.control
    gains = order(fid(c, "DSM"), fid(c, control)) == "below"
    loses = order(fid(c, "EQ-VAE"), fid(c, control)) == "above"
    gaps = [t.numbers["lowpass_gap"] for t in c.trials]
    rho = rank_correlation(gaps, [t.generation.value("fid") or 0 for t in c.trials])
    yield Row(
        "B-ii, DSM",
        "Training the decoder to turn low-passed latents into low-passed images improves generation.",
        [ran_comparison(c)],
        [
            f"Fréchet distance {fids(c, 'DSM')} against {fids(c, control)}.",
            f"It pays elsewhere: recall {said(scores(c, 'DSM', 'recall'))} against "
            f"{said(scores(c, control, 'recall'))}, "
            f"spectrum error {said(scores(c, 'DSM', 'spectrum_error'))} against "
            f"{said(scores(c, control, 'spectrum_error'))} dB, PSNR {said(numbers(c, 'DSM', 'psnr'))} against "
            f"{said(numbers(c, control, 'psnr'))} dB.",
        ],
        "supported at this scale" if gains else "undecided",
        "Every seed is better than every seed of the control by the headline score, at the cost of diversity and "
        "sharpness.",
        "Trainings to convergence, where the loss in reconstruction may weigh more or less.",
    )
    yield Row(
        "B-ii, correspondence",
        "It does so because each frequency of the latents decodes to the same frequency of the image.",
        [ran_comparison(c)],
        [
            f"EQ-VAE's decoder keeps frequencies apart as well, low-pass gap "
            f"{said(numbers(c, 'EQ-VAE', 'lowpass_gap'))} "
            f"against {said(numbers(c, control, 'lowpass_gap'))} dB, and generates worst: {fids(c, 'EQ-VAE')}.",
            f"Rank correlation of the low-pass gap with the Fréchet distance over all trials: {number(rho or 0)}.",
        ],
        "not supported" if loses else "undecided",
        "Correspondence does not tell the method that gains from the one that loses.",
        "Methods that differ in correspondence and in nothing else, at equal reconstruction.",
    )


def failures(r: Results) -> Iterator[Row]:
    """C: over-noisy and over-smoothed latents; VA-VAE and EQ-VAE as special cases."""
    plain, noisy, smooth = r.taef2["rows"]
    gap = "gap_scale_free_1"
    found = [row["numbers"][gap]["value"] for row in (plain, noisy, smooth)]
    sec = [row["numbers"]["sec_25"]["value"] for row in (plain, noisy, smooth)]
    yield Row(
        "C, failures",
        "Over-noisy and over-smoothed latents are the two directions of failure.",
        [f"`{r.taef2['command']}`: one autoencoder, {number(r.taef2['n_images'])} images, no training"],
        [
            f"Distance to the flattened target of a real latent space, of the same with noise, and of the same "
            f"blurred: "
            f"{', '.join(map(number, found))} nats; spectral energy concentration, which is one-sided, "
            f"{', '.join(map(number, sec))}.",
        ],
        "undecided",
        "The distance grows in both directions, as the paper says; whether diffusion fails in both was not run.",
        "Diffusion on latents made noisy and smooth to equal distances.",
    )
    v = r.unified
    for name, side, key, claim in (
        (
            "VA-VAE, gradients",
            "encoding",
            "gap_scale_free",
            "VA-VAE is implicit spectrum matching on the encoding side.",
        ),
        ("EQ-VAE", "decoding", "lowpass_gap", "EQ-VAE is implicit spectrum matching on the decoding side."),
        (
            "Scale Equivariance",
            "decoding",
            "lowpass_gap",
            "Scale Equivariance is implicit spectrum matching on the decoding side.",
        ),
    ):
        method = v.of(name)
        own, psnr = method.change(key), method.change("psnr")
        others = "; ".join(
            f"{quantity.title} ({quantity.side} side) {number(change.mean)} {quantity.unit}, {change.word}"
            for quantity in v.quantities
            if quantity.side != "neither" and (change := method.change(quantity.key)).key != key
        )
        verdict: Verdict = (
            "supported at this scale"
            if own.word == "acts"
            else "not supported"
            if own.word == "does not"
            else "undecided"
        )
        yield Row(
            f"C, {name.partition(',')[0]}",
            claim,
            [f"`{v.command}`: {len(method.seeds)} seeds; trained by `{r.small['command']}`"],
            [
                f"On the {side} side: {number(own.mean)} ± {number(own.half_range)} {unit(v, key)} against the "
                f"control, "
                f"every seed {said(own.values)}: {own.word}.",
                f"The rest: {others}. PSNR {number(psnr.mean)} dB.",
            ],
            verdict,
            "By the rule above. A low-pass gap also narrows where reconstructions get worse, so that PSNR stands "
            "beside "
            "it.",
            "A pretrained vision encoder in place of orientations of gradients"
            if name.startswith("VA-VAE")
            else "Equal reconstruction, full-sized autoencoders",
        )


def alignment(r: Results) -> Iterator[Row]:
    """D: directional energy drives REPA; DoG beats iREPA beats REPA; and the confounds."""
    c, control = r.alignment, r.alignment.control
    ran = [ran_comparison(c)]
    encoder = r.directions.encoders[0]
    filters = {
        "REPA, convolution": ("none", False),
        "normalised": (LESS_MEAN, False),
        "normalised, std": (LESS_MEAN, True),
        "DoG band-pass": ("band-pass", False),
        "DoG band-pass, std": ("band-pass", True),
        "DoG high-pass": ("high-pass", False),
        "DoG high-pass, std": ("high-pass", True),
    }
    readings = {
        name: next(f for f in encoder.filters if f.family == family and f.divided == divided)
        for name, (family, divided) in filters.items()
    }
    means = [fid(c, name).mean for name in readings]
    rho = {
        "directional energy": rank_correlation([f.energy.value for f in readings.values()], means),
        "LDS": rank_correlation([f.measurement("lds").value or 0 for f in readings.values()], means),
        "CDS": rank_correlation([f.measurement("cds").value or 0 for f in readings.values()], means),
    }
    helped = [name for name in c.methods if name != control and order(fid(c, name), fid(c, control)) == "below"]
    hurt = [name for name in c.methods if name != control and order(fid(c, name), fid(c, control)) == "above"]
    energies = "; ".join(f"{name} {number(f.energy.value)}" for name, f in readings.items())
    yield Row(
        "D, energy",
        "What matters in a target is its directional spectral energy.",
        [*ran, ran_study(r.directions)],
        [
            f"Directional energy of the targets: {energies}.",
            "Rank correlation with the Fréchet distance over these rows (negative: more is better): "
            + ", ".join(f"{name} {number(value or 0)}" for name, value in rho.items())
            + ".",
        ],
        "supported at this scale"
        if (rho["directional energy"] or 0) < -STRONG
        else "undecided"
        if abs(rho["directional energy"] or 0) > NOTABLE
        else "not supported",
        "Whatever removes the mean token has an energy of nearly all, whatever else it keeps, so that energy alone "
        "cannot "
        "order these filters.",
        "Filters that span the range of energies evenly; encoders with semantics; more seeds.",
    )
    trio = {"REPA": "REPA", "iREPA": "normalised, std", "REPA-DoG": "DoG band-pass, std"}
    found = {name: fid(c, row) for name, row in trio.items()}
    dog, irepa = order(found["REPA-DoG"], found["iREPA"]), order(found["iREPA"], found["REPA"])
    yield Row(
        "D, order",
        "REPA-DoG beats iREPA, which beats REPA.",
        ran,
        [
            f"Fréchet distance without alignment {fids(c, control)}; "
            + "; ".join(f"{name} {fids(c, row)}" for name, row in trio.items())
            + ".",
            f"Better than without alignment in every seed: {', '.join(helped) or 'none'}; worse: "
            f"{', '.join(hurt) or 'none'}.",
        ],
        "supported at this scale"
        if dog == irepa == "below"
        else "not supported"
        if "above" in (dog, irepa)
        else "undecided",
        f"REPA-DoG lies {WORDS[dog]} iREPA, and iREPA {WORDS[irepa]} REPA.",
        "A pretrained encoder, three seeds at the size of the paper's smallest model, the paper's sigmas.",
    )


def controls(r: Results) -> Iterator[Row]:
    """What an implementer must not take on trust."""
    c, control = r.methods, r.methods.control
    paper, free = (r.esm["losses"][variant]["best_exponent"] for variant in ("paper", "scale_free"))
    stds = list(paper)
    yield Row(
        "control, scale",
        "The paper's loss selects one flattening, whatever the scale of the latents.",
        [f"`{r.esm['command']}`: Gaussian fields, one seed"],
        [
            "Exponent of the latents that the loss prefers, asked for the same flattening, at standard deviations "
            f"{', '.join(stds)}: {', '.join(str(paper[s]) for s in stds)}; scale-free: "
            f"{', '.join(str(free[s]) for s in stds)}.",
            f"Trained: best-fitting delta {small(r, 'ESM, paper', 'paper')} with the paper's loss and "
            f"{small(r, 'ESM, scale-free', 'scale_free')} with the scale-free one, both asked for one.",
        ],
        "not supported",
        "The preferred exponent moves with the scale by more than any setting of delta that the authors tried.",
        "Nothing: it follows from the logarithm.",
    )
    yield Row(
        "control, start",
        "From scratch or fine-tuned, the methods do the same.",
        ["not run; both are supported (`finetune256_…` presets)"],
        [],
        "undecided",
        "Every autoencoder here was trained from scratch.",
        "The fine-tuning presets on a public autoencoder, with diffusion behind them.",
    )
    masks = r.esm["masks"]
    keeps = [keep for keep in masks if masks[keep]["coefficients"] < masks[max(masks, key=int)]["coefficients"]]
    yield Row(
        "control, block",
        "A block of as many cells on both sides is the right unit for DSM.",
        [f"`{r.esm['command']}`"],
        [
            "Shortest period kept along an axis, in pixels, in the image and in latents of both factors: "
            + "; ".join(
                f"keep {keep}: {number(masks[keep]['pixels_image'])}, {number(masks[keep]['pixels_latent_f8'])}, "
                f"{number(masks[keep]['pixels_latent_f16'])}"
                for keep in keeps
            )
            + ".",
        ],
        "undecided",
        "The mask matches shares of each grid's Nyquist frequency, not physical frequencies; other units were not run.",
        "Blocks matched in pixels, and whole frames, at equal training.",
    )
    both = order(fid(c, "SD-VAE"), fid(c, control))
    yield Row(
        "control, KL",
        "The gains are not those of dropping KL.",
        [ran_comparison(c)],
        [f"Fréchet distance of SD-VAE {fids(c, 'SD-VAE')}, without KL {fids(c, control)}, of DSM {fids(c, 'DSM')}."],
        "supported at this scale" if order(fid(c, "DSM"), fid(c, control)) == "below" else "undecided",
        f"Without KL lies {WORDS[FLIPPED[both]]} SD-VAE, and DSM gains against both. For ESM it stays undecided, as "
        f"its "
        "gain does.",
        "The sweep of KL weights that the full plans hold.",
    )
    yield Row(
        "control, evaluation",
        "The gains hold on held-out images, without lossy files, over three seeds.",
        [ran_comparison(c)],
        [f"Held-out test images, bytes and no JPEG, {len(c.of(control))} seeds."],
        "undecided",
        "Everything here was measured so but for the third seed.",
        "One more seed.",
    )
    yield Row(
        "control, updates",
        "The gains hold at equal updates of the generator.",
        [ran_comparison(c)],
        [f"Equal updates for all; Fréchet distance of DSM {fids(c, 'DSM')} against {fids(c, control)}."],
        "supported at this scale" if order(fid(c, "DSM"), fid(c, control)) == "below" else "undecided",
        "For DSM; for ESM there is no decided gain to hold.",
        "The same at the paper's length.",
    )
    targets = r.esm["targets"]
    yield Row(
        "control, blur",
        "The image spectrum that the loss aims at is the image's own.",
        [f"`{r.esm['command']}`: {r.esm['n_images']} embedded photographs"],
        [
            "; ".join(
                f"f{factor}: {number(row['kl'])} nats apart, upper half of the bands "
                f"{number(row['upper_half_paper'])} of "
                f"the power instead of {number(row['upper_half_own'])}"
                for factor, row in targets.items()
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
        ["the plans `…_all` hold a sweep; not run"],
        [],
        "undecided",
        "No other delta was diffused here.",
        "`specmatch compare cifar10_all`, three seeds or more.",
    )
    a = r.alignment
    pairs = [(name, f"{name}, std") for name in ("normalised", "DoG band-pass", "DoG high-pass")]
    words = {name: order(fid(a, divided), fid(a, name)) for name, divided in pairs}
    yield Row(
        "control, DoG",
        "The gain of a difference of Gaussians is not that of dividing by a standard deviation.",
        [ran_comparison(a)],
        [
            "; ".join(f"{name}: {fids(a, name)} without, {fids(a, divided)} with" for name, divided in pairs) + ".",
            f"iREPA's projector with REPA's targets {fids(a, 'REPA, convolution')}, REPA's own {fids(a, 'REPA')}.",
        ],
        "undecided",
        "Dividing puts "
        + ", ".join(f"{name} {WORDS[word]} itself undivided" for name, word in words.items())
        + ". One number for all channels changes nothing at all under a cosine.",
        "A gain of the filter itself that holds beyond the spread, then its confounds.",
    )


NOTABLE, STRONG = float("0.5"), float("0.8")
LESS_MEAN = "less 0.6 mean"
WORDS = {"below": "below", "above": "above", "undecided": "undecided against"}
FLIPPED = {"below": "above", "above": "below", "undecided": "undecided"}


def halves(cases: Sequence[Case]) -> str:
    """Updates to half in the lowest, the slowest and the highest band, a case at a time."""

    def of(case: Case) -> str:
        found = [band.half.to_final for band in case.bands]
        known = [value for value in found if value is not None]
        return ", ".join("never" if value is None else number(value) for value in (found[0], max(known), found[-1]))

    return "; ".join(map(of, cases))


def ends(cases: Sequence[Case], key: str) -> str:
    """A number of the lowest and of the highest band, a case at a time."""
    return "; ".join(f"{number(getattr(c.bands[0], key))} and {number(getattr(c.bands[-1], key))}" for c in cases)


def highest(case: Case) -> float:
    """Error over the best linear denoiser's, in the highest band."""
    return case.bands[-1].ratio


def seen_against_plain(case: Case) -> tuple[float, float]:
    """Relative error at the middle noise level, as it is and weighted by contrast sensitivity."""
    level = case.levels[len(case.levels) // 2]
    return level.relative_error, level.seen_error


def scores(comparison: Comparison, method: str, key: str) -> list[float]:
    """One score of every seed of a method."""
    return [value for t in comparison.of(method) if (value := t.generation.value(key)) is not None]


def numbers(comparison: Comparison, method: str, key: str) -> list[float]:
    """One number of the autoencoder of every seed of a method."""
    return [t.numbers[key] for t in comparison.of(method)]


def small(r: Results, method: str, variant: str) -> str:
    """Best-fitting delta of the scale-free reading, over seeds."""
    rows = [row for row in r.small["rows"] if row["method"] == method]
    return said([row["latents"]["mean"]["matches"]["scale_free"]["best_delta"] for row in rows])


def unit(view: UnifiedView, key: str) -> str:
    """Of a quantity of the unified view."""
    return next(quantity.unit for quantity in view.quantities if quantity.key == key)


def rows(r: Results) -> list[Row]:
    """The ledger."""
    parts = (frequency_bias, latent_spectrum, decoder, failures, alignment, controls)
    return [row for part in parts for row in part(r)]
