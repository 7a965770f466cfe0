/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shadow entries that come without a fault of their own, and guest entries that go. For locks see umbra_home.h.
 */
#include <xen/domain_page.h>
#include <xen/lib.h>
#include <asm/hvm/hvm.h>
#include "umbra_glue.h"
#include "umbra_home.h"
#include "umbra_monitor.h"

#define ENTRIES 512u /* of a PAE table */

static void filter(struct vcpu *v, uint32_t flags, unsigned long va, uint64_t gl1e, uint64_t old,
                   uint64_t *entry, mfn_t mfn, p2m_type_t type)
{
    struct umbra_access access = {};

    if ( !umbra_is_ram(mfn, type) || !hvm_nx_enabled(v) )
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
    umbra_enter(v->domain);
    umbra_filter(&access);
    umbra_leave();
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
    umbra_enter(v->domain);
    access.domain = v->domain->domain_id;
    access.vcpu = v->vcpu_id;
    access.flags = flags;
    access.va = va;
    access.gl1e = gl1e;
    access.gl1e_old = gl1e_old;
    access.gfn = gfn;
    access.mfn = umbra_frame_behind(v->domain, gfn);
    umbra_entry_removed(&access);
    umbra_leave();
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
