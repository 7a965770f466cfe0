; SPDX-License-Identifier: Apache-2.0
; Descriptors: every access byte is tried with every instruction that loads or looks at one. The value logged
; with a case is the access byte afterwards (accessed, busy) and what the instruction gave.
%include "lib.inc"

; EAX = access byte. Flat 32-bit segment at 300000h for T1.
rights:
      mov [gdt+T1],dword 0x0000ffff
      and eax,0xff
      shl eax,8
      or eax,0x00cf0030
      mov [gdt+T1+4],eax
      ret
; The same with a call gate's offset and selector: to `gated` in ring 0.
gate_rights:
      push eax
      mov eax,gated
      and eax,0xffff
      or eax,CS0<<16
      mov [gdt+T1],eax
      pop eax
      and eax,0xff
      shl eax,8
      mov edx,gated
      and edx,0xffff0000
      or eax,edx
      mov [gdt+T1+4],eax
      ret
; Code at 300000h that leaves by INT 31h.
gated:
      mov dword [r_value],0x6a7ed
      int 0x31
take_rights: ; EAX: keep with the access byte
      shl eax,8
      mov al,[gdt+T1+5]
      mov [r_value],eax
      ret

%macro LOADS 2 ; body name, selector
%1_ds: call rights
      mov eax,%2
      mov ds,eax
      mov eax,DS0
      mov ds,eax
      xor eax,eax
      jmp take_rights
%1_ss: call rights
      mov eax,%2
      mov ss,eax
      mov eax,DS0
      mov ss,eax
      xor eax,eax
      jmp take_rights
%endmacro
LOADS rpl0, T1
LOADS rpl1, T1+1
LOADS rpl3, T1+3
load_gs:
      call rights
      mov eax,T1+3
      mov gs,eax
      xor eax,eax
      jmp take_rights
load_lldt:
      call rights
      mov eax,T1
      lldt ax
      sldt eax
      jmp take_rights
load_ltr:
      call rights
      mov eax,T1
      ltr ax
      str eax
      call take_rights
      mov byte [gdt+TSS+5],0x89
      mov eax,TSS
      ltr ax
      ret
look_lar:
      call rights
      mov eax,T1
      mov ecx,0x12345678
      lar ecx,eax
      mov eax,ecx
      setz [r_zero]
      jmp take_zero
look_lar16:
      call rights
      mov eax,T1
      mov ecx,0x12345678
      lar cx,ax
      mov eax,ecx
      setz [r_zero]
      jmp take_zero
look_lar3:
      call rights
      mov eax,T1+3
      mov ecx,0x12345678
      lar ecx,eax
      mov eax,ecx
      setz [r_zero]
      jmp take_zero
look_lsl:
      call rights
      mov eax,T1
      mov ecx,0x12345678
      lsl ecx,eax
      mov eax,ecx
      setz [r_zero]
      jmp take_zero
look_verr:
      call rights
      mov eax,T1+2
      verr ax
      setz [r_zero]
      xor eax,eax
      jmp take_zero
look_verw:
      call rights
      mov eax,T1
      verw ax
      setz [r_zero]
      xor eax,eax
take_zero:
      and eax,0xfff0ffff      ; LAR: undefined
      xor eax,0x80000000
      cmp byte [r_zero],0
      jne .set
      xor eax,0x80000000
.set: mov [r_value],eax
      ret
far_jump:
      call flat_rights
      jmp T1:gated
; EAX = case: a flat segment of that access byte.
flat_rights:
      mov [gdt+T1],dword 0x0000ffff
      mov eax,[sweep_at]
      and eax,0xff
      shl eax,8
      or eax,0x00cf0000
      test eax,0x1000
      jnz .segment
      mov [gdt+T1],dword 0x00000020   ; a TSS too small to switch to
      xor eax,0x00cf0000
.segment:
      mov [gdt+T1+4],eax
      ret
far_call:
      call flat_rights
      call T1:gated
far_jump3:
      call flat_rights
      jmp T1+3:gated
far_return0:
      call flat_rights
      push dword T1
      push dword gated
      retf
far_return3: ; to ring 3
      call flat_rights
      push dword DS3
      push dword STACK3
      push dword T1+3
      push dword user_out
      retf
far_return1:
      call flat_rights
      push dword DS1
      push dword STACK3
      push dword T1+1
      push dword user_out
      retf
user_out:
      int 0x30
iret_code3:
      call flat_rights
      push dword DS3
      push dword STACK3
      push dword 2
      push dword T1+3
      push dword user_out
      iret
iret_stack3:
      call flat_rights
      push dword T1+3
      push dword STACK3
      push dword 2
      push dword CS3
      push dword user_out
      iret
gate_call:
      call gate_rights
      call T1:0
gate_jump:
      call gate_rights
      jmp T1:0
gate_call3: ; from ring 3, RPL 3
      mov [gate_stack],esp
      call gate_rights
      RING3
      call T1+3:0
      int 0x30
gate_jump3:
      call gate_rights
      RING3
      jmp T1+3:0
      int 0x30
; Target of the gate: each access byte.
gate_target:
      call flat_rights
      mov eax,[gdt+T1]
      mov [gdt+T2],eax
      mov eax,[gdt+T1+4]
      mov [gdt+T2+4],eax
      mov eax,gated
      and eax,0xffff
      or eax,T2<<16
      mov [gdt+T1],eax
      mov eax,gated
      and eax,0xffff0000
      or eax,0xec00
      mov [gdt+T1+4],eax
      ret
gate_target0:
      call gate_target
      call T1:0
gate_target3:
      call gate_target
      RING3
      call T1+3:0
      int 0x30
gate_stack_rights: ; SS0 of the TSS: each access byte
      mov al,0xec
      call gate_rights
      mov [gdt+T2],dword 0x0000ffff
      mov eax,[sweep_at]
      and eax,0xff
      shl eax,8
      or eax,0x00cf0000
      mov [gdt+T2+4],eax
      mov dword [tss+8],T2
      RING3
      call T1+3:0
      int 0x30
int_stack_rights:
      mov [gdt+T2],dword 0x0000ffff
      mov eax,[sweep_at]
      and eax,0xff
      shl eax,8
      or eax,0x00cf0000
      mov [gdt+T2+4],eax
      mov dword [tss+8],T2
      RING3
      int 0x30
user_ds: ; loads in ring 3
      call rights
      RING3
      mov eax,T1+3
      mov ds,eax
      int 0x30
user_ds0:
      call rights
      RING3
      mov eax,T1
      mov ds,eax
      int 0x30
user_ss:
      call rights
      RING3
      mov eax,T1+3
      mov ss,eax
      int 0x30
user_lar:
      call rights
      RING3
      mov eax,T1+3
      xor ecx,ecx
      lar ecx,eax
      setz [r_zero]
      mov eax,ecx
      call take_zero
      int 0x30
user_verr:
      call rights
      RING3
      mov eax,T1+3
      verr ax
      setz [r_zero]
      xor eax,eax
      call take_zero
      int 0x30
user_verw:
      call rights
      RING3
      mov eax,T1+3
      verw ax
      setz [r_zero]
      xor eax,eax
      call take_zero
      int 0x30
; Reads and writes through a segment of each kind.
use_read:
      call rights
      mov eax,T1
      mov es,eax
      mov eax,[es:0x10]
      mov [r_value],eax
      ret
use_write:
      call rights
      mov eax,T1
      mov es,eax
      mov dword [es:0x10],0x1234567
      mov dword [r_value],1
      ret
; Selectors: every table, index and RPL.
each_selector:
      shl eax,1
      mov ds,eax
      mov eax,DS0
      mov ds,eax
      ret
each_stack:
      shl eax,1
      mov ss,eax
      mov eax,DS0
      mov ss,eax
      ret
each_jump: ; JMP FAR with each selector
      mov [SCRATCH+4],eax
      mov dword [SCRATCH],gated
      jmp far [SCRATCH]
each_return:
      push eax
      push dword gated
      retf
each_lldt:
      lldt ax
      ret
each_ltr:
      mov byte [gdt+TSS+5],0x89
      ltr ax
      ret
arpl_case: ; AL: two RPLs
      mov edx,eax
      and eax,3
      shr edx,2
      or eax,0x1230
      arpl ax,dx
      setz [r_zero]
      movzx eax,ax
      jmp take_zero

main:
      mov dword [SCRATCH+0x10],0xcafe
      SWEEP "mov ds", 256, rpl0_ds
      SWEEP "mov ds rpl 1", 256, rpl1_ds
      SWEEP "mov ds rpl 3", 256, rpl3_ds
      SWEEP "mov ss", 256, rpl0_ss
      SWEEP "mov ss rpl 1", 256, rpl1_ss
      SWEEP "mov ss rpl 3", 256, rpl3_ss
      SWEEP "mov gs rpl 3", 256, load_gs
      SWEEP "lldt", 256, load_lldt
      xor eax,eax
      lldt ax
      SWEEP "ltr", 256, load_ltr
      mov byte [gdt+TSS+5],0x89
      mov eax,TSS
      ltr ax
      SWEEP "lar", 256, look_lar
      SWEEP "lar 16", 256, look_lar16
      SWEEP "lar rpl 3", 256, look_lar3
      SWEEP "lsl", 256, look_lsl
      SWEEP "verr", 256, look_verr
      SWEEP "verw", 256, look_verw
      SWEEP "jmp far", 256, far_jump
      SWEEP "jmp far rpl 3", 256, far_jump3
      SWEEP "call far", 256, far_call
      SWEEP "retf", 256, far_return0
      SWEEP "retf to ring 3", 256, far_return3
      SWEEP "retf to ring 1", 256, far_return1
      SWEEP "iret code", 256, iret_code3
      SWEEP "iret stack", 256, iret_stack3
      SWEEP "read", 256, use_read
      SWEEP "write", 256, use_write
      SWEEP "user mov ds", 256, user_ds
      SWEEP "user mov ds rpl 0", 256, user_ds0
      SWEEP "user mov ss", 256, user_ss
      SWEEP "user lar", 256, user_lar
      SWEEP "user verr", 256, user_verr
      SWEEP "user verw", 256, user_verw
      SWEEP "each selector ds", 1024, each_selector
      SWEEP "each selector ss", 1024, each_stack
      SWEEP "each selector jmp", 96, each_jump
      SWEEP "each selector retf", 32, each_return
      SWEEP "arpl", 16, arpl_case
      ret
align 4
r_zero: dd 0
gate_stack: dd 0
