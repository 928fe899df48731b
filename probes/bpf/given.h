// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a handler is given: an argument of the probed function, fetched when it is needed, or a
 * number that is known.
 *
 * By fentry the verifier knows the type of an argument, and lets the fields of a struct be loaded
 * through it by one instruction each; such a load of what is not mapped gives 0.  Of all other
 * pointers only the number is known, and a helper copies what lies there.
 */
#ifndef MAPCOUNT_GIVEN_H
#define MAPCOUNT_GIVEN_H

#include "record.h"

struct given {
	void *ctx;	/* whose argument it is; meaningless where both of these are negative */
	int argument;
	int at;		/* kprobes: where in struct pt_regs the argument's register is */
	u64 number;	/* of an argument: once it was fetched */
};

static __always_inline struct given known(u64 number)
{
	struct given g = { .argument = -1, .at = -1, .number = number };

	return g;
}

static __always_inline struct given given_at(void *ctx, u32 at)
{
	struct given g = { .ctx = ctx, .argument = -1, .at = at };

	return g;
}

#ifdef WITH_TRAMPOLINES
static __always_inline struct given given(void *ctx, u32 n)
{
	struct given g = { .ctx = ctx, .argument = n, .at = -1 };

	return g;
}

/* fentry and fexit: the values that the kernel put aside, as plain numbers. */
static __always_inline u64 argument(void *ctx, u32 n)
{
	u64 value = 0;

	bpf_get_func_arg(ctx, n, &value);
	return value;
}

static __always_inline u64 returned(void *ctx)
{
	u64 value = 0;

	bpf_get_func_ret(ctx, &value);
	return value;
}
#else
#define argument(ctx, n) 0
#endif

static __always_inline struct given fetched(struct given g)
{
	if (g.argument >= 0)
		g.number = argument(g.ctx, g.argument);
	else if (g.at >= 0)
		g.number = *(u64 *)(g.ctx + g.at);
	return g;
}

#define IS_NONE(g) ((g).argument < 0 && (g).at < 0 && !(g).number)

/* TYPED: the verifier takes loads through arguments, or the loader would have told otherwise. */
#define IS_TYPED(g) ((g).argument >= 0 && TYPED)

/* An argument as the verifier knows it. */
#define POINTER(g) (((u64 *)(g).ctx)[(g).argument])

/* A field of a struct that an argument points to, where the field is no pointer. */
#define LOAD(type, g, offset) (*(type *)(POINTER(g) + (offset)))

/*
 * A field that the verifier takes for a pointer, which it may be or not.  All that it allows to be
 * done with one is to subtract another, which gives a number: base is a fetched argument that is
 * a pointer.
 */
static __always_inline u64 load_pointer(struct given g, u32 offset, struct given base)
{
	u64 value = LOAD(u64, g, offset);

	asm("%0 -= %1" : "+r"(value) : "r"(POINTER(base)));
	return value + base.number;
}

#endif
