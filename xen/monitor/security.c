/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The security module: answers hypercalls of the domain that is allowed to ask, and of no other. Every number
 * of an argument is checked here before anything else sees it.
 */
#include "internal.h"
#include "profile.h"

#define BATCH 64u

static bool good_version(uint32_t version)
{
    return version == UMBRA_ABI_VERSION;
}

static long do_info(uint64_t argument)
{
    struct umbra_info info;

    memset(&info, 0, sizeof(info));
    info.abi = UMBRA_ABI_VERSION;
    info.copy_pages = UMBRA_COPY_PAGES;
    info.ring_events = DEFAULT_RING_EVENTS;
    info.ring_pages = DEFAULT_RING_PAGES;
    info.event_size = sizeof(struct umbra_event);
    info.profile = umbra_profile_win7.number;
    memcpy(info.name, umbra_host_name, sizeof(info.name));
    return umbra_ops->copy_to_caller(argument, &info, sizeof(info));
}

static long do_watch(struct umbra_domain *domain, uint64_t argument)
{
    struct umbra_watch watch;
    uint32_t i;
    int rc = umbra_ops->copy_from_caller(&watch, argument, sizeof(watch));

    if ( rc )
        return rc;
    if ( watch.policy > UMBRA_POLICY_DROP || watch.rules == 0 || watch.rules > UMBRA_RULES ||
         watch.profile > umbra_profile_win7.number || watch.ring_events > MAX_RING ||
         watch.ring_pages > MAX_RING || watch.frame_cap > MAX_FRAMES || watch.spill_cap > MAX_SPILLED_PAGES )
        return -UMBRA_EINVAL;
    for ( i = 0; i < watch.rules; i++ )
        if ( !umbra_rule_valid(&watch.rule[i]) )
            return -UMBRA_EINVAL;
    return umbra_domain_watch(domain, &watch);
}

static long do_fetch(struct umbra_domain *domain, uint64_t argument)
{
    struct umbra_fetch fetch;
    uint64_t from;
    uint32_t count = 0;
    int rc = umbra_ops->copy_from_caller(&fetch, argument, sizeof(fetch));

    if ( rc )
        return rc;
    if ( !fetch.capacity || fetch.capacity > UMBRA_FETCH_EVENTS ||
         (fetch.after != UMBRA_FETCH_ON && fetch.after > domain->last_event) )
        return -UMBRA_EINVAL;
    umbra_domain_pump(domain);
    from = fetch.after == UMBRA_FETCH_ON ? domain->fetched : fetch.after;
    if ( from < domain->acknowledged )
        from = domain->acknowledged;
    while ( count < fetch.capacity && from + count < domain->last_event )
    {
        /* As far as the events lie behind one another in the ring. */
        uint64_t left = domain->last_event - from - count;
        uint32_t at = (uint32_t)((from + count) % domain->ring_events), run = domain->ring_events - at;

        if ( run > left )
            run = (uint32_t)left;
        if ( run > fetch.capacity - count )
            run = fetch.capacity - count;
        rc = umbra_ops->copy_to_caller(fetch.buffer + (uint64_t)count * sizeof(struct umbra_event),
                                       &domain->event[at], run * (uint32_t)sizeof(struct umbra_event));
        if ( rc )
            return rc;
        count += run;
    }
    domain->fetched = from + count;
    if ( domain->handed_over < domain->fetched )
        domain->handed_over = domain->fetched;
    if ( domain->fetched == domain->last_event )
        domain->virq_armed = true;
    return count;
}

static long do_process(struct umbra_domain *domain, uint64_t argument)
{
    struct umbra_process_record *process;
    struct umbra_process *answer;
    uint32_t head[3];
    int rc = umbra_ops->copy_from_caller(head, argument, sizeof(head));

    if ( rc )
        return rc;
    process = umbra_process_find(domain, head[2]);
    if ( !process )
        return -UMBRA_ENOENT;
    if ( domain->state == STATE_WATCHED )
        umbra_process_refresh(domain, process);
    answer = umbra_ops->allocate(sizeof(*answer));
    if ( !answer )
        return -UMBRA_ENOMEM;
    answer->abi = UMBRA_ABI_VERSION;
    answer->domain = domain->id;
    answer->key = process->key;
    answer->flags = process->flags;
    answer->pid = process->pid;
    answer->parent_pid = process->parent;
    answer->cr3 = process->cr3;
    answer->create_time = process->created;
    answer->object = process->object;
    answer->path_units = process->path_units;
    answer->command_line_units = process->command_line_units;
    memcpy(answer->name, process->name, sizeof(answer->name));
    memcpy(answer->path, process->path, sizeof(answer->path));
    memcpy(answer->command_line, process->command_line, sizeof(answer->command_line));
    rc = umbra_ops->copy_to_caller(argument, answer, sizeof(*answer));
    umbra_ops->release(answer, sizeof(*answer));
    return rc;
}

static long do_copy(struct umbra_domain *domain, uint64_t argument)
{
    struct umbra_copy copy;
    uint64_t number[BATCH];
    uint32_t i, j, batch, found = 0;
    int rc = umbra_ops->copy_from_caller(&copy, argument, sizeof(copy));

    if ( rc )
        return rc;
    if ( copy.count > UMBRA_COPY_PAGES )
        return -UMBRA_EINVAL;
    memset(copy.missing, 0, sizeof(copy.missing));
    for ( i = 0; i < copy.count; i += batch )
    {
        batch = copy.count - i < BATCH ? copy.count - i : BATCH;
        rc = umbra_ops->copy_from_caller(number, copy.snapshots + (uint64_t)i * 8, batch * 8);
        if ( rc )
            return rc;
        for ( j = 0; j < batch; j++ )
        {
            const uint8_t *page = umbra_ring_snapshot(domain, number[j]);

            if ( !page )
            {
                copy.missing[(i + j) / 8] |= (uint8_t)(1u << ((i + j) % 8));
                continue;
            }
            rc = umbra_ops->copy_to_caller(copy.buffer + (uint64_t)(i + j) * UMBRA_PAGE_SIZE, page,
                                           UMBRA_PAGE_SIZE);
            if ( rc )
                return rc;
            found++;
        }
    }
    rc = umbra_ops->copy_to_caller(argument, &copy, sizeof(copy));
    return rc ? rc : (long)found;
}

static long do_acknowledge(struct umbra_domain *domain, uint64_t argument)
{
    struct umbra_acknowledge acknowledge;
    uint64_t newest = domain->last_event;
    int rc = umbra_ops->copy_from_caller(&acknowledge, argument, sizeof(acknowledge));

    if ( rc )
        return rc;
    /* What was never handed over cannot be given up. */
    if ( acknowledge.sequence > domain->handed_over )
        return -UMBRA_EINVAL;
    umbra_ring_acknowledge(domain, acknowledge.sequence);
    umbra_domain_pump(domain);
    /* What waited for the room came in: nobody else would say so while the vCPU is held. */
    if ( domain->last_event != newest )
        umbra_ring_notify(domain, 0, true);
    return 0;
}

static long do_statistics(struct umbra_domain *domain, uint64_t argument)
{
    struct umbra_statistics statistics = domain->statistics;
    uint32_t i;

    statistics.abi = UMBRA_ABI_VERSION;
    statistics.domain = domain->id;
    statistics.flags = (domain->state == STATE_WATCHED ? UMBRA_FLAG_STATISTICS_WATCHED : 0) |
                       (domain->state == STATE_DRAINED && !domain->spill ? UMBRA_FLAG_STATISTICS_DRAINED : 0);
    for ( i = 0; i < MAX_VCPUS; i++ )
        if ( domain->vcpu[i].held )
            statistics.flags |= UMBRA_FLAG_STATISTICS_HELD;
    statistics.waiting_events = domain->last_event - domain->acknowledged;
    statistics.waiting_pages = domain->last_snapshot - domain->freed_snapshot;
    statistics.spilled_pages = domain->spilled_pages;
    statistics.last_sequence = domain->last_event;
    return umbra_ops->copy_to_caller(argument, &statistics, sizeof(statistics));
}

/* User memory of a watched process that lives, up to the first page that is not there. */
static long do_read(struct umbra_domain *domain, uint64_t argument)
{
    const struct umbra_process_record *process;
    struct umbra_read read;
    uint32_t done = 0, part;
    int rc = umbra_ops->copy_from_caller(&read, argument, sizeof(read));

    if ( rc )
        return rc;
    if ( read.length > UMBRA_COPY_PAGES * UMBRA_PAGE_SIZE || read.address >= umbra_user_end(domain) ||
         read.length > umbra_user_end(domain) - read.address )
        return -UMBRA_EINVAL;
    process = umbra_process_live(domain, read.key);
    if ( domain->state != STATE_WATCHED || !process || !umbra_process_stands(domain, process) )
        return -UMBRA_ENOENT;
    for ( ; done < read.length; done += part )
    {
        uint32_t va = read.address + done;

        part = UMBRA_PAGE_SIZE - (va & PAGE_MASK_LOW);
        if ( part > read.length - done )
            part = read.length - done;
        if ( umbra_read_virtual(domain, process->cr3, va, domain->page, part) )
            break;
        rc = umbra_ops->copy_to_caller(read.buffer + done, domain->page, part);
        if ( rc )
            return rc;
    }
    read.peb = process->peb;
    rc = umbra_ops->copy_to_caller(argument, &read, sizeof(read));
    return rc ? rc : (long)done;
}

static long dispatch(struct umbra_domain *domain, uint32_t command, uint64_t argument)
{
    if ( command == UMBRA_COMMAND_WATCH )
        return do_watch(domain, argument);
    /* Everything else is about a watch that is or was. */
    if ( domain->state == STATE_IDLE )
        return -UMBRA_ENOENT;
    switch ( command )
    {
    case UMBRA_COMMAND_UNWATCH:
        if ( domain->state == STATE_WATCHED )
            umbra_domain_unwatch(domain);
        return 0;
    case UMBRA_COMMAND_FETCH:
        return do_fetch(domain, argument);
    case UMBRA_COMMAND_PROCESS:
        return do_process(domain, argument);
    case UMBRA_COMMAND_COPY:
        return do_copy(domain, argument);
    case UMBRA_COMMAND_ACKNOWLEDGE:
        return do_acknowledge(domain, argument);
    case UMBRA_COMMAND_READ:
        return do_read(domain, argument);
    default:
        return do_statistics(domain, argument);
    }
}

long umbra_hypercall_at(uint32_t caller, uint32_t command, uint64_t argument)
{
    uint32_t head[2]; /* every argument begins with the caller's version and the domain meant */
    struct umbra_domain *domain;
    long rc;

    if ( caller != UMBRA_ALLOWED_DOMAIN )
        return -UMBRA_EPERM;
    if ( command > UMBRA_COMMAND_READ )
        return -UMBRA_ENOSYS;
    if ( command == UMBRA_COMMAND_INFO )
        return do_info(argument);
    rc = umbra_ops->copy_from_caller(head, argument, sizeof(head));
    if ( rc )
        return rc;
    if ( !good_version(head[0]) )
        return -UMBRA_EOPNOTSUPP;
    umbra_ops->lock(head[1]);
    domain = umbra_domain_find(head[1]);
    rc = domain ? dispatch(domain, command, argument) : -UMBRA_ESRCH;
    umbra_ops->unlock(head[1]);
    return rc;
}
