"""The caps of the product. Crossing one is a clear error that names it."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB

MAX_PLAN_STEPS = 10_000
MAX_PLAN_INPUT_BYTES = 4 * MIB
MAX_DEPENDENCIES_PER_STEP = 10_000
MAX_INPUT_BYTES = 1 * MIB
MAX_OUTPUT_BYTES = 4 * MIB
MAX_GOAL_BYTES = 16 * KIB
MAX_DOCUMENTS = 1_000
MAX_DOCUMENT_BYTES = 8 * MIB
MAX_PATHS = 100
MAX_LABELS = 32
MAX_LABEL_KEY_CHARS = 63
MAX_LABEL_VALUE_CHARS = 255
MAX_BATCH_SUBMISSIONS = 1_000
MAX_REQUEST_ID_CHARS = 128
MAX_EVENT_TEXT_BYTES = 64 * KIB
MAX_EVENT_MESSAGE_CHARS = 1_000
MAX_FAILURE_MESSAGE_CHARS = 2_000
MAX_TASK_EVENTS = 100_000
MAX_MESSAGE_BYTES = 32 * MIB
"""Largest gRPC message on any hop; above every cap on what a message may carry."""

STEP_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
AGENT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
TENANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
RESERVED_STEP_NAMES = frozenset({"task"})
