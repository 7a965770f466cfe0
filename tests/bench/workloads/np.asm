; SPDX-License-Identifier: Apache-2.0
bits 32
org 0x100000
hdr:  dd 0x1BADB002, 0x00010000, -(0x1BADB002+0x00010000)
      dd hdr, hdr, 0, 0, entry
%macro out1 1
 mov dx,0x3f8
 mov al,%1
 out dx,al
%endmacro
entry: mov esp,0x90000
 out1 'S'
 lgdt [gdtr]
 jmp 8:.a
.a: mov ax,16
 mov ds,ax
 mov es,ax
 mov ss,ax
 ; idt gate 14 and 13 and 6
 mov eax,pf
 mov [idt+14*8],ax
 mov word [idt+14*8+2],8
 mov word [idt+14*8+4],0x8e00
 shr eax,16
 mov [idt+14*8+6],ax
 mov eax,gp
 mov [idt+13*8],ax
 mov word [idt+13*8+2],8
 mov word [idt+13*8+4],0x8e00
 shr eax,16
 mov [idt+13*8+6],ax
 lidt [idtr]
 mov eax,0x80000001
 cpuid
 out1 'c'
 mov al,'0'
 bt edx,20
 adc al,0
 mov dx,0x3f8
 out dx,al
 ; PDPT at 0x200000 -> PD at 0x201000 ; 2 MB pages 0..1GB ; page 2 (0x400000) NX
 mov edi,0x200000
 xor eax,eax
 mov ecx,0x800
 rep stosd
 mov dword [0x200000],0x201001
 xor ecx,ecx
.p: mov eax,ecx
 shl eax,21
 or eax,0x83
 mov [0x201000+ecx*8],eax
 inc ecx
 cmp ecx,512
 jb .p
 mov dword [0x201000+2*8+4],0x80000000
 mov byte [0x400000],0xc3
 mov dword [0x201000+2*8],0
 mov ecx,0xc0000080
 xor edx,edx
 mov eax,0x800
 wrmsr
 out1 'w'
 rdmsr
 mov bl,'0'
 bt eax,11
 adc bl,0
 out1 bl
 mov eax,cr4
 or eax,0x30
 mov cr4,eax
 mov eax,0x200000
 mov cr3,eax
 mov eax,cr0
 or eax,0x80010000
 mov cr0,eax
 out1 'P'
 mov eax,0x400000
 call eax
 out1 'X'
fin: out1 'E'
 cli
.h: hlt
 jmp .h
pf: out1 'F'
 mov al,[esp]
 add al,'A'
 out dx,al
 jmp fin
gp: out1 'G'
 jmp fin
align 8
gdt: dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr: dw 23
 dd gdt
idtr: dw 16*8-1
 dd idt
align 8
idt: times 16*8 db 0
