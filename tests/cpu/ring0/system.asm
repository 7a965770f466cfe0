; SPDX-License-Identifier: Apache-2.0
; Control registers, model-specific registers, the time-stamp counter, SYSENTER and SYSEXIT, ports.
%include "lib.inc"
; EAX = bit of CR0 to turn over; PE and PG stay.
cr0_bit:
      test eax,eax
      jz .out
      mov ecx,eax
      mov edx,1
      shl edx,cl
      mov eax,cr0
      push eax
      xor eax,edx
      mov cr0,eax
      mov eax,cr0
      mov [r_value],eax
      pop eax
      mov cr0,eax
.out: ret
cr0_cd_bit: ; the same with CD set
      test eax,eax
      jz cr0_bit.out
      mov ecx,eax
      mov edx,1
      shl edx,cl
      mov eax,cr0
      push eax
      or eax,0x40000000
      xor eax,edx
      mov cr0,eax
      mov eax,cr0
      mov [r_value],eax
      pop eax
      mov cr0,eax
      ret
cr4_bit: ; no VME, PVI, MCE, PCE: those are the processor's choice
      mov ecx,eax
      mov edx,1
      shl edx,cl
      and edx,~0x143
      mov eax,cr4
      push eax
      xor eax,edx
      mov cr4,eax
      mov eax,cr4
      mov [r_value],eax
      pop eax
      mov cr4,eax
      ret
restore_cr4:
      mov eax,cr4
      and eax,0x600
      mov cr4,eax
      ret
lmsw_value:
      mov edx,cr0
      push edx
      lmsw ax
      mov eax,cr0
      mov [r_value],eax
      pop eax
      mov cr0,eax
      ret
efer_bit: ; but for SCE, LME, LMA
      mov ecx,eax
      mov eax,1
      shl eax,cl
      and eax,~0x501
      xor edx,edx
      mov ecx,0xc0000080
      wrmsr
      rdmsr
      mov [r_value],eax
      ret
efer_high:
      mov edx,eax
      xor eax,eax
      mov ecx,0xc0000080
      wrmsr
      ret
pat_type:
      mov edx,0x00070406
      mov ecx,0x277
      wrmsr
      rdmsr
      mov [r_value],eax
      mov eax,0x00070406
      wrmsr
      ret
no_msr:
      mov ecx,[eax*4+.numbers]
      rdmsr
      ret
.numbers: dd 0x12345678, 0x4000, 0x80000000, 0xc0001234, 0xc0000090
no_msr_write:
      mov ecx,[eax*4+no_msr.numbers]
      xor eax,eax
      xor edx,edx
      wrmsr
      ret
; SYSENTER.
entered:
      mov ebx,cs
      shl ebx,16
      mov bx,ss
      mov [r_value],ebx
      mov ecx,esp
      pushf
      pop edx
      int 0x30
enter3:
      RING3
      push dword 0x203
      popf
      sysenter
enter0:
      sysenter
exit_there:
      int 0x30
exit0:
      mov ecx,STACK3-0x100
      mov edx,exit_there
      sysexit
set_enter: ; EAX = CS
      mov ecx,0x174
      xor edx,edx
      wrmsr
      mov ecx,0x175
      mov eax,STACKI-0x200
      wrmsr
      mov ecx,0x176
      mov eax,entered
      wrmsr
      ret
; Ports: the map has a bit for each.
%macro PORTS 2
%1:
      mov edx,eax
      RING3
      %2
      int 0x30
%endmacro
PORTS port_in8, {in al,dx}
PORTS port_in16, {in ax,dx}
PORTS port_in32, {in eax,dx}
PORTS port_insb, {mov edi,SCRATCH}
port_out8:
      add eax,0x80
      mov edx,eax
      RING3
      out dx,al
      int 0x30
port_rep:
      mov edx,0x84
      RING3
      mov ecx,4
      mov esi,SCRATCH
      rep outsb
      int 0x30
map_limit: ; limit of the TSS around the map's byte for port 8
      add eax,0x68
      mov byte [gdt+TSS+5],0x89
      mov [gdt+TSS],ax
      mov ax,TSS
      ltr ax
      mov edx,8
      RING3
      in al,dx
      int 0x30
map_base:
      mov [tss+0x66],ax
      mov edx,0
      RING3
      in al,dx
      int 0x30
iopl_in:
      shl eax,12
      or eax,2
      mov [flags3],eax
      RING3
      in al,0x80
      int 0x30
iopl_cli:
      shl eax,12
      or eax,2
      mov [flags3],eax
      RING3
      sti
      cli
      int 0x30
main:
      mov eax,cr0
      and eax,0x60000011
      mov cr0,eax
      mov eax,cr0
      VALUE "cr0", eax
      SWEEP "cr0, each bit", 31, cr0_bit
      SWEEP "cr0 with cd, each bit", 31, cr0_cd_bit
      mov eax,0x60000011
      mov cr0,eax
      SWEEP "cr4, each bit 2-10", 11, cr4_bit
      call restore_cr4
      SWEEP "lmsw", 16, lmsw_value
      smsw eax
      VALUE "smsw", eax
      mov dword [SCRATCH],0x12345678
      smsw [SCRATCH]
      VALUE "smsw memory", [SCRATCH]
      mov eax,0x12345678
      smsw ax
      VALUE "smsw 16", eax
      mov eax,cr0
      or eax,8
      mov cr0,eax
      clts
      mov eax,cr0
      VALUE "clts", eax
      mov eax,-1
      str eax
      VALUE "str", eax
      mov eax,-1
      sldt ax
      VALUE "sldt 16", eax
      mov eax,-1
      mov eax,ds
      VALUE "mov from ds", eax
      sgdt [SCRATCH]
      VALUE "sgdt limit", [SCRATCH]
      VALUE "sgdt base", [SCRATCH+2]
      db 0x66
      lidt [SCRATCH+0x10]
      lidt [idtr]
      mov eax,0x89abcdef
      mov cr2,eax
      xor eax,eax
      mov eax,cr2
      VALUE "cr2", eax
      mov eax,0x12345fff
      mov cr3,eax
      mov eax,cr3
      and eax,~7
      VALUE "cr3", eax
      xor eax,eax
      mov cr3,eax
      SWEEP "efer, each bit", 32, efer_bit
      xor eax,eax
      xor edx,edx
      mov ecx,0xc0000080
      wrmsr
      TRY "efer, high half"
      mov eax,1
      call efer_high
      ENDTRY
      SWEEP "pat", 16, pat_type
      SWEEP "rdmsr of nothing", 5, no_msr
      SWEEP "wrmsr of nothing", 5, no_msr_write
      TRY "rdtsc in ring 3"
      RING3
      rdtsc
      int 0x30
      ENDTRY
      mov eax,cr4
      or eax,4
      mov cr4,eax
      TRY "rdtsc in ring 3 with tsd"
      RING3
      rdtsc
      int 0x30
      ENDTRY
      TRY "rdtsc in ring 0 with tsd"
      rdtsc
      ENDTRY
      call restore_cr4
      xor eax,eax
      call set_enter
      TRY "sysenter with cs 0"
      sysenter
      ENDTRY
      TRY "sysenter with cs 0 in ring 3"
      RING3
      sysenter
      ENDTRY
      TRY "sysexit with cs 0"
      sysexit
      ENDTRY
      mov eax,3
      call set_enter
      TRY "sysenter with cs 3"
      sysenter
      ENDTRY
      mov eax,CS0
      call set_enter
      TRY "sysenter"
      call enter0
      ENDTRY
      VALUE "sysenter selectors", [r_value]
      TRY "sysenter in ring 3"
      call enter3
      ENDTRY
      VALUE "sysenter selectors", [r_value]
      mov ecx,0x175
      rdmsr
      VALUE "sysenter esp", eax
      ; CS 8 leads out to 18 and 20.
      TRY "sysexit"
      call exit0
      ENDTRY
      TRY "sysexit in ring 3"
      RING3
      sysexit
      ENDTRY
      ; Ports 0-7 closed, 8-15 open but for 10, 0x80-0x87 open but for 0x85.
      mov byte [io_map],0xff
      mov byte [io_map+1],4
      mov byte [io_map+0x10],0x20
      mov word [gdt+TSS],0x2068
      mov byte [gdt+TSS+5],0x89
      mov ax,TSS
      ltr ax
      SWEEP "in 8", 16, port_in8
      SWEEP "in 16", 16, port_in16
      SWEEP "in 32", 16, port_in32
      SWEEP "out 8", 8, port_out8
      SWEEP "rep outsb", 1, port_rep
      SWEEP "map limit", 4, map_limit
      mov word [gdt+TSS],0x2068
      mov byte [gdt+TSS+5],0x89
      mov ax,TSS
      ltr ax
      SWEEP "map base", 0x70, map_base
      mov word [tss+0x66],0xffff
      SWEEP "map base ffff", 1, map_base.out
      mov word [tss+0x66],0x68
      mov byte [io_map+0x10],0xff
      SWEEP "iopl in", 4, iopl_in
      SWEEP "iopl sti cli", 4, iopl_cli
      mov dword [flags3],2
      ret
map_base.out:
      mov edx,0
      RING3
      in al,dx
      int 0x30
