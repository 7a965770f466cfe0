// SPDX-License-Identifier: Apache-2.0
/**
 * Where the monitor meets Xen: the insertions that put its hooks, its hypercall and its state into a source tree
 * of Xen 4.17.
 *
 * @module
 */
import type { Insertion } from "./anchors.ts";

/** Number of the hypercall; free in Xen 4.17. */
export const HYPERCALL = 43;

const MULTI = "xen/arch/x86/mm/shadow/multi.c";
const COMMON = "xen/arch/x86/mm/shadow/common.c";
const END_OF_FILE = "/*\n * Local variables:";

/** All insertions, in the order in which they are made. */
export const INSERTIONS: readonly Insertion[] = [
  // The hypercall.
  {
    file: "xen/include/public/xen.h",
    anchor: "#define __HYPERVISOR_hypfs_op",
    place: "after",
    lines: [`#define __HYPERVISOR_umbra_op ${HYPERCALL}`],
  },
  {
    file: "xen/include/hypercall-defs.c",
    anchor: "xenpmu_op(unsigned int op, xen_pmu_params_t *arg)",
    place: "after",
    lines: ["umbra_op(unsigned int command, unsigned long argument)"],
  },
  {
    file: "xen/include/hypercall-defs.c",
    anchor: "xenpmu_op                          do",
    place: "after",
    lines: ["umbra_op                           -        do       -        -        -"],
  },
  // Building.
  { file: "xen/arch/x86/Makefile", anchor: "obj-y += mm/", place: "after", lines: ["obj-y += umbra/"] },
  // A domain's state.
  {
    file: "xen/arch/x86/include/asm/domain.h",
    anchor: "    unsigned int      opt_flags;",
    within: "struct shadow_domain {",
    place: "before",
    lines: ["    bool umbra_watched;", "    unsigned long umbra_held;"],
  },
  // The fault path.
  {
    file: MULTI,
    anchor: '#include "types.h"',
    place: "after",
    lines: ['#include "../../umbra/umbra_glue.h"'],
  },
  {
    file: MULTI,
    anchor: "    l1e_propagate_from_guest(v, gw.l1e, gmfn, &sl1e, ft, p2mt);",
    place: "after",
    lines: [
      "    if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "    {",
      "        enum umbra_answer answer = umbra_shadow_fault(v, va, regs, gw.l1e.l1, ptr_sl1e->l1, &sl1e.l1,",
      "                                                      gfn, gmfn, p2mt);",
      "        if ( answer != UMBRA_GO_ON )",
      "        {",
      "            paging_unlock(d);",
      "            put_gfn(d, gfn_x(gfn));",
      "            if ( answer == UMBRA_EMULATE )",
      "                umbra_emulate(regs);",
      "            return EXCRET_fault_fixed;",
      "        }",
      "    }",
    ],
  },
  {
    file: MULTI,
    anchor: "    shadow_set_l1e(d, ptr_sl1e, sl1e, p2mt, sl1mfn);",
    place: "after",
    lines: [
      "    if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "        umbra_shadow_written(v);",
    ],
  },
  // Entries that come without a fault of their own.
  {
    file: MULTI,
    anchor: "        l1e_propagate_from_guest(v, gl1e, gmfn, &sl1e, ft_prefetch, p2mt);",
    place: "after",
    lines: [
      "        if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "            umbra_shadow_prefetch(v, gw->va + (unsigned long)i * PAGE_SIZE, gl1e.l1, &sl1e.l1,",
      "                                  guest_l1e_get_gfn(gl1e), gmfn, p2mt);",
    ],
  },
  {
    file: MULTI,
    anchor: "    l1e_propagate_from_guest(v, new_gl1e, gmfn, &new_sl1e, ft_prefetch, p2mt);",
    place: "after",
    lines: [
      "    if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "    {",
      "        umbra_shadow_validate(v, new_gl1e.l1, sl1p->l1);",
      "        umbra_shadow_filter(v, new_gl1e.l1, sl1p->l1, &new_sl1e.l1, gmfn, p2mt);",
      "    }",
    ],
  },
  {
    file: MULTI,
    anchor: "   SHADOW_FOREACH_L1E(sl1mfn, sl1p, &gl1p, 0, {",
    within: "void sh_resync_l1(",
    place: "before",
    lines: [
      "    if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "        umbra_shadow_resync(v, gp, snp);",
    ],
  },
  {
    file: MULTI,
    anchor: "            l1e_propagate_from_guest(v, gl1e, gmfn, &nsl1e, ft_prefetch, p2mt);",
    place: "after",
    lines: [
      "            if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "                umbra_shadow_filter(v, gl1e.l1, sl1p->l1, &nsl1e.l1, gmfn, p2mt);",
    ],
  },
  {
    file: MULTI,
    anchor: "                /* Remove the shadow entry that maps this VA */",
    place: "before",
    lines: [
      "                if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "                    umbra_shadow_invlpg(v, linear, gl1mfn, oos_snapshot_lookup(d, gl1mfn));",
    ],
  },
  {
    file: MULTI,
    anchor: "        snp[guest_l1_table_offset(va)] = gw.l1e;",
    place: "before",
    lines: [
      "        if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "            umbra_shadow_replaced(v, va, snp[guest_l1_table_offset(va)].l1, gw.l1e.l1);",
    ],
  },
  {
    file: MULTI,
    anchor: "            snpl1p[i] = gl1e;",
    place: "before",
    lines: [
      "        {",
      "            if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "                umbra_shadow_replaced(v, gw->va + (unsigned long)i * PAGE_SIZE, snpl1p[i].l1, gl1e.l1);",
    ],
  },
  {
    file: MULTI,
    anchor: "            snpl1p[i] = gl1e;",
    place: "after",
    lines: ["        }"],
  },
  // The end of an address space, when the guest tells of it (Linux does).
  {
    file: MULTI,
    anchor: "    for_each_shadow_table(v, i)",
    within: "    /* fast path: the pagetable belongs to the current context */",
    place: "before",
    lines: [
      "    if ( GUEST_PAGING_LEVELS == 3 && umbra_watches(d) )",
      "        umbra_guest_dying(v, gpa);",
    ],
  },
  // Emptying user entries.
  {
    file: MULTI,
    anchor: END_OF_FILE,
    place: "before",
    lines: ["#ifdef CONFIG_HVM", '#include "../../umbra/umbra_shadow_multi.h"', "#endif"],
  },
  {
    file: "xen/arch/x86/mm/shadow/multi.h",
    anchor: "SHADOW_INTERNAL_NAME(sh_paging_mode, GUEST_LEVELS);",
    place: "after",
    lines: ['#include "../../umbra/umbra_shadow_levels.h"'],
  },
  {
    file: COMMON,
    anchor: '#include "private.h"',
    place: "after",
    lines: ['#include "../../umbra/umbra_glue.h"'],
  },
  {
    file: COMMON,
    anchor: END_OF_FILE,
    place: "before",
    lines: ["#ifdef CONFIG_HVM", '#include "../../umbra/umbra_shadow_common.h"', "#endif"],
  },
  // A domain's life.
  {
    file: COMMON,
    anchor: "    sh_new_mode(d, mode);",
    within: "int shadow_enable(struct domain *d, u32 mode)",
    place: "after",
    lines: ["    umbra_domain_shadowed(d);"],
  },
  {
    file: COMMON,
    anchor: "    ASSERT(d != current->domain);",
    within: "void shadow_teardown(struct domain *d, bool *preempted)",
    place: "after",
    lines: ["    umbra_domain_gone(d);"],
  },
  /*
   * A held vCPU is one that sleeps while dom0 works, and Credit2 can then forget dom0: an idle CPU leaves a unit that
   * ran elsewhere alone unless it has half a millisecond more credit than the idle unit, and one that has used up all
   * of its credit never has. If the CPU it ran on had left it to that idle CPU, nobody runs it ever again. No resistance
   * against moving to a CPU that has nothing to do, then.
   */
  {
    file: "xen/common/sched/credit2.c",
    anchor: "        if ( sched_unit_master(svc->unit) != cpu",
    place: "before",
    lines: ["        if ( !is_idle_unit(snext->unit) )"],
  },
  // The guest's CR3.
  {
    file: "xen/arch/x86/hvm/hvm.c",
    anchor: "#include <asm/shadow.h>",
    place: "after",
    lines: ['#include "../umbra/umbra_glue.h"'],
  },
  {
    file: "xen/arch/x86/hvm/hvm.c",
    anchor: "    paging_update_cr3(curr, noflush);",
    place: "after",
    lines: ["    umbra_guest_cr3(curr);"],
  },
];
