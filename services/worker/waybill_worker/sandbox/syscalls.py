"""The system calls that a snippet may make, by name, with their numbers on the two machines that are supported.

Everything else is refused: what makes processes and threads, the network, other processes, other namespaces, keys,
mounts, io_uring, and also what Landlock does not judge, such as changing modes, owners and times of files.
"""

from __future__ import annotations

MACHINES = ("x86_64", "aarch64")
NEWEST = 450
"""The newest call that was looked at. Newer ones do not exist inside: the C library falls back to older ones."""

_ALWAYS = """
access:21:- alarm:37:- arch_prctl:158:- brk:12:214 chdir:80:49 clock_getres:229:114 clock_gettime:228:113
clock_nanosleep:230:115 close:3:57 close_range:436:436 copy_file_range:326:285 dup:32:23 dup2:33:- dup3:292:24
epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21 epoll_pwait:281:22 epoll_wait:232:- eventfd2:290:19
exit:60:93 exit_group:231:94 faccessat:269:48 faccessat2:439:439 fadvise64:221:223 fallocate:285:47 fchdir:81:50
fdatasync:75:83 fgetxattr:193:10 flistxattr:196:13 flock:73:32 fstat:5:80 fstatfs:138:44 fsync:74:82 ftruncate:77:46
futex:202:98 get_robust_list:274:100 getcpu:309:168 getcwd:79:17 getdents64:217:61 getegid:108:177 geteuid:107:175
getgid:104:176 getgroups:115:158 getitimer:36:102 getpeername:52:205 getpgid:121:155 getpgrp:111:- getpid:39:172
getppid:110:173 getrandom:318:278 getresgid:120:150 getresuid:118:148 getrlimit:97:163 getrusage:98:165 getsid:124:156
getsockname:51:204 getsockopt:55:209 gettid:186:178 gettimeofday:96:169 getuid:102:174 getxattr:191:8 lgetxattr:192:9
listxattr:194:11 llistxattr:195:12 lseek:8:62 lstat:6:- madvise:28:233 membarrier:324:283 mkdir:83:- mkdirat:258:34
mmap:9:222 mprotect:10:226 mremap:25:216 msync:26:227 munmap:11:215 nanosleep:35:101 newfstatat:262:79 pause:34:-
pipe:22:- pipe2:293:59 poll:7:- ppoll:271:73 pread64:17:67 pselect6:270:72 pwrite64:18:68 read:0:63 readlink:89:-
readlinkat:267:78 readv:19:65 recvfrom:45:207 rename:82:- renameat:264:38 renameat2:316:276 restart_syscall:219:128
rmdir:84:- rseq:334:293 rt_sigaction:13:134 rt_sigpending:127:136 rt_sigprocmask:14:135 rt_sigreturn:15:139
rt_sigsuspend:130:133 rt_sigtimedwait:128:137 sched_getaffinity:204:123 sched_yield:24:124 select:23:- sendfile:40:71
set_robust_list:273:99 set_tid_address:218:96 setitimer:38:103 shutdown:48:210 sigaltstack:131:132 stat:4:-
statfs:137:43 statx:332:291 sysinfo:99:179 time:201:- times:100:153 umask:95:166 uname:63:160 unlink:87:-
unlinkat:263:35 wait4:61:260 waitid:247:95 write:1:64 writev:20:66
"""
_UNDER_CONDITIONS = """
clone3:435:435 fcntl:72:25 ioctl:16:29 kill:62:129 open:2:- openat:257:56 prlimit64:302:261 sendto:44:206
socketpair:53:199 tgkill:234:131
"""


def always(machine: str) -> dict[str, int]:
    """The numbers of the calls that are always let through."""
    return _numbers(_ALWAYS, machine)


def under_conditions(machine: str) -> dict[str, int]:
    """The numbers of the calls whose arguments decide."""
    return _numbers(_UNDER_CONDITIONS, machine)


def _numbers(table: str, machine: str) -> dict[str, int]:
    column = 1 + MACHINES.index(machine)
    rows = (row.split(":") for row in table.split())
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
