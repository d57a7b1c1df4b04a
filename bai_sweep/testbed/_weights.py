"""Where the shipped weights are; apart from the recipe so that finding them imports nothing heavy."""

from pathlib import Path

MODELS = ("base", "instruct", "distilled", "reward")
BASELINE = "arena_baseline.json"


def weights_dir() -> Path:
    """The folder of the shipped weights, with one Hugging Face folder for each of `MODELS`."""
    return Path(__file__).parent / "weights"
