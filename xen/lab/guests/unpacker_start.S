/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's beginning, its gates, and the program it runs in ring 3. Linked at 0x80100000 and loaded at
 * 0x100000; entered there by Xen's PVH start: 32-bit protected mode, no paging.
 */
#define PHYSICAL(symbol) ((symbol) - 0x80000000)

    .section .note.Xen, "a", @note
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start - 0x80000000

    .text
    .globl start
start:
    cli
    cld
    lgdt PHYSICAL(boot_gdt_pointer)
    ljmp $8, $PHYSICAL(1f)
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $PHYSICAL(process_pdpt), %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax /* PAE */
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x800, %eax /* NXE */
    wrmsr
    mov %cr0, %eax
    or $0x80010000, %eax /* PG, WP */
    mov %eax, %cr0
    mov $2f, %eax
    jmp *%eax
2:  mov $kernel_stack + 16384, %esp
    call guest_main
3:  cli
    hlt
    jmp 3b

    .globl page_fault_gate
page_fault_gate:
    pusha
    mov %cr2, %eax
    push 36(%esp) /* EIP */
    push 36(%esp) /* error code */
    push %eax
    call page_fault
    add $12, %esp
    popa
    add $4, %esp
    iret

    .globl out_gate
out_gate:
    call program_ended
    jmp 3b

    .globl wrong_gate
wrong_gate:
    call wrong_exception
    jmp 3b

    /* enter_program(eip, esp) */
    .globl enter_program
enter_program:
    mov 4(%esp), %ecx
    mov 8(%esp), %edx
    mov $0x23, %eax
    mov %eax, %ds
    mov %eax, %es
    mov $0x3b, %eax
    mov %eax, %fs
    pushl $0x23
    pushl %edx
    pushl $2
    pushl $0x1b
    pushl %ecx
    iret

    .data
    .align 8
boot_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
    .word 23
    .long PHYSICAL(boot_gdt)

    /* The first 4 MiB, low for the beginning and at 0x80000000 for good. */
    .align 4096
    .globl process_pdpt, idle_pdpt, low_directory, top_directory
process_pdpt:
    .long PHYSICAL(low_directory) + 1, 0
    .long PHYSICAL(top_directory) + 1, 0
    .long PHYSICAL(kernel_directory) + 1, 0
    .long 0, 0
    .align 4096
idle_pdpt:
    .quad 0, 0
    .long PHYSICAL(kernel_directory) + 1, 0
    .long 0, 0
    .align 4096
low_directory:
    .quad 0x83, 0x200083
    .align 4096
top_directory:
    .skip 4096
kernel_directory:
    .quad 0x83, 0x200083
    .align 4096

/*
 * The program, put at 0x400000: a stub that unpacks what lies at 0x410000 to 0x401000 and jumps there. Nothing in
 * it names its own address but by these constants.
 */
    .section .rodata
    .globl stub, stub_end, payload, payload_end
stub:
    mov $0x410000, %esi
    mov $0x401000, %edi
    mov $payload_end - payload, %ecx
1:  lodsb
    xor $0x5a, %al
    stosb
    loop 1b
    mov $0x401000, %eax
    jmp *%eax
stub_end:

/* What is unpacked: a page of code, and a page of data behind it that is never run. */
payload:
    /* A routine in memory that may not be run, as programs without NX_COMPAT have it. */
    mov $0x420000, %edi
    movb $0xc3, (%edi)
    call *%edi
    /* It rewrites a part of its own page and goes on there. */
    movl $0x01b8c031, 0x401800 /* xor eax, eax; mov eax, 1 … */
    movl $0xcd000000, 0x401804 /* … int … */
    movb $0x2e, 0x401808
    mov $0x401800, %eax
    jmp *%eax
    .org payload + 0x1000
    .ascii "UMBRA-LAB-PAYLOAD: only what is unpacked has this"
    .org payload + 0x2000
payload_end:
