/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's processes run in ring 3, put at 0x401000 of each: the ways in which packers unpack. Nothing in
 * it names its own address. Addresses, keys and system calls are those of processes.h and processes.c.
 */
#define PACKED 0x410000
#define IN_PLACE 0x460000
#define IN_PLACE_PAGES 32
#define KEY 0x5ac3a53c
#define READWRITE 0x04
#define EXECUTE_READ 0x20
#define EXECUTE_READWRITE 0x40
#define NOTEPAD 1036
#define CHILD 3

    .macro sys number, a=$0, b=$0, c=$0, d=$0
    push \d
    push \c
    push \b
    push \a
    mov $\number, %eax
    mov %esp, %edx
    int $0x2e
    add $16, %esp
    .endm

    .macro yield
    sys 0
    .endm

    /* EBX: fresh memory. */
    .macro allocate pages, protection
    sys 1, $0, $0, $\pages, $\protection
    mov %eax, %ebx
    .endm

    /* Unpacks pages from the program's resource to `to`, and runs them there. */
    .macro unpack_to to, from, pages
    mov $PACKED + \from * 4096, %esi
    mov \to, %edi
    mov $\pages, %ecx
    call unpack
    .endm

    .macro run_at where, pages
    mov \where, %ebx
    mov $\pages, %ebp
    call run_pages
    .endm

    .macro copy_to_ebx from, to_end
    call 1f
1:  pop %esi
    add $\from - 1b, %esi
    mov %ebx, %edi
    mov $\to_end - \from, %ecx
    rep movsb
    .endm

    .section .rodata
    .globl program_code, program_code_end
program_code:

virus:
    call in_place
    yield
    call new_memory
    sys 7, $0, $CHILD
    call protection_flip
    yield
    call two_views
    yield
    call page_by_page
    yield
    call rounds
    yield
    call nested
    yield
    call self_modifying
    yield
    call own_page
    yield
    call crossing
    yield
    call not_executable
    yield
    call reuse
    yield
    call left_behind
    sys 8

virus2:
    call page_by_page
    yield
    call new_memory
    yield
    call inject
    yield
    call not_executable
    yield
    call self_modifying
    call left_behind
    sys 8

notepad:
    yield
    jmp notepad

child:
    call protection_flip
    yield
    call in_place
    call nested
    call left_behind
    sys 8

    /* ECX pages from ESI to EDI. */
unpack:
    shl $10, %ecx
1:  lodsl
    xor $KEY, %eax
    stosl
    loop 1b
    ret

    /* Runs each of EBP pages from EBX on; others get their turn every eighth page. */
run_pages:
    xor %edi, %edi
1:  call *%ebx
    add $4096, %ebx
    inc %edi
    test $7, %edi
    jnz 2f
    yield
2:  dec %ebp
    jnz 1b
    ret

    /* Where the packed program lies, as UPX does. */
in_place:
    mov $IN_PLACE, %esi
    mov $IN_PLACE, %edi
    mov $IN_PLACE_PAGES, %ecx
    call unpack
    run_at $IN_PLACE, IN_PLACE_PAGES
    ret

    /* Into memory that is asked for. */
new_memory:
    allocate 32, EXECUTE_READWRITE
    unpack_to %ebx, 0, 32
    run_at %ebx, 32
    ret

    /* Written while it cannot run, made executable then. */
protection_flip:
    allocate 32, READWRITE
    unpack_to %ebx, 0, 32
    sys 2, $0, %ebx, $32, $EXECUTE_READ
    run_at %ebx, 32
    ret

    /* Written through one view of the memory, run through another; and once more with other content. */
two_views:
    allocate 16, READWRITE
    sys 4, $0, %ebx, $16, $EXECUTE_READ
    push %eax
    unpack_to %ebx, 16, 16
    mov %ebx, %esi
    mov (%esp), %ebx
    mov $16, %ebp
    push %esi
    call run_pages
    pop %esi
    mov $16, %ecx
1:  incl 0x100(%esi)
    add $4096, %esi
    loop 1b
    pop %ebx
    mov $16, %ebp
    jmp run_pages

    /* Each page when it is needed. */
page_by_page:
    allocate 24, EXECUTE_READWRITE
    mov $24, %ebp
    mov $PACKED, %esi
    mov %ebx, %edi
1:  mov $1, %ecx
    call unpack
    call *%ebx
    add $4096, %ebx
    dec %ebp
    jnz 1b
    ret

    /* Decrypted, run and encrypted again, thirty times. */
rounds:
    allocate 1, EXECUTE_READWRITE
    mov $PACKED, %esi
    mov %ebx, %edi
    mov $1024, %ecx
    rep movsl
    mov $30, %ebp
1:  call crypt
    call *%ebx
    call crypt
    incl 0x200(%ebx)
    dec %ebp
    jnz 1b
    ret
crypt:
    mov %ebx, %esi
    mov %ebx, %edi
    mov $1, %ecx
    jmp unpack

    /* Eight layers of four pages, each unpacked by the one before. */
nested:
    allocate 32, EXECUTE_READWRITE
    mov %ebx, %edi
    mov $PACKED + 32 * 4096, %esi
    mov $8, %ebx
    .globl nested_stage, nested_stage_end
nested_stage:
    test %ebx, %ebx
    jz 2f
    dec %ebx
    push %edi
    mov $4096, %ecx
1:  lodsl
    xor $KEY, %eax
    stosl
    loop 1b
2:  ret
nested_stage_end:

    /* A loop that changes an instruction of its own, two hundred times. */
self_modifying:
    allocate 1, EXECUTE_READWRITE
    copy_to_ebx changing, changing_end
    jmp *%ebx
changing:
    mov $200, %ecx
1:  incl changed - changing(%ebx)
    .byte 0x05 /* add eax, … */
changed:
    .long 1
    loop 1b
    ret
changing_end:

    /* String instructions that write to the page they stand in, and code that goes on in what they wrote. */
own_page:
    allocate 1, EXECUTE_READWRITE
    copy_to_ebx filling, filling_end
    jmp *%ebx
filling:
    mov $8, %ebp
1:  lea 0x800(%ebx), %edi
    mov $64, %ecx
    mov %ebp, %eax
    rep stosl
    lea moved - filling(%ebx), %esi
    lea 0xc00(%ebx), %edi
    mov $moved_end - moved, %ecx
    rep movsb
    lea 0xc00(%ebx), %eax
    call *%eax
    dec %ebp
    jnz 1b
    ret
moved:
    mov $0x11223344, %eax
    ret
moved_end:
filling_end:

    /* An instruction that stands in two pages, both fresh. */
crossing:
    allocate 2, EXECUTE_READWRITE
    movb $0xb8, 0xffd(%ebx) /* mov eax, … */
    movl $0x44332211, 0xffe(%ebx)
    movb $0xc3, 0x1002(%ebx)
    lea 0xffd(%ebx), %eax
    jmp *%eax

    /* Memory that may not run, which the kernel lets a program without NX_COMPAT run all the same. */
not_executable:
    allocate 8, READWRITE
    unpack_to %ebx, 24, 8
    run_at %ebx, 8
    ret

    /* Memory that is freed, and its frames come back with other content. */
reuse:
    allocate 8, EXECUTE_READWRITE
    push %ebx
    unpack_to %ebx, 0, 8
    run_at %ebx, 8
    pop %ebx
    sys 3, $0, %ebx
    allocate 8, EXECUTE_READWRITE
    unpack_to %ebx, 8, 8
    run_at %ebx, 8
    ret

    /* Unpacked and never run. */
left_behind:
    allocate 24, EXECUTE_READWRITE
    unpack_to %ebx, 8, 24
    ret

    /* Into another process, whose thread is sent there. */
inject:
    allocate 16, READWRITE
    unpack_to %ebx, 0, 16
    copy_to_ebx injected, injected_end
    sys 1, $NOTEPAD, $0, $16, $EXECUTE_READWRITE
    mov %eax, %ebp
    sys 5, $NOTEPAD, %ebp, %ebx, $0x10000
    sys 6, $NOTEPAD, %ebp
    ret
injected:
    call 1f
1:  pop %ebx
    and $-4096, %ebx
    mov $15, %ebp
2:  add $4096, %ebx
    call *%ebx
    dec %ebp
    jnz 2b
    sys 8
injected_end:
program_code_end:

    .align 4
    .globl programs
programs:
    .long virus_name, 0x10000, virus
    .long virus2_name, 0x20000, virus2
    .long notepad_name, 0x30000, notepad
    .long child_name, 0x40000, child
virus_name:
    .asciz "virus.exe"
virus2_name:
    .asciz "virus2.exe"
notepad_name:
    .asciz "notepad.exe"
child_name:
    .asciz "svch0st.exe"
