/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a guest's processor does: shadow faults, instructions done in its stead, and loads of CR3. For locks see
 * umbra_home.h.
 */
#include <xen/lib.h>
#include <asm/hvm/emulate.h>
#include <asm/hvm/hvm.h>
#include <asm/p2m.h>
#include <asm/paging.h>
#include <asm/processor.h>
#include <asm/shadow.h>
#include "../mm/mm-locks.h"
#include "../mm/shadow/private.h"
#include "umbra_glue.h"
#include "umbra_home.h"
#include "umbra_monitor.h"

#define ENTRY_NX (1ull << 63)
/* Longest instruction in bytes, less its first. */
#define REST_OF_INSTRUCTION 14u

/* The entry about to be written is narrower than the one before. */
static DEFINE_PER_CPU(bool, umbra_narrowed);
/* An instruction (its EIP) that Xen could not emulate here: it is not tried again at once. */
static DEFINE_PER_CPU(unsigned long, umbra_not_emulated);

/*
 * No page is writable and executable at once, so an instruction that writes to a page its own bytes stand in
 * would fault for ever: for its write, then for its fetch. Xen does it instead, once.
 */
static bool writes_itself(const struct umbra_access *access, unsigned long eip)
{
    uint64_t page = access->va & PAGE_MASK;

    if ( !(access->error_code & PFEC_write_access) || !(access->error_code & PFEC_user_mode) ||
         !(access->sl1e_new & _PAGE_RW) )
        return false;
    if ( this_cpu(umbra_not_emulated) == eip )
    {
        this_cpu(umbra_not_emulated) = 0;
        return false;
    }
    return page == (eip & PAGE_MASK) || page == ((eip + REST_OF_INSTRUCTION) & PAGE_MASK);
}

static bool cf_check any_instruction(const struct x86_emulate_state *state,
                                     const struct x86_emulate_ctxt *ctxt)
{
    return true;
}

void umbra_emulate(const struct cpu_user_regs *regs)
{
    struct segment_register cs;

    hvm_get_segment_register(current, x86_seg_cs, &cs);
    if ( !hvm_emulate_one_insn(any_instruction, "umbra") )
        this_cpu(umbra_not_emulated) = cs.base + regs->rip;
}

enum umbra_answer umbra_shadow_fault(struct vcpu *v, unsigned long va, const struct cpu_user_regs *regs,
                                     uint64_t gl1e, uint64_t old, uint64_t *entry, gfn_t gfn, mfn_t mfn,
                                     p2m_type_t type)
{
    struct umbra_access access = {};
    struct segment_register cs;
    bool held;

    /* Without NX the guest's fetches cannot be told from its reads. */
    if ( !umbra_is_ram(mfn, type) || !hvm_nx_enabled(v) )
        return UMBRA_GO_ON;
    hvm_get_segment_register(v, x86_seg_cs, &cs);
    access.domain = v->domain->domain_id;
    access.vcpu = v->vcpu_id;
    access.error_code = regs->error_code & (PFEC_page_present | PFEC_write_access | PFEC_user_mode |
                                            PFEC_reserved_bit | PFEC_insn_fetch);
    access.va = va;
    access.gl1e = gl1e;
    access.sl1e_old = old;
    access.sl1e_new = *entry;
    access.gfn = gfn_x(gfn);
    access.mfn = mfn_x(mfn);
    access.eip = regs->eip;
    access.esp = regs->esp;
    access.eflags = regs->eflags;
    access.cs = cs.sel;
    access.eax = regs->eax;
    access.ecx = regs->ecx;
    access.edx = regs->edx;
    access.ebx = regs->ebx;
    access.ebp = regs->ebp;
    access.esi = regs->esi;
    access.edi = regs->edi;
    umbra_enter(v->domain);
    held = umbra_fault(&access);
    umbra_leave();
    *entry = access.sl1e_new;
    this_cpu(umbra_narrowed) = (old & _PAGE_PRESENT) &&
                               (((old & _PAGE_RW) && !(*entry & _PAGE_RW)) ||
                                (!(old & ENTRY_NX) && (*entry & ENTRY_NX)));
    if ( held )
        return UMBRA_HELD;
    return writes_itself(&access, cs.base + regs->rip) ? UMBRA_EMULATE : UMBRA_GO_ON;
}

void umbra_shadow_written(struct vcpu *v)
{
    if ( this_cpu(umbra_narrowed) )
        umbra_flush(v->domain);
    this_cpu(umbra_narrowed) = false;
}

void umbra_guest_dying(struct vcpu *v, paddr_t cr3)
{
    if ( cr3 > UINT32_MAX )
        return;
    umbra_enter(v->domain);
    umbra_cr3_dying(v->domain->domain_id, v->vcpu_id, cr3);
    umbra_leave();
}

void umbra_guest_cr3(struct vcpu *v)
{
    struct domain *d = v->domain;

    if ( !umbra_watches(d) )
        return;
    paging_lock(d);
    /*
     * A TLB flush of the guest: frames may have new owners from now on. Xen has taken over the tables that went out of
     * sync on this vCPU; it leaves those of others that are not in use here, whose entries would be told of too late.
     */
    if ( d->max_vcpus > 1 )
        sh_resync_all(v, 0 /* skip */, 0 /* this */, 1 /* others */);
    umbra_enter(d);
    umbra_cr3_loaded(d->domain_id, v->vcpu_id);
    umbra_leave();
    paging_unlock(d);
}
