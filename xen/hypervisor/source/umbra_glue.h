/* SPDX-License-Identifier: GPL-2.0-only */
/* What Xen's own files call: the hooks of the shadow code, of guest CR3 loads and of a domain's life. */
#ifndef UMBRA_GLUE_H
#define UMBRA_GLUE_H

#include <xen/sched.h>
#include <asm/p2m.h>

/* One test is all that a domain costs which is not watched. */
#ifdef CONFIG_SHADOW_PAGING
#define umbra_watches(d) unlikely((d)->arch.paging.shadow.umbra_watched)
#else
#define umbra_watches(d) false
#endif

/* What is to become of a shadow fault. */
enum umbra_answer {
    UMBRA_GO_ON,  /* write the entry */
    UMBRA_HELD,   /* write nothing: the vCPU waits, and will repeat the access */
    UMBRA_EMULATE /* write nothing, and emulate the instruction: it writes to the page that it stands in */
};

/*
 * A shadow fault, its entry computed (*entry) and not yet written; old is the entry as it stands. Called with the
 * paging lock held, as all below.
 */
enum umbra_answer umbra_shadow_fault(struct vcpu *v, unsigned long va, const struct cpu_user_regs *regs,
                                     uint64_t gl1e, uint64_t old, uint64_t *entry, gfn_t gfn, mfn_t mfn,
                                     p2m_type_t type);
/* Does the current vCPU's instruction in its stead. Called without locks. */
void umbra_emulate(const struct cpu_user_regs *regs);
/* The entry has been written: flushes what an older, wider one may have left in the TLBs. */
void umbra_shadow_written(struct vcpu *v);

/* An entry of the current address space is about to be installed ahead of its use. */
void umbra_shadow_prefetch(struct vcpu *v, unsigned long va, uint64_t gl1e, uint64_t *entry, gfn_t gfn,
                           mfn_t mfn, p2m_type_t type);
/* An entry of some address space is about to follow the guest's new one. */
void umbra_shadow_filter(struct vcpu *v, uint64_t gl1e, uint64_t old, uint64_t *entry, mfn_t mfn,
                         p2m_type_t type);
/* The guest wrote gl1e into a table that is in sync; old is the shadow of what stood there. */
void umbra_shadow_validate(struct vcpu *v, uint64_t gl1e, uint64_t old);
/* A table of the guest that was out of sync is about to be taken over: compares it with its snapshot. */
void umbra_shadow_resync(struct vcpu *v, const void *table, void *snapshot);
/* The shadow of one entry of a table out of sync is about to be made from its new value. */
void umbra_shadow_replaced(struct vcpu *v, unsigned long va, uint64_t before, uint64_t after);
/* The shadow of one entry of a table out of sync is about to go. */
void umbra_shadow_invlpg(struct vcpu *v, unsigned long va, mfn_t table, mfn_t snapshot);

/* The guest loaded CR3. Takes the paging lock. */
void umbra_guest_cr3(struct vcpu *v);
/* The guest says that it is about to tear down the address space with that CR3; its shadows still stand. */
void umbra_guest_dying(struct vcpu *v, paddr_t cr3);

/* A domain got shadow paging (paging lock held), and is being torn down (takes the paging lock). */
void umbra_domain_shadowed(struct domain *d);
void umbra_domain_gone(struct domain *d);

/*
 * In shadow/common.c: the user entries of the L1 shadows of an address space are emptied, or, for CR3 0, those of all
 * address spaces. The caller flushes.
 */
void umbra_shadow_forget_user(struct domain *d, uint32_t cr3);

#endif
