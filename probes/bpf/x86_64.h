// SPDX-License-Identifier: GPL-2.0-or-later
/* Page-table entries of x86-64. */
#ifndef MAPCOUNT_X86_64_H
#define MAPCOUNT_X86_64_H

#include "editor.h"

/* The first pfn that a huge PMD maps, or 0. */
static __always_inline u64 huge_pmd_pfn(u64 pmd)
{
	if (!(pmd & 0x80))
		return 0;
	/* A PROT_NONE entry keeps its pfn inverted (arch/x86 pgtable-invert.h). */
	if (!(pmd & 1))
		pmd = ~pmd;
	return (pmd & 0x000fffffffe00000ULL) >> 12;
}

#endif
