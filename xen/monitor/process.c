/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * In whose name things happen: processes rebuilt from the guest's own structures, once a CR3 load, and the set
 * of those that are watched (address spaces of which no structure tells: space.c). Everything read is the guest's word: reads are bounded, and what cannot be read
 * is left out and said to be missing.
 */
#include "internal.h"
#include "profile.h"

/* Reads a UNICODE_STRING of the process parameters; false when it cannot be read whole. */
static bool read_string(struct umbra_domain *domain, uint32_t cr3, uint32_t parameters, uint32_t offset,
                        bool relative, uint16_t *to, uint32_t room, uint32_t *units)
{
    uint32_t lengths, buffer, length;

    *units = 0;
    if ( !umbra_read_u32(domain, cr3, parameters + offset, &lengths) ||
         !umbra_read_u32(domain, cr3, parameters + offset + 4, &buffer) )
        return false;
    length = (lengths & 0xffff) / 2;
    if ( relative && buffer < 0x10000 )
        buffer += parameters;
    if ( length > room )
        length = room;
    if ( buffer >= domain->profile->kernel_base ||
         umbra_read_virtual(domain, cr3, buffer, to, length * 2) )
        return false;
    *units = length;
    return length > 0;
}

/* What only the process's own memory tells: image path and command line. */
static void read_parameters(struct umbra_domain *domain, struct umbra_process_record *process)
{
    const struct umbra_profile *profile = domain->profile;
    uint32_t parameters = 0, flags = 0;
    bool whole = false;

    umbra_read_u32(domain, process->cr3, process->object + profile->process_peb, &process->peb);
    if ( process->peb && process->peb < profile->kernel_base &&
         umbra_read_u32(domain, process->cr3, process->peb + profile->peb_image, &process->image) &&
         umbra_read_u32(domain, process->cr3, process->peb + profile->peb_parameters, &parameters) &&
         parameters && parameters < profile->kernel_base &&
         umbra_read_u32(domain, process->cr3, parameters + profile->parameters_flags, &flags) )
    {
        whole = read_string(domain, process->cr3, parameters, profile->parameters_image, !(flags & 1),
                            process->path, UMBRA_PATH_UNITS, &process->path_units);
        whole &= read_string(domain, process->cr3, parameters, profile->parameters_command, !(flags & 1),
                             process->command_line, UMBRA_COMMAND_LINE_UNITS, &process->command_line_units);
    }
    process->flags &= ~(uint32_t)UMBRA_FLAG_PROCESS_PARTIAL;
    if ( !whole || !process->name[0] )
        process->flags |= UMBRA_FLAG_PROCESS_PARTIAL;
}

/* What the process object tells. */
static void read_object(struct umbra_domain *domain, struct umbra_process_record *process)
{
    const struct umbra_profile *profile = domain->profile;

    umbra_read_u32(domain, process->cr3, process->object + profile->process_pid, &process->pid);
    umbra_read_u32(domain, process->cr3, process->object + profile->process_parent, &process->parent);
    umbra_read_u32(domain, process->cr3, process->object + profile->process_peb, &process->peb);
    memset(process->name, 0, sizeof(process->name));
    umbra_read_virtual(domain, process->cr3, process->object + profile->process_name, process->name,
                       UMBRA_NAME_BYTES - 1);
    umbra_read_virtual(domain, process->cr3, process->object + profile->process_created, &process->created, 8);
}

void umbra_process_refresh(struct umbra_domain *domain, struct umbra_process_record *process)
{
    if ( !process->object || !(process->flags & UMBRA_FLAG_PROCESS_PARTIAL) ||
         (process->flags & UMBRA_FLAG_PROCESS_ENDED) ||
         process->partial_reads >= MAX_PARTIAL_READS )
        return;
    process->partial_reads++;
    read_object(domain, process);
    read_parameters(domain, process);
}

struct umbra_process_record *umbra_process_find(struct umbra_domain *domain, uint32_t key)
{
    uint32_t i;

    for ( i = 0; key && i < MAX_PROCESSES; i++ )
        if ( domain->process[i] && domain->process[i]->key == key )
            return domain->process[i];
    return NULL;
}

struct umbra_process_record *umbra_process_live(struct umbra_domain *domain, uint32_t key)
{
    struct umbra_process_record *process = umbra_process_find(domain, key);

    return process && !(process->flags & UMBRA_FLAG_PROCESS_ENDED) ? process : NULL;
}

/* The one that lives and has that object or, without one, that CR3. */
static struct umbra_process_record *live_with(struct umbra_domain *domain, uint32_t object, uint32_t cr3)
{
    uint32_t i;

    for ( i = 0; i < MAX_PROCESSES; i++ )
    {
        struct umbra_process_record *process = domain->process[i];

        if ( process && !(process->flags & UMBRA_FLAG_PROCESS_ENDED) &&
             (object ? process->object == object : process->cr3 == cr3) )
            return process;
    }
    return NULL;
}

/* A watched process is the parent: same number, and its life covers the child's birth. */
static bool child_of_watched(const struct umbra_domain *domain, const struct umbra_process_record *child)
{
    uint32_t i;

    for ( i = 0; i < MAX_PROCESSES; i++ )
    {
        const struct umbra_process_record *process = domain->process[i];

        if ( !process || process->pid != child->parent || !child->parent )
            continue;
        if ( child->created && process->created > child->created )
            continue;
        if ( !(process->flags & UMBRA_FLAG_PROCESS_ENDED) ||
             (child->created && process->ended && child->created <= process->ended) )
            return true;
    }
    return false;
}

/*
 * A place in the table: a free one, else that of the process which ended first, else that of a space which gives way;
 * null when all are processes that live.
 */
static struct umbra_process_record **place_for(struct umbra_domain *domain, uint32_t vcpu)
{
    struct umbra_process_record **oldest = NULL;
    uint32_t i;

    for ( i = 0; i < MAX_PROCESSES; i++ )
    {
        struct umbra_process_record *process = domain->process[i];

        if ( !process )
            return &domain->process[i];
        if ( (process->flags & UMBRA_FLAG_PROCESS_ENDED) && (!oldest || process->key < (*oldest)->key) )
            oldest = &domain->process[i];
    }
    if ( oldest )
        return oldest;
    oldest = umbra_space_longest_unseen(domain);
    if ( oldest )
    {
        domain->statistics.processes_displaced++;
        umbra_process_end(domain, *oldest, vcpu, NULL);
    }
    return oldest;
}

static void announce(struct umbra_domain *domain, struct umbra_process_record *process, uint32_t vcpu,
                     uint32_t kind)
{
    struct umbra_event event = umbra_event_start(domain, process, vcpu, kind, NULL);

    umbra_ring_put(domain, &event, NULL);
}

struct umbra_process_record *umbra_process_add(struct umbra_domain *domain, uint32_t vcpu,
                                               const struct umbra_process_record *candidate)
{
    struct umbra_process_record **place = place_for(domain, vcpu);
    uint32_t i;

    if ( place && !*place )
        *place = umbra_ops->allocate(sizeof(**place));
    if ( !place || !*place )
    {
        domain->statistics.processes_refused++;
        return NULL;
    }
    **place = *candidate;
    (*place)->key = ++domain->next_key;
    domain->statistics.processes++;
    /* What its entries allow was decided without the monitor: every access shall ask anew. */
    umbra_ops->revoke_space(domain->id, candidate->cr3);
    for ( i = 0; i < MAX_VCPUS; i++ )
        if ( domain->vcpu[i].cr3 == candidate->cr3 )
        {
            domain->vcpu[i].key = (*place)->key;
            if ( domain->vcpu[i].object == candidate->object && !domain->vcpu[i].owner )
                domain->vcpu[i].owner = (*place)->key;
        }
    announce(domain, *place, vcpu, UMBRA_EVENT_PROCESS_START);
    return *place;
}

/* The process as it would be recorded. */
static void describe(struct umbra_domain *domain, uint32_t object, uint32_t cr3, bool path,
                     struct umbra_process_record *process)
{
    memset(process, 0, sizeof(*process));
    process->object = object;
    process->cr3 = cr3;
    read_object(domain, process);
    process->flags = UMBRA_FLAG_PROCESS_PARTIAL;
    if ( path )
        read_parameters(domain, process);
}

bool umbra_process_exiting(struct umbra_domain *domain, const struct umbra_process_record *process)
{
    uint32_t flags;

    return process->object &&
           umbra_read_u32(domain, process->cr3, process->object + domain->profile->process_flags, &flags) &&
           (flags & domain->profile->flag_exiting);
}

bool umbra_process_stands(struct umbra_domain *domain, const struct umbra_process_record *process)
{
    return !process->object ||
           (umbra_has_space(domain, process->object, process->cr3) && !umbra_process_exiting(domain, process));
}

void umbra_process_end(struct umbra_domain *domain, struct umbra_process_record *process, uint32_t vcpu,
                       const struct umbra_access *access)
{
    uint32_t i, va = 0;

    umbra_coalesce_flush(domain, process->key, UMBRA_NO_FRAME);
    umbra_residue_capture(domain, process, vcpu, &va, true, access);
    if ( process->object )
        umbra_read_virtual(domain, process->cr3, process->object + domain->profile->process_exited,
                           &process->ended, 8);
    process->flags |= UMBRA_FLAG_PROCESS_ENDED;
    domain->statistics.processes--;
    announce(domain, process, vcpu, UMBRA_EVENT_PROCESS_END);
    for ( i = 0; i < MAX_VCPUS; i++ )
    {
        if ( domain->vcpu[i].key == process->key )
        {
            domain->vcpu[i].key = 0;
            domain->vcpu[i].unknown = umbra_space_unknown(domain, process->object);
        }
        if ( domain->vcpu[i].owner == process->key )
            domain->vcpu[i].owner = 0;
    }
}

/* The watched process behind an object and address space, adding it when it shall be watched. */
static struct umbra_process_record *resolve(struct umbra_domain *domain, uint32_t vcpu,
                                            const struct umbra_identity *identity)
{
    struct umbra_process_record *known = live_with(domain, 0, identity->cr3), *candidate = &domain->candidate;

    if ( identity->object )
        describe(domain, identity->object, identity->cr3, false, candidate);
    if ( known && identity->object &&
         (known->object != identity->object || known->pid != candidate->pid ||
          known->created != candidate->created) )
    {
        /* Its tables were given to another process without its end having been seen. */
        umbra_process_end(domain, known, vcpu, NULL);
        known = NULL;
    }
    if ( known && !known->object && !umbra_space_same(domain, known) )
    {
        umbra_process_end(domain, known, vcpu, NULL);
        known = NULL;
    }
    if ( !known && identity->object && !umbra_process_exiting(domain, candidate) )
    {
        if ( umbra_rules_need_path(domain) )
            read_parameters(domain, candidate);
        if ( umbra_rules_match(domain, candidate) || child_of_watched(domain, candidate) )
        {
            read_parameters(domain, candidate);
            known = umbra_process_add(domain, vcpu, candidate);
        }
    }
    return known;
}

void umbra_process_switch(struct umbra_domain *domain, uint32_t vcpu)
{
    struct umbra_vcpu_state *state = &domain->vcpu[vcpu];
    struct umbra_process_record *left, *process, *owner;
    bool recognised = domain->recognised;
    struct umbra_identity identity = umbra_identify(domain, vcpu);

    domain->loads++;
    if ( recognised != domain->recognised )
        umbra_spaces_close(domain, vcpu);
    umbra_spaces_look(domain, vcpu);
    left = umbra_process_live(domain, state->key);
    if ( left && left->cr3 != identity.cr3 && umbra_process_exiting(domain, left) )
        umbra_process_end(domain, left, vcpu, NULL);
    state->cr3 = identity.cr3;
    state->object = identity.object;
    state->key = state->owner = 0;
    process = resolve(domain, vcpu, &identity);
    if ( process )
    {
        umbra_process_refresh(domain, process);
        process->seen = domain->loads;
        state->key = process->key;
    }
    state->unknown = !process && umbra_space_unknown(domain, identity.object);
    if ( identity.owner == identity.object )
        state->owner = state->key;
    else
    {
        owner = live_with(domain, identity.owner, 0);
        state->owner = owner ? owner->key : 0;
        /* A watched process's thread is attached to another's memory: what it writes there must be seen. */
        if ( owner && !process )
            umbra_ops->revoke_space(domain->id, identity.cr3);
    }
}

struct umbra_process_record *umbra_process_inject(struct umbra_domain *domain, uint32_t vcpu)
{
    struct umbra_vcpu_state *state = &domain->vcpu[vcpu];

    if ( !state->object )
        return NULL;
    describe(domain, state->object, state->cr3, true, &domain->candidate);
    return umbra_process_add(domain, vcpu, &domain->candidate);
}

void umbra_processes_close(struct umbra_domain *domain)
{
    uint32_t i;

    for ( i = 0; i < MAX_PROCESSES; i++ )
    {
        if ( domain->process[i] )
            umbra_ops->release(domain->process[i], sizeof(*domain->process[i]));
        domain->process[i] = NULL;
    }
    domain->statistics.processes = 0;
}
