/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that run what they are given: code may be hidden behind any of them. And texts that are bytes. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <imagehlp.h>
#include <imm.h>
#include <mmsystem.h>
#include <powrprof.h>
#include <rpc.h>
#include <string.h>
#include <wincrypt.h>

static int calls;
static DWORD last;
static int is_code;
#define RAN(call) do { calls = 0; (void)(call); CHECK(calls >= 1 && #call); } while (0)

/* Callbacks of 1 to 13 words; each counts, remembers its last word and gives its stack back. */
static DWORD WINAPI one(DWORD a) { calls++; last = a; return 1; }
static DWORD WINAPI two(DWORD a, DWORD b) { calls++; last = b; return 1; }
static DWORD WINAPI three(DWORD a, DWORD b, DWORD c) { calls++; last = c; return 1; }
static DWORD WINAPI four(DWORD a, DWORD b, DWORD c, DWORD d) { calls++; last = d; return 1; }
static DWORD WINAPI five(DWORD a, DWORD b, DWORD c, DWORD d, DWORD e) { calls++; last = e; return 1; }
static DWORD WINAPI seven(DWORD a, DWORD b, DWORD c, DWORD d, DWORD e, DWORD f, DWORD g) { calls++; last = g; return 1; }
static DWORD WINAPI thirteen(DWORD a, DWORD b, DWORD c, DWORD d, DWORD e, DWORD f, DWORD g, DWORD h, DWORD i, DWORD j, DWORD k, DWORD l, DWORD m) { calls++; last = m; return 0; }

static void locale(void) {
    RAN(EnumSystemLocalesA((void *)one, LCID_INSTALLED));
    RAN(EnumDateFormatsA((void *)one, 0x409, 0) && strchr((char *)last, '/'));
    RAN(EnumDateFormatsW((void *)one, 0x409, 0));
    RAN(EnumTimeFormatsA((void *)one, 0x409, 0));
    RAN(EnumCalendarInfoA((void *)one, 0x409, ENUM_ALL_CALENDARS, CAL_SCALNAME));
    RAN(EnumCalendarInfoExA((void *)two, 0x409, ENUM_ALL_CALENDARS, CAL_SCALNAME));
    RAN(EnumSystemCodePagesA((void *)one, CP_INSTALLED));
    CHECK(strcmp((char *)last, "1252") == 0);
    RAN(EnumUILanguagesA((void *)two, 0, 77));
    CHECK(last == 77);
    RAN(EnumSystemLanguageGroupsA((void *)five, 1, 78));
    CHECK(last == 78);
    RAN(EnumLanguageGroupLocalesA((void *)four, 1, 0, 79));
    CHECK(last == 79);
    RAN(EnumSystemGeoID(16, 0, (void *)one));
}

static void desktop(void) {
    HDC context = GetDC(NULL);
    LOGFONTA font = { 0 };
    RAN(EnumWindows((void *)two, 5));
    CHECK(last == 5);
    RAN(EnumChildWindows(NULL, (void *)two, 6));
    RAN(EnumDesktopWindows(NULL, (void *)two, 7));
    RAN(EnumDesktopsA(GetProcessWindowStation(), (void *)two, 8));
    RAN(EnumWindowStationsA((void *)two, 9));
    RAN(EnumDisplayMonitors(NULL, NULL, (void *)four, 10));
    RAN(EnumFontFamiliesExA(context, &font, (void *)four, 11, 0));
    RAN(EnumFontsW(context, NULL, (void *)four, 12));
    RAN(LineDDA(0, 0, 5, 3, (void *)three, 13));
    CHECK(calls == 5 && last == 13);
    RAN(EnumObjects(context, OBJ_PEN, (void *)two, 14));
    RAN(EnumICMProfilesA(context, (void *)two, 15));
    RAN(GrayStringA(context, NULL, (void *)three, 16, 17, 0, 0, 0, 0));
    CHECK(last == 17);
    RAN(EnumPwrSchemes((void *)seven, 18));
    CHECK(last == 18);
    RAN(ImmEnumInputContext(0, (void *)two, 19));
    RAN(CertEnumSystemStore(CERT_SYSTEM_STORE_CURRENT_USER, NULL, (void *)20, (void *)five));
    CHECK(last == 20);
    RAN(EnumerateLoadedModules(GetCurrentProcess(), (void *)four, (void *)21));
    CHECK(calls >= 4 && last == 21);
    HANDLE file = CreateFileA("C:\\first", GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    CloseHandle(file);
    RAN(CopyFileExA("C:\\first", "C:\\second", (void *)thirteen, (void *)22, NULL, 0));
    CHECK(last == 22 && GetFileAttributesA("C:\\second") != INVALID_FILE_ATTRIBUTES);
    RAN(MoveFileWithProgressA("C:\\second", "C:\\third", (void *)thirteen, (void *)23, 0));
    calls = 0;
    MMRESULT timer = timeSetEvent(20, 0, (void *)five, 24, TIME_PERIODIC);
    Sleep(100);
    CHECK(timer && calls >= 3 && timeKillEvent(timer) == TIMERR_NOERROR);
}

static void texts(void) {
    LONG (WINAPI *ipv4)(const char *, BOOLEAN, const char **, void *) = (void *)GetProcAddress(GetModuleHandleA("ntdll"), "RtlIpv4StringToAddressA");
    LONG (WINAPI *ipv6)(const char *, const char **, void *) = (void *)GetProcAddress(GetModuleHandleA("ntdll"), "RtlIpv6StringToAddressA");
    LONG (WINAPI *ethernet)(const char *, const char **, void *) = (void *)GetProcAddress(GetModuleHandleA("ntdll"), "RtlEthernetStringToAddressA");
    char *(WINAPI *shown)(const void *, char *) = (void *)GetProcAddress(GetModuleHandleA("ntdll"), "RtlIpv4AddressToStringA");
    LONG (WINAPI *rc4)(void *, const void *) = (void *)GetProcAddress(LoadLibraryA("advapi32"), "SystemFunction032");
    BYTE bytes[16];
    const char *end = NULL;
    char text[32];
    static const char address[] = "252.232.130.0:x";
    UUID uuid;
    CHECK(ipv4(address, FALSE, &end, bytes) == 0 && memcmp(bytes, "\xfc\xe8\x82\x00", 4) == 0 && end == address + 13);
    CHECK(ipv4("300.1.1.1", TRUE, &end, bytes) != 0 && ipv4("1.2", TRUE, &end, bytes) != 0 && ipv4("0x10.1", FALSE, &end, bytes) == 0 && bytes[0] == 16 && bytes[3] == 1);
    CHECK(ipv6("fc48:83e4:f0e8:c000::4151", &end, bytes) == 0 && memcmp(bytes, "\xfc\x48\x83\xe4\xf0\xe8\xc0\0\0\0\0\0\0\0\x41\x51", 16) == 0);
    CHECK(ethernet("FC-48-83-E4-F0-E8", &end, bytes) == 0 && memcmp(bytes, "\xfc\x48\x83\xe4\xf0\xe8", 6) == 0 && ethernet("FC-48", &end, bytes) != 0);
    CHECK(shown("\x0a\x01\x02\xff", text) == text + 10 && strcmp(text, "10.1.2.255") == 0);
    CHECK(UuidFromStringA((BYTE *)"e48348fc-e8f0-00c0-0000-415141505251", &uuid) == RPC_S_OK && memcmp(&uuid, "\xfc\x48\x83\xe4\xf0\xe8\xc0\0\0\0AQAPRQ", 16) == 0);
    CHECK(UuidFromStringA((BYTE *)"nothing", &uuid) == RPC_S_INVALID_STRING_UUID);
    BYTE data[] = { 0xbb, 0xf3, 0x16, 0xe8, 0xd9, 0x40, 0xaf, 0x0a, 0xd3 };
    struct { DWORD length, room; const void *at; } buffer = { 9, 9, data }, key = { 3, 3, "Key" };
    CHECK(rc4(&buffer, &key) == 0 && memcmp(data, "Plaintext", 9) == 0);
}

int main(void) {
    locale();
    desktop();
    texts();
    FINISH();
    return failures;
}
