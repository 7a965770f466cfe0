/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of the Windows-shaped guest: frames, page tables, VADs, and what a program finds in its image. */
#include "processes.h"

static u32 next_frame = POOL_START;
static u32 free_frames[(POOL_END - POOL_START) / PAGE], frames_free;
/* How many user entries lead to each frame. */
static u8 mappings[(POOL_END - POOL_START) / PAGE];

void *frame_address(u32 physical)
{
    return (void *)(KERNEL + physical);
}

/* Physical address of a zeroed frame; the one freed last comes first. */
u32 allocate_frame(void)
{
    u32 i, frame;
    volatile u32 *words;

    if ( !frames_free && next_frame == POOL_END )
    {
        say("guest: out of memory\n");
        halt();
    }
    if ( frames_free )
        frame = free_frames[--frames_free];
    else
    {
        frame = next_frame;
        next_frame += PAGE;
    }
    words = frame_address(frame);
    for ( i = 0; i < PAGE / 4; i++ )
        words[i] = 0;
    return frame;
}

/* The entry of a user page; its table is made when there is none. */
u64 *entry_of(struct process *process, u32 va)
{
    volatile u64 *directory = process->directory[va >> 30];
    u32 index = (va >> 21) & 511;

    if ( !(directory[index] & PRESENT) )
        directory[index] = allocate_frame() | PRESENT | WRITE | USER | SEEN;
    return (u64 *)frame_address((u32)(directory[index] & FRAME)) + ((va >> 12) & 511);
}

static void set_entry(struct process *process, u32 va, u64 value)
{
    *(volatile u64 *)entry_of(process, va) = value;
}

static void map_frame(struct process *process, u32 va, u32 frame, u64 rights)
{
    mappings[(frame - POOL_START) / PAGE]++;
    set_entry(process, va, frame | PRESENT | USER | SEEN | rights);
}

void *map_page(struct process *process, u32 va, u64 rights)
{
    u32 frame = allocate_frame();

    map_frame(process, va, frame, rights);
    return frame_address(frame);
}

static void flush(u32 va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

/* PAGE_… as programs name it. */
u64 rights_of(u32 protection)
{
    switch ( protection )
    {
    case 0x02: /* PAGE_READONLY */
        return NX;
    case 0x04: /* PAGE_READWRITE */
        return WRITE | NX;
    case 0x20: /* PAGE_EXECUTE_READ */
        return 0;
    default: /* PAGE_EXECUTE_READWRITE */
        return WRITE;
    }
}

/* MMADDRESS_NODE of the process: a tree by address, not balanced. */
void add_vad(struct process *process, u32 base, u32 pages)
{
    struct vad *new = 0, *parent = (struct vad *)(process->object + 0x278), **link = &parent->right;
    u32 i;

    for ( i = 0; i < process->vads_used && !new; i++ )
        if ( !process->vads[i].end )
            new = &process->vads[i];
    if ( !new && process->vads_used == sizeof(process->vads) / sizeof(process->vads[0]) )
    {
        say("guest: too many allocations\n");
        halt();
    }
    if ( !new )
        new = &process->vads[process->vads_used++];
    new->left = new->right = 0;
    new->start = base / PAGE;
    new->end = base / PAGE + pages - 1;
    while ( *link )
    {
        parent = *link;
        link = new->start < parent->start ? &parent->left : &parent->right;
    }
    new->parent = parent;
    *link = new;
}

/* Takes a node out of the tree; what hung below it is put in again. */
static void remove_vad(struct process *process, struct vad *gone)
{
    struct vad *kept[24];
    u32 i, n = 0;

    for ( i = 0; i < process->vads_used; i++ )
        if ( &process->vads[i] != gone && process->vads[i].end )
            kept[n++] = &process->vads[i];
    put(process->object, 0x278 + 8, 0);
    gone->end = 0;
    for ( i = 0; i < n; i++ )
    {
        u32 start = kept[i]->start, pages = kept[i]->end - start + 1;

        kept[i]->end = 0;
        add_vad(process, start * PAGE, pages);
    }
}

static struct vad *vad_at(struct process *process, u32 base)
{
    u32 i;

    for ( i = 0; i < process->vads_used; i++ )
        if ( process->vads[i].end && process->vads[i].start == base / PAGE )
            return &process->vads[i];
    say_number("guest: no allocation at ", base);
    halt();
}

static u32 place(struct process *process, u32 base, u32 pages)
{
    if ( !base )
    {
        base = process->heap;
        process->heap += (pages * PAGE + 0xffff) & ~0xffffu;
    }
    add_vad(process, base, pages);
    return base;
}

u32 allocate_memory(struct process *process, u32 base, u32 pages, u64 rights)
{
    u32 i;

    base = place(process, base, pages);
    for ( i = 0; i < pages; i++ )
        map_page(process, base + i * PAGE, rights);
    return base;
}

void protect_memory(struct process *process, u32 base, u32 pages, u64 rights)
{
    u32 i;

    for ( i = 0; i < pages; i++ )
    {
        u32 va = base + i * PAGE;

        set_entry(process, va, (*entry_of(process, va) & ~(WRITE | NX)) | rights);
        flush(va);
    }
}

/* The same frames at another address. */
u32 map_view(struct process *process, u32 from, u32 pages, u64 rights)
{
    u32 i, base = place(process, 0, pages);

    for ( i = 0; i < pages; i++ )
        map_frame(process, base + i * PAGE, (u32)(*entry_of(process, from + i * PAGE) & FRAME), rights);
    return base;
}

static void free_vad(struct process *process, struct vad *vad)
{
    u32 page;

    for ( page = vad->start; page <= vad->end; page++ )
    {
        u32 frame = (u32)(*entry_of(process, page * PAGE) & FRAME);

        if ( !frame )
            continue;
        set_entry(process, page * PAGE, 0);
        if ( !--mappings[(frame - POOL_START) / PAGE] )
            free_frames[frames_free++] = frame;
    }
    for ( page = vad->start; page <= vad->end; page++ )
        flush(page * PAGE);
}

void free_memory(struct process *process, u32 base)
{
    struct vad *vad = vad_at(process, base);

    free_vad(process, vad);
    remove_vad(process, vad);
}

/* The allocation made last goes first: it may hold what was written and never run. */
void free_everything(struct process *process)
{
    u32 i;

    for ( i = process->vads_used; i--; )
        if ( process->vads[i].end )
            free_vad(process, &process->vads[i]);
}

static u32 random_after(u32 value)
{
    return value * 1664525u + 1013904223u;
}

/* A page of the payload: a routine that adds its number to DATA, a text, and noise. */
static void make_payload(u8 *page, u32 number)
{
    static const char text[] = "UMBRA-LAB-PAYLOAD: only what is unpacked has this";
    u32 i, noise = number;

    page[0] = 0xb8; /* mov eax, number */
    put(page, 1, number);
    page[5] = 0x01; /* add [DATA], eax */
    page[6] = 0x05;
    put(page, 7, DATA);
    page[11] = 0xc3;
    for ( i = 0; i < sizeof(text); i++ )
        page[0x40 + i] = text[i];
    for ( i = 0x80; i < PAGE; i += 4 )
        put(page, i, noise = random_after(noise));
}

static void pack(u8 *page)
{
    u32 i;

    for ( i = 0; i < PAGE; i += 4 )
        put(page, i, get(page, i) ^ KEY);
}

void make_program(struct process *process, const struct program *program)
{
    u8 *page = map_page(process, IMAGE, NX);
    u32 i, size = program_code_end - program_code;

    page[0] = 'M';
    page[1] = 'Z';
    for ( i = 0; i < size; i++ )
    {
        if ( i % PAGE == 0 )
            page = map_page(process, CODE + i, 0);
        page[i % PAGE] = program_code[i];
    }
    map_page(process, DATA, WRITE | NX);
    for ( i = 0; i < PACKED_PAGES; i++ )
    {
        page = map_page(process, PACKED + i * PAGE, WRITE | NX);
        make_payload(page, program->seed + i);
        /* Those of the nested layers begin with the next stage. */
        if ( i >= PACKED_PAGES - 32 && i % 4 == 0 )
            copy_bytes(page, nested_stage, nested_stage_end - nested_stage);
        pack(page);
    }
    for ( i = 0; i < IN_PLACE_PAGES; i++ )
    {
        page = map_page(process, IN_PLACE + i * PAGE, WRITE);
        make_payload(page, program->seed + 0x1000 + i);
        pack(page);
    }
    add_vad(process, IMAGE, IMAGE_PAGES);
}
