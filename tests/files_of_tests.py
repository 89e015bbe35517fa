"""Files of images for tests, as bytes."""

import io
import tarfile

from PIL import Image


def png(grey, size=(8, 8)):
    """A plain grey picture."""
    file = io.BytesIO()
    Image.new("L", size, grey).save(file, "PNG")
    return file.getvalue()


def tar_of(members):
    """A tar of members by name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            tar.addfile(facts, io.BytesIO(content))
    return file.getvalue()
