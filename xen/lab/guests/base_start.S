/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The beginning of a guest of the lab, and its gates. Linked at 0x80100000 and loaded at 0x100000; entered there
 * by Xen's PVH start: 32-bit protected mode, no paging.
 */
#include "start.h"

    .section .note.Xen, "a", @note
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start - 0x80000000

    .text
    .globl start
start:
    begin process_pdpt, (processors + 16384) /* the first one's stack */

page_fault_gate:
    .globl page_fault_gate
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

    .globl service_gate
service_gate:
    pusha
    push %esp
    call service
    add $4, %esp
    popa
    iret

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

    /* The first 8 MiB at 0x80000000 for good, half of them low for the beginning. */
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
    .quad 0x83, 0x200083, 0x400083, 0x600083
    .align 4096
