; SPDX-License-Identifier: Apache-2.0
; Single step, breakpoints of the debug registers, RF, shadows of MOV SS, ICEBP, DR6 and DR7.
%include "lib.inc"

; Sets a breakpoint: register, address, bits 16-19 of DR7 (LEN and R/W) for register 0.
%macro BREAK 3
      mov eax,%2
      mov dr%1,eax
      mov eax,dr7
      and eax,~((0xf<<(16+4*%1))|(3<<(2*%1)))
      or eax,(%3<<(16+4*%1))|(1<<(2*%1))
      mov dr7,eax
%endmacro
%macro UNBREAK 0
      mov eax,0x400
      mov dr7,eax
%endmacro
X equ 0
W1 equ 1
W2 equ 5
W4 equ 0xd
A1 equ 3
A2 equ 7
A4 equ 0xf
; Steps: TF set for what follows; %1 exceptions are logged and returned from.
%macro STEP 1
      mov dword [again],%1
      mov dword [clear_flags],0
      push dword 0x102
      popf
%endmacro
; TF off again, the rest is logged no more.
%macro STEPPED 0
      mov dword [clear_flags],0x100
      nop
      nop
      mov dword [clear_flags],0
      mov dword [again],0
%endmacro

main:
      mov dword [flags_mask],-1
      TRY "step nop"
      STEP 1
      nop
      nop
      ENDTRY
      TRY "step in ring 3"
      mov dword [flags3],0x102
      RING3
      ENDTRY
      mov dword [flags3],2
      TRY "steps"
      STEP 12
      nop
      mov eax,1
      add eax,eax
      jmp .there
      nop
.there: call .sub
      push dword 0x102
      popf
      nop
      mov ecx,2
      mov esi,SCRATCH
      mov edi,SCRATCH+0x100
      jmp .end
.sub: ret
.end: mov dword [again],1
      mov dword [clear_flags],0x100
      nop
      ENDTRY
      TRY "step over rep"
      STEP 6
      mov ecx,3
      rep movsb
      nop
      nop
      ENDTRY
      TRY "step over int"
      STEP 2
      nop
      int 0x20
      ENDTRY
      TRY "step over int3"
      STEP 1
      int3
      ENDTRY
      TRY "step into a fault"
      STEP 1
      nop
      ud2
      ENDTRY
      TRY "step ud2"
      STEP 0
      ud2
      ENDTRY
      TRY "step over mov ss"
      STEP 3
      mov eax,DS0
      mov ss,eax
      nop
      nop
      ENDTRY
      TRY "step over pop ss"
      push dword DS0
      STEP 3
      nop
      pop ss
      nop
      nop
      ENDTRY
      TRY "step over lss"
      mov [SCRATCH],esp
      sub dword [SCRATCH],8
      mov word [SCRATCH+4],DS0
      STEP 3
      lss esp,[SCRATCH]
      nop
      nop
      ENDTRY
      TRY "step over mov ds"
      mov eax,DS0
      STEP 3
      mov ds,eax
      nop
      nop
      ENDTRY
      TRY "step over sti"
      STEP 3
      sti
      cli
      nop
      ENDTRY
      TRY "step over iret"
      STEP 3
      push dword 0x102
      push dword CS0
      push dword .target
      iret
.target: nop
      nop
      ENDTRY
      TRY "iret sets tf"
      push dword 0x102
      push dword CS0
      push dword .target2
      iret
.target2: nop
      nop
      ENDTRY
      TRY "step over popf that clears tf"
      push dword 2
      STEP 1
      popf
      nop
      nop
      ENDTRY
      TRY "step over pushf"
      STEP 2
      pushf
      nop
      ENDTRY
      TRY "icebp"
      db 0xf1
      ENDTRY

; Instruction breakpoints.
      TRY "execute"
      BREAK 0, .bp, X
      nop
.bp:  nop
      ENDTRY
      TRY "execute again without rf"
      mov dword [again],3
      BREAK 0, .bp2, X
      mov dword [set_flags],0x10000
      nop
.bp2: nop
      nop
      jmp .bp2
      ENDTRY
      mov dword [set_flags],0
      TRY "execute rep"
      mov dword [again],1
      mov dword [set_flags],0x10000
      BREAK 0, .bprep, X
      mov ecx,5
      mov esi,SCRATCH
      mov edi,SCRATCH+0x40
.bprep: rep movsb
      int 0x20
      ENDTRY
      VALUE "execute rep ecx", ecx
      mov dword [set_flags],0
      TRY "execute in a loop"
      UNBREAK
      mov dword [again],0
      mov ecx,1000
.warm: dec ecx
      jnz .warm
      mov dword [again],3
      mov dword [set_flags],0x10000
      BREAK 1, .hot, X
      mov ecx,2
.hot: dec ecx
      jnz .hot
      int 0x20
      ENDTRY
      mov dword [set_flags],0
      UNBREAK
      TRY "execute two registers"
      BREAK 0, .two, X
      BREAK 3, .two, X
.two: nop
      ENDTRY
      UNBREAK
      TRY "execute the second byte"
      BREAK 0, .mid+1, X
.mid: mov eax,1
      int 0x20
      ENDTRY
      UNBREAK
      TRY "execute with a fault"
      BREAK 0, .udbp, X
.udbp: ud2
      ENDTRY
      TRY "execute with rf and a fault"
      mov dword [again],1
      mov dword [set_flags],0x10000
      BREAK 0, .udbp2, X
.udbp2: ud2
      ENDTRY
      mov dword [set_flags],0
      UNBREAK
      TRY "execute behind mov ss"
      BREAK 0, .shadowed, X
      mov eax,DS0
      mov ss,eax
.shadowed: nop
      int 0x20
      ENDTRY
      UNBREAK
      TRY "step and execute"
      BREAK 0, .both, X
      STEP 3
      nop
.both: nop
      nop
      ENDTRY
      UNBREAK
      TRY "execute a global"
      mov eax,.glob
      mov dr2,eax
      mov eax,0x400|(2<<4)
      mov dr7,eax
.glob: nop
      ENDTRY
      UNBREAK
      TRY "execute disabled"
      mov eax,.dis
      mov dr2,eax
.dis: int 0x20
      ENDTRY

; Data.
%macro DATA 4+ ; name, address, kind, code
      TRY %1
      BREAK 0, %2, %3
      mov ebx,SCRATCH+0x80
      mov ecx,1
      mov esi,SCRATCH+0x80
      mov edi,SCRATCH+0x80
      %4
      int 0x20
      ENDTRY
      UNBREAK
%endmacro
S equ SCRATCH+0x80
      DATA "write 4: write", S, W4, mov [S], eax
      DATA "write 4: read", S, W4, mov eax,[S]
      DATA "access 4: read", S, A4, mov eax,[S]
      DATA "access 4: write", S, A4, mov [S], eax
      DATA "access 4: byte 3", S, A4, mov al,[S+3]
      DATA "access 4: byte 4", S, A4, mov al,[S+4]
      DATA "access 4: from -3", S, A4, mov eax,[S-3]
      DATA "access 4: from -4", S, A4, mov eax,[S-4]
      DATA "write 1: from -3", S, W1, mov [S-3],eax
      DATA "write 1: from +1", S, W1, mov [S+1],eax
      DATA "write 2: +2", S, W2, mov [S+2],ax
      DATA "write 2: +1", S, W2, mov [S+1],al
      DATA "write 4, unaligned register", S+3, W4, mov [S],al
      DATA "write 4: add", S, W4, add [S],eax
      DATA "write 4: cmp", S, W4, cmp [S],eax
      DATA "access 4: cmp", S, A4, cmp [S],eax
      DATA "write 4: inc", S, W4, inc dword [S]
      DATA "access 4: push memory", S, A4, push dword [S]
      DATA "access 4: jmp memory", S, A4, {mov dword [S],0}
      DATA "write 4: stosd", S, W4, stosd
      DATA "write 4: movsd", S, W4, movsd
      DATA "access 4: lodsd", S, A4, lodsd
      DATA "access 4: scasd", S, A4, scasd
      DATA "access 4: xchg", S, A4, xchg [S],eax
      DATA "write 4: fst", S, W4, fnstcw [S]
      DATA "access 4: fld", S, A4, fld dword [S]
      fninit
      DATA "access 4: sgdt", S, A4, sgdt [S]
      DATA "access 4: mov gs", S, A4, {mov word [S],0}
      DATA "access 4: bound", S-4, A4, {mov dword [S],-1}
      TRY "access 4: mov ss from memory"
      mov dword [S],DS0
      BREAK 0, S, A4
      mov ss,[S]
      nop
      nop
      ENDTRY
      UNBREAK
      TRY "write stack"
      mov esp,SCRATCH+0x800
      mov eax,SCRATCH+0x7fc
      mov dr0,eax
      mov eax,0x400|(W4<<16)|1
      mov dr7,eax
      push ecx
      nop
      ENDTRY
      UNBREAK
      TRY "write 4: rep stosd"
      mov dword [again],8
      BREAK 0, S+8, W4
      mov edi,S
      mov ecx,4
      mov eax,7
      rep stosd
      int 0x20
      ENDTRY
      UNBREAK
      mov dword [again],0
      TRY "step and write"
      BREAK 0, S, W4
      STEP 4
      mov [S],eax
      nop
      ENDTRY
      UNBREAK
      mov dword [again],0
      TRY "write and access"
      BREAK 0, S, W4
      BREAK 2, S, A1
      mov [S],eax
      nop
      ENDTRY
      UNBREAK
      TRY "write in ring 3"
      BREAK 0, S, W4
      RING3
      mov [S],eax
      nop
      int 0x30
      ENDTRY
      UNBREAK
      TRY "write across pages"
      BREAK 0, SCRATCH+0x1000, W4
      mov [SCRATCH+0xffe],eax
      nop
      ENDTRY
      UNBREAK
      TRY "write in a loop"
      mov ecx,600
.loop: mov [S+4],ecx
      dec ecx
      jnz .loop
      BREAK 0, S+4, W4
      mov dword [again],2
      mov ecx,2
.loop2: mov [S+4],ecx
      dec ecx
      jnz .loop2
      int 0x20
      ENDTRY
      UNBREAK
      mov dword [again],0

; The registers themselves.
      mov eax,0
      mov dr6,eax
      mov eax,dr6
      VALUE "dr6 of zeros", eax
      mov eax,-1
      mov dr6,eax
      mov eax,dr6
      and eax,~0x1000
      VALUE "dr6 of ones", eax
      mov eax,0xffff0ff0
      mov dr6,eax
      mov eax,0
      mov dr7,eax
      mov eax,dr7
      VALUE "dr7 of zeros", eax
      mov eax,0xffffd400
      mov dr7,eax
      mov eax,dr7
      VALUE "dr7 of ones", eax
      UNBREAK
      mov eax,0x12345678
      mov dr3,eax
      xor eax,eax
      mov eax,dr3
      VALUE "dr3", eax
      TRY "dr4 without de"
      mov eax,dr4
      ENDTRY
      mov eax,cr4
      or eax,8
      mov cr4,eax
      TRY "dr4 with de"
      mov eax,dr4
      ENDTRY
      TRY "dr5 with de"
      mov dr5,eax
      ENDTRY
; Ports, with DE.
      mov edx,0x80
      TRY "port out"
      mov ebx,0x80
      mov dr0,ebx
      mov eax,0x400|(2<<16)|1
      mov dr7,eax
      out 0x80,al
      nop
      ENDTRY
      UNBREAK
      TRY "port in beside"
      mov eax,0x400|(2<<16)|1
      mov dr7,eax
      in al,0x81
      int 0x20
      ENDTRY
      UNBREAK
      mov eax,cr4
      and eax,~8
      mov cr4,eax
      TRY "general detect"
      mov eax,0x2400
      mov dr7,eax
      mov eax,dr0
      ENDTRY
      mov eax,dr7
      VALUE "dr7 behind general detect", eax
      UNBREAK
      ret
