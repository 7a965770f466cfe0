/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process, virus.exe, whose program in ring 3 unpacks code and jumps into it, makes memory executable, and
 * rewrites its own page.
 */
#include "base.h"

#define STUB 0x400000u
#define UNPACKED 0x401000u
#define PACKED 0x410000u
#define CLOSED 0x420000u
#define STACK 0x500000u
#define USER_PAGES 32u

extern u8 stub[], stub_end[], payload[], payload_end[];

struct processor processors[1];
static u64 table[3][512] __attribute__((aligned(4096)));
static u8 frames[USER_PAGES][PAGE] __attribute__((aligned(4096)));
static u32 frames_used;

static u64 *entry_of(u32 va)
{
    u32 index = (va >> 12) & 511;

    return va >= 0x40000000u ? &table[2][index] : va >= PARAMETERS ? &table[1][index] : &table[0][index];
}

/* Maps a fresh page of the program; returns where the kernel sees it. */
static u8 *map(u32 va, u64 rights)
{
    u8 *frame = frames[frames_used++];

    *entry_of(va) = physical(frame) | PRESENT | USER | SEEN | rights;
    return frame;
}

static void make_structures(void)
{
    u8 *parameters = map(PARAMETERS, WRITE | NX);

    map(TEB, WRITE | NX);
    describe_process("virus.exe", map(PEB, WRITE | NX), parameters, STUB);
    describe_thread(&processors[0], 78);
    describe_allocation(STUB, 4);
    string(parameters, 0x38, 0x200, "C:\\test\\virus.exe");
    string(parameters, 0x40, 0x400, "virus.exe -x");
}

static void make_program(void)
{
    u32 i, size = payload_end - payload;
    u8 *page = map(STUB, 0);

    copy(page, stub, stub_end - stub);
    for ( i = 0; i < size; i += PAGE )
        map(UNPACKED + i, WRITE);
    for ( i = 0; i < size; i++ )
    {
        if ( i % PAGE == 0 )
            page = map(PACKED + i, WRITE | NX);
        page[i % PAGE] = payload[i] ^ 0x5a;
    }
    map(CLOSED, WRITE | NX);
    map(STACK, WRITE | NX);
}

/* A program without NX_COMPAT may run what it has: the page becomes executable. */
void page_fault(u32 va, u32 error_code, u32 eip)
{
    if ( (error_code & 0x15) != 0x15 || va - CLOSED >= PAGE )
        unexpected_fault(va, error_code, eip);
    *entry_of(va) &= ~NX;
    flush_page(va);
}

/* The process ends as a Windows process does: flag and time, then its entries, then another address space. */
void service(struct registers *registers)
{
    u32 i;

    (void)registers;
    process_exited();
    for ( i = 0; i < 512; i++ )
        table[0][i] = table[1][i] = table[2][i] = 0;
    load_cr3(idle_pdpt);
    say("guest: program ended\n");
    halt();
}

void guest_main(void)
{
    low_directory[2] = physical(table[0]) | PRESENT | WRITE | USER | SEEN;
    low_directory[3] = physical(table[1]) | PRESENT | WRITE | USER | SEEN;
    top_directory[511] = physical(table[2]) | PRESENT | WRITE | USER | SEEN;
    make_structures();
    make_program();
    start_processor(&processors[0], TEB);
    load_cr3(idle_pdpt);
    load_cr3(process_pdpt);
    say("guest: program starts\n");
    enter_program(STUB, STACK + PAGE - 16);
}
