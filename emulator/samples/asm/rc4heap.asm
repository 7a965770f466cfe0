; SPDX-License-Identifier: Apache-2.0
; RC4 into the heap: the payload is decrypted with RC4 into a block of the process heap and runs there. The
; program does not ask for DEP, so that under OptIn its heap may run.
%import kernel32.dll GetProcessHeap, HeapAlloc, ExitProcess
%entry start
%without-nx
%payload payload payload_end
%rc4 payload payload_end umbra-rc4

%section .text rx
start:
  call dword ptr [GetProcessHeap]
  mov ecx, payload_end
  sub ecx, payload
  push ecx
  push 0
  push eax
  call dword ptr [HeapAlloc]
  test eax, eax
  jz failed
  mov ebp, eax
  ; Key schedule: the state is 0 to 255, stirred with the key.
  mov edi, state
  xor eax, eax
fill:
  mov byte ptr [edi + eax], al
  inc al
  jnz fill
  xor ebx, ebx                 ; j
  xor ecx, ecx                 ; i
stir:
  mov eax, ecx
  xor edx, edx
  mov esi, 9                   ; length of the key
  div esi
  add bl, byte ptr [key + edx]
  mov al, byte ptr [edi + ecx]
  add bl, al
  mov ah, byte ptr [edi + ebx]
  mov byte ptr [edi + ecx], ah
  mov byte ptr [edi + ebx], al
  inc cl
  jnz stir
  ; The key stream, byte by byte.
  xor ebx, ebx
  mov esi, payload
decrypt:
  inc cl
  mov al, byte ptr [edi + ecx]
  add bl, al
  mov ah, byte ptr [edi + ebx]
  mov byte ptr [edi + ecx], ah
  mov byte ptr [edi + ebx], al
  add al, ah
  movzx edx, al
  mov al, byte ptr [edi + edx]
  xor al, byte ptr [esi]
  mov byte ptr [ebp], al
  inc esi
  inc ebp
  cmp esi, payload_end
  jb decrypt
  mov eax, payload_end
  sub eax, payload
  sub ebp, eax
  jmp ebp
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
key:
  .ascii "umbra-rc4"
state:
  .zero 256
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
payload_end:
