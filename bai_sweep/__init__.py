"""bai_sweep: which merge ratio should PPO start from? Balanced Actor Initialization as an experiment."""

__version__ = "0.1.0"
