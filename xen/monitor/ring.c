/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The data centre: per domain a bounded ring of events and one of page snapshots. Both only ever lose their
 * oldest, when they are acknowledged. Under `pause` what one fault captures beyond the room waits in a bounded
 * list and the vCPU is held at its next capture; under `drop` the page is counted lost and its event stays.
 */
#include "internal.h"

int umbra_ring_open(struct umbra_domain *domain, uint32_t events, uint32_t pages)
{
    uint32_t i;

    domain->ring_events = events;
    domain->ring_pages = pages;
    domain->spill_end = &domain->spill;
    domain->event = umbra_ops->allocate(events * (uint32_t)sizeof(*domain->event));
    domain->snapshot = umbra_ops->allocate(pages * (uint32_t)sizeof(*domain->snapshot));
    if ( !domain->event || !domain->snapshot )
    {
        umbra_ring_close(domain);
        return -UMBRA_ENOMEM;
    }
    for ( i = 0; i < pages; i++ )
    {
        domain->snapshot[i] = umbra_ops->allocate(UMBRA_PAGE_SIZE);
        if ( !domain->snapshot[i] )
        {
            umbra_ring_close(domain);
            return -UMBRA_ENOMEM;
        }
    }
    domain->virq_armed = true;
    return 0;
}

static void free_spill(struct umbra_domain *domain, struct umbra_spill *spill)
{
    if ( spill->page )
    {
        umbra_ops->release(spill->page, UMBRA_PAGE_SIZE);
        domain->spilled_pages--;
    }
    domain->spilled_events--;
    umbra_ops->release(spill, sizeof(*spill));
}

void umbra_ring_close(struct umbra_domain *domain)
{
    uint32_t i;

    while ( domain->spill )
    {
        struct umbra_spill *spill = domain->spill;

        domain->spill = spill->next;
        free_spill(domain, spill);
    }
    domain->spill_end = &domain->spill;
    for ( i = 0; domain->snapshot && i < domain->ring_pages; i++ )
        if ( domain->snapshot[i] )
            umbra_ops->release(domain->snapshot[i], UMBRA_PAGE_SIZE);
    if ( domain->snapshot )
        umbra_ops->release(domain->snapshot, domain->ring_pages * (uint32_t)sizeof(*domain->snapshot));
    if ( domain->event )
        umbra_ops->release(domain->event, domain->ring_events * (uint32_t)sizeof(*domain->event));
    domain->snapshot = NULL;
    domain->event = NULL;
    domain->freed_snapshot = domain->last_snapshot;
    domain->fetched = domain->handed_over = domain->acknowledged = domain->last_event;
}

static bool event_room(const struct umbra_domain *domain)
{
    return domain->event && domain->last_event - domain->acknowledged < domain->ring_events;
}

static bool page_room(const struct umbra_domain *domain)
{
    return domain->snapshot && domain->last_snapshot - domain->freed_snapshot < domain->ring_pages;
}

bool umbra_ring_room(const struct umbra_domain *domain)
{
    return !domain->spill && event_room(domain) && page_room(domain);
}

/* Puts an event into the ring; there must be room. */
static void push(struct umbra_domain *domain, struct umbra_event *event, const uint8_t *page)
{
    event->snapshot = 0;
    if ( page )
    {
        event->snapshot = ++domain->last_snapshot;
        memcpy(domain->snapshot[(event->snapshot - 1) % domain->ring_pages], page, UMBRA_PAGE_SIZE);
    }
    event->sequence = ++domain->last_event;
    domain->event[(event->sequence - 1) % domain->ring_events] = *event;
}

static bool append_spill(struct umbra_domain *domain, const struct umbra_event *event, const uint8_t *page)
{
    struct umbra_spill *spill;

    if ( domain->spilled_events >= MAX_SPILLED_EVENTS ||
         (page && domain->spilled_pages >= domain->spill_cap) )
        return false;
    spill = umbra_ops->allocate(sizeof(*spill));
    if ( !spill )
        return false;
    if ( page )
    {
        spill->page = umbra_ops->allocate(UMBRA_PAGE_SIZE);
        if ( !spill->page )
        {
            umbra_ops->release(spill, sizeof(*spill));
            return false;
        }
        memcpy(spill->page, page, UMBRA_PAGE_SIZE);
        domain->spilled_pages++;
    }
    spill->event = *event;
    *domain->spill_end = spill;
    domain->spill_end = &spill->next;
    domain->spilled_events++;
    return true;
}

/* Where an event goes; false when there is no place for it (with its page). */
static bool place(struct umbra_domain *domain, struct umbra_event *event, const uint8_t *page)
{
    if ( !domain->spill && event_room(domain) && (!page || page_room(domain)) )
    {
        push(domain, event, page);
        return true;
    }
    return domain->policy == UMBRA_POLICY_PAUSE && append_spill(domain, event, page);
}

void umbra_ring_put(struct umbra_domain *domain, struct umbra_event *event, const uint8_t *page)
{
    struct umbra_statistics *statistics = &domain->statistics;
    bool placed;

    if ( event->content != UMBRA_CONTENT_CAPTURED )
        page = NULL;
    placed = place(domain, event, page);
    if ( !placed && page )
    {
        event->content = UMBRA_CONTENT_LOST;
        placed = place(domain, event, NULL);
    }
    statistics->events += placed;
    statistics->events_lost += !placed;
    statistics->pages_seen += event->content != UMBRA_CONTENT_NONE;
    statistics->pages_captured += event->content == UMBRA_CONTENT_CAPTURED;
    statistics->pages_unchanged += event->content == UMBRA_CONTENT_UNCHANGED;
    statistics->pages_lost += event->content == UMBRA_CONTENT_LOST;
    umbra_ring_notify(domain, event->tsc, event->kind == UMBRA_EVENT_PROCESS_END);
}

void umbra_ring_pump(struct umbra_domain *domain)
{
    while ( domain->spill )
    {
        struct umbra_spill *spill = domain->spill;

        if ( !event_room(domain) || (spill->page && !page_room(domain)) )
            return;
        push(domain, &spill->event, spill->page);
        domain->spill = spill->next;
        if ( !domain->spill )
            domain->spill_end = &domain->spill;
        free_spill(domain, spill);
    }
}

void umbra_ring_acknowledge(struct umbra_domain *domain, uint64_t sequence)
{
    for ( ; domain->acknowledged < sequence; domain->acknowledged++ )
    {
        const struct umbra_event *event = &domain->event[domain->acknowledged % domain->ring_events];

        if ( event->snapshot )
            domain->freed_snapshot = event->snapshot;
    }
    if ( domain->fetched < sequence )
        domain->fetched = sequence;
}

const uint8_t *umbra_ring_snapshot(const struct umbra_domain *domain, uint64_t number)
{
    if ( !domain->snapshot || number <= domain->freed_snapshot || number > domain->last_snapshot )
        return NULL;
    return domain->snapshot[(number - 1) % domain->ring_pages];
}

/*
 * One VIRQ stands for everything that is there when it is heard, so it is armed again only when all was
 * fetched; between, one more each virq_events.
 */
void umbra_ring_notify(struct umbra_domain *domain, uint64_t tsc, bool urgent)
{
    uint64_t waiting = domain->last_event - domain->fetched;

    if ( !waiting )
        return;
    if ( !urgent && waiting % domain->virq_events &&
         !(domain->virq_armed && tsc - domain->virq_at >= VIRQ_TICKS) )
        return;
    domain->virq_armed = false;
    if ( tsc )
        domain->virq_at = tsc;
    umbra_ops->raise_virq();
}
