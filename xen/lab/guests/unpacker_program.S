/* SPDX-License-Identifier: Apache-2.0 */
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
