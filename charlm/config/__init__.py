"""What a run is made of: three frozen sections for each task, read from TOML, JSON and words."""

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
from charlm.config.training import TrainingConfig

__all__ = [
    "CELLS",
    "SCRATCH_ONLY",
    "Config",
    "CorpusConfig",
    "LanguageTrainingConfig",
    "Layer",
    "ModelConfig",
    "NetworkConfig",
    "TaskConfig",
    "TrainingConfig",
    "layer_for_text",
    "layer_from_preset",
    "layer_from_toml",
    "preset",
    "preset_names",
]
