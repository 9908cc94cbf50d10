"""The exceptions a user can meet. Every message says what is wrong and what to do about it."""


class DpenetError(Exception):
    """Base of all errors that dpenet raises on purpose."""


class UsageError(DpenetError):
    """An option or argument that cannot be."""


class PictureError(DpenetError):
    """A picture that cannot be read, understood or written."""


class ModelError(DpenetError):
    """Weights that are unknown, damaged, or not those of a DPENet."""


class DownloadError(ModelError):
    """Weights that could not be fetched."""


class DataError(DpenetError):
    """A data set whose pairs are missing or wrong."""


class RecipeError(DpenetError):
    """A training recipe that does not say what it should."""


class TrainingError(DpenetError):
    """A training that cannot start or go on."""


class MissingExtraError(DpenetError):
    """A feature whose optional dependencies are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part: pip install 'dpenet[{extra}]'")
        self.extra = extra
