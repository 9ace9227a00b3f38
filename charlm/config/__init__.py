"""The configuration of a run: three frozen sections of settings for each task."""

from charlm.config.classification import (
    FEATURES,
    SETTINGS_FOR_CHARACTERS,
    SETTINGS_FOR_PRETRAINED,
    ClassificationConfig,
    ClassifierSection,
    ClassifierTrainingSection,
    LabelledTextsSection,
)
from charlm.config.language import (
    LanguageModelConfig,
    LanguageModelSection,
    LanguageTrainingSection,
    TextSection,
    settings_for_text,
)
from charlm.config.merging import Settings, TaskConfig, settings_from_toml
from charlm.config.network import NetworkSection
from charlm.config.presets import preset, preset_names, settings_from_preset
from charlm.config.settings import Section, Setting, setting
from charlm.config.tagging import (
    TaggedSentencesSection,
    TaggerSection,
    TaggerTrainingSection,
    TaggingConfig,
)
from charlm.config.training import TrainingSection

__all__ = [
    "FEATURES",
    "SETTINGS_FOR_CHARACTERS",
    "SETTINGS_FOR_PRETRAINED",
    "ClassificationConfig",
    "ClassifierSection",
    "ClassifierTrainingSection",
    "LabelledTextsSection",
    "LanguageModelConfig",
    "LanguageModelSection",
    "LanguageTrainingSection",
    "NetworkSection",
    "Section",
    "Setting",
    "Settings",
    "TaggedSentencesSection",
    "TaggerSection",
    "TaggerTrainingSection",
    "TaggingConfig",
    "TaskConfig",
    "TextSection",
    "TrainingSection",
    "preset",
    "preset_names",
    "setting",
    "settings_for_text",
    "settings_from_preset",
    "settings_from_toml",
]
