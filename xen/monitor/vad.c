/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which allocation an address lies in: the guest's VAD tree, or what its page tables show. */
#include "internal.h"
#include "profile.h"

#define MAX_RUN_PAGES 4096u

static struct umbra_allocation from_vads(struct umbra_domain *domain,
                                         const struct umbra_process_record *process, uint32_t va)
{
    const struct umbra_profile *profile = domain->profile;
    struct umbra_allocation found = { 0, 0 };
    uint32_t node, depth, vpn = va >> 12;

    if ( !process->object ||
         !umbra_read_u32(domain, process->cr3, process->object + profile->process_vads + profile->vad_right,
                         &node) )
        return found;
    for ( depth = 0; depth < MAX_VAD_DEPTH && node >= profile->kernel_base; depth++ )
    {
        uint32_t start, end;

        if ( !umbra_read_u32(domain, process->cr3, node + profile->vad_start, &start) ||
             !umbra_read_u32(domain, process->cr3, node + profile->vad_end, &end) )
            break;
        if ( vpn >= start && vpn <= end )
        {
            if ( end < profile->kernel_base >> 12 && end - start < MAX_ALLOCATION_PAGES )
            {
                found.base = start << 12;
                found.size = (end - start + 1) << 12;
            }
            break;
        }
        if ( !umbra_read_u32(domain, process->cr3,
                             node + (vpn < start ? profile->vad_left : profile->vad_right), &node) )
            break;
    }
    return found;
}

/* The run of present user pages around the address. */
static struct umbra_allocation from_tables(struct umbra_domain *domain,
                                           const struct umbra_process_record *process, uint32_t va)
{
    struct umbra_allocation found = { 0, 0 };
    struct umbra_walk walk;
    uint32_t page = PAGE_OF(va), first, last = page, expected;
    uint32_t low = page > MAX_RUN_PAGES << 12 ? page - (MAX_RUN_PAGES << 12) : 0;
    uint32_t high = page + (MAX_RUN_PAGES << 12);

    if ( high < page || high > umbra_user_end(domain) )
        high = umbra_user_end(domain);
    first = expected = low;
    umbra_walk_start(&walk, process->cr3, low, high);
    walk.addresses_only = true;
    while ( umbra_walk_next(domain, &walk) )
    {
        if ( walk.page_va != expected )
        {
            if ( walk.page_va > page )
                break;
            first = walk.page_va;
        }
        last = walk.page_va;
        expected = last + UMBRA_PAGE_SIZE;
    }
    if ( first <= page && last >= page )
    {
        found.base = first;
        found.size = last - first + UMBRA_PAGE_SIZE;
    }
    return found;
}

struct umbra_allocation umbra_allocation_find(struct umbra_domain *domain,
                                              const struct umbra_process_record *process, uint32_t va)
{
    struct umbra_allocation found = from_vads(domain, process, va);

    return found.size ? found : from_tables(domain, process, va);
}
