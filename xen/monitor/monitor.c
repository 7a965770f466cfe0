/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The monitor proper: shadow entries about to be written are looked at and narrowed so that no page is writable
 * and executable at once and each turn from data to code is seen (S1, S2).
 */
#include "internal.h"
#include "profile.h"

void umbra_cr3_loaded(uint32_t id, uint32_t vcpu)
{
    struct umbra_domain *domain = umbra_domain_find(id);
    uint64_t tsc;

    if ( !domain || domain->state != STATE_WATCHED || vcpu >= MAX_VCPUS )
        return;
    tsc = umbra_tsc(domain, vcpu);
    umbra_coalesce_expire(domain, tsc);
    umbra_process_switch(domain, vcpu);
    umbra_ring_notify(domain, tsc, false);
}

bool umbra_had(const struct umbra_access *access, uint64_t right)
{
    if ( !(access->sl1e_old & PTE_PRESENT) || ((access->sl1e_old ^ access->sl1e_new) & PTE_FRAME) )
        return false;
    return right == PTE_NX ? !(access->sl1e_old & PTE_NX) : (access->sl1e_old & right) != 0;
}

/*
 * Neither W nor X is given anew, but W for a page that is known to be dirty data: the process, when it is known,
 * may write it from now on without being seen.
 */
static void narrow(struct umbra_access *access, struct umbra_frame *frame,
                   const struct umbra_process_record *process)
{
    bool dirty_data = frame && (frame->flags & (FRAME_DIRTY | FRAME_CODE | FRAME_ORPHAN)) == FRAME_DIRTY;
    bool keeps_x = umbra_had(access, PTE_NX) && !(access->sl1e_new & PTE_NX);

    if ( !keeps_x )
        access->sl1e_new |= PTE_NX;
    if ( keeps_x || (!dirty_data && !umbra_had(access, PTE_WRITE)) )
        access->sl1e_new &= ~PTE_WRITE;
    if ( !frame || !(access->sl1e_new & PTE_WRITE) )
        return;
    frame->flags |= FRAME_WRITABLE;
    if ( process )
        umbra_frame_owned(frame, process, (uint32_t)access->va, (uint32_t)access->gfn);
}

/* A write that is about to be allowed. */
static void mark_written(struct umbra_domain *domain, struct umbra_frame *frame, uint32_t eip, uint32_t writer)
{
    if ( frame->flags & FRAME_CODE )
        umbra_ops->revoke_mappings(domain->id, frame->mfn);
    frame->flags &= ~(FRAME_CODE | FRAME_ORPHAN);
    frame->flags |= FRAME_DIRTY | FRAME_WRITABLE;
    frame->writer_eip = eip;
    frame->writer_key = writer;
}

static bool is_kernel(const struct umbra_domain *domain, const struct umbra_access *access)
{
    return !(access->flags & UMBRA_ACCESS_NO_VA) && access->va >= umbra_user_end(domain);
}

/* Who writes, for mark_written: an address of a kernel that is not known is told by its value no more. */
static uint32_t writer_eip(const struct umbra_domain *domain, const struct umbra_access *access)
{
    return domain->recognised || umbra_in_user(domain, access) ? access->eip : 0;
}

/* A mapping outside user space of a frame that is tracked. */
static void kernel_mapping(struct umbra_domain *domain, const struct umbra_vcpu_state *state,
                           struct umbra_access *access, struct umbra_frame *frame)
{
    if ( !(access->sl1e_new & PTE_WRITE) )
        return;
    if ( access->error_code & FAULT_WRITE )
        mark_written(domain, frame, writer_eip(domain, access), state->owner);
    else if ( !(frame->flags & FRAME_DIRTY) && !umbra_had(access, PTE_WRITE) )
        access->sl1e_new &= ~PTE_WRITE;
    else
        frame->flags |= FRAME_WRITABLE;
}

static void write_fault(struct umbra_domain *domain, const struct umbra_vcpu_state *state,
                        struct umbra_process_record *process, struct umbra_access *access)
{
    uint32_t mfn = (uint32_t)access->mfn, writer = state->owner;
    struct umbra_frame *frame = umbra_frame_track(domain, mfn);

    access->sl1e_new |= PTE_NX;
    if ( !frame )
        return;
    mark_written(domain, frame, writer_eip(domain, access), writer);
    if ( process )
        umbra_frame_owned(frame, process, (uint32_t)access->va, (uint32_t)access->gfn);
    /* Written by somebody unwatched and in no watched process's hands: no longer of interest. */
    if ( !process && !writer && !umbra_process_live(domain, frame->owner_key) )
        umbra_frame_drop(domain, frame);
}

int umbra_fault(struct umbra_access *access)
{
    struct umbra_domain *domain = umbra_domain_find(access->domain);
    struct umbra_vcpu_state *state;
    struct umbra_process_record *process;
    struct umbra_frame *frame;

    if ( !domain || domain->state != STATE_WATCHED || access->vcpu >= MAX_VCPUS ||
         access->mfn >= UMBRA_NO_FRAME )
        return 0;
    state = &domain->vcpu[access->vcpu];
    domain->statistics.faults++;
    if ( state->unknown && (access->sl1e_new & PTE_PRESENT) && (access->error_code & FAULT_USER) )
        umbra_space_touched(domain, access->vcpu);
    frame = umbra_frame_find(domain, (uint32_t)access->mfn);
    if ( !(access->sl1e_new & PTE_PRESENT) || (!frame && !state->key && !state->owner) )
    {
        domain->statistics.faults_passed++;
        return 0;
    }
    if ( domain->coalescing )
        umbra_coalesce_expire(domain, umbra_tsc(domain, access->vcpu));
    if ( is_kernel(domain, access) || !(access->gl1e & PTE_USER) )
    {
        if ( frame )
            kernel_mapping(domain, state, access, frame);
        else
            domain->statistics.faults_passed++;
        return 0;
    }
    process = umbra_process_live(domain, state->key);
    if ( (access->error_code & FAULT_FETCH) && !(access->sl1e_new & PTE_NX) )
    {
        if ( process || frame )
            return umbra_fetch_fault(domain, state, access, frame);
        /* A thread of a watched process, attached: it runs nothing there. */
        return 0;
    }
    if ( process && umbra_in_user(domain, access) )
        process->last_eip = access->eip;
    if ( (access->error_code & FAULT_WRITE) && (access->sl1e_new & PTE_WRITE) )
        write_fault(domain, state, process, access);
    else
        narrow(access, frame, process);
    return 0;
}

void umbra_filter(struct umbra_access *access)
{
    struct umbra_domain *domain = umbra_domain_find(access->domain);
    bool elsewhere = access->flags & (UMBRA_ACCESS_NO_VA | UMBRA_ACCESS_OTHER_SPACE);
    const struct umbra_vcpu_state *state;
    struct umbra_frame *frame;

    if ( !domain || domain->state != STATE_WATCHED || access->vcpu >= MAX_VCPUS ||
         access->mfn >= UMBRA_NO_FRAME || !(access->sl1e_new & PTE_PRESENT) )
        return;
    state = &domain->vcpu[access->vcpu];
    frame = umbra_frame_find(domain, (uint32_t)access->mfn);
    if ( is_kernel(domain, access) || !(access->gl1e & PTE_USER) )
    {
        if ( frame )
            kernel_mapping(domain, state, access, frame);
        return;
    }
    if ( !frame && (elsewhere ? !domain->statistics.processes : !state->key && !state->owner) )
        return;
    narrow(access, frame, elsewhere ? NULL : umbra_process_live(domain, state->key));
}

void umbra_entry_removed(struct umbra_access *access)
{
    struct umbra_domain *domain = umbra_domain_find(access->domain);
    struct umbra_process_record *process;
    struct umbra_frame *frame;
    uint32_t key;

    if ( !domain || (domain->state != STATE_WATCHED && domain->state != STATE_DRAINING) ||
         access->vcpu >= MAX_VCPUS || access->mfn >= UMBRA_NO_FRAME || is_kernel(domain, access) )
        return;
    /* Only its rights change: the filter sees to that. */
    if ( (access->gl1e & PTE_PRESENT) && !((access->gl1e ^ access->gl1e_old) & PTE_FRAME) )
        return;
    frame = umbra_frame_find(domain, (uint32_t)access->mfn);
    key = domain->vcpu[access->vcpu].key;
    if ( (access->flags & (UMBRA_ACCESS_NO_VA | UMBRA_ACCESS_OTHER_SPACE)) || domain->state != STATE_WATCHED )
        key = frame ? frame->owner_key : 0;
    process = umbra_process_live(domain, key);
    if ( process && umbra_process_exiting(domain, process) )
    {
        umbra_process_end(domain, process, access->vcpu, access);
        process = NULL;
        frame = umbra_frame_find(domain, (uint32_t)access->mfn);
    }
    if ( process && !process->object )
        process->thinned = domain->thinned = true;
    if ( !frame )
        return;
    umbra_space_lost(domain, frame, access);
    if ( !frame->writer_key && !(frame->flags & FRAME_DIRTY) )
    {
        umbra_frame_drop(domain, frame);
        return;
    }
    /* It may live on in another mapping, or come back as another page: its content will tell. */
    if ( umbra_read_page(domain, frame->mfn) )
    {
        frame->orphan_hash = umbra_hash(domain->page);
        frame->flags |= FRAME_ORPHAN;
        if ( frame->flags & FRAME_WRITABLE )
            umbra_ops->revoke_write(domain->id, frame->mfn);
        frame->flags &= ~FRAME_WRITABLE;
    }
    else
        umbra_frame_drop(domain, frame);
}
