from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from spectrum_matching.nets.folders import download

REMEDY = r": check the name, or run `hf download owner/name` where there is network and give the folder that it prints$"


def test_download_says_in_a_few_words_that_the_hub_is_offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    why = r"the hub did not give it \(HF_HUB_OFFLINE is set, and the cache has no copy\)"
    with pytest.raises(ValueError, match=rf"^'owner/name' is no local folder, and {why}{REMEDY}"):
        download("owner/name", ["*.json"])


@pytest.mark.parametrize(
    ("kind", "status", "why"),
    [
        (GatedRepoError, 403, "its terms have to be accepted on its page, by an account that `hf auth login` knows"),
        (RepositoryNotFoundError, 404, "there is none of this name, or it is private and needs `hf auth login`"),
        (HfHubHTTPError, 503, "unavailable"),
    ],
)
def test_download_says_what_the_hub_refused(kind, status, why, monkeypatch):
    def refuse(*arguments, **options):
        raise kind("unavailable\nPlease check.", response=SimpleNamespace(headers={}, request=None, status_code=status))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ValueError, match=rf"the hub did not give it \({why}\){REMEDY}"):
        download("owner/name", ["*.json"])
