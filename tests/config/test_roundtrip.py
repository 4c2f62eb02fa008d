"""Any configuration survives a dump, JSON, and the YAML of `chomp config show`."""

import json
from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chomp.cli.config import resolved_yaml
from chomp.config import Setting, config_from_dict, derive, derived_section, flatten, parse_config, settings
from chomp.config.load import LoadedConfig
from chomp.config.validate import build_config
from chomp.config.variables import expand
from chomp.config.yaml_reader import read_yaml

# Surrogates have no UTF-8 form and can stand in no file.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def values(setting: Setting) -> st.SearchStrategy[Any]:
    """Values that the declaration of one setting allows."""
    if setting.kind == "choice":
        found = st.sampled_from(setting.choices)
    elif setting.kind == "bool":
        found = st.booleans()
    elif setting.kind == "text":
        found = TEXT.filter(lambda text: len(text) >= (setting.min_length or 0))
    elif setting.kind == "list":
        found = st.lists(TEXT, max_size=3)
    elif setting.kind == "int":
        low = setting.minimum if setting.minimum is not None else (setting.above or 0) + 1
        high = setting.maximum if setting.maximum is not None else 10**6
        found = st.integers(int(low), int(high))
    else:
        low = setting.minimum if setting.minimum is not None else setting.above
        high = setting.maximum if setting.maximum is not None else setting.below
        found = st.floats(
            low,
            high,
            allow_nan=False,
            allow_infinity=False,
            exclude_min=setting.above is not None,
            exclude_max=setting.below is not None,
        )
    return st.none() | found if setting.optional else found


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """Nested values of some of the settings."""
    tree: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(list(settings())), max_size=12, unique=True)):
        *outer, leaf = path.split(".")
        inner = tree
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[leaf] = draw(values(settings()[path]))
    return tree


@hypothesis_settings(deadline=None)
@given(trees())
def test_dump_and_json(tree):
    config = config_from_dict(tree)
    assert config_from_dict(config.model_dump()) == config
    assert config_from_dict(json.loads(json.dumps(config.model_dump()))) == config


@hypothesis_settings(deadline=None)
@given(trees())
def test_yaml_of_show(tree):
    config = config_from_dict(tree)
    text = resolved_yaml(LoadedConfig(config, "", "c.yaml", (), dict.fromkeys(settings(), "default")))

    def unexpected(path, message):
        raise AssertionError((path, message))

    assert build_config(expand(read_yaml(text, "c.yaml").values, None, unexpected)) == config


def test_resolved_file_with_its_derived_section():
    config = parse_config("{train: {batch_tokens: 8192}}", source="c.yaml").config
    assert config_from_dict({**config.model_dump(), "derived": derived_section(derive(config))}) == config


def test_flat_and_declared_keys_agree():
    assert list(flatten(config_from_dict({}))) == list(settings())
