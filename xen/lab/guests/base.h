/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the lab's guests share: 32 bits, PAE and NX, the kernel at 0x80000000, and as much of Windows 7's
 * structures as names a process. They speak on port 0xe9, Xen's debug port.
 */
#ifndef BASE_H
#define BASE_H

#include "guest.h"

/* Where the process has what Windows gives each; the guest maps these pages. */
#define PARAMETERS 0x600000u
#define TEB 0x7ffde000u
#define PEB 0x7ffdf000u

/* A virtual processor: its descriptors, its stack for ring 0, and what Windows keeps of it and its thread. */
struct processor {
    u8 stack[16384];
    u8 kpcr[PAGE];
    u8 thread[0x280];
    u64 gdt[8];
    u32 tss[26];
} __attribute__((aligned(4096)));

/* Registers of ring 3 at int 0x2e, as pusha leaves them. */
struct registers {
    u32 edi, esi, ebp, esp, ebx, edx, ecx, eax;
};

/* base_start.S */
extern u64 process_pdpt[], idle_pdpt[], low_directory[], top_directory[];
void enter_program(u32 eip, u32 esp) __attribute__((noreturn));

/* What each guest has of its own. */
extern struct processor processors[];
void guest_main(void);
void page_fault(u32 va, u32 error_code, u32 eip);
void service(struct registers *registers);

/* base.c */
/* The fault that nobody expects: says it and stops. */
void unexpected_fault(u32 va, u32 error_code, u32 eip) __attribute__((noreturn));
void wrong_exception(void);
u32 physical(const void *address);
void put(u8 *base, u32 offset, u32 value);
void load_cr3(const u64 *pdpt);
void flush_page(u32 va);
void copy(u8 *to, const u8 *from, u32 length);
/* Loads the processor's descriptors; `teb` is where its FS points in ring 3. */
void start_processor(struct processor *processor, u32 teb);
/* A UNICODE_STRING at `offset` of the parameters, its characters at `at`. */
void string(u8 *parameters, u32 offset, u32 at, const char *text);
/* Makes the process (number 77) with its image at `image`, and `thread` one of its own. */
void describe_process(const char *name, u8 *peb, u8 *parameters, u32 image);
void describe_thread(struct processor *processor, u32 number);
/* The only allocation that the process's tree tells. */
void describe_allocation(u32 base, u32 pages);
/* The process has ended, by its object. */
void process_exited(void);

#endif
