"""What a run is made of: three frozen sections for each task, read from TOML, JSON and words."""

from charlm.config.classification import (
    FEATURES,
    ClassifierConfig,
    ClassifierTrainingConfig,
    ClassifyConfig,
    ReviewsConfig,
)
from charlm.config.language import (
    Config,
    CorpusConfig,
    LanguageTrainingConfig,
    ModelConfig,
    layer_for_text,
)
from charlm.config.merging import Layer, TaskConfig, layer_from_toml
from charlm.config.network import CELLS, SCRATCH_ONLY, NetworkConfig
from charlm.config.presets import layer_from_preset, preset, preset_names
from charlm.config.tagging import SlotsConfig, TagConfig, TaggerConfig, TaggerTrainingConfig
from charlm.config.training import TrainingConfig

__all__ = [
    "CELLS",
    "FEATURES",
    "SCRATCH_ONLY",
    "ClassifierConfig",
    "ClassifierTrainingConfig",
    "ClassifyConfig",
    "Config",
    "CorpusConfig",
    "LanguageTrainingConfig",
    "Layer",
    "ModelConfig",
    "NetworkConfig",
    "ReviewsConfig",
    "SlotsConfig",
    "TagConfig",
    "TaggerConfig",
    "TaggerTrainingConfig",
    "TaskConfig",
    "TrainingConfig",
    "layer_for_text",
    "layer_from_preset",
    "layer_from_toml",
    "preset",
    "preset_names",
]
