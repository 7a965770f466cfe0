/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a guest of the lab begins, for its assembly: entered by Xen's PVH start in 32-bit protected mode without paging,
 * it goes on with PAE, NX and WP by its own tables, and to guest_main. `pdpt` and `stack` are symbols of the guest, which
 * has boot_gdt_pointer, too.
 */
#define PHYSICAL(symbol) ((symbol) - 0x80000000)

    .macro begin pdpt, stack
    cli
    cld
    lgdt PHYSICAL(boot_gdt_pointer)
    ljmp $8, $PHYSICAL(1f)
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $PHYSICAL(\pdpt), %eax
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
2:  mov $\stack, %esp
    call guest_main
3:  cli
    hlt
    jmp 3b
    .endm
