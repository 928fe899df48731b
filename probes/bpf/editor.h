// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What BCC and probes/source.py put before these files, for an editor that looks at one of
 * them: BCC never sees this.  The numbers are an example, those of a 6.12 kernel.
 */
#ifndef MAPCOUNT_EDITOR_H
#define MAPCOUNT_EDITOR_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;

/* The contexts of the stubs: registers by the names of x86-64. */
struct pt_regs {
	u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs;
};
struct bpf_raw_tracepoint_args {
	u64 args[12];
};

#define __always_inline inline __attribute__((always_inline))

/* BCC's maps: their functions are members. */
#define MEMBERS(key, leaf)							\
	leaf *(*lookup)(key *);							\
	int (*update)(key *, leaf *);						\
	int (*delete)(key *)
#define BPF_F_TABLE(type, key, leaf, name, size, flags)	static struct { MEMBERS(key, leaf); } name
#define BPF_HASH(name, key, leaf, size)			static struct { MEMBERS(key, leaf); } name
#define BPF_RINGBUF_OUTPUT(name, pages)						\
	static struct { int (*ringbuf_output)(void *, u64, u64); } name
#define BPF_ARRAY_OF_MAPS(name, inner, size)	static struct { MEMBERS(u32, void); } name
#define BPF_CGROUP_ARRAY(name, size)						\
	static struct { int (*check_current_task)(int); } name
#define BPF_STACK_TRACE(name, size)						\
	static struct { int (*get_stackid)(void *, u64); } name
#define BPF_F_MMAPABLE 1024
#define BPF_RB_NO_WAKEUP 1

/* The kernel's helpers. */
u64 bpf_ktime_get_ns(void);
u64 bpf_get_current_pid_tgid(void);
u32 bpf_get_smp_processor_id(void);
int bpf_probe_read_kernel(void *to, u32 size, const void *from);
int bpf_probe_read_user(void *to, u32 size, const void *from);
int bpf_send_signal(u32 signal);
int bpf_get_func_arg(void *ctx, u32 n, u64 *value);
void *bpf_this_cpu_ptr(const void *variable);
int bpf_get_func_ret(void *ctx, u64 *value);
void *bpf_ringbuf_reserve(void *ring, u64 size, u64 flags);
void bpf_ringbuf_submit(void *data, u64 flags);

/* Constants of the recorder (probes/events.py, probes/maps.py). */
#define RECORD_SIZE 64
#define TEXT_OFFSET 32
#define TEXT_SIZE 32
#define NR_PROBES 44
#define LOST_TEXT 43
#define FRAME_SHIFT 9
#define FRAME_BYTES 528
#define LARGEST_ORDER 18
#define SECTION_FRAMES 512
#define SECTIONS 262144
#define MARK_SLOTS 16
#define SECOND_PROGRAMS 2
#define CONTROL_BYTES 624
#define MAX_TASKS 4194304
#define MM_HINTS 65536
#define MM_HINT_SHIFT 6
#define MARK_PREFIX 0x6e756f6370616dULL
#define MARK_PREFIX_SIZE 10
#define MARK_NAMED 0xff00
#define OWNER 0xff04
#define PLACE 0xff05
#define MOVED 0xff06
#define NO_ADDRESS (~0ULL)
#define TASK_NEW 0xff01
#define TASK_RENAME 0xff02
#define TASK_EXIT 0xff03
#define NO_STACK (-2147483647 - 1)
#define LEVEL_SHIFT 4
#define BIT_DOUBLE_MAP 0x01
#define BIT_ANON 0x02
#define BIT_HUGETLB 0x04
#define BIT_FREED 0x08
#define BIT_UNREAD 0x40
#define BIT_TAIL 0x80
#define MIGRATE_MOVABLE 1
#define SIGSTOP 19
#define WITH_TRAMPOLINES 1
#define WITH_CGROUPS 1
#define WITH_SECOND_PROGRAMS 1
#define PAGE_BITS 12

/* Constants of the kernel's build (probes/layout.py). */
#define STRUCT_PAGE 64
#define LINK_BYTES 16
#define PAGE_BYTES 56
#define FOLIO_BYTES 112
#define TAIL_HOLDS_MASK 1
#define OFF_FLAGS 0
#define OFF_COMPOUND_HEAD 8
#define OFF_MAPPING 24
#define OFF_MAPCOUNT 48
#define OFF_REFCOUNT 52
#define OFF_INDEX 32
#define OFF_ENTIRE 84
#define OFF_NR_MAPPED 88
#define OFF_LARGE 80
#define OFF_TOTAL 88
#define OFF_MM_ID 104
#define OFF_MM_ID_MAPCOUNT 96
#define OFF_PINCOUNT 92
#define OFF_ORDER 64
#define OFF_DTOR 80
#define OFF_VM_MM 16
#define OFF_VM_START 0
#define OFF_VM_PGOFF 120
#define OFF_MOVE_OLD 0
#define OFF_MOVE_OLD_ADDR 16
#define OFF_MOVE_NEW_ADDR 32
#define OFF_TASK_MM 2336
#define OFF_MM_ID_OF_MM 1000
#define OFF_TASK_PID 2448
#define OFF_TASK_TGID 2452
#define OFF_TASK_COMM 3000
#define OFF_FILE_F_OP 16
#define GUP_GET 2
#define GUP_PIN 0x80000
#define PG_RESERVED 13
#define PG_HEAD 6
#define PG_DOUBLE_MAP 9
#define PG_HUGETLB 8
#define HUGETLB_DTOR 2
#define HUGETLB_TYPE 0xf4000000
#define HUGETLB_TYPE_MASK 0xff000000

/* Constants that the loader writes (probes/loader.py). */
#define PATCH_MARK 0x1dea5eed00000000ULL
#define VMEMMAP PATCHED(0)
#define HUGE_ZERO PATCHED(1)
#define TRACE_MARKER_OPS PATCHED(2)
#define SELF PATCHED(3)
#define MIN_ORDER PATCHED(4)
#define FILTER_TASKS PATCHED(5)
#define FILTER_CGROUP PATCHED(6)
#define FILTER_PFN PATCHED(7)
#define WITH_STACKS PATCHED(8)
#define WITH_WHERE PATCHED(9)
#define FETCHES PATCHED(10)
#define TYPED PATCHED(11)
#define CONTROL PATCHED(12)
#define TASKS PATCHED(13)
#define HINTS PATCHED(14)
#define FIRST_FRAMES PATCHED(15)
#define PROBE PATCHED(16)
#define ENTRY PATCHED(17)
#define PROG_ACTIVE PATCHED(18)
#define STEP 19

#endif
