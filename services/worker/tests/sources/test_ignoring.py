"""Rules of what is not read: as git reads them, with our own file before git's, and what a task names before any."""

from __future__ import annotations

from pathlib import Path

import pytest
from waybill_worker.sources import ignoring
from waybill_worker.sources.ignoring import IGNORED, NOT_ALL_RULES, TOO_LARGE_RULES, TOO_SLOW_RULES
from waybill_worker.sources.roots import Roots
from waybill_worker.sources.walk import HIDDEN, Findings, find


def make(root: Path, *names: str, **rules: str) -> None:
    """Files of these names; and rules by the folder that they lie in, with `_` for the root and its slashes."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"This is {name}.\n")
    for folder, text in rules.items():
        (root / folder.strip("_").replace("_", "/") / ".gitignore").write_text(text)


def found(root: Path, *paths: str) -> Findings:
    return find([str(root / path) for path in paths or ("",)], Roots([root]))


def read(root: Path, *paths: str) -> set[str]:
    return {str(Path(file.path).relative_to(root)) for file in found(root, *paths).files}


def refused(root: Path, *paths: str) -> dict[str, str]:
    return {str(Path(path).relative_to(root)): reason for path, reason in found(root, *paths).refused}


TREE = ("a.md", "b.log", "logs/keep.md", "logs/x.log", "src/build/c.md", "src/a.md", "src/logs/y.md", "build")


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("*.log\n", {"a.md", "logs/keep.md", "src/build/c.md", "src/a.md", "src/logs/y.md", "build"}),
        ("/*.log\n", {"a.md", "logs/keep.md", "logs/x.log", "src/build/c.md", "src/a.md", "src/logs/y.md", "build"}),
        ("build/\n", {"a.md", "b.log", "logs/keep.md", "logs/x.log", "src/a.md", "src/logs/y.md", "build"}),
        ("build\n", {"a.md", "b.log", "logs/keep.md", "logs/x.log", "src/a.md", "src/logs/y.md"}),
        (
            "logs/*\n!logs/keep.md\n",
            {"a.md", "b.log", "logs/keep.md", "src/build/c.md", "src/a.md", "src/logs/y.md", "build"},
        ),
        ("logs/\n!logs/keep.md\n", {"a.md", "b.log", "src/build/c.md", "src/a.md", "build"}),
        ("*\n!*/\n!a.md\n", {"a.md", "src/a.md"}),
        ("src/**/*.md\n", {"a.md", "b.log", "logs/keep.md", "logs/x.log", "build"}),
        ("src/**\n!src/a.md\n", {"a.md", "b.log", "logs/keep.md", "logs/x.log", "src/a.md", "build"}),
        ("**/logs/\n", {"a.md", "b.log", "src/build/c.md", "src/a.md", "build"}),
        ("# a.md\n\n  \n[ab].*\n", {"logs/keep.md", "logs/x.log", "src/build/c.md", "src/logs/y.md", "build"}),
        ("src/**/\n", {"a.md", "b.log", "logs/keep.md", "logs/x.log", "src/a.md", "build"}),
    ],
)
def test_rules_leave_out_what_git_leaves_out(tmp_path: Path, rules: str, left: set[str]) -> None:
    make(tmp_path, *TREE, _=rules)
    assert read(tmp_path) == left


def test_rules_of_a_deeper_folder_go_before_those_above(tmp_path: Path) -> None:
    make(tmp_path, "a.log", "in/a.log", "in/b.md", "in/deep/a.log", "in/deep/b.md", _="*.log\n", in_="!a.log\n*.md\n")
    assert read(tmp_path) == {"in/a.log", "in/deep/a.log"}


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    make(tmp_path, *TREE, _="logs/\n")
    assert refused(tmp_path) == {".gitignore": HIDDEN, "logs": IGNORED, "src/logs": IGNORED}


def test_our_own_file_goes_before_the_one_of_git(tmp_path: Path) -> None:
    make(tmp_path, "a.md", "b.md", "c.md", _="a.md\nb.md\n")
    (tmp_path / ".waybillignore").write_text("!a.md\nc.md\n")
    assert read(tmp_path) == {"a.md"}


def test_what_is_hidden_or_generated_is_read_only_where_our_own_file_asks_for_it(tmp_path: Path) -> None:
    make(tmp_path, ".github/a.md", ".env", "node_modules/b.md", "c.md", _="!.github/\n!.env\n!node_modules/\n")
    assert read(tmp_path) == {"c.md"}
    (tmp_path / ".waybillignore").write_text("!.github/\n!node_modules/\n")
    assert read(tmp_path) == {"c.md", ".github/a.md", "node_modules/b.md"}


def test_what_the_task_names_is_read_whatever_the_rules_say(tmp_path: Path) -> None:
    make(tmp_path, *TREE, _="logs/\n*.log\n")
    assert read(tmp_path, "b.log") == {"b.log"}
    assert read(tmp_path, "logs") == {"logs/keep.md", "logs/x.log"}
    assert read(tmp_path, "src/logs") == {"src/logs/y.md"}
    assert read(tmp_path, "", "b.log") == {"a.md", "b.log", "src/build/c.md", "src/a.md", "build"}
    assert "b.log" not in refused(tmp_path, "", "b.log")


def test_rules_from_above_hold_in_a_folder_that_the_task_names(tmp_path: Path) -> None:
    make(tmp_path, *TREE, _="*.log\n/src/a.md\n")
    assert read(tmp_path, "logs") == {"logs/keep.md"}
    assert read(tmp_path, "src") == {"src/build/c.md", "src/logs/y.md"}


def test_rules_from_above_the_allowed_folder_are_nobodys_to_read(tmp_path: Path) -> None:
    make(tmp_path, "in/a.md", _="*\n")
    assert read(tmp_path / "in") == {"a.md"}


def test_a_link_is_no_file_of_rules_and_rules_for_folders_do_not_mean_links(tmp_path: Path) -> None:
    make(tmp_path, "real/a.md", "rules.txt", "in/b.md", in_="linked/\n")
    (tmp_path / "rules.txt").write_text("*\n")
    (tmp_path / ".gitignore").symlink_to("rules.txt")
    (tmp_path / "in" / "linked").symlink_to("../real")
    assert read(tmp_path) == {"in/b.md", "in/linked/a.md", "rules.txt"}


def test_rules_that_are_not_understood_or_not_bounded_are_passed_over_and_told(tmp_path: Path) -> None:
    make(tmp_path, "a.md", "b.md", _="*a*a*a*a*a*b\nb.md\n!\n" + "x" * 600 + "\n")
    assert read(tmp_path) == {"a.md"}
    assert refused(tmp_path)[".gitignore"] in (NOT_ALL_RULES, HIDDEN)
    assert (str(tmp_path / ".gitignore"), NOT_ALL_RULES) in found(tmp_path).refused


def test_a_file_of_rules_that_is_too_large_is_passed_over_and_told(tmp_path: Path) -> None:
    make(tmp_path, "a.md", _="a.md\n" * 20_000)
    assert read(tmp_path) == {"a.md"}
    assert (str(tmp_path / ".gitignore"), TOO_LARGE_RULES) in found(tmp_path).refused


def test_given_rules_that_take_too_long_to_compare_then_the_rest_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ignoring, "MAX_MATCHING_SECONDS", -1.0)
    make(tmp_path, "a.md", _="b.md\n")
    assert read(tmp_path) == set()
    assert refused(tmp_path)["a.md"] == TOO_SLOW_RULES
