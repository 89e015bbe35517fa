"""A set of images held in a tensor, such as a trainer's fixed validation batch."""

from torch import Tensor
from torch.utils.data import Dataset

from ..files.digests import digest_tensors
from .archives import ArchivedImages
from .images import BadFile, ImageRow, ImageSet


class TensorImages(Dataset[ImageRow]):
    """Images (n, 3, size, size) in [-1, 1] and, where given, their labels (n,).

    Raises:
        ValueError: for another shape, values that are not finite or outside [-1, 1], or images in [0, 1].
    """

    def __init__(self, images: Tensor, labels: Tensor | None = None, source: str = "tensor") -> None:
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or not len(images):
            raise ValueError(f"images are {tuple(images.shape)}; expected (n, 3, size, size): crop them to squares")
        if not images.is_floating_point() or not images.isfinite().all() or images.abs().max() > 1.001:
            raise ValueError(
                "images must be finite floats in [-1, 1]; scale them: [0, 1] by 2x - 1, bytes by x / 127.5 - 1"
            )
        if images.min() >= 0:
            raise ValueError("no image value is below 0, so these seem to lie in [0, 1]: give 2x - 1, in [-1, 1]")
        if labels is not None and labels.shape != images.shape[:1]:
            raise ValueError(f"labels are {tuple(labels.shape)}; expected ({len(images)},)")
        self._images = images.detach().cpu().float()
        self._labels = labels.tolist() if labels is not None else [-1] * len(images)
        self.source, self.size = source, images.shape[-1]
        self.bad: tuple[BadFile, ...] = ()
        self.classes: tuple[str, ...] = ()
        self.names = tuple(str(index) for index in range(len(images)))
        self.digest = digest_tensors({"images": self._images})

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> ImageRow:
        return ImageRow(self._images[index], self._labels[index], (), index)


Images = ImageSet | TensorImages | ArchivedImages
