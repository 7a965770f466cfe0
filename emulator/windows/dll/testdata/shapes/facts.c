/* SPDX-License-Identifier: Apache-2.0 */
/* A program that asks small DLLs for facts: psapi, version, winmm, shlwapi, user environment, spooler, and more. */
#define _WIN32_WINNT 0x0601
#include <windows.h>
#include <lm.h>
#include <mmsystem.h>
#include <psapi.h>
#include <shellapi.h>
#include <shlwapi.h>
#include <stdio.h>

int main(void) {
    PROCESS_MEMORY_COUNTERS counters;
    HMODULE modules[64];
    DWORD needed = 0, handle = 0;
    VS_FIXEDFILEINFO *fixed = NULL;
    char path[MAX_PATH], data[4096], *name = NULL;
    UINT length = 0;
    printf("modules %d\n", EnumProcessModules(GetCurrentProcess(), modules, sizeof modules, &needed) && needed > 16);
    printf("memory %d\n", GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters) && counters.WorkingSetSize > 0);
    GetModuleFileNameA(NULL, path, sizeof path);
    DWORD size = GetFileVersionInfoSizeA(path, &handle);
    printf("version %d %d\n", size > 0 && size <= sizeof data, GetFileVersionInfoA(path, 0, sizeof data, data));
    BOOL found = VerQueryValueA(data, "\\", (void **)&fixed, &length);
    printf("fixed %d %lx\n", found, fixed ? fixed->dwFileVersionMS : 0);
    found = VerQueryValueA(data, "\\StringFileInfo\\040904b0\\ProductName", (void **)&name, &length);
    printf("product %d %s\n", found, name ? name : "");
    printf("time %d\n", timeBeginPeriod(1) == TIMERR_NOERROR && timeGetTime() > 0 && timeEndPeriod(1) == TIMERR_NOERROR);
    printf("sound %u\n", waveOutGetNumDevs() + 0u);
    StrFormatByteSizeA(123456789, data, sizeof data);
    printf("size %s\n", data);
    printf("wild %d %d\n", PathMatchSpecA("file.exe", "*.exe"), PathIsRelativeA("..\\x"));
    SHELLEXECUTEINFOA execute = { sizeof execute, SEE_MASK_NOCLOSEPROCESS, NULL, "open", "cmd.exe", "/c exit", NULL, SW_HIDE };
    printf("execute %d\n", ShellExecuteExA(&execute) && execute.hProcess && WaitForSingleObject(execute.hProcess, 30000) == 0);
    HMODULE none = LoadLibraryA("no-such.dll");
    printf("library %d %lu\n", none != NULL, GetLastError());
    HMODULE table = LoadLibraryA("uxtheme.dll");
    printf("lookup %d %d\n", GetProcAddress(table, "IsThemeActive") != NULL, GetProcAddress(table, "NoSuchThing") != NULL);
    return 0;
}
