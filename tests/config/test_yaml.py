"""Reading files: what YAML says, where it is wrong, and in which words."""

import pytest

from chomp.config import load_config, parse_config
from chomp.config.yaml_reader import MAX_VALUES, read_yaml, scalar
from chomp.errors import ConfigError
from tests.config.wrong import refusal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e-3", 1e-3),
        ("1E6", 1e6),
        ("-1.5e+3", -1500.0),
        (".5", 0.5),
        ("10_000", 10_000),
        ("010", 10),
        ("0x10", 16),
        ("-3", -3),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("None", None),
        ("", None),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("0xZZ", "0xZZ"),
        ("nan", "nan"),
    ],
)
def test_plain_scalars(text, value):
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_infinity_and_nan_are_numbers():
    assert scalar(".inf") == float("inf")
    assert scalar("-.inf") == float("-inf")
    assert scalar(".nan") != scalar(".nan")


def test_quotes_keep_text():
    assert read_yaml("a: '5'\nb: \"no\"\nc: |\n  3e-4\n", "c.yaml").values == {"a": "5", "b": "no", "c": "3e-4\n"}


def test_lines_of_keys_and_items():
    lines = read_yaml("a:\n  b: 1\n  c:\n    - x\n    - y\n", "c.yaml").lines
    assert lines == {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.yaml: the file is empty; write at least one section, such as `train:`"),
        ("# only a comment\n", "c.yaml: the file is empty; write at least one section, such as `train:`"),
        ("- train\n", "c.yaml:1: expected sections such as `train:` at the top, got a list"),
        ("train\n", "c.yaml:1: expected sections such as `train:` at the top, got a single value"),
        (
            "train:\n  steps: 5\n  steps: 6\n",
            "c.yaml:3: train.steps: the key is written twice, first on line 2; keep one",
        ),
        ("train:\n\tsteps: 5\n", "c.yaml:2:1: not valid YAML: a tab where only spaces are allowed; indent with spaces"),
        (
            "train: steps: 5\n",
            "c.yaml:1:13: not valid YAML: a second colon on the line, or the line is indented wrongly; "
            "text with `: ` needs quotes",
        ),
        (
            "train:\n  steps: 5\n seed: 3\n",
            "c.yaml:3:2: not valid YAML: the line is not aligned with the lines above; check its indentation "
            "and quotes",
        ),
        ("a: 'x\n", "c.yaml:2:1: not valid YAML: a quote or bracket is not closed"),
        ("a: [1, 2\n", "c.yaml:2:1: not valid YAML: a quote or bracket is not closed"),
        ("a: *.txt\n", "c.yaml:1:5: not valid YAML: text that starts with * or & needs quotes, such as '*.txt'"),
        ("a: *b\n", "c.yaml:1:4: not valid YAML: text that starts with * or & needs quotes, such as '*.txt'"),
        (
            "a: @b\n",
            "c.yaml:1:4: not valid YAML: found character '@' that cannot start any token; check quotes, brackets and "
            "indentation",
        ),
        (
            "---\na: 1\n---\nb: 1\n",
            "c.yaml:3:1: the file holds more than one YAML document; keep one and delete the `---` after it",
        ),
        (
            "train: !!python/object/apply:os.system [ls]\n",
            "c.yaml:1: train: the tag !!python/object/apply:os.system is not allowed; write a plain value",
        ),
        (
            "train:\n  seed: !!int '5'\n",
            "c.yaml:2: train.seed: the tag !!int is not allowed; write a plain value",
        ),
        (
            "a: &a {steps: 1}\ntrain:\n  <<: *a\n",
            "c.yaml:3: train: merge keys (<<) are not supported; repeat the keys or use `variables:`",
        ),
        ("a: \x07\n", "c.yaml:1:4: the character U+0007 is not allowed in YAML; delete it"),
        (
            "a:\n  {x: 1}: 2\n",
            "c.yaml:2: a: a key must be a scalar, got a list or a mapping; text with braces needs quotes",
        ),
    ],
)
def test_unreadable_text(text, message):
    [line] = refusal(text)
    assert line.startswith(message)


def test_duplicates_are_reported_together():
    assert len(refusal("train:\n  seed: 1\n  seed: 2\n  steps: 3\n  steps: 4\n")) == 2


def test_aliases_cannot_multiply_a_file():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 8):
        bomb += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    [line] = refusal(bomb)
    assert line == f"c.yaml: the file expands to more than {MAX_VALUES} values or 50 levels; use fewer aliases"


def test_an_alias_of_itself_ends():
    [line] = refusal("a: &a [*a]\n")
    assert line.endswith("use fewer aliases")


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "quickstart.yaml")
    assert str(caught.value) == f"{tmp_path}/quickstart.yaml: the configuration file does not exist; check the path"


def test_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "quickstart.yaml").write_text("train: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "quikstart.yaml")
    assert str(caught.value) == (
        f"{tmp_path}/quikstart.yaml: the configuration file does not exist; did you mean {tmp_path}/quickstart.yaml?"
    )


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(ConfigError, match="is a folder; name a configuration file in it"):
        load_config(tmp_path)


def test_unreadable_file(tmp_path, monkeypatch):
    file = tmp_path / "c.yaml"

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "read_bytes", refuse)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value) == f"{file}: the configuration file cannot be read: Permission denied"


def test_bad_utf8(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_bytes(b"train:\n  seed: 1 # caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value) == (f"{file}:2:16: the byte 0xe9 at offset 22 is not valid UTF-8; save the file as UTF-8")


def test_text_is_kept_byte_for_byte(tmp_path):
    raw = "\ufefftrain:\r\n  seed: 1  # ümlaut\r\n".encode()
    file = tmp_path / "c.yaml"
    file.write_bytes(raw)
    loaded = load_config(file, ["train.seed=2"])
    assert loaded.text.encode() == raw
    assert (loaded.source, loaded.overrides, loaded.config.train.seed) == (str(file), ("train.seed=2",), 2)


def test_empty_sections_are_defaults():
    assert parse_config("train:\noptim:\n  muon:\n", source="c.yaml").config.train.steps == 1000
