; SPDX-License-Identifier: Apache-2.0
; SEH-driven decryption: no loop of the program decrypts anything. It raises one exception after the other
; (breakpoint, division by zero, privileged instruction, write to nowhere), and the handler decrypts a quarter
; of the payload each time and skips the instruction. The last one goes on in the payload.
%import kernel32.dll ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0xe3

%section .pack rwx
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
  .p2align 2, 0x90
payload_end:

%section .text rx
start:
  push handler
  push dword ptr fs:[0]
  mov dword ptr fs:[0], esp
  mov ebx, payload             ; where the handler goes on decrypting
  int3
  xor ecx, ecx
  div ecx
  hlt
  mov byte ptr [ecx], 0
; cdecl: record, frame, context, dispatcher context
handler:
  push esi
  push edi
  mov esi, dword ptr [esp + 12]
  mov edi, dword ptr [esp + 20]
  mov eax, dword ptr [esi]
  mov ecx, 1                   ; length of the instruction
  cmp eax, 0x80000003          ; breakpoint
  je known
  cmp eax, 0xc0000096          ; privileged instruction
  je known
  mov ecx, 2
  cmp eax, 0xc0000094          ; division by zero
  je known
  cmp eax, 0xc0000005          ; access violation
  jne failed
  cmp dword ptr [esi + 20], 1  ; by a write
  jne failed
known:
  add dword ptr [edi + 0xb8], ecx
  mov edx, payload_end
  sub edx, payload
  shr edx, 2
  mov ecx, dword ptr [edi + 0xa4]
  add edx, ecx
decrypt:
  xor byte ptr [ecx], 0xe3
  inc ecx
  cmp ecx, edx
  jb decrypt
  mov dword ptr [edi + 0xa4], ecx
  cmp ecx, payload_end
  jb skip
  mov dword ptr [edi + 0xb8], payload
skip:
  pop edi
  pop esi
  xor eax, eax                 ; ExceptionContinueExecution
  ret
failed:
  push 1
  call dword ptr [ExitProcess]
