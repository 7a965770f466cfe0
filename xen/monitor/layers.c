/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Captures beyond the page that is run: the other fresh pages of its allocation at a hop (a layer), the rest of
 * the allocation once (context), and at the end what was written and never captured (residue).
 */
#include "internal.h"
#include "profile.h"

struct umbra_event umbra_event_start(struct umbra_domain *domain, const struct umbra_process_record *process,
                                     uint32_t vcpu, uint32_t kind, const struct umbra_access *access)
{
    struct umbra_event event;

    memset(&event, 0, sizeof(event));
    event.kind = kind;
    event.domain = domain->id;
    event.vcpu = vcpu;
    event.process = process->key;
    event.pid = process->pid;
    event.address_space = process->object ? 0 : process->cr3;
    if ( domain->vcpu[vcpu].cr3 == process->cr3 )
        event.tid = umbra_process_thread(domain, vcpu);
    event.layer = process->layer;
    event.turns = 1;
    event.tsc = umbra_tsc(domain, vcpu);
    if ( access )
    {
        event.error_code = access->error_code;
        event.eip = access->eip;
        event.esp = access->esp;
        event.eflags = access->eflags;
        event.eax = access->eax;
        event.ecx = access->ecx;
        event.edx = access->edx;
        event.ebx = access->ebx;
        event.ebp = access->ebp;
        event.esi = access->esi;
        event.edi = access->edi;
    }
    return event;
}

void umbra_capture(struct umbra_domain *domain, struct umbra_process_record *process, struct umbra_event *event,
                   struct umbra_frame *frame, uint32_t mfn)
{
    if ( frame && (frame->flags & FRAME_WRITABLE) )
    {
        umbra_ops->revoke_write(domain->id, mfn);
        frame->flags &= ~FRAME_WRITABLE;
    }
    event->snapshot = 0;
    event->content_hash = 0;
    if ( umbra_ops->read_frame(domain->id, mfn, 0, domain->page, UMBRA_PAGE_SIZE) )
    {
        event->content = UMBRA_CONTENT_LOST;
        umbra_ring_put(domain, event, NULL);
        return;
    }
    event->content = UMBRA_CONTENT_CAPTURED;
    event->content_hash = umbra_hash(domain->page);
    if ( frame )
    {
        if ( frame->captured_key != process->key )
            frame->flags &= ~(FRAME_CAPTURED | FRAME_EXECUTED);
        if ( (frame->flags & FRAME_CAPTURED) && frame->hash == event->content_hash )
            event->content = UMBRA_CONTENT_UNCHANGED;
        frame->hash = event->content_hash;
        frame->captured_key = process->key;
        umbra_frame_owned(frame, process, (uint32_t)event->va, (uint32_t)event->gfn);
        frame->flags |= FRAME_CAPTURED;
        frame->flags &= ~(FRAME_DIRTY | FRAME_ORPHAN);
    }
    umbra_ring_put(domain, event, domain->page);
}

static void place_event(struct umbra_event *event, const struct umbra_walk *walk)
{
    event->va = walk->page_va;
    event->gfn = walk->gfn;
    event->guest_entry = walk->entry;
}

/* One pass over the allocation; counts down *room and returns false when it is used up. */
static bool pass(struct umbra_domain *domain, struct umbra_process_record *process, struct umbra_event *event,
                 uint32_t *room)
{
    struct umbra_walk walk;
    uint32_t base = (uint32_t)event->allocation_base, end = base + (uint32_t)event->allocation_size;

    /* The last page of all ends where numbers do. */
    umbra_walk_start(&walk, process->cr3, base, end < base ? 0xffffffffu : end);
    while ( umbra_walk_next(domain, &walk) )
    {
        struct umbra_frame *frame = umbra_frame_find(domain, walk.mfn);

        if ( event->kind == UMBRA_EVENT_LAYER )
        {
            if ( !frame || !(frame->flags & FRAME_DIRTY) )
                continue;
        }
        else
        {
            if ( frame && (frame->flags & FRAME_CAPTURED) && frame->captured_key == process->key )
                continue;
            frame = umbra_frame_track(domain, walk.mfn);
        }
        if ( !*room )
            return false;
        --*room;
        place_event(event, &walk);
        umbra_capture(domain, process, event, frame, walk.mfn);
    }
    return true;
}

static bool context_known(const struct umbra_process_record *process, uint32_t base, uint32_t size)
{
    uint32_t i;

    for ( i = 0; i < MAX_CONTEXTS; i++ )
        if ( process->context[i].size == size && process->context[i].base == base )
            return true;
    return false;
}

/* What is left of the allocation, once, so that an image can be rebuilt. */
static void capture_context(struct umbra_domain *domain, struct umbra_process_record *process,
                            struct umbra_event *event, uint32_t *room)
{
    uint32_t base = (uint32_t)event->allocation_base, size = (uint32_t)event->allocation_size;

    event->kind = UMBRA_EVENT_CONTEXT;
    if ( context_known(process, base, size) || !pass(domain, process, event, room) )
        return;
    process->context[process->contexts % MAX_CONTEXTS].base = base;
    process->context[process->contexts % MAX_CONTEXTS].size = size;
    process->contexts++;
}

void umbra_layer_capture(struct umbra_domain *domain, struct umbra_process_record *process,
                         const struct umbra_event *hop)
{
    struct umbra_event event = *hop;
    uint32_t room = domain->layer_cap;

    if ( !hop->allocation_size )
        return;
    event.flags = 0;
    event.hop_from = event.hop_to = 0;
    event.old_shadow_entry = event.new_shadow_entry = 0;
    event.kind = UMBRA_EVENT_LAYER;
    if ( pass(domain, process, &event, &room) )
        capture_context(domain, process, &event, &room);
}

static bool in_image(const struct umbra_process_record *process, const struct umbra_event *event)
{
    return process->image && process->image - event->allocation_base < event->allocation_size;
}

static void find_allocation(struct umbra_domain *domain, const struct umbra_process_record *process,
                            struct umbra_event *event)
{
    struct umbra_allocation allocation;

    if ( event->va - event->allocation_base < event->allocation_size )
        return;
    allocation = umbra_allocation_find(domain, process, (uint32_t)event->va);
    event->allocation_base = allocation.base;
    event->allocation_size = allocation.size;
}

/* The page whose entry is going away, which a walk may not find any more. */
static void capture_leaving(struct umbra_domain *domain, struct umbra_process_record *process,
                            struct umbra_event *event, const struct umbra_access *access)
{
    struct umbra_frame *frame = umbra_frame_find(domain, (uint32_t)access->mfn);
    bool dirty = frame && (frame->flags & FRAME_DIRTY);

    event->va = access->va & ~(uint64_t)PAGE_MASK_LOW;
    event->gfn = access->gfn;
    event->guest_entry = access->gl1e_old;
    find_allocation(domain, process, event);
    if ( !dirty && (!in_image(process, event) ||
                    (frame && (frame->flags & FRAME_CAPTURED) && frame->captured_key == process->key)) )
        return;
    event->kind = dirty ? UMBRA_EVENT_RESIDUE : UMBRA_EVENT_CONTEXT;
    process->left |= dirty && in_image(process, event);
    umbra_capture(domain, process, event, frame, (uint32_t)access->mfn);
    event->kind = UMBRA_EVENT_RESIDUE;
}

/*
 * The residue of an address space of which nothing else is known, by the frames that it wrote: going through tables
 * that a guest may have filled as it likes would cost more. *at is a place in the table of frames.
 */
static bool capture_owned(struct umbra_domain *domain, struct umbra_process_record *process,
                          struct umbra_event *event, uint32_t *at, bool may_spill)
{
    struct umbra_frame *frame;
    uint32_t before = *at;

    for ( ; (frame = umbra_frame_next(domain, at)) != NULL; before = *at )
    {
        if ( frame->owner_key != process->key || (frame->flags & (FRAME_DIRTY | FRAME_ORPHAN)) != FRAME_DIRTY )
            continue;
        if ( !may_spill && !umbra_ring_room(domain) )
        {
            *at = before;
            return false;
        }
        event->va = frame->owner_va;
        event->gfn = frame->owner_gfn;
        umbra_capture(domain, process, event, frame, frame->mfn);
    }
    return true;
}

/*
 * What a process that ends has written and its tables do not lead to any more: the guest's kernel may have cleared
 * entries before the hypervisor could notice.
 */
static void capture_vanished(struct umbra_domain *domain, struct umbra_process_record *process,
                             struct umbra_event *event)
{
    struct umbra_frame *frame;
    uint32_t at = 0;

    while ( (frame = umbra_frame_next(domain, &at)) != NULL )
    {
        if ( frame->owner_key != process->key || (frame->flags & (FRAME_DIRTY | FRAME_ORPHAN)) != FRAME_DIRTY )
            continue;
        event->va = frame->owner_va;
        event->gfn = frame->owner_gfn;
        event->guest_entry = 0;
        find_allocation(domain, process, event);
        process->left |= in_image(process, event);
        umbra_capture(domain, process, event, frame, frame->mfn);
    }
}

bool umbra_residue_capture(struct umbra_domain *domain, struct umbra_process_record *process, uint32_t vcpu,
                           uint32_t *va, bool may_spill, const struct umbra_access *access)
{
    struct umbra_event event = umbra_event_start(domain, process, vcpu, UMBRA_EVENT_RESIDUE, access);
    uint32_t room = domain->layer_cap;
    struct umbra_frame *frame;
    struct umbra_walk walk;

    event.layer++;
    if ( !process->object )
        return capture_owned(domain, process, &event, va, may_spill);
    if ( access && access->mfn < UMBRA_NO_FRAME && !(access->flags & UMBRA_ACCESS_NO_VA) )
        capture_leaving(domain, process, &event, access);
    umbra_walk_start(&walk, process->cr3, *va, domain->profile->kernel_base);
    while ( umbra_walk_next(domain, &walk) )
    {
        frame = umbra_frame_find(domain, walk.mfn);
        if ( !frame || !(frame->flags & FRAME_DIRTY) )
            continue;
        if ( !may_spill && !umbra_ring_room(domain) )
        {
            *va = walk.page_va;
            return false;
        }
        place_event(&event, &walk);
        find_allocation(domain, process, &event);
        /* The search may have used the table buffer. */
        walk.table_va = 1;
        process->left |= in_image(process, &event);
        umbra_capture(domain, process, &event, frame, walk.mfn);
    }
    *va = domain->profile->kernel_base;
    if ( may_spill )
        capture_vanished(domain, process, &event);
    if ( process->left )
    {
        /* A program that was unpacked and left without running can still be rebuilt. */
        event.va = process->image;
        find_allocation(domain, process, &event);
        capture_context(domain, process, &event, &room);
    }
    return true;
}
