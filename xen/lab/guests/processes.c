/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel of the Windows-shaped guest: its boot, its objects, its processes and threads. */
#include "processes.h"

#define MAX_PROCESSES 8u

/* Windows 7 SP1 x86. */
#define KPCR_THREAD 0x124
#define THREAD_ATTACHED 0x50
#define THREAD_PROCESS 0x150
#define THREAD_CID 0x22c
#define PROCESS_CR3 0x18
#define PROCESS_CREATED 0xa0
#define PROCESS_EXITED 0xa8
#define PROCESS_PID 0xb4
#define PROCESS_LINKS 0xb8
#define PROCESS_PARENT 0x140
#define PROCESS_NAME 0x16c
#define PROCESS_PEB 0x1a8
#define PROCESS_FLAGS 0x270
#define FLAG_EXITING 4
#define PEB_IMAGE 0x8
#define PEB_PARAMETERS 0x10

static u8 kpcr[PAGE] __attribute__((aligned(4096)));
static u64 gdt[8], idt[256];
static u32 tss[26];
static struct process process[MAX_PROCESSES];
static u32 processes_used;
static u32 list_head[2]; /* PsActiveProcessHead */
static u32 clock;

void put(void *base, u32 offset, u32 value)
{
    *(volatile u32 *)((u8 *)base + offset) = value;
}

u32 get(const void *base, u32 offset)
{
    return *(const volatile u32 *)((const u8 *)base + offset);
}

static u32 physical(const void *address)
{
    return (u32)address - KERNEL;
}

static void load_cr3(const struct process *of)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(physical(of->pdpt)) : "memory");
}

static void descriptor(u32 index, u32 base, u32 limit, u32 flags)
{
    gdt[index] = ((u64)(base >> 24) << 56) | ((u64)(flags >> 8) << 52) | ((u64)(limit >> 16) << 48) |
                 ((u64)(flags & 0xff) << 40) | ((u64)(base & 0xffffff) << 16) | (limit & 0xffff);
}

static void gate(u32 vector, void (*to)(void))
{
    u32 address = (u32)to;

    idt[vector] = ((u64)(address >> 16) << 48) | (0xee00ull << 32) | (KERNEL_CODE << 16) | (address & 0xffff);
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
    tss[2] = KERNEL_DATA;
    __asm__ volatile("ltr %w0" : : "r"(TASK));
    for ( i = 0; i < 256; i++ )
        gate(i, wrong_gate);
    gate(14, page_fault_gate);
    gate(0x2e, system_call_gate);
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (u32)idt;
    __asm__ volatile("lidt %0" : : "m"(pointer));
    /* As in Windows: the kernel's data segments are the programs' too. */
    __asm__ volatile("mov %w0, %%ds; mov %w0, %%es" : : "r"(USER_DATA) : "memory");
}

static struct thread *current_thread(void)
{
    return (struct thread *)get(kpcr, KPCR_THREAD);
}

struct process *current_process(void)
{
    return current_thread()->process;
}

struct process *find_process(u32 pid)
{
    u32 i;

    for ( i = 0; pid && i < processes_used; i++ )
        if ( get(process[i].object, PROCESS_PID) == pid )
            return &process[i];
    return current_process();
}

/* KeStackAttachProcess and its opposite: the thread works in another process's memory. */
void set_attached(struct process *to)
{
    put(current_thread()->object, THREAD_ATTACHED, (u32)to->object);
    load_cr3(to);
}

/* UNICODE_STRING at `offset` of the parameters, its characters at `at`. */
static void string(u8 *parameters, u32 offset, u32 at, const char *prefix, const char *name)
{
    const char *parts[2] = { prefix, name };
    u32 units = 0, i, j;

    for ( i = 0; i < 2; i++ )
        for ( j = 0; parts[i][j]; j++ )
            *(volatile u16 *)(parameters + at + units++ * 2) = (u8)parts[i][j];
    put(parameters, offset, units * 2 | units << 17);
    put(parameters, offset + 4, PARAMETERS + at);
}

static void make_user_structures(struct process *p, const char *name)
{
    u8 *parameters = map_page(p, PARAMETERS, WRITE | NX), *peb = map_page(p, PEB, WRITE | NX);
    u8 *teb = map_page(p, TEB, WRITE | NX);

    add_vad(p, PARAMETERS, 1);
    add_vad(p, TEB, 2);
    put(teb, 0x18, TEB);
    put(teb, 0x30, PEB);
    put(peb, PEB_IMAGE, IMAGE);
    put(peb, PEB_PARAMETERS, PARAMETERS);
    put(parameters, 0x8, 1);
    string(parameters, 0x38, 0x200, "C:\\lab\\", name);
    string(parameters, 0x40, 0x400, name, " -x");
    put(p->object, PROCESS_PEB, PEB);
}

/* EPROCESS and ETHREAD of a process with one thread, last in the list of processes. */
static struct process *make_objects(const char *name, u32 pid, u32 parent)
{
    struct process *p = &process[processes_used++];
    u32 i, links = (u32)p->object + PROCESS_LINKS, last = list_head[1];
    void *thread = p->thread.object;

    p->thread.process = p;
    put(thread, THREAD_ATTACHED, (u32)p->object);
    put(thread, THREAD_PROCESS, (u32)p->object);
    put(thread, THREAD_CID, pid);
    put(thread, THREAD_CID + 4, pid + 4);
    put(p->object, PROCESS_CR3, physical(p->pdpt));
    put(p->object, PROCESS_CREATED, ++clock);
    put(p->object, PROCESS_PID, pid);
    put(p->object, PROCESS_PARENT, parent);
    for ( i = 0; i < 14 && name[i]; i++ )
        p->object[PROCESS_NAME + i] = name[i];
    put(p->object, PROCESS_LINKS, (u32)list_head);
    put(p->object, PROCESS_LINKS + 4, last);
    put((void *)last, 0, links);
    list_head[1] = links;
    p->pdpt[2] = physical(kernel_directory) | PRESENT;
    return p;
}

struct process *create_process(u32 number, u32 parent)
{
    const struct program *program = &programs[number];
    struct process *p;
    struct trap_frame *frame;
    u32 *stack, i;

    if ( processes_used == MAX_PROCESSES )
        halt();
    p = make_objects(program->name, 1000 + processes_used * 12, parent);
    for ( i = 0; i < 2; i++ )
    {
        u32 directory = allocate_frame();

        p->directory[i] = frame_address(directory);
        p->pdpt[i] = directory | PRESENT;
    }
    p->heap = HEAP;
    make_user_structures(p, program->name);
    make_program(p, program);
    map_page(p, STACK, WRITE | NX);
    add_vad(p, STACK, 1);

    frame = (struct trap_frame *)(p->thread.stack + sizeof(p->thread.stack)) - 1;
    frame->fs = TEB_SELECTOR;
    frame->eip = CODE + ((u8 *)program->entry - program_code);
    frame->cs = USER_CODE;
    frame->eflags = 2;
    frame->esp = STACK + PAGE - 16;
    frame->ss = USER_DATA;
    stack = (u32 *)frame;
    *--stack = (u32)thread_start;
    stack -= 4; /* what switch_stacks pops */
    p->thread.kernel_esp = (u32)stack;
    p->thread.ready = true;
    return p;
}

/* The next thread in turn runs; process 0, the idle one, only when no other can. */
void yield(void)
{
    struct thread *old = current_thread(), *new = &process[0].thread;
    u32 i, at = old->process - process;

    for ( i = 0; i < processes_used; i++ )
    {
        at = at + 1 == processes_used ? 1 : at + 1;
        if ( process[at].thread.ready )
        {
            new = &process[at].thread;
            break;
        }
    }
    if ( new == old )
        return;
    put(kpcr, KPCR_THREAD, (u32)new->object);
    tss[1] = (u32)new->stack + sizeof(new->stack);
    load_cr3(new->process);
    descriptor(7, TEB, 0xfff, 0x4f3);
    switch_stacks(&old->kernel_esp, new->kernel_esp);
}

/* The process ends as a Windows process does: flag and time, its memory, then never again. */
static void terminate(void)
{
    struct process *p = current_process();

    put(p->object, PROCESS_FLAGS, get(p->object, PROCESS_FLAGS) | FLAG_EXITING);
    put(p->object, PROCESS_EXITED, ++clock);
    free_everything(p);
    p->thread.ready = false;
    yield();
}

/* A copy into another process, a page at a time through the kernel, as MmCopyVirtualMemory does. */
static void write_memory(struct process *to, u32 target, u32 source, u32 length)
{
    static u8 between[PAGE];

    while ( length )
    {
        u32 part = length < PAGE ? length : PAGE;

        copy_bytes(between, (void *)source, part);
        set_attached(to);
        copy_bytes((void *)target, between, part);
        set_attached(current_process());
        target += part;
        source += part;
        length -= part;
    }
}

/* Number in EAX, arguments where EDX points to. The first argument names a process, 0 the caller's own. */
void system_call(struct trap_frame *frame)
{
    u32 number = frame->eax, argument[4];
    struct process *own = current_process(), *p;

    copy_bytes(argument, (void *)frame->edx, sizeof(argument));
    p = find_process(argument[0]);
    if ( p != own )
        set_attached(p);
    switch ( number )
    {
    case 0: /* NtYieldExecution */
        yield();
        break;
    case 1: /* NtAllocateVirtualMemory(process, base or 0, pages, protection) */
        frame->eax = allocate_memory(p, argument[1], argument[2], rights_of(argument[3]));
        break;
    case 2: /* NtProtectVirtualMemory(process, base, pages, protection) */
        protect_memory(p, argument[1], argument[2], rights_of(argument[3]));
        break;
    case 3: /* NtFreeVirtualMemory(process, base) */
        free_memory(p, argument[1]);
        break;
    case 4: /* NtMapViewOfSection(process, memory that is mapped again, pages, protection) */
        frame->eax = map_view(p, argument[1], argument[2], rights_of(argument[3]));
        break;
    case 5: /* NtWriteVirtualMemory(process, target, source, length) */
        set_attached(own);
        write_memory(p, argument[1], argument[2], argument[3]);
        break;
    case 6: /* NtSetContextThread(process, EIP) */
        ((struct trap_frame *)(p->thread.stack + sizeof(p->thread.stack)) - 1)->eip = argument[1];
        break;
    case 7: /* NtCreateUserProcess(0, program) */
        frame->eax = get(create_process(argument[1], get(own->object, PROCESS_PID))->object, PROCESS_PID);
        break;
    case 8: /* NtTerminateProcess */
        terminate();
        break;
    default:
        say_number("guest: no system call ", number);
        halt();
    }
    if ( p != own )
        set_attached(own);
}

/* A program without NX_COMPAT may run what it has: the page becomes executable. */
void page_fault(struct trap_frame *frame, u32 va)
{
    if ( (frame->error_code & 0x15) == 0x15 && va < KERNEL )
    {
        *entry_of(current_process(), va) &= ~NX;
        __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
        return;
    }
    say_number("guest: page fault at ", va);
    say_number(", error code ", frame->error_code);
    say_number(", EIP ", frame->eip);
    say("\n");
    halt();
}

void wrong_exception(struct trap_frame *frame)
{
    say_number("guest: unexpected exception, EIP or error code ", frame->eip);
    say("\n");
    halt();
}

void guest_main(void)
{
    list_head[0] = list_head[1] = (u32)list_head;
    make_descriptors();
    make_objects("System", 4, 0);
    put(kpcr, KPCR_THREAD, (u32)process[0].thread.object);
    load_cr3(&process[0]);
    create_process(0, 4);
    create_process(1, 4);
    create_process(2, 4);
    say("guest: programs start\n");
    yield();
    say("guest: all programs ended\n");
    halt();
}
