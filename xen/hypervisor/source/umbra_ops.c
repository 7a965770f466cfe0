/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The monitor's table of operations in Xen. But for lock and unlock they are called between these or from a hook, and
 * act on the domain that was entered. For locks see umbra_home.h.
 */
#include <xen/domain_page.h>
#include <xen/event.h>
#include <xen/guest_access.h>
#include <xen/lib.h>
#include <xen/xmalloc.h>
#include <asm/hvm/hvm.h>
#include <asm/p2m.h>
#include <asm/paging.h>
#include <asm/shadow.h>
#include "../mm/mm-locks.h"
#include "../mm/shadow/private.h"
#include "umbra_glue.h"
#include "umbra_home.h"
#include "umbra_monitor.h"

#define VIRQ_UMBRA VIRQ_ARCH_4
#define LARGEST_ALLOCATION (32u << 20) /* bytes: more than the monitor's greatest table */

/* Guests of more vCPUs than this cannot be watched: a bit each says who is held. */
#define HELD_BITS 64u

DEFINE_PER_CPU(bool, umbra_paused);
DEFINE_PER_CPU(bool, umbra_watching);

static struct domain *domain_of(uint32_t id)
{
    struct domain *d = umbra_entered();

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

uint32_t umbra_frame_behind(struct domain *d, unsigned long gfn)
{
    p2m_type_t type;
    mfn_t mfn = get_gfn_query_unlocked(d, gfn, &type);

    return umbra_is_ram(mfn, type) && mfn_x(mfn) < UMBRA_NO_FRAME ? mfn_x(mfn) : UMBRA_NO_FRAME;
}

static uint32_t cf_check gfn_to_mfn32(uint32_t domain, uint32_t gfn)
{
    struct domain *d = domain_of(domain);

    return d ? umbra_frame_behind(d, gfn) : UMBRA_NO_FRAME;
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

static void cf_check revoke_write(uint32_t domain, uint32_t mfn)
{
    struct domain *d = domain_of(domain);

    if ( d && mfn_valid(_mfn(mfn)) && page_get_owner(mfn_to_page(_mfn(mfn))) == d &&
         sh_remove_write_access(d, _mfn(mfn), 0, 0) )
        umbra_flush(d);
}

static void cf_check revoke_mappings(uint32_t domain, uint32_t mfn)
{
    struct domain *d = domain_of(domain);

    if ( d && mfn_valid(_mfn(mfn)) && page_get_owner(mfn_to_page(_mfn(mfn))) == d &&
         sh_remove_all_mappings(d, _mfn(mfn), mfn_to_gfn(d, _mfn(mfn))) )
        umbra_flush(d);
}

/* What is forgotten comes back by faults. */
static void cf_check revoke_space(uint32_t domain, uint32_t cr3)
{
    struct domain *d = domain_of(domain);

    if ( !d )
        return;
    umbra_shadow_forget_user(d, cr3);
    umbra_flush(d);
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

    /* The caller's own has no record, but its paging lock would be held while memory is copied to it. */
    if ( d == current->domain )
    {
        rcu_unlock_domain(d);
        d = NULL;
    }
    if ( d )
    {
        if ( this_cpu(umbra_paused) )
            domain_pause(d);
        paging_lock(d);
        /* Before the watch empties shadow entries: what comes back in their stead must be seen. */
        if ( this_cpu(umbra_watching) && !d->is_dying && paging_mode_shadow(d) )
            d->arch.paging.shadow.umbra_watched = true;
    }
    umbra_enter(d);
}

static void cf_check unlock(uint32_t domain)
{
    struct domain *d = umbra_entered();

    umbra_leave();
    if ( !d )
        return;
    paging_unlock(d);
    if ( this_cpu(umbra_paused) )
        domain_unpause(d);
    rcu_unlock_domain(d);
}

const struct umbra_ops umbra_xen_ops = {
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
