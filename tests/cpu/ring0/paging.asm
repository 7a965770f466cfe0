; SPDX-License-Identifier: Apache-2.0
; 32-bit paging: every combination of rights of directory, table and large page with every access, from ring 0
; and 3, with CR0.WP clear and set; accessed and dirty bits; reserved bits; what is flushed.
; The value of a case holds the low byte of both entries afterwards, and CR2 xor the address for #PF.
%include "lib.inc"
PD  equ 0x200000
PT0 equ 0x201000        ; identity, first 4 MB
PT1 equ 0x202000        ; under test: from 4 MB
VA  equ 0x400000
FRAME equ 0x340000
%define FLAGS_PDE 3     ; case bits 0-2 directory P W U, 3-5 table P W U

; EAX = case: entries for VA.
entries:
      mov edx,eax
      and edx,7
      or edx,PT1
      mov [PD+4],edx
      shr eax,3
      and eax,7
      or eax,FRAME
      mov [PT1],eax
flush:
      mov eax,cr3
      mov cr3,eax
      ret
large:
      and eax,7
      or eax,0x80|0xc00000
      mov [PD+4],eax
      jmp flush
%macro ACCESSES 2 ; prefix, set-up
%1_read0:
      call %2
      mov eax,[VA]
      ret
%1_write0:
      call %2
      mov eax,0xc3c3c3c3      ; RET
      mov [VA],eax
      ret
%1_fetch0:
      call %2
      mov eax,VA
      call eax
      ret
%1_change0:
      call %2
      add dword [VA],0
      ret
%1_read3:
      call %2
      RING3
      mov eax,[VA]
      int 0x30
%1_write3:
      call %2
      RING3
      mov eax,0xc3c3c3c3
      mov [VA],eax
      int 0x30
%1_fetch3:
      call %2
      RING3
      mov eax,VA
      call eax
      int 0x30
%1_change3:
      call %2
      RING3
      add dword [VA],0
      int 0x30
%endmacro
ACCESSES small, entries
ACCESSES big, large
; An access over the end of VA's page into one that is not there.
cross_read:
      call entries
      mov dword [PT1+4],0
      mov eax,[VA+0xffe]
      ret
cross_write3:
      call entries
      mov dword [PT1+4],0
      RING3
      mov [VA+0xffe],eax
      int 0x30
; A bit of a directory entry for 4 MB.
large_bit:
      mov ecx,eax
      mov eax,1
      shl eax,cl
      or eax,0x87
      and eax,0x003fffff    ; the frame stays below 4 MB, but for bits 13-20
      mov [PD+4],eax
      call flush
      mov eax,[VA]
      ret
; Structures of the processor behind supervisor pages, used from ring 3.
post:
      mov eax,[PD+4]
      and eax,0xff
      mov edx,[PT1]
      and edx,0xff
      shl edx,8
      or eax,edx
      cmp dword [r_vector],14
      jne .no
      and eax,~0x20           ; A of a directory entry on the way to a fault is the processor's choice
      mov edx,[r_cr2]
      xor edx,VA
      shl edx,16
      xor eax,edx
.no:  mov [r_value],eax
      ret
%macro ALL 3 ; name, prefix, count
      SWEEP {%1, " read 0"}, %3, %2_read0
      SWEEP {%1, " write 0"}, %3, %2_write0
      SWEEP {%1, " change 0"}, %3, %2_change0
      SWEEP {%1, " fetch 0"}, %3, %2_fetch0
      SWEEP {%1, " read 3"}, %3, %2_read3
      SWEEP {%1, " write 3"}, %3, %2_write3
      SWEEP {%1, " change 3"}, %3, %2_change3
      SWEEP {%1, " fetch 3"}, %3, %2_fetch3
%endmacro
%macro WP 1
      mov eax,cr0
      and eax,~0x10000
      or eax,%1<<16
      mov cr0,eax
%endmacro
main:
      mov edi,PD
      xor eax,eax
      mov ecx,0x3000/4
      rep stosd
      mov dword [PD],PT0|7
      xor ecx,ecx
.map: mov eax,ecx
      shl eax,12
      or eax,7
      mov [PT0+ecx*4],eax
      inc ecx
      cmp ecx,1024
      jb .map
      mov byte [FRAME],0xc3
      mov byte [0xc00000],0xc3
      mov eax,PD
      mov cr3,eax
      mov eax,cr0
      or eax,0x80000000
      mov cr0,eax
      mov dword [sweep_post],post
      ALL "small", small, 64
      WP 1
      ALL "small wp", small, 64
      WP 0
      SWEEP "cross read", 64, cross_read
      SWEEP "cross write 3", 64, cross_write3
      ; Without CR4.PSE bit 7 of a directory entry means nothing.
      SWEEP "large without pse", 1, .no_pse
      mov eax,cr4
      or eax,0x10
      mov cr4,eax
      ALL "large", big, 8
      WP 1
      ALL "large wp", big, 8
      SWEEP "large, each bit", 13, large_bit
      SWEEP "large, bit 21", 1, .bit21
      WP 0
      mov dword [sweep_post],0
; Tables of the processor: used as a supervisor's, also from ring 3.
      mov eax,gdt
      shr eax,12
      and dword [PT0+eax*4],~4
      call flush
      TRY "descriptor on a supervisor page"
      RING3
      mov eax,DS3
      mov gs,eax
      int 0x30
      ENDTRY
      mov eax,gdt
      shr eax,12
      or dword [PT0+eax*4],4
      call flush
      ; Copies of both tables that go over the end of a page; the next one is absent.
      mov dword [PD+4],PT1|7
      mov dword [PT1],FRAME|7
      mov dword [PT1+4],0
      call flush
      mov esi,idt
      mov edi,FRAME+0x1000-0x20*8
      mov ecx,0x40
      rep movsd
      TRY "gate on an absent page"
      lidt [far_idt]
      int 0x20
      ENDTRY
      lidt [idtr]
      mov esi,gdt
      mov edi,FRAME+0x1000-T1
      mov ecx,T1/4
      rep movsd
      lgdt [far_gdt]
      TRY "descriptor on an absent page"
      mov eax,T1
      mov gs,eax
      ENDTRY
      TRY "lar on an absent page"
      mov eax,T1
      lar ecx,eax
      ENDTRY
      lgdt [gdtr]
; The stack of the inner level is not there: a double fault has none either, but for one of ring 1.
      TRY "inner stack on an absent page"
      mov dword [idt+0x20*8+4],0x0010ee00
      mov word [idt+0x20*8+2],CS1
      mov eax,stubs+0x20*16
      mov [idt+0x20*8],ax
      mov dword [tss+12],0x500100
      mov dword [tss+16],DS1
      mov dword [PD+4],PT1|7
      mov dword [PT1+0x100*4],0
      call flush
      RING3
      int 0x20
      ENDTRY
; INVLPG and CR3 make changes seen.
      mov dword [PT1],FRAME|7
      mov dword [PD+4],PT1|7
      call flush
      mov dword [FRAME],0x11111111
      mov dword [FRAME+0x1000],0x22222222
      mov eax,[VA]
      mov dword [PT1],(FRAME+0x1000)|7
      invlpg [VA+0x123]
      VALUE "invlpg", [VA]
      mov dword [PT1],FRAME|7
      call flush
      VALUE "cr3", [VA]
      mov dword [PT1],FRAME|5
      invlpg [VA]
      WP 1
      TRY "wp set"
      mov [VA],eax
      ENDTRY
      WP 0
      TRY "wp clear"
      mov [VA],eax
      ENDTRY
      WP 1
      TRY "wp set again"
      mov [VA],eax
      ENDTRY
      TRY "ring 3 after ring 0's write"
      WP 0
      mov [VA],eax
      RING3
      mov [VA],eax
      int 0x30
      ENDTRY
      ; A recursive directory entry.
      mov dword [PD+8],PD|7
      call flush
      mov eax,[0x800000]
      and eax,~0x60
      VALUE "recursive", eax
      mov dword [0x801000+4],FRAME|7
      TRY "through the recursive entry"
      mov dword [0x800000+12],FRAME|0x47
      mov eax,[0xc00000]
      ENDTRY
      mov eax,cr0
      and eax,0x7fffffff
      mov cr0,eax
      VALUE "paging off", [VA]
      ret
.no_pse:
      mov dword [PD+4],PT1|0x87
      mov dword [PT1],FRAME|7
      call flush
      mov eax,[VA]
      ret
.bit21:
      mov dword [PD+4],0x200087
      call flush
      mov eax,[VA]
      ret
far_gdt: dw 0xff
      dd VA+0x1000-T1
far_idt: dw 0x1ff
      dd VA+0x1000-0x20*8
