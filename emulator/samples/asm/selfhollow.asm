; SPDX-License-Identifier: Apache-2.0
; Self-hollowing: the program starts itself again, suspended, takes its own image out of that process, puts the
; payload's image there piece by piece, names it in the PEB and as the first thread's start, and lets it run.
; The loader of that process binds the payload's imports.
%import kernel32.dll GetModuleFileNameA, CreateProcessA, GetThreadContext, SetThreadContext, ReadProcessMemory
%import kernel32.dll VirtualAllocEx, WriteProcessMemory, ResumeThread, WaitForSingleObject, GetExitCodeProcess
%import kernel32.dll ExitProcess
%import ntdll.dll NtUnmapViewOfSection
%entry start
%payload image_code image_imports
%encrypt image image_end 0x7b

%section .text rx
start:
  push 260
  push path
  push 0
  call dword ptr [GetModuleFileNameA]
  test eax, eax
  jz failed
  push information
  push startup
  push 0
  push 0
  push 4                       ; CREATE_SUSPENDED
  push 0
  push 0
  push 0
  push 0
  push path
  call dword ptr [CreateProcessA]
  test eax, eax
  jz failed
  push context
  push dword ptr [thread]
  call dword ptr [GetThreadContext]
  test eax, eax
  jz failed
  mov ebx, dword ptr [context + 0xa4]
  add ebx, 8                   ; PEB.ImageBaseAddress
  push 0
  push 4
  push base
  push ebx
  push dword ptr [information]
  call dword ptr [ReadProcessMemory]
  test eax, eax
  jz failed
  push dword ptr [base]
  push dword ptr [information]
  call dword ptr [NtUnmapViewOfSection]
  test eax, eax
  jnz failed
  push 0x40                    ; PAGE_EXECUTE_READWRITE
  push 0x3000
  push 0x2000
  push 0x400000
  push dword ptr [information]
  call dword ptr [VirtualAllocEx]
  cmp eax, 0x400000
  jne failed
  mov edi, eax
  mov esi, image
  mov ebp, image_code
  call write
  mov edi, 0x401000
  mov ebp, image_end
  call write
  mov dword ptr [piece], 0x400000
  mov edi, ebx
  call poke
  mov dword ptr [context + 0xb0], 0x401000   ; EAX: where the first thread starts
  push context
  push dword ptr [thread]
  call dword ptr [SetThreadContext]
  test eax, eax
  jz failed
  push dword ptr [thread]
  call dword ptr [ResumeThread]
  push -1                      ; INFINITE
  push dword ptr [information]
  call dword ptr [WaitForSingleObject]
  push base
  push dword ptr [information]
  call dword ptr [GetExitCodeProcess]
  cmp dword ptr [base], 42
  jne failed
  push 0
  call dword ptr [ExitProcess]
; Decrypts from ESI to EBP into the other process, at EDI.
write:
  mov eax, dword ptr [esi]
  xor eax, 0x7b7b7b7b
  mov dword ptr [piece], eax
  call poke
  add esi, 4
  add edi, 4
  cmp esi, ebp
  jb write
  ret
poke:
  push 0
  push 4
  push piece
  push edi
  push dword ptr [information]
  call dword ptr [WriteProcessMemory]
  test eax, eax
  jz failed
  ret
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
startup:                       ; STARTUPINFOA
  .long 68
  .zero 64
information:                   ; PROCESS_INFORMATION
  .long 0
thread:
  .long 0, 0, 0
base:
  .long 0
piece:
  .long 0
context:                       ; CONTEXT, asked for as CONTEXT_FULL
  .long 0x10007
  .zero 712
path:
  .zero 260
  .p2align 2, 0
image:                         ; the payload's headers: one section, imports, base 0x400000
  .ascii "MZ"
  .zero 58
  .long 0x40
  .ascii "PE"
  .byte 0, 0
  .short 0x14c, 1
  .long 0, 0, 0
  .short 0xe0, 0x103, 0x10b, 0
  .long 0x1000, 0, 0, 0x1000, 0x1000, 0x1000, 0x400000, 0x1000, 0x200
  .short 6, 1, 0, 0, 6, 1
  .long 0, 0x2000, 0x200, 0
  .short 3, 0
  .long 0x100000, 0x1000, 0x100000, 0x1000, 0, 16
  .long 0, 0, image_imports - image_code + 0x1000, 40
  .zero 112
  .ascii ".text"
  .byte 0, 0, 0
  .long 0x1000, 0x1000, 0x1000, 0x200, 0, 0, 0, 0xe0000020
  .p2align 2, 0
image_code:                    ; its section, which lies at 0x401000
  push 42
  .byte 0xff, 0x15             ; call dword ptr [the import's slot]
  .long image_slots - image_code + 0x401000
  %marker
  .p2align 2, 0
image_imports:
  .long 0, 0, 0, image_dll - image_code + 0x1000, image_slots - image_code + 0x1000
  .long 0, 0, 0, 0, 0
image_slots:
  .long image_name - image_code + 0x1000, 0
image_name:
  .byte 0, 0
  .asciz "ExitProcess"
image_dll:
  .asciz "kernel32.dll"
  .p2align 2, 0
image_end:
