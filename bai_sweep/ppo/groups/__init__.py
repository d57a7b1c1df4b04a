"""GRPO and RLOO: TRL's trainers behind PPO's stage and telemetry."""
