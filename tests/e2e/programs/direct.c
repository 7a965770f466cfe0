// SPDX-License-Identifier: Apache-2.0
// A program that wires calls the way protectors do: addresses of functions stand in the instructions themselves, in
// code of its own heap that jumps there, and in a word of its heap. The code that calls is written, then run.
#include <windows.h>

const char title[] __asm__("_title") = "direct";
const char text[] __asm__("_text") = "called without a table";

extern BYTE box[] __asm__("_call_box"), tick[] __asm__("_call_tick"), leave[] __asm__("_call_exit");
extern void work(void) __asm__("_work");

__asm__(".section .direct,\"xr\"\n"
        "_work: pushl $0\n"
        "pushl $_title\n"
        "pushl $_text\n"
        "pushl $0\n"
        "_call_box: .byte 0xe8\n"
        ".long 0\n"
        "_call_tick: .byte 0xe8\n"
        ".long 0\n"
        "pushl $7\n"
        "_call_exit: .byte 0xff, 0x15\n"
        ".long 0\n"
        ".text\n");

static DWORD address(const char *dll, const char *name)
{
    return (DWORD)GetProcAddress(LoadLibraryA(dll), name);
}

int main(void)
{
    DWORD old;
    BYTE *heap = VirtualAlloc(NULL, 4096, MEM_COMMIT | MEM_RESERVE, PAGE_EXECUTE_READWRITE);
    if (!heap || !VirtualProtect((void *)work, 64, PAGE_EXECUTE_READWRITE, &old))
        return 1;
    heap[0] = 0xe9;
    *(DWORD *)(heap + 1) = address("kernel32.dll", "GetTickCount") - (DWORD)(heap + 5);
    *(DWORD *)(heap + 16) = address("kernel32.dll", "ExitProcess");
    *(DWORD *)(box + 1) = address("user32.dll", "MessageBoxA") - (DWORD)(box + 5);
    *(DWORD *)(tick + 1) = (DWORD)heap - (DWORD)(tick + 5);
    *(DWORD *)(leave + 2) = (DWORD)(heap + 16);
    work();
    return 2;
}
