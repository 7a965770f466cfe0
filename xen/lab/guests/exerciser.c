/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exercises the page tables under the monitor, and keeps the truth: on each of its processors the program in
 * ring 3 makes pages of code in every way that shadow entries come about, and writes down the address and the
 * hash of each page as it runs. What the monitor captured must be that.
 */
#include "base.h"
#include "exerciser.h"

#define CODE 0x400000u       /* as base.ld has it, */
#define PROGRAM_AT 0x300000u /* and where it is loaded */

extern u8 program_start[], program_end[];

static u8 hypercall_page[PAGE] __attribute__((aligned(4096)));
struct processor processors[PROCESSORS];
static u64 code_table[512] __attribute__((aligned(4096)));
static u64 parameters_table[512] __attribute__((aligned(4096)));
static u64 top_table[512] __attribute__((aligned(4096)));
static u64 log_table[512] __attribute__((aligned(4096)));
static u64 area_table[PROCESSORS][512] __attribute__((aligned(4096)));
static u8 *next_frame = (u8 *)(KERNEL + 0x400000);

static long hypercall(u32 number, u32 a, u32 b, u32 c)
{
    u32 entry = (u32)hypercall_page + number * 32;
    long result;

    __asm__ volatile("call *%1" : "=a"(result), "+r"(entry), "+b"(a), "+c"(b), "+d"(c) : : "memory");
    return result;
}

static u64 *entry_of(u32 va)
{
    u32 index = (va >> 12) & 511;

    if ( va >= 0x40000000u )
        return &top_table[index];
    if ( va >= AREA )
        return &area_table[(va - AREA) / AREA_STEP][index];
    if ( va >= STATUS )
        return &log_table[index];
    return va >= PARAMETERS ? &parameters_table[index] : &code_table[index];
}

/* Maps a fresh page of zeros. Memory that is not in the image holds anything, as a hypervisor may give it. */
static u8 *map(u32 va, u64 rights)
{
    u8 *frame = next_frame;
    u32 i;

    next_frame += PAGE;
    for ( i = 0; i < PAGE; i += 4 )
        put(frame, i, 0);
    *entry_of(va) = physical(frame) | PRESENT | USER | SEEN | rights;
    return frame;
}

static void map_range(u32 va, u32 pages, u64 rights)
{
    while ( pages-- )
    {
        map(va, rights);
        va += PAGE;
    }
}

static void map_spread(u32 area, u32 part, u32 pages, u64 rights)
{
    u32 i;

    for ( i = 0; i < pages; i++ )
        map(area + SPREAD(part, i) * PAGE, rights);
}

static void make_area(u32 area)
{
    u32 i;

    map_spread(area, BOTH, BOTH_PAGES, WRITE);
    map_range(area + TURNED * PAGE, TURNED_PAGES, WRITE);
    map_spread(area, SELF, SELF_PAGES, WRITE);
    map_spread(area, SHARED, SHARED_PAGES, WRITE);
    map_spread(area, SWAPPED, SWAPPED_PAGES, WRITE);
    map_spread(area, ALIAS, ALIASES, WRITE | NX);
    /* The same frames again, to be run and not written. */
    for ( i = 0; i < ALIASES; i++ )
        *entry_of(area + SPREAD(SECOND, i) * PAGE) = *entry_of(area + SPREAD(ALIAS, i) * PAGE) & ~(WRITE | NX);
}

static void set_directory(u32 va, u64 *table)
{
    low_directory[va >> 21] = physical(table) | PRESENT | WRITE | USER | SEEN;
}

static void make_spaces(void)
{
    u32 i, t;
    u8 *parameters;

    set_directory(CODE, code_table);
    set_directory(PARAMETERS, parameters_table);
    set_directory(STATUS, log_table);
    for ( t = 0; t < PROCESSORS; t++ )
        set_directory(AREA + t * AREA_STEP, area_table[t]);
    top_directory[511] = physical(top_table) | PRESENT | WRITE | USER | SEEN;
    for ( i = 0; i < (u32)(program_end - program_start); i += PAGE )
        *entry_of(CODE + i) = (PROGRAM_AT + i) | PRESENT | USER | SEEN;
    parameters = map(PARAMETERS, WRITE | NX);
    describe_process("exerciser.exe", map(PEB, WRITE | NX), parameters, CODE);
    describe_allocation(CODE, (program_end - program_start + PAGE - 1) / PAGE);
    string(parameters, 0x38, 0x200, "C:\\lab\\exerciser.exe");
    string(parameters, 0x40, 0x400, "exerciser.exe");
    map(STATUS, WRITE | NX);
    for ( t = 0; t < PROCESSORS; t++ )
    {
        describe_thread(&processors[t], 78 + t);
        map(TEB - t * PAGE, WRITE | NX);
        map_range(STATUS + STACKS + t * PAGE * 2, 2, WRITE | NX);
        map_range(STATUS + LOGS + t * LOG_PAGES * PAGE, LOG_PAGES, WRITE | NX);
        make_area(AREA + t * AREA_STEP);
    }
}

/* The hypercall page, where CPUID says (public/arch-x86/cpuid.h). */
static void find_hypercalls(void)
{
    u32 eax = 0x40000000u, ebx, ecx = 0, edx;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    eax = 0x40000002u;
    ecx = 0;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    __asm__ volatile("wrmsr" : : "c"(ebx), "a"(physical(hypercall_page)), "d"(0) : "memory");
}

/* The monitor's hypercall is the hardware domain's: command 0 would answer anyone who may ask. */
static void ask_monitor(void)
{
    static u32 answer[16];
    long rc = hypercall(43, 0, (u32)answer, 0);

    if ( rc < 0 && !answer[0] )
        return;
    say_number("guest: the monitor answers a guest: ", rc);
    say("\n");
    halt();
}

static void run_program(u32 t)
{
    u32 stack = STATUS + STACKS + (t + 1) * PAGE * 2 - 16;

    start_processor(&processors[t], TEB - t * PAGE);
    load_cr3(idle_pdpt);
    load_cr3(process_pdpt);
    *(volatile u32 *)(stack + 4) = t;
    enter_program((u32)exercise, stack);
}

/* Where the second processor begins. */
static void second_main(void)
{
    run_program(1);
}

/* VCPUOP_initialise with a struct vcpu_hvm_context, then VCPUOP_up (public/vcpu.h, public/hvm/hvm_vcpu.h). */
static void start_second(void)
{
    static u32 context[64]; /* more than it needs: the 64-bit form is larger */
    u32 *at = context + 2;
    u16 *rights;
    long rc;

    at[4] = (u32)processors[1].stack + sizeof(processors[1].stack) - 16;
    at[8] = (u32)second_main;
    at[9] = 2;
    at[10] = 0x80010001u; /* PG, WP, PE */
    at[11] = physical(idle_pdpt);
    at[12] = 0x20; /* PAE */
    at[14] = 0x800; /* NXE */
    at[21] = at[22] = at[23] = at[24] = 0xffffffffu;
    at[25] = 0x67;
    rights = (u16 *)(at + 26);
    rights[0] = 0xc9b;
    rights[1] = rights[2] = rights[3] = 0xc93;
    rights[4] = 0x8b;
    rc = hypercall(24, 0, 1, (u32)context);
    if ( !rc )
        rc = hypercall(24, 1, 1, 0);
    if ( rc )
    {
        say_number("guest: the second processor does not start: ", rc);
        say("\n");
        halt();
    }
}

void page_fault(u32 va, u32 error_code, u32 eip)
{
    unexpected_fault(va, error_code, eip);
}

static void protect(u32 va, u32 pages, u32 rights)
{
    u32 i;

    for ( i = 0; i < pages; i++ )
    {
        u64 *entry = entry_of(va + i * PAGE);
        u64 value = *entry & ~(WRITE | NX);

        *entry = value | (rights & MAY_WRITE ? WRITE : 0) | (rights & MAY_RUN ? 0 : NX);
        if ( !(rights & RELOAD) )
            flush_page(va + i * PAGE);
    }
    if ( rights & RELOAD )
        load_cr3(process_pdpt);
}

/* One line, whole: the other processor may speak as well. */
static void tell(const struct registers *registers)
{
    static u8 taken;
    u8 mine = 1;

    for ( ;; )
    {
        __asm__ volatile("xchgb %0, %1" : "+q"(mine), "+m"(taken) : : "memory");
        if ( !mine )
            break;
        hypercall(29, 0, 0, 0); /* that the other comes to its end on a machine of one processor, too */
    }
    say_number("guest: done ", registers->ebx);
    say_number(" ordinary ", registers->ecx);
    say_number(" exercises ", registers->edx);
    say("\n");
    __asm__ volatile("" : : : "memory");
    *(volatile u8 *)&taken = 0;
}

void service(struct registers *registers)
{
    u64 *one, *other, entry;

    switch ( registers->eax )
    {
    case PROTECT:
        protect(registers->ebx, registers->ecx, registers->edx);
        return;
    case SWAP:
        one = entry_of(registers->ebx);
        other = entry_of(registers->ecx);
        entry = *one;
        *one = *other;
        *other = entry;
        flush_page(registers->ebx);
        flush_page(registers->ecx);
        return;
    case SWITCH:
        load_cr3(idle_pdpt);
        load_cr3(process_pdpt);
        return;
    case YIELD:
        hypercall(29, 0, 0, 0);
        return;
    default:
        tell(registers);
        for ( ;; )
            __asm__ volatile("sti; hlt");
    }
}

void guest_main(void)
{
    make_spaces();
    /* A jump into nothing shall not slide back to the beginning. */
    low_directory[0] = low_directory[1] = 0;
    load_cr3(process_pdpt);
    find_hypercalls();
    ask_monitor();
    start_second();
    run_program(0);
}
