/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The frame table: machine frame -> what is known of it. A hash table of indexes over chunks of one page each. */
#include "internal.h"

#define CHUNKS (MAX_FRAMES / FRAMES_A_CHUNK)
#define CHUNK_SIZE ((uint32_t)(FRAMES_A_CHUNK * sizeof(struct umbra_frame)))

static struct umbra_frame *at(struct umbra_domain *domain, uint32_t index)
{
    return &domain->chunk[index / FRAMES_A_CHUNK][index % FRAMES_A_CHUNK];
}

static uint32_t *bucket_of(struct umbra_domain *domain, uint32_t mfn)
{
    return &domain->bucket[(mfn * 0x9e3779b1u) >> 18];
}

int umbra_frames_open(struct umbra_domain *domain)
{
    domain->bucket = umbra_ops->allocate(FRAME_BUCKETS * sizeof(uint32_t));
    domain->chunk = umbra_ops->allocate(CHUNKS * sizeof(*domain->chunk));
    domain->chunks = domain->free_frame = domain->clock = 0;
    if ( domain->bucket && domain->chunk )
        return 0;
    umbra_frames_close(domain);
    return -UMBRA_ENOMEM;
}

void umbra_frames_close(struct umbra_domain *domain)
{
    uint32_t i;

    for ( i = 0; domain->chunk && i < domain->chunks; i++ )
        umbra_ops->release(domain->chunk[i], CHUNK_SIZE);
    if ( domain->chunk )
        umbra_ops->release(domain->chunk, CHUNKS * sizeof(*domain->chunk));
    if ( domain->bucket )
        umbra_ops->release(domain->bucket, FRAME_BUCKETS * sizeof(uint32_t));
    domain->chunk = NULL;
    domain->bucket = NULL;
    domain->chunks = domain->free_frame = domain->clock = 0;
    domain->statistics.frames = 0;
}

struct umbra_frame *umbra_frame_find(struct umbra_domain *domain, uint32_t mfn)
{
    uint32_t index;

    if ( !domain->bucket )
        return NULL;
    for ( index = *bucket_of(domain, mfn); index; index = at(domain, index - 1)->next )
        if ( at(domain, index - 1)->mfn == mfn )
            return at(domain, index - 1);
    return NULL;
}

/*
 * Its mappings may stay: should the frame be tracked again, the new record presumes that it is writable and
 * executable somewhere.
 */
void umbra_frame_drop(struct umbra_domain *domain, struct umbra_frame *frame)
{
    uint32_t *link = bucket_of(domain, frame->mfn);
    uint32_t index;

    while ( *link && at(domain, *link - 1) != frame )
        link = &at(domain, *link - 1)->next;
    index = *link;
    if ( !index )
        return;
    *link = frame->next;
    memset(frame, 0, sizeof(*frame));
    frame->mfn = UMBRA_NO_FRAME;
    frame->next = domain->free_frame;
    domain->free_frame = index;
    domain->statistics.frames--;
}

struct umbra_frame *umbra_frame_next(struct umbra_domain *domain, uint32_t *index)
{
    while ( *index < domain->chunks * FRAMES_A_CHUNK )
    {
        struct umbra_frame *frame = at(domain, (*index)++);

        if ( frame->mfn != UMBRA_NO_FRAME )
            return frame;
    }
    return NULL;
}

/*
 * Makes room by forgetting a frame that holds nothing uncaptured. The clock hand looks at a bounded number of
 * records a call, so a table full of dirty frames costs no more than that.
 */
static bool evict(struct umbra_domain *domain)
{
    uint32_t tries, total = domain->chunks * FRAMES_A_CHUNK;

    for ( tries = 0; tries < 256 && total; tries++ )
    {
        struct umbra_frame *frame = at(domain, domain->clock);

        domain->clock = (domain->clock + 1) % total;
        if ( frame->mfn == UMBRA_NO_FRAME ||
             ((frame->flags & FRAME_DIRTY) && !(frame->flags & FRAME_ORPHAN)) )
            continue;
        umbra_frame_drop(domain, frame);
        return true;
    }
    return false;
}

static bool add_chunk(struct umbra_domain *domain)
{
    struct umbra_frame *chunk;
    uint32_t i, first = domain->chunks * FRAMES_A_CHUNK;

    if ( domain->chunks == CHUNKS || first >= domain->frame_cap )
        return false;
    chunk = umbra_ops->allocate(CHUNK_SIZE);
    if ( !chunk )
        return false;
    domain->chunk[domain->chunks++] = chunk;
    for ( i = FRAMES_A_CHUNK; i--; )
    {
        chunk[i].mfn = UMBRA_NO_FRAME;
        chunk[i].next = domain->free_frame;
        domain->free_frame = first + i + 1;
    }
    return true;
}

struct umbra_frame *umbra_frame_track(struct umbra_domain *domain, uint32_t mfn)
{
    struct umbra_frame *frame = umbra_frame_find(domain, mfn);
    uint32_t *bucket;

    if ( frame )
        return frame;
    if ( !domain->bucket )
        return NULL;
    if ( !domain->free_frame && !add_chunk(domain) && !evict(domain) )
    {
        domain->statistics.frames_refused++;
        return NULL;
    }
    bucket = bucket_of(domain, mfn);
    frame = at(domain, domain->free_frame - 1);
    {
        uint32_t index = domain->free_frame;

        domain->free_frame = frame->next;
        memset(frame, 0, sizeof(*frame));
        frame->mfn = mfn;
        /* Other mappings may stand from before it was tracked. */
        frame->flags = FRAME_CODE | FRAME_WRITABLE;
        frame->next = *bucket;
        *bucket = index;
    }
    domain->statistics.frames++;
    return frame;
}
