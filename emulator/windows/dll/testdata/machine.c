/* SPDX-License-Identifier: Apache-2.0 */
/* Questions after the machine and its user: a desktop that somebody works at, not a laboratory. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <iphlpapi.h>
#include <lmcons.h>
#include <string.h>

static volatile DWORD caught;
static void *resume;
static LONG CALLBACK note(EXCEPTION_POINTERS *exception) {
    caught = exception->ExceptionRecord->ExceptionCode;
    exception->ContextRecord->Eip = (DWORD)resume;
    return EXCEPTION_CONTINUE_EXECUTION;
}

static int contains(const char *text, const char *const *words) {
    char lower[512];
    lstrcpynA(lower, text, sizeof lower);
    CharLowerA(lower);
    for (; *words; words++) if (strstr(lower, *words)) return 1;
    return 0;
}
static const char *const STRANGE[] = { "sandbox", "malware", "virus", "sample", "test-pc", "vbox", "vmware", "qemu", "xen", "virtual", "bochs", "cuckoo", "currentuser", NULL };

static void processor(void) {
    unsigned a, b, c, d, tables[2] = { 0, 0 };
    unsigned short selector = 1;
    char vendor[13] = "";
    asm volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1));
    CHECK((c >> 31) == 0 && (d & (1 << 25)) && (d & (1 << 26)));
    asm volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0));
    memcpy(vendor, &b, 4), memcpy(vendor + 4, &d, 4), memcpy(vendor + 8, &c, 4);
    CHECK(strcmp(vendor, "GenuineIntel") == 0);
    asm volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0x40000000));
    memcpy(vendor, &b, 4), memcpy(vendor + 4, &c, 4), memcpy(vendor + 8, &d, 4);
    CHECK(strcmp(vendor, "VMwareVMware") && strcmp(vendor, "XenVMMXenVMM") && strcmp(vendor, "KVMKVMKVM"));
    asm volatile("sidt %0" : "=m"(*((char (*)[6])((char *)tables + 2))));
    CHECK(*(unsigned *)((char *)tables + 4) >= 0x80000000 && (tables[1] >> 24) != 0xff);
    asm volatile("sldt %0" : "=r"(selector));
    CHECK(selector == 0);
    /* The back door of VMware: an ordinary machine does not let ring 3 read ports. */
    void *handler = AddVectoredExceptionHandler(1, note);
    asm volatile("movl $1f, %0\n\tmovl $0x564d5868, %%eax\n\tmovl $0x5658, %%edx\n\tmovl $10, %%ecx\n\tinl %%dx, %%eax\n1:" : "=m"(resume) : : "eax", "ecx", "edx", "ebx");
    CHECK(caught == EXCEPTION_PRIV_INSTRUCTION);
    asm volatile("movl $1f, %0\n\t.byte 0x0f, 0x3f, 0x07, 0x0b\n1:" : "=m"(resume) : : "eax", "ebx");
    CHECK(caught == EXCEPTION_ILLEGAL_INSTRUCTION);
    RemoveVectoredExceptionHandler(handler);
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    DWORD *peb;
    asm("movl %%fs:0x30, %0" : "=r"(peb));
    DWORD_PTR own = 0, all = 0;
    char count[16];
    CHECK(info.dwNumberOfProcessors >= 2 && peb[0x64 / 4] == info.dwNumberOfProcessors && GetProcessAffinityMask(GetCurrentProcess(), &own, &all));
    CHECK(own == all && all == info.dwActiveProcessorMask && GetEnvironmentVariableA("NUMBER_OF_PROCESSORS", count, sizeof count) == 1 && count[0] == '0' + (char)info.dwNumberOfProcessors);
    DWORD length = 0;
    CHECK(!GetLogicalProcessorInformation(NULL, &length) && GetLastError() == ERROR_INSUFFICIENT_BUFFER && length >= 24 * 2 && length < 4096);
    SYSTEM_LOGICAL_PROCESSOR_INFORMATION parts[64];
    unsigned cores = 0;
    CHECK(GetLogicalProcessorInformation(parts, &length));
    for (unsigned i = 0; i < length / sizeof *parts; i++) cores += parts[i].Relationship == RelationProcessorCore;
    CHECK(cores == info.dwNumberOfProcessors);
}

static void size(void) {
    MEMORYSTATUSEX memory = { sizeof memory };
    ULARGE_INTEGER available, total, unused;
    DWORD sectors, bytes, clusters, all, serial = 0;
    char name[64], system[32];
    CHECK(GlobalMemoryStatusEx(&memory) && memory.ullTotalPhys >= 1ull << 30 && memory.ullAvailPhys < memory.ullTotalPhys && memory.dwMemoryLoad < 100);
    CHECK(GetDiskFreeSpaceExA("C:\\", &available, &total, &unused) && total.QuadPart >= 60ull << 30 && available.QuadPart < total.QuadPart);
    CHECK(GetDiskFreeSpaceA("C:\\", &sectors, &bytes, &clusters, &all) && (unsigned long long)sectors * bytes * all >= 60ull << 30);
    CHECK(GetVolumeInformationA("C:\\", name, sizeof name, &serial, NULL, NULL, system, sizeof system) && serial && strcmp(system, "NTFS") == 0 && GetDriveTypeA("C:\\") == DRIVE_FIXED);
    CHECK(GetSystemMetrics(SM_CXSCREEN) >= 1024 && GetSystemMetrics(SM_CYSCREEN) >= 768 && GetSystemMetrics(SM_REMOTESESSION) == 0 && GetSystemMetrics(SM_MOUSEPRESENT));
}

static void user(void) {
    char text[256], path[MAX_PATH];
    DWORD length = sizeof text;
    POINT first, second;
    CHECK(GetUserNameA(text, &length) && text[0] && !contains(text, STRANGE) && length == strlen(text) + 1);
    length = sizeof text;
    CHECK(GetComputerNameA(text, &length) && text[0] && !contains(text, STRANGE) && length == strlen(text));
    CHECK(GetModuleFileNameA(NULL, path, sizeof path) && !contains(path, STRANGE) && strncmp(path, "C:\\Users\\", 9) == 0);
    GetCursorPos(&first);
    Sleep(3000);
    GetCursorPos(&second);
    LASTINPUTINFO input = { sizeof input };
    CHECK((first.x != second.x || first.y != second.y) && GetLastInputInfo(&input) && GetTickCount() - input.dwTime < 10 * 60 * 1000);
    CHECK(GetForegroundWindow() && GetDesktopWindow() && GetKeyboardLayout(0));
}

static void traces(void) {
    static const char *const keys[] = { "SOFTWARE\\Oracle\\VirtualBox Guest Additions", "SOFTWARE\\VMware, Inc.\\VMware Tools", "HARDWARE\\ACPI\\DSDT\\VBOX__", "SYSTEM\\ControlSet001\\Services\\VBoxGuest", "SOFTWARE\\Wine" };
    static const char *const files[] = { "C:\\Windows\\System32\\drivers\\VBoxMouse.sys", "C:\\Windows\\System32\\drivers\\vmmouse.sys", "C:\\Windows\\System32\\drivers\\vmhgfs.sys", "C:\\analysis", "C:\\sandbox" };
    char text[256];
    HKEY key;
    DWORD length = sizeof text;
    for (int i = 0; i < 5; i++) CHECK(RegOpenKeyExA(HKEY_LOCAL_MACHINE, keys[i], 0, KEY_READ, &key) == ERROR_FILE_NOT_FOUND);
    for (int i = 0; i < 5; i++) CHECK(GetFileAttributesA(files[i]) == INVALID_FILE_ATTRIBUTES);
    CHECK(RegOpenKeyExA(HKEY_LOCAL_MACHINE, "HARDWARE\\DESCRIPTION\\System", 0, KEY_READ, &key) == 0);
    CHECK(RegQueryValueExA(key, "SystemBiosVersion", NULL, NULL, (BYTE *)text, &length) == 0 && !contains(text, STRANGE));
    CHECK(RegOpenKeyExA(HKEY_LOCAL_MACHINE, "SYSTEM\\CurrentControlSet\\Services\\Disk\\Enum", 0, KEY_READ, &key) == 0);
    length = sizeof text;
    CHECK(RegQueryValueExA(key, "0", NULL, NULL, (BYTE *)text, &length) == 0 && !contains(text, STRANGE));
    CHECK(GetProcAddress(GetModuleHandleA("kernel32"), "wine_get_unix_file_name") == NULL && GetProcAddress(GetModuleHandleA("ntdll"), "wine_get_version") == NULL);
    CHECK(CreateFileA("\\\\.\\VBoxGuest", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL) == INVALID_HANDLE_VALUE && CreateFileA("\\\\.\\HGFS", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL) == INVALID_HANDLE_VALUE && FindWindowA("VBoxTrayToolWndClass", NULL) == NULL);
    BYTE adapters[2048];
    ULONG room = sizeof adapters;
    IP_ADAPTER_INFO *adapter = (void *)adapters;
    static const BYTE virtual_makers[][3] = { { 0x08, 0x00, 0x27 }, { 0x00, 0x0c, 0x29 }, { 0x00, 0x50, 0x56 }, { 0x00, 0x16, 0x3e }, { 0x52, 0x54, 0x00 } };
    CHECK(GetAdaptersInfo(adapter, &room) == ERROR_SUCCESS && adapter->AddressLength == 6);
    for (int i = 0; i < 5; i++) CHECK(memcmp(adapter->Address, virtual_makers[i], 3) != 0);
}

int main(void) {
    processor();
    size();
    user();
    traces();
    FINISH();
    return failures;
}
