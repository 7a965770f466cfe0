/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The life of a domain and of its watch: created, watched, drained of what was left when the watch ended, and
 * gone, with everything kept for it.
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
    /* Which spaces there are shows when they fault: all entries that were made unseen go. */
    if ( umbra_space_unknown(domain, 0) )
        umbra_ops->revoke_space(domain->id, 0);
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
