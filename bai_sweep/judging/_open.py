"""From a configuration to a judge, and what can be found wrong with it before anything expensive begins."""

from __future__ import annotations

from pathlib import Path

from bai_sweep.config._judge import JudgeConfig, LocalJudge, NoJudge, OpenAIJudge, RecordedJudge
from bai_sweep.judging._budget import Ledger, Terms
from bai_sweep.judging._cache import ReplyCache
from bai_sweep.judging._kept import KeptJudge
from bai_sweep.judging._patience import Patience
from bai_sweep.judging._records import Judge, OnProgress


def open_judge(config: JudgeConfig, *, cache_dir: Path, on_progress: OnProgress | None = None) -> Judge | None:
    """Opens a judge; no model is loaded and nothing is sent before it is asked.

    Args:
        config: The group `judge` of the configuration.
        cache_dir: Folder of the caches; this judge's is `<name>.jsonl`, which `judge=recorded` replays.
        on_progress: Called with the totals after each answer and each failure, by one thread at a time.

    Returns:
        The judge; None for `judge=none`.

    Raises:
        UserError: The key's variable is not set, the cache cannot be written, or the recording not be read.
    """
    if isinstance(config, NoJudge):
        return None
    patience = Patience(config.give_up_after)
    if isinstance(config, RecordedJudge):
        from bai_sweep.judging._recorded import Recording

        return Recording(config, Ledger(Terms(), on_progress), patience)
    path = cache_dir / f"{config.name}.jsonl"
    ledger = Ledger(_terms(config), on_progress, kept_in=str(path))
    cache = ReplyCache(path)
    if isinstance(config, OpenAIJudge):
        from bai_sweep.judging._endpoint import Endpoint

        return KeptJudge(config.name, Endpoint(config, ledger), cache, ledger, patience)
    from bai_sweep.judging._local import LocalModel

    return KeptJudge(config.name, LocalModel(config, ledger), cache, ledger, patience)


def name_of(config: JudgeConfig) -> str | None:
    """The name that the judge will have; None for `judge=none`."""
    return None if isinstance(config, NoJudge) else config.name


def check_judge(config: JudgeConfig) -> None:
    """Finds what is wrong with a judge before the work whose results it is to judge.

    Raises:
        UserError: The key's variable is not set, the endpoint cannot be reached or refuses the key, the recording is
            absent or cut off, or the model is not there, has no chat template, or no such device.
    """
    if isinstance(config, OpenAIJudge):
        from bai_sweep.judging._http import Exchange

        exchange = Exchange(config)
        if config.check_endpoint:
            exchange.check()
    elif isinstance(config, RecordedJudge):
        from bai_sweep.judging._recorded import read_recording

        read_recording(config)
    elif isinstance(config, LocalJudge):
        from bai_sweep.devices import device_of
        from bai_sweep.judging._speaker import load_tokenizer

        device_of(config.device)
        load_tokenizer(config.model)


def _terms(config: OpenAIJudge | LocalJudge) -> Terms:
    if isinstance(config, LocalJudge):
        return Terms()
    return Terms(config.prompt_price or 0.0, config.completion_price or 0.0, config.max_tokens_total, config.max_cost)
