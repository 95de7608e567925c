import dataclasses


@dataclasses.dataclass(frozen=True)
class SetDistance:
    """A distance of two sets of pictures, and how many pictures it rests on.

    Attributes:
        value: float, the distance.
        num_real: int, number of real pictures.
        num_generated: int, number of generated pictures.
        std: float, standard deviation over subsets; None where no subsets were drawn.
    """

    value: float
    num_real: int
    num_generated: int
    std: float | None = None
