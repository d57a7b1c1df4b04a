"""transformers' TrainerCallbacks around the PPO loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState

from bai_sweep.records import StepTelemetry, UserError


@final
class Events:
    """Calls callbacks with the state of the run, and keeps what they ask for.

    Args:
        callbacks: TrainerCallback objects or classes.
        arguments: What they get as `args`.
        model: The model being trained.
        tokenizer: Its tokenizer.
        state: Filled in as training goes.

    Raises:
        UserError: What is given as a callback is none.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        arguments: Any,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        state: TrainerState,
    ) -> None:
        made = [callback() if isinstance(callback, type) else callback for callback in callbacks]
        if wrong := [callback for callback in made if not isinstance(callback, TrainerCallback)]:
            raise UserError(f"callbacks are transformers.TrainerCallback objects or classes; got {wrong[0]!r}")
        self.callbacks: list[TrainerCallback] = made
        self.arguments, self.model, self.tokenizer = arguments, model, tokenizer
        self.state, self.control = state, TrainerControl()

    def fire(self, event: str, **more: Any) -> None:
        """Calls `event`, as in `on_step_end`, of every callback in order."""
        for callback in self.callbacks:
            answer = getattr(callback, event)(
                self.arguments, self.state, self.control, model=self.model, processing_class=self.tokenizer, **more
            )
            self.control = self.control if answer is None else answer

    def begin(self, restored: Sequence[StepTelemetry]) -> None:
        """Before the first step; `restored` are those of a checkpoint."""
        for record in restored:
            self.note(record)
        self.control.should_training_stop = False
        self.fire("on_train_begin")

    def begin_step(self) -> None:
        """Before a step."""
        self.control.should_save = self.control.should_log = self.control.should_evaluate = False
        self.fire("on_step_begin")

    def end_step(self, record: StepTelemetry) -> None:
        """After a step, whose figures are logged."""
        self.note(record)
        self.fire("on_step_end")
        self.fire("on_log", logs=dict(record.metrics))

    def note(self, record: StepTelemetry) -> None:
        """Takes a step into the state."""
        self.state.global_step = record.step
        self.state.log_history.append({**record.metrics, "step": record.step})
