/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The monitor's home in Xen: its table of operations, the hooks that call it, and the hypercall.
 *
 * Locks: a domain's paging lock serialises everything about that domain. The monitor's table of domains is
 * shared by all of them: readers take umbra_domains inside their paging lock, and only the birth and death of
 * a domain write it. What the monitor reads of a domain goes through the pointer that the entry point noted
 * for this CPU, so that no operation has to find (and keep) the domain itself.
 */
#include <xen/domain_page.h>
#include <xen/event.h>
#include <xen/guest_access.h>
#include <xen/hypercall.h>
#include <xen/init.h>
#include <xen/lib.h>
#include <xen/mm.h>
#include <xen/percpu.h>
#include <xen/rwlock.h>
#include <xen/sched.h>
#include <xen/version.h>
#include <xen/xmalloc.h>
#include <asm/flushtlb.h>
#include <asm/hvm/emulate.h>
#include <asm/hvm/hvm.h>
#include <asm/paging.h>
#include <asm/shadow.h>
#include "../mm/mm-locks.h"
#include "../mm/shadow/private.h"
#include "umbra_abi.h"
#include "umbra_glue.h"
#include "umbra_monitor.h"

#define VIRQ_UMBRA VIRQ_ARCH_4
#define ENTRIES 512u                   /* of a PAE table */
#define LARGEST_ALLOCATION (32u << 20) /* bytes: more than the monitor's greatest table */
#define ENTRY_NX (1ull << 63)
#define FRAME_OF(entry) (((entry) & PADDR_MASK & PAGE_MASK) >> PAGE_SHIFT)

/* Guests of more vCPUs than this cannot be watched: a bit each says who is held. */
#define HELD_BITS 64u

static DEFINE_RWLOCK(umbra_domains);
/* The domain whose paging lock the monitor runs under on this CPU. */
static DEFINE_PER_CPU(struct domain *, umbra_domain);
/* That domain is paused: the registers of all its vCPUs can be read. */
static DEFINE_PER_CPU(bool, umbra_paused);
/* The entry about to be written is narrower than the one before. */
static DEFINE_PER_CPU(bool, umbra_narrowed);

/* An instruction (its EIP) that Xen could not emulate here: it is not tried again at once. */
static DEFINE_PER_CPU(unsigned long, umbra_not_emulated);

/* Longest instruction in bytes, less its first. */
#define REST_OF_INSTRUCTION 14u

static void enter(struct domain *d)
{
    ASSERT(paging_locked_by_me(d));
    read_lock(&umbra_domains);
    this_cpu(umbra_domain) = d;
}

static void leave(void)
{
    this_cpu(umbra_domain) = NULL;
    read_unlock(&umbra_domains);
}

static struct domain *domain_of(uint32_t id)
{
    struct domain *d = this_cpu(umbra_domain);

    return d && d->domain_id == id ? d : NULL;
}

static struct vcpu *vcpu_of(uint32_t id, uint32_t vcpu)
{
    struct domain *d = domain_of(id);

    return d ? domain_vcpu(d, vcpu) : NULL;
}

static int cf_check read_frame(uint32_t domain, uint32_t mfn, uint32_t offset, void *buffer,
                               uint32_t length)
{
    struct domain *d = domain_of(domain);
    struct page_info *page;
    const uint8_t *bytes;

    if ( !d || !mfn_valid(_mfn(mfn)) || offset > PAGE_SIZE || length > PAGE_SIZE - offset )
        return -EINVAL;
    page = mfn_to_page(_mfn(mfn));
    if ( !get_page(page, d) )
        return -EINVAL;
    bytes = __map_domain_page(page);
    memcpy(buffer, bytes + offset, length);
    unmap_domain_page(bytes);
    put_page(page);
    return 0;
}

static uint32_t cf_check gfn_to_mfn32(uint32_t domain, uint32_t gfn)
{
    struct domain *d = domain_of(domain);
    p2m_type_t type;
    mfn_t mfn;

    if ( !d )
        return UMBRA_NO_FRAME;
    mfn = get_gfn_query_unlocked(d, gfn, &type);
    if ( !p2m_is_ram(type) || !mfn_valid(mfn) || mfn_x(mfn) >= UMBRA_NO_FRAME )
        return UMBRA_NO_FRAME;
    return mfn_x(mfn);
}

static uint32_t cf_check vcpu_count(uint32_t domain)
{
    const struct domain *d = domain_of(domain);
    uint32_t i;

    if ( !d )
        return 0;
    for ( i = 0; i < d->max_vcpus && d->vcpu[i]; i++ )
        ;
    return i;
}

static uint32_t cf_check vcpu_cr3(uint32_t domain, uint32_t vcpu)
{
    const struct vcpu *v = vcpu_of(domain, vcpu);

    return v ? v->arch.hvm.guest_cr[3] : 0;
}

static uint32_t cf_check vcpu_gdt_base(uint32_t domain, uint32_t vcpu)
{
    struct vcpu *v = vcpu_of(domain, vcpu);
    struct segment_register gdt;

    /* What runs elsewhere has its registers in that CPU. */
    if ( !v || !v->is_initialised || (v != current && !this_cpu(umbra_paused)) )
        return 0;
    hvm_get_segment_register(v, x86_seg_gdtr, &gdt);
    return gdt.base;
}

static void cf_check vcpu_tsc(uint32_t domain, uint32_t vcpu, uint64_t *tsc)
{
    struct vcpu *v = vcpu_of(domain, vcpu);

    *tsc = v ? hvm_get_guest_tsc_fixed(v, 0) : 0;
}

static void flush(struct domain *d)
{
    guest_flush_tlb_mask(d, d->dirty_cpumask);
}

static void cf_check revoke_write(uint32_t domain, uint32_t mfn)
{
    struct domain *d = domain_of(domain);

    if ( d && mfn_valid(_mfn(mfn)) && page_get_owner(mfn_to_page(_mfn(mfn))) == d &&
         sh_remove_write_access(d, _mfn(mfn), 0, 0) )
        flush(d);
}

static void cf_check revoke_mappings(uint32_t domain, uint32_t mfn)
{
    struct domain *d = domain_of(domain);

    if ( d && mfn_valid(_mfn(mfn)) && page_get_owner(mfn_to_page(_mfn(mfn))) == d &&
         sh_remove_all_mappings(d, _mfn(mfn), mfn_to_gfn(d, _mfn(mfn))) )
        flush(d);
}

/* What is forgotten comes back by faults. */
static void cf_check revoke_space(uint32_t domain, uint32_t cr3)
{
    struct domain *d = domain_of(domain);

    if ( !d )
        return;
    umbra_shadow_forget_user(d, cr3);
    flush(d);
}

static void cf_check vcpu_hold(uint32_t domain, uint32_t vcpu)
{
    struct vcpu *v = vcpu_of(domain, vcpu);

    if ( v && vcpu < HELD_BITS && !test_and_set_bit(vcpu, &v->domain->arch.paging.shadow.umbra_held) )
        vcpu_pause_nosync(v);
}

static void cf_check vcpu_release(uint32_t domain, uint32_t vcpu)
{
    struct vcpu *v = vcpu_of(domain, vcpu);

    if ( v && vcpu < HELD_BITS && test_and_clear_bit(vcpu, &v->domain->arch.paging.shadow.umbra_held) )
        vcpu_unpause(v);
}

static void cf_check raise_virq(void)
{
    send_global_virq(VIRQ_UMBRA);
}

static int cf_check copy_from_caller(void *buffer, uint64_t address, uint32_t length)
{
    return raw_copy_from_guest(buffer, (const void *)address, length) ? -EFAULT : 0;
}

static int cf_check copy_to_caller(uint64_t address, const void *buffer, uint32_t length)
{
    return raw_copy_to_guest((void *)address, buffer, length) ? -EFAULT : 0;
}

static void *cf_check allocate(uint32_t size)
{
    return size <= LARGEST_ALLOCATION ? _xzalloc(size, 16) : NULL;
}

static void cf_check release(void *memory, uint32_t size)
{
    xfree(memory);
}

static void cf_check lock(uint32_t domain)
{
    struct domain *d = rcu_lock_domain_by_id(domain);

    if ( !d )
        return;
    if ( d == current->domain )
    {
        rcu_unlock_domain(d);
        return;
    }
    if ( this_cpu(umbra_paused) )
        domain_pause(d);
    paging_lock(d);
    enter(d);
}

static void cf_check unlock(uint32_t domain)
{
    struct domain *d = this_cpu(umbra_domain);

    if ( !d )
        return;
    leave();
    paging_unlock(d);
    if ( this_cpu(umbra_paused) )
        domain_unpause(d);
    rcu_unlock_domain(d);
}

static const struct umbra_ops xen_ops = {
    .read_frame = read_frame,
    .gfn_to_mfn = gfn_to_mfn32,
    .vcpu_count = vcpu_count,
    .vcpu_cr3 = vcpu_cr3,
    .vcpu_gdt_base = vcpu_gdt_base,
    .vcpu_tsc = vcpu_tsc,
    .revoke_write = revoke_write,
    .revoke_mappings = revoke_mappings,
    .revoke_space = revoke_space,
    .vcpu_hold = vcpu_hold,
    .vcpu_release = vcpu_release,
    .raise_virq = raise_virq,
    .copy_from_caller = copy_from_caller,
    .copy_to_caller = copy_to_caller,
    .allocate = allocate,
    .release = release,
    .lock = lock,
    .unlock = unlock,
};

static bool is_ram(mfn_t mfn, p2m_type_t type)
{
    return p2m_is_ram(type) && mfn_valid(mfn);
}

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
    if ( !is_ram(mfn, type) || !hvm_nx_enabled(v) )
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
    enter(v->domain);
    held = umbra_fault(&access);
    leave();
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
        flush(v->domain);
    this_cpu(umbra_narrowed) = false;
}

static void filter(struct vcpu *v, uint32_t flags, unsigned long va, uint64_t gl1e, uint64_t old,
                   uint64_t *entry, mfn_t mfn, p2m_type_t type)
{
    struct umbra_access access = {};

    if ( !is_ram(mfn, type) || !hvm_nx_enabled(v) )
        return;
    access.domain = v->domain->domain_id;
    access.vcpu = v->vcpu_id;
    access.flags = flags;
    access.va = va;
    access.gl1e = gl1e;
    access.sl1e_old = old;
    access.sl1e_new = *entry;
    access.gfn = FRAME_OF(gl1e);
    access.mfn = mfn_x(mfn);
    enter(v->domain);
    umbra_filter(&access);
    leave();
    *entry = access.sl1e_new;
}

void umbra_shadow_prefetch(struct vcpu *v, unsigned long va, uint64_t gl1e, uint64_t *entry, gfn_t gfn,
                           mfn_t mfn, p2m_type_t type)
{
    filter(v, 0, va & PAGE_MASK, gl1e, 0, entry, mfn, type);
}

void umbra_shadow_filter(struct vcpu *v, uint64_t gl1e, uint64_t old, uint64_t *entry, mfn_t mfn,
                         p2m_type_t type)
{
    filter(v, UMBRA_ACCESS_NO_VA | UMBRA_ACCESS_OTHER_SPACE, 0, gl1e, old, entry, mfn, type);
}

/* A present user entry of the guest gave way to another one. */
static void removed(struct vcpu *v, uint32_t flags, unsigned long va, uint64_t gl1e_old, uint64_t gl1e)
{
    struct umbra_access access = {};
    uint64_t gfn = FRAME_OF(gl1e_old);

    if ( !(gl1e_old & _PAGE_PRESENT) || !(gl1e_old & _PAGE_USER) || gl1e == gl1e_old || gfn > UINT32_MAX )
        return;
    enter(v->domain);
    access.domain = v->domain->domain_id;
    access.vcpu = v->vcpu_id;
    access.flags = flags;
    access.va = va;
    access.gl1e = gl1e;
    access.gl1e_old = gl1e_old;
    access.gfn = gfn;
    access.mfn = gfn_to_mfn32(access.domain, gfn);
    umbra_entry_removed(&access);
    leave();
}

void umbra_shadow_validate(struct vcpu *v, uint64_t gl1e, uint64_t old)
{
    gfn_t gfn;
    mfn_t mfn = _mfn(FRAME_OF(old));

    /* The guest's old entry is overwritten by now: what its shadow says of it is what is needed. */
    if ( !(old & _PAGE_PRESENT) || !mfn_valid(mfn) )
        return;
    gfn = mfn_to_gfn(v->domain, mfn);
    removed(v, UMBRA_ACCESS_NO_VA | UMBRA_ACCESS_OTHER_SPACE, 0,
            (gfn_x(gfn) << PAGE_SHIFT) | (old & (_PAGE_PRESENT | _PAGE_RW | _PAGE_USER)), gl1e);
}

void umbra_shadow_resync(struct vcpu *v, const void *table, void *snapshot)
{
    const uint64_t *now = table;
    uint64_t *then = snapshot;
    unsigned int i;

    for ( i = 0; i < ENTRIES; i++ )
        if ( then[i] != now[i] )
            removed(v, UMBRA_ACCESS_NO_VA | UMBRA_ACCESS_OTHER_SPACE, 0, then[i], now[i]);
}

void umbra_shadow_replaced(struct vcpu *v, unsigned long va, uint64_t before, uint64_t after)
{
    removed(v, 0, va & PAGE_MASK, before, after);
}

void umbra_shadow_invlpg(struct vcpu *v, unsigned long va, mfn_t table, mfn_t snapshot)
{
    unsigned int i = (va >> PAGE_SHIFT) & (ENTRIES - 1);
    const uint64_t *now = map_domain_page(table);
    uint64_t *then = map_domain_page(snapshot), before = then[i], after = now[i];

    /* Its shadow goes: nothing is left that could be out of step with the snapshot. */
    then[i] = after;
    unmap_domain_page(then);
    unmap_domain_page(now);
    removed(v, 0, va & PAGE_MASK, before, after);
}

void umbra_guest_cr3(struct vcpu *v)
{
    struct domain *d = v->domain;

    if ( !umbra_watches(d) )
        return;
    paging_lock(d);
    enter(d);
    umbra_cr3_loaded(d->domain_id, v->vcpu_id);
    leave();
    paging_unlock(d);
}

void umbra_domain_shadowed(struct domain *d)
{
    int rc;

    if ( !is_hvm_domain(d) )
        return;
    write_lock(&umbra_domains);
    rc = umbra_domain_create(d->domain_id);
    write_unlock(&umbra_domains);
    if ( rc )
        printk(XENLOG_WARNING "umbra: cannot keep a record of %pd: error %d\n", d, rc);
}

void umbra_domain_gone(struct domain *d)
{
    paging_lock(d);
    d->arch.paging.shadow.umbra_watched = false;
    write_lock(&umbra_domains);
    umbra_domain_destroy(d->domain_id);
    write_unlock(&umbra_domains);
    paging_unlock(d);
}

/* A watch that was accepted: from now on the hooks are worth their call. */
static void note_watch(uint64_t argument)
{
    uint32_t head[2];
    struct domain *d;

    if ( copy_from_caller(head, argument, sizeof(head)) )
        return;
    d = rcu_lock_domain_by_id(head[1]);
    if ( !d )
        return;
    paging_lock(d);
    if ( !d->is_dying && paging_mode_shadow(d) )
        d->arch.paging.shadow.umbra_watched = true;
    paging_unlock(d);
    rcu_unlock_domain(d);
}

/* Why the monitor knows no such domain: it may be there, without the shadow page tables that are watched. */
static long explain(uint64_t argument)
{
    uint32_t head[2];
    struct domain *d;

    if ( copy_from_caller(head, argument, sizeof(head)) )
        return -EFAULT;
    d = rcu_lock_domain_by_id(head[1]);
    if ( !d )
        return -ESRCH;
    rcu_unlock_domain(d);
    return -UMBRA_ENODEV;
}

long do_umbra_op(unsigned int command, unsigned long argument)
{
    long rc;

    if ( !is_hardware_domain(current->domain) )
        return -EPERM;
    /* Copying to an HVM caller takes locks that must not be taken inside the paging lock. */
    if ( is_hvm_domain(current->domain) )
        return -ENOSYS;
    /* These read registers of vCPUs that may run. */
    this_cpu(umbra_paused) = command == UMBRA_COMMAND_WATCH || command == UMBRA_COMMAND_UNWATCH ||
                             command == UMBRA_COMMAND_PROCESS;
    rc = umbra_hypercall_at(current->domain->domain_id, command, argument);
    this_cpu(umbra_paused) = false;
    if ( !rc && command == UMBRA_COMMAND_WATCH )
        note_watch(argument);
    return rc == -ESRCH && command == UMBRA_COMMAND_WATCH ? explain(argument) : rc;
}

static int __init cf_check umbra_start(void)
{
    static char __initdata name[32];

    snprintf(name, sizeof(name), "Xen %d.%d%s", xen_major_version(), xen_minor_version(),
             xen_extra_version());
    umbra_init(&xen_ops, name);
    return 0;
}
__initcall(umbra_start);
