"""Goals and the questions they are split into."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_planner.questions import MAX_QUESTIONS, questions_of

# A goal, and below it the questions expected of it.
GOALS: list[tuple[str, list[str]]] = [
    # One question stays as it was written.
    ("What is Waybill?", ["What is Waybill?"]),
    (
        "How does Waybill make sure that no accepted task is lost?",
        ["How does Waybill make sure that no accepted task is lost?"],
    ),
    ("Find the bug in this service", ["Find the bug in this service"]),
    # Clauses, with names in the place of pronouns.
    ("What is Redis and how does it persist data?", ["What is Redis?", "How does Redis persist data?"]),
    (
        "What is Waybill, how does it lose nothing, and how is work batched?",
        ["What is Waybill?", "How does Waybill lose nothing?", "How is work batched?"],
    ),
    (
        "How does Waybill keep accepted tasks safe, and what happens when a worker dies?",
        ["How does Waybill keep accepted tasks safe?", "What happens when a worker dies?"],
    ),
    (
        "How does Waybill make sure that no task is lost, and how does it batch steps?",
        ["How does Waybill make sure that no task is lost?", "How does Waybill batch steps?"],
    ),
    ("How and why does a step fail?", ["How does a step fail?", "Why does a step fail?"]),
    ("Explain what a lease is and how it expires", ["Explain what a lease is", "Explain how a lease expires"]),
    ("Summarise the report, then list the risks.", ["Summarise the report", "List the risks"]),
    ("Is it safe and does it scale?", ["Is it safe?", "Does it scale?"]),
    # Shared subjects, verbs and endings.
    (
        "What are the causes and effects of inflation?",
        ["What are the causes of inflation?", "What are the effects of inflation?"],
    ),
    ("How do I install and configure Waybill?", ["How do I install Waybill?", "How do I configure Waybill?"]),
    (
        "How does Waybill handle retries and timeouts?",
        ["How does Waybill handle retries?", "How does Waybill handle timeouts?"],
    ),
    (
        "What is the role of the planner and the dispatcher?",
        ["What is the role of the planner?", "What is the role of the dispatcher?"],
    ),
    (
        "What are the strengths, weaknesses and costs of gRPC?",
        ["What are the strengths of gRPC?", "What are the weaknesses of gRPC?", "What are the costs of gRPC?"],
    ),
    ("Could you please tell me about TCP and UDP?", ["Tell me about TCP", "Tell me about UDP"]),
    ("Explain retries and the life of a task", ["Explain retries", "Explain the life of a task"]),
    # Comparisons.
    (
        "Compare PostgreSQL and MySQL on replication and backups",
        [
            "How does PostgreSQL fare on replication?",
            "How does MySQL fare on replication?",
            "How does PostgreSQL fare on backups?",
            "How does MySQL fare on backups?",
        ],
    ),
    (
        "What is the difference between a process and a thread?",
        ["What is a process?", "What is a thread?", "How do a process and a thread differ?"],
    ),
    ("Redis vs. Kafka", ["What is Redis?", "What is Kafka?", "How do Redis and Kafka differ?"]),
    (
        "How does Kafka differ from RabbitMQ in ordering guarantees?",
        ["How does Kafka fare in ordering guarantees?", "How does RabbitMQ fare in ordering guarantees?"],
    ),
    # Lists of all kinds.
    ("Explain batching, fencing and retries", ["Explain batching", "Explain fencing", "Explain retries"]),
    ("batching, fencing, retries", ["Batching", "Fencing", "Retries"]),
    ("the ledger; the planner; the worker", ["The ledger", "The planner", "The worker"]),
    (
        "1) What is a task? 2) What is a step? 3) Who runs a step?",
        ["What is a task?", "What is a step?", "Who runs a step?"],
    ),
    (
        "Answer these questions:\n\n- What is a batch?\n- Why are small batches slow?\n",
        ["What is a batch?", "Why are small batches slow?"],
    ),
    (
        "Describe the following topics:\n1. the ledger\n2. the planner\n3. the waiting room,\n   and who is in it",
        ["Describe the ledger", "Describe the planner", "Describe the waiting room", "Who is in the waiting room?"],
    ),
    (
        "About permits:\n* how they expire\n* who takes them",
        ["About permits: how they expire", "About permits: who takes them"],
    ),
    # Several sentences, with those that ask for nothing kept beside those that ask.
    (
        "What is the ledger? How does it survive a crash? Who may write to it?",
        ["What is the ledger?", "How does the ledger survive a crash?", "Who may write to the ledger?"],
    ),
    (
        "We run Redis in production. How do we back it up? What does it cost?",
        ["We run Redis in production. How do we back it up?", "What does it cost?"],
    ),
    # What belongs together stays together.
    ("What are the pros and cons of remote work?", ["What are the pros and cons of remote work?"]),
    ("What does Research and Development do?", ["What does Research and Development do?"]),
    ("Who founded Marks and Spencer?", ["Who founded Marks and Spencer?"]),
    ("What is the capital of Bosnia and Herzegovina?", ["What is the capital of Bosnia and Herzegovina?"]),
    (
        "What is the relationship between latency and throughput?",
        ["What is the relationship between latency and throughput?"],
    ),
    ("Research climate change and its impact", ["Research climate change and its impact"]),
    ("Explain read and write paths", ["Explain read and write paths"]),
    ("Who wrote Hamlet and when?", ["Who wrote Hamlet and when?"]),
    (
        "How does Waybill decide which worker runs a step and when it runs?",
        ["How does Waybill decide which worker runs a step and when it runs?"],
    ),
    # A form that is not known is one question.
    ("Kubernetes. Costs went up again last month.", ["Kubernetes. Costs went up again last month."]),
    ("¿Qué es Waybill y cómo funciona?", ["¿Qué es Waybill y cómo funciona?"]),
    ("  what\tis \x00 this?\n", ["what is this?"]),
]


@pytest.mark.parametrize(("goal", "expected"), GOALS, ids=[goal for goal, _ in GOALS])
def test_a_goal_is_split_into_the_questions_it_asks(goal: str, expected: list[str]) -> None:
    assert questions_of(goal) == expected


def test_given_more_questions_than_allowed_then_the_last_holds_the_rest() -> None:
    found = questions_of("\n".join(f"- What is part {number}?" for number in range(1, 16)))
    assert len(found) == MAX_QUESTIONS
    assert found[0] == "What is part 1?"
    assert found[-1] == "What is part 12? What is part 13? What is part 14? What is part 15?"


def test_a_question_asked_twice_is_one() -> None:
    assert questions_of("What is a lease? what is a lease? What is a step?") == ["What is a lease?", "What is a step?"]


def test_a_goal_without_a_visible_character_has_no_question() -> None:
    assert questions_of(" \n\t\x00\x1f ") == []


WORDS = (
    "what how why is are does do the a its it they and or vs between difference of in on with please could you "
    "compare explain list Redis Kafka retries steps , ; : ? . ! - 1) 2) * ( \" ' ${task.goal} \u202e \u0301 \U0001f600"
)
PIECES = st.sampled_from([*WORDS.split(), "\n", "\x00"])
TANGLED = st.lists(PIECES, max_size=60).map(" ".join)


@given(st.text(max_size=400) | TANGLED)
def test_any_goal_has_at_least_one_question_and_the_same_ones_every_time(goal: str) -> None:
    found = questions_of(goal)
    assert found == questions_of(goal)
    assert len(found) <= MAX_QUESTIONS
    assert all(question.strip() == question != "" for question in found)
    assert all("\x00" not in question and "\n" not in question for question in found)
    assert found or not any(map(str.isalnum, goal))


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        ".",
        "?",
        "(",
        "- x\n",
        "1) ",
        " and ",
        ", what is ",
        "what and ",
        "please ",
        "compare ",
        "\u202e",
        "a vs ",
        "; ",
        ": ",
    ],
)
def test_a_huge_goal_made_of_one_piece_is_split_without_trouble(piece: str) -> None:
    goal = ("What is x " + piece * (16_384 // len(piece.encode())))[:16_384]
    assert 1 <= len(questions_of(goal)) <= MAX_QUESTIONS
