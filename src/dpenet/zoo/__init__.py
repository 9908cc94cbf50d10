"""The models: one table of what they are, and the files that hold them."""

from dpenet.zoo.architecture import Architecture
from dpenet.zoo.store import load_weights
from dpenet.zoo.table import get_card, list_models
from dpenet.zoo.weights import Weights

__all__ = ["Architecture", "Weights", "get_card", "list_models", "load_weights"]
