/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Noise: a page that turns to code again and again. Its first turns in a window are events of their own; the
 * further ones are counted, the content of the last one is kept and comes as one `coalesced` event.
 */
#include "internal.h"

static void emit(struct umbra_domain *domain, struct umbra_coalescer *slot)
{
    struct umbra_frame *frame = umbra_frame_find(domain, slot->mfn);
    struct umbra_event event = slot->event;
    uint8_t *page = slot->page;

    slot->page = NULL;
    domain->coalescing--;
    if ( event.content == UMBRA_CONTENT_CAPTURED && frame && (frame->flags & FRAME_CAPTURED) &&
         frame->captured_key == slot->key )
    {
        if ( frame->hash == event.content_hash )
            event.content = UMBRA_CONTENT_UNCHANGED;
        frame->hash = event.content_hash;
    }
    umbra_ring_put(domain, &event, page);
    umbra_ops->release(page, UMBRA_PAGE_SIZE);
}

static struct umbra_coalescer *oldest(struct umbra_domain *domain, uint32_t key, uint32_t except_mfn,
                                      uint64_t tsc)
{
    struct umbra_coalescer *found = NULL;
    uint32_t i;

    for ( i = 0; i < MAX_COALESCING; i++ )
    {
        struct umbra_coalescer *slot = &domain->coalescer[i];

        if ( slot->page && (!key || slot->key == key) && slot->mfn != except_mfn && slot->until <= tsc &&
             (!found || slot->order < found->order) )
            found = slot;
    }
    return found;
}

void umbra_coalesce_expire(struct umbra_domain *domain, uint64_t tsc)
{
    struct umbra_coalescer *slot;

    while ( domain->coalescing && (slot = oldest(domain, 0, UMBRA_NO_FRAME, tsc)) != NULL )
        emit(domain, slot);
}

void umbra_coalesce_flush(struct umbra_domain *domain, uint32_t key, uint32_t except_mfn)
{
    struct umbra_coalescer *slot;

    while ( domain->coalescing && (slot = oldest(domain, key, except_mfn, ~(uint64_t)0)) != NULL )
        emit(domain, slot);
}

void umbra_coalesce_close(struct umbra_domain *domain)
{
    uint32_t i;

    for ( i = 0; i < MAX_COALESCING; i++ )
        if ( domain->coalescer[i].page )
            umbra_ops->release(domain->coalescer[i].page, UMBRA_PAGE_SIZE);
    memset(domain->coalescer, 0, sizeof(domain->coalescer));
    domain->coalescing = 0;
}

static struct umbra_coalescer *slot_for(struct umbra_domain *domain, uint32_t mfn, uint32_t key)
{
    struct umbra_coalescer *empty = NULL;
    uint32_t i;

    for ( i = 0; i < MAX_COALESCING; i++ )
    {
        struct umbra_coalescer *slot = &domain->coalescer[i];

        if ( slot->page && slot->mfn == mfn && slot->key == key )
            return slot;
        if ( !slot->page && !empty )
            empty = slot;
    }
    if ( !empty )
    {
        empty = oldest(domain, 0, UMBRA_NO_FRAME, ~(uint64_t)0);
        emit(domain, empty);
    }
    empty->page = umbra_ops->allocate(UMBRA_PAGE_SIZE);
    if ( !empty->page )
        return NULL;
    empty->mfn = mfn;
    empty->key = key;
    empty->event.turns = 0;
    empty->order = ++domain->coalesced_order;
    domain->coalescing++;
    return empty;
}

bool umbra_coalesce_turn(struct umbra_domain *domain, struct umbra_frame *frame, const struct umbra_event *event)
{
    struct umbra_coalescer *slot;
    uint32_t turns;

    if ( frame->turns == 0 || event->tsc - frame->window >= domain->coalesce_window )
    {
        frame->window = event->tsc;
        frame->turns = 0;
    }
    if ( frame->turns < domain->coalesce_after )
    {
        frame->turns++;
        return false;
    }
    slot = slot_for(domain, frame->mfn, event->process);
    if ( !slot )
        return false;
    turns = slot->event.turns + 1;
    slot->event = *event;
    slot->event.kind = UMBRA_EVENT_COALESCED;
    slot->event.turns = turns;
    slot->event.content = UMBRA_CONTENT_CAPTURED;
    slot->event.flags = 0;
    slot->event.hop_from = slot->event.hop_to = 0;
    slot->until = frame->window + domain->coalesce_window;
    memcpy(slot->page, domain->page, UMBRA_PAGE_SIZE);
    domain->statistics.turns_coalesced++;
    return true;
}
