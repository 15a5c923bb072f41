"""How a service is set up: one frozen model, filled by flags, environment and a TOML file."""

from brainmvp_server.settings.model import (
    ComparisonSettings,
    JobSettings,
    LimitSettings,
    ObservabilitySettings,
    ServiceSettings,
    Settings,
    WorkerSettings,
)
from brainmvp_server.settings.security import SecuritySettings
from brainmvp_server.settings.sources import Effective, load
from brainmvp_server.settings.table import Entry, entries

__all__ = [
    "ComparisonSettings",
    "Effective",
    "Entry",
    "JobSettings",
    "LimitSettings",
    "ObservabilitySettings",
    "SecuritySettings",
    "ServiceSettings",
    "Settings",
    "WorkerSettings",
    "entries",
    "load",
]
