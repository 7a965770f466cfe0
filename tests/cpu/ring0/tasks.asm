; SPDX-License-Identifier: Apache-2.0
; Task switches: by JMP, CALL, interrupt and IRET, what they save and load, and what is wrong with a new task.
%include "lib.inc"
TSS2 equ T1
GATE equ T2
TSS16 equ T3
other equ SCRATCH+0x1000        ; a TSS of 32 bits, one of 16
other16 equ SCRATCH+0x1100
OTHER_STACK equ SCRATCH+0x3000

prepare: ; the other task, at EAX
      pushad
      mov edi,other
      mov ecx,0x200/4
      push eax
      xor eax,eax
      rep stosd
      pop eax
      mov [other+0x20],eax
      mov dword [other+0x24],0x203
      and dword [other+0x24],~0x200
      mov dword [other+0x28],0xaaaaaaaa
      mov dword [other+0x2c],0xcccccccc
      mov dword [other+0x30],0xdddddddd
      mov dword [other+0x34],0xbbbbbbbb
      mov dword [other+0x38],OTHER_STACK
      mov dword [other+0x3c],0xb9b9b9b9
      mov dword [other+0x40],0x51515151
      mov dword [other+0x44],0xd1d1d1d1
      mov dword [other+0x48],DS0
      mov dword [other+0x4c],CS0
      mov dword [other+0x50],DS0
      mov dword [other+0x54],DS0
      mov dword [other+0x58],DS3
      mov dword [other+0x5c],0
      mov dword [other+4],STACKI-0x400
      mov dword [other+8],DS0
      mov word [other+0x66],0x68
      mov dword [gdt+TSS2],((other & 0xffff)<<16)|0x67
      mov dword [gdt+TSS2+4],0x00008900|((other>>16)&0xff)
      mov dword [gdt+GATE],TSS2<<16
      mov dword [gdt+GATE+4],0x0000e500
      mov word [0x7000],0x31cd      ; int 31h, where 16 bits reach
      mov word [other16+0xe],0x7000
      mov word [other16+0x10],3
      mov word [other16+0x12],0xaaaa
      mov word [other16+0x1a],0x7000
      mov word [other16+0x22],DS0
      mov word [other16+0x24],CS0
      mov word [other16+0x26],T4
      mov dword [gdt+T4],0xffff
      mov dword [gdt+T4+4],0x9300
      mov word [other16+0x28],DS0
      mov dword [gdt+TSS16],((other16 & 0xffff)<<16)|0x2b
      mov dword [gdt+TSS16+4],0x00008100|((other16>>16)&0xff)
      popad
      ret
; Back to the first task's TR, as if nothing had been.
home:
      pushad
      mov byte [gdt+TSS+5],0x89
      mov ax,TSS
      ltr ax
      pushf
      and dword [esp],~0x4000
      popf
      clts
      mov ax,DS0
      mov fs,ax
      mov gs,ax
      popad
      ret
; In the other task: log what it has.
arrived:
      mov [SCRATCH],eax
      mov [SCRATCH+4],esp
      pushf
      pop dword [SCRATCH+8]
      str eax
      mov [SCRATCH+12],eax
      mov eax,cr0
      mov [SCRATCH+16],eax
      mov eax,fs
      mov [SCRATCH+20],eax
      VALUE "  eax", [SCRATCH]
      VALUE "  esp", [SCRATCH+4]
      VALUE "  flags", [SCRATCH+8]
      VALUE "  tr", [SCRATCH+12]
      VALUE "  cr0", [SCRATCH+16]
      VALUE "  fs", [SCRATCH+20]
      VALUE "  link", [other]
      movzx eax,byte [gdt+TSS+5]
      VALUE "  access of the first", eax
      movzx eax,byte [gdt+TSS2+5]
      VALUE "  access of the other", eax
      VALUE "  saved eip", [tss+0x20]
      VALUE "  saved flags", [tss+0x24]
      VALUE "  saved ebx", [tss+0x34]
      VALUE "  saved esp", [tss+0x38]
      VALUE "  saved cs", [tss+0x4c]
      VALUE "  saved ss", [tss+0x50]
      ret
by_jump:
      call arrived
      call home
      mov esp,[saved_esp]
      jmp [resume]
by_call:
      call arrived
      iret
      NAME "second turn of the task"
      call line
      iret
by_fault: ; the error code lies on its stack
      pop dword [SCRATCH+24]
      call arrived
      VALUE "  error code", [SCRATCH+24]
      call home
      mov esp,[saved_esp]
      jmp [resume]
; Each access byte of the other's TSS.
tss_rights:
      push eax
      mov eax,bad_landing
      call prepare
      pop eax
      mov [gdt+TSS2+5],al
      and al,0x1f
      cmp al,9
      je .small                 ; available: too small to switch to
      and al,0x17
      cmp al,1
      je .small
      and al,0x18
      cmp al,0x18
      je .out
      cmp al,0x10
      je .go
      jmp .go
.small: mov word [gdt+TSS2],0x20
.go:  jmp TSS2:0
.out: ret
gate_rights_jump:
      push eax
      mov eax,bad_landing
      call prepare
      pop eax
      mov [gdt+GATE+5],al
      mov word [gdt+TSS2],0x20
      and al,0x1f
      cmp al,5
      jne .out
      jmp GATE:0
.out: ret
gate_selector:
      push eax
      mov eax,bad_landing
      call prepare
      pop eax
      mov word [gdt+TSS2],0x20
      mov [gdt+GATE+2],ax
      jmp GATE:0
gate_rights3:
      push eax
      mov eax,bad_landing
      call prepare
      pop eax
      mov [gdt+GATE+5],al
      mov word [gdt+TSS2],0x20
      and al,0x1f
      cmp al,5
      jne .out
      RING3
      jmp GATE+3:0
.out: ret
int_gate:
      push eax
      mov eax,bad_landing
      call prepare
      pop eax
      mov word [gdt+TSS2],0x20
      mov word [idt+0x33*8+2],TSS2
      mov byte [idt+0x33*8+5],al
      and al,0x1f
      cmp al,5
      jne .out
      int 0x33
.out: ret
; Selectors of the new task: what is wrong is the new task's fault.
%macro NEW_SELECTOR 2
%1:
      push eax
      mov eax,bad_landing
      call prepare
      pop eax
      mov [other+%2],eax
      jmp TSS2:0
%endmacro
NEW_SELECTOR new_cs, 0x4c
NEW_SELECTOR new_ss, 0x50
NEW_SELECTOR new_ds, 0x54
NEW_SELECTOR new_gs, 0x5c
NEW_SELECTOR new_ldt, 0x60
%macro NEW_RIGHTS 3
%1:
      push eax
      mov eax,bad_landing
      call prepare
      pop eax
      mov dword [gdt+T4],0xffff
      mov edx,eax
      and edx,0x1c
      cmp edx,0x14              ; grows down: with room
      jne .up
      mov dword [gdt+T4],0
.up:  shl eax,8
      or eax,0xcf0000
      cmp edx,0x14
      jne .flat
      and eax,~0xf0000
.flat:
      mov [gdt+T4+4],eax
      mov dword [other+%2],T4+%3
      jmp TSS2:0
%endmacro
NEW_RIGHTS rights_ss, 0x50, 0
NEW_RIGHTS rights_ds, 0x54, 0
NEW_RIGHTS rights_cs, 0x4c, 0
NEW_RIGHTS rights_ldt, 0x60, 0
bad_landing:
      mov eax,cs
      test al,3
      jnz .user
      mov dword [r_value],0x900d
      int 0x31
.user: int 0x30
link_value: ; IRET with NT
      push eax
      mov eax,bad_landing
      call prepare
      pop eax
      mov [tss],ax
      mov byte [gdt+TSS2+5],0x8b
      mov word [gdt+TSS2],0x20
      pushf
      or dword [esp],0x4000
      popf
      iret
post:
      ; TR is what the switch left; the value tells whether it was taken.
      str eax
      shl eax,16
      mov edx,[r_eip]
      cmp edx,0x7002
      je .taken
      cmp edx,bad_landing
      jb .no
      cmp edx,bad_landing+0x40
      ja .no
.taken: inc eax
.no:  mov [r_value],eax
      jmp home
main:
      mov eax,by_jump
      call prepare
      mov ebx,0x12121212
      TRY "jump to a tss"
      jmp TSS2:0x99999999
      ENDTRY
      mov eax,by_jump
      call prepare
      TRY "jump to a gate"
      jmp GATE:0
      ENDTRY
      mov eax,by_call
      call prepare
      TRY "call a tss"
      call TSS2:0
      NAME "call: back"
      pushf
      VALUE "back flags", [esp]
      popf
      VALUE "back link", [other]
      movzx eax,byte [gdt+TSS2+5]
      VALUE "back access of the other", eax
      call TSS2:0
      ENDTRY
      clts
      mov eax,by_call
      call prepare
      TRY "int through a gate"
      mov word [idt+0x33*8+2],TSS2
      mov byte [idt+0x33*8+5],0xe5
      int 0x33
      ENDTRY
      clts
      mov eax,by_call
      call prepare
      TRY "int through a gate from ring 3"
      RING3
      int 0x33
      int 0x30
      ENDTRY
      call home
      mov eax,by_fault
      call prepare
      TRY "fault through a gate"
      mov eax,[idt+13*8]
      mov [SCRATCH+0x40],eax
      mov eax,[idt+13*8+4]
      mov [SCRATCH+0x44],eax
      mov word [idt+13*8+2],TSS2
      mov byte [idt+13*8+5],0x85
      mov eax,0xfff8
      mov ds,eax
      ENDTRY
      mov eax,by_fault
      call prepare
      TRY "fault through a gate from ring 3"
      mov word [idt+13*8+2],TSS2
      mov byte [idt+13*8+5],0x85
      RING3
      cli
      ENDTRY
      mov eax,[SCRATCH+0x40]
      mov [idt+13*8],eax
      mov eax,[SCRATCH+0x44]
      mov [idt+13*8+4],eax
      ; A trap on the way into a task.
      mov eax,bad_landing
      call prepare
      mov byte [other+0x64],1
      TRY "debug trap of a task"
      jmp TSS2:0
      ENDTRY
      call home
      mov eax,bad_landing
      call prepare
      mov dword [other+0x24],0x102
      TRY "task with tf"
      jmp TSS2:0
      ENDTRY
      call home
      mov eax,bad_landing
      call prepare
      mov dword [other+0x4c],CS3
      mov dword [other+0x50],DS3
      mov dword [other+0x54],DS3
      mov dword [other+0x38],STACK3
      TRY "task in ring 3"
      jmp TSS2:0
      ENDTRY
      call home
      mov eax,bad_landing
      call prepare
      mov word [tss],TSS2
      mov byte [gdt+TSS2+5],0x8b
      TRY "iret with nt"
      pushf
      or dword [esp],0x4000
      popf
      iret
      ENDTRY
      VALUE "saved flags", [tss+0x24]
      call home
      TRY "jump to itself"
      jmp TSS:0
      ENDTRY
      mov eax,bad_landing
      call prepare
      mov dword [other+0x20],0xfffffff0
      mov dword [gdt+T4],0xffff
      mov dword [gdt+T4+4],0x00409b00
      mov dword [other+0x4c],T4
      TRY "eip beyond the new cs"
      jmp TSS2:0
      ENDTRY
      call home
      mov dword [sweep_post],post
      SWEEP "tss, each access byte", 256, tss_rights
      SWEEP "gate, each access byte", 256, gate_rights_jump
      SWEEP "gate, each access byte from ring 3", 256, gate_rights3
      SWEEP "gate, each selector", 0x80, gate_selector
      SWEEP "int gate, each access byte", 256, int_gate
      SWEEP "link, each selector", 0x80, link_value
      SWEEP "new ss", 0x30, new_ss
      SWEEP "new ds", 0x30, new_ds
      SWEEP "new gs", 0x30, new_gs
      SWEEP "new ldt", 0x30, new_ldt
      SWEEP "new ss, each access byte", 256, rights_ss
      SWEEP "new ds, each access byte", 256, rights_ds
      SWEEP "new ldt, each access byte", 256, rights_ldt
      SWEEP "new cs, each access byte", 256, rights_cs
      ret
