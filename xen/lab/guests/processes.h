/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Windows-shaped guest: 32-bit PAE with NX, several processes with address spaces of their own, kernel objects
 * at Windows 7 SP1's offsets. Nothing in it depends on time: no interrupt is ever on, threads switch only when
 * they ask for it, so that each world that runs it sees the same order of everything.
 */
#ifndef PROCESSES_H
#define PROCESSES_H

typedef _Bool bool;
#define true 1
#define false 0
#include "guest.h"

/* Guest-physical memory that is handed out; fixed, so that frame numbers do not depend on the compiler. */
#define POOL_START 0x400000u
#define POOL_END 0x1000000u

/* The frame of an entry of a page table. */
#define FRAME 0x000ffffffffff000ull

/* Where a process has what; processes_start.S and processes_programs.S know these too. */
#define PARAMETERS 0x10000u
#define STACK 0x12f000u
#define IMAGE 0x400000u
#define IMAGE_PAGES 0x80u
#define CODE 0x401000u
#define CODE_PAGES 2u
#define DATA 0x408000u
#define PACKED 0x410000u
#define PACKED_PAGES 64u
#define IN_PLACE 0x460000u
#define IN_PLACE_PAGES 32u
#define HEAP 0xa00000u
#define TEB 0x7ffde000u
#define PEB 0x7ffdf000u
#define KEY 0x5ac3a53cu

/* Selectors. */
#define KERNEL_CODE 0x08u
#define KERNEL_DATA 0x10u
#define USER_CODE 0x1bu
#define USER_DATA 0x23u
#define TASK 0x28u
#define KPCR_SELECTOR 0x30u
#define TEB_SELECTOR 0x3bu

/* MMADDRESS_NODE as Windows 7 has it. */
struct vad {
    struct vad *parent, *left, *right;
    u32 start, end; /* pages */
};

struct process;

struct thread {
    u8 object[0x2b8]; /* ETHREAD */
    struct process *process;
    u32 kernel_esp;
    bool ready;
    u8 stack[4096] __attribute__((aligned(16)));
};

struct process {
    u8 object[0x2c0]; /* EPROCESS */
    u64 pdpt[4] __attribute__((aligned(32)));
    u64 *directory[2]; /* of the user half */
    struct thread thread;
    struct vad vads[24];
    u32 vads_used;
    u32 heap; /* where the next allocation without an address goes */
};

/* What the gates in processes_start.S push. */
struct trap_frame {
    u32 fs, edi, esi, ebp, unused, ebx, edx, ecx, eax;
    u32 error_code, eip, cs, eflags, esp, ss;
};

/* A program that can be started. */
struct program {
    const char *name;
    u32 seed; /* of its payload */
    void *entry;
};

/* processes_start.S */
extern u64 boot_pdpt[], kernel_directory[];
extern void page_fault_gate(void), system_call_gate(void), wrong_gate(void), thread_start(void);
void switch_stacks(u32 *old, u32 new);
void copy_bytes(void *to, const void *from, u32 length);

/* processes_programs.S */
extern u8 program_code[], program_code_end[], nested_stage[], nested_stage_end[];
extern const struct program programs[];

/* processes.c: boot, console, processes and threads */
struct process *create_process(u32 program, u32 parent);
struct process *find_process(u32 pid);
void put(void *base, u32 offset, u32 value);
u32 get(const void *base, u32 offset);
void set_attached(struct process *process);
struct process *current_process(void);
void yield(void);

/* processes_memory.c */
u32 allocate_frame(void);
void *frame_address(u32 physical);
u64 *entry_of(struct process *process, u32 va);
void *map_page(struct process *process, u32 va, u64 rights);
void add_vad(struct process *process, u32 base, u32 pages);
void make_program(struct process *process, const struct program *program);
u32 allocate_memory(struct process *process, u32 base, u32 pages, u64 rights);
void protect_memory(struct process *process, u32 base, u32 pages, u64 rights);
void free_memory(struct process *process, u32 base);
u32 map_view(struct process *process, u32 from, u32 pages, u64 rights);
void free_everything(struct process *process);
u64 rights_of(u32 protection);

#endif
