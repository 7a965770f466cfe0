/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exerciser's program in ring 3. All of it is in one section that is linked where it runs; it uses no constant
 * data and calls nothing of the kernel but by int 0x2e.
 */
#include "exerciser.h"

#define PROGRAM __attribute__((section(".program"), noinline))
#define WORDS (PAGE / 4)
#define ROUNDS 4u
/* Rounds of work that makes nothing executable. */
#ifndef ORDINARY
#define ORDINARY 12u
#endif
#define TICK_SHIFT 8  /* of the time-stamp counter */

/* The routine in a page gives back its number: as it is, after changing it in its own code, after telling it. */
enum form { PLAIN, CHANGING, TELLING };

static volatile struct status *const status = (volatile struct status *)STATUS;

PROGRAM static u32 call_kernel(u32 what, u32 a, u32 b, u32 c)
{
    __asm__ volatile("int $0x2e" : "+a"(what) : "b"(a), "c"(b), "d"(c) : "memory");
    return what;
}

PROGRAM static u32 page_of(u32 t, u32 index)
{
    return AREA + t * AREA_STEP + index * PAGE;
}

/* Fills the page with a routine and what follows from its number. */
PROGRAM static void write_routine(u32 va, enum form form, u32 number, u32 tell)
{
    volatile u32 *page = (volatile u32 *)va;
    u32 i, filler = number * 0x9e3779b1u | 1;

    if ( form == PLAIN )
    {
        /* mov eax, number; ret */
        page[0] = 0xb8 | number << 8;
        page[1] = 0xc300 | number >> 24;
        i = 2;
    }
    else if ( form == CHANGING )
    {
        /* mov byte [va + 10], number's first; jmp +0; mov eax, number with another first; ret */
        page[0] = 0x05c6 | (va + 10) << 16;
        page[1] = (va + 10) >> 16 | (number & 0xff) << 16 | 0xeb000000u;
        page[2] = 0x0000b800u | (~number & 0xff) << 16 | (number >> 8) << 24;
        page[3] = number >> 16 | 0xc30000u;
        i = 4;
    }
    else
    {
        /* mov dword [tell], number; mov eax, number; ret */
        page[0] = 0x05c7 | tell << 16;
        page[1] = tell >> 16 | number << 16;
        page[2] = number >> 16 | 0xb80000u | number << 24;
        page[3] = number >> 8 | 0xc3000000u;
        i = 4;
    }
    for ( ; i < WORDS; i++ )
    {
        filler ^= filler << 13;
        filler ^= filler >> 17;
        filler ^= filler << 5;
        page[i] = filler;
    }
}

/* Writes down what the page at `shown` holds, as what runs at `va`. */
PROGRAM static void record(u32 t, u32 part, u32 va)
{
    struct truth *log = (struct truth *)(STATUS + LOGS + t * LOG_PAGES * PAGE);
    const u32 *page = (const u32 *)va;
    u32 i, first = 0x811c9dc5u, second = 0, at = status->records[t];

    for ( i = 0; i < WORDS; i++ )
    {
        first = (first ^ page[i]) * 0x01000193u;
        second = ((second << 5 | second >> 27) ^ page[i]) * 0x9e3779b1u;
    }
    if ( at >= LOG_PAGES * PAGE / sizeof(*log) )
    {
        status->errors[t]++;
        return;
    }
    log[at].va = va;
    log[at].first = first;
    log[at].second = second;
    log[at].part = part;
    status->records[t] = at + 1;
}

PROGRAM static void run(u32 t, u32 va, u32 number)
{
    u32 (*routine)(void) = (u32 (*)(void))va;

    if ( routine() != number )
        status->errors[t]++;
}

/* Leaves nothing of what ran. */
PROGRAM static void spoil(u32 va, u32 length)
{
    volatile u32 *page = (volatile u32 *)va;
    u32 i;

    for ( i = 0; i < length / 4; i++ )
        page[i] = 0xcccccccc;
}

PROGRAM static void wait_for(volatile u32 *word, u32 value)
{
    while ( *word != value )
        call_kernel(YIELD, 0, 0, 0);
}

PROGRAM static void write_and_run(u32 t, u32 number)
{
    u32 i;

    for ( i = 0; i < BOTH_PAGES; i++ )
    {
        u32 va = page_of(t, SPREAD(BOTH, i));

        write_routine(va, PLAIN, number + i, 0);
        record(t, BOTH, va);
        run(t, va, number + i);
        spoil(va, PAGE);
    }
}

PROGRAM static void turn_many(u32 t, u32 number, u32 how)
{
    u32 i, first = page_of(t, TURNED);

    call_kernel(PROTECT, first, TURNED_PAGES, MAY_WRITE | how);
    for ( i = 0; i < TURNED_PAGES; i++ )
        write_routine(first + i * PAGE, PLAIN, number + i, 0);
    call_kernel(PROTECT, first, TURNED_PAGES, MAY_RUN | how);
    for ( i = 0; i < TURNED_PAGES; i++ )
    {
        record(t, TURNED, first + i * PAGE);
        run(t, first + i * PAGE, number + i);
    }
    call_kernel(PROTECT, first, TURNED_PAGES, MAY_WRITE | how);
    for ( i = 0; i < TURNED_PAGES; i++ )
        spoil(first + i * PAGE, PAGE);
}

PROGRAM static void change_itself(u32 t, u32 number)
{
    u32 i;

    for ( i = 0; i < SELF_PAGES; i++ )
    {
        u32 va = page_of(t, SPREAD(SELF, i));

        write_routine(va, CHANGING, number + i, 0);
        record(t, SELF, va);
        run(t, va, number + i);
        record(t, SELF, va);
    }
}

PROGRAM static void run_aliases(u32 t, u32 number)
{
    u32 i;

    for ( i = 0; i < ALIASES; i++ )
    {
        write_routine(page_of(t, SPREAD(ALIAS, i)), PLAIN, number + i, 0);
        record(t, ALIAS, page_of(t, SPREAD(SECOND, i)));
        run(t, page_of(t, SPREAD(SECOND, i)), number + i);
        spoil(page_of(t, SPREAD(ALIAS, i)), PAGE);
    }
}

PROGRAM static void swap_frames(u32 t, u32 number)
{
    u32 i;

    for ( i = 0; i < SWAPPED_PAGES; i += 2 )
    {
        u32 one = page_of(t, SPREAD(SWAPPED, i)), other = one + 2 * PAGE;

        write_routine(one, PLAIN, number + i, 0);
        write_routine(other, PLAIN, number + i + 1, 0);
        record(t, SWAPPED, one);
        run(t, one, number + i);
        call_kernel(SWAP, one, other, 0);
        record(t, SWAPPED, one);
        run(t, one, number + i + 1);
        record(t, SWAPPED, other);
        run(t, other, number + i);
        call_kernel(SWITCH, 0, 0, 0);
    }
}

/* Each fills a page for the other, which runs it; while it runs, the filler changes under it. */
PROGRAM static void run_the_others(u32 t, u32 number)
{
    u32 i, other = 1 - t;

    for ( i = 0; i < SHARED_PAGES; i++ )
    {
        u32 mine = page_of(t, SPREAD(SHARED, i)), its = page_of(other, SPREAD(SHARED, i)), serial = number + i;

        write_routine(its, TELLING, serial, (u32)&status->ran[other]);
        status->filled[other] = serial;
        wait_for(&status->filled[t], serial);
        record(t, SHARED, mine);
        run(t, mine, serial);
        wait_for(&status->ran[other], serial);
        spoil(its + PAGE / 2, PAGE / 2);
    }
}

/* What any system does: data written, entries changed, address spaces switched; nothing of it runs. */
PROGRAM static void work(u32 t)
{
    u32 i, round, first = page_of(t, TURNED);

    for ( round = 0; round < ORDINARY; round++ )
    {
        call_kernel(PROTECT, first, TURNED_PAGES, MAY_WRITE);
        for ( i = 0; i < TURNED_PAGES; i++ )
            *(volatile u32 *)(first + i * PAGE) = round;
        call_kernel(SWITCH, 0, 0, 0);
    }
}

PROGRAM static u32 ticks(void)
{
    u32 low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return low >> TICK_SHIFT | high << (32 - TICK_SHIFT);
}

PROGRAM void exercise(u32 t)
{
    u32 round, start = ticks(), middle;

    status->magic = STATUS_MAGIC;
    work(t);
    middle = ticks();
    for ( round = 0; round < ROUNDS; round++ )
    {
        u32 number = (t + 1) << 24 | round << 16;

        write_and_run(t, number);
        turn_many(t, number + 0x1000, round & 1 ? RELOAD : 0);
        change_itself(t, number + 0x2000);
        run_aliases(t, number + 0x3000);
        swap_frames(t, number + 0x4000);
        status->arrived[t] = round + 1;
        wait_for(&status->arrived[1 - t], round + 1);
        run_the_others(t, (round + 1) << 8);
    }
    status->done[t] = 1;
    call_kernel(DONE, t, middle - start, ticks() - middle);
}
