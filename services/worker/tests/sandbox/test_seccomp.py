"""The filter of system calls, run as the kernel would, for both kinds of machine."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_worker.sandbox.seccomp import program
from waybill_worker.sandbox.syscalls import MACHINES, NEWEST, always, under_conditions

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
PROCESS = 4711
machines = pytest.mark.parametrize("machine", MACHINES)


def decided(machine: str, number: int, arguments: tuple[int, ...] = (), audit: int | None = None) -> int:
    """What the filter answers: a machine for the few instructions that it has."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", number, AUDIT[machine] if audit is None else audit, 0, *padded)
    code = program(machine, PROCESS)
    lines = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    at, value = 0, 0
    while True:
        operation, yes, no, constant = lines[at]
        at += 1
        match operation:
            case 0x20:
                (value,) = struct.unpack_from("=I", data, constant)
            case 0x54:
                value &= constant
            case 0x15:
                at += yes if value == constant else no
            case 0x35:
                at += yes if value >= constant else no
            case 0x06:
                return int(constant)
            case other:
                raise AssertionError(f"{other:#x} is no instruction of a filter")


@machines
@given(number=st.integers(0, 600) | st.integers(0, 2**31 - 1))
def test_given_any_call_when_it_is_not_listed_then_it_is_refused(machine: str, number: int) -> None:
    listed = {*always(machine).values(), *under_conditions(machine).values()}
    answer = decided(machine, number)

    if number in always(machine).values():
        assert answer == ALLOW
    elif number not in listed:
        x32 = machine == "x86_64" and number >= 0x40000000
        assert answer == (ENOSYS if number > NEWEST and not x32 else EPERM)


@machines
def test_given_calls_of_another_kind_of_machine_when_made_then_the_process_is_killed(machine: str) -> None:
    for audit in (0x40000003, 0x40000028, 0, AUDIT["aarch64" if machine == "x86_64" else "x86_64"]):
        assert decided(machine, always(machine)["read"], audit=audit) == KILL


@machines
@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("kill", (PROCESS, 9), ALLOW), ("kill", (PROCESS + 1, 9), EPERM), ("kill", (0, 9), EPERM),
        ("kill", (2**32 - 1, 9), EPERM), ("tgkill", (PROCESS, 1, 9), ALLOW), ("tgkill", (1, 1, 9), EPERM),
        ("socketpair", (1, 1), ALLOW), ("socketpair", (1, 1 | 0x80800), ALLOW), ("socketpair", (1, 2), EPERM),
        ("socketpair", (2, 1), EPERM), ("sendto", (3, 9, 1, 0, 0), ALLOW), ("sendto", (3, 9, 1, 0, 1), EPERM),
        ("sendto", (3, 9, 1, 0, 1 << 32), EPERM), ("ioctl", (0, 0x5401), ALLOW), ("ioctl", (0, 0x5412), EPERM),
        ("fcntl", (0, 1030), ALLOW), ("fcntl", (0, 8), EPERM), ("fcntl", (0, 10), EPERM), ("fcntl", (0, 15), EPERM),
        ("prlimit64", (0, 7, 0, 1), ALLOW), ("prlimit64", (0, 7, 1 << 40, 0), EPERM), ("prlimit64", (0, 7, 8), EPERM),
        ("openat", (0, 1, 0o0), ALLOW), ("openat", (0, 1, 0o1000), EPERM), ("openat", (0, 1, 0o1101), ALLOW),
        ("openat", (0, 1, 0o2001002), ALLOW), ("openat", (0, 1, 0o2001000), EPERM), ("clone3", (), ENOSYS),
    ],
)  # fmt: skip
def test_given_a_call_whose_arguments_decide_when_made_then_they_do(
    machine: str, name: str, arguments: tuple[int, ...], answer: int
) -> None:
    assert decided(machine, under_conditions(machine)[name], arguments) == answer


@machines
def test_given_the_lists_when_read_then_nothing_is_there_that_makes_processes_networks_or_namespaces(
    machine: str,
) -> None:
    listed = {*always(machine), *under_conditions(machine)} - {"clone3"}

    assert not listed & {
        "socket", "connect", "bind", "sendmsg", "sendmmsg", "fork", "vfork", "clone", "execve", "execveat", "ptrace",
        "io_uring_setup", "process_vm_readv", "process_vm_writev", "keyctl", "add_key", "request_key", "mount",
        "unshare", "setns", "bpf", "perf_event_open", "memfd_create", "userfaultfd", "prctl", "setrlimit", "chmod",
        "fchmod", "fchmodat", "chown", "fchownat", "utimensat", "setxattr", "truncate", "symlink", "link", "mknod",
        "shmget", "pidfd_open", "pidfd_getfd", "setsid", "setpgid", "openat2", "creat", "seccomp", "personality",
    }  # fmt: skip
