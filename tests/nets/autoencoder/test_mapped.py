import pytest
import torch
from safetensors.torch import save_file

from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.autoencoder.mapped import LatentMap, MappedAutoencoder

IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32).sin()


@pytest.fixture
def saved(small_autoencoder, tmp_path):
    """The folder of a map between the small autoencoder's latents and those of a second one."""
    second = tmp_path / "second"
    Autoencoder.from_preset("tiny", seed=1).save_pretrained(second)
    encoder, decoder = (Autoencoder.from_pretrained(source) for source in (small_autoencoder, second))
    torch.manual_seed(0)
    mapped = MappedAutoencoder(encoder, LatentMap((8, 8), 3), decoder)
    mapped.save_pretrained(tmp_path / "map", str(small_autoencoder), str(second))
    return tmp_path / "map"


def test_map_packs_and_unpacks_grids():
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert LatentMap((4, 6), 3, (2, 1))(latents).shape == (2, 6, 4, 4)
        assert LatentMap((4, 6), 1, (1, 2))(latents).shape == (2, 6, 16, 16)
        # Borders are repeated: a constant stays one.
        wide = LatentMap((4, 4), 3)(torch.ones(1, 4, 5, 5))
    assert torch.allclose(wide, wide[:, :, :1, :1].expand_as(wide), atol=1e-6)


def test_saved_map_decodes_the_encoders_latents(saved, small_autoencoder):
    mapped = MappedAutoencoder.from_pretrained(saved)
    with torch.inference_mode():
        latents = Autoencoder.from_pretrained(small_autoencoder).encode(IMAGES).mean
        assert torch.equal(mapped.encode(IMAGES).mean, latents)
        assert torch.equal(mapped.decode(latents), mapped.decoder.decode(mapped.map(latents)))
    assert not mapped.training


def test_saved_map_opens_as_an_autoencoder(saved):
    whole, mapped = Autoencoder.from_pretrained(saved), MappedAutoencoder.from_pretrained(saved)
    assert (whole.kind, whole.factor, whole.channels, whole.multiple) == ("MappedAutoencoder", 4, 8, 4)
    assert whole.is_stochastic
    assert whole.latent_space == mapped.encoder.latent_space
    with torch.inference_mode():
        latents = whole.encode(IMAGES).mean
        assert torch.allclose(whole.decode(latents), mapped.decode(latents), atol=1e-5)


def test_changed_code_of_an_autoencoder_is_refused(small_autoencoder, tmp_path):
    file, source = tmp_path / "own.py", f"python:{tmp_path}/own.py:make"
    code = f"""
from spectrum_matching.nets.autoencoder import Autoencoder

def make():
    return Autoencoder.from_pretrained({str(small_autoencoder)!r}).model
"""
    file.write_text(code)
    encoder, decoder = Autoencoder.from_pretrained(source), Autoencoder.from_pretrained(small_autoencoder)
    mapped = MappedAutoencoder(encoder, LatentMap((8, 8)), decoder)
    mapped.save_pretrained(tmp_path / "map", source, str(small_autoencoder))
    whole = Autoencoder.from_pretrained(tmp_path / "map").digest
    assert whole == Autoencoder(mapped).digest
    file.write_text(f"{code}# and more\n")
    assert Autoencoder(MappedAutoencoder(Autoencoder.from_pretrained(source), mapped.map, decoder)).digest != whole
    with pytest.raises(ValueError, match="was fitted to another encoder than"):
        MappedAutoencoder.from_pretrained(tmp_path / "map")


def test_changed_autoencoder_is_refused(saved):
    Autoencoder.from_preset("tiny", seed=2).save_pretrained(saved.parent / "second")
    with pytest.raises(ValueError, match=r"was fitted to another decoder than .*second is now: fit the map again"):
        MappedAutoencoder.from_pretrained(saved)


def test_missing_autoencoder_is_named(saved):
    (saved.parent / "second").rename(saved.parent / "elsewhere")
    with pytest.raises(ValueError, match=r"map: its decoder does not open: .*second"):
        Autoencoder.from_pretrained(saved)


def test_damaged_map_is_refused(saved):
    weights = saved / "map.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match=r"map.safetensors is damaged: its SHA-256"):
        Autoencoder.from_pretrained(saved)


def test_weights_of_another_map_are_refused(saved):
    (saved / "SHA256SUMS").unlink()
    save_file(LatentMap((8, 8), 1).state_dict(), saved / "map.safetensors")
    with pytest.raises(ValueError, match=r"does not hold the map of its config.json \(.*size mismatch"):
        MappedAutoencoder.from_pretrained(saved)
