/* SPDX-License-Identifier: Apache-2.0 */
#include "base.h"

extern void page_fault_gate(void), service_gate(void), wrong_gate(void);

static u8 process[0x2c0], vad[0x20];
static u64 idt[256];

void unexpected_fault(u32 va, u32 error_code, u32 eip)
{
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

u32 physical(const void *address)
{
    return (u32)address - KERNEL;
}

void put(u8 *base, u32 offset, u32 value)
{
    *(volatile u32 *)(base + offset) = value;
}

void load_cr3(const u64 *pdpt)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(physical(pdpt)) : "memory");
}

void flush_page(u32 va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

void copy(u8 *to, const u8 *from, u32 length)
{
    while ( length-- )
        *to++ = *from++;
}

static void descriptor(u64 *gdt, u32 index, u32 base, u32 limit, u32 flags)
{
    gdt[index] = ((u64)(base >> 24) << 56) | ((u64)(flags >> 8) << 52) | ((u64)(limit >> 16) << 48) |
                 ((u64)(flags & 0xff) << 40) | ((u64)(base & 0xffffff) << 16) | (limit & 0xffff);
}

static void gate(u32 vector, void (*to)(void))
{
    u32 address = (u32)to;

    idt[vector] = ((u64)(address >> 16) << 48) | (0xee00ull << 32) | (8u << 16) | (address & 0xffff);
}

void start_processor(struct processor *processor, u32 teb)
{
    struct { u16 limit; u32 base; } __attribute__((packed)) pointer;
    u64 *gdt = processor->gdt;
    u32 i;

    descriptor(gdt, 1, 0, 0xfffff, 0xc9b);
    descriptor(gdt, 2, 0, 0xfffff, 0xc93);
    descriptor(gdt, 3, 0, 0xfffff, 0xcfb);
    descriptor(gdt, 4, 0, 0xfffff, 0xcf3);
    descriptor(gdt, 5, (u32)processor->tss, sizeof(processor->tss) - 1, 0x089);
    descriptor(gdt, 6, (u32)processor->kpcr, 0xfff, 0x493);
    descriptor(gdt, 7, teb, 0xfff, 0x4f3);
    pointer.limit = sizeof(processor->gdt) - 1;
    pointer.base = (u32)gdt;
    __asm__ volatile("lgdt %0" : : "m"(pointer));
    processor->tss[1] = (u32)processor->stack + sizeof(processor->stack);
    processor->tss[2] = 0x10;
    __asm__ volatile("ltr %w0" : : "r"(0x28));
    for ( i = 0; i < 256; i++ )
        gate(i, wrong_gate);
    gate(14, page_fault_gate);
    gate(0x2e, service_gate);
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (u32)idt;
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

void string(u8 *parameters, u32 offset, u32 at, const char *text)
{
    u32 units = 0;

    for ( ; text[units]; units++ )
        *(volatile u16 *)(parameters + at + units * 2) = (u8)text[units];
    put(parameters, offset, units * 2 | units << 17);
    put(parameters, offset + 4, PARAMETERS + at);
}

/* Offsets: Windows 7 SP1 x86 PAE, as in the monitor's profile. */
void describe_process(const char *name, u8 *peb, u8 *parameters, u32 image)
{
    u32 i;

    put(process, 0x18, physical(process_pdpt));
    put(process, 0xa0, 1);
    put(process, 0xb4, 77);
    put(process, 0xb8, (u32)process + 0xb8);
    put(process, 0xbc, (u32)process + 0xb8);
    for ( i = 0; i < 14 && name[i]; i++ )
        process[0x16c + i] = name[i];
    put(process, 0x1a8, PEB);
    put(peb, 0x8, image);
    put(peb, 0x10, PARAMETERS);
    put(parameters, 0x8, 1);
}

void describe_thread(struct processor *processor, u32 number)
{
    put(processor->kpcr, 0x124, (u32)processor->thread);
    put(processor->thread, 0x50, (u32)process);
    put(processor->thread, 0x150, (u32)process);
    put(processor->thread, 0x22c, 77);
    put(processor->thread, 0x230, number);
}

void describe_allocation(u32 base, u32 pages)
{
    put(process, 0x278 + 8, (u32)vad);
    put(vad, 0xc, base / PAGE);
    put(vad, 0x10, base / PAGE + pages - 1);
}

void process_exited(void)
{
    put(process, 0x270, 4);
    put(process, 0xa8, 2);
}
