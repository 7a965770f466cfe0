/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's beginning, its gates and what C cannot say. Entered as PVH guests are: 32-bit protected mode, no
 * paging. copy_bytes stands first, so that its address, which events may name, does not depend on the compiler.
 */
#include "start.h"

    .section .note.Xen, "a", @note
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start - 0x80000000

    .section .text.first, "ax"
    /* copy_bytes(to, from, length) */
    .globl copy_bytes
copy_bytes:
    push %esi
    push %edi
    mov 12(%esp), %edi
    mov 16(%esp), %esi
    mov 20(%esp), %ecx
    rep movsb
    pop %edi
    pop %esi
    ret

    .text
    .globl start
start:
    begin boot_pdpt, (boot_stack + 4096)

    .macro enter_kernel
    pusha
    push %fs
    mov $0x30, %eax
    mov %eax, %fs
    cld
    .endm

    .globl page_fault_gate
page_fault_gate:
    enter_kernel
    mov %esp, %ebx
    mov %cr2, %eax
    push %eax
    push %ebx
    call page_fault
    add $8, %esp
    jmp thread_start

    .globl system_call_gate
system_call_gate:
    push $0
    enter_kernel
    push %esp
    call system_call
    add $4, %esp

    /* Leaves the kernel by the trap frame at ESP. */
    .globl thread_start
thread_start:
    pop %fs
    popa
    add $4, %esp
    iret

    .globl wrong_gate
wrong_gate:
    push $0
    enter_kernel
    push %esp
    call wrong_exception

    /* switch_stacks(&old, new) */
    .globl switch_stacks
switch_stacks:
    mov 4(%esp), %eax
    mov 8(%esp), %edx
    push %ebx
    push %esi
    push %edi
    push %ebp
    mov %esp, (%eax)
    mov %edx, %esp
    pop %ebp
    pop %edi
    pop %esi
    pop %ebx
    ret

    .data
    .align 8
boot_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
    .word 23
    .long PHYSICAL(boot_gdt)

    /* The first 16 MiB, low for the beginning and at 0x80000000 for good. */
    .align 4096
    .globl boot_pdpt, kernel_directory
boot_pdpt:
    .long PHYSICAL(kernel_directory) + 1, 0
    .long 0, 0
    .long PHYSICAL(kernel_directory) + 1, 0
    .long 0, 0
    .align 4096
kernel_directory:
    .quad 0x0000e3, 0x2000e3, 0x4000e3, 0x6000e3, 0x8000e3, 0xa000e3, 0xc000e3, 0xe000e3
    .align 4096
boot_stack:
    .skip 4096
