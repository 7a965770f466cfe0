/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of a few pages for real Xen: 32-bit PAE with NX. It has as much of Windows 7's structures as names a
 * process (virus.exe, 77), and runs one program in ring 3 that unpacks code and jumps into it, makes memory
 * executable, and rewrites its own page. It speaks on port 0xe9, Xen's debug port.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define PAGE 4096u
#define KERNEL 0x80000000u
#define PRESENT 1ull
#define WRITE 2ull
#define USER 4ull
#define SEEN 0x60ull /* accessed and dirty */
#define NX (1ull << 63)

#define STUB 0x400000u
#define UNPACKED 0x401000u
#define PACKED 0x410000u
#define CLOSED 0x420000u
#define STACK 0x500000u
#define PARAMETERS 0x600000u
#define TEB 0x7ffde000u
#define PEB 0x7ffdf000u
#define USER_PAGES 32u

extern u64 process_pdpt[], idle_pdpt[], low_directory[], top_directory[];
extern u8 stub[], stub_end[], payload[], payload_end[];
extern void page_fault_gate(void), out_gate(void), wrong_gate(void);
extern void enter_program(u32 eip, u32 esp);

u8 kernel_stack[16384] __attribute__((aligned(4096)));
static u64 table[3][512] __attribute__((aligned(4096)));
static u8 frames[USER_PAGES][PAGE] __attribute__((aligned(4096)));
static u8 kpcr[PAGE] __attribute__((aligned(4096)));
static u8 thread[0x280], process[0x2c0], vad[0x20];
static u64 gdt[8], idt[256];
static u32 tss[26];
static u32 frames_used;

static void out(u8 byte)
{
    __asm__ volatile("outb %0, $0xe9" : : "a"(byte));
}

static void say(const char *text)
{
    while ( *text )
        out(*text++);
}

static void say_number(const char *what, u32 value)
{
    int i;

    say(what);
    for ( i = 28; i >= 0; i -= 4 )
        out("0123456789abcdef"[(value >> i) & 15]);
}

static void halt(void)
{
    for ( ;; )
        __asm__ volatile("cli; hlt");
}

static u32 physical(const void *address)
{
    return (u32)address - KERNEL;
}

static void put(u8 *base, u32 offset, u32 value)
{
    *(volatile u32 *)(base + offset) = value;
}

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

static void descriptor(u32 index, u32 base, u32 limit, u32 flags)
{
    gdt[index] = ((u64)(base >> 24) << 56) | ((u64)(flags >> 8) << 52) | ((u64)(limit >> 16) << 48) |
                 ((u64)(flags & 0xff) << 40) | ((u64)(base & 0xffffff) << 16) | (limit & 0xffff);
}

static void gate(u32 vector, void (*to)(void))
{
    u32 address = (u32)to;

    idt[vector] = ((u64)(address >> 16) << 48) | (0xee00ull << 32) | (8u << 16) | (address & 0xffff);
}

static void load_cr3(const u64 *pdpt)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(physical(pdpt)) : "memory");
}

/* UNICODE_STRING at `offset` of the parameters, its characters at `at`. */
static void string(u8 *parameters, u32 offset, u32 at, const char *text)
{
    u32 units = 0;

    for ( ; text[units]; units++ )
        *(volatile u16 *)(parameters + at + units * 2) = (u8)text[units];
    put(parameters, offset, units * 2 | units << 17);
    put(parameters, offset + 4, PARAMETERS + at);
}

static void make_structures(void)
{
    static const char name[] = "virus.exe";
    u8 *peb = map(PEB, WRITE | NX), *parameters = map(PARAMETERS, WRITE | NX);
    u32 i;

    map(TEB, WRITE | NX);
    put(kpcr, 0x124, (u32)thread);
    put(thread, 0x50, (u32)process);
    put(thread, 0x150, (u32)process);
    put(thread, 0x22c, 77);
    put(thread, 0x230, 78);
    put(process, 0x18, physical(process_pdpt));
    put(process, 0xa0, 1);
    put(process, 0xb4, 77);
    put(process, 0xb8, (u32)process + 0xb8);
    put(process, 0xbc, (u32)process + 0xb8);
    for ( i = 0; i < sizeof(name); i++ )
        process[0x16c + i] = name[i];
    put(process, 0x1a8, PEB);
    put(process, 0x278 + 8, (u32)vad);
    put(vad, 0xc, STUB / PAGE);
    put(vad, 0x10, STUB / PAGE + 3);
    put(peb, 0x8, STUB);
    put(peb, 0x10, PARAMETERS);
    put(parameters, 0x8, 1);
    string(parameters, 0x38, 0x200, "C:\\test\\virus.exe");
    string(parameters, 0x40, 0x400, "virus.exe -x");
}

static void make_program(void)
{
    u32 i, size = payload_end - payload;
    u8 *page = map(STUB, 0);

    for ( i = 0; i < (u32)(stub_end - stub); i++ )
        page[i] = stub[i];
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

static void make_descriptors(void)
{
    struct { u16 limit; u32 base; } __attribute__((packed)) pointer;
    u32 i;

    descriptor(1, 0, 0xfffff, 0xc9b);
    descriptor(2, 0, 0xfffff, 0xc93);
    descriptor(3, 0, 0xfffff, 0xcfb);
    descriptor(4, 0, 0xfffff, 0xcf3);
    descriptor(5, (u32)tss, sizeof(tss) - 1, 0x089);
    descriptor(6, (u32)kpcr, 0xfff, 0x493);
    descriptor(7, TEB, 0xfff, 0x4f3);
    pointer.limit = sizeof(gdt) - 1;
    pointer.base = (u32)gdt;
    __asm__ volatile("lgdt %0" : : "m"(pointer));
    tss[1] = (u32)kernel_stack + sizeof(kernel_stack);
    tss[2] = 0x10;
    __asm__ volatile("ltr %w0" : : "r"(0x28));
    for ( i = 0; i < 256; i++ )
        gate(i, wrong_gate);
    gate(14, page_fault_gate);
    gate(0x2e, out_gate);
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (u32)idt;
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

/* A program without NX_COMPAT may run what it has: the page becomes executable. */
void page_fault(u32 va, u32 error_code, u32 eip)
{
    if ( (error_code & 0x15) == 0x15 && va - CLOSED < PAGE )
    {
        *entry_of(va) &= ~NX;
        __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
        return;
    }
    say_number("guest: page fault at ", va);
    say_number(", error code ", error_code);
    say_number(", EIP ", eip);
    say("\n");
    halt();
}

void wrong_exception(void)
{
    say("guest: unexpected exception\n");
    halt();
}

/* The process ends as a Windows process does: flag and time, then its entries, then another address space. */
void program_ended(void)
{
    u32 i;

    put(process, 0x270, 4);
    put(process, 0xa8, 2);
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
    make_descriptors();
    load_cr3(idle_pdpt);
    load_cr3(process_pdpt);
    say("guest: program starts\n");
    enter_program(STUB, STACK + PAGE - 16);
}
