"""Download files of a Hugging Face repository."""

from collections.abc import Sequence
from pathlib import Path


def download(repository: str, patterns: Sequence[str]) -> Path:
    """Return the local folder with the files of a hub repository that match `patterns`; offline, the cached ones.

    Raises:
        ValueError: if the repository can be neither reached nor found in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except HFValidationError:
        raise ValueError(f"{repository!r} is neither a folder that exists nor a hub name ('owner/name')") from None
    except Exception as error:
        # The hub's client, its transport and the file system each raise their own; the first line says why.
        why = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{repository!r} is no local folder, and the hub did not give it ({why}): check the name, or run "
            f"`hf download {repository}` where there is network and give the folder that it prints"
        ) from error
