"""How much of a set stands for the whole."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Coverage:
    """How many images of how many, and of how many classes of how many; classes are 0 where unknown, or none."""

    n_images: int
    n_total: int
    n_classes: int = 0
    n_classes_total: int = 0

    def __str__(self) -> str:
        """Return "256 of 50,000 images, of 10 of 10 classes"; without classes the first part alone."""
        classes = (
            f", of {self.n_classes:,} of {self.n_classes_total:,} classes"
            if self.n_classes and self.n_classes_total
            else ""
        )
        return f"{self.n_images:,} of {self.n_total:,} images{classes}"
