"""A filter of system calls: what no candidate program needs and what would step around a limit.

Namespaces and resource limits leave ways around themselves open: a nested user namespace brings capabilities and with
them a tmpfs of any size, memory in memfds and System V segments is in no process's address space, AF_VSOCK reaches
the hypervisor past a network namespace. These calls fail with EPERM (clone3 with ENOSYS, whereupon libc uses clone,
whose flags a filter can read). It is a deny list: a second wall, not the first one.
"""

from __future__ import annotations

import platform
import struct
from functools import cache

# name: numbers on x86_64 and aarch64 (asm/unistd_64.h, asm-generic/unistd.h)
_DENIED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    "vmsplice": (278, 75),
    "personality": (135, 92),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "swapon": (167, 224),
}
_CLONE, _SOCKET, _CLONE3 = (56, 220), (41, 198), 435
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6: each ends at the network namespace
_X32 = 0x40000000  # x86_64's second table of calls

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000  # linux/seccomp.h
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little endian


def supported() -> bool:
    """Whether the numbers of this machine's system calls are known here."""
    return platform.machine() in _ARCHITECTURES


@cache
def seccomp_filter() -> bytes:
    """The program for `prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER)`: an array of `struct sock_filter`."""
    column, arch = _ARCHITECTURES[platform.machine()]
    code = [_op(_LOAD, _ARCH), _op(_EQUAL, arch, then=1), _op(_RETURN, _KILL), _op(_LOAD, _NUMBER)]
    code += [_op(_AT_LEAST, _X32, otherwise=1), _op(_RETURN, _ERRNO | _ENOSYS)]
    for numbers in _DENIED.values():
        code += [_op(_EQUAL, numbers[column], otherwise=1), _op(_RETURN, _ERRNO | _EPERM)]
    code += [_op(_EQUAL, _CLONE3, otherwise=1), _op(_RETURN, _ERRNO | _ENOSYS)]
    code += [_op(_EQUAL, _CLONE[column], otherwise=4), _op(_LOAD, _FIRST_ARGUMENT)]
    code += [_op(_ANY_BIT, _NEW_NAMESPACES, otherwise=1), _op(_RETURN, _ERRNO | _EPERM), _op(_RETURN, _ALLOW)]
    code += [_op(_EQUAL, _SOCKET[column], then=1), _op(_RETURN, _ALLOW), _op(_LOAD, _FIRST_ARGUMENT)]
    code += [_op(_EQUAL, family, then=len(_FAMILIES) - i) for i, family in enumerate(_FAMILIES)]
    return b"".join([*code, _op(_RETURN, _ERRNO | _EAFNOSUPPORT), _op(_RETURN, _ALLOW)])


def _op(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", code, then, otherwise, value)
