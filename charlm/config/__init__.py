"""The configuration of a run: three frozen sections of settings for each task."""

from charlm.config.merging import Settings, TaskConfig, settings_from_toml
from charlm.config.network import NetworkSection
from charlm.config.settings import Section, Setting, setting
from charlm.config.training import TrainingSection

__all__ = [
    "NetworkSection",
    "Section",
    "Setting",
    "Settings",
    "TaskConfig",
    "TrainingSection",
    "setting",
    "settings_from_toml",
]
