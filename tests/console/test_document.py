"""One value set changes that value's characters and nothing else; undo, marks, and what an editor's lines become."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chomp.config import Setting, config_from_dict, parse_config, settings
from chomp.config.edits import CannotEdit, reset_value, set_value
from chomp.config.scalars import Items, Plain, Words, written
from chomp.config.spec import tables
from chomp.config.yaml_reader import read_yaml
from chomp.config.yaml_spans import Unreadable, read_layout
from chomp.errors import ConfigError
from chomp.record.rundir import RunDir
from chomp_tui.config.document import ConfigDocument, merged, visual_lines
from chomp_tui.config.documents import from_run, read_document
from chomp_tui.config.draft import Draft
from chomp_tui.config.entries import KINDS, addable, entries_of, removable, with_entry, without_entry, wrong_name
from chomp_tui.config.field_text import shown_value, typed
from chomp_tui.config.history import History

FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SHAPES = {
    "as it is": lambda text: text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "no last line end": lambda text: text.rstrip("\n"),
}
# Each file as it is, and one with other line ends; `make soak` tries all.
CASES = [
    pytest.param(file, shape, id=f"{file.stem}-{shape}", marks=[pytest.mark.soak] if number and later else [])
    for number, file in enumerate(FILES)
    for later, shape in enumerate(SHAPES)
]
PLAIN = {"int": "7", "float": "0.25", "bool": "true", "text": "a word: # 'quoted'", "list": "a, b: c, 'd'"}


def example(setting: Setting) -> str:
    """A value of the setting's type."""
    return setting.choices[-1] if setting.kind == "choice" else PLAIN[setting.kind]


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """Values of a parsed file by dotted path."""
    if isinstance(tree, dict):
        found: dict[str, Any] = {}
        for name, value in tree.items():
            found.update(leaves(value, f"{path}.{name}" if path else name))
        return found
    return {path: tree}


def meant(setting: Setting) -> Any:
    """What the example is read as."""
    value = {"int": 7, "float": 0.25, "bool": True, "text": PLAIN["text"], "list": ["a", "b: c", "'d'"]}
    return setting.choices[-1] if setting.kind == "choice" else value[setting.kind]


@pytest.mark.parametrize(("file", "shape"), CASES)
def test_setting_one_value_changes_that_value_alone(file: Path, shape: str) -> None:
    text = SHAPES[shape](file.read_bytes().decode())
    before = leaves(read_yaml(text, "file").values)
    layout = read_layout(text)
    for path, setting in settings().items():
        new = set_value(text, path, typed(setting, example(setting)))
        after = leaves(read_yaml(new, "file").values)
        assert after.pop(path) == meant(setting), path
        assert after == {name: value for name, value in before.items() if name != path}, path
        if path in layout.places:
            span = layout.places[path].value
            assert (new[: span.start], new[len(new) - len(text) + span.end :]) == (text[: span.start], text[span.end :])
        else:
            assert_only_added(text, new, path)
        if shape == "CRLF":
            assert "\n" not in new.replace("\r\n", "")
        assert new.endswith("\n") == text.endswith("\n")


def assert_only_added(text: str, new: str, path: str) -> None:
    """One line was put in; more where the section was missing, ending with the key's."""
    old_lines, new_lines = text.splitlines(), new.splitlines()
    added = len(new_lines) - len(old_lines)
    at = next(i for i in range(len(new_lines)) if new_lines[i : i + 1] != old_lines[i : i + 1])
    at = max(i for i in range(at + 1) if old_lines[:i] == new_lines[:i] and old_lines[i:] == new_lines[i + added :])
    lines = [line.strip() for line in new_lines[at : at + added] if line.strip()]
    names = path.split(".")
    assert [line.partition(":")[0] for line in lines] == names[len(names) - len(lines) :]
    section = path.rpartition(".")[0]
    assert (len(lines) == 1) == (section in read_layout(text).places)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_what_was_added_can_be_taken_out_again(file: Path) -> None:
    text = file.read_bytes().decode()
    written_paths = read_layout(text).places
    for path, setting in settings().items():
        if path not in written_paths and path.rpartition(".")[0] in written_paths:
            assert reset_value(set_value(text, path, typed(setting, example(setting))), path) == text


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_taking_a_key_out_leaves_the_others(file: Path) -> None:
    text = file.read_bytes().decode()
    before = leaves(read_yaml(text, "file").values)
    for path in before:
        if path in settings():
            after = leaves(read_yaml(reset_value(text, path), "file").values)
            assert {name: value for name, value in after.items() if value is not None} == {
                name: value for name, value in before.items() if name != path
            }


STYLES = """\
# head
variables: {width: 32}
optim: {lr: 3e-4, name: 'muon'} # flow
train:
  steps: &n 5  # anchored and used
  log_every: *n
  seq_len: &alone 64
  batch_size:   # nothing written
data:
  files:   # where
    - a.txt # first
    - 'b.txt'
    # in between
    - c
  local_text: >-
    folded
    text

  # about nothing
checkpoint:
debug: null
logging: {}
model: {
  model_dim: $variables.width, # last
}
"""


@pytest.mark.parametrize(
    ("path", "wanted", "old", "new"),
    [
        ("optim.lr", Plain("1"), "{lr: 3e-4,", "{lr: 1,"),
        ("optim.name", Words("it's"), "'muon'", "'it''s'"),
        ("optim.adam.b1", Plain(".5"), "'muon'}", "'muon', adam: {b1: .5}}"),
        ("train.log_every", Plain("8"), "*n", "8"),
        ("train.seq_len", Plain("8"), "&alone 64", "&alone 8"),
        ("train.batch_size", Plain("8"), "batch_size:   #", "batch_size: 8   #"),
        ("train.seed", Plain("3"), "nothing written\n", "nothing written\n  seed: 3\n"),
        ("data.files", Items(("a.txt", "c")), "    - 'b.txt'\n", ""),
        ("data.files", Items(("a.txt", "x, y", "c")), "'b.txt'", "'x, y'"),
        ("data.files", Items(("a.txt", "b.txt", "c", "*.d")), "    - c\n", '    - c\n    - "*.d"\n'),
        ("data.local_text", Words("hi"), ">-\n    folded\n    text", "hi"),
        ("data.shuffle", Plain("true"), "  # about nothing\n", "  # about nothing\n  shuffle: true\n"),
        ("checkpoint.save_every", Plain("1"), "checkpoint:\n", "checkpoint:\n  save_every: 1\n"),
        ("debug.nonfinite", Words("skip"), "debug: null", "debug: {nonfinite: skip}"),
        ("logging.wandb.mode", Words("offline"), "logging: {}", "logging: {wandb: {mode: offline}}"),
        ("model.num_layers", Plain("2"), "width, #", "width, num_layers: 2, #"),
        ("model.model_dim", Plain("2"), "$variables.width", "2"),
        ("variables.width", Plain("64"), "32", "64"),
    ],
)
def test_every_way_to_write_yaml_survives(path: str, wanted: Any, old: str, new: str) -> None:
    assert STYLES.count(old) == 1
    assert set_value(STYLES, path, wanted) == STYLES.replace(old, new)


def test_a_list_that_becomes_empty_moves_up_beside_its_key() -> None:
    new = set_value(STYLES, "data.files", Items(()))
    assert "  files: []   # where\n  local_text: >-\n" in new


@pytest.mark.parametrize(
    ("text", "path", "sentence"),
    [
        (STYLES, "train.steps", "without touching other lines"),
        ("train: &t {steps: 1}\noptim: *t\n", "optim.lr", r"optim is written as \*t"),
        ("train: [1\n", "train.steps", "does not parse"),
        ("train: 5\n", "train.steps", "no section"),
        ("- a\n", "train.steps", "does not parse"),
    ],
)
def test_an_edit_that_would_touch_more_is_refused(text: str, path: str, sentence: str) -> None:
    with pytest.raises(CannotEdit, match=sentence):
        set_value(text, path, Plain("7"))


def test_an_empty_text_gets_its_first_section() -> None:
    assert set_value("", "optim.adam.b1", Plain("0.5")) == "optim:\n  adam:\n    b1: 0.5\n"
    assert set_value("# only this", "train.steps", Plain("5")) == "# only this\n\ntrain:\n  steps: 5"


def test_a_section_goes_with_its_only_key_unless_it_holds_a_comment() -> None:
    text = "train:\n  steps: 5\noptim:\n  lr: 1\ndebug:\n  # why\n  nonfinite: skip\n"
    assert reset_value(text, "optim.lr") == text.replace("optim:\n  lr: 1\n", "")
    assert reset_value(text, "debug.nonfinite") == text.replace("  nonfinite: skip\n", "")
    assert reset_value(text, "train.seed") == text


def test_aliases_that_multiply_are_refused_quickly() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(Unreadable):
        read_layout("\n".join(rows))


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)


@given(TEXTS, st.sampled_from([None, "'", '"']), st.booleans())
@hypothesis_settings(deadline=None, max_examples=150)
def test_any_text_is_written_so_that_it_is_read_back(text: str, style: str | None, inline: bool) -> None:
    yaml = written(Words(text), inline=inline, style=style)
    source = f"k: {{v: {yaml}}}\n" if inline else f"k:\n  v: {yaml}\n"
    assert read_yaml(source, "file").values == {"k": {"v": text}}


@given(st.data())
@hypothesis_settings(deadline=None, max_examples=150)
def test_any_typed_text_leaves_the_rest_alone(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(settings())))
    word = data.draw(TEXTS)
    before = leaves(read_yaml(STYLES, "file").values)
    try:
        new = set_value(STYLES, path, typed(settings()[path], word))
    except CannotEdit:
        assert path in ("train.steps",)
        return
    after = leaves(read_yaml(new, "file").values)
    sections = {path.rpartition(".")[0], path.split(".")[0]}
    gone = {name for name in before if name in sections}
    assert {k: v for k, v in after.items() if k != path} == {k: v for k, v in before.items() if k not in {path, *gone}}


@given(TEXTS, st.data())
@hypothesis_settings(deadline=None, max_examples=200)
def test_lines_of_an_editor_become_the_text_and_other_line_ends_stay(text: str, data: st.DataObject) -> None:
    lines = visual_lines(text)
    at = data.draw(st.integers(0, len(lines) - 1))
    added = data.draw(st.lists(st.text("ab #", max_size=3), max_size=3))
    kept = data.draw(st.integers(0, 2))
    new_lines = [*lines[:at], *added, *lines[at + kept :]] or [""]
    new = merged(text, new_lines)
    if new_lines[-1] or not new_lines[:-1]:
        assert visual_lines(new)[: len(new_lines)] == new_lines or new == text
    assert merged(new, visual_lines(new)) == new


def test_mixed_line_ends_outside_the_change_stay() -> None:
    text = "a: 1\r\nb: 2\nc: 3\r\n"
    assert merged(text, ["a: 1", "b: 20", "c: 3", ""]) == "a: 1\r\nb: 20\nc: 3\r\n"
    assert merged(text, ["a: 1", "x", "b: 2", "c: 3", ""]) == "a: 1\r\nx\r\nb: 2\nc: 3\r\n"
    assert merged(text, ["a: 1", "c: 3", ""]) == "a: 1\r\nc: 3\r\n"
    assert merged(text, ["a: 1", "b: 2", "c: 3"]) == "a: 1\r\nb: 2\nc: 3"


# The document --------------------------------------------------------------------------

SMALL = "# keep\nvariables:\n  n: 64\ntrain:\n  steps: 2000 # few\n  seq_len: $variables.n\n"


def document(text: str = SMALL, **kwargs: Any) -> ConfigDocument:
    return ConfigDocument(text, name="small.yaml", **kwargs)


def test_typing_in_one_field_is_one_step_back() -> None:
    made = document()
    for value in ("3", "30", "300"):
        made.set("train.steps", value, edit=1)
        made.take_lines(visual_lines(made.text), edit=2)
    made.set("train.steps", "4", edit=3)
    made.end_edit()
    made.take_lines([*visual_lines(made.text)[:-1], "  seed: 1", ""], edit=4)
    assert made.text == SMALL.replace("2000", "4") + "  seed: 1\n"
    texts = []
    while made.undo():
        texts.append(made.text)
    assert texts == [SMALL.replace("2000", "4"), SMALL.replace("2000", "300"), SMALL]
    assert made.redo()
    assert made.text == SMALL.replace("2000", "300")
    made.set("train.steps", "5")
    assert not made.redo()


def test_edits_of_one_field_are_never_merged_and_those_before_a_launch_are_out_of_reach() -> None:
    made = document()
    for edit, value in enumerate(("3", "30")):
        made.set("train.steps", value, edit=edit)
        made.end_edit()
    assert made.undo()
    assert made.text == SMALL.replace("2000", "3")
    assert made.redo()
    # An edit that ends where it began is no step, and a cancelled one leaves none.
    made.set("train.steps", "301", edit=7)
    made.set("train.steps", "30", edit=7)
    made.end_edit()
    made.set("train.steps", "9", edit=8)
    assert made.cancel_edit(8)
    assert not made.cancel_edit(8)
    assert made.text == SMALL.replace("2000", "30")
    assert made.undo()
    assert made.text == SMALL.replace("2000", "3")
    Draft(made).was_launched()
    assert not made.undo()
    assert not made.redo()
    made.set("train.steps", "4", edit=8)
    assert made.undo()
    assert made.text == SMALL.replace("2000", "3")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(1, 3)))))
def test_undo_passes_through_the_states_between_edits_and_redo_comes_back(
    changes: list[tuple[str, int | None]],
) -> None:
    history, between, last = History("start"), ["start"], None
    for state, edit in changes:
        if edit is None or edit != last:
            between.append(history.state)
        history.change(state, edit)
        last = edit
    end = history.state
    seen = [end]
    while history.undo():
        seen.append(history.state)
    assert seen[-1] == "start"
    assert all(one != other for one, other in pairwise(seen))
    assert set(seen[1:]) <= set(between)
    while history.redo():
        pass
    assert history.state == end


@pytest.mark.parametrize(
    ("text", "path", "shown"),
    [
        ("debug: {}", "train.grad_accum", "auto (=1)"),
        ("train: {batch_tokens: 8192}", "train.grad_accum", "auto (=2)"),
        ("train: {grad_accum: null}", "train.grad_accum", "auto (=1)"),
        ("train: {grad_accum: 3}", "train.grad_accum", "3"),
        ("debug: {}", "optim.decay_steps", "auto (=900)"),
        ("data: {backend: hf}", "data.hf_dataset", "auto (=Zyphra/Zyda-2)"),
        ("debug: {}", "train.generate_top_k", "off"),
        ("debug: {}", "train.steps", "1000"),
        ("debug: {}", "train.deterministic", "auto (=true)"),
        ("model: {preset: mega200m}", "model.num_layers", "12"),
    ],
)
def test_what_is_not_written_is_shown_as_what_the_run_uses(text: str, path: str, shown: str) -> None:
    assert document(text).view(settings()[path]).shown == shown


def test_the_word_for_null_can_be_typed() -> None:
    made = document("train: {grad_accum: 3}\nlogging: {wandb: {run_name: x}}\n")
    made.set("train.grad_accum", "auto")
    made.set("logging.wandb.run_name", "auto")
    assert made.text == "train: {grad_accum: null}\nlogging: {wandb: {run_name: auto}}\n"


def test_a_setting_that_the_run_does_not_read_is_needed_once_it_is_written_or_wrong() -> None:
    made = document("data:\n  backend: stdlib\n")
    needed = {path for path, setting in settings().items() if made.view(setting).is_needed}
    assert {"data.backend", "data.eval_files", "data.shuffle"} < needed
    assert not needed & {"data.hf_name", "data.tokens_path", "optim.lion.b1", "model.attention"}
    made.set("data.hf_name", "x")
    assert made.view(settings()["data.hf_name"]).is_needed
    # Not valid before the files are named: the choice counts already.
    made.set("data.backend", "files")
    assert made.check().loaded is None
    assert made.view(settings()["data.text_key"]).is_read
    assert made.view(settings()["data.files"]).problems
    assert not made.view(settings()["data.hf_name"]).is_read


def test_settings_of_the_mesh_are_needed_on_several_devices_or_once_they_are_written() -> None:
    made, fsdp = document("parallel:\n  data: 1\n"), settings()["parallel.fsdp"]
    assert made.view(settings()["parallel.data"]).is_needed
    assert not made.view(fsdp).is_needed
    made.devices = 2
    assert made.view(fsdp).is_needed


def test_a_view_tells_reference_default_change_and_line() -> None:
    made = document()
    view = made.view(settings()["train.seq_len"])
    assert (view.text, view.resolved, view.line, view.is_set) == ("$variables.n", "64", 6, True)
    assert (view.is_changed, view.is_default) == (False, False)
    seed = made.view(settings()["train.seed"])
    assert (seed.text, seed.fallback, seed.is_set, seed.is_default) == ("", "0", False, True)
    made.set("train.seq_len", "128")
    view = made.view(settings()["train.seq_len"])
    assert (view.text, view.resolved, view.is_changed) == ("128", "", True)
    assert made.text == SMALL.replace("$variables.n", "128")
    assert [setting.path for setting in made.variables()] == ["variables.n"]
    made.set("variables.n", "'12'")
    assert "  n: '12'\n" in made.text


def test_a_preset_is_the_value_of_what_is_not_written() -> None:
    made = document("model:\n  preset: mega200m\ndata:\n  tokenizer:\n    kind: byte\n")
    view = made.view(settings()["model.model_dim"])
    assert (view.text, view.fallback, view.is_set, view.is_default) == ("", "1024", False, False)


def test_a_preset_s_name_is_a_new_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = read_document(Path("Nano-125M"))
    assert (made.text, made.path, made.check().problems) == ("model:\n  preset: nano-125m\n", None, ())
    with pytest.raises(ConfigError, match="does not exist"):
        read_document(Path("nowhere.yaml"))


def test_a_preset_is_the_value_in_every_section_that_it_brings() -> None:
    made = document("model: {preset: NANO-125M}\noptim: {warmup_steps: 3}\n")
    found = {path: made.view(settings()[path]).fallback for path in ("optim.name", "optim.muon.rest", "model.preset")}
    assert found == {"optim.name": "muon", "optim.muon.rest": "lion", "model.preset": "none"}
    made.set("optim.name", "adamw")
    assert made.view(settings()["optim.lr"]).fallback == "1e-3"


def test_an_override_wins_until_its_field_is_edited() -> None:
    made = document(overrides=["train.steps=700", "train.seed=1"])
    view = made.view(settings()["train.steps"])
    assert (view.text, view.override) == ("2000", "train.steps=700")
    loaded = made.check().loaded
    assert loaded is not None
    assert loaded.config.train.steps == 700
    made.set("train.steps", "900")
    assert made.overrides == ("train.seed=1",)
    loaded = made.check().loaded
    assert loaded is not None
    assert loaded.config.train.steps == 900
    made.undo()
    assert made.overrides == ("train.steps=700", "train.seed=1")
    assert not made.is_modified


def test_problems_stand_at_their_settings() -> None:
    made = document()
    made.set("train.steps", "-3")
    check = made.check()
    assert check.loaded is None
    assert check.parses
    assert [problem.line for problem in check.problems] == [5]
    view = made.view(settings()["train.steps"])
    assert len(view.problems) == 1
    assert "above 0" in view.problems[0]
    made.replace("train: [\n")
    assert not made.check().parses
    assert made.view(settings()["train.steps"]).line is None


def test_a_document_with_a_byte_order_mark_keeps_it() -> None:
    made = document("\ufefftrain:\n  steps: 5\n")
    made.set("train.steps", "6")
    assert made.text == "\ufefftrain:\n  steps: 6\n"


@pytest.mark.parametrize(
    "value", [None, True, False, 0, 7, 3e-4, 1e-8, 0.95, 100.0, 1e20, "", "null", "a b", ["a", "b, c"], []]
)
def test_a_shown_value_is_read_back(value: Any) -> None:
    kinds = {bool: "bool", int: "int", float: "float", str: "text", list: "list", type(None): "int"}
    setting = Setting("variables.x", kinds[type(value)], None, True, "")  # type: ignore[arg-type]
    yaml = written(typed(setting, shown_value(value)), inline=False)
    assert read_yaml(f"x: {yaml}\n", "file").values == {"x": value}


def test_a_document_made_of_a_configuration_equals_it() -> None:
    for file in FILES:
        loaded = parse_config(file.read_text(), source="file")
        assert config_from_dict(loaded.config.model_dump()) == loaded.config


MIXED = """\
data:
  mixture:
    sources:
      web: {backend: files, files: [x], weight: 0.7}
      code: # all defaults
    stages:
      late: {from_tokens: 9, weights: {web: 0.5, code: 1}}
"""


def test_sources_of_a_mixture_are_sections_with_settings_of_their_own() -> None:
    mixed = document(MIXED)
    found = entries_of(mixed.layout())
    table = "data.mixture"
    assert list(found) == [f"{table}.sources.web", f"{table}.sources.code", f"{table}.stages.late", WEIGHTS]
    assert [setting.path for setting in found[WEIGHTS]] == [f"{WEIGHTS}.web", f"{WEIGHTS}.code"]
    weight, files = (
        next(one for one in found[f"{table}.sources.web"] if one.path.endswith(name)) for name in (".weight", ".files")
    )
    assert (mixed.view(weight).text, mixed.view(weight).fallback, mixed.view(files).text) == ("0.7", "1.0", "[x]")
    assert not mixed.view(next(one for one in found[f"{table}.sources.code"] if one.path.endswith(".files"))).is_read
    mixed.set(weight.path, "0.9")
    mixed.set(f"{WEIGHTS}.web", "2")
    assert mixed.text == MIXED.replace("0.7", "0.9").replace("web: 0.5", "web: 2")
    assert mixed.check().loaded is not None
    mixed.set(weight.path, "-1")
    assert mixed.view(weight).problems == ("expected a number of at least 0, got -1",)


def test_evaluation_sets_and_tasks_are_sections_with_settings_of_their_own() -> None:
    text = "evaluation:\n  sets:\n    wiki: {files: [x], every: 250}\n  tasks:\n    arc: {path: t.jsonl}\n"
    scored = document(text)
    assert list(entries_of(scored.layout())) == ["evaluation.sets.wiki", "evaluation.tasks.arc"]
    scored.set("evaluation.sets.wiki.every", "50")
    scored.set("evaluation.tasks.arc.every", "1e3")
    assert "every: 50}" in scored.text
    assert scored.check().loaded.config.evaluation.tasks["arc"].every == 1000


TRAINED = "train:\n  steps: 2000\n"
STARTS = {
    "empty": "",
    "block": TRAINED,
    "flow": "{train: {steps: 2000}}\n",
    "null": f"{TRAINED}evaluation: null\n",
    "set": f"{TRAINED}evaluation:\n  # of others\n  sets:\n    old: {{files: [x]}}\n",
    "mixture": MIXED,
}


@pytest.mark.parametrize("text", STARTS)
def test_an_entry_is_added_with_what_it_needs_and_removed_without_a_trace(text: str) -> None:
    before = STARTS[text]
    for table in addable(document(before).layout()):
        after, path = with_entry(before, table, "new-1")
        # What is wrong is what the user has to choose, and nothing else.
        assert [one.path for one in document(after).check().problems] == [path]
        added = set(removable(document(after).layout())) - set(removable(document(before).layout()))
        assert added == {f"{table}.new-1"} == {path.rpartition(".")[0]}
        # Sections in which nothing is left go, too.
        assert without_entry(after, f"{table}.new-1").replace("evaluation: null\n", "") == before.replace(
            "evaluation: null\n", ""
        )


def test_every_table_of_sections_has_entries_that_can_be_added() -> None:
    assert set(KINDS) == {path for path, table in tables().items() if table.entry is not None}
    assert addable(document(MIXED).layout()) == list(KINDS)
    assert set(KINDS) - set(addable(document("").layout())) == {"data.mixture.stages"}


def test_stages_have_a_weight_for_each_source() -> None:
    added, _ = with_entry(MIXED, "data.mixture.sources", "books")
    assert added == MIXED.replace("code: 1}", "code: 1, books: 1.0}").replace(
        "all defaults\n", "all defaults\n      books:\n        backend: files\n        files: []\n"
    )
    assert without_entry(added, "data.mixture.sources.books") == MIXED
    added, path = with_entry(MIXED, "data.mixture.stages", "last")
    assert path == "data.mixture.stages.last.from_tokens"
    weights = read_yaml(added, "file").values["data"]["mixture"]["stages"]["last"]["weights"]
    assert weights == {"web": 0.7, "code": 1.0}


def test_a_name_is_refused_that_is_none_or_is_taken() -> None:
    layout = document("evaluation:\n  sets:\n    wiki: {files: [x]}\n").layout()
    for table in ("evaluation.sets", "evaluation.tasks"):
        said = wrong_name(layout, table, "wiki")
        assert said == "there is evaluation.sets.wiki already; choose another name"
        assert wrong_name(layout, table, "web") is None
    assert wrong_name(layout, "data.mixture.sources", "wiki") is None
    for name in ("", "1st", "a.b", "a b", "x" * 33):
        said = wrong_name(layout, "evaluation.sets", name)
        assert said == "a name has letters, digits, _ and -, a letter first, at most 32 characters"


def test_an_entry_stays_when_its_last_setting_is_taken_out() -> None:
    """Only the key for it removes an entry."""
    scored = document("evaluation:\n  sets:\n    wiki:\n      every: 5\n    web: {files: [x]}\n")
    scored.reset("evaluation.sets.wiki.every")
    assert "wiki:\n" in scored.text
    assert removable(scored.layout()) == ["evaluation.sets.wiki", "evaluation.sets.web"]


def test_a_copy_of_a_run_has_its_mixture_without_the_runs_own_file(tmp_path: Path) -> None:
    loaded = parse_config(MIXED, source="mixed")
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.config_resolved.write_text(json.dumps(loaded.config.model_dump()))
    copy = from_run(run.path)
    assert copy.check().loaded is not None
    assert copy.check().loaded.config == loaded.config


WEIGHTS = "data.mixture.stages.late.weights"
