/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the monitor's home in Xen share.
 *
 * Locks. A domain's paging lock serialises everything about that domain: the hooks are called with it or take it,
 * the hypercall takes it through the table of operations. The monitor's table of domains is shared by all of them;
 * its read-write lock is taken inside the paging lock: whoever runs the monitor reads, and only the birth and death
 * of a domain write. No second paging lock is taken inside either, and only leaves are: the heap's, the event
 * channel's, the scheduler's, a page's reference, the TLB's.
 *
 * Nothing here is entered twice on one CPU. The operations that change shadow entries (revoke_*) end in
 * shadow_set_l1e, and hooks are called by what walks the guest's tables (sh_page_fault, sh_prefetch, validate_gl1e,
 * sh_resync_l1, sh_invlpg), which no operation reaches. A reader that read again while a writer waits would wait for
 * ever, and the monitor's buffers would be overwritten: umbra_enter asserts that it does not come to that.
 */
#ifndef UMBRA_HOME_H
#define UMBRA_HOME_H

#include <xen/mm.h>
#include <xen/percpu.h>
#include <xen/sched.h>
#include <asm/flushtlb.h>
#include <asm/p2m.h>

#define FRAME_OF(entry) (((entry) & PADDR_MASK & PAGE_MASK) >> PAGE_SHIFT)

/* Registers of vCPUs that may run are read: umbra_lock pauses the domain. */
DECLARE_PER_CPU(bool, umbra_paused);
/* A watch is asked for: the domain that umbra_lock takes has its hooks called from then on. */
DECLARE_PER_CPU(bool, umbra_watching);

/*
 * umbra_domain.c: the monitor may be called for a domain, whose paging lock is held; null: for none, so that it can
 * look into its table only. What it reads and does goes to that domain, which the operations so need not find.
 */
void umbra_enter(struct domain *d);
void umbra_leave(void);
/* The domain that was entered on this CPU, or null. */
struct domain *umbra_entered(void);

/* umbra_ops.c */
extern const struct umbra_ops umbra_xen_ops;
/* Machine frame behind a guest frame of the domain, or UMBRA_NO_FRAME. */
uint32_t umbra_frame_behind(struct domain *d, unsigned long gfn);

static inline bool umbra_is_ram(mfn_t mfn, p2m_type_t type)
{
    return p2m_is_ram(type) && mfn_valid(mfn);
}

static inline void umbra_flush(struct domain *d)
{
    guest_flush_tlb_mask(d, d->dirty_cpumask);
}

#endif
