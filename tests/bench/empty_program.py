# SPDX-License-Identifier: GPL-2.0-or-later
"""What no tracer can be cheaper than: a BPF program that does nothing, until SIGINT.

empty_program.py fentry|kprobe FUNCTION[,FUNCTION…]
"""

import signal
import sys

from bcc import BPF

way, names = sys.argv[1:3]
functions = names.split(",")
stubs = {
    "fentry": "KFUNC_PROBE({0}) {{ return 0; }}\n",
    "kprobe": "int kprobe__{0}(struct pt_regs *ctx) {{ return 0; }}\n",
}
text = "#include <uapi/linux/ptrace.h>\n" + "".join(map(stubs[way].format, functions))
# The names of the functions say where they are to be attached.
bpf = BPF(text=text)
interrupted = []
signal.signal(signal.SIGINT, lambda *_: interrupted.append(1))
print("recording", flush=True)
while not interrupted:
    signal.pause()
