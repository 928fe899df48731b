// SPDX-License-Identifier: GPL-2.0-or-later
/* Page-table entries of arm64. */
#ifndef MAPCOUNT_AARCH64_H
#define MAPCOUNT_AARCH64_H

#include "editor.h"

#define PTE_VALID (1ULL << 0)
#define PMD_TABLE (1ULL << 1)
/*
 * Without PTE_VALID the bit of an entry that is present all the same, PROT_NONE or about to
 * change; a swap entry has it clear.  It lies here since "arm64/mm: Move PTE_PRESENT_INVALID to
 * overlay PTE_NG" (in v6.11); in older kernels such entries are not recognised.
 */
#define PTE_PRESENT_INVALID (1ULL << 11)

/* The first pfn that a huge PMD maps, or 0. */
static __always_inline u64 huge_pmd_pfn(u64 pmd)
{
	if (pmd & PMD_TABLE || !(pmd & (PTE_VALID | PTE_PRESENT_INVALID)))
		return 0;
	return (pmd & ((1ULL << 48) - (1ULL << (PAGE_BITS + FRAME_SHIFT)))) >> PAGE_BITS;
}

#endif
