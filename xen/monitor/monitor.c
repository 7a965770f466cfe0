/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The monitor proper: shadow entries about to be written are looked at and narrowed so that no page is writable
 * and executable at once and each turn from data to code is seen (S1, S2).
 */
#include "internal.h"
#include "profile.h"

const struct umbra_ops *umbra_ops;
char umbra_host_name[32];

static struct umbra_domain *domains[MAX_DOMAINS];

void umbra_init(const struct umbra_ops *ops, const char *name)
{
    uint32_t i;

    umbra_ops = ops;
    memset(umbra_host_name, 0, sizeof(umbra_host_name));
    for ( i = 0; i + 1 < sizeof(umbra_host_name) && name[i]; i++ )
        umbra_host_name[i] = name[i];
}

struct umbra_domain *umbra_domain_find(uint32_t id)
{
    uint32_t i;

    for ( i = 0; i < MAX_DOMAINS; i++ )
        if ( domains[i] && domains[i]->id == id )
            return domains[i];
    return NULL;
}

uint64_t umbra_tsc(const struct umbra_domain *domain, uint32_t vcpu)
{
    uint64_t tsc = 0;

    umbra_ops->vcpu_tsc(domain->id, vcpu, &tsc);
    return tsc;
}

int umbra_domain_create(uint32_t id)
{
    struct umbra_domain *domain;
    uint32_t i;

    if ( umbra_domain_find(id) )
        return -UMBRA_EBUSY;
    for ( i = 0; i < MAX_DOMAINS && domains[i]; i++ )
        ;
    if ( i == MAX_DOMAINS )
        return -UMBRA_ENOSPC;
    domain = umbra_ops->allocate(sizeof(*domain));
    if ( !domain )
        return -UMBRA_ENOMEM;
    domain->id = id;
    domain->spill_end = &domain->spill;
    domain->profile = &umbra_profile_win7;
    domains[i] = domain;
    return 0;
}

static void close_domain(struct umbra_domain *domain)
{
    umbra_coalesce_close(domain);
    umbra_ring_close(domain);
    umbra_frames_close(domain);
    umbra_processes_close(domain);
    if ( domain->page )
        umbra_ops->release(domain->page, UMBRA_PAGE_SIZE);
    if ( domain->table )
        umbra_ops->release(domain->table, UMBRA_PAGE_SIZE);
    domain->page = domain->table = NULL;
    domain->state = STATE_IDLE;
}

void umbra_domain_destroy(uint32_t id)
{
    uint32_t i;

    for ( i = 0; i < MAX_DOMAINS; i++ )
        if ( domains[i] && domains[i]->id == id )
        {
            close_domain(domains[i]);
            umbra_ops->release(domains[i], sizeof(*domains[i]));
            domains[i] = NULL;
        }
}

void umbra_domain_hold(struct umbra_domain *domain, uint32_t vcpu)
{
    if ( domain->vcpu[vcpu].held )
        return;
    domain->vcpu[vcpu].held = true;
    domain->statistics.vcpu_pauses++;
    umbra_ops->vcpu_hold(domain->id, vcpu);
    umbra_ring_notify(domain, umbra_tsc(domain, vcpu), true);
}

void umbra_domain_release(struct umbra_domain *domain)
{
    uint32_t i;

    for ( i = 0; i < MAX_VCPUS; i++ )
        if ( domain->vcpu[i].held )
        {
            domain->vcpu[i].held = false;
            umbra_ops->vcpu_release(domain->id, i);
        }
}

static int open_domain(struct umbra_domain *domain, const struct umbra_watch *watch)
{
    int rc;

    memset(domain->vcpu, 0, sizeof(domain->vcpu));
    memset(&domain->statistics, 0, sizeof(domain->statistics));
    domain->virq_at = 0;
    domain->page = umbra_ops->allocate(UMBRA_PAGE_SIZE);
    domain->table = umbra_ops->allocate(UMBRA_PAGE_SIZE);
    rc = domain->page && domain->table ? 0 : -UMBRA_ENOMEM;
    if ( !rc )
        rc = umbra_ring_open(domain, watch->ring_events ? watch->ring_events : DEFAULT_RING_EVENTS,
                             watch->ring_pages ? watch->ring_pages : DEFAULT_RING_PAGES);
    if ( !rc )
        rc = umbra_frames_open(domain);
    if ( rc )
        close_domain(domain);
    return rc;
}

int umbra_domain_watch(struct umbra_domain *domain, const struct umbra_watch *watch)
{
    uint32_t i, vcpus = umbra_ops->vcpu_count(domain->id);
    int rc;

    if ( !vcpus || vcpus > MAX_VCPUS )
        return -UMBRA_EINVAL;
    if ( domain->state == STATE_DRAINING ||
         (domain->state == STATE_DRAINED && (domain->spill || domain->last_event != domain->acknowledged)) )
        return -UMBRA_EBUSY;
    if ( domain->state == STATE_DRAINED )
        close_domain(domain);
    if ( domain->state == STATE_IDLE )
    {
        rc = open_domain(domain, watch);
        if ( rc )
            return rc;
    }
    domain->policy = watch->policy;
    domain->coalesce_after = watch->coalesce_after ? watch->coalesce_after : DEFAULT_COALESCE_AFTER;
    domain->coalesce_window = watch->coalesce_window ? watch->coalesce_window : DEFAULT_COALESCE_WINDOW;
    domain->layer_cap = watch->layer_cap ? watch->layer_cap : DEFAULT_LAYER_CAP;
    domain->virq_events = watch->virq_events ? watch->virq_events : DEFAULT_VIRQ_EVENTS;
    domain->frame_cap = watch->frame_cap ? watch->frame_cap : MAX_FRAMES;
    domain->spill_cap = watch->spill_cap ? watch->spill_cap : DEFAULT_SPILL_CAP;
    domain->rules = watch->rules;
    memcpy(domain->rule, watch->rule, sizeof(domain->rule));
    domain->state = STATE_WATCHED;
    for ( i = 0; i < vcpus; i++ )
        umbra_process_switch(domain, i);
    return 0;
}

void umbra_domain_unwatch(struct umbra_domain *domain)
{
    uint32_t i;

    umbra_coalesce_flush(domain, 0, UMBRA_NO_FRAME);
    domain->state = STATE_DRAINING;
    domain->drain_process = domain->drain_va = 0;
    umbra_domain_pump(domain);
    for ( i = 0; i < MAX_VCPUS; i++ )
        domain->vcpu[i].key = domain->vcpu[i].owner = 0;
    umbra_domain_release(domain);
    umbra_ring_notify(domain, 0, true);
}

/* Goes on with the residue of a watch that ended. */
static void drain(struct umbra_domain *domain)
{
    while ( domain->drain_process < MAX_PROCESSES )
    {
        struct umbra_process_record *process = domain->process[domain->drain_process];

        if ( process && !(process->flags & UMBRA_FLAG_PROCESS_ENDED) &&
             !umbra_residue_capture(domain, process, 0, &domain->drain_va, false, NULL) )
            return;
        domain->drain_va = 0;
        domain->drain_process++;
    }
    domain->state = STATE_DRAINED;
    umbra_frames_close(domain);
}

void umbra_domain_pump(struct umbra_domain *domain)
{
    umbra_ring_pump(domain);
    if ( domain->state == STATE_DRAINING && !domain->spill )
        drain(domain);
    if ( umbra_ring_room(domain) || domain->state != STATE_WATCHED )
        umbra_domain_release(domain);
}

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

/* The old shadow entry maps the same frame and already has the rights in `mask` (NX: already executable). */
static bool had(const struct umbra_access *access, uint64_t right)
{
    if ( !(access->sl1e_old & PTE_PRESENT) || ((access->sl1e_old ^ access->sl1e_new) & PTE_FRAME) )
        return false;
    return right == PTE_NX ? !(access->sl1e_old & PTE_NX) : (access->sl1e_old & right) != 0;
}

/* Neither W nor X is given anew, but W for a page that is known to be dirty data. */
static void narrow(struct umbra_access *access, struct umbra_frame *frame)
{
    bool dirty_data = frame && (frame->flags & (FRAME_DIRTY | FRAME_CODE | FRAME_ORPHAN)) == FRAME_DIRTY;
    bool keeps_x = had(access, PTE_NX) && !(access->sl1e_new & PTE_NX);

    if ( !keeps_x )
        access->sl1e_new |= PTE_NX;
    if ( keeps_x || (!dirty_data && !had(access, PTE_WRITE)) )
        access->sl1e_new &= ~PTE_WRITE;
    if ( frame && (access->sl1e_new & PTE_WRITE) )
        frame->flags |= FRAME_WRITABLE;
}

/* A write that is about to be allowed. */
static void mark_written(struct umbra_domain *domain, struct umbra_frame *frame, uint32_t eip, uint32_t writer,
                         uint32_t owner)
{
    if ( frame->flags & FRAME_CODE )
        umbra_ops->revoke_mappings(domain->id, frame->mfn);
    frame->flags &= ~(FRAME_CODE | FRAME_ORPHAN);
    frame->flags |= FRAME_DIRTY | FRAME_WRITABLE;
    frame->writer_eip = eip;
    frame->writer_key = writer;
    if ( owner )
        frame->owner_key = owner;
}

static bool is_kernel(const struct umbra_domain *domain, const struct umbra_access *access)
{
    return !(access->flags & UMBRA_ACCESS_NO_VA) && access->va >= domain->profile->kernel_base;
}

/* A mapping outside user space of a frame that is tracked. */
static void kernel_mapping(struct umbra_domain *domain, const struct umbra_vcpu_state *state,
                           struct umbra_access *access, struct umbra_frame *frame)
{
    if ( !(access->sl1e_new & PTE_WRITE) )
        return;
    if ( access->error_code & FAULT_WRITE )
        mark_written(domain, frame, access->eip, state->owner, 0);
    else if ( !(frame->flags & FRAME_DIRTY) && !had(access, PTE_WRITE) )
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
    mark_written(domain, frame, access->eip, writer, process ? process->key : 0);
    /* Written by somebody unwatched and in no watched process's hands: no longer of interest. */
    if ( !process && !writer && !umbra_process_live(domain, frame->owner_key) )
        umbra_frame_drop(domain, frame);
}

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

static bool read_page(struct umbra_domain *domain, uint32_t mfn)
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
        if ( !read_page(domain, frame->mfn) )
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
    if ( !process->last_eip || frame->writer_eip < domain->profile->kernel_base )
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
    bool foreign, fresh, readable;
    uint64_t hash;

    if ( frame->flags & FRAME_WRITABLE )
    {
        umbra_ops->revoke_write(domain->id, mfn);
        frame->flags &= ~FRAME_WRITABLE;
    }
    readable = read_page(domain, mfn);
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
    if ( !process->entered )
    {
        allocation = umbra_allocation_find(domain, process, page);
        foreign &= !loaded(process, frame, allocation);
    }
    if ( fresh && (frame->flags & FRAME_DIRTY) && foreign )
        event.flags = UMBRA_FLAG_EVENT_HOP;
    frame->owner_key = process->key;
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
}

/* Returns as umbra_fault. */
static int fetch_fault(struct umbra_domain *domain, struct umbra_vcpu_state *state, struct umbra_access *access,
                       struct umbra_frame *frame)
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
    if ( !(had(access, PTE_NX) && (frame->flags & FRAME_EXECUTED) && frame->captured_key == process->key &&
           !(frame->flags & FRAME_DIRTY)) )
        turn_to_code(domain, process, access, frame);
    process->last_eip = (uint32_t)access->va;
    /* Found again, because the captures may have made room in the table. */
    frame = umbra_frame_track(domain, mfn);
    if ( frame )
        frame->flags |= FRAME_CODE;
    return 0;
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
            return fetch_fault(domain, state, access, frame);
        /* A thread of a watched process, attached: it runs nothing there. */
        return 0;
    }
    if ( process && access->eip < domain->profile->kernel_base )
        process->last_eip = access->eip;
    if ( (access->error_code & FAULT_WRITE) && (access->sl1e_new & PTE_WRITE) )
        write_fault(domain, state, process, access);
    else
        narrow(access, frame);
    return 0;
}

void umbra_filter(struct umbra_access *access)
{
    struct umbra_domain *domain = umbra_domain_find(access->domain);
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
    if ( !frame && ((access->flags & (UMBRA_ACCESS_NO_VA | UMBRA_ACCESS_OTHER_SPACE))
                        ? !domain->statistics.processes
                        : !state->key && !state->owner) )
        return;
    narrow(access, frame);
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
        frame = umbra_frame_find(domain, (uint32_t)access->mfn);
    }
    if ( !frame )
        return;
    if ( !frame->writer_key && !(frame->flags & FRAME_DIRTY) )
    {
        umbra_frame_drop(domain, frame);
        return;
    }
    /* It may live on in another mapping, or come back as another page: its content will tell. */
    if ( read_page(domain, frame->mfn) )
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
