"""What a trial's configuration may say: a pydantic model for every group of conf/.

Defaults live in the YAML only; types, ranges and rules between fields live here only. `parse` turns Hydra's
DictConfig into a frozen `TrialConfig` or raises one `ConfigError` that lists every fault; past this line nobody
sees a DictConfig. Nothing here imports torch.
"""

from bai_sweep.config._actor import (
    DareMerge,
    DepthMerge,
    LayerAlphas,
    LinearMerge,
    MergedActor,
    MergeMethod,
    ModelConfig,
    PartAlphas,
    SFTActor,
    SlerpMerge,
    TaskArithmeticMerge,
    TiesMerge,
    TwoSaveMerge,
)
from bai_sweep.config._formula import Formula
from bai_sweep.config._judge import JudgeConfig
from bai_sweep.config._measures import (
    QUANTITIES,
    Benchmark,
    EvaluationConfig,
    Floor,
    SelectionConfig,
    TrackingConfig,
)
from bai_sweep.config._stability import DipConfig, LevelConfig, ShiftConfig, StabilityConfig
from bai_sweep.config._training import (
    GroupSettings,
    LoRASettings,
    NoRL,
    PPOScale,
    PPOSettings,
    PromptsConfig,
    RewardConfig,
    RewardFunction,
    TrainingSettings,
    VLLMSettings,
)
from bai_sweep.config._trial import TrialConfig, fault_text, parse, parse_mapping
from bai_sweep.config._values import ConfigError, Count, Name, Ratio, Section, Seed, Source, Weights

__all__ = [
    "QUANTITIES",
    "Benchmark",
    "ConfigError",
    "Count",
    "DareMerge",
    "DepthMerge",
    "DipConfig",
    "EvaluationConfig",
    "Floor",
    "Formula",
    "GroupSettings",
    "JudgeConfig",
    "LayerAlphas",
    "LevelConfig",
    "LinearMerge",
    "LoRASettings",
    "MergeMethod",
    "MergedActor",
    "ModelConfig",
    "Name",
    "NoRL",
    "PPOScale",
    "PPOSettings",
    "PartAlphas",
    "PromptsConfig",
    "Ratio",
    "RewardConfig",
    "RewardFunction",
    "SFTActor",
    "Section",
    "Seed",
    "SelectionConfig",
    "ShiftConfig",
    "SlerpMerge",
    "Source",
    "StabilityConfig",
    "TaskArithmeticMerge",
    "TiesMerge",
    "TrackingConfig",
    "TrainingSettings",
    "TrialConfig",
    "TwoSaveMerge",
    "VLLMSettings",
    "Weights",
    "fault_text",
    "parse",
    "parse_mapping",
]
