/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Guests whose structures are not the profile's: under the rule "all", each address space in which a program runs is
 * watched as a process of which nothing but its CR3 is known (object 0). What is a user's page the guest's own U/S
 * bits say.
 *
 * A domain in which the profile was once recognised has none of these, ever. In others one begins with the first
 * access that is not the kernel's (a kernel that boots may have set U/S for itself, as Linux does); it ends when the
 * guest says so (Linux does, by the hypercall that Xen has for it), when its last user page is gone, when
 * its highest table leads elsewhere than before (the CR3 was given to another), when the profile is recognised
 * after all, or when it makes room for another, not having been loaded for longest.
 */
#include "internal.h"
#include "profile.h"

#define ENTRIES 512u
#define SLOTS (4 * ENTRIES)  /* 2 MiB each */
#define LOOKS_A_LOAD 4u      /* spaces looked at a CR3 load */
#define TABLES_A_LOOK 64u    /* lowest tables read a look */

uint32_t umbra_user_end(const struct umbra_domain *domain)
{
    return domain->recognised ? domain->profile->kernel_base : 0xffffffffu;
}

bool umbra_in_user(const struct umbra_domain *domain, const struct umbra_access *access)
{
    return domain->recognised ? access->eip < domain->profile->kernel_base : (access->error_code & FAULT_USER) != 0;
}

static bool watches_spaces(const struct umbra_domain *domain)
{
    return !domain->recognised && umbra_rules_all(domain);
}

bool umbra_space_unknown(const struct umbra_domain *domain, uint32_t object)
{
    return !object && watches_spaces(domain);
}

/* The highest table's entries; false when they cannot be read. */
static bool read_top(struct umbra_domain *domain, uint32_t cr3, uint64_t *top)
{
    uint32_t i;

    if ( umbra_read_physical(domain, cr3, top, 4 * sizeof(*top)) )
        return false;
    for ( i = 0; i < 4; i++ )
        top[i] = top[i] & PTE_PRESENT ? top[i] & (PTE_FRAME | PTE_PRESENT) : 0;
    return true;
}

bool umbra_space_same(struct umbra_domain *domain, struct umbra_process_record *process)
{
    uint64_t top[4];
    uint32_t i;

    if ( !read_top(domain, process->cr3, top) )
        return false;
    for ( i = 0; i < 4; i++ )
        if ( process->top[i] && process->top[i] != top[i] )
            return false;
    /* It may have grown. */
    memcpy(process->top, top, sizeof(top));
    return true;
}

void umbra_space_touched(struct umbra_domain *domain, uint32_t vcpu)
{
    struct umbra_process_record *candidate = &domain->candidate, *added;
    struct umbra_vcpu_state *state = &domain->vcpu[vcpu];

    /* What could not be read when it was loaded perhaps can be now. */
    umbra_process_switch(domain, vcpu);
    if ( !state->unknown )
        return;
    /* Once a CR3 load: when there is no place, the next load tries again. */
    state->unknown = false;
    memset(candidate, 0, sizeof(*candidate));
    candidate->cr3 = state->cr3;
    candidate->flags = UMBRA_FLAG_PROCESS_PARTIAL;
    if ( !read_top(domain, state->cr3, candidate->top) )
        return;
    added = umbra_process_add(domain, vcpu, candidate);
    if ( added )
        added->seen = domain->loads;
}

/* The guest's leaf entry of an address leads to that frame, for the user. */
static bool maps(struct umbra_domain *domain, uint32_t cr3, uint32_t va, uint32_t gfn)
{
    struct umbra_walk walk;

    umbra_walk_start(&walk, cr3, va, va + 1);
    walk.addresses_only = true;
    return umbra_walk_next(domain, &walk) && walk.gfn == gfn;
}

/* What was captured cannot wait for room; but what the vCPU does next can. */
static void hold_if_full(struct umbra_domain *domain, uint32_t vcpu)
{
    if ( domain->policy == UMBRA_POLICY_PAUSE && domain->state == STATE_WATCHED && domain->spill )
        umbra_domain_hold(domain, vcpu);
}

void umbra_space_lost(struct umbra_domain *domain, struct umbra_frame *frame, const struct umbra_access *access)
{
    struct umbra_process_record *process = umbra_process_live(domain, frame->owner_key);
    struct umbra_event event;

    if ( !process || process->object )
        return;
    if ( (frame->flags & (FRAME_DIRTY | FRAME_ORPHAN)) != FRAME_DIRTY ||
         maps(domain, process->cr3, frame->owner_va, frame->owner_gfn) )
        return;
    event = umbra_event_start(domain, process, access->vcpu, UMBRA_EVENT_RESIDUE, NULL);
    event.layer++;
    event.va = frame->owner_va;
    event.gfn = frame->owner_gfn;
    event.guest_entry = access->gl1e_old;
    umbra_capture(domain, process, &event, frame, frame->mfn);
    hold_if_full(domain, access->vcpu);
}

enum look { LOOK_MAPPED, LOOK_EMPTY, LOOK_ON };

/* Goes on through the tables from where the last look left off, a bounded way. */
static enum look look(struct umbra_domain *domain, struct umbra_process_record *process)
{
    uint64_t top[4], entry;
    uint32_t i, tables = 0, directory = 4;

    if ( !read_top(domain, process->cr3, top) )
        return LOOK_EMPTY;
    for ( ; process->looked < SLOTS; process->looked++, process->look_at = (process->look_at + 1) % SLOTS )
    {
        uint32_t at = process->look_at / ENTRIES;

        if ( at != directory && top[at] &&
             umbra_read_physical(domain, top[at] & PTE_FRAME, domain->table, UMBRA_PAGE_SIZE) )
            top[at] = 0;
        directory = at;
        if ( !top[at] )
            continue;
        memcpy(&entry, domain->table + process->look_at % ENTRIES * 8, 8);
        if ( (entry & (PTE_PRESENT | PTE_USER)) != (PTE_PRESENT | PTE_USER) )
            continue;
        if ( entry & PTE_LARGE )
            return LOOK_MAPPED;
        if ( tables++ == TABLES_A_LOOK )
            return LOOK_ON;
        if ( umbra_read_physical(domain, entry & PTE_FRAME, domain->page, UMBRA_PAGE_SIZE) )
            continue;
        for ( i = 0; i < ENTRIES; i++ )
        {
            memcpy(&entry, domain->page + i * 8, 8);
            if ( (entry & (PTE_PRESENT | PTE_USER)) == (PTE_PRESENT | PTE_USER) )
                return LOOK_MAPPED;
        }
    }
    return LOOK_EMPTY;
}

/* Looks at a space's tables, and ends it when there is no page left. */
static void look_at(struct umbra_domain *domain, struct umbra_process_record *process, uint32_t vcpu)
{
    enum look seen = look(domain, process);

    process->thinned = seen == LOOK_ON;
    domain->thinned |= process->thinned;
    if ( seen != LOOK_ON )
        process->looked = 0;
    if ( seen == LOOK_EMPTY )
        umbra_process_end(domain, process, vcpu, NULL);
}

/* The space at a place of the table, when it lives. */
static struct umbra_process_record *space_at(struct umbra_domain *domain, uint32_t place)
{
    struct umbra_process_record *process = domain->process[place];

    return process && !process->object && !(process->flags & UMBRA_FLAG_PROCESS_ENDED) ? process : NULL;
}

void umbra_spaces_look(struct umbra_domain *domain, uint32_t vcpu)
{
    struct umbra_process_record *process;
    uint32_t i, looks = 0;

    if ( domain->recognised )
        return;
    /* One in turn, should it have lost its pages unseen. */
    process = space_at(domain, domain->loads % MAX_PROCESSES);
    if ( process )
        look_at(domain, process, vcpu);
    if ( !domain->thinned )
        return;
    domain->thinned = false;
    for ( i = 0; i < MAX_PROCESSES; i++ )
    {
        process = space_at(domain, domain->look_process);
        if ( process && process->thinned )
        {
            if ( looks++ == LOOKS_A_LOAD )
            {
                domain->thinned = true;
                return;
            }
            look_at(domain, process, vcpu);
        }
        domain->look_process = (domain->look_process + 1) % MAX_PROCESSES;
    }
}

void umbra_cr3_dying(uint32_t id, uint32_t vcpu, uint32_t cr3)
{
    struct umbra_domain *domain = umbra_domain_find(id);
    uint32_t i;

    if ( !domain || domain->state != STATE_WATCHED || vcpu >= MAX_VCPUS || domain->recognised )
        return;
    for ( i = 0; i < MAX_PROCESSES; i++ )
    {
        struct umbra_process_record *process = space_at(domain, i);

        if ( !process || process->cr3 != (cr3 & ~31u) )
            continue;
        umbra_process_end(domain, process, vcpu, NULL);
        hold_if_full(domain, vcpu);
        return;
    }
}

void umbra_spaces_close(struct umbra_domain *domain, uint32_t vcpu)
{
    uint32_t i;

    for ( i = 0; i < MAX_PROCESSES; i++ )
    {
        struct umbra_process_record *process = space_at(domain, i);

        if ( process )
            umbra_process_end(domain, process, vcpu, NULL);
    }
}

struct umbra_process_record **umbra_space_longest_unseen(struct umbra_domain *domain)
{
    struct umbra_process_record **found = NULL;
    uint32_t i, j;

    for ( i = 0; i < MAX_PROCESSES; i++ )
    {
        const struct umbra_process_record *process = domain->process[i];

        if ( !process || process->object || (found && process->seen >= (*found)->seen) )
            continue;
        for ( j = 0; j < MAX_VCPUS && domain->vcpu[j].key != process->key; j++ )
            ;
        if ( j == MAX_VCPUS )
            found = &domain->process[i];
    }
    return found;
}
