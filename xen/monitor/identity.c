/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who runs on a vCPU: the way from the GDT to thread and process, by the profile. Everything read is the guest's
 * word, and walks along its lists are bounded.
 */
#include "internal.h"
#include "profile.h"

static uint32_t segment_base(const uint8_t *descriptor)
{
    return descriptor[2] | (uint32_t)descriptor[3] << 8 | (uint32_t)descriptor[4] << 16 |
           (uint32_t)descriptor[7] << 24;
}

/* The running thread's object, by the GDT (SDM volume 3, section 3.4.5) and the KPCR; 0 unknown. */
static uint32_t current_thread(struct umbra_domain *domain, uint32_t vcpu, uint32_t cr3)
{
    const struct umbra_profile *profile = domain->profile;
    uint8_t descriptor[8];
    uint32_t thread, gdt = umbra_ops->vcpu_gdt_base(domain->id, vcpu);

    if ( umbra_read_virtual(domain, cr3, gdt + profile->gdt_kpcr * 8, descriptor, 8) ||
         segment_base(descriptor) < profile->kernel_base ||
         /* In another guest this entry may be a program's own. */
         (!domain->recognised && !umbra_is_supervisor(domain, cr3, segment_base(descriptor))) ||
         !umbra_read_u32(domain, cr3, segment_base(descriptor) + profile->pcr_thread, &thread) ||
         thread < profile->kernel_base )
        return 0;
    return thread;
}

uint32_t umbra_process_thread(struct umbra_domain *domain, uint32_t vcpu)
{
    uint32_t id = 0, cr3 = domain->vcpu[vcpu].cr3;
    uint32_t thread = domain->recognised ? current_thread(domain, vcpu, cr3) : 0;

    if ( thread )
        umbra_read_u32(domain, cr3, thread + domain->profile->thread_cid + 4, &id);
    return id;
}

bool umbra_has_space(struct umbra_domain *domain, uint32_t object, uint32_t cr3)
{
    uint32_t value;

    return object >= domain->profile->kernel_base &&
           umbra_read_u32(domain, cr3, object + domain->profile->process_cr3, &value) &&
           (value & ~31u) == cr3;
}

/* Goes along the guest's list of processes for the one whose address space is loaded. */
static uint32_t search_list(struct umbra_domain *domain, uint32_t object, uint32_t cr3)
{
    const struct umbra_profile *profile = domain->profile;
    uint32_t i, link, start = object + profile->process_links;

    if ( object < profile->kernel_base || !umbra_read_u32(domain, cr3, start, &link) )
        return 0;
    for ( i = 0; i < MAX_LIST && link != start && link >= profile->kernel_base; i++ )
    {
        if ( umbra_has_space(domain, link - profile->process_links, cr3) )
            return link - profile->process_links;
        if ( !umbra_read_u32(domain, cr3, link, &link) )
            break;
    }
    return 0;
}

struct umbra_identity umbra_identify(struct umbra_domain *domain, uint32_t vcpu)
{
    const struct umbra_profile *profile = domain->profile;
    struct umbra_identity found = { 0, 0, 0 };
    uint32_t thread, attached;

    found.cr3 = umbra_ops->vcpu_cr3(domain->id, vcpu) & ~31u;
    thread = current_thread(domain, vcpu, found.cr3);
    if ( !thread )
        return found;
    umbra_read_u32(domain, found.cr3, thread + profile->thread_attached, &attached);
    umbra_read_u32(domain, found.cr3, thread + profile->thread_process, &found.owner);
    if ( umbra_has_space(domain, attached, found.cr3) )
        found.object = attached;
    else if ( umbra_has_space(domain, found.owner, found.cr3) )
        found.object = found.owner;
    else
        found.object = search_list(domain, attached, found.cr3);
    if ( !domain->recognised )
        domain->recognised = found.object && umbra_is_supervisor(domain, found.cr3, found.object) &&
                             umbra_is_supervisor(domain, found.cr3, thread);
    if ( !domain->recognised )
        found.object = found.owner = 0;
    if ( found.owner < profile->kernel_base )
        found.owner = found.object;
    return found;
}
