/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From data to code: an instruction fetch is about to be allowed. What will run is captured (S1, S2), the hop
 * into fresh code noticed, and who runs what a watched process wrote becomes watched.
 */
#include "internal.h"
#include "profile.h"

/* What an orphan held when it lost a mapping is what its writer left; anything else is another page now. */
static void settle_orphan(struct umbra_frame *frame, uint64_t hash)
{
    if ( (frame->flags & FRAME_ORPHAN) && frame->orphan_hash != hash )
    {
        frame->flags &= ~FRAME_DIRTY;
        frame->writer_key = 0;
    }
    frame->flags &= ~FRAME_ORPHAN;
}

bool umbra_read_page(struct umbra_domain *domain, uint32_t mfn)
{
    return umbra_ops->read_frame(domain->id, mfn, 0, domain->page, UMBRA_PAGE_SIZE) == 0;
}

/* Runs in an address space that is not watched: was the page written by a watched process? */
static bool injected(struct umbra_domain *domain, struct umbra_frame *frame)
{
    if ( !frame || !frame->writer_key )
        return false;
    if ( frame->flags & FRAME_ORPHAN )
    {
        if ( !umbra_read_page(domain, frame->mfn) )
            return false;
        settle_orphan(frame, umbra_hash(domain->page));
    }
    return frame->writer_key != 0;
}

/*
 * The first time that a process's program runs, what was written into its pages by the process itself was
 * written by the loader (imports, relocations), which is no wave of unpacking.
 */
static bool loaded(struct umbra_process_record *process, const struct umbra_frame *frame,
                   struct umbra_allocation allocation)
{
    if ( process->entered || !process->image || process->image - allocation.base >= allocation.size )
        return false;
    process->entered = true;
    return frame->writer_key == process->key;
}

/* Last address known to have run before the page: outside of it, and the process's own, if there is one. */
static uint32_t origin_of(const struct umbra_domain *domain, const struct umbra_process_record *process,
                          const struct umbra_frame *frame, uint32_t page)
{
    if ( process->last_eip && PAGE_OF(process->last_eip) != page )
        return process->last_eip;
    if ( !process->last_eip || (frame->writer_eip && frame->writer_eip < umbra_user_end(domain)) )
        return frame->writer_eip;
    return process->last_eip;
}

/* The event of a page that is about to run, content and hop decided; counted and put, or coalesced. */
static void turn_to_code(struct umbra_domain *domain, struct umbra_process_record *process,
                         struct umbra_access *access, struct umbra_frame *frame)
{
    uint32_t page = PAGE_OF(access->va), mfn = (uint32_t)access->mfn;
    struct umbra_event event = umbra_event_start(domain, process, access->vcpu, UMBRA_EVENT_S1, access);
    struct umbra_allocation allocation = { 0, 0 };
    bool foreign, fresh, readable, soon;
    uint64_t hash;

    if ( frame->flags & FRAME_WRITABLE )
    {
        umbra_ops->revoke_write(domain->id, mfn);
        frame->flags &= ~FRAME_WRITABLE;
    }
    readable = umbra_read_page(domain, mfn);
    hash = readable ? umbra_hash(domain->page) : 0;
    settle_orphan(frame, hash);
    if ( frame->captured_key != process->key )
        frame->flags &= ~(FRAME_CAPTURED | FRAME_EXECUTED);
    fresh = !(frame->flags & FRAME_CAPTURED) || frame->hash != hash;
    foreign = frame->writer_key != process->key || PAGE_OF(frame->writer_eip) != page;

    event.va = page;
    event.gfn = access->gfn;
    event.guest_entry = access->gl1e;
    event.old_shadow_entry = access->sl1e_old;
    event.new_shadow_entry = access->sl1e_new & ~PTE_WRITE;
    event.content_hash = hash;
    event.content = !readable ? UMBRA_CONTENT_LOST : fresh ? UMBRA_CONTENT_CAPTURED : UMBRA_CONTENT_UNCHANGED;
    if ( (access->gl1e & PTE_WRITE) && !(access->gl1e & PTE_NX) && (frame->flags & FRAME_EXECUTED) )
        event.kind = UMBRA_EVENT_S2;
    if ( !process->entered && process->image )
    {
        allocation = umbra_allocation_find(domain, process, page);
        foreign &= !loaded(process, frame, allocation);
    }
    if ( fresh && (frame->flags & FRAME_DIRTY) && foreign )
        event.flags = UMBRA_FLAG_EVENT_HOP;
    umbra_frame_owned(frame, process, page, (uint32_t)access->gfn);
    frame->flags &= ~FRAME_DIRTY;
    frame->flags |= FRAME_EXECUTED;

    if ( readable && umbra_coalesce_turn(domain, frame, &event) )
        return;
    if ( !allocation.size )
        allocation = umbra_allocation_find(domain, process, page);
    event.allocation_base = allocation.base;
    event.allocation_size = allocation.size;
    if ( event.flags & UMBRA_FLAG_EVENT_HOP )
    {
        umbra_coalesce_flush(domain, process->key, mfn);
        event.layer = ++process->layer;
        event.hop_from = origin_of(domain, process, frame, page);
        event.hop_to = access->va;
    }
    if ( readable )
    {
        frame->hash = hash;
        frame->captured_key = process->key;
        frame->flags |= FRAME_CAPTURED;
    }
    umbra_ring_put(domain, &event, domain->page);
    if ( event.flags & UMBRA_FLAG_EVENT_HOP )
        umbra_layer_capture(domain, process, &event);
    /* dom0 reads what the program's imports lead to: soon, while the process lives. */
    soon = event.flags & UMBRA_FLAG_EVENT_HOP ? process->layer <= SOON_LAYERS : ++process->turns <= SOON_TURNS;
    if ( soon && domain->virq_armed )
        umbra_ring_notify(domain, event.tsc, true);
}

int umbra_fetch_fault(struct umbra_domain *domain, struct umbra_vcpu_state *state,
                      struct umbra_access *access, struct umbra_frame *frame)
{
    uint32_t mfn = (uint32_t)access->mfn;
    struct umbra_process_record *process = umbra_process_live(domain, state->key);
    struct umbra_frame loose;

    if ( process || injected(domain, frame) )
    {
        if ( domain->policy == UMBRA_POLICY_PAUSE && !umbra_ring_room(domain) )
        {
            umbra_ring_pump(domain);
            if ( !umbra_ring_room(domain) )
            {
                umbra_domain_hold(domain, access->vcpu);
                /* It will come again, and count then. */
                domain->statistics.faults--;
                return 1;
            }
        }
        if ( !process )
            process = umbra_process_inject(domain, access->vcpu);
    }
    access->sl1e_new &= ~PTE_WRITE;
    if ( !process )
    {
        frame->flags |= FRAME_CODE;
        return 0;
    }
    frame = umbra_frame_track(domain, mfn);
    if ( !frame )
    {
        /* No place to remember it: captured at each turn. */
        memset(&loose, 0, sizeof(loose));
        loose.mfn = mfn;
        loose.flags = FRAME_WRITABLE;
        frame = &loose;
    }
    /* Somebody else's fault made it executable meanwhile: nothing turned. */
    if ( !(umbra_had(access, PTE_NX) && (frame->flags & FRAME_EXECUTED) && frame->captured_key == process->key &&
           !(frame->flags & FRAME_DIRTY)) )
        turn_to_code(domain, process, access, frame);
    process->last_eip = (uint32_t)access->va;
    /* Found again, because the captures may have made room in the table. */
    frame = umbra_frame_track(domain, mfn);
    if ( frame )
        frame->flags |= FRAME_CODE;
    return 0;
}
