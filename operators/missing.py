"""The error for a model that is not there; a module of its own, so that a command's help imports nothing heavy."""


class ModelMissing(Exception):
    """A checkpoint, adapter or server is not there; the message names it and says what to do."""
