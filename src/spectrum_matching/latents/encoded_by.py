"""Whether latents are of the autoencoder that is to decode them, or that declares their scale."""

import logging

log = logging.getLogger(__name__)


def require_encoded_by(
    latents: str, known: str, name: str, digest: str, remedy: str, *, encoder: str = "", is_chosen: bool = False
) -> None:
    """Check that latents were encoded by this autoencoder, as far as that is known.

    latents: how the sentence begins, such as "FOLDER holds latents". known: digest of what encoded them, "" if unknown;
    encoder: its name. name, digest: of the autoencoder. is_chosen: a user names it in place of the latents' own, which
    another decoder of the same latents needs: a warning has to do.

    Raises:
        ValueError: where it is another.
    """
    if known in ("", digest):
        return
    differs = f"{latents} of another autoencoder ({f'{encoder} {known}'.strip()}) than {name} ({digest})"
    if not is_chosen:
        raise ValueError(f"{differs}: {remedy}")
    log.warning(
        "%s: images and scale are right only if both encode alike, as when a decoder alone was trained", differs
    )
