/* SPDX-License-Identifier: Apache-2.0 */
/* What the exerciser's kernel and its program agree on; xen/lab/dom0/exerciser.ts knows the layout of STATUS too. */
#ifndef EXERCISER_H
#define EXERCISER_H

#include "base.h"

#define PROCESSORS 2u

/* Status, stacks and the logs of truth: one page table. */
#define STATUS 0x1000000u
#define STACKS 0x10000u
#define LOGS 0x20000u
#define LOG_PAGES 16u

/*
 * The pages that are exercised, of each processor, and the parts of that area (pages). What is made executable at
 * once lies side by side; the rest leaves a gap behind each page, so that each is an allocation of its own.
 */
#define AREA 0x2000000u
#define AREA_STEP 0x200000u
#define SPREAD(part, i) ((part) + 2 * (i))
#define BOTH 0u /* writable and executable: S2 */
#define BOTH_PAGES 16u
#define TURNED 40u /* made executable, and writable again, many at once: S1 */
#define TURNED_PAGES 32u
#define SELF 80u /* code that rewrites itself */
#define SELF_PAGES 4u
#define SHARED 100u /* written by the other processor, while it runs */
#define SHARED_PAGES 8u
#define SWAPPED 120u /* pairs whose frames change places */
#define SWAPPED_PAGES 8u
#define ALIAS 140u /* written here, run at its second address */
#define SECOND 150u
#define ALIASES 4u

/* Services of int 0x2e: EAX; arguments in EBX, ECX, EDX. */
#define PROTECT 1u
#define SWAP 2u
#define SWITCH 3u
#define YIELD 4u
#define DONE 5u /* for the processor in EBX: ticks of ordinary work in ECX, of the exercises in EDX */

/* Rights of PROTECT. */
#define MAY_WRITE 1u
#define MAY_RUN 2u
#define RELOAD 4u /* by a load of CR3, not page by page */

#define STATUS_MAGIC 0x65786572u

/* One page as it ran. */
struct truth {
    u32 va, first, second; /* hash: two words */
    u32 part;              /* of the area: BOTH, TURNED, … */
};

struct status {
    u32 magic;
    u32 done[PROCESSORS];
    u32 errors[PROCESSORS];  /* routines that did not give what they should */
    u32 records[PROCESSORS]; /* of truth */
    u32 filled[PROCESSORS], ran[PROCESSORS];
    u32 arrived[PROCESSORS];
};

/* Ring 3, exerciser_program.c. */
void exercise(u32 t);

#endif
