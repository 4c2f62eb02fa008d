"""The generated page and the JSON Schema follow the declarations."""

import json

import pytest

from chomp.config import config_from_dict, effective, flatten, parse_config, settings
from chomp.config.fields import SET
from chomp.config.json_schema import json_schema
from chomp.config.reference import REFERENCE, literal, main, render
from chomp.config.spec import tables


def test_page_is_current():
    assert REFERENCE.read_text(encoding="utf-8") == render(), "run python -m chomp.config.reference"


def test_check_mode_notices_a_stale_page(tmp_path, capsys):
    page = tmp_path / "docs" / "reference.md"
    assert main(["--output", str(page), "--check"]) == 1
    assert main(["--output", str(page)]) == 0
    assert main(["--output", str(page), "--check"]) == 0
    page.write_text(page.read_text() + "x")
    assert main(["--output", str(page), "--check"]) == 1
    assert "is not current; run `python -m chomp.config.reference`" in capsys.readouterr().err


def test_every_setting_has_a_row_and_a_help_of_one_line():
    page = render()
    for setting in settings().values():
        assert f"| `{setting.path}` |" in page
        assert setting.help
        assert setting.help.endswith(".")
        assert "\n" not in setting.help


def test_the_example_of_the_page_is_valid():
    example = render().split("```yaml\n")[1].split("```")[0]
    config = parse_config(example, source="page").config
    assert (config.train.seq_len, config.logging.run_dir) == (256, "runs/length-256")


@pytest.mark.parametrize(
    ("value", "text"),
    [(3e-4, "3e-4"), (1e-8, "1e-8"), (0.95, "0.95"), (1000.0, "1000"), (0.0, "0"), (1e20, "1e20"), (True, "true"),
     (None, "null"), ([], "[]"), ("", '""'), (0.1 + 0.2, "0.30000000000000004")],
)  # fmt: skip
def test_literals(value, text):
    assert literal(value) == text


def test_schema_of_a_number():
    rate = json_schema()["properties"]["optim"]["properties"]["adam"]["properties"]["b1"]
    assert rate["default"] == 0.9
    assert rate["anyOf"] == [{"type": "number", "minimum": 0, "exclusiveMaximum": 1}, {"$ref": "#/$defs/variable"}]


def test_schema_of_units_choices_and_lists():
    properties = json_schema()["properties"]
    assert properties["train"]["properties"]["steps"]["x-unit"] == "steps"
    assert properties["train"]["properties"]["steps"]["description"] == settings()["train.steps"].help
    assert properties["optim"]["properties"]["name"]["anyOf"][0] == {"enum": ["adamw", "lion", "muon"]}
    assert properties["data"]["properties"]["files"]["anyOf"][0] == {"type": "array", "items": {"type": "string"}}
    assert properties["data"]["properties"]["hf_name"]["type"] == ["string", "null"]
    assert properties["data"]["additionalProperties"] is False
    assert "variables" in properties


def test_schema_is_json():
    assert json.loads(json.dumps(json_schema())) == json_schema()


def test_conditions_name_settings_and_values_that_exist():
    conditions = [part for setting in settings().values() for one in setting.when for part in one]
    assert len(conditions) > 80
    for path, allowed in conditions:
        if path in tables():
            assert allowed == (SET,)
            continue
        there = settings()[path]
        known = there.choices if there.kind == "choice" else (True, False)
        assert allowed == (SET,) or set(allowed) <= set(known), path


@pytest.mark.parametrize(
    ("values", "path", "is_read"),
    [
        ({}, "data.hf_name", False),
        ({"data": {"backend": "hf"}}, "data.hf_name", True),
        ({"optim": {"name": "muon"}}, "optim.adam.b1", True),
        ({"optim": {"name": "muon", "muon": {"rest": "lion"}}}, "optim.adam.b1", False),
        ({"optim": {"name": "adamw", "muon": {"rest": "lion"}}}, "optim.lion.b1", False),
        ({"data": {"eval_files": ["x"]}}, "data.text_key", True),
        ({"objective": {"mtp_heads": 2}}, "objective.mtp_weight", True),
        ({}, "train.steps", True),
    ],
)
def test_a_setting_is_read_only_under_its_conditions(values, path, is_read):
    assert settings()[path].is_read(flatten(config_from_dict(values))) is is_read


def test_a_page_a_schema_and_a_form_tell_conditions_alike():
    needs = "data.backend: hf and data.hf_streaming: true and data.shuffle: true"
    assert settings()["data.shuffle_buffer_size"].needs == needs
    assert f"Window of a shuffled stream. Read only with {needs}." in render()
    assert json_schema()["properties"]["data"]["properties"]["shuffle_buffer_size"]["x-when"] == needs
    assert settings()["optim.lion.b1"].needs == "optim.name: lion; or optim.name: muon and optim.muon.rest: lion"
    assert settings()["objective.mtp_weight"].needs == "objective.mtp_heads above 0"


def test_what_null_amounts_to_is_known():
    config = config_from_dict({"train": {"batch_size": 2, "seq_len": 64, "batch_tokens": 512}, "optim": {"lr": 1e-3}})
    found = effective(config)
    assert set(found) <= {path for path, setting in settings().items() if setting.optional}
    assert (found["train.grad_accum"], found["train.generate_input_len"], found["optim.decay_steps"]) == (4, 32, 900)
    assert "optim.decay_steps" not in effective(config_from_dict({"train": {"epochs": 1}}))
