import dataclasses


@dataclasses.dataclass(frozen=True)
class SetDistance:
    """A distance of two sets of images, and how many images it rests on.

    Attributes:
        value: float, the distance.
        num_real: int, number of real images.
        num_generated: int, number of generated images.
        std: float, standard deviation over subsets; None where no subsets were drawn.
    """

    value: float
    num_real: int
    num_generated: int
    std: float | None = None
