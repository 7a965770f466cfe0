/* SPDX-License-Identifier: Apache-2.0 */
/* A DLL that counts what it is told, for loader.c. */
#include <windows.h>

__declspec(dllexport) int counts[4];
__declspec(dllexport) int *told;
static int pointed = 7;
static int *relocated = &pointed;

__declspec(dllexport) int __cdecl seven(void) { return *relocated; }
__declspec(dllexport) void *__cdecl where(void) { return &pointed; }

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, void *reserved) {
    counts[reason & 3]++;
    if (told) told[reason & 3]++;
    return TRUE;
}
