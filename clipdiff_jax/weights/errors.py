"""What goes wrong in reading and writing weights."""


class WeightsError(ValueError):
    """A file or folder of weights that cannot be read: the message names it and what was wrong."""
