"""What a user may choose: schema, loading, cross-field rules, derived numbers."""

from chomp.config.derive import Derived, check, derive, derived_section, effective, notes
from chomp.config.load import LoadedConfig, load_config, parse_config, parse_resolved
from chomp.config.problems import InvalidConfig, Problem
from chomp.config.schema import Config
from chomp.config.spec import SectionSpec, Setting, flatten, section_at, sections, setting_at, settings
from chomp.config.validate import config_from_dict

__all__ = [
    "Config",
    "Derived",
    "InvalidConfig",
    "LoadedConfig",
    "Problem",
    "SectionSpec",
    "Setting",
    "check",
    "config_from_dict",
    "derive",
    "derived_section",
    "effective",
    "flatten",
    "load_config",
    "notes",
    "parse_config",
    "parse_resolved",
    "section_at",
    "sections",
    "setting_at",
    "settings",
]
