; SPDX-License-Identifier: Apache-2.0
; PAE paging: rights and XD of directory, table and large page with every access, with EFER.NXE clear and set;
; reserved bits one by one; page-directory pointers.
%include "lib.inc"
PDPT equ 0x200000
PD   equ 0x201000
PT0  equ 0x202000       ; identity, first 2 MB
PT1  equ 0x203000       ; identity, second 2 MB
PT2  equ 0x204000       ; under test: from 4 MB
VA   equ 0x400000
FRAME equ 0x340000
LARGE equ 0x600000

; EAX = case: bits 0-3 directory P W U XD, 4-7 table P W U XD.
entries:
      mov edx,eax
      and edx,7
      or edx,PT2
      mov [PD+16],edx
      mov edx,eax
      shl edx,28
      and edx,0x80000000
      mov [PD+20],edx
      mov edx,eax
      shr edx,4
      and edx,7
      or edx,FRAME
      mov [PT2],edx
      shl eax,24
      and eax,0x80000000
      mov [PT2+4],eax
flush:
      mov eax,cr3
      mov cr3,eax
      ret
large:
      mov edx,eax
      and edx,7
      or edx,LARGE|0x80
      mov [PD+16],edx
      shl eax,28
      and eax,0x80000000
      mov [PD+20],eax
      jmp flush
%macro ACCESSES 2
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
%endmacro
ACCESSES small, entries
ACCESSES big, large
; EAX = bit 0-63 set in an entry that is good otherwise.
bit_mask: ; -> EDX:ECX
      xor edx,edx
      xor ecx,ecx
      cmp eax,32
      jae .high
      bts ecx,eax
      ret
.high: sub eax,32
      bts edx,eax
      ret
table_bit:
      call bit_mask
      mov dword [PD+16],PT2|7
      mov dword [PD+20],0
      or ecx,FRAME|7
      mov [PT2],ecx
      mov [PT2+4],edx
      call flush
      mov eax,[VA]
      ret
directory_bit:
      call bit_mask
      or ecx,PT2|7
      mov [PD+16],ecx
      mov [PD+20],edx
      mov dword [PT2],FRAME|7
      mov dword [PT2+4],0
      call flush
      mov eax,[VA]
      ret
large_bit:
      call bit_mask
      or ecx,LARGE|0x87
      mov [PD+16],ecx
      mov [PD+20],edx
      call flush
      mov eax,[VA]
      ret
large_bit_write3:
      call bit_mask
      or ecx,LARGE|0x87
      mov [PD+16],ecx
      mov [PD+20],edx
      call flush
      RING3
      mov [VA],eax
      int 0x30
pointer_bit: ; of the second pointer, which is used for nothing
      call bit_mask
      or ecx,PD|1
      mov [PDPT+8],ecx
      mov [PDPT+12],edx
      mov eax,cr3
      mov cr3,eax
      ret
absent_pointer_bit:
      cmp eax,0
      je .out
      call bit_mask
      mov [PDPT+8],ecx
      mov [PDPT+12],edx
      mov eax,cr3
      mov cr3,eax
.out: ret
pointer_reset:
      mov dword [PDPT+8],0
      mov dword [PDPT+12],0
      mov eax,PDPT
      mov cr3,eax
      ret
post:
      mov eax,[PD+16]
      and eax,0xff
      mov edx,[PT2]
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
%macro ALL 3
      SWEEP {%1, " read 0"}, %3, %2_read0
      SWEEP {%1, " write 0"}, %3, %2_write0
      SWEEP {%1, " fetch 0"}, %3, %2_fetch0
      SWEEP {%1, " read 3"}, %3, %2_read3
      SWEEP {%1, " write 3"}, %3, %2_write3
      SWEEP {%1, " fetch 3"}, %3, %2_fetch3
%endmacro
%macro NXE 1
      mov ecx,0xc0000080
      xor edx,edx
      mov eax,%1<<11
      wrmsr
      mov eax,cr3
      mov cr3,eax
%endmacro
main:
      mov edi,PDPT
      xor eax,eax
      mov ecx,0x5000/4
      rep stosd
      mov dword [PDPT],PD|1
      mov dword [PD],PT0|7
      mov dword [PD+8],PT1|7
      xor ecx,ecx
.map: mov eax,ecx
      shl eax,12
      or eax,7
      mov [PT0+ecx*8],eax
      inc ecx
      cmp ecx,1024
      jb .map
      mov byte [FRAME],0xc3
      mov byte [LARGE],0xc3
      mov eax,cr4
      or eax,0x20
      mov cr4,eax
      mov eax,PDPT
      mov cr3,eax
      mov eax,cr0
      or eax,0x80010000
      mov cr0,eax
      mov dword [sweep_post],post
      ALL "without nxe", small, 256
      ALL "large without nxe", big, 16
      NXE 1
      ALL "small", small, 256
      ALL "large", big, 16
      mov eax,cr0
      and eax,~0x10000
      mov cr0,eax
      SWEEP "wp clear write 0", 256, small_write0
      SWEEP "wp clear write 3", 256, small_write3
      mov eax,cr0
      or eax,0x10000
      mov cr0,eax
      mov dword [first_bit],40
      SWEEP "table entry, bits 40-63", 64, .high_table
      mov dword [first_bit],36
      SWEEP "table entry, bits 36-39", 40, .high_table
      mov dword [first_bit],40
      SWEEP "directory entry, bits 40-63", 64, .high_directory
      mov dword [first_bit],36
      SWEEP "directory entry, bits 36-39", 40, .high_directory
      mov dword [first_bit],40
      SWEEP "large entry, bits 40-63", 64, .high_large
      mov dword [first_bit],36
      SWEEP "large entry, bits 36-39", 40, .high_large
      SWEEP "large entry, bits 12-20", 21, .low_large
      SWEEP "large entry, bits 12-20 write 3", 21, .low_large3
      NXE 0
      mov dword [first_bit],40
      SWEEP "table entry without nxe, bits 40-63", 64, .high_table
      mov dword [first_bit],36
      SWEEP "table entry without nxe, bits 36-39", 40, .high_table
      mov dword [first_bit],40
      SWEEP "directory entry without nxe, bits 40-63", 64, .high_directory
      mov dword [first_bit],36
      SWEEP "directory entry without nxe, bits 36-39", 40, .high_directory
      NXE 1
      mov dword [sweep_post],0
      SWEEP "pointer, bits 0-35", 36, pointer_bit
      mov dword [first_bit],40
      SWEEP "pointer, bits 40-63", 64, .high_pointer
      mov dword [first_bit],36
      SWEEP "pointer, bits 36-39", 40, .high_pointer
      call pointer_reset
      SWEEP "absent pointer, each bit", 64, absent_pointer_bit
      call pointer_reset
      ; Pointers are those of the last load of CR3.
      mov dword [PDPT+8],PD|1
      TRY "pointer before cr3 is loaded"
      mov eax,[0x40000000]
      ENDTRY
      mov eax,cr3
      mov cr3,eax
      TRY "pointer when cr3 is loaded"
      mov eax,[0x40000000+FRAME]
      ENDTRY
      mov dword [PDPT+8],0
      TRY "pointer gone, cr3 not loaded"
      mov eax,[0x40000000+FRAME+0x1000]
      ENDTRY
      mov dword [PDPT+8],PD|1|0x20
      TRY "reserved bit, cr4 toggles pge"
      mov eax,cr4
      xor eax,0x80
      mov cr4,eax
      ENDTRY
      mov eax,cr4
      and eax,0x80
      VALUE "pge then", eax
      mov dword [PDPT+8],0
      ; XD and the gate of a page in ring 3; a far page.
      mov dword [PD+16],PT2|7
      mov dword [PD+20],0
      mov dword [PT2],FRAME|7
      mov dword [PT2+4],0x80000000
      call flush
      TRY "call into xd"
      mov eax,VA
      call eax
      ENDTRY
      TRY "run over the end into xd"
      mov dword [PT2],FRAME|7
      mov dword [PT2+4],0
      mov dword [PT2+8],(FRAME+0x1000)|7
      mov dword [PT2+12],0x80000000
      call flush
      mov word [FRAME+0xffe],0x05b8   ; mov eax,imm32 over the end
      mov eax,VA+0xffe
      jmp eax
      ENDTRY
      ret
.high_table:
      cmp eax,[first_bit]
      jb .out
      jmp table_bit
.high_directory:
      cmp eax,[first_bit]
      jb .out
      jmp directory_bit
.high_pointer:
      cmp eax,[first_bit]
      jb .out
      jmp pointer_bit
.high_large:
      cmp eax,[first_bit]
      jb .out
      jmp large_bit
.low_large:
      cmp eax,12
      jb .out
      jmp large_bit
.low_large3:
      cmp eax,12
      jb .out
      jmp large_bit_write3
.out: mov dword [PD+16],0
      mov dword [PT2],0
      ret
align 4
first_bit: dd 0
