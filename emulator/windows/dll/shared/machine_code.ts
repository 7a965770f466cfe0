// SPDX-License-Identifier: Apache-2.0
/**
 * Memory and string functions as machine code: they are called most, and running them in the guest keeps
 * faults and timing those of real code. Each comment is the source.
 *
 * @module
 */
import type { DllFunction } from "../../api.ts";
import { machineCode } from "../code.ts";

/** RET, removing `words` argument words. */
const ret = (words: number) => words === 0 ? "c3" : `c2${(words * 4).toString(16).padStart(2, "0")}00`;

/** push esi; push edi; mov edi, [esp+12]; mov esi, [esp+16]; mov ecx, [esp+20] */
const ENTER = "56 57 8b7c240c 8b742410 8b4c2414";
/** mov edx, ecx; shr ecx, 2; and edx, 3; rep movsd; mov ecx, edx; rep movsb; pop edi; pop esi */
const FORWARD = "89ca c1e902 83e203 f3a5 89d1 f3a4 5f 5e";
/** mov edx, ecx; shr ecx, 2; and edx, 3; rep stosd; mov ecx, edx; rep stosb */
const STORE = "89ca c1e902 83e203 f3ab 89d1 f3aa";

/** Forward unless the target lies inside the source's tail, then bytewise backward. */
function moveBody(words: number): string {
  const out = ret(words);
  const skip = (17 + out.length / 2 - 1).toString(16).padStart(2, "0");
  // mov eax, edi; mov edx, edi; sub edx, esi; cmp edx, ecx; jb backward; FORWARD; ret
  // backward: lea esi, [esi+ecx-1]; lea edi, [edi+ecx-1]; std; rep movsb; cld; pop edi; pop esi; ret
  return `${ENTER} 89f8 89fa 29f2 39ca 72${skip} ${FORWARD} ${out} 8d740eff 8d7c0fff fd f3a4 fc 5f 5e ${out}`;
}

/** Memory and string functions of the C runtime, as msvcrt and ntdll export them. */
export const runtimeCode: readonly DllFunction[] = [
  // mov eax, edi before the copy: memcpy returns its target.
  machineCode("memcpy", "cdecl", 3, `${ENTER} 89f8 ${FORWARD} c3`),
  machineCode("memmove", "cdecl", 3, moveBody(0)),
  // push edi; mov edi, [esp+8]; movzx eax, byte [esp+12]; imul eax, eax, 1010101h; mov ecx, [esp+16]; STORE;
  // mov eax, [esp+8]; pop edi; ret
  machineCode(
    "memset",
    "cdecl",
    3,
    `57 8b7c2408 0fb644240c 69c001010101 8b4c2410 ${STORE} 8b442408 5f c3`,
  ),
  // mov eax, [esp+4]; l: cmp byte [eax], 0; je e; inc eax; jmp l; e: sub eax, [esp+4]; ret
  machineCode("strlen", "cdecl", 1, "8b442404 803800 7403 40 ebf8 2b442404 c3"),
  // the same in words, then shr eax, 1
  machineCode("wcslen", "cdecl", 1, "8b442404 66833800 7405 83c002 ebf5 2b442404 d1e8 c3"),
  // mov ecx, [esp+4]; mov edx, [esp+8]; l: mov al, [edx]; mov [ecx], al; inc edx; inc ecx; test al, al; jnz l;
  // mov eax, [esp+4]; ret
  machineCode("strcpy", "cdecl", 2, "8b4c2404 8b542408 8a02 8801 42 41 84c0 75f6 8b442404 c3"),
  // mov ecx, [esp+4]; mov edx, [esp+8]; l: mov al, [ecx]; cmp al, [edx]; jne d; inc ecx; inc edx; test al, al;
  // jnz l; xor eax, eax; ret; d: sbb eax, eax; or eax, 1; ret
  machineCode(
    "strcmp",
    "cdecl",
    2,
    "8b4c2404 8b542408 8a01 3a02 7509 41 42 84c0 75f4 31c0 c3 19c0 83c801 c3",
  ),
  // push esi; push edi; mov esi, [esp+12]; mov edi, [esp+16]; mov ecx, [esp+20]; xor eax, eax; repe cmpsb; je e;
  // sbb eax, eax; or eax, 1; e: pop edi; pop esi; ret
  machineCode("memcmp", "cdecl", 3, "56 57 8b74240c 8b7c2410 8b4c2414 31c0 f3a6 7405 19c0 83c801 5f 5e c3"),
  // push edi; mov edi, [esp+8]; mov eax, [esp+12]; mov ecx, [esp+16]; test ecx, ecx; jz n; repne scasb; jne n;
  // lea eax, [edi-1]; pop edi; ret; n: xor eax, eax; pop edi; ret
  machineCode(
    "memchr",
    "cdecl",
    3,
    "57 8b7c2408 8b44240c 8b4c2410 85c9 7409 f2ae 7505 8d47ff 5f c3 31c0 5f c3",
  ),
];

/** RtlMoveMemory and its kin. */
export const memoryCode: readonly DllFunction[] = [
  machineCode("RtlMoveMemory", "stdcall", 3, moveBody(3)),
  // push edi; mov edi, [esp+8]; xor eax, eax; mov ecx, [esp+12]; STORE; pop edi; ret 8
  machineCode("RtlZeroMemory", "stdcall", 2, `57 8b7c2408 31c0 8b4c240c ${STORE} 5f c20800`),
  // push edi; mov edi, [esp+8]; movzx eax, byte [esp+16]; mov ecx, [esp+12]; rep stosb; pop edi; ret 12
  machineCode("RtlFillMemory", "stdcall", 3, "57 8b7c2408 0fb6442410 8b4c240c f3aa 5f c20c00"),
];

/** Control flow of the C runtime: jump buffers (_JUMP_BUFFER of MSVC), stack probe, conversion. */
export const controlCode: readonly DllFunction[] = (() => {
  // mov edx, [esp+4]; ebp, ebx, edi, esi, esp and the return address to [edx…+20]; "VC20" to [edx+32];
  // registration fs:[0] to [edx+24] and its try level (or -1) to [edx+28]; xor eax, eax; ret
  const save = "8b542404 892a 895a04 897a08 89720c 896210 8b0424 894214 c7422030324356 c7422400000000 " +
    "64a100000000 894218 c7421cffffffff 83f8ff 7406 8b400c 89421c 31c0 c3";
  // mov ecx, [esp]; add esp… : size in EAX is taken off the stack page by page, each page touched once.
  const probe =
    "51 8d4c2408 3d00100000 720f 81e900100000 8501 2d00100000 ebea 29c1 8501 89e0 89cc 8b08 ff6004";
  // rounding towards zero for one fistp; result in EDX:EAX
  const truncate = "55 89e5 83ec0c d97dfe 668b45fe 80cc0c 668945fc d96dfc df7df4 d96dfe 8b45f4 8b55f8 c9 c3";
  return [
    machineCode("_setjmp", "cdecl", 1, save),
    machineCode("_setjmp3", "cdecl", 2, save),
    // mov edx, [esp+4]; mov eax, [esp+8]; fs:[0] from [edx+24]; eax 0 becomes 1; registers and esp back;
    // add esp, 4; jmp [edx+20]
    machineCode(
      "longjmp",
      "cdecl",
      2,
      "8b542404 8b442408 8b4a18 64890d00000000 85c0 7501 40 8b2a 8b5a04 8b7a08 8b720c 8b6210 83c404 ff6214",
    ),
    machineCode("_chkstk", "cdecl", 0, probe),
    machineCode("_alloca_probe", "cdecl", 0, probe),
    machineCode("_ftol", "cdecl", 0, truncate),
    machineCode("_ftol2", "cdecl", 0, truncate),
  ];
})();
