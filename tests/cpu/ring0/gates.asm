; SPDX-License-Identifier: Apache-2.0
; Interrupt, trap and call gates, stacks of the TSS, returns: each access byte, limits, flags.
%include "lib.inc"

LANDED equ 0x7000       ; below 64 KB, for 16-bit gates
GATED_VECTOR equ 0x32

; Where gates lead: the frame as one number.
landed:
      mov eax,esp
      mov ecx,5
      mov esi,esp
.word: rol eax,5
      xor eax,[ss:esi]
      add esi,4
      loop .word
      mov [r_value],eax
      mov eax,landed_out
      jmp eax
landed_end:
landed_out:
      mov eax,cs
      test al,3
      jz .kernel
      int 0x30
.kernel:
      mov dword [r_vector],NONE
      mov dword [r_error],NONE
      mov dword [quiet],1
      jmp finish
stack_words: ; what lies above the frame is known
      mov edi,STACKI-0x80
      mov ecx,0x40
      mov eax,0x11111111
      rep stosd
      ret
idt_gate: ; AL: access byte of the gate
      push eax
      call stack_words
      pop eax
      mov edi,idt+GATED_VECTOR*8
      mov word [edi],LANDED
      mov word [edi+2],CS0
      mov byte [edi+4],0
      mov [edi+5],al
      mov word [edi+6],0
      ret
gate0: call idt_gate
      push dword 0x12345678
      push dword 0x12345678
      int GATED_VECTOR
gate3: call idt_gate
      RING3
      int GATED_VECTOR
gate_ud: ; the gate of #UD
      call idt_gate
      mov eax,[idt+GATED_VECTOR*8]
      mov [idt+6*8],eax
      mov eax,[idt+GATED_VECTOR*8+4]
      mov [idt+6*8+4],eax
      push dword 0x12345678
      push dword 0x12345678
      ud2
gate_ud3:
      call idt_gate
      mov eax,[idt+GATED_VECTOR*8]
      mov [idt+6*8],eax
      mov eax,[idt+GATED_VECTOR*8+4]
      mov [idt+6*8+4],eax
      RING3
      ud2
; Code segment of each kind behind the gate.
code_rights:
      mov [gdt+T1],dword 0x0000ffff
      and eax,0xff
      shl eax,8
      or eax,0x00cf0000
      mov [gdt+T1+4],eax
      ret
target0:
      call code_rights
      mov al,0xee
      call idt_gate
      mov word [idt+GATED_VECTOR*8+2],T1
      push dword 0x12345678
      push dword 0x12345678
      int GATED_VECTOR
target3:
      call code_rights
      mov al,0xee
      call idt_gate
      mov word [idt+GATED_VECTOR*8+2],T1
      RING3
      int GATED_VECTOR
target_ud3:
      call code_rights
      call gate_for_ud
      mov word [idt+6*8+2],T1
      RING3
      ud2
gate_for_ud:
      mov word [idt+6*8],LANDED
      mov word [idt+6*8+2],CS0
      mov dword [idt+6*8+4],0x8e00
      ret
; Stack segment of each kind in the TSS.
; (Of ring 1, so that the fault itself finds a stack.)
stack_rights:
      call code_rights
      mov al,0xee
      call idt_gate
      mov word [idt+GATED_VECTOR*8+2],CS1
      mov dword [tss+16],T1+1
      RING3
      int GATED_VECTOR
stack_rights_ud:
      call code_rights
      call gate_for_ud
      mov word [idt+6*8+2],CS1
      mov dword [tss+16],T1+1
      RING3
      ud2
stack_selector: ; each selector
      push eax
      mov al,0xee
      call idt_gate
      mov word [idt+GATED_VECTOR*8+2],CS1
      pop eax
      mov [tss+16],eax
      RING3
      int GATED_VECTOR
; Limit of the TSS and of the IDT.
tss_limit:
      add eax,0x0b
      mov byte [gdt+TSS+5],0x89
      mov [gdt+TSS],ax
      mov ax,TSS
      ltr ax
      mov al,0xee
      call idt_gate
      mov word [idt+GATED_VECTOR*8+2],CS1
      mov dword [tss+16],DS1
      RING3
      int GATED_VECTOR
idt_limit:
      add eax,GATED_VECTOR*8
      sub eax,4
      mov [short_idt],ax
      mov dword [short_idt+2],idt
      mov al,0xee
      call idt_gate
      lidt [short_idt]
      push dword 0x12345678
      push dword 0x12345678
      int GATED_VECTOR
; A 16-bit TSS.
small_tss:
      mov byte [gdt+TSS+5],0x81
      mov word [gdt+TSS],0x2b
      mov ax,TSS
      ltr ax
      mov al,0xee
      call idt_gate
      mov dword [tss+0],0
      mov word [tss+2],0x8000
      mov word [tss+4],DS0
      RING3
      int GATED_VECTOR
; Call gates.
call_gate: ; AL access byte, AH parameters
      push eax
      call stack_words
      pop eax
      mov edi,gdt+T1
      mov word [edi],LANDED
      mov word [edi+2],CS0
      mov [edi+4],ah
      mov [edi+5],al
      mov word [edi+6],0
      ; No code segment: what it would run is anything. And a TSS too small to switch to.
      mov cl,al
      and cl,0x18
      cmp cl,0x18
      jne .system
      and byte [edi+5],0xef
      and al,0xef
.system:
      mov cl,al
      and cl,0x17
      cmp cl,1
      je .tss
      cmp cl,3
      je .tss
      ret
.tss: mov word [edi],0x20
      ret
call0: xor ah,ah
      call call_gate
      push dword 0x12345678
      push dword 0x12345678
      push dword 0x12345678
      call T1:0
call3: xor ah,ah
      call call_gate
      RING3
      push dword 0x22222222
      call T1+3:0
call3_rpl: ; the gate's DPL against the RPL
      mov al,0xac           ; DPL 1
      xor ah,ah
      call call_gate
      push dword 0x12345678
      push dword 0x12345678
      push dword 0x12345678
      mov eax,[sweep_at]
      and eax,3
      add eax,T1
      mov [SCRATCH+4],eax
      mov dword [SCRATCH],0
      call far [SCRATCH]
call_parameters: ; 32-bit gates, each count
      mov ah,al
      mov al,0xec
      call call_gate
      RING3
      push dword 0x33333333
      push dword 0x44444444
      push dword 0x55555555
      call T1+3:0
call_parameters16:
      mov ah,al
      mov al,0xe4
      call call_gate
      RING3
      push dword 0x33333333
      push dword 0x44444444
      push dword 0x55555555
      call T1+3:0
jump0: xor ah,ah
      call call_gate
      push dword 0x12345678
      push dword 0x12345678
      push dword 0x12345678
      push dword 0x12345678
      push dword 0x12345678
      jmp T1:0
jump3: xor ah,ah
      call call_gate
      RING3
      jmp T1+3:0
call_target0:
      call code_rights
      mov eax,[gdt+T1]
      mov [gdt+T2],eax
      mov eax,[gdt+T1+4]
      mov [gdt+T2+4],eax
      mov ax,0xec
      call call_gate
      mov word [gdt+T1+2],T2
      push dword 0x12345678
      push dword 0x12345678
      push dword 0x12345678
      call T1:0
call_target3:
      call code_rights
      mov eax,[gdt+T1]
      mov [gdt+T2],eax
      mov eax,[gdt+T1+4]
      mov [gdt+T2+4],eax
      mov ax,0xec
      call call_gate
      mov word [gdt+T1+2],T2
      RING3
      call T1+3:0
jump_target3:
      call code_rights
      mov eax,[gdt+T1]
      mov [gdt+T2],eax
      mov eax,[gdt+T1+4]
      mov [gdt+T2+4],eax
      mov ax,0xec
      call call_gate
      mov word [gdt+T1+2],T2
      RING3
      jmp T1+3:0
call_stack: ; SS0 of each kind
      call code_rights
      mov eax,[gdt+T1]
      mov [gdt+T2],eax
      mov eax,[gdt+T1+4]
      mov [gdt+T2+4],eax
      mov ax,0xec
      call call_gate
      mov word [gdt+T1+2],CS1
      mov dword [tss+16],T2+1
      RING3
      call T1+3:0

; Flags: each bit by POPF and IRET, in ring 0 and in ring 3 with and without IOPL.
one_bit: ; EAX = bit number -> EAX
      mov ecx,eax
      mov eax,1
      shl eax,cl
      and eax,~0x20100      ; not TF, not VM
      or eax,2
      ret
popf0: call one_bit
      push eax
      popf
      jmp take_flags
popf16: call one_bit
      push dword 0x3202
      popf
      push ax
      popfw
take_flags:
      pushf
      pop eax
      mov [r_value],eax
      push dword 2
      popf
      ret
popf3: call one_bit
      RING3
      push eax
      popf
      int 0x30
popf3_from: ; all set before
      call one_bit
      mov dword [flags3],0x0024cad7 & ~0x100
      or dword [flags3],0x3000
      mov ebx,[iopl3]
      and dword [flags3],ebx
      mov ebx,eax
      RING3
      push ebx
      popf
      int 0x30
popf3_16:
      call one_bit
      mov ebx,eax
      RING3
      push bx
      popfw
      int 0x30
iret0: call one_bit
      and eax,~0x4000
      push eax
      push dword CS0
      push dword take_flags
      iret
iret3: ; from ring 3 to ring 3
      call one_bit
      mov ebx,eax
      RING3
      push ebx
      push dword CS3
      push dword .there
      iret
.there:
      int 0x30
iret03: ; from ring 0 to ring 3
      call one_bit
      push dword DS3
      push dword STACK3
      push eax
      push dword CS3
      push dword iret3.there
      iret
iret16:
      call one_bit
      push ax
      push word T2
      push word 0x7100
      iretw
frame_flags:
      cmp dword [r_vector],0x30
      jne .no
      mov eax,[r_flags]
      mov [r_value],eax
.no:  ret
frame_esp:
      ret
; Segments that a return takes away.
drop: ; each access byte in ES and GS on the way to ring 3
      call code_rights
      mov eax,T1
      mov gs,eax
      push dword DS3
      push dword STACK3
      push dword 2
      push dword CS3
      push dword .there
      iret
.there:
      mov eax,gs
      int 0x30
drop_value:
      mov eax,[r_eax]
      mov [r_value],eax
      mov eax,DS0
      mov gs,eax
      ret

main:
      mov esi,landed
      mov edi,LANDED
      mov ecx,landed_end-landed
      rep movsb
      mov dword [tss+12],STACKI-0x1000
      mov dword [tss+16],DS1
      SWEEP "int gate", 256, gate0
      SWEEP "int gate from ring 3", 256, gate3
      SWEEP "ud gate", 256, gate_ud
      SWEEP "ud gate from ring 3", 256, gate_ud3
      call restore_ud
      SWEEP "int target", 256, target0
      SWEEP "int target from ring 3", 256, target3
      SWEEP "ud target from ring 3", 256, target_ud3
      call restore_ud
      SWEEP "int stack", 256, stack_rights
      SWEEP "ud stack", 256, stack_rights_ud
      call restore_ud
      SWEEP "int stack selector", 0x70, stack_selector
      mov dword [tss+8],DS0
      SWEEP "tss limit", 12, tss_limit
      call restore_tss
      SWEEP "idt limit", 0x10, idt_limit
      lidt [idtr]
      SWEEP "16-bit tss", 1, small_tss
      call restore_tss
      SWEEP "call gate", 256, call0
      SWEEP "call gate from ring 3", 256, call3
      SWEEP "call gate rpl", 4, call3_rpl
      SWEEP "call gate parameters", 32, call_parameters
      SWEEP "call gate parameters 16", 32, call_parameters16
      SWEEP "jmp gate", 256, jump0
      SWEEP "jmp gate from ring 3", 256, jump3
      SWEEP "call target", 256, call_target0
      SWEEP "call target from ring 3", 256, call_target3
      SWEEP "jmp target from ring 3", 256, jump_target3
      SWEEP "call stack", 256, call_stack
      mov dword [tss+8],DS0
      SWEEP "popf", 32, popf0
      SWEEP "popf 16", 16, popf16
      mov dword [sweep_post],frame_flags
      mov dword [flags3],2
      SWEEP "popf in ring 3", 32, popf3
      SWEEP "popf 16 in ring 3", 16, popf3_16
      mov dword [iopl3],~0x3000
      SWEEP "popf in ring 3 from all", 32, popf3_from
      mov dword [iopl3],-1
      SWEEP "popf in ring 3 with iopl 3", 32, popf3_from
      mov dword [flags3],2
      SWEEP "iret in ring 3", 32, iret3
      mov dword [flags3],0x3002
      SWEEP "iret in ring 3 with iopl 3", 32, iret3
      mov dword [flags3],2
      SWEEP "iret to ring 3", 32, iret03
      mov dword [sweep_post],0
      SWEEP "iret", 32, iret0
      mov dword [sweep_post],drop_value
      SWEEP "segments dropped", 256, drop
      ret
restore_ud:
      mov eax,stubs+6*16
      mov [idt+6*8],ax
      mov word [idt+6*8+2],CS0
      mov word [idt+6*8+4],0x8e00
      shr eax,16
      mov [idt+6*8+6],ax
      mov dword [tss+8],DS0
      ret
restore_tss:
      mov byte [gdt+TSS+5],0x89
      mov word [gdt+TSS],0x67
      mov dword [tss+4],STACKI
      mov dword [tss+8],DS0
      mov ax,TSS
      ltr ax
      ret
align 4
iopl3: dd 0
short_idt: dw 0
      dd 0
