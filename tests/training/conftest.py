"""The commands that train, run as a user runs them: modules that use `command` or `forked` name theirs as COMMAND."""

from dataclasses import replace

import pytest

from processes import start
from runs import asked
from spectrum_matching.training.diffusion_config import Source


@pytest.fixture
def command(request, tmp_path, specmatch):
    """A run and further arguments, given to the module's command → exit status, standard output, standard error."""

    def train(run, *arguments):
        file = asked(run, tmp_path)
        return specmatch(request.module.COMMAND, "--config", file, *arguments)

    return train


@pytest.fixture(scope="module")
def forked(request):
    """Start the module's command on a file of a run, in a process group of its own; its output goes beside the file."""

    def train(file, limit=0):
        code = f"""
            import os
            os.setsid()
            os.dup2(os.open({str(file.with_suffix(".out"))!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            os.dup2(os.open({str(file.with_suffix(".err"))!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            from spectrum_matching.cli.main import main
            main([{request.module.COMMAND!r}, "--config", {str(file)!r}])
        """
        return start(code, limit=limit)

    return train


@pytest.fixture
def sources(latent_cache, class_folder, small_autoencoder):
    """The three kinds of source, of the same 16 images."""
    images = Source(images=str(class_folder), size=32, held_out=0.0)
    return {
        "cached": Source(latents=str(latent_cache)),
        "encoded": replace(images, autoencoder=str(small_autoencoder)),
        "pixels": images,
    }
