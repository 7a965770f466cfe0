; SPDX-License-Identifier: Apache-2.0
; Segments with a base and a limit: every way of access around the edges, up and down, 16 and 32 bits, code.
; (TCG checks no limits: Bochs is the judge.)
%include "lib.inc"
BASE equ SCRATCH+0x100
; Instructions with what they need before them.
%macro several_1 0
      mov edi,edx
      stosd
%endmacro
%macro several_2 0
      mov edi,edx
      mov esi,SCRATCH
      movsd
%endmacro
%macro several_3 0
      mov edi,edx
      scasb
%endmacro
%macro several_4 0
      mov eax,0x20
      bt [es:edx],eax
%endmacro
%macro several_5 0
      push ecx
      pop dword [es:edx]
%endmacro
%macro several_6 0
      mov edi,edx
      mov ecx,3
      rep stosb
%endmacro
%macro several_7 0
      neg edx
      mov eax,[es:edx]
%endmacro
%macro several_8 0
      mov ebp,0x40
      enter 8,3
%endmacro
%macro several_9 0
      mov ebp,edx
      mov eax,[ebp]
%endmacro
%macro several_10 0
      mov ebp,edx
      leave
%endmacro
%macro several_11 0
      mov esp,edx
      add esp,0x100
      push eax
%endmacro
%macro several_12 0
      mov edi,edx
      stosd
%endmacro
%macro several_13 0
      mov edi,edx
      mov ecx,3
      rep stosw
%endmacro
%macro several_14 0
      xor eax,eax
      bound eax,[edx]
%endmacro
; Segment of bytes 0-7fh at BASE: T1 grows up, T2 down (80h-ffffh), T3 down and big, T4 code.
set_up:
      mov dword [gdt+T1],((BASE & 0xffff)<<16)|0x7f
      mov dword [gdt+T1+4],0x0040f300|((BASE>>16)&0xff)
      mov dword [gdt+T2],((BASE & 0xffff)<<16)|0x7f
      mov dword [gdt+T2+4],0x00009700|((BASE>>16)&0xff)
      mov dword [gdt+T3],((BASE & 0xffff)<<16)|0x7f
      mov dword [gdt+T3+4],0x00409700|((BASE>>16)&0xff)
      ret
%macro EDGE 3 ; name, selector, instruction
%1:
      add eax,0x70
      mov ecx,%2
      mov es,ecx
      mov edx,eax
      xor eax,eax
      %3
      mov dword [r_value],1
      ret
%endmacro
%macro EDGES 2
EDGE %1_read1, %2, {mov cl,[es:edx]}
EDGE %1_read2, %2, {mov cx,[es:edx]}
EDGE %1_read4, %2, {mov ecx,[es:edx]}
EDGE %1_write1, %2, {mov [es:edx],al}
EDGE %1_write4, %2, {mov [es:edx],eax}
EDGE %1_change, %2, {add [es:edx],eax}
EDGE %1_x87, %2, {fld qword [es:edx]}
EDGE %1_far, %2, {lds ecx,[es:edx]}
%endmacro
EDGES up, T1
EDGES down, T2
EDGES big, T3
EDGE up_stos, T1, several_1
EDGE up_movs, T1, several_2
EDGE up_scas, T1, several_3
EDGE up_cx8, T1, {cmpxchg8b [es:edx]}
EDGE up_sgdt, T1, {sgdt [es:edx]}
EDGE up_fxsave, T1, {fxsave [es:edx]}
EDGE up_bt, T1, several_4
EDGE up_pop, T1, several_5
EDGE up_bound, T1, {bound eax,[es:edx]}
EDGE up_rep, T1, several_6
EDGE up_negative, T1, several_7
; Stack: SS = T1, ESP = case.
%macro STACK 2
%1:
      add eax,0x6c
      mov edx,eax
      RING3
      mov ecx,T1+3
      mov ss,ecx
      mov esp,edx
      %2
      int 0x30
%endmacro
STACK stack_push, {push eax}
STACK stack_push2, {push ax}
STACK stack_pusha, {pusha}
STACK stack_pop, {pop eax}
STACK stack_call, {call stack_out}
STACK stack_pushf, {pushf}
STACK stack_enter, {enter 8,0}
STACK stack_enter3, several_8
STACK stack_ss, {mov eax,[esp]}
STACK stack_ebp, several_9
STACK stack_pushm, {push dword [ds:SCRATCH]}
STACK stack_pushs, {push es}
STACK stack_far, {call CS3:stack_out}
STACK stack_leave, several_10
stack_out:
      int 0x30
; 16-bit stack: SP wraps.
stack16:
      mov edx,eax
      shl edx,2
      mov dword [gdt+T4],((BASE & 0xffff)<<16)|0xffff
      mov dword [gdt+T4+4],0x00009300|((BASE>>16)&0xff)
      mov ecx,T4
      mov ss,ecx
      mov esp,edx
      or esp,0x12340000
      push dword 0x11223344
      mov eax,esp
      mov edx,DS0
      mov ss,edx
      mov esp,[saved_esp]
      mov [r_value],eax
      mov dword [r_vector],NONE
      mov dword [r_error],NONE
      jmp [resume]
; Code with a limit: runs up to its last byte.
code_edge: ; a NOP, then INT 31h, the limit = case
      mov dword [SCRATCH+0x200],0x31cd9090
      mov dword [SCRATCH+0x204],0x90909090
      mov [gdt+T4],ax
      mov word [gdt+T4+2],(SCRATCH+0x200) & 0xffff
      mov dword [gdt+T4+4],0x00409b00|((SCRATCH>>16)&0xff)
      jmp T4:0
code_far: ; offset of a far jump against the limit
      mov [SCRATCH+0x240],eax
      mov dword [SCRATCH+0x244],T4
      mov dword [gdt+T4],(((SCRATCH+0x200) & 0xffff)<<16)|3
      mov dword [gdt+T4+4],0x00409b00|((SCRATCH>>16)&0xff)
      mov dword [SCRATCH+0x200],0x31cd31cd
      mov dword [SCRATCH+0x204],0x31cd31cd
      jmp far [SCRATCH+0x240]
code_call:
      mov [SCRATCH+0x240],eax
      mov dword [SCRATCH+0x244],T4
      mov dword [gdt+T4],(((SCRATCH+0x200) & 0xffff)<<16)|3
      mov dword [gdt+T4+4],0x00409b00|((SCRATCH>>16)&0xff)
      call far [SCRATCH+0x240]
code_retf:
      mov dword [gdt+T4],(((SCRATCH+0x200) & 0xffff)<<16)|3
      mov dword [gdt+T4+4],0x00409b00|((SCRATCH>>16)&0xff)
      push dword T4
      push eax
      retf
code_iret:
      mov dword [gdt+T4],(((SCRATCH+0x200) & 0xffff)<<16)|3
      mov dword [gdt+T4+4],0x00409b00|((SCRATCH>>16)&0xff)
      push dword 2
      push dword T4
      push eax
      iret
code_gate: ; the offset of a gate
      mov dword [gdt+T4],(((SCRATCH+0x200) & 0xffff)<<16)|3
      mov dword [gdt+T4+4],0x00409b00|((SCRATCH>>16)&0xff)
      mov [idt+0x32*8],ax
      mov word [idt+0x32*8+2],T4
      mov dword [idt+0x32*8+4],0x8e00
      int 0x32
code_gate_call:
      mov [gdt+T1],ax
      mov word [gdt+T1+2],T4
      mov dword [gdt+T1+4],0x8c00
      call T1:0
; Stack of an inner level with little room: ring 1's, ESP = case.
inner_room:
      mov dword [gdt+T1],0x0000007f
      mov dword [gdt+T1+4],0x0040b300|((SCRATCH>>16)&0xff)
      mov [tss+12],eax
      mov dword [tss+16],T1+1
      mov word [idt+0x33*8],to_ring1 - 0x100000
      mov word [idt+0x33*8+2],CS1
      mov dword [idt+0x33*8+4],0x0010ee00
      RING3
      int 0x33
to_ring1:
      int 0x30
inner_room_call:
      mov dword [gdt+T2],0x0000007f
      mov dword [gdt+T2+4],0x0040b300|((SCRATCH>>16)&0xff)
      mov [tss+12],eax
      mov dword [tss+16],T2+1
      mov word [gdt+T1],to_ring1 - 0x100000
      mov word [gdt+T1+2],CS1
      mov dword [gdt+T1+4],0x0010ec02
      RING3
      push eax
      push eax
      call T1+3:0
; A 16-bit code segment.
code16:
      mov dword [gdt+T4],0xffff
      mov dword [gdt+T4+4],0x00009b10
      jmp dword T4:(small - 0x100000)
bits 16
small:
      mov ax,0x1234
      mov ebx,0x12345678
      push ax
      push ebx
      pop ecx
      pop dx
      lea si,[bx+2]
      call .sub
      o32 call dword .sub32
      jcxz .out
      mov cx,2
.again: loop .again
.out: jmp dword CS0:back
.sub: ret
.sub32: o32 ret
bits 32
back:
      xor eax,ecx
      rol eax,3
      xor eax,esi
      mov [r_value],eax
      mov dword [r_vector],NONE
      mov dword [r_error],NONE
      mov esp,[saved_esp]
      jmp [resume]
; Alignment checks: AM and AC in ring 3.
%macro ALIGN 3
%1:
      mov edx,eax
      and edx,15
      add edx,SCRATCH+0x300
      mov dword [flags3],0x40002
      RING3
      %3
      int 0x30
%endmacro
ALIGN align_1, 1, {mov al,[edx]}
ALIGN align_2, 2, {mov ax,[edx]}
ALIGN align_4, 4, {mov eax,[edx]}
ALIGN align_w2, 2, {mov [edx],ax}
ALIGN align_w4, 4, {mov [edx],eax}
ALIGN align_add, 4, {add [edx],eax}
ALIGN align_push, 4, several_11
ALIGN align_stos, 4, several_12
ALIGN align_rep, 4, several_13
ALIGN align_cx8, 8, {cmpxchg8b [edx]}
ALIGN align_bound, 4, several_14
align_off: ; AC set, AM clear
      mov ecx,cr0
      and ecx,~0x40000
      mov cr0,ecx
      jmp align_4
align_ac: ; AM set, AC clear
      mov edx,eax
      add edx,SCRATCH+0x300
      mov dword [flags3],2
      RING3
      mov eax,[edx]
      int 0x30
align_loop: ; hot code that goes over a misaligned word at last
      mov edx,eax
      add edx,SCRATCH+0x300
      mov ecx,200
      mov dword [flags3],0x40002
      RING3
      xor ebx,ebx
.turn: mov eax,[SCRATCH+0x300]
      add eax,[SCRATCH+0x304+ebx]
      add eax,ecx
      dec ecx
      jnz .turn
      mov ecx,2
      and edx,3
      mov ebx,edx
      test ebx,ebx
      jnz .turn
      int 0x30
align_popf: ; AC set by POPF, used at once, and cleared again
      mov edx,eax
      and edx,3
      add edx,SCRATCH+0x300
      mov dword [flags3],2
      RING3
      mov ecx,[edx]
      push dword 0x40002
      popf
      mov ecx,[edx]
      push dword 2
      popf
      int 0x30
%macro ALL 2
      SWEEP {%1, " read 1"}, 32, %2_read1
      SWEEP {%1, " read 2"}, 32, %2_read2
      SWEEP {%1, " read 4"}, 32, %2_read4
      SWEEP {%1, " write 1"}, 32, %2_write1
      SWEEP {%1, " write 4"}, 32, %2_write4
      SWEEP {%1, " change"}, 32, %2_change
      SWEEP {%1, " x87"}, 32, %2_x87
      SWEEP {%1, " far"}, 32, %2_far
%endmacro
take_eip: ; where the exception came from
      mov eax,[r_eip]
      mov [r_value],eax
      ret
main:
      call set_up
      ALL "up", up
      ALL "down", down
      ALL "big", big
      fninit
      SWEEP "up stos", 32, up_stos
      SWEEP "up movs", 32, up_movs
      SWEEP "up scas", 32, up_scas
      SWEEP "up cmpxchg8b", 32, up_cx8
      SWEEP "up sgdt", 32, up_sgdt
      SWEEP "up fxsave", 32, up_fxsave
      SWEEP "up bt", 32, up_bt
      SWEEP "up pop", 32, up_pop
      SWEEP "up bound", 32, up_bound
      SWEEP "up rep", 32, up_rep
      SWEEP "up negative", 32, up_negative
      mov dword [sweep_post],take_eip
      SWEEP "code edge", 8, code_edge
      SWEEP "jmp far offset", 8, code_far
      SWEEP "call far offset", 8, code_call
      SWEEP "retf offset", 8, code_retf
      SWEEP "iret offset", 8, code_iret
      SWEEP "gate offset", 8, code_gate
      SWEEP "call gate offset", 8, code_gate_call
      mov dword [sweep_post],0
      SWEEP "inner stack", 0x30, inner_room
      SWEEP "inner stack, call gate", 0x30, inner_room_call
      call set_up
      SWEEP "push", 32, stack_push
      SWEEP "push 16", 32, stack_push2
      SWEEP "pusha", 32, stack_pusha
      SWEEP "pop", 32, stack_pop
      SWEEP "call", 32, stack_call
      SWEEP "pushf", 32, stack_pushf
      SWEEP "enter", 32, stack_enter
      SWEEP "enter 3", 32, stack_enter3
      SWEEP "read by esp", 32, stack_ss
      SWEEP "read by ebp", 32, stack_ebp
      SWEEP "push memory", 32, stack_pushm
      SWEEP "push es", 32, stack_pushs
      SWEEP "call far", 32, stack_far
      SWEEP "leave", 32, stack_leave
      SWEEP "16-bit stack", 16, stack16
      TRY "16-bit code"
      jmp code16
      ENDTRY
      VALUE "16-bit code", [r_value]
      call set_up
      mov eax,cr0
      or eax,0x40000
      mov cr0,eax
      SWEEP "align 1", 16, align_1
      SWEEP "align 2", 16, align_2
      SWEEP "align 4", 16, align_4
      SWEEP "align write 2", 16, align_w2
      SWEEP "align write 4", 16, align_w4
      SWEEP "align add", 16, align_add
      SWEEP "align push", 16, align_push
      SWEEP "align stos", 16, align_stos
      SWEEP "align rep stosw", 16, align_rep
      SWEEP "align cmpxchg8b", 16, align_cx8
      SWEEP "align bound", 16, align_bound
      SWEEP "align without ac", 4, align_ac
      SWEEP "align by popf", 4, align_popf
      SWEEP "align in a loop", 8, align_loop
      SWEEP "align without am", 4, align_off
      ret
