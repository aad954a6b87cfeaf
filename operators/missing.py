"""What is said of a model that is not there."""


class ModelMissing(Exception):
    """A checkpoint that is not where it was said to be; the message names it and says what to do."""
