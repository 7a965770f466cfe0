; SPDX-License-Identifier: Apache-2.0
; Exceptions of instructions, in ring 0 and 3: vectors, error codes, return addresses, flags, stacks.
%include "lib.inc"
main:
      TRY "divide"
      xor ecx,ecx
      div ecx
      ENDTRY
      TRY "divide overflow"
      mov edx,5
      mov ecx,2
      xor eax,eax
      idiv ecx
      ENDTRY
      TRY "int3"
      int3
      ENDTRY
      TRY "into without overflow"
      xor eax,eax
      into
      ENDTRY
      TRY "into"
      mov al,0x7f
      add al,1
      into
      ENDTRY
      TRY "bound"
      mov dword [SCRATCH],5
      mov dword [SCRATCH+4],9
      mov eax,10
      bound eax,[SCRATCH]
      ENDTRY
      TRY "bound within"
      mov eax,9
      bound eax,[SCRATCH]
      ENDTRY
      TRY "icebp"
      db 0xf1
      ENDTRY
      TRY "int 20"
      int 0x20
      ENDTRY
      TRY "int beyond the table"
      int 0x77
      ENDTRY
      TRY "ud2"
      ud2
      ENDTRY
; Encodings that are no instruction, and LOCK where it must not be.
%macro BYTES 2+
      TRY %1
      db %2
      ENDTRY
%endmacro
      mov ebx,SCRATCH
      BYTES "mov cs", 0x8e,0xc8
      BYTES "mov sreg 6", 0x8e,0xf0
      BYTES "store sreg 7", 0x8c,0xf8
      BYTES "lea register", 0x8d,0xc0
      BYTES "les register", 0xc4,0xc0
      BYTES "bound register", 0x62,0xc0
      BYTES "jmp far register", 0xff,0xe8
      BYTES "call far register", 0xff,0xd8
      BYTES "ff /7", 0xff,0xf8
      BYTES "fe /2", 0xfe,0xd0
      BYTES "8f /1", 0x8f,0xc8
      BYTES "c6 /1", 0xc6,0xc8,0
      BYTES "0f ff", 0x0f,0xff,0xc0
      BYTES "0f b9", 0x0f,0xb9,0xc0
      BYTES "0f 04", 0x0f,0x04
      BYTES "0f 0a", 0x0f,0x0a
      BYTES "0f 36", 0x0f,0x36
      BYTES "0f 00 /6", 0x0f,0x00,0xf0
      BYTES "0f 00 /7", 0x0f,0x00,0xf8
      BYTES "0f 01 /5", 0x0f,0x01,0xe8
      BYTES "sgdt register", 0x0f,0x01,0xc0+6
      BYTES "0f ba /3", 0x0f,0xba,0xd8,0
      BYTES "cmpxchg8b register", 0x0f,0xc7,0xc8
      BYTES "0f c7 /0", 0x0f,0xc7,0x03
      BYTES "mov cr1", 0x0f,0x20,0xc8
      BYTES "mov to cr1", 0x0f,0x22,0xc8
      BYTES "mov cr5", 0x0f,0x20,0xe8
      BYTES "mov cr7", 0x0f,0x20,0xf8
      BYTES "rsm", 0x0f,0xaa
      BYTES "syscall", 0x0f,0x05
      BYTES "sysret", 0x0f,0x07
      BYTES "lock nop", 0xf0,0x90
      BYTES "lock add register", 0xf0,0x01,0xc0
      BYTES "lock add memory", 0xf0,0x01,0x03
      BYTES "lock add from memory", 0xf0,0x03,0x03
      BYTES "lock cmp", 0xf0,0x39,0x03
      BYTES "lock mov", 0xf0,0x89,0x03
      BYTES "lock xchg", 0xf0,0x87,0x03
      BYTES "lock xchg register", 0xf0,0x87,0xc0
      BYTES "lock not", 0xf0,0xf7,0x13
      BYTES "lock neg", 0xf0,0xf7,0x1b
      BYTES "lock test", 0xf0,0xf7,0x03,0,0,0,0
      BYTES "lock inc", 0xf0,0xff,0x03
      BYTES "lock push", 0xf0,0xff,0x33
      BYTES "lock bt", 0xf0,0x0f,0xba,0x23,1
      BYTES "lock bts", 0xf0,0x0f,0xba,0x2b,1
      BYTES "lock bts register", 0xf0,0x0f,0xab,0xc0
      BYTES "lock btc", 0xf0,0x0f,0xbb,0x03
      BYTES "lock xadd", 0xf0,0x0f,0xc1,0x03
      BYTES "lock cmpxchg", 0xf0,0x0f,0xb1,0x03
      BYTES "lock cmpxchg8b", 0xf0,0x0f,0xc7,0x0b
      BYTES "lock movs", 0xf0,0xa4
      BYTES "lock jmp", 0xf0,0xeb,0
; Length: prefixes count, fifteen bytes go, sixteen do not.
      BYTES "fourteen prefixes", 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90
      BYTES "fifteen prefixes", 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90
      BYTES "fifteen bytes", 0x3e,0x3e,0x3e,0x3e,0x3e,0x81,0x05,0,0,0x30,0,1,0,0,0
      BYTES "sixteen bytes", 0x3e,0x3e,0x3e,0x3e,0x3e,0x3e,0x81,0x05,0,0,0x30,0,1,0,0,0
; Prefixes in any order.
      BYTES "66 3e lock add", 0x66,0x3e,0xf0,0x01,0x03
      BYTES "lock 3e 66 add", 0xf0,0x3e,0x66,0x01,0x03
      BYTES "3e lock 66 add", 0x3e,0xf0,0x66,0x01,0x03
      mov dword [SCRATCH],0x11223344
      TRY "rep 66 stos"
      mov edi,SCRATCH
      mov ecx,3
      mov eax,0x55667788
      db 0xf3,0x66,0xab
      ENDTRY
      VALUE "rep 66 stos", [SCRATCH+4]
      TRY "66 repne stos"
      mov edi,SCRATCH
      mov ecx,3
      mov eax,0x99aabbcc
      db 0x66,0xf2,0xab
      ENDTRY
      VALUE "66 repne stos", [SCRATCH]
; x87, MMX and SSE under CR0.EM, TS, MP and CR4.OSFXSR.
%macro FLOATS 2
      mov eax,cr0
      and eax,~0xe
      or eax,%2
      mov cr0,eax
      BYTES {%1, " fld1"}, 0xd9,0xe8
      BYTES {%1, " fwait"}, 0x9b
      BYTES {%1, " emms"}, 0x0f,0x77
      BYTES {%1, " paddb"}, 0x0f,0xfc,0xc1
      BYTES {%1, " addps"}, 0x0f,0x58,0xc1
      BYTES {%1, " fxsave"}, 0x0f,0xae,0x03
      BYTES {%1, " ldmxcsr"}, 0x0f,0xae,0x53,0x40
      mov eax,cr0
      and eax,~0xe
      mov cr0,eax
      fninit
%endmacro
      mov ebx,SCRATCH
      mov dword [SCRATCH+0x40],0x1f80
      FLOATS "none", 0
      FLOATS "mp", 2
      FLOATS "em", 4
      FLOATS "ts", 8
      FLOATS "mp ts", 0xa
      FLOATS "em ts", 0xc
      FLOATS "em mp ts", 0xe
      mov eax,cr4
      or eax,0x200
      mov cr4,eax
      FLOATS "osfxsr none", 0
      FLOATS "osfxsr em", 4
      FLOATS "osfxsr ts", 8
      mov eax,cr0
      and eax,~0xe
      mov cr0,eax
; Ring 3.
%macro USER 2+
      TRY %1
      RING3
      mov ebx,SCRATCH
      db %2
      int 0x30
      ENDTRY
%endmacro
      USER "user nop", 0x90
      USER "user int3", 0xcc
      USER "user into", 0xb0,0x7f,0x04,0x01,0xce
      USER "user icebp", 0xf1
      USER "user int 20", 0xcd,0x20
      USER "user int beyond the table", 0xcd,0x77
      USER "user hlt", 0xf4
      USER "user cli", 0xfa
      USER "user sti", 0xfb
      USER "user in", 0xe4,0x60
      USER "user out", 0xe6,0x80
      USER "user insb", 0x6c
      USER "user outsb", 0x6e
      USER "user lgdt", 0x0f,0x01,0x13
      USER "user lidt", 0x0f,0x01,0x1b
      USER "user sgdt", 0x0f,0x01,0x03
      USER "user smsw", 0x0f,0x01,0xe0
      USER "user lmsw", 0x0f,0x01,0xf0
      USER "user invlpg", 0x0f,0x01,0x3b
      USER "user lldt", 0x0f,0x00,0xd0
      USER "user ltr", 0x0f,0x00,0xd8
      USER "user sldt", 0x0f,0x00,0xc0
      USER "user str", 0x0f,0x00,0xc8
      USER "user clts", 0x0f,0x06
      USER "user invd", 0x0f,0x08
      USER "user wbinvd", 0x0f,0x09
      USER "user mov cr0", 0x0f,0x20,0xc0
      USER "user mov to cr3", 0x0f,0x22,0xd8
      USER "user mov cr1", 0x0f,0x20,0xc8
      USER "user mov dr0", 0x0f,0x21,0xc0
      USER "user mov to dr7", 0x0f,0x23,0xf8
      USER "user wrmsr", 0x0f,0x30
      USER "user rdmsr", 0x0f,0x32
      USER "user sysexit", 0x0f,0x35
      USER "user sysenter", 0x0f,0x34
      USER "user ud2", 0x0f,0x0b
      USER "user lock nop", 0xf0,0x90
      USER "user divide", 0x31,0xc9,0xf7,0xf1
      USER "user rsm", 0x0f,0xaa
      TRY "user jump to kernel code"
      RING3
      jmp CS0:0
      ENDTRY
      TRY "user load kernel data"
      RING3
      mov eax,DS0
      mov ds,eax
      ENDTRY
      TRY "user load ss"
      RING3
      mov eax,DS0
      mov ss,eax
      ENDTRY
      TRY "user null ss"
      RING3
      xor eax,eax
      mov ss,eax
      ENDTRY
      TRY "user null ds"
      RING3
      xor eax,eax
      mov ds,eax
      mov eax,[SCRATCH]
      ENDTRY
      TRY "user null es write"
      RING3
      xor eax,eax
      mov es,eax
      mov edi,SCRATCH
      stosd
      ENDTRY
      TRY "user write to code"
      RING3
      mov [cs:SCRATCH],eax
      ENDTRY
; Double fault: a handler that is not there, and one whose own delivery faults.
      TRY "double: ud without gate"
      mov byte [idt+6*8+5],0x0e
      ud2
      ENDTRY
      mov byte [idt+6*8+5],0x8e
      TRY "double: gp without gate"
      mov byte [idt+13*8+5],0x0e
      mov eax,0xfff8
      mov ds,eax
      ENDTRY
      mov byte [idt+13*8+5],0x8e
      TRY "double: np without gate"
      mov byte [idt+11*8+5],0x0e
      mov byte [gdt+T1+5],0x13
      mov eax,T1
      mov ds,eax
      ENDTRY
      mov byte [idt+11*8+5],0x8e
      TRY "benign: bp gate with bad selector"
      mov word [idt+3*8+2],0xf8
      int3
      ENDTRY
      mov word [idt+3*8+2],CS0
      TRY "benign: db gate with bad selector"
      mov word [idt+1*8+2],0xf8
      db 0xf1
      ENDTRY
      mov word [idt+1*8+2],CS0
      TRY "benign: ud gate with null selector"
      mov word [idt+6*8+2],0
      ud2
      ENDTRY
      mov word [idt+6*8+2],CS0
      ret
