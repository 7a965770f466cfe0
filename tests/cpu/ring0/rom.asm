; SPDX-License-Identifier: Apache-2.0
; A firmware ROM of 128 KB that goes straight to protected mode and starts the multiboot image in it: what
; Bochs boots instead of a BIOS. Assembled with -DIMAGE='"file"'.
%define BASE 0xfffe0000
org 0
      incbin IMAGE
      times 0x1fe00-($-$$) db 0
bits 16
start:
      cli
      mov al,2
      out 0x92,al             ; A20
      o32 lgdt [cs:(gdtr-0x10000)]
      mov eax,0x11
      mov cr0,eax
      jmp dword 8:(BASE+flat)
bits 32
flat: mov eax,0x10
      mov ds,eax
      mov es,eax
      mov ss,eax
      mov esi,BASE
      mov edi,0x100000
      mov ecx,0x1fe00/4
      rep movsd
      mov eax,0x2badb002
      jmp [0x10001c]
align 8
gdt:  dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
      dd BASE+gdt
      times 0x1fff0-($-$$) db 0
bits 16
      jmp start
      times 0x20000-($-$$) db 0
