"""The corpus of texts that try to give orders: whole, varied, and each with something to obey."""

from __future__ import annotations

from injection_texts import injections


def test_given_the_corpus_when_loaded_then_names_and_texts_are_unique_and_each_orders_something() -> None:
    found = injections()

    assert len(found) >= 40
    assert len({item.name for item in found}) == len({item.text for item in found}) == len(found)
    assert all(item.text.strip() and "/" in item.tool and "@" in item.recipient and item.agent for item in found)


def test_given_the_corpus_when_its_kinds_are_counted_then_no_kind_stands_for_all() -> None:
    kinds = {item.name.partition("/")[0] for item in injections()}

    assert {"direct", "roles", "results", "delimiters", "encoded", "languages", "plans"} <= kinds
    assert {"mail/send", "shell/run", "files/delete"} <= {item.tool for item in injections()}
    assert {"exfiltrator", "python", "http", "tools"} <= {item.agent for item in injections()}
