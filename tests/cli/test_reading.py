"""What is typed becomes a submission, or an error that names the option."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from waybill.cli.reading import Typed, moment, span_ms, split_sources, start_time, submission
from waybill.cli.run import DEFAULT_GOAL, question
from waybill.core.task import Document
from waybill.errors import InvalidArgument

PLAN = '{"steps": [{"name": "a", "agent": "echo"}]}'


def test_everything_typed_is_in_the_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_text(PLAN)
    Path("n.md").write_text("# N")
    made = submission(
        Typed(
            plan=Path("plan.json"),
            input='{"n": 1}',
            sources=split_sources(["docs, more", "/srv"]),
            documents=[Path("n.md")],
            labels=["team=x", "note=a=b"],
            request_id="r-1",
        )
    )
    assert made.plan == {"steps": [{"name": "a", "agent": "echo"}]}
    assert made.input == {"n": 1}
    assert list(made.paths) == [tmp_path / "docs", tmp_path / "more", Path("/srv")]
    assert list(made.documents) == [Document("n.md", "text/markdown", b"# N")]
    assert made.labels == {"team": "x", "note": "a=b"}
    assert made.request_id == "r-1"


def test_a_plan_file_may_hold_the_body_of_a_submission(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(f'{{"plan": {PLAN}}}')
    assert submission(Typed(plan=tmp_path / "plan.json")).plan == {"steps": [{"name": "a", "agent": "echo"}]}


@pytest.mark.parametrize(
    ("typed", "option"),
    [
        (Typed(), "--goal, --plan"),
        (Typed(goal="g", plan=Path("x")), "--goal, --plan"),
        (Typed(plan=Path("/nowhere/plan.json")), "--plan"),
        (Typed(goal="g", documents=[Path("/nowhere/n.md")]), "--document"),
        (Typed(goal="g", input="{"), "--input"),
        (Typed(goal="g", labels=["team"]), "--label"),
        (Typed(goal="g", deadline="0s"), "--deadline"),
        (Typed(goal="g", start_at="tomorrow"), "--start-at"),
        (Typed(goal="g", start_at="2h"), "--start-at"),
        (Typed(goal="g", start_at="0001-01-01T00:00:00+14:00"), "--start-at"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_option(typed: Typed, option: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{option}: "):
        submission(typed)


@pytest.mark.parametrize("text", ["[1]", "{", "\xff"])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(InvalidArgument, match=r"/plan\.json:1: "):
        submission(Typed(plan=tmp_path / "plan.json"))


def test_sources_keep_their_names_and_are_allowed_as_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = question("g", ["nowhere.md", "/srv"])
    assert asked.sources == ("nowhere.md", "/srv")
    assert asked.roots == (str(tmp_path / "nowhere.md"), "/srv")


def test_without_anything_typed_waybill_is_asked_about_itself() -> None:
    asked = question("", [])
    assert asked.goal == DEFAULT_GOAL
    assert [Path(path).name for path in asked.sources] == ["README.md", "docs"]
    assert all(Path(path).exists() for path in asked.sources)


def test_a_source_that_the_worker_could_not_be_told_of_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^--sources: "):
        question("g", ["/srv/a:b"])


@pytest.mark.parametrize(
    ("typed", "ms"), [("90s", 90_000), ("10m", 600_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("1.5s", 1_500)]
)
def test_spans_of_time_are_read(typed: str, ms: int) -> None:
    assert span_ms(typed, "--deadline") == ms


@pytest.mark.parametrize("typed", ["", "10", "m", "10 m", "-1m", "1h 30m", "10min", "1y"])
def test_what_is_no_span_is_refused_by_its_option(typed: str) -> None:
    with pytest.raises(InvalidArgument, match="--deadline"):
        span_ms(typed, "--deadline")


def test_moments_are_times_or_spans_ago() -> None:
    assert moment("2026-11-24T09:30:00+01:00", "--since") == datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
    assert moment("2026-11-24T09:30", "--since") == datetime(2026, 11, 24, 9, 30).astimezone(UTC)
    before = datetime.now(UTC)
    assert before - timedelta(hours=2) <= moment("2h", "--since") <= datetime.now(UTC) - timedelta(hours=2)
    for typed in ("yesterday", "9999999999d", "10x"):
        with pytest.raises(InvalidArgument, match="--until"):
            moment(typed, "--until")


def test_a_start_is_a_time_or_a_span_from_now() -> None:
    assert start_time("2026-11-24T09:30:00+01:00") == datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
    assert start_time("2026-11-24T09:30") == datetime(2026, 11, 24, 9, 30).astimezone(UTC)
    before = datetime.now(UTC)
    assert before <= start_time("+1h30m") - timedelta(minutes=90) <= datetime.now(UTC)
    assert submission(Typed(goal="g", start_at="2026-11-24T08:30Z")).start_time == datetime(
        2026, 11, 24, 8, 30, tzinfo=UTC
    )
